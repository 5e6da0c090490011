//! `esctl schema`: the whole schema, annotated, in the order in which it is applied.

use std::fmt::Write;

use application::Application;
use database::MigrationSet;
use database::schema::OWN_TABLES;

use crate::esctl::output;

/// The migrations of every crate and of the application, in the order of their dependencies.
pub(crate) fn sets(application: Application) -> [MigrationSet; 5] {
    [
        leases::MIGRATIONS,
        event_store::MIGRATIONS,
        cdc::MIGRATIONS,
        dead_letter::MIGRATIONS,
        application.read_models.migrations(),
    ]
}

/// Prints it; needs no database.
pub(crate) fn run(application: Application) -> anyhow::Result<()> {
    output::text(&annotated(application)?)
}

/// The whole schema as annotated CQL.
pub(crate) fn annotated(application: Application) -> anyhow::Result<String> {
    let mut text = format!("-- == migrations ==\n\n{}\n", OWN_TABLES.trim());
    for set in sets(application) {
        for migration in set.migrations {
            let (crate_name, number, name) = (set.crate_name, migration.number, migration.name);
            write!(text, "\n-- == {crate_name}/{number} {name} ==\n\n{}\n", migration.cql.trim())?;
        }
    }
    Ok(text)
}
