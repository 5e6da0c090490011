//! A story: commands through the front doors, each followed over every hop.

mod hops;
mod report;
mod topics;

pub use hops::{Committed, Hops, Seen};
pub use report::{Narrator, StepReport, StoryReport, Totals};
pub use topics::{Arrival, TopicFollower};

use crate::http::{Answer, HttpClient};
use crate::stack::Stack;
use anyhow::{Context, ensure};
use database::ScyllaConfig;
use hyper::{Method, StatusCode};
use kernel::Aggregates;
use messaging::KafkaConfig;
use serde_json::Value;
use std::time::Instant;
use uuid::Uuid;

/// Where a running system is entered, and where its stores are looked into.
#[derive(Debug, Clone)]
pub struct Doors {
    /// Base URL of `command-api`.
    pub commands: String,
    /// Base URL of `query-api`.
    pub queries: String,
    /// Speaks to both as they demand it.
    pub http: HttpClient,
    /// The database.
    pub scylla: ScyllaConfig,
    /// The broker.
    pub kafka: KafkaConfig,
    /// The topics that events are published to.
    pub topics: Vec<&'static str>,
    /// Others use the system too, and have: only what comes from now on is looked at.
    pub is_shared: bool,
}

impl Doors {
    /// The doors of a stack whose application has these aggregates.
    pub fn of(stack: &Stack, aggregates: Aggregates) -> Self {
        let addresses = stack.addresses();
        let keyspace = stack.options().keyspace.clone();
        Self {
            commands: addresses.command_url(),
            queries: addresses.query_url(),
            http: HttpClient::default(),
            scylla: ScyllaConfig { keyspace, ..ScyllaConfig::at(&addresses.engine) },
            kafka: KafkaConfig::open(vec![addresses.broker.clone()]),
            topics: aggregates.topics(),
            is_shared: false,
        }
    }
}

/// A command that is taken.
#[derive(Debug)]
pub struct Step<'a> {
    /// What happens, for a reader.
    pub told: &'a str,
    /// The command's name, for a reader: `CreateOrder`.
    pub command: &'static str,
    /// How it is sent.
    pub method: Method,
    /// Where, behind the base URL of `command-api`.
    pub path: String,
    /// What is sent.
    pub body: Value,
    /// Where the read model of its aggregate is, behind the base URL of `query-api` and before the
    /// aggregate's id: `/v1/orders`.
    pub read_model: &'a str,
    /// The field of the read model that a reader is shown: `status`.
    pub shown: &'a str,
}

/// A command that is refused.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// What happens, for a reader.
    pub told: &'a str,
    /// How it is sent.
    pub method: Method,
    /// Where, behind the base URL of `command-api`.
    pub path: String,
    /// What is sent.
    pub body: Value,
    /// The version that the aggregate must have, if it must have one.
    pub if_match: Option<u64>,
    /// The status that it must be answered with.
    pub status: StatusCode,
    /// The code that the problem document must have.
    pub code: &'a str,
}

/// Sends commands to a running system and verifies each hop; errs at the first that is not as it should be.
pub struct Story {
    http: HttpClient,
    commands: String,
    hops: Hops,
    narrator: Narrator,
    steps: Vec<StepReport>,
}

impl Story {
    /// Opens the stores for looking.
    pub async fn open(doors: &Doors, narrator: Narrator) -> anyhow::Result<Self> {
        Ok(Self {
            http: doors.http.clone(),
            commands: doors.commands.clone(),
            hops: Hops::open(doors).await.context("open the stores for looking")?,
            narrator,
            steps: Vec::new(),
        })
    }

    /// Sends a command, checks its answer, sends it again with the same key, which must give the
    /// same answer, and follows its event through the system.
    pub async fn step(&mut self, step: Step<'_>) -> anyhow::Result<Committed> {
        let key = Uuid::now_v7().to_string();
        let url = format!("{}{}", self.commands, step.path);
        let sent_at = Instant::now();
        let answer = self.http.command(step.method.clone(), &url, &key, &step.body).await?;
        let answered_at = Instant::now();
        ensure!(answer.status.is_success(), "{}: {} {}", step.command, answer.status, answer.body);
        let event = committed(&answer, answered_at)
            .with_context(|| format!("the answer of {}: {}", step.command, answer.body))?;

        let again = self.http.command(step.method.clone(), &url, &key, &step.body).await?;
        ensure!(
            again.status == answer.status && again.body == answer.body,
            "{} sent again was answered differently: {} {}",
            step.command,
            again.status,
            again.body
        );

        let seen = self.hops.follow(step.read_model, event).await.context(step.command)?;
        let report = StepReport {
            command: step.command,
            version: event.version,
            answer_ms: (answered_at - sent_at).as_secs_f64() * 1000.0,
            read_model_ms: seen.read_model_ms,
            topic_ms: seen.topic_ms,
        };
        self.narrator.step(&step, &answer, &seen, &report);
        self.steps.push(report);
        Ok(event)
    }

    /// Sends a command that must be refused in one way and no other.
    pub async fn refusal(&self, refusal: Refusal<'_>) -> anyhow::Result<()> {
        let Refusal { told, method, path, body, if_match, status, code } = refusal;
        let (key, url) = (Uuid::now_v7().to_string(), format!("{}{path}", self.commands));
        let if_match = if_match.map(|version| format!("\"{version}\""));
        let mut headers =
            vec![("idempotency-key", key.as_str()), ("content-type", "application/json")];
        headers.extend(if_match.as_deref().map(|version| ("if-match", version)));
        let body = Some(body.to_string().into());
        let answer = self.http.request(method, &url, &headers, body).await?;
        ensure!(
            answer.status == status && answer.text("code") == Some(code),
            "{told}: not refused with {status} {code}, but answered {} {}",
            answer.status,
            answer.body
        );
        self.narrator.refusal(told, &answer);
        Ok(())
    }

    /// The hops, for a look at one of them.
    pub fn hops(&self) -> &Hops {
        &self.hops
    }

    /// Ends the story with its verdict, one line for a reader: every hop of every step was as it should be.
    pub fn finish(self) -> StoryReport {
        let totals = Totals::of(&self.steps);
        let topic_events = self.hops.topics().len();
        let report = StoryReport { ok: true, steps: self.steps, totals, topic_events };
        self.narrator.finish(&report);
        report
    }
}

/// The last event that an answer names.
fn committed(answer: &Answer, answered_at: Instant) -> Option<Committed> {
    let event = answer.body.get("events")?.as_array()?.last()?;
    Some(Committed {
        aggregate_id: answer.text("aggregate_id")?.parse().ok()?,
        version: event.get("version")?.as_u64()?,
        event_id: event.get("id")?.as_str()?.parse().ok()?,
        answered_at,
    })
}
