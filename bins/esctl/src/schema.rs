//! `esctl schema`: the whole schema, annotated, in the order in which it is applied.

use std::fmt::Write;

use database::MigrationSet;
use database::schema::OWN_TABLES;

use crate::output;

/// Every crate's migrations, in the order of their dependencies.
pub(crate) const SETS: [MigrationSet; 5] = [
    leases::MIGRATIONS,
    event_store::MIGRATIONS,
    cdc::MIGRATIONS,
    dead_letter::MIGRATIONS,
    projection::MIGRATIONS,
];

/// Prints it; needs no database.
pub(crate) fn run() -> anyhow::Result<()> {
    output::text(&annotated()?)
}

fn annotated() -> anyhow::Result<String> {
    let mut text = format!("-- == migrations ==\n\n{}\n", OWN_TABLES.trim());
    for set in SETS {
        for migration in set.migrations {
            let (crate_name, number, name) = (set.crate_name, migration.number, migration.name);
            write!(text, "\n-- == {crate_name}/{number} {name} ==\n\n{}\n", migration.cql.trim())?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_statement_may_run_twice() {
        for statement in database::schema::split(&annotated().expect("text")) {
            let is_repeatable = statement.starts_with("CREATE TABLE IF NOT EXISTS ")
                || (statement.starts_with("ALTER TABLE ") && statement.contains(" WITH "));
            assert!(is_repeatable, "not repeatable: {statement}");
        }
    }

    /// Compaction, TTL and `gc_grace_seconds` are chosen, and the reader learns why.
    #[test]
    fn every_table_says_how_it_is_stored() {
        for part in annotated().expect("text").split("\n-- == ") {
            let mut before = String::new();
            for line in part.lines() {
                if line.starts_with("CREATE TABLE") {
                    assert!(before.contains("-- Storage: "), "{line}\n{before}");
                }
                before = if line.starts_with("--") { before + line + "\n" } else { String::new() };
            }
        }
    }

    #[test]
    fn no_two_crates_own_one_table() {
        let mut owned = BTreeSet::new();
        for statement in database::schema::split(&annotated().expect("text")) {
            if statement.starts_with("ALTER") {
                continue;
            }
            let table = statement.split_whitespace().nth(5).unwrap_or_default().to_owned();
            assert!(owned.insert(table.clone()), "{table} is created twice");
        }
        for table in
            ["schema_migrations", "slots", "event_store", "outbox_messages", "dead_letter_queue"]
        {
            assert!(owned.contains(table), "{table} is missing in {owned:?}");
        }
    }
}
