//! What a story tells: lines for a reader, one JSON object for a program.

use super::Step;
use super::hops::Seen;
use crate::http::Answer;
use serde::Serialize;
use serde_json::Value;

/// What a story came to.
#[derive(Debug, Serialize)]
pub struct StoryReport {
    /// Every hop of every step was verified.
    pub ok: bool,
    /// In the order of the story.
    pub steps: Vec<StepReport>,
    /// Over all steps.
    pub totals: Totals,
    /// Different events on the topics.
    pub topic_events: usize,
}

/// One command and how long its hops took.
#[derive(Debug, Serialize)]
pub struct StepReport {
    /// For example `CreateOrder`.
    pub command: &'static str,
    /// Of its aggregate after it.
    pub version: u64,
    /// From sending the request to its answer, in milliseconds.
    pub answer_ms: f64,
    /// From the answer until the read model showed the version, in milliseconds.
    pub read_model_ms: f64,
    /// From the answer until the event was received from its topic, in milliseconds.
    pub topic_ms: f64,
}

/// Sums and worst cases.
#[derive(Debug, Serialize)]
pub struct Totals {
    /// Commands that stored an event.
    pub commands: usize,
    /// The longest answer, in milliseconds.
    pub answer_ms_max: f64,
    /// The longest way to a read model, in milliseconds.
    pub read_model_ms_max: f64,
    /// The longest way to a topic, in milliseconds.
    pub topic_ms_max: f64,
}

impl Totals {
    pub(super) fn of(steps: &[StepReport]) -> Self {
        let longest = |of: fn(&StepReport) -> f64| steps.iter().map(of).fold(0.0, f64::max);
        Self {
            commands: steps.len(),
            answer_ms_max: longest(|step| step.answer_ms),
            read_model_ms_max: longest(|step| step.read_model_ms),
            topic_ms_max: longest(|step| step.topic_ms),
        }
    }
}

/// Tells the story on standard output, or keeps silent.
#[derive(Debug, Clone, Copy)]
pub struct Narrator {
    /// Whether lines for a reader are printed.
    pub speaks: bool,
}

impl Narrator {
    fn say(&self, line: &str) {
        if self.speaks {
            println!("{line}");
        }
    }

    pub(super) fn step(&self, step: &Step<'_>, answer: &Answer, seen: &Seen, took: &StepReport) {
        let record = &seen.arrival.message;
        let field = |name: &str| match seen.read_model.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "-".to_owned(),
        };
        self.say(&format!("\n● {}", step.told));
        self.say(&format!(
            "    command     {} {} → {} {}  {:.1} ms",
            step.method,
            step.path,
            answer.status.as_u16(),
            step.command,
            took.answer_ms
        ));
        self.say(&format!("    event       {} version {}", seen.event_type, took.version));
        self.say(&format!("    CDC         row {} in the log of outbox_messages", seen.cdc_time));
        self.say(&format!(
            "    read model  {} {}, version {}  +{:.1} ms",
            step.shown,
            field(step.shown),
            field("version"),
            took.read_model_ms
        ));
        self.say(&format!(
            "    topic       {} partition {} offset {}  +{:.1} ms",
            record.topic, record.partition, record.offset, took.topic_ms
        ));
    }

    pub(super) fn refusal(&self, told: &str, answer: &Answer) {
        self.say(&format!("\n● {told}"));
        self.say(&format!(
            "    refused     {} {}: {}",
            answer.status.as_u16(),
            answer.text("code").unwrap_or("-"),
            answer.text("detail").or(answer.text("title")).unwrap_or("-")
        ));
    }

    pub(super) fn finish(&self, report: &StoryReport) {
        let totals = &report.totals;
        self.say(&format!(
            "\n✓ {} commands, each sent twice and done once; {} events on the topics; at most \
             {:.1} ms to the answer, then {:.1} ms to the read model and {:.1} ms to the topic",
            totals.commands,
            report.topic_events,
            totals.answer_ms_max,
            totals.read_model_ms_max,
            totals.topic_ms_max
        ));
    }
}
