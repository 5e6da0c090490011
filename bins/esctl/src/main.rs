//! The operator's command line for the shop.

use read_models::SHOP;
use std::process::ExitCode;

fn main() -> ExitCode {
    processes::esctl::main(SHOP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_statement_may_run_twice() {
        for statement in database::schema::split(&processes::esctl::schema(SHOP).expect("text")) {
            let is_repeatable = statement.starts_with("CREATE TABLE IF NOT EXISTS ")
                || (statement.starts_with("ALTER TABLE ") && statement.contains(" WITH "));
            assert!(is_repeatable, "not repeatable: {statement}");
        }
    }

    /// Compaction, TTL and `gc_grace_seconds` are chosen, and the reader learns why.
    #[test]
    fn every_table_says_how_it_is_stored() {
        for part in processes::esctl::schema(SHOP).expect("text").split("\n-- == ") {
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
        for statement in database::schema::split(&processes::esctl::schema(SHOP).expect("text")) {
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
