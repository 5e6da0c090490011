//! P7 and P9: what reached the consumers, and in which order.

use crate::dump::Dump;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Who consumes the events of an aggregate type: group of slots and name in `consumer_cursors`.
pub(super) fn consumers(aggregate_type: &str) -> &'static [(&'static str, &'static str)] {
    match aggregate_type {
        "order" => &[("projections", "orders@1"), ("relay", "relay")],
        "customer" => &[("projections", "customers@1"), ("relay", "relay")],
        _ => &[("relay", "relay")],
    }
}

/// P7: every event is on its topic, every cursor at its aggregate's tail, every row at its version.
pub(super) fn nothing_is_skipped(dump: &Dump) -> Vec<String> {
    let mut violations = Vec::new();
    let missing = dump.missing_on_topics();
    for (aggregate_id, events) in &dump.events {
        for (version, event) in events {
            if missing.contains(&event.event_id) {
                violations.push(format!("{aggregate_id}/{version} is not on its topic"));
            }
        }
        let Some((tail, event)) = events.last_key_value() else { continue };
        let cursors = dump.cursors.get(aggregate_id);
        for (_, consumer) in consumers(&event.aggregate_type) {
            let handled = cursors.and_then(|cursors| cursors.get(*consumer)).copied();
            if handled != Some(*tail) {
                violations.push(format!(
                    "{consumer} handled {aggregate_id} up to {handled:?}, stored are {tail}"
                ));
            }
        }
        for (table, rows) in dump.read_models.tables() {
            let behind =
                rows.get(aggregate_id).into_iter().flatten().find(|row| {
                    row.get("version").and_then(serde_json::Value::as_u64) < Some(*tail)
                });
            if let Some(row) = behind {
                violations.push(format!(
                    "{table} shows {aggregate_id} at {:?}, stored are {tail}",
                    row.get("version")
                ));
            }
        }
    }
    violations
}

/// P9: first occurrences ascend without gap, one key in one partition, nothing that is not stored.
pub(super) fn topics_are_in_order(dump: &Dump) -> Vec<String> {
    let mut violations = Vec::new();
    let mut newest: HashMap<&str, u64> = HashMap::new();
    let mut partition: HashMap<&str, i32> = HashMap::new();
    let stored = dump.events.values().flat_map(|events| events.values());
    let stored: HashSet<Uuid> = stored.map(|event| event.event_id).collect();
    for record in &dump.topics {
        let Some(version) = record.version() else {
            violations.push(format!("a record without version: {record:?}"));
            continue;
        };
        let newest = newest.entry(&record.key).or_default();
        if version > *newest + 1 {
            violations.push(format!("{} shows {version} after {newest}", record.key));
        }
        *newest = version.max(*newest);
        let at = *partition.entry(&record.key).or_insert(record.partition);
        if at != record.partition {
            let here = record.partition;
            violations.push(format!("{} is in partitions {at} and {here}", record.key));
        }
        let event_id = record.attribute("id").and_then(|id| id.parse::<Uuid>().ok());
        if event_id.is_none_or(|event_id| !stored.contains(&event_id)) {
            violations.push(format!("{}/{version} is on a topic and not stored", record.key));
        }
    }
    violations
}
