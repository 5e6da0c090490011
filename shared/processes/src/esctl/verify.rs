//! `esctl verify`: whether outbox, read models and topics say what the ledger says.
//!
//! Everything is read while the system is at work. So what differs at a first look is looked at again
//! later, and counts only if it still differs ([`comparison`]).

mod comparison;
mod place;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use application::Application;
use event_store::audit::AuditReader;
use messaging::TopicAudit;
use projection::audit::Audit;
use serde::Serialize;

use crate::esctl::connection;
use crate::esctl::output::{self, Column, Format};
use crate::esctl::settings::Settings;
use comparison::Comparison;
use place::Place;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Aggregates looked at per second [default: verify.aggregates_per_second]
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Only these slots, for example 0,3,8-15 [default: all]
    #[arg(long, value_name = "SLOTS")]
    slots: Option<String>,
    /// Leave the topics out
    #[arg(long)]
    no_topics: bool,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    /// `ledger`, `outbox`, `read_model` or `topic`.
    check: &'static str,
    /// The table or topic that is wrong.
    place: String,
    aggregate_id: String,
    version: Option<i64>,
    what: String,
}

const COLUMNS: [Column<Line>; 5] = [
    ("check", |line| line.check.to_owned()),
    ("place", |line| line.place.clone()),
    ("aggregate_id", |line| line.aggregate_id.clone()),
    ("version", |line| line.version.map_or_else(|| "-".to_owned(), |version| version.to_string())),
    ("what", |line| line.what.clone()),
];

/// Something differs.
#[derive(Debug, thiserror::Error)]
#[error("{0} differences")]
pub(crate) struct Differs(usize);

/// The slots were not understood.
#[derive(Debug, thiserror::Error)]
#[error("--slots: {0}")]
pub(crate) struct BadSlots(String);

/// Verifies, prints what differs, and errs with [`Differs`] if anything does.
pub(crate) async fn run(
    application: Application,
    arguments: &Arguments,
    settings: &Settings,
    format: Format,
) -> anyhow::Result<()> {
    let session = Arc::new(connection::open(&settings.scylla).await?);
    let shared = database::schema::settings(&session).await?;
    let slots = match &arguments.slots {
        Some(text) => parse_slots(text, shared.slots).map_err(BadSlots)?,
        None => (0..shared.slots).collect(),
    };
    let mut verify = settings.verify.clone();
    verify.aggregates_per_second = arguments.rate.unwrap_or(verify.aggregates_per_second);
    let topics = if arguments.no_topics {
        None
    } else {
        let kafka = &settings.kafka;
        let idle_max = Duration::from_millis(verify.topic_idle_ms);
        let topics = TopicAudit::open(
            kafka,
            &application.aggregates.topics(),
            idle_max,
            verify.differences_max,
        );
        let doing =
            || format!("read the topics on {} (or say --no-topics)", kafka.brokers.join(","));
        Some(topics.with_context(doing)?)
    };
    let reader = AuditReader::open(Arc::clone(&session), verify.page_aggregates).await?;
    let audit = Audit::new(session, reader.clone(), application.read_models);
    let place = Place { slots, count: shared.slots };
    let comparison = Comparison::new(
        application.aggregates,
        verify,
        shared.safety_interval,
        place,
        reader,
        audit,
        topics,
    );
    let lines = comparison.await?.run().await?;
    output::rows(format, &lines, &COLUMNS)?;
    if lines.is_empty() { Ok(()) } else { Err(Differs(lines.len()).into()) }
}

/// `0,3,8-15`
fn parse_slots(text: &str, count: u32) -> Result<BTreeSet<u32>, String> {
    let mut slots = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| format!("{part:?}?"));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= count {
            return Err(format!("{part:?} is not within 0-{}", count.saturating_sub(1)));
        }
        slots.extend(first..=last);
    }
    Ok(slots)
}

/// How `esctl verify` compares what the system holds.
#[derive(Debug, Clone, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyConfig {
    /// Aggregates, and rows of the read models, that are looked at per second; `--rate`.
    #[schemars(range(min = 1))]
    aggregates_per_second: u32,
    /// Aggregates per page of the scan of the ledger.
    #[schemars(range(min = 1, max = 5000))]
    page_aggregates: u32,
    /// So long after the safety interval a difference is looked at again; then it counts.
    recheck_ms: u64,
    /// What is younger at the start need not be announced yet: `event_store.grace_ms` and five seconds.
    grace_ms: u64,
    /// The outbox's `default_time_to_live`.
    #[schemars(range(min = 1))]
    outbox_ttl_s: u64,
    /// What expires from the outbox within this time need not be there.
    outbox_margin_s: u64,
    /// Differences that are looked at again and listed.
    #[schemars(range(min = 1))]
    differences_max: usize,
    /// Longest pause between two messages of the topics, and longest wait for the broker.
    #[schemars(range(min = 1))]
    topic_idle_ms: u64,
    /// How often progress is said on stderr.
    #[schemars(range(min = 1))]
    progress_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_numbers_and_ranges() {
        let check = |text, expected: &[u32]| {
            let parsed = parse_slots(text, 16).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parsed.into_iter().collect::<Vec<_>>(), expected, "{text}");
        };
        check("3", &[3]);
        check("0,14-15, 3", &[0, 3, 14, 15]);
        for wrong in ["", "a", "16", "3-2", "1-", "0-16"] {
            assert!(parse_slots(wrong, 16).is_err(), "{wrong:?}");
        }
    }
}
