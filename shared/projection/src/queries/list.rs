//! Pages of orders over time buckets, newest first.
//!
//! Orders created in the same millisecond are ordered by id. Because a partition holds them in an
//! order of its own, such a tie is always read whole: at the place where the last page ended, and
//! at the place where this one ends.
//!
//! A page is read from the newest buckets on, first one, then twice as many as before, up to what
//! one query may name: a busy list is answered from its newest bucket, a quiet one in few queries.

use super::cursor::Cursor;
use super::{QueryError, prepare};
use crate::read_models::buckets::{DAY_MS, STATUS_SPREAD, customer_bucket, day};
use domain::OrderStatus;
use kernel::Timestamp;
use scylla::DeserializeRow;
use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue};
use uuid::Uuid;

/// What ScyllaDB allows in one query: so many partitions by `IN`.
const PARTITIONS_MAX: i32 = 100;
/// Clocks may differ: a list starts this far in the future.
const AHEAD_MS: i64 = 60 * 60 * 1000;

/// Which page.
#[derive(Debug, Clone, Copy)]
pub struct ListRequest {
    /// Orders per page; 0 counts as 1.
    pub limit: usize,
    /// Behind which order it starts.
    pub after: Option<Cursor>,
    /// How far back the list goes at least. Older orders may be listed as long as they share a
    /// bucket with younger ones.
    pub days_max: u32,
}

/// One page.
#[derive(Debug, Clone)]
pub struct OrderPage {
    /// Newest first.
    pub orders: Vec<OrderSummary>,
    /// Where the next page starts; `None` at the end of the list.
    pub next: Option<Cursor>,
}

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

/// One of the lists: its statements and its partitions.
pub(super) trait Source: Sync {
    const BEFORE: &'static str;
    const AT: &'static str;

    /// How many buckets one query may name.
    const BUCKETS_MAX: i32;

    fn bucket(at: Timestamp) -> i32;
    /// The markers before the time: the partition key over these buckets.
    fn key(&self, buckets: Vec<i32>) -> Vec<CqlValue>;
    /// The same for one bucket.
    fn key_at(&self, bucket: i32) -> Vec<CqlValue>;
}

pub(super) struct ByCustomer {
    pub(super) customer_id: Uuid,
}

impl Source for ByCustomer {
    const BEFORE: &'static str = "orders_by_customer WHERE customer_id = ? AND bucket IN ? \
        AND created_at < ? PER PARTITION LIMIT ?";
    const AT: &'static str =
        "orders_by_customer WHERE customer_id = ? AND bucket = ? AND created_at = ?";
    const BUCKETS_MAX: i32 = PARTITIONS_MAX;

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

impl Source for ByStatus {
    const BEFORE: &'static str = "orders_by_status WHERE status = ? AND day IN ? AND spread IN ? \
        AND created_at < ? PER PARTITION LIMIT ?";
    const AT: &'static str =
        "orders_by_status WHERE status = ? AND day = ? AND spread IN ? AND created_at = ?";
    const BUCKETS_MAX: i32 = PARTITIONS_MAX / STATUS_SPREAD;

    fn bucket(at: Timestamp) -> i32 {
        day(at)
    }

    fn key(&self, buckets: Vec<i32>) -> Vec<CqlValue> {
        let status = CqlValue::Text(self.status.as_str().to_owned());
        vec![status, ints(buckets), ints((0..STATUS_SPREAD).collect())]
    }

