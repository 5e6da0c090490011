//! Pages of a list over time buckets, newest first, whatever the list.
//!
//! A projection keeps a list in partitions of one time bucket each, clustered by `created_at`, newest first. What was
//! created in the same millisecond is ordered by id. Because a partition holds such a tie in an
//! order of its own, it is always read whole: at the place where the last page ended, and
//! at the place where this one ends.
//!
//! A page is read from the newest buckets on, first one, then twice as many as before, up to what
//! one query may name: a busy list is answered from its newest bucket, a quiet one in few queries.

mod cursor;

pub use cursor::{Cursor, CursorError};

use crate::projection::Table;
use crate::query_error::QueryError;
use kernel::Timestamp;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::PrepareError;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue};
use std::marker::PhantomData;
use std::sync::Arc;
use uuid::Uuid;

/// What ScyllaDB allows in one query: so many partitions by `IN`.
pub const PARTITIONS_MAX: i32 = 100;
/// Clocks may differ: a list starts this far in the future.
const AHEAD_MS: i64 = 60 * 60 * 1000;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Which page.
#[derive(Debug, Clone, Copy)]
pub struct ListRequest {
    /// Rows per page; 0 counts as 1.
    pub limit: usize,
    /// Behind which row it starts.
    pub after: Option<Cursor>,
    /// How far back the list goes at least. Older rows may be listed as long as they share a
    /// bucket with younger ones.
    pub days_max: u32,
}

/// One page.
#[derive(Debug, Clone)]
pub struct Page<R> {
    /// Newest first.
    pub rows: Vec<R>,
    /// Where the next page starts; `None` at the end of the list.
    pub next: Option<Cursor>,
}

/// A row of a list.
pub trait Listed: Send {
    /// When what it shows was created.
    fn created_at(&self) -> Timestamp;
    /// The aggregate that it shows.
    fn id(&self) -> Uuid;
}

/// A list: which rows of a table it has, and how they are asked for.
pub trait List: Send + Sync {
    /// Its rows.
    type Row: Listed + for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>;

    /// The columns of a row.
    const COLUMNS: &'static str;
    /// How many buckets one query may name: all partitions together are at most [`PARTITIONS_MAX`].
    const BUCKETS_MAX: i32;

    /// What follows `FROM` to read several buckets before a time: the table, the partition key over these
    /// buckets, `created_at < ?` and `PER PARTITION LIMIT ?`.
    fn before() -> String;
    /// The same for one bucket at one time: the partition key and `created_at = ?`.
    fn at() -> String;

    /// The bucket of a time.
    fn bucket(at: Timestamp) -> i32;
    /// The markers of [`List::before`] before the time: the partition key over these buckets.
    fn key(&self, buckets: Vec<i32>) -> Vec<CqlValue>;
    /// The same of [`List::at`], for one bucket.
    fn key_at(&self, bucket: i32) -> Vec<CqlValue>;
}

/// A list of everything, in partitions of one bucket each: the simplest list. A busy one wants to spread each bucket
/// over several partitions.
pub trait Timeline: Send + Sync {
    /// Its rows.
    type Row: Listed + for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>;

    /// The table. Its partition key is the bucket, an `int`; its first clustering column is when a row's
    /// aggregate was created, a `timestamp`, newest first.
    const TABLE: Table;
    /// The columns of a row.
    const COLUMNS: &'static str;
    /// Days per bucket; a partition holds all that was created in them.
    const BUCKET_DAYS: i32;
}

impl<T: Timeline> List for T {
    type Row = T::Row;

    const COLUMNS: &'static str = T::COLUMNS;
    const BUCKETS_MAX: i32 = PARTITIONS_MAX;

    fn before() -> String {
        let (table, bucket, at) = names_of::<T>();
        format!("{table} WHERE {bucket} IN ? AND {at} < ? PER PARTITION LIMIT ?")
    }

    fn at() -> String {
        let (table, bucket, at) = names_of::<T>();
        format!("{table} WHERE {bucket} = ? AND {at} = ?")
    }

    fn bucket(at: Timestamp) -> i32 {
        let bucket = at.0.div_euclid(DAY_MS * i64::from(T::BUCKET_DAYS));
        i32::try_from(bucket).unwrap_or(if bucket < 0 { i32::MIN } else { i32::MAX })
    }

    fn key(&self, buckets: Vec<i32>) -> Vec<CqlValue> {
        vec![ints(buckets)]
    }

    fn key_at(&self, bucket: i32) -> Vec<CqlValue> {
        vec![CqlValue::Int(bucket)]
    }
}

