//! One story across all processes: what a collector receives of a command.

use anyhow::{Context, ensure};
use dev_stack::demo::{create_order, items};
use harness::names::COMMAND_API;
use harness::{Plan, World};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use local_stack::{Signal, wait_for};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use prost::Message;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);

/// A span, as far as it matters here; ids in hexadecimal.
#[derive(Debug, Clone)]
struct Seen {
    process: String,
    name: String,
    trace: String,
    span: String,
    parent: String,
    links: Vec<(String, String)>,
    aggregate: Option<String>,
}

/// A collector that remembers.
#[derive(Clone, Default)]
pub(crate) struct Sink {
    seen: Arc<Mutex<Vec<Seen>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Sink {
    /// Starts it; gives its URL, and what it lives in.
    pub(crate) async fn start(&self) -> anyhow::Result<(String, JoinSet<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (sink, mut serving) = (self.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let sink = sink.clone();
                let service = hyper::service::service_fn(move |request| sink.clone().take(request));
                let connection = hyper::server::conn::http1::Builder::new();
                connections.spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok((url, serving))
    }

    async fn take(self, request: Request<Incoming>) -> anyhow::Result<Response<Empty<Bytes>>> {
        ensure!(request.uri().path() == "/v1/traces", "{}", request.uri());
        let body = request.into_body().collect().await?.to_bytes();
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&body);
        let batch = ExportTraceServiceRequest::decode(body)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for spans in batch.resource_spans {
            let attributes = spans.resource.unwrap_or_default().attributes;
            let process = text(&attributes, "service.name").unwrap_or_default();
            for span in spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                seen.push(Seen {
                    process: process.clone(),
                    aggregate: text(&span.attributes, "aggregate_id"),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    span: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    links: span.links.iter().map(|l| (hex(&l.trace_id), hex(&l.span_id))).collect(),
                });
            }
        }
        Ok(Response::new(Empty::new()))
    }

    fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that was received, as it came.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(
    attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue],
    key: &str,
) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Attribute::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_one_story_from_its_request_to_its_record() -> anyhow::Result<()> {
    let sink = Sink::default();
    let (url, _serving) = sink.start().await?;
    let env = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url),
        ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "200".to_owned()),
        ("APP__LOG__FORMAT".to_owned(), "json".to_owned()),
        ("RUST_LOG".to_owned(), "info,event_store=debug,cdc=debug,messaging=debug".to_owned()),
    ];
    let world = World::start(Plan { env, ..Plan::default() }).await?;
    let (client, order) = (world.client(0), Uuid::now_v7());
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let mut body = create_order(Uuid::now_v7(), items(1));
    body["order_id"] = order.to_string().into();
    let given = format!("00-{trace}-{parent}-01");
    let headers = [
        ("idempotency-key", "one"),
        ("content-type", "application/json"),
        ("traceparent", given.as_str()),
    ];
    let url = format!("{}/v1/orders", client.commands);
    let answer = client.http.request(Method::POST, &url, &headers, Some(body.to_string().into()));
    let answer = answer.await?;
    ensure!(answer.status == 201, "{}", answer.body);

    let order = order.to_string();
    let of_order = |name: &'static str| {
        let (sink, order) = (sink.clone(), order.clone());
        async move {
            wait_for(&format!("the span {name}"), SOON, || async {
                let all = sink.all();
                let mine = |span: &&Seen| {
                    span.name == name && span.aggregate.as_ref().is_none_or(|id| *id == order)
                };
                all.iter().find(mine).cloned().ok_or_else(|| format!("{all:#?}"))
            })
            .await
        }
    };
    let request = of_order("POST /v1/orders").await?;
    ensure!((request.trace.as_str(), request.parent.as_str()) == (trace, parent), "{request:?}");
    for step in ["append", "announce"] {
        let step = of_order(step).await?;
        ensure!((&step.trace, &step.parent) == (&request.trace, &request.span), "{step:?}");
        ensure!(step.process == "command-api", "{step:?}");
    }
    let origin = (request.trace.clone(), request.span.clone());
    let send = of_order("send orders.events").await?;
    for process in ["projection-worker", "outbox-relay"] {
        let consumed = wait_for(&format!("{process} to process it"), SOON, || async {
            let all = sink.all();
            let mine =
                |span: &&Seen| span.process == process && span.name == "process OrderCreated";
            all.iter().find(mine).cloned().ok_or_else(|| format!("{all:#?}"))
        })
        .await?;
        ensure!(consumed.links == [origin.clone()], "{consumed:?} has no link to {origin:?}");
        ensure!(consumed.trace != request.trace && consumed.parent.is_empty(), "{consumed:?}");
        if process == "outbox-relay" {
            ensure!((&send.trace, &send.parent) == (&consumed.trace, &consumed.span), "{send:?}");
        }
    }
    let events = format!("{}/v1/orders/{order}/events", client.queries);
    let events = client.http.get(&events).await?;
    let stored = events.body["events"][0]["traceparent"].as_str().context("a stored trace")?;
    ensure!(stored == format!("00-{}-{}-01", request.trace, request.span), "{stored}");
    let correlation = answer.headers.get("x-correlation-id").context("a correlation id")?;
    let ids =
        [("aggregate_id", &*order), ("trace_id", trace), ("correlation_id", correlation.to_str()?)];
    for (program, message) in [
        ("command-api", "committed"),
        ("projection-worker", "handled"),
        ("outbox-relay", "published"),
    ] {
        is_told(&world, program, message, &ids)?;
    }
    world.finish().await
}

/// A line of the program's log says that, with these fields.
fn is_told(
    world: &World,
    program: &str,
    message: &str,
    fields: &[(&str, &str)],
) -> anyhow::Result<()> {
    let workers = world.stack.addresses().workers().into_iter();
    let name = workers.map(|worker| worker.name()).find(|name| name.starts_with(program));
    let log = world.logs().join(format!("{}.log", name.context("it is a worker")?));
    let log = std::fs::read_to_string(log)?;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let about: Vec<_> = lines.filter(|line| line["message"] == message).collect();
    let has_all = |line: &Value| fields.iter().all(|(field, value)| line[field] == *value);
    ensure!(about.iter().any(has_all), "{program}, {message}, {fields:?}: {about:#?}");
    Ok(())
}

/// A collector that is away holds nobody up, at work and at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_does_not_matter() -> anyhow::Result<()> {
    let nowhere = local_stack::free_port()?;
    let env = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), format!("http://127.0.0.1:{nowhere}")),
        ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "200".to_owned()),
    ];
    let world = World::start(Plan { env, ..Plan::default() }).await?;
    let client = world.client(0);
    for _ in 0..20 {
        client.create().await?;
    }
    let began = std::time::Instant::now();
    world.stack.stop(local_stack::Process::Worker(COMMAND_API, 0), Signal::Terminate).await?;
    ensure!(began.elapsed() < Duration::from_secs(8), "it took {:?} to end", began.elapsed());
    let log = std::fs::read_to_string(world.logs().join("command-api.log"))?;
    let told = log.lines().filter(|line| line.contains("takes no spans")).count();
    ensure!(told == 1, "its absence is told {told} times");
    world.finish_after(|line| line.contains("takes no spans")).await
}
