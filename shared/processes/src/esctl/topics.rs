//! `esctl topics`: Kafka topics, created with their partitions and never by accident.

use std::time::Duration;

use anyhow::Context;
use application::Application;
use serde::Serialize;

use crate::esctl::output::{self, Column, Format};
use crate::esctl::settings::Settings;

#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// Create the topics of all aggregate types; those that exist are left as they are
    Create,
}

#[derive(Serialize)]
struct Line {
    topic: &'static str,
    state: &'static str,
}

const COLUMNS: [Column<Line>; 2] =
    [("topic", |line| line.topic.to_owned()), ("state", |line| line.state.to_owned())];

/// Does what the verb says.
pub(crate) async fn run(
    application: Application,
    verb: &Verb,
    settings: &Settings,
    format: Format,
) -> anyhow::Result<()> {
    match verb {
        Verb::Create => create(application, settings, format).await,
    }
}

async fn create(
    application: Application,
    settings: &Settings,
    format: Format,
) -> anyhow::Result<()> {
    let kafka = &settings.kafka;
    let topics = &settings.topics;
    let timeout = Duration::from_millis(topics.timeout_ms);
    let created = messaging::topics::create(
        kafka,
        &application.aggregates.topics(),
        topics.partitions,
        topics.replication_factor,
        timeout,
    )
    .await
    .with_context(|| format!("create topics on {}", kafka.brokers.join(",")))?;
    let lines: Vec<Line> = created
        .iter()
        .map(|created| Line {
            topic: created.topic,
            state: if created.is_new { "created" } else { "present" },
        })
        .collect();
    output::rows(format, &lines, &COLUMNS)
}
