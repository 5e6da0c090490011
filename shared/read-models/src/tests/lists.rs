//! Pages of the lists against the embedded engine, compared with a sorted `Vec`.

use super::database::Database;
use crate::buckets::{DAY_MS, customer_bucket, day, spread};
use crate::queries::{OrderPage, Queries};
use domain::OrderStatus;
use futures::future::join_all;
use kernel::Timestamp;
use projection::listing::{Cursor, ListRequest};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use uuid::Uuid;

/// More pages than any list here has: a cursor that does not move on shows.
const PAGES_MAX: usize = 1_000;

/// An order of a list: when, and its id.
type Place = (Timestamp, Uuid);

struct Lists {
    database: Database,
    queries: Queries,
    by_customer: PreparedStatement,
    by_status: PreparedStatement,
}

#[derive(Debug, Clone, Copy)]
enum List {
    Of(Uuid),
    In(OrderStatus),
}

impl Lists {
    async fn start() -> Self {
        let database = Database::start().await;
        let prepare = async |text| database.session.prepare(text).await.expect("prepare");
        let by_customer = prepare(
            "INSERT INTO orders_by_customer (customer_id, bucket, created_at, order_id, version, \
             status, currency, total_minor) VALUES (?, ?, ?, ?, 1, 'created', 'EUR', 1) \
             USING TIMESTAMP 3",
        );
        let by_customer = by_customer.await;
        let by_status = prepare(
            "INSERT INTO orders_by_status (status, day, spread, created_at, order_id, version, \
             customer_id, currency, total_minor) VALUES (?, ?, ?, ?, ?, 1, ?, 'EUR', 1) \
             USING TIMESTAMP 3",
        );
        let by_status = by_status.await;
        let queries = Queries::open(Arc::clone(&database.session)).await.expect("prepare");
        Self { database, queries, by_customer, by_status }
    }

    /// Puts orders into a list.
    async fn fill(&self, list: List, places: &[Place]) {
        let session = &self.database.session;
        join_all(places.iter().map(async |&(at, id)| {
            let time = CqlTimestamp(at.0);
            let written = match list {
                List::Of(customer) => {
                    let values = (customer, customer_bucket(at), time, id);
                    session.execute_unpaged(&self.by_customer, values).await
                }
                List::In(status) => {
                    let values = (status.as_str(), day(at), spread(id), time, id, Uuid::nil());
                    session.execute_unpaged(&self.by_status, values).await
                }
            };
            written.expect("an order can be listed");
        }))
        .await;
    }

    async fn page(&self, list: List, now: Timestamp, request: &ListRequest) -> OrderPage {
        let page = match list {
            List::Of(customer) => self.queries.orders_of_customer(customer, now, request).await,
            List::In(status) => self.queries.orders_by_status(status, now, request).await,
        };
        page.expect("a page can be read")
    }

    /// Everything, page by page. Cursors go out and come back as clients send them.
    async fn walk(&self, list: List, now: Timestamp, limit: usize, days_max: u32) -> Vec<Place> {
        let mut all = Vec::new();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let page = self.page(list, now, &ListRequest { limit, after, days_max }).await;
            assert!(page.rows.len() <= limit, "{} orders on a page", page.rows.len());
            assert!(page.next.is_none() || page.rows.len() == limit, "a page that is not full");
            all.extend(
                page.rows.iter().map(|order| (Timestamp(order.created_at.0), order.order_id)),
            );
            match page.next {
                Some(next) => after = Some(next.to_string().parse::<Cursor>().expect("a cursor")),
                None => return all,
            }
        }
        panic!("{PAGES_MAX} pages and no end: {all:?}");
    }
}

fn sorted(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_by_key(|&(at, id)| (Reverse(at), id));
    places
}

/// Midnight of a day that begins a bucket of `orders_by_customer`.
const MIDNIGHT: Timestamp = Timestamp(19_980 * DAY_MS);

fn at(ms: i64) -> Timestamp {
    Timestamp(MIDNIGHT.0 + ms)
}

/// Ids in an order that differs from the database's own for every version of UUID.
fn id(number: u8) -> Uuid {
    let version = [1, 4, 7][usize::from(number) % 3];
    let mut id = Uuid::new_v5(&Uuid::nil(), &[number]).into_bytes();
    id[6] = (id[6] & 0x0F) | (version << 4);
    Uuid::from_bytes(id)
}

const CUSTOMER: Uuid = Uuid::from_u128(7);
const CREATED: OrderStatus = OrderStatus::Created;

