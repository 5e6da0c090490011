//! Commands at a fixed rate, and as many as go.

use crate::demo::{create_order, items};
use anyhow::{Context, ensure};
use hyper::Method;
use local_stack::http::HttpClient;
use local_stack::{Committed, Doors, Hops, wait_for};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

/// So many orders are kept open before the open loop goes on with the oldest.
const OPEN_ORDERS: usize = 50;
/// Of so many commands one is watched until the read model shows it: looking costs, too.
const WATCH_EVERY: usize = 5;
/// Pause after a refusal for want of capacity.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// How long an event may take to its read model or topic.
const HOP_LIMIT: Duration = Duration::from_secs(30);

/// An order and the next step of its life.
#[derive(Debug, Clone, Copy)]
struct OpenOrder {
    id: Uuid,
    step: usize,
}

const STEPS: usize = 5;

/// Latencies in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Paced {
    pub(super) answer_ms: Vec<f64>,
    pub(super) visible_ms: Vec<f64>,
    pub(super) topic_ms: Vec<f64>,
}

/// How much went through.
#[derive(Debug)]
pub(super) struct Saturated {
    pub(super) commands: u64,
    pub(super) elapsed: Duration,
}

#[derive(Clone)]
pub(super) struct Load {
    http: HttpClient,
    commands: String,
    queries: String,
    hops: Arc<Hops>,
    orders: Arc<Mutex<VecDeque<OpenOrder>>>,
    last: Arc<Mutex<Option<Committed>>>,
}

impl Load {
    pub(super) fn new(doors: Doors, hops: Arc<Hops>) -> Self {
        Self {
            http: doors.http,
            commands: doors.commands,
            queries: doors.queries,
            hops,
            orders: Arc::default(),
            last: Arc::default(),
        }
    }

    /// Commands at a fixed rate, whatever the system does; every one must succeed.
    pub(super) async fn open_loop(&self, rate: u64, length: Duration) -> anyhow::Result<Paced> {
        let started = Instant::now();
        let count = rate * length.as_secs();
        let mut tasks = JoinSet::new();
        for index in 0..count {
            let due = started + Duration::from_secs_f64(index as f64 / rate as f64);
            tokio::time::sleep_until(due.into()).await;
            let order = self.take_order();
            let load = self.clone();
            let watched = (index as usize).is_multiple_of(WATCH_EVERY);
            tasks.spawn(async move { load.timed(order, due, watched).await });
        }
        let mut paced = Paced::default();
        while let Some(result) = tasks.join_next().await {
            let (answer_ms, topic_ms, visible_ms) = result??;
            paced.answer_ms.push(answer_ms);
            paced.topic_ms.push(topic_ms);
            paced.visible_ms.extend(visible_ms);
        }
        Ok(paced)
    }

    async fn timed(
        &self,
        order: Option<OpenOrder>,
        due: Instant,
        watched: bool,
    ) -> anyhow::Result<(f64, f64, Option<f64>)> {
        let event = self.next_command(order).await?;
        let since =
            |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1000.0;
        let topic = async {
            let arrival = self.hops.topics().arrival(event.event_id, HOP_LIMIT).await?;
            anyhow::Ok(since(event.answered_at, arrival.at))
        };
        let visible = async {
            if !watched {
                return Ok(None);
            }
            let seen_at = self.visible(event).await?;
            anyhow::Ok(Some(since(event.answered_at, seen_at)))
        };
        let (topic_ms, visible_ms) = futures::try_join!(topic, visible)?;
        Ok((since(due, event.answered_at), topic_ms, visible_ms))
    }

    /// Clients that send the next command as soon as the last was answered.
    pub(super) async fn closed_loop(
        &self,
        clients: usize,
        length: Duration,
    ) -> anyhow::Result<Saturated> {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let load = self.clone();
            tasks.spawn(async move {
                let (mut commands, mut order) = (0, None);
                while started.elapsed() < length {
                    load.next_command(order).await?;
                    commands += 1;
                    order = load.take_own();
                }
                anyhow::Ok(commands)
            });
        }
        let mut commands = 0;
        while let Some(result) = tasks.join_next().await {
            commands += result??;
        }
        Ok(Saturated { commands, elapsed: started.elapsed() })
    }

    /// Waits until the last event of the load is on its topic and in the read model.
    pub(super) async fn drained(&self) -> anyhow::Result<()> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.context("no command was sent")?;
        self.hops.topics().arrival(last.event_id, HOP_LIMIT).await?;
        self.visible(last).await?;
        Ok(())
    }

    fn take_order(&self) -> Option<OpenOrder> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.len() > OPEN_ORDERS { orders.pop_front() } else { None }
    }

    fn take_own(&self) -> Option<OpenOrder> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Creates an order, or takes one a step further.
    async fn next_command(&self, order: Option<OpenOrder>) -> anyhow::Result<Committed> {
        let key = Uuid::now_v7().to_string();
        let (method, path, body) = match order {
            None => (Method::POST, "/v1/orders".to_owned(), create_order(Uuid::now_v7(), items(2))),
            Some(OpenOrder { id, step }) => {
                let (method, action, body) = step_of(step);
                (method, format!("/v1/orders/{id}/{action}"), body)
            }
        };
        let url = format!("{}{path}", self.commands);
        let mut answer = self.http.command(method.clone(), &url, &key, &body).await?;
        // Too much at once: it was not done, and comes again. What it waits is part of its latency.
        while matches!(answer.text("code"), Some("too_many_requests" | "overloaded")) {
            tokio::time::sleep(REFUSED_PAUSE).await;
            answer = self.http.command(method.clone(), &url, &key, &body).await?;
        }
        let answered_at = Instant::now();
        ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
        let event = answer.body["events"][0].clone();
        let id = |value: &Value| value.as_str().and_then(|text| text.parse::<Uuid>().ok());
        let committed = Committed {
            aggregate_id: id(&answer.body["aggregate_id"]).context("no aggregate id")?,
            version: event["version"].as_u64().context("no version")?,
            event_id: id(&event["id"]).context("no event id")?,
            answered_at,
        };
        let step = order.map_or(1, |order| order.step + 1);
        if step < STEPS {
            let open = OpenOrder { id: committed.aggregate_id, step };
            self.orders.lock().unwrap_or_else(PoisonError::into_inner).push_back(open);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(committed);
        Ok(committed)
    }

    async fn visible(&self, event: Committed) -> anyhow::Result<Instant> {
        let url = format!("{}/v1/orders/{}", self.queries, event.aggregate_id);
        let seen = wait_for("the read model", HOP_LIMIT, || async {
            let answer = self.http.get(&url).await.map_err(|error| format!("{error:#}"))?;
            match answer.version() {
                Some(version) if version >= event.version => Ok(Instant::now()),
                _ => Err(format!("{} {}", answer.status, answer.body)),
            }
        });
        Ok(seen.await?)
    }
}

/// The steps after the create, by number from 1.
fn step_of(step: usize) -> (Method, &'static str, Value) {
    match step {
        1 => (Method::PUT, "items", json!({"items": items(3)})),
        2 => (Method::POST, "confirm", json!({})),
        3 => {
            (Method::POST, "ship", json!({"tracking_number": "JD0146000000123", "carrier": "DHL"}))
        }
        _ => (Method::POST, "deliver", json!({"signature": "A. Lovelace"})),
    }
}
