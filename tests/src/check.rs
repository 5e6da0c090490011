//! The checker: given what clients were told and what the stores hold, is every promise kept?

use crate::client::{Outcome, Told};
use crate::dump::Dump;
use domain::OrderStatus;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What a test knows beside the dump.
#[derive(Debug, Default)]
pub struct Expectations {
    /// Every command with its last answer.
    pub told: Vec<Told>,
    /// Whether every stored event belongs to a command of `told` that was accepted: true when all
    /// outcomes are settled and nobody else sent anything.
    pub complete: bool,
}

/// All violations, readable; empty when every promise is kept.
pub fn verify(dump: &Dump, expected: &Expectations) -> Vec<String> {
    let mut violations = Vec::new();
    acknowledged_is_stored(dump, expected, &mut violations);
    versions_are_gapless(dump, &mut violations);
    stored_is_announced(dump, &mut violations);
    topics_are_in_order(dump, &mut violations);
    read_models_equal_folds(dump, &mut violations);
    violations
}

/// P1, P2 and P5: accepted events are stored, each once, and nothing else is.
fn acknowledged_is_stored(dump: &Dump, expected: &Expectations, violations: &mut Vec<String>) {
    let mut accepted: BTreeMap<(Uuid, u64), Uuid> = BTreeMap::new();
    for told in &expected.told {
        let (Some(aggregate_id), Outcome::Accepted(events)) = (told.aggregate_id, &told.outcome)
        else {
            continue;
        };
        for (version, event_id) in events {
            if let Some(other) = accepted.insert((aggregate_id, *version), *event_id)
                && other != *event_id
            {
                violations.push(format!("P3 {aggregate_id}/{version} acknowledged twice"));
            }
            let stored = dump.events.get(&aggregate_id).and_then(|events| events.get(version));
            if stored.is_none_or(|event| event.event_id != *event_id) {
                violations.push(format!(
                    "P1 {aggregate_id}/{version} {event_id} acknowledged, not stored"
                ));
            }
        }
    }
    if !expected.complete {
        return;
    }
    for (aggregate_id, events) in &dump.events {
        for version in events.keys() {
            if !accepted.contains_key(&(*aggregate_id, *version)) {
                violations.push(format!("P2 {aggregate_id}/{version} stored, never acknowledged"));
            }
        }
    }
}

/// P3: 1, 2, 3, … and no event twice.
fn versions_are_gapless(dump: &Dump, violations: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (aggregate_id, events) in &dump.events {
        if !events.keys().copied().eq(1..=events.len() as u64) {
            violations.push(format!("P3 {aggregate_id} has versions {:?}", events.keys()));
        }
        for event in events.values() {
            if !seen.insert(event.event_id) {
                violations.push(format!("P3 event {} is stored twice", event.event_id));
            }
        }
    }
}

/// P14: the same events in both tables.
fn stored_is_announced(dump: &Dump, violations: &mut Vec<String>) {
    let aggregates: BTreeSet<_> = dump.events.keys().chain(dump.outbox.keys()).collect();
    for aggregate_id in aggregates {
        let (stored, announced) = (dump.events.get(aggregate_id), dump.outbox.get(aggregate_id));
        if stored != announced {
            violations.push(format!(
                "P14 {aggregate_id} stored {:?} announced {:?}",
                stored.map(|events| events.keys().collect::<Vec<_>>()),
                announced.map(|events| events.keys().collect::<Vec<_>>())
            ));
        }
    }
}

/// P7 and P9: every event on its topic, first occurrences ascending, one key in one partition.
fn topics_are_in_order(dump: &Dump, violations: &mut Vec<String>) {
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut partition: BTreeMap<&str, i32> = BTreeMap::new();
    let mut published = BTreeSet::new();
    for record in &dump.topics {
        let Some(version) = record.version() else {
            violations.push(format!("P9 a record without version: {record:?}"));
            continue;
        };
        let newest = newest.entry(&record.key).or_default();
        if version == *newest + 1 {
            *newest = version;
        } else if version > *newest {
            violations.push(format!("P9 {} shows {version} after {newest}", record.key));
            *newest = version;
        }
        let at = *partition.entry(&record.key).or_insert(record.partition);
        if at != record.partition {
            violations
                .push(format!("P9 {} is in partitions {at} and {}", record.key, record.partition));
        }
        published.extend(record.attribute("id").and_then(|id| id.parse::<Uuid>().ok()));
    }
    for (aggregate_id, events) in &dump.events {
        for (version, event) in events {
            if !published.remove(&event.event_id) {
                violations.push(format!("P7 {aggregate_id}/{version} is not on its topic"));
            }
        }
    }
    for event_id in published {
        violations.push(format!("P2 {event_id} is on a topic and not stored"));
    }
}

/// P8: a read model shows the fold of the events, in exactly one row per list.
fn read_models_equal_folds(dump: &Dump, violations: &mut Vec<String>) {
    for (aggregate_id, events) in &dump.events {
        let Some((version, status)) = fold(events.iter().map(|(v, e)| (*v, e.event_type.as_str())))
        else {
            continue;
        };
        let expected = (status.as_str().to_owned(), version);
        if dump.orders.get(aggregate_id) != Some(&expected) {
            violations.push(format!(
                "P8 {aggregate_id} is {expected:?}, order_read_model shows {:?}",
                dump.orders.get(aggregate_id)
            ));
        }
        for (table, rows) in
            [("orders_by_customer", &dump.by_customer), ("orders_by_status", &dump.by_status)]
        {
            if rows.get(aggregate_id) != Some(&vec![expected.clone()]) {
                violations.push(format!(
                    "P8 {aggregate_id} is {expected:?}, {table} shows {:?}",
                    rows.get(aggregate_id)
                ));
            }
        }
    }
}

/// Version and status of an order; `None` for aggregates of another type.
fn fold<'a>(events: impl Iterator<Item = (u64, &'a str)>) -> Option<(u64, OrderStatus)> {
    let mut state = None;
    for (version, event_type) in events {
        let status = match event_type {
            "OrderCreated" => OrderStatus::Created,
            "OrderItemsUpdated" => state.map(|(_, status)| status)?,
            "OrderConfirmed" => OrderStatus::Confirmed,
            "OrderShipped" => OrderStatus::Shipped,
            "OrderDelivered" => OrderStatus::Delivered,
            "OrderCancelled" => OrderStatus::Cancelled,
            _ => return None,
        };
        state = Some((version, status));
    }
    state
}
