//! P8: the read models show what the events say, once.

use super::evidence::Evidence;
use crate::dump::{Row, StoredEvent};
use kernel::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A day in milliseconds, and how many days and partitions the lists' buckets have.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const CUSTOMER_BUCKET_DAYS: i64 = 90;
const STATUS_SPREAD: u8 = 16;

/// Every row equals the fold of its aggregate's events, there is one row per table, none without
/// events, and the API shows the same.
pub(super) fn read_models_are_folds(evidence: &Evidence<'_>) -> Vec<String> {
    let dump = evidence.dump;
    let mut violations: Vec<String> = evidence.disagreements.unwrap_or_default().to_vec();
    for (table, rows) in dump.read_models.tables() {
        for id in rows.keys().filter(|id| !dump.events.contains_key(id)) {
            violations.push(format!("{table} shows {id}, of which nothing is stored"));
        }
    }
    for (aggregate_id, events) in &dump.events {
        let expected = match expected(*aggregate_id, events) {
            Ok(expected) => expected,
            Err(why) => {
                violations.push(format!("{aggregate_id} cannot be folded: {why}"));
                continue;
            }
        };
        for (table, rows) in dump.read_models.tables() {
            let shown = rows.get(aggregate_id).map(Vec::as_slice).unwrap_or_default();
            let right = match expected.get(table) {
                Some(row) => shown == [row.clone()],
                None => shown.is_empty(),
            };
            if !right {
                let wanted = expected.get(table);
                violations
                    .push(format!("{table} shows {aggregate_id} as {shown:?}, not {wanted:?}"));
            }
        }
    }
    violations
}

/// What the API of the queries shows otherwise than the dump: `shown` has the answer per aggregate of
/// the type's own route, `None` for "not found".
pub fn disagreements(
    rows: &BTreeMap<Uuid, Vec<Row>>,
    shown: &BTreeMap<Uuid, Option<Value>>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (id, answer) in shown {
        let row = rows.get(id).and_then(|rows| rows.first());
        let answer = answer.as_ref().and_then(Value::as_object).map(|object| {
            let there = object.iter().filter(|(_, value)| !value.is_null());
            there.map(|(name, value)| (name.clone(), value.clone())).collect::<Row>()
        });
        if answer.as_ref() != row {
            found.push(format!("the API shows {id} as {answer:?}, the table as {row:?}"));
        }
    }
    found
}

type Rows = BTreeMap<&'static str, Row>;

/// The row of each table.
fn expected(aggregate_id: Uuid, events: &BTreeMap<u64, StoredEvent>) -> Result<Rows, String> {
    let mut row = Row::new();
    let mut kind = "";
    for (version, event) in events {
        kind = &event.aggregate_type;
        let data: Value = serde_json::from_str(&event.data).map_err(|error| error.to_string())?;
        row.insert("version".to_owned(), json!(version));
        row.insert("updated_at".to_owned(), json!(Timestamp(event.recorded_at_ms)));
        apply(&mut row, &event.event_type, &data)?;
    }
    match kind {
        "order" => order_rows(aggregate_id, row),
        "customer" => {
            row.insert("customer_id".to_owned(), json!(aggregate_id));
            row.entry("addresses").or_insert_with(|| json!([]));
            Ok(Rows::from([("customer_read_model", row)]))
        }
        other => Err(format!("type {other:?}")),
    }
}

fn order_rows(order_id: Uuid, mut row: Row) -> Result<Rows, String> {
    row.insert("order_id".to_owned(), json!(order_id));
    let created = row.get("created_at").and_then(Value::as_str).ok_or("no creation")?;
    let created = Timestamp::parse_rfc3339(created).ok_or("a creation at no time")?;
    let day = created.0.div_euclid(DAY_MS);
    let part = |columns: &[&str]| -> Row {
        let there = columns.iter().filter_map(|column| row.get_key_value(*column));
        there.map(|(column, value)| (column.clone(), value.clone())).collect()
    };
    let shown =
        ["order_id", "customer_id", "created_at", "version", "status", "currency", "total_minor"];
    let (mut by_customer, mut by_status) = (part(&shown), part(&shown));
    by_customer.insert("bucket".to_owned(), json!(day.div_euclid(CUSTOMER_BUCKET_DAYS)));
    by_status.insert("day".to_owned(), json!(day));
    let spread = order_id.as_bytes()[15] % STATUS_SPREAD;
    by_status.insert("spread".to_owned(), json!(spread));
    Ok(Rows::from([
        ("order_read_model", row),
        ("orders_by_customer", by_customer),
        ("orders_by_status", by_status),
    ]))
}

/// What one event changes of an aggregate's row.
fn apply(row: &mut Row, event_type: &str, data: &Value) -> Result<(), String> {
    let mut take = |columns: &[&str]| {
        for column in columns {
            match data.get(*column) {
                Some(value) if !value.is_null() => {
                    row.insert((*column).to_owned(), value.clone());
                }
                _ => drop(row.remove(*column)),
            }
        }
    };
    let status = match event_type {
        "OrderCreated" => {
            take(&["customer_id", "currency", "items", "total_minor", "created_at"]);
            Some("created")
        }
        "OrderItemsUpdated" => {
            take(&["items", "total_minor"]);
            None
        }
        "OrderConfirmed" => {
            take(&["confirmed_at"]);
            Some("confirmed")
        }
        "OrderShipped" => {
            take(&["carrier", "tracking_number", "shipped_at"]);
            Some("shipped")
        }
        "OrderDelivered" => {
            take(&["signature", "delivered_at"]);
            Some("delivered")
        }
        "OrderCancelled" => {
            take(&["cancelled_at"]);
            row.insert("cancel_reason".to_owned(), data["reason"].clone());
            Some("cancelled")
        }
        "CustomerRegistered" => {
            take(&["name", "email", "phone", "registered_at"]);
            Some("active")
        }
        "CustomerProfileUpdated" => {
            take(&["name", "phone"]);
            None
        }
        "CustomerEmailChanged" => {
            take(&["email"]);
            None
        }
        "CustomerAddressAdded" => {
            let mut address = data["address"].as_object().cloned().ok_or("no address")?;
            address.insert("address_id".to_owned(), data["address_id"].clone());
            let list = row.entry("addresses").or_insert_with(|| json!([]));
            list.as_array_mut().ok_or("no list")?.push(Value::Object(address));
            None
        }
        "CustomerAddressRemoved" => {
            let list = row.get_mut("addresses").and_then(Value::as_array_mut).ok_or("no list")?;
            list.retain(|address| address["address_id"] != data["address_id"]);
            None
        }
        "CustomerSuspended" | "CustomerDeactivated" => {
            row.insert("status_reason".to_owned(), data["reason"].clone());
            Some(if event_type == "CustomerSuspended" { "suspended" } else { "deactivated" })
        }
        "CustomerReactivated" => {
            row.remove("status_reason");
            Some("active")
        }
        other => return Err(format!("an event {other}")),
    };
    if let Some(status) = status {
        row.insert("status".to_owned(), json!(status));
    }
    Ok(())
}