    fn key_at(&self, bucket: i32) -> Vec<CqlValue> {
        let status = CqlValue::Text(self.status.as_str().to_owned());
        vec![status, CqlValue::Int(bucket), ints((0..STATUS_SPREAD).collect())]
    }
}

fn ints(values: Vec<i32>) -> CqlValue {
    CqlValue::List(values.into_iter().map(CqlValue::Int).collect())
}

pub(super) struct Listing {
    before: PreparedStatement,
    at: PreparedStatement,
}

impl Listing {
    pub(super) async fn open<S: Source>(session: &Session) -> Result<Self, PrepareError> {
        Ok(Self {
            before: prepare(session, &format!("SELECT {COLUMNS} FROM {}", S::BEFORE)).await?,
            at: prepare(session, &format!("SELECT {COLUMNS} FROM {}", S::AT)).await?,
        })
    }
}

/// One page of a list.
pub(super) async fn page<S: Source>(
    session: &Session,
    listing: &Listing,
    source: &S,
    now: Timestamp,
    request: &ListRequest,
) -> Result<OrderPage, QueryError> {
    let reader = Reader { session, listing, source };
    let limit = request.limit.max(1);
    let newest = Timestamp(now.0.saturating_add(AHEAD_MS));
    let look_back = i64::from(request.days_max).saturating_mul(DAY_MS);
    let oldest = S::bucket(Timestamp(now.0.saturating_sub(look_back)));

    // A cursor comes from the client, so it may be of any time.
    let after = request.after.filter(|cursor| cursor.created_at <= newest);
    let start = after.map_or(newest, |cursor| cursor.created_at);
    let mut orders = match after {
        Some(cursor) if S::bucket(start) >= oldest => {
            let mut tied = reader.tie(start).await?;
            tied.retain(|order| order.order_id > cursor.order_id);
            tied
        }
        Some(_) | None => Vec::new(),
    };
    let mut buckets =
        Buckets { next: Some(S::bucket(start)), oldest, count: 1, max: S::BUCKETS_MAX };
    while orders.len() <= limit
        && let Some(some) = buckets.next()
    {
        orders.extend(reader.before(some, start, limit.saturating_add(1)).await?);
    }
    sort(&mut orders);
    if orders.len() <= limit {
        // No partition had more to give than was read, so this is the end.
        return Ok(OrderPage { orders, next: None });
    }
    let end = Timestamp(orders[limit - 1].created_at.0);
    if end != start {
        // Rows of this tie, and rows behind it, may have been cut off.
        orders.retain(|order| order.created_at.0 > end.0);
        orders.extend(reader.tie(end).await?);
        sort(&mut orders);
    }
    orders.truncate(limit);
    // Orders leave a status at any time: where the tie has shrunk meanwhile, it was read whole.
    let last = orders.get(limit - 1).map_or(Uuid::max(), |order| order.order_id);
    Ok(OrderPage { orders, next: Some(Cursor { created_at: end, order_id: last }) })
}

/// Walks back from the newest bucket, in growing strides.
struct Buckets {
    next: Option<i32>,
    oldest: i32,
    count: i32,
    max: i32,
}

impl Iterator for Buckets {
    type Item = Vec<i32>;

    fn next(&mut self) -> Option<Vec<i32>> {
        let first = self.next.filter(|next| *next >= self.oldest)?;
        let last = first.saturating_sub(self.count - 1).max(self.oldest);
        let buckets = (last..=first).collect();
        self.next = last.checked_sub(1);
        self.count = self.count.saturating_mul(2).min(self.max);
        Some(buckets)
    }
}

struct Reader<'a, S> {
    session: &'a Session,
    listing: &'a Listing,
    source: &'a S,
}

impl<S: Source> Reader<'_, S> {
    async fn before(
        &self,
        buckets: Vec<i32>,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<OrderSummary>, QueryError> {
        let mut values = self.source.key(buckets);
        values.push(CqlValue::Timestamp(CqlTimestamp(before.0)));
        values.push(CqlValue::Int(i32::try_from(limit).unwrap_or(i32::MAX)));
        self.rows(&self.listing.before, values).await
    }

    /// Everything that was created at one moment.
    async fn tie(&self, at: Timestamp) -> Result<Vec<OrderSummary>, QueryError> {
        let mut values = self.source.key_at(S::bucket(at));
        values.push(CqlValue::Timestamp(CqlTimestamp(at.0)));
        self.rows(&self.listing.at, values).await
    }

    async fn rows(
        &self,
        statement: &PreparedStatement,
        values: Vec<CqlValue>,
    ) -> Result<Vec<OrderSummary>, QueryError> {
        let rows = self.session.execute_unpaged(statement, values).await?.into_rows_result()?;
        let rows = rows.rows::<OrderSummary>()?;
        rows.map(|row| row.map_err(|error| QueryError::Shape(error.to_string()))).collect()
    }
}

fn sort(orders: &mut [OrderSummary]) {
    orders.sort_by(|a, b| {
        b.created_at.0.cmp(&a.created_at.0).then_with(|| a.order_id.cmp(&b.order_id))
    });
}
