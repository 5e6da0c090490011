//! Brings a database up to date, beside others that try the same.

use std::time::Duration;

use anyhow::{Context, bail};
use runtime::{Backoff, BackoffConfig};
use scylla::client::session::Session;
use serde::Serialize;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use super::keyspace::{self, KeyspaceConfig};
use super::ledger::{self, Claim};
use super::settings::{self, Settings, SettingsConfig};
use super::{Migration, MigrationId, MigrationSet, OWN_TABLES, split};

/// Everything that [`apply`] needs to know beside the migrations.
#[derive(Debug, Clone, Copy)]
pub struct ApplyConfig {
    /// How the keyspace is made.
    pub keyspace: KeyspaceConfig,
    /// What is stored at the first migration.
    pub settings: SettingsConfig,
    /// A claim that stood still for so long may be taken over.
    pub claim_timeout: Duration,
}

/// A migration was changed after this database was given it.
#[derive(Debug, thiserror::Error)]
#[error("its statements are not those that this database was given under its number")]
pub struct Edited;

/// What [`apply`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Whether the keyspace was made now.
    pub keyspace_created: bool,
    /// Every migration in order, with what became of it.
    pub migrations: Vec<(MigrationId, Outcome)>,
    /// What is stored now.
    pub settings: Settings,
}

/// What became of one migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Applied by this call.
    Applied,
    /// Was there before, or came from another process meanwhile.
    Present,
}

/// Makes the keyspace if need be, uses it, and applies what of `sets` is missing, in order. A second
/// call changes nothing. Errs when a released migration was edited.
pub async fn apply(
    session: &Session,
    keyspace: &str,
    config: &ApplyConfig,
    sets: &[MigrationSet],
) -> anyhow::Result<Applied> {
    let keyspace_created = keyspace::create(session, keyspace, config.keyspace).await?;
    for table in split(OWN_TABLES) {
        session.query_unpaged(table, ()).await.context("create the migration tables")?;
    }
    let settings = settings::store_missing(session, &config.settings).await?;
    let mut migrations = Vec::new();
    for set in sets {
        check_numbers(set)?;
        for (id, migration) in set.ids() {
            let outcome = bring_in(session, id, migration, config.claim_timeout)
                .await
                .with_context(|| format!("migration {id}"))?;
            migrations.push((id, outcome));
        }
    }
    Ok(Applied { keyspace_created, migrations, settings })
}

fn check_numbers(set: &MigrationSet) -> anyhow::Result<()> {
    for (place, migration) in (1..).zip(set.migrations) {
        if migration.number != place {
            bail!("migrations of {} must be numbered from 1, without holes", set.crate_name);
        }
    }
    Ok(())
}

/// Claims the migration and runs it, or waits until someone else has.
async fn bring_in(
    session: &Session,
    id: MigrationId,
    migration: &Migration,
    claim_timeout: Duration,
) -> anyhow::Result<Outcome> {
    let mut pauses = Backoff::new(BackoffConfig { initial_ms: 20, max_ms: 500 });
    let mut watched: Option<(Claim, Instant)> = None;
    loop {
        let Some(seen) = ledger::claim(session, id).await? else {
            let holder = Uuid::new_v4();
            if ledger::insert_claim(session, id, migration, holder).await? {
                return run(session, id, migration, holder, 1).await;
            }
            continue;
        };
        if seen.fingerprint != ledger::fingerprint(migration.cql) {
            return Err(Edited.into());
        }
        if seen.done {
            return Ok(Outcome::Present);
        }
        let since = match &watched {
            Some((before, since)) if *before == seen => *since,
            _ => {
                info!(migration = %id, holder = %seen.holder, "another process is at this migration");
                watched = Some((seen.clone(), Instant::now()));
                Instant::now()
            }
        };
        if since.elapsed() >= claim_timeout {
            let holder = Uuid::new_v4();
            warn!(migration = %id, dead = %seen.holder, "taking over a claim that stood still");
            if ledger::move_claim(session, id, &seen, holder, false).await? {
                return run(session, id, migration, holder, seen.revision + 1).await;
            }
            continue;
        }
        tokio::time::sleep(pauses.next_pause()).await;
    }
}

/// Runs the statements of a migration that `holder` has claimed; raises the revision after each, so
/// that others see it live.
async fn run(
    session: &Session,
    id: MigrationId,
    migration: &Migration,
    holder: Uuid,
    revision: i32,
) -> anyhow::Result<Outcome> {
    let mut held =
        Claim { holder, revision, done: false, fingerprint: ledger::fingerprint(migration.cql) };
    for statement in split(migration.cql) {
        session
            .query_unpaged(statement.as_str(), ())
            .await
            .with_context(|| format!("statement {statement:?}"))?;
        held = renewed(session, id, &held, false).await?;
    }
    renewed(session, id, &held, true).await?;
    info!(migration = %id, "migration applied");
    Ok(Outcome::Applied)
}

/// Every change carries a holder id of its own, by which an unknown outcome is recognised.
async fn renewed(
    session: &Session,
    id: MigrationId,
    held: &Claim,
    done: bool,
) -> anyhow::Result<Claim> {
    let holder = Uuid::new_v4();
    if !ledger::move_claim(session, id, held, holder, done).await? {
        bail!("another process took it over; its statements are repeatable, so start again");
    }
    Ok(Claim { holder, revision: held.revision + 1, done, ..held.clone() })
}
