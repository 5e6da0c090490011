//! `esctl migrate`: keyspace, settings, and every crate's tables. A second call changes nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use application::Application;
use database::schema::{self, Outcome, PendingReader};
use runtime::Backoff;
use scylla::client::session::Session;
use serde::Serialize;
use tokio::time::Instant;

use crate::esctl::connection;
use crate::esctl::output::{self, Column, Format};
use crate::esctl::schema::sets;
use crate::esctl::settings::Settings;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Say what would be applied, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for the database to come up
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait_seconds: u64,
}

#[derive(Serialize)]
struct Line {
    #[serde(rename = "crate")]
    crate_name: &'static str,
    number: u32,
    name: &'static str,
    state: &'static str,
}

const COLUMNS: [Column<Line>; 4] = [
    ("crate", |line| line.crate_name.to_owned()),
    ("number", |line| line.number.to_string()),
    ("name", |line| line.name.to_owned()),
    ("state", |line| line.state.to_owned()),
];

/// Applies what is missing and says of each migration what became of it.
pub(crate) async fn run(
    application: Application,
    arguments: &Arguments,
    settings: &Settings,
    format: Format,
) -> anyhow::Result<()> {
    let wait = Duration::from_secs(arguments.wait_seconds);
    let session = connect_within(settings, wait).await?;
    let lines = if arguments.dry_run {
        dry_run(application, &session, &settings.scylla.keyspace).await?
    } else {
        apply(application, &session, settings).await?
    };
    output::rows(format, &lines, &COLUMNS)
}

async fn connect_within(settings: &Settings, wait: Duration) -> anyhow::Result<Arc<Session>> {
    let deadline = Instant::now() + wait;
    let mut backoff = Backoff::new(settings.scylla.backoff());
    loop {
        match connection::connect(&settings.scylla).await {
            Err(error) if Instant::now() < deadline => {
                if backoff.attempts() == 0 {
                    eprintln!("waiting for the database: {}", runtime::chain(error.as_ref()));
                }
                tokio::time::sleep(backoff.next_pause()).await;
            }
            result => return result.map(Arc::new),
        }
    }
}

async fn apply(
    application: Application,
    session: &Session,
    settings: &Settings,
) -> anyhow::Result<Vec<Line>> {
    let keyspace = &settings.scylla.keyspace;
    let applied = schema::apply(session, keyspace, &settings.apply(), &sets(application))
        .await
        .with_context(|| format!("migrate keyspace {keyspace}"))?;
    if applied.keyspace_created {
        eprintln!("keyspace {keyspace} created");
    }
    let stored = applied.settings;
    eprintln!(
        "settings: {} slots, safety interval {} ms",
        stored.slots,
        stored.safety_interval.as_millis()
    );
    let line = |(id, outcome): &(schema::MigrationId, Outcome)| Line {
        crate_name: id.crate_name,
        number: id.number,
        name: id.name,
        state: match outcome {
            Outcome::Applied => "applied",
            Outcome::Present => "present",
        },
    };
    Ok(applied.migrations.iter().map(line).collect())
}

async fn dry_run(
    application: Application,
    session: &Arc<Session>,
    keyspace: &str,
) -> anyhow::Result<Vec<Line>> {
    let there = database::session::use_keyspace(session, keyspace).await?;
    if !there {
        eprintln!("keyspace {keyspace} would be created");
    }
    let pending = if there {
        PendingReader::new(Arc::clone(session), &sets(application)).pending().await?
    } else {
        schema::all(&sets(application))
    };
    let line = |id: schema::MigrationId| Line {
        crate_name: id.crate_name,
        number: id.number,
        name: id.name,
        state: "pending",
    };
    Ok(pending.into_iter().map(line).collect())
}
