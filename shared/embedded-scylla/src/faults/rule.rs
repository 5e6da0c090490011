//! A rule: which fault, for whom, how often.

use super::answer::Answer;
use super::{Fault, Touched};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest delay of a rule.
const DELAY_MS_MAX: u64 = 600_000;

/// A rule as the port takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Which fault.
    pub kind: FaultKind,
    /// `table` or `keyspace.table`; absent: every table but those of the system.
    #[serde(default)]
    pub table: Option<String>,
    /// Only these statements; by default all that the kind can befall.
    #[serde(default)]
    pub statement: StatementKind,
    /// How many it befalls.
    #[serde(default = "one")]
    pub count: u64,
    /// With which probability it befalls one that matches; the draws come from the seed.
    #[serde(default = "always")]
    pub probability: f64,
    /// 0 is at once, for `lwt_applied_later` no timer.
    #[serde(default)]
    pub delay_ms: u64,
    /// Only for `lwt_applied_later`; by default true exactly if there is no delay.
    #[serde(default)]
    pub on_touch: Option<bool>,
    /// What the client sees; by default the timeout. The kinds that answer truthfully, or in one way
    /// only, have none (`lwt_applied_late` passes over it).
    #[serde(default)]
    pub answer: Option<Answer>,
}

fn one() -> u64 {
    1
}

fn always() -> f64 {
    1.0
}

/// The faults by name; see [`super`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the table of the parent module has them")]
pub enum FaultKind {
    LwtAppliedTimeout,
    LwtAppliedLate,
    LwtNotAppliedTimeout,
    LwtAppliedLater,
    WriteAppliedTimeout,
    WriteNotAppliedTimeout,
    ReadTimeout,
    Slow,
    Overloaded,
    Unavailable,
    LogRowsDelayed,
    LogRowsDropped,
    LogRowsDoubled,
    LogRowsPermuted,
}

/// Kinds of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatementKind {
    /// All of them.
    #[default]
    Any,
    /// A statement or a batch with a condition.
    Lwt,
    /// One INSERT, UPDATE or DELETE without a condition.
    Write,
    /// A batch without conditions.
    Batch,
    /// A SELECT.
    Read,
}

impl FaultKind {
    /// The kinds of statements that it can befall; none for the faults of log rows.
    fn befalls(self) -> &'static [StatementKind] {
        use StatementKind::{Batch, Lwt, Read, Write};
        match self {
            Self::LwtAppliedTimeout
            | Self::LwtAppliedLate
            | Self::LwtNotAppliedTimeout
            | Self::LwtAppliedLater => &[Lwt],
            Self::WriteAppliedTimeout | Self::WriteNotAppliedTimeout => &[Write, Batch],
            Self::ReadTimeout => &[Read],
            Self::Slow | Self::Overloaded | Self::Unavailable => &[Lwt, Write, Batch, Read],
            Self::LogRowsDelayed
            | Self::LogRowsDropped
            | Self::LogRowsDoubled
            | Self::LogRowsPermuted => &[],
        }
    }

    /// What its clients may be told.
    fn answers(self) -> &'static [Answer] {
        use Answer::{CasUnknown, CdcWriteFailure, ReadTimeout, Silence, WriteTimeout};
        match self {
            Self::LwtAppliedTimeout
            | Self::LwtAppliedLate
            | Self::LwtNotAppliedTimeout
            | Self::LwtAppliedLater => &[WriteTimeout, CasUnknown, Silence],
            Self::WriteAppliedTimeout | Self::WriteNotAppliedTimeout => {
                &[WriteTimeout, CdcWriteFailure, Silence]
            }
            Self::ReadTimeout => &[ReadTimeout, Silence],
            _ => &[],
        }
    }
}

impl FaultRule {
    /// A rule that befalls one statement of any table, without delay.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            table: None,
            statement: StatementKind::Any,
            count: one(),
            probability: always(),
            delay_ms: 0,
            on_touch: None,
            answer: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.count == 0 {
            return Err("count must be at least 1".into());
        }
        if !(self.probability > 0.0 && self.probability <= 1.0) {
            return Err("probability must be in (0, 1]".into());
        }
        if self.delay_ms > DELAY_MS_MAX {
            return Err(format!("delay_ms must be at most {DELAY_MS_MAX}"));
        }
        let later = self.kind == FaultKind::LwtAppliedLater;
        if !later && self.on_touch.is_some() {
            return Err("on_touch belongs to lwt_applied_later only".into());
        }
        if later && self.delay_ms == 0 && self.on_touch == Some(false) {
            return Err("lwt_applied_later needs delay_ms, on_touch or both".into());
        }
        let needs_delay = matches!(
            self.kind,
            FaultKind::Slow | FaultKind::LogRowsDelayed | FaultKind::LogRowsPermuted
        );
        if needs_delay && self.delay_ms == 0 {
            return Err("this kind needs delay_ms".into());
        }
        if self.kind == FaultKind::LogRowsDropped && self.delay_ms > 0 {
            return Err("dropped log rows have no delay_ms".into());
        }
        let kinds = self.kind.befalls();
        if self.statement != StatementKind::Any && !kinds.contains(&self.statement) {
            return Err(format!("statement must be any or one of {kinds:?} for this kind"));
        }
        let answers = self.kind.answers();
        match self.answer {
            Some(answer) if !answers.contains(&answer) => {
                Err(format!("answer must be one of {answers:?} for this kind"))
            }
            _ => Ok(()),
        }
    }

    /// Whether statements of this kind are meant.
    pub(super) fn befalls(&self, statement: StatementKind) -> bool {
        self.kind.befalls().contains(&statement)
            && (self.statement == StatementKind::Any || self.statement == statement)
    }

    /// Whether this table is meant.
    pub(super) fn matches(&self, table: &Touched<'_>) -> bool {
        let named = match self.table.as_deref().map(|name| name.split_once('.').ok_or(name)) {
            None => !table.is_system,
            Some(Ok((keyspace, name))) => keyspace == table.keyspace && name == table.table,
            Some(Err(name)) => name == table.table,
        };
        named && (self.answer != Some(Answer::CdcWriteFailure) || table.is_logged)
    }

    /// What it does to a statement; `None` for the faults of log rows.
    pub(super) fn fault(&self) -> Option<Fault> {
        let answer = self.answer.unwrap_or_default();
        let delay = Duration::from_millis(self.delay_ms);
        let fault = match self.kind {
            FaultKind::LwtAppliedTimeout | FaultKind::WriteAppliedTimeout => {
                Fault::Applied { answer, delay }
            }
            FaultKind::LwtAppliedLate | FaultKind::Slow => Fault::Late { delay },
            FaultKind::LwtNotAppliedTimeout | FaultKind::WriteNotAppliedTimeout => {
                Fault::Never { answer, delay }
            }
            FaultKind::ReadTimeout => {
                Fault::Never { answer: self.answer.unwrap_or(Answer::ReadTimeout), delay }
            }
            FaultKind::Overloaded => Fault::Never { answer: Answer::Overloaded, delay },
            FaultKind::Unavailable => Fault::Never { answer: Answer::Unavailable, delay },
            FaultKind::LwtAppliedLater => Fault::Later {
                answer,
                delay: (self.delay_ms > 0).then_some(delay),
                on_touch: self.on_touch.unwrap_or(self.delay_ms == 0),
            },
            FaultKind::LogRowsDelayed
            | FaultKind::LogRowsDropped
            | FaultKind::LogRowsDoubled
            | FaultKind::LogRowsPermuted => return None,
        };
        Some(fault)
    }
}