#[tokio::test]
async fn a_tie_larger_than_a_page_is_listed_whole() {
    let lists = Lists::start().await;
    let now = at(5_000);
    let tie = (0..20).map(|number| (at(1_000), id(number)));
    let rest = [(at(999), id(100)), (at(1_001), id(101)), (at(0), id(102)), (at(-1), id(103))];
    let expected = sorted(tie.chain(rest).collect());
    for list in [List::Of(CUSTOMER), List::In(CREATED)] {
        lists.fill(list, &expected).await;
        for limit in 1..=expected.len() + 1 {
            assert_eq!(lists.walk(list, now, limit, 30).await, expected, "{list:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_list_reaches_over_empty_days_and_bucket_boundaries() {
    let lists = Lists::start().await;
    let now = at(DAY_MS / 2);
    let days = [0_i64, 0, 1, 2, 9, 89, 90, 91, 179, 181, 270, 271];
    // Just before and just after midnight.
    let places = days.iter().zip(0..).flat_map(|(days, number)| {
        [(at(-days * DAY_MS), id(2 * number)), (at(-days * DAY_MS - 1), id(2 * number + 1))]
    });
    let expected = sorted(places.collect());
    for list in [List::Of(CUSTOMER), List::In(CREATED)] {
        lists.fill(list, &expected).await;
        for limit in [1, 2, 3, 5, 12, 23, 24, 25, 200] {
            assert_eq!(lists.walk(list, now, limit, 366).await, expected, "{list:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_list_goes_back_as_far_as_it_is_told_and_no_more_than_a_bucket_further() {
    let lists = Lists::start().await;
    let now = at(DAY_MS / 2);
    let places: Vec<_> = (0..=200).map(|day| (at(-i64::from(day) * DAY_MS), id(day))).collect();
    for (list, bucket_days) in [(List::Of(CUSTOMER), 90), (List::In(CREATED), 1)] {
        lists.fill(list, &places).await;
        for days_max in [0_u32, 1, 45, 89, 90, 91, 100] {
            let listed = lists.walk(list, now, 50, days_max).await;
            let reached = u32::try_from(listed.len()).expect("a few") - 1;
            let expected = days_max..days_max + bucket_days;
            assert!(expected.contains(&reached), "{list:?} {days_max} days reached {reached}");
            assert_eq!(listed, places[..listed.len()], "{list:?} {days_max} days");
        }
    }
}

#[tokio::test]
async fn a_forged_cursor_costs_no_more_than_a_page() {
    let lists = Lists::start().await;
    let now = at(5_000);
    let places = [(at(0), id(1)), (at(-1), id(2))];
    for list in [List::Of(CUSTOMER), List::In(CREATED)] {
        lists.fill(list, &places).await;
        let asked = lists.database.server.metrics().render().expect("metrics");
        for (time, expected) in [(i64::MAX, 2), (0, 0), (i64::MIN, 0)] {
            let forged: Cursor =
                format!("{time:016x}{}", Uuid::nil().simple()).parse().expect("hex");
            let request = ListRequest { limit: 5, after: Some(forged), days_max: 366 };
            let page = lists.page(list, now, &request).await;
            assert_eq!(page.rows.len(), expected, "{list:?} after {time}");
            assert_eq!(page.next, None, "{list:?} after {time}");
        }
        let reads = lists.reads() - reads_in(&asked);
        assert!(reads < 200, "{list:?}: {reads} reads for three pages");
    }
}

#[tokio::test]
async fn an_order_that_leaves_the_list_takes_no_other_with_it() {
    let lists = Lists::start().await;
    let now = at(5_000);
    let places: Vec<_> =
        sorted((0..6).map(|number| (at(i64::from(number % 2)), id(number))).collect());
    let list = List::In(CREATED);
    lists.fill(list, &places).await;
    let request = |after| ListRequest { limit: 2, after, days_max: 1 };
    let first = lists.page(list, now, &request(None)).await;
    // The order that the cursor names, and the one after it, are confirmed meanwhile.
    for (at, id) in &places[1..3] {
        let text = "DELETE FROM orders_by_status USING TIMESTAMP 4 WHERE status = 'created' AND \
            day = ? AND spread = ? AND created_at = ? AND order_id = ?";
        let key = (day(*at), spread(*id), CqlTimestamp(at.0), *id);
        lists.database.session.query_unpaged(text, key).await.expect("delete");
    }
    let second = lists.page(list, now, &request(first.next)).await;
    let ids: Vec<_> = second.rows.iter().map(|order| order.order_id).collect();
    assert_eq!(ids, [places[3].1, places[4].1]);
}

fn reads_in(metrics: &str) -> u64 {
    let reads = metrics.lines().filter(|line| line.starts_with("requests_total{"));
    let reads = reads.filter(|line| line.contains("orders_by_"));
    reads.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

impl Lists {
    fn reads(&self) -> u64 {
        reads_in(&self.database.server.metrics().render().expect("metrics"))
    }
}

#[derive(Debug, Clone)]
struct Case {
    /// Days back, milliseconds of the day, id.
    orders: Vec<(i64, i64, u128)>,
    limit: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let day = prop_oneof![4 => 0_i64..3, 2 => 3_i64..20, 1 => 85_i64..95, 1 => 20_i64..118];
    // Few moments, so that many orders share one.
    let moment = prop::sample::select(vec![0, 1, 2, DAY_MS / 2, DAY_MS - 1]);
    let orders = prop::collection::vec((day, moment, any::<u128>()), 0..40);
    (orders, 1_usize..12).prop_map(|(orders, limit)| Case { orders, limit })
}

#[test]
fn any_list_is_read_whole_and_in_order_whatever_the_page() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let lists = runtime.block_on(Lists::start());
    // Each case has a time of its own, far from the others, in the one database.
    let era = AtomicI64::new(0);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() };
    let outcome = TestRunner::new(config).run(&cases(), |case| {
        let now = at(era.fetch_add(1, Ordering::Relaxed) * 1_000 * DAY_MS + DAY_MS - 1);
        let midnight = Timestamp(now.0 - (DAY_MS - 1));
        let places = case.orders.iter().map(|(days, ms, id)| {
            (Timestamp(midnight.0 - days * DAY_MS + ms), Uuid::from_u128(*id))
        });
        let places = sorted(places.collect());
        for list in [List::Of(CUSTOMER), List::In(CREATED)] {
            let listed = runtime.block_on(async {
                lists.fill(list, &places).await;
                lists.walk(list, now, case.limit, 120).await
            });
            if listed != places {
                return Err(TestCaseError::fail(format!(
                    "{list:?} by {}: listed {listed:?}, there are {places:?}",
                    case.limit
                )));
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
