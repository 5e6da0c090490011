//! The lists of orders: those of a customer, and those in a status.

use crate::buckets::{STATUS_SPREAD, customer_bucket, day};
use domain::OrderStatus;
use kernel::Timestamp;
use projection::listing::{List, Listed, PARTITIONS_MAX, Page, ints};
use scylla::DeserializeRow;
use scylla::value::{CqlTimestamp, CqlValue};
use uuid::Uuid;

/// One page of orders.
pub type OrderPage = Page<OrderSummary>;

/// An order in a list.
#[derive(Debug, Clone, PartialEq, Eq, DeserializeRow)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct OrderSummary {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    pub status: String,
    pub currency: String,
    pub total_minor: i64,
    pub created_at: CqlTimestamp,
    pub version: i64,
}

const COLUMNS: &str = "order_id, customer_id, status, currency, total_minor, created_at, version";

impl Listed for OrderSummary {
    fn created_at(&self) -> Timestamp {
        Timestamp(self.created_at.0)
    }

    fn id(&self) -> Uuid {
        self.order_id
    }
}

pub(super) struct ByCustomer {
    pub(super) customer_id: Uuid,
}

impl List for ByCustomer {
    type Row = OrderSummary;

    const COLUMNS: &'static str = COLUMNS;
    const BUCKETS_MAX: i32 = PARTITIONS_MAX;

    fn before() -> String {
        "orders_by_customer WHERE customer_id = ? AND bucket IN ? \
        AND created_at < ? PER PARTITION LIMIT ?"
            .to_owned()
    }

    fn at() -> String {
        "orders_by_customer WHERE customer_id = ? AND bucket = ? AND created_at = ?".to_owned()
    }

    fn bucket(at: Timestamp) -> i32 {
        customer_bucket(at)
    }

    fn key(&self, buckets: Vec<i32>) -> Vec<CqlValue> {
        vec![CqlValue::Uuid(self.customer_id), ints(buckets)]
    }

    fn key_at(&self, bucket: i32) -> Vec<CqlValue> {
        vec![CqlValue::Uuid(self.customer_id), CqlValue::Int(bucket)]
    }
}

pub(super) struct ByStatus {
    pub(super) status: OrderStatus,
}

impl List for ByStatus {
    type Row = OrderSummary;

    const COLUMNS: &'static str = COLUMNS;
    const BUCKETS_MAX: i32 = PARTITIONS_MAX / STATUS_SPREAD;

    fn before() -> String {
        "orders_by_status WHERE status = ? AND day IN ? AND spread IN ? \
        AND created_at < ? PER PARTITION LIMIT ?"
            .to_owned()
    }

    fn at() -> String {
        "orders_by_status WHERE status = ? AND day = ? AND spread IN ? AND created_at = ?"
            .to_owned()
    }

    fn bucket(at: Timestamp) -> i32 {
        day(at)
    }

    fn key(&self, buckets: Vec<i32>) -> Vec<CqlValue> {
        let status = CqlValue::Text(self.status.as_str().to_owned());
        vec![status, ints(buckets), ints(0..STATUS_SPREAD)]
    }

    fn key_at(&self, bucket: i32) -> Vec<CqlValue> {
        let status = CqlValue::Text(self.status.as_str().to_owned());
        vec![status, CqlValue::Int(bucket), ints(0..STATUS_SPREAD)]
    }
}
