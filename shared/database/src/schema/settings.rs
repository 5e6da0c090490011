//! What all processes must agree on lives in the database, not in each process's file.

use std::time::Duration;

use anyhow::{Context, anyhow};
use runtime::config::in_range;
use schemars::JsonSchema;
use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::session::serial_read;

const SLOTS: &str = "slots";
const SAFETY_INTERVAL_MS: &str = "safety_interval_ms";

/// What every process reads at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Parts of the token ring, the units of sharing.
    pub slots: u32,
    /// How far behind the database's now a confirmed read of the CDC log ends. An announcement must
    /// be sent and acknowledged within half of it.
    pub safety_interval: Duration,
}

/// What all processes agree on: stored at the first migration, and from then on read from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsConfig {
    /// Parts of the token ring, the units of sharing; stored at the first migration.
    #[schemars(range(min = 1, max = 4096))]
    pub slots: u32,
    /// How far behind the database's now a confirmed read of the CDC log ends; stored at the first migration.
    #[schemars(range(min = 1))]
    pub safety_interval_ms: u64,
}

impl SettingsConfig {
    fn values(&self) -> anyhow::Result<[(&'static str, i64); 2]> {
        in_range(self).map_err(|bad| bad.within("settings"))?;
        let safety_interval_ms = i64::try_from(self.safety_interval_ms)
            .context("settings.safety_interval_ms is too large")?;
        Ok([(SLOTS, i64::from(self.slots)), (SAFETY_INTERVAL_MS, safety_interval_ms)])
    }
}

/// Stores what is not stored yet; what is stays as it is.
pub(super) async fn store_missing(
    session: &Session,
    wanted: &SettingsConfig,
) -> anyhow::Result<Settings> {
    for (name, value) in wanted.values()? {
        let inserted = session
            .query_unpaged(
                "INSERT INTO settings (name, value) VALUES (?, ?) IF NOT EXISTS",
                (name, value),
            )
            .await;
        // Whatever became of the request: what counts is the value that is there now.
        let stored = match stored(session, name).await? {
            Some(stored) => stored,
            None => {
                inserted.with_context(|| format!("store setting {name}"))?;
                return Err(anyhow!("setting {name} is missing after it was stored"));
            }
        };
        if stored != value {
            warn!(name, stored, configured = value, "setting is fixed since the first migration");
        }
    }
    load(session).await
}

pub(super) async fn load(session: &Session) -> anyhow::Result<Settings> {
    let slots = expected(session, SLOTS).await?;
    let safety_interval_ms = expected(session, SAFETY_INTERVAL_MS).await?;
    Ok(Settings {
        slots: u32::try_from(slots).context("setting slots")?,
        safety_interval: Duration::from_millis(
            u64::try_from(safety_interval_ms).context("setting safety_interval_ms")?,
        ),
    })
}

async fn expected(session: &Session, name: &str) -> anyhow::Result<i64> {
    stored(session, name)
        .await?
        .ok_or_else(|| anyhow!("setting {name} is not stored; `esctl migrate` stores it"))
}

async fn stored(session: &Session, name: &str) -> anyhow::Result<Option<i64>> {
    let mut statement = Statement::new("SELECT value FROM settings WHERE name = ?");
    statement.set_consistency(serial_read(session));
    let rows = session
        .query_unpaged(statement, (name,))
        .await
        .with_context(|| format!("read setting {name}"))?
        .into_rows_result()?;
    let row = rows.maybe_first_row::<(i64,)>().with_context(|| format!("decode setting {name}"))?;
    Ok(row.map(|(value,)| value))
}
