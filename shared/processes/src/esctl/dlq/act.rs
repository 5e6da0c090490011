//! Changing dead letters. Everything is recorded in `operator_actions`.

use dead_letter::operator::{Actor, OperatorError, Retried};
use dead_letter::{Key, Stored, state_name};
use serde::Serialize;
use uuid::Uuid;

use super::list::found;
use super::{Filters, Letters, One};
use crate::esctl::output::{self, Column, Format};

#[derive(clap::Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    how: How,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(clap::Args)]
pub(crate) struct RetryAll {
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    how: How,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    /// At most so many
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

#[derive(clap::Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    how: How,
    /// Why, for the record
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

#[derive(clap::Args)]
struct How {
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Line {
    consumer: String,
    aggregate_id: Uuid,
    /// What was done, or would be.
    outcome: String,
    /// In `operator_actions`.
    action: Option<Uuid>,
}

const COLUMNS: [Column<Line>; 4] = [
    ("consumer", |line| line.consumer.clone()),
    ("aggregate_id", |line| line.aggregate_id.to_string()),
    ("outcome", |line| line.outcome.clone()),
    ("action", |line| line.action.map_or_else(|| "-".to_owned(), |action| action.to_string())),
];

impl Line {
    fn new(key: &Key, outcome: impl Into<String>, action: Option<Uuid>) -> Self {
        let Key { consumer, aggregate_id, .. } = key.clone();
        Self { consumer, aggregate_id, outcome: outcome.into(), action }
    }
}

/// Who calls, as the operating system names them.
fn actor(reason: &str) -> Actor {
    let operator = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let operator = operator.unwrap_or_else(|| "unknown".to_owned());
    Actor { operator, reason: reason.to_owned() }
}

fn state_of(stored: &Stored) -> &'static str {
    match stored {
        Stored::Letter(letter) => state_name(letter.state),
        Stored::Unreadable(_) => "unreadable",
    }
}

pub(super) async fn retry(
    arguments: &Retry,
    letters: &Letters,
    format: Format,
) -> anyhow::Result<()> {
    let key = letters.key(&arguments.one);
    let line = if arguments.how.dry_run {
        let stored = letters.operator.show(&key).await?;
        Line::new(&key, format!("{}, would be retried", state_of(&stored)), None)
    } else {
        retry_one(letters, &key, &actor(&arguments.reason)).await?
    };
    output::rows(format, &[line], &COLUMNS)
}

async fn retry_one(letters: &Letters, key: &Key, actor: &Actor) -> Result<Line, OperatorError> {
    let outcome = match letters.operator.retry(key, actor).await? {
        Retried::Due => "due",
        Retried::Released => "released already",
    };
    Ok(Line::new(key, outcome, None))
}

/// One that somebody else changed meanwhile does not keep the others from being retried.
pub(super) async fn retry_all(
    arguments: &RetryAll,
    letters: &Letters,
    format: Format,
) -> anyhow::Result<()> {
    let found = found(&arguments.filters, arguments.limit, letters).await?;
    let actor = actor(&arguments.reason);
    let mut lines = Vec::new();
    for stored in found {
        let key = match &stored {
            Stored::Letter(letter) => &letter.key,
            Stored::Unreadable(row) => &row.key,
        };
        if arguments.how.dry_run {
            let outcome = format!("{}, would be retried", state_of(&stored));
            lines.push(Line::new(key, outcome, None));
            continue;
        }
        lines.push(match retry_one(letters, key, &actor).await {
            Ok(line) => line,
            Err(
                error @ (OperatorError::Changed
                | OperatorError::BeingDiscarded { .. }
                | OperatorError::NotFound { .. }),
            ) => Line::new(key, format!("left alone: {error}"), None),
            Err(error) => return Err(error.into()),
        });
    }
    output::rows(format, &lines, &COLUMNS)
}

pub(super) async fn discard(
    arguments: &Discard,
    letters: &Letters,
    format: Format,
) -> anyhow::Result<()> {
    let key = letters.key(&arguments.one);
    let line = if arguments.how.dry_run {
        let stored = letters.operator.show(&key).await?;
        let what = match &stored {
            Stored::Letter(letter) => format!(
                "{}, version {} would be discarded",
                state_name(letter.state),
                letter.version
            ),
            Stored::Unreadable(_) => "unreadable, cannot be discarded".to_owned(),
        };
        Line::new(&key, what, None)
    } else {
        let action = letters.operator.discard(&key, &actor(&arguments.reason)).await?;
        Line::new(&key, "discarded", Some(action))
    };
    output::rows(format, &[line], &COLUMNS)
}
