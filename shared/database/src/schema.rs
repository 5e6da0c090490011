//! Tables and their versions.
//!
//! Each crate that owns tables exposes one [`MigrationSet`]. [`apply`] brings a database up to date:
//! keyspace, then every migration once, in order, also when several processes do it at the same
//! time. [`PendingReader`] says what is missing, and workers wait until nothing is.
//!
//! A migration is claimed by a lightweight transaction on its row of `schema_migrations`. A claim
//! whose holder died is taken over, so a statement may run twice and must allow for it
//! (`IF NOT EXISTS`).

mod apply;
mod keyspace;
mod ledger;
mod settings;
mod statements;

use std::fmt;
use std::sync::Arc;

use runtime::{Backoff, Readiness, chain};
use scylla::client::session::Session;
use tokio_util::sync::CancellationToken;

use crate::schema::ledger::DoneReader;
use crate::waiting::until_there;

pub use apply::{Applied, ApplyConfig, Edited, Outcome, apply};
pub use keyspace::KeyspaceConfig;
pub use settings::{Settings, SettingsConfig};
pub use statements::split;

/// The tables that the migrations themselves need, annotated.
pub const OWN_TABLES: &str = include_str!("../cql/0000_migrations.cql");

/// The migrations of one crate, by ascending number.
#[derive(Debug, Clone, Copy)]
pub struct MigrationSet {
    /// The crate that owns the tables.
    pub crate_name: &'static str,
    /// Its migrations; released ones are never edited.
    pub migrations: &'static [Migration],
}

/// One numbered file of CQL statements.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// From 1, without holes.
    pub number: u32,
    /// The file's name without its number, for people.
    pub name: &'static str,
    /// Statements that end with `;` at the end of a line, and comments.
    pub cql: &'static str,
}

/// A migration as it is named in logs: `leases/1 slots`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationId {
    /// The crate that owns the tables.
    pub crate_name: &'static str,
    /// The number within the crate.
    pub number: u32,
    /// The name, for people.
    pub name: &'static str,
}

impl fmt::Display for MigrationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{} {}", self.crate_name, self.number, self.name)
    }
}

impl MigrationSet {
    fn ids(&self) -> impl Iterator<Item = (MigrationId, &Migration)> {
        self.migrations.iter().map(|migration| {
            let Migration { number, name, .. } = *migration;
            (MigrationId { crate_name: self.crate_name, number, name }, migration)
        })
    }
}

/// Every migration of `sets`, in order.
pub fn all(sets: &[MigrationSet]) -> Vec<MigrationId> {
    sets.iter().flat_map(MigrationSet::ids).map(|(id, _)| id).collect()
}

/// Looks what of some migrations a database lacks, as often as one likes: one read by key each time.
#[derive(Debug, Clone)]
pub struct PendingReader {
    sets: Vec<MigrationSet>,
    done: DoneReader,
}

impl PendingReader {
    /// For the migrations of `sets`. Nothing is asked yet.
    pub fn new(session: Arc<Session>, sets: &[MigrationSet]) -> Self {
        let crate_names = sets.iter().map(|set| set.crate_name).collect();
        Self { sets: sets.to_vec(), done: DoneReader::new(session, crate_names) }
    }

    /// What is missing, in order. All of them when the database was never migrated.
    pub async fn pending(&self) -> anyhow::Result<Vec<MigrationId>> {
        let done = self.done.read().await?;
        let is_done = |id: &MigrationId| {
            done.iter()
                .any(|(crate_name, number)| crate_name == id.crate_name && *number == id.number)
        };
        Ok(all(&self.sets).into_iter().filter(|id| !is_done(id)).collect())
    }
}

/// What every process agrees on. Errs when the database was never migrated.
pub async fn settings(session: &Session) -> anyhow::Result<Settings> {
    settings::load(session).await
}

/// Waits until nothing is pending, then reads the settings.
pub(crate) async fn wait(
    session: &Session,
    migrations: &PendingReader,
    backoff: Backoff,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<Settings> {
    readiness.set("schema", false, "not looked at yet");
    let look = async || match ready_settings(session, migrations).await {
        Ok(Ok(settings)) => Ok(settings),
        Ok(Err(missing)) => Err(format!("`esctl migrate` has not applied {missing}")),
        Err(error) => Err(format!("schema cannot be read: {}", chain(error.as_ref()))),
    };
    let settings = until_there("the schema", "schema", look, backoff, readiness, shutdown).await?;
    readiness.set("schema", true, "complete");
    Ok(settings)
}

/// The settings, or the names of what is missing.
async fn ready_settings(
    session: &Session,
    migrations: &PendingReader,
) -> anyhow::Result<Result<Settings, String>> {
    let missing = migrations.pending().await?;
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(MigrationId::to_string).collect();
        return Ok(Err(names.join(", ")));
    }
    // The driver takes a table's partitioner from its metadata when a statement is prepared; the
    // tables may be newer than what it knows.
    session.refresh_metadata().await?;
    settings(session).await.map(Ok)
}

#[cfg(test)]
mod tests;
