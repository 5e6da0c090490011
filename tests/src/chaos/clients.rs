//! Clients that write down what they did and were told.

use super::board::{Board, Known};
use super::patience::patiently;
use super::requests::{Request, create, id, next};
use crate::history::{Command, Kind, Lookup, Place, Read, Recorder, Reply, Reuse, Sending};
use anyhow::Context;
use hyper::{Method, StatusCode};
use local_stack::http::{Answer, HttpClient};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How often a client sends a command of unknown outcome again before it leaves that to the end.
const RESENDS_MAX: u32 = 2;

/// How many a client leaves open at a time; then it asks what became of the oldest one first.
const OPEN_MAX: usize = 10;

/// How long a client waits, on average, after an answer that says nothing: a process that is down would
/// otherwise get most of the commands.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(300);

/// The doors of the system, and the book.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) http: HttpClient,
    /// Base URLs of the replicas of `command-api`.
    pub(super) commands: Vec<String>,
    /// Base URL of `query-api`.
    pub(super) queries: String,
    pub(super) recorder: Recorder,
}

impl Doors {
    /// Sends a command once, and writes it down.
    pub(super) async fn send(&self, index: usize, client: u32, replica: usize) -> Reply {
        let command = self.recorder.get(index);
        let invoked_us = self.recorder.now_us();
        let reply = match self.request(&command, &command.body, replica).await {
            Ok(answer) => {
                if let Some(evasion) = evasion(&answer) {
                    self.recorder.evasion(format!("{} {}: {evasion}", command.path, command.key));
                }
                reply(&answer)
            }
            Err(error) => Reply::Info { why: format!("{error:#}") },
        };
        let completed_us = self.recorder.now_us();
        let sending = Sending {
            command: index,
            client,
            replica,
            invoked_us,
            completed_us,
            reply: reply.clone(),
        };
        self.recorder.sending(sending);
        reply
    }

    async fn request(
        &self,
        command: &Command,
        body: &Value,
        replica: usize,
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{}", self.commands[replica], command.path);
        let correlation = command.correlation_id.to_string();
        let expected = command.expected.map(|version| format!("\"{version}\""));
        let mut headers = vec![
            ("idempotency-key", command.key.as_str()),
            ("x-correlation-id", correlation.as_str()),
            ("content-type", "application/json"),
        ];
        headers.extend(expected.as_deref().map(|expected| ("if-match", expected)));
        let method: Method = command.method.parse()?;
        self.http.request(method, &url, &headers, Some(body.to_string().into())).await
    }

    /// Uses a command's key for another body.
    pub(super) async fn reuse(&self, index: usize, replica: usize) -> anyhow::Result<()> {
        let command = self.recorder.get(index);
        let Some(body) = other_body(&command.body) else { return Ok(()) };
        let answer = patiently(|| self.request(&command, &body, replica)).await?;
        let code = answer.text("code").unwrap_or_default().to_owned();
        self.recorder.reuse(Reuse { command: index, status: answer.status.as_u16(), code });
        Ok(())
    }

    /// Asks what became of a command. Errs while nobody can say.
    pub(super) async fn look_up(&self, index: usize, replica: usize) -> anyhow::Result<()> {
        let command = self.recorder.get(index);
        let (base, kind) = (&self.commands[replica], command.kind.path());
        let (id, key) = (command.aggregate_id, &command.key);
        let url = format!("{base}/v1/{kind}/{id}/commands/{key}");
        let answer = patiently(|| self.http.get(&url)).await?;
        anyhow::ensure!(answer.status == StatusCode::OK, "{} {}", answer.status, answer.body);
        let version = answer.version().context("a look-up without version")?;
        let done_at = match answer.text("state") {
            Some("done") => Some(version),
            Some("not_found") => None,
            state => anyhow::bail!("a look-up with the state {state:?}"),
        };
        self.recorder.lookup(Lookup { command: index, done_at });
        Ok(())
    }

    /// Looks at an aggregate; a look that failed shows nothing.
    async fn read(&self, known: &Known, place: Place) {
        let (base, kind, id) = (&self.queries, known.kind.path(), known.id);
        let invoked_us = self.recorder.now_us();
        let version = match place {
            Place::ReadModel => {
                let answer = self.http.get(&format!("{base}/v1/{kind}/{id}")).await;
                answer.ok().and_then(|answer| match answer.status {
                    StatusCode::OK => answer.version(),
                    StatusCode::NOT_FOUND => Some(0),
                    _ => None,
                })
            }
            Place::Ledger => {
                let url = format!("{base}/v1/{kind}/{id}/events?limit=500");
                let answer = self.http.get(&url).await;
                answer.ok().and_then(|answer| {
                    let events = answer.body.get("events")?.as_array()?;
                    // A full page says nothing of the tail.
                    (events.len() < 500).then_some(events.len() as u64)
                })
            }
        };
        let completed_us = self.recorder.now_us();
        if let Some(version) = version {
            let aggregate_id = known.id;
            self.recorder.read(Read { aggregate_id, place, invoked_us, completed_us, version });
        }
    }
}

/// One client, until it is told to stop.
pub(super) struct Client<'a> {
    pub(super) doors: Doors,
    pub(super) board: &'a Board,
    pub(super) number: u32,
    pub(super) pause: Duration,
}