/// The table, its bucket, and the time by which it is ordered. A table without these columns does not compile.
const fn names_of<T: Timeline>() -> (&'static str, &'static str, &'static str) {
    const { (T::TABLE.name, T::TABLE.partition[0], T::TABLE.clustering[0]) }
}

/// A list of numbers, for a marker behind `IN`.
#[must_use]
pub fn ints(values: impl IntoIterator<Item = i32>) -> CqlValue {
    CqlValue::List(values.into_iter().map(CqlValue::Int).collect())
}

/// The prepared reads of a list.
pub struct Listing<L> {
    session: Arc<Session>,
    before: PreparedStatement,
    at: PreparedStatement,
    list: PhantomData<fn() -> L>,
}

impl<L: List> Listing<L> {
    /// Prepares the reads; the table must be there.
    pub async fn open(session: Arc<Session>) -> Result<Self, PrepareError> {
        let prepare = async |rest: String| {
            let text = format!("SELECT {} FROM {rest}", L::COLUMNS);
            let mut statement = session.prepare(text).await?;
            statement.set_is_idempotent(true);
            Ok::<_, PrepareError>(statement)
        };
        let (before, at) = (prepare(L::before()).await?, prepare(L::at()).await?);
        Ok(Self { session, before, at, list: PhantomData })
    }

    /// One page, newest first. A cursor comes from the client, so it may be of any time.
    pub async fn page(
        &self,
        list: &L,
        now: Timestamp,
        request: &ListRequest,
    ) -> Result<Page<L::Row>, QueryError> {
        let limit = request.limit.max(1);
        let newest = Timestamp(now.0.saturating_add(AHEAD_MS));
        let look_back = i64::from(request.days_max).saturating_mul(DAY_MS);
        let oldest = L::bucket(Timestamp(now.0.saturating_sub(look_back)));
        let after = request.after.filter(|cursor| cursor.created_at <= newest);
        let start = after.map_or(newest, |cursor| cursor.created_at);
        let mut rows = match after {
            Some(cursor) if L::bucket(start) >= oldest => {
                let mut tied = self.tie(list, start).await?;
                tied.retain(|row| row.id() > cursor.id);
                tied
            }
            Some(_) | None => Vec::new(),
        };
        let mut buckets =
            Buckets { next: Some(L::bucket(start)), oldest, count: 1, max: L::BUCKETS_MAX };
        while rows.len() <= limit
            && let Some(some) = buckets.next()
        {
            rows.extend(self.before(list, some, start, limit.saturating_add(1)).await?);
        }
        sort(&mut rows);
        if rows.len() <= limit {
            // No partition had more to give than was read, so this is the end.
            return Ok(Page { rows, next: None });
        }
        let end = rows[limit - 1].created_at();
        if end != start {
            // Rows of this tie, and rows behind it, may have been cut off.
            rows.retain(|row| row.created_at() > end);
            rows.extend(self.tie(list, end).await?);
            sort(&mut rows);
        }
        rows.truncate(limit);
        // Rows leave a list at any time: a tie that has shrunk meanwhile was read whole.
        let last = rows.get(limit - 1).map_or(Uuid::max(), Listed::id);
        Ok(Page { rows, next: Some(Cursor { created_at: end, id: last }) })
    }

    async fn before(
        &self,
        list: &L,
        buckets: Vec<i32>,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<L::Row>, QueryError> {
        let mut values = list.key(buckets);
        values.push(CqlValue::Timestamp(CqlTimestamp(before.0)));
        values.push(CqlValue::Int(i32::try_from(limit).unwrap_or(i32::MAX)));
        self.rows(&self.before, values).await
    }

    /// Everything that was created at one moment.
    async fn tie(&self, list: &L, at: Timestamp) -> Result<Vec<L::Row>, QueryError> {
        let mut values = list.key_at(L::bucket(at));
        values.push(CqlValue::Timestamp(CqlTimestamp(at.0)));
        self.rows(&self.at, values).await
    }

    async fn rows(
        &self,
        statement: &PreparedStatement,
        values: Vec<CqlValue>,
    ) -> Result<Vec<L::Row>, QueryError> {
        let rows = self.session.execute_unpaged(statement, values).await?.into_rows_result()?;
        let rows = rows.rows::<L::Row>()?;
        rows.map(|row| row.map_err(|error| QueryError::Shape(error.to_string()))).collect()
    }
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

fn sort<R: Listed>(rows: &mut [R]) {
    rows.sort_by(|a, b| b.created_at().cmp(&a.created_at()).then_with(|| a.id().cmp(&b.id())));
}
