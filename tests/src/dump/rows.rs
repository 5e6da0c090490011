//! The read models' tables, each row as a JSON object of its columns.

use anyhow::bail;
use futures::TryStreamExt;
use kernel::Timestamp;
use scylla::client::session::Session;
use scylla::value::CqlValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One row: column → value; null columns are absent. Times are RFC 3339, JSON columns are parsed.
pub type Row = Map<String, Value>;

const ORDER: [&str; 17] = [
    "order_id",
    "version",
    "customer_id",
    "status",
    "currency",
    "total_minor",
    "items",
    "carrier",
    "tracking_number",
    "signature",
    "cancel_reason",
    "created_at",
    "updated_at",
    "confirmed_at",
    "shipped_at",
    "delivered_at",
    "cancelled_at",
];
const BY_CUSTOMER: [&str; 8] = [
    "order_id",
    "customer_id",
    "bucket",
    "created_at",
    "version",
    "status",
    "currency",
    "total_minor",
];
const BY_STATUS: [&str; 9] = [
    "order_id",
    "status",
    "day",
    "spread",
    "created_at",
    "version",
    "customer_id",
    "currency",
    "total_minor",
];
const CUSTOMER: [&str; 10] = [
    "customer_id",
    "version",
    "name",
    "email",
    "phone",
    "status",
    "status_reason",
    "addresses",
    "registered_at",
    "updated_at",
];

/// Columns that hold JSON.
const JSON: [&str; 2] = ["items", "addresses"];

/// The rows of each table by aggregate: more than one where a list shows an aggregate more than
/// once.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the names are those of the tables")]
pub struct ReadModels {
    pub order_read_model: BTreeMap<Uuid, Vec<Row>>,
    pub orders_by_customer: BTreeMap<Uuid, Vec<Row>>,
    pub orders_by_status: BTreeMap<Uuid, Vec<Row>>,
    pub customer_read_model: BTreeMap<Uuid, Vec<Row>>,
}

impl ReadModels {
    pub(super) async fn read(session: &Session) -> anyhow::Result<Self> {
        Ok(Self {
            order_read_model: table(session, "order_read_model", &ORDER).await?,
            orders_by_customer: table(session, "orders_by_customer", &BY_CUSTOMER).await?,
            orders_by_status: table(session, "orders_by_status", &BY_STATUS).await?,
            customer_read_model: table(session, "customer_read_model", &CUSTOMER).await?,
        })
    }

    /// Each table by its name.
    pub fn tables(&self) -> [(&'static str, &BTreeMap<Uuid, Vec<Row>>); 4] {
        [
            ("order_read_model", &self.order_read_model),
            ("orders_by_customer", &self.orders_by_customer),
            ("orders_by_status", &self.orders_by_status),
            ("customer_read_model", &self.customer_read_model),
        ]
    }
}

/// Reads a table; the first column is the aggregate's id.
async fn table(
    session: &Session,
    name: &str,
    columns: &[&str],
) -> anyhow::Result<BTreeMap<Uuid, Vec<Row>>> {
    let text = format!("SELECT {} FROM {name}", columns.join(", "));
    let mut found: BTreeMap<Uuid, Vec<Row>> = BTreeMap::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<scylla::value::Row>()?;
    while let Some(row) = rows.try_next().await? {
        let Some(Some(CqlValue::Uuid(id))) = row.columns.first().cloned() else {
            bail!("{name} has a row without id");
        };
        let mut object = Row::new();
        for (column, value) in columns.iter().zip(row.columns) {
            if let Some(value) = value {
                object.insert((*column).to_owned(), plain(column, value)?);
            }
        }
        found.entry(id).or_default().push(object);
    }
    Ok(found)
}

fn plain(column: &str, value: CqlValue) -> anyhow::Result<Value> {
    Ok(match value {
        CqlValue::Uuid(id) => json!(id),
        CqlValue::BigInt(number) => json!(number),
        CqlValue::Int(number) => json!(number),
        CqlValue::Timestamp(at) => json!(Timestamp(at.0)),
        CqlValue::Text(text) if JSON.contains(&column) => serde_json::from_str(&text)?,
        CqlValue::Text(text) => json!(text),
        other => bail!("{column} is {other:?}"),
    })
}