impl Client<'_> {
    pub(super) async fn work(&self, seed: u64, stop: &AtomicBool, commands_max: usize) {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(u64::from(self.number)));
        let mut accepted: Vec<usize> = Vec::new();
        let mut open: VecDeque<usize> = VecDeque::new();
        while !stop.load(Ordering::Relaxed) && self.doors.recorder.commands() < commands_max {
            match random.random_range(0..100) {
                0..8 => {
                    let known = self.board.cold(&mut random).or(self.board.hot(&mut random));
                    let place =
                        if random.random_bool(0.5) { Place::Ledger } else { Place::ReadModel };
                    if let Some(known) = known {
                        self.doors.read(&known, place).await;
                    }
                }
                8..11 if !accepted.is_empty() => {
                    // A client that forgot that it had its answer.
                    let index = accepted[random.random_range(0..accepted.len())];
                    let replica = random.random_range(0..self.doors.commands.len());
                    self.doors.send(index, self.number, replica).await;
                }
                _ if open.len() >= OPEN_MAX => {
                    let index = open.pop_front().expect("there are some");
                    let replica = random.random_range(0..self.doors.commands.len());
                    if self.doors.send(index, self.number, replica).await.leaves_open() {
                        open.push_back(index);
                    }
                }
                _ => {
                    let (request, known) = self.choose(&mut random);
                    match self.command(request, &known, &mut random).await {
                        (index, Some(true)) => accepted.push(index),
                        (_, Some(false)) => {}
                        (index, None) => open.push_back(index),
                    }
                }
            }
            sleep(self.pause.mul_f64(random.random_range(0.5..1.5))).await;
        }
    }

    fn choose(&self, random: &mut StdRng) -> (Request, Known) {
        let known = match random.random_range(0..100) {
            0..45 => self.board.hot(random).map(|known| (known, true)),
            45..85 => self.board.cold(random).map(|known| (known, false)),
            _ => None,
        };
        // Nothing is known yet of an aggregate whose creation was not answered: it is created again.
        match known {
            Some((known, is_hot)) if known.version > 0 => (next(&known, is_hot, random), known),
            _ => {
                let kind = if random.random_bool(0.75) { Kind::Order } else { Kind::Customer };
                let known = Known::new(kind, id(random));
                (create(&known, random), known)
            }
        }
    }

    /// Sends a command; gives its index and whether it was accepted, where that is known.
    async fn command(
        &self,
        request: Request,
        known: &Known,
        random: &mut StdRng,
    ) -> (usize, Option<bool>) {
        let stage = request.stage;
        let is_new = known.version == 0;
        let index = self.doors.recorder.command(request.command);
        let mut was_unknown = false;
        for _ in 0..=RESENDS_MAX {
            let replica = random.random_range(0..self.doors.commands.len());
            match self.doors.send(index, self.number, replica).await {
                Reply::Ok { version, .. } => {
                    if is_new {
                        let mut created = known.clone();
                        created.version = version;
                        self.board.add(created);
                    } else {
                        self.board.learn(known.id, version, stage);
                    }
                    return (index, Some(true));
                }
                // Refused now, and an earlier sending may have been done.
                reply if reply.is_passing() && was_unknown => break,
                Reply::Fail { version, .. } => {
                    self.board.learn(known.id, version.unwrap_or_default(), 0);
                    return (index, Some(false));
                }
                // Some give up, and ask when everything is over.
                Reply::Info { .. } => {
                    was_unknown = true;
                    sleep(UNKNOWN_PAUSE.mul_f64(random.random_range(0.5..1.5))).await;
                    if random.random_bool(0.4) {
                        break;
                    }
                }
            }
        }
        (index, None)
    }
}

/// The same body with one value changed; `None` for a body without text.
fn other_body(body: &Value) -> Option<Value> {
    let mut other = body.clone();
    let fields = other.as_object_mut()?;
    for name in ["name", "reason", "signature", "carrier"] {
        if fields.contains_key(name) {
            fields.insert(name.to_owned(), json!("another"));
            return Some(other);
        }
    }
    None
}

/// What an answer that is no success must say and does not: whether the command was done, under which
/// code it was refused, and when another try is worth it.
fn evasion(answer: &Answer) -> Option<String> {
    let status = answer.status;
    if status.is_success() {
        return None;
    }
    let lacks = |what: &str| Some(format!("{status} without {what}: {}", answer.body));
    if !matches!(answer.text("outcome"), Some("done" | "not_done" | "unknown")) {
        return lacks("outcome");
    }
    if answer.text("code").is_none() {
        return lacks("code");
    }
    let may_pass =
        matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
    if may_pass && after.and_then(|value| value.parse::<u32>().ok()).is_none() {
        return lacks("Retry-After");
    }
    None
}

/// Reads an answer as its sender must.
fn reply(answer: &Answer) -> Reply {
    if answer.status.is_success() {
        let events = answer.body["events"].as_array().cloned().unwrap_or_default();
        let events = events.iter().filter_map(|event| {
            Some((event["version"].as_u64()?, event["id"].as_str()?.parse().ok()?))
        });
        return match answer.version() {
            Some(version) => Reply::Ok { version, events: events.collect() },
            None => Reply::Info { why: format!("{} without version", answer.status) },
        };
    }
    let code = answer.text("code").unwrap_or_default().to_owned();
    // Only who says "not done" is believed.
    if answer.text("outcome") == Some("not_done") {
        let version = answer.body.get("current_version").and_then(Value::as_u64);
        Reply::Fail { status: answer.status.as_u16(), code, version }
    } else {
        Reply::Info { why: format!("{} {code}", answer.status) }
    }
}
