//! A client that remembers what it was told about each command.

use crate::names::COMMAND_API;
use dev_stack::demo::{create_order, items};
use hyper::{Method, StatusCode};
use local_stack::http::{Answer, HttpClient};
use local_stack::{Process, Stack};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// What a command's answer means for its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted; the versions and ids of its events.
    Accepted(Vec<(u64, Uuid)>),
    /// A definite refusal, with its status and code.
    Refused(u16, String),
    /// Nobody can say yet: sending the same again settles it.
    Unknown(String),
}

/// One command and what became of it.
#[derive(Debug, Clone)]
pub struct Told {
    /// The aggregate; `None` when the server was to choose and nothing came back.
    pub aggregate_id: Option<Uuid>,
    /// The idempotency key.
    pub key: String,
    /// The last answer.
    pub outcome: Outcome,
}

/// Talks to one replica of `command-api`, and to `query-api`.
#[derive(Clone)]
pub struct Client {
    /// The connection pool.
    pub http: HttpClient,
    /// `http://host:port` of `command-api`.
    pub commands: String,
    /// `http://host:port` of `query-api`.
    pub queries: String,
}

/// How often an unknown outcome is asked again, and how long in between.
const SETTLE_ATTEMPTS: u32 = 120;
const SETTLE_PAUSE: Duration = Duration::from_millis(250);

impl Client {
    /// Talks to this replica of `command-api`, counted from 0.
    pub fn of(stack: &Stack, replica: usize) -> Self {
        let addresses = stack.addresses();
        Self {
            http: HttpClient::default(),
            commands: addresses.url(Process::Worker(COMMAND_API, replica)),
            queries: addresses.query_url(),
        }
    }

    /// Sends a command once.
    pub async fn send(&self, method: Method, path: &str, key: &str, body: &Value) -> Outcome {
        let url = format!("{}{path}", self.commands);
        match self.http.command(method, &url, key, body).await {
            Ok(answer) => outcome(&answer),
            Err(error) => Outcome::Unknown(format!("{error:#}")),
        }
    }

    /// Asks for something once. No events come with it.
    pub async fn ask(&self, path: &str) -> Outcome {
        match self.http.get(&format!("{}{path}", self.queries)).await {
            Ok(answer) => outcome(&answer),
            Err(error) => Outcome::Unknown(format!("{error:#}")),
        }
    }

    /// Sends a command until its outcome is known, always with the same key.
    pub async fn settle(&self, method: Method, path: &str, key: &str, body: &Value) -> Outcome {
        let mut last = Outcome::Unknown("never sent".to_owned());
        for _ in 0..SETTLE_ATTEMPTS {
            last = self.send(method.clone(), path, key, body).await;
            match &last {
                Outcome::Unknown(_) | Outcome::Refused(429 | 503, _) => {
                    tokio::time::sleep(SETTLE_PAUSE).await;
                }
                _ => break,
            }
        }
        last
    }

    /// Creates an order and returns its id.
    pub async fn create(&self) -> anyhow::Result<Uuid> {
        let id = Uuid::now_v7();
        let mut body = create_order(Uuid::now_v7(), items(1));
        body["order_id"] = json!(id);
        let key = Uuid::now_v7().to_string();
        match self.settle(Method::POST, "/v1/orders", &key, &body).await {
            Outcome::Accepted(_) => Ok(id),
            other => anyhow::bail!("create order {id}: {other:?}"),
        }
    }
}

/// Reads an answer as its sender must.
fn outcome(answer: &Answer) -> Outcome {
    if answer.status.is_success() {
        let events = answer.body["events"].as_array().cloned().unwrap_or_default();
        let events = events.iter().filter_map(|event| {
            Some((event["version"].as_u64()?, event["id"].as_str()?.parse().ok()?))
        });
        return Outcome::Accepted(events.collect());
    }
    let code = answer.text("code").unwrap_or_default().to_owned();
    let unknown = answer.text("outcome") == Some("unknown");
    if unknown || answer.status == StatusCode::INTERNAL_SERVER_ERROR {
        Outcome::Unknown(format!("{} {}", answer.status, answer.body))
    } else {
        Outcome::Refused(answer.status.as_u16(), code)
    }
}
