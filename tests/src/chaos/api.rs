//! The same state through the API: it must not differ from what the stores hold.

use super::patience::patiently;
use crate::check::disagreements;
use crate::dump::{Dump, Row};
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use hyper::StatusCode;
use local_stack::http::HttpClient;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Requests at the same time; `query-api` refuses more than it can bear.
const AT_ONCE: usize = 16;
const STATUSES: [&str; 5] = ["created", "confirmed", "shipped", "delivered", "cancelled"];

/// Everything that the API shows otherwise than the dump.
pub(super) async fn compare(
    http: &HttpClient,
    queries: &str,
    dump: &Dump,
) -> anyhow::Result<Vec<String>> {
    let models = &dump.read_models;
    let mut found = Vec::new();
    for (kind, rows) in
        [("orders", &models.order_read_model), ("customers", &models.customer_read_model)]
    {
        let shown = stream::iter(rows.keys().copied()).map(|id| async move {
            let url = format!("{queries}/v1/{kind}/{id}");
            let answer = patiently(|| http.get(&url)).await?;
            // What cannot be shown is shown otherwise than it is stored.
            let shown = (answer.status != StatusCode::NOT_FOUND).then_some(answer.body);
            anyhow::Ok((id, shown))
        });
        let shown = shown.buffer_unordered(AT_ONCE).try_collect().await?;
        found.extend(disagreements(rows, &shown));
        let histories = stream::iter(rows.keys().copied())
            .map(|id| async move { history(http, queries, kind, id, dump).await });
        let histories: Vec<Option<String>> =
            histories.buffer_unordered(AT_ONCE).try_collect().await?;
        found.extend(histories.into_iter().flatten());
    }
    for status in STATUSES {
        found.extend(list(http, queries, status, &models.orders_by_status).await?);
    }
    Ok(found)
}

/// The history of an aggregate, if it is not what is stored.
async fn history(
    http: &HttpClient,
    queries: &str,
    kind: &str,
    id: Uuid,
    dump: &Dump,
) -> anyhow::Result<Option<String>> {
    let mut shown: Vec<Value> = Vec::new();
    let mut after = Some(0);
    while let Some(from) = after {
        let url = format!("{queries}/v1/{kind}/{id}/events?after={from}");
        let answer = patiently(|| http.get(&url)).await?;
        if answer.status != StatusCode::OK {
            return Ok(Some(format!("{url}: {} {}", answer.status, answer.body)));
        }
        let events = answer.body["events"].as_array().context("a history has events")?;
        shown.extend(events.iter().map(|event| {
            json!([
                event["version"],
                event["id"],
                event["type"],
                event["command_id"],
                event["data"]
            ])
        }));
        after = answer.body["next"].as_u64();
    }
    let stored = dump.events.get(&id).into_iter().flatten().map(|(version, event)| {
        let data: Value = serde_json::from_str(&event.data)?;
        let command_id = event.metadata.command_id;
        Ok(json!([version, event.event_id, event.event_type, command_id, data]))
    });
    let stored: Vec<Value> = stored.collect::<anyhow::Result<_>>()?;
    Ok((shown != stored).then(|| {
        format!("the history of {id} is {} events, stored are {}", shown.len(), stored.len())
    }))
}

/// What a list of orders shows otherwise than its table.
async fn list(
    http: &HttpClient,
    queries: &str,
    status: &str,
    rows: &BTreeMap<Uuid, Vec<Row>>,
) -> anyhow::Result<Vec<String>> {
    let mut shown: BTreeMap<Uuid, Value> = BTreeMap::new();
    let mut found = Vec::new();
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let cursor = if cursor.is_empty() { cursor } else { format!("&cursor={cursor}") };
        let url = format!("{queries}/v1/orders?status={status}&limit=200{cursor}");
        let answer = patiently(|| http.get(&url)).await?;
        ensure!(answer.status == StatusCode::OK, "{url}: {} {}", answer.status, answer.body);
        for order in answer.body["orders"].as_array().context("a list has orders")? {
            let id = order["order_id"].as_str().unwrap_or_default().parse()?;
            if shown.insert(id, order["version"].clone()).is_some() {
                found.push(format!("the list of {status} orders shows {id} twice"));
            }
        }
        next = answer.body["next"].as_str().map(str::to_owned);
    }
    let there: BTreeMap<Uuid, Value> = rows
        .iter()
        .filter_map(|(id, rows)| {
            let row = rows.iter().find(|row| row.get("status") == Some(&json!(status)))?;
            Some((*id, row.get("version").cloned().unwrap_or_default()))
        })
        .collect();
    for id in there.keys().chain(shown.keys()) {
        if there.get(id) != shown.get(id) {
            found.push(format!(
                "the list of {status} orders shows {id} at {:?}, the table at {:?}",
                shown.get(id),
                there.get(id)
            ));
        }
    }
    Ok(found)
}
