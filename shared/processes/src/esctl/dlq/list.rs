//! Looking at dead letters.

use dead_letter::{Letter, Stored, state_name};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{Filters, Letters, One};
use crate::esctl::output::{self, Column, Format};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    filters: Filters,
    /// At most so many
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

/// One letter, for people and programs.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    consumer: String,
    aggregate_id: Uuid,
    slot: u32,
    state: &'static str,
    version: Option<u64>,
    event_type: Option<String>,
    event_id: Option<Uuid>,
    class: Option<&'static str>,
    attempts: Option<u32>,
    first_failed_at: Option<String>,
    last_failed_at: Option<String>,
    /// About; `None` when it waits for a person.
    next_attempt_at: Option<String>,
    error: String,
}

const COLUMNS: [Column<Line>; 8] = [
    ("consumer", |line| line.consumer.clone()),
    ("aggregate_id", |line| line.aggregate_id.to_string()),
    ("version", |line| or_none(line.version)),
    ("event_type", |line| or_none(line.event_type.as_ref())),
    ("state", |line| line.state.to_owned()),
    ("class", |line| or_none(line.class)),
    ("attempts", |line| or_none(line.attempts)),
    ("first_failed_at", |line| or_none(line.first_failed_at.as_ref())),
];

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

impl Line {
    pub(super) fn of(stored: Stored) -> Self {
        match stored {
            Stored::Letter(letter) => Self::readable(letter),
            Stored::Unreadable(row) => Self {
                consumer: row.key.consumer,
                aggregate_id: row.key.aggregate_id,
                slot: row.key.slot,
                state: "unreadable",
                version: None,
                event_type: None,
                event_id: None,
                class: None,
                attempts: None,
                first_failed_at: None,
                last_failed_at: None,
                next_attempt_at: None,
                error: row.reason,
            },
        }
    }

    fn readable(letter: Letter) -> Self {
        Self {
            consumer: letter.key.consumer,
            aggregate_id: letter.key.aggregate_id,
            slot: letter.key.slot,
            state: state_name(letter.state),
            version: Some(letter.version),
            event_type: letter.event_type,
            event_id: letter.event_id,
            class: Some(letter.class.name()),
            attempts: Some(letter.attempts),
            first_failed_at: rfc3339(letter.first_failed_ms),
            last_failed_at: rfc3339(letter.last_failed_ms),
            next_attempt_at: letter.next_attempt_ms.and_then(rfc3339),
            error: letter.error,
        }
    }
}

/// `None` when the row has something that is no time.
fn rfc3339(at_ms: i64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000).ok()?;
    at.format(&Rfc3339).ok()
}

/// The letters that pass, up to a limit. Says so when there may be more.
pub(super) async fn found(
    filters: &Filters,
    limit: usize,
    letters: &Letters,
) -> anyhow::Result<Vec<Stored>> {
    let found = letters.operator.list(&filters.filter(), limit).await?;
    if found.len() == limit {
        eprintln!("esctl: {limit} letters, as many as --limit allows: there may be more");
    }
    Ok(found)
}

pub(super) async fn list(
    arguments: &Arguments,
    letters: &Letters,
    format: Format,
) -> anyhow::Result<()> {
    let found = found(&arguments.filters, arguments.limit, letters).await?;
    let lines: Vec<Line> = found.into_iter().map(Line::of).collect();
    output::rows(format, &lines, &COLUMNS)
}

pub(super) async fn show(one: &One, letters: &Letters, format: Format) -> anyhow::Result<()> {
    let line = Line::of(letters.operator.show(&letters.key(one)).await?);
    match format {
        Format::Json => output::text(&format!("{}\n", serde_json::to_string_pretty(&line)?)),
        Format::Table => output::text(&card(&line)),
    }
}

/// One letter, a field per line.
fn card(line: &Line) -> String {
    let fields = [
        ("consumer", line.consumer.clone()),
        ("aggregate_id", line.aggregate_id.to_string()),
        ("slot", line.slot.to_string()),
        ("version", or_none(line.version)),
        ("event_type", or_none(line.event_type.as_ref())),
        ("event_id", or_none(line.event_id)),
        ("state", line.state.to_owned()),
        ("class", or_none(line.class)),
        ("attempts", or_none(line.attempts)),
        ("first_failed_at", or_none(line.first_failed_at.as_ref())),
        ("last_failed_at", or_none(line.last_failed_at.as_ref())),
        ("next_attempt_at", or_none(line.next_attempt_at.as_ref())),
        ("error", line.error.clone()),
    ];
    fields.into_iter().map(|(name, value)| format!("{name:<16}{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        assert_eq!(rfc3339(1_700_000_000_123).as_deref(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(rfc3339(i64::MAX), None);
    }
}
