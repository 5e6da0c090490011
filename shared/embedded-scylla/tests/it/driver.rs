//! Reading and writing through the driver: binding, paging, preparing, compression.

use crate::support::Stand;
use futures::{StreamExt as _, TryStreamExt as _};
use scylla::client::Compression;
use scylla::client::session_builder::SessionBuilder;
use scylla::response::PagingState;
use scylla::statement::batch::{Batch, BatchType};
use scylla::value::{CqlValue, MaybeUnset, Row};
use std::ops::ControlFlow;

async fn numbered(stand: &Stand, partitions: i32, rows: i32) {
    stand.run("CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))").await;
    let insert = stand.session.prepare("INSERT INTO t (p, c, v) VALUES (?, ?, ?)").await;
    let insert = insert.expect("a sound statement");
    futures::stream::iter((0..partitions).flat_map(|p| (0..rows).map(move |c| (p, c))))
        .map(|(p, c)| stand.session.execute_unpaged(&insert, (p, c, format!("{p}/{c}"))))
        .buffer_unordered(64)
        .try_for_each(async |_| Ok(()))
        .await
        .expect("all rows are stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_give_every_row_once_and_in_order() {
    let stand = Stand::new().await;
    numbered(&stand, 5, 41).await;
    for page_size in [1, 7, 41, 1000] {
        let mut all = stand.session.prepare("SELECT p, c, v FROM t").await.expect("sound");
        all.set_page_size(page_size);
        let pager = stand.session.execute_iter(all, ()).await.expect("a first page");
        let rows = pager.rows_stream::<(i32, i32, String)>().expect("typed rows");
        let mut rows = rows.try_collect::<Vec<_>>().await.expect("all pages");
        let tokens = rows.iter().map(|(p, ..)| *p).collect::<Vec<_>>();
        let mut changes = tokens.clone();
        changes.dedup();
        assert_eq!(changes.len(), 5, "partitions are not whole: {tokens:?}");
        rows.sort();
        let expected = (0..5).flat_map(|p| (0..41).map(move |c| (p, c, format!("{p}/{c}"))));
        assert_eq!(rows, expected.collect::<Vec<_>>(), "page size {page_size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paging_state_continues_where_its_page_ended() {
    let stand = Stand::new().await;
    numbered(&stand, 1, 20).await;
    let text = "SELECT c FROM t WHERE p = 0 ORDER BY c DESC LIMIT 15";
    let mut statement = stand.session.prepare(text).await.expect("sound");
    statement.set_page_size(4);
    let (mut state, mut seen, mut pages) = (PagingState::start(), Vec::new(), 0);
    loop {
        let page = stand.session.execute_single_page(&statement, (), state).await;
        let (result, next) = page.expect("a page");
        let rows = result.into_rows_result().expect("rows");
        seen.extend(rows.rows::<(i32,)>().expect("ints").map(|row| row.expect("an int").0));
        pages += 1;
        // What is written before the place where the pages are does not show up in them.
        stand.run("INSERT INTO t (p, c, v) VALUES (0, 100, 'late')").await;
        match next.into_paging_control_flow() {
            ControlFlow::Break(()) => break,
            ControlFlow::Continue(next) => state = next,
        }
    }
    assert_eq!(seen, (5..20).rev().collect::<Vec<_>>());
    assert!(pages >= 4, "{pages} pages of 4 hold 15 rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unset_values_leave_columns_alone() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int PRIMARY KEY, a int, b int)").await;
    stand.run("INSERT INTO t (p, a, b) VALUES (1, 2, 3)").await;
    let insert = stand.session.prepare("INSERT INTO t (p, a, b) VALUES (?, ?, ?)").await;
    let values = (1, MaybeUnset::<i32>::Unset, MaybeUnset::Set(None::<i32>));
    stand.session.execute_unpaged(&insert.expect("sound"), values).await.expect("stored");
    let rows = stand.rows("SELECT a, b FROM t WHERE p = 1").await;
    assert_eq!(rows, [Row { columns: vec![Some(CqlValue::Int(2)), None] }]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_statement_learns_of_new_columns() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int PRIMARY KEY, a int)").await;
    let select = stand.session.prepare("SELECT * FROM t WHERE p = ?").await.expect("sound");
    let insert = stand.session.prepare("INSERT INTO t (p, a) VALUES (?, ?)").await.expect("sound");
    stand.run("ALTER TABLE t ADD b int").await;
    stand.session.execute_unpaged(&insert, (1, 2)).await.expect("the driver prepares again");
    let result = stand.session.execute_unpaged(&select, (1,)).await;
    let rows = result.expect("the driver prepares again").into_rows_result().expect("rows");
    assert_eq!(rows.column_specs().len(), 3);
    let row = rows.single_row::<(i32, i32, Option<i32>)>().expect("one row");
    assert_eq!(row, (1, 2, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_statements_route_by_their_partition_key() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (a int, b text, c int, v int, PRIMARY KEY ((a, b), c))").await;
    for (text, routed) in [
        ("INSERT INTO t (c, b, a, v) VALUES (?, ?, ?, ?)", true),
        ("SELECT v FROM t WHERE b = ? AND a = ?", true),
        ("SELECT v FROM t WHERE a = 1 AND b = ?", false),
        ("SELECT v FROM t WHERE a IN ? AND b = ?", false),
        ("UPDATE t SET v = ? WHERE c = ? AND a = ? AND b = ? IF v = ?", true),
    ] {
        let statement = stand.session.prepare(text).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(statement.is_token_aware(), routed, "{text}");
        assert_eq!(statement.is_confirmed_lwt(), text.contains(" IF "), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_takes_prepared_and_plain_statements() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))").await;
    let insert = stand.session.prepare("INSERT INTO t (p, c, v) VALUES (?, ?, ?)").await;
    for kind in [BatchType::Logged, BatchType::Unlogged] {
        let mut batch = Batch::new(kind);
        batch.append_statement(insert.clone().expect("sound"));
        batch.append_statement("INSERT INTO t (p, c, v) VALUES (1, 2, 'plain')");
        batch.append_statement("DELETE FROM t WHERE p = ? AND c = ?");
        let values = ((1, 1, "prepared"), (), (1, 3));
        stand.session.batch(&batch, values).await.expect("a sound batch");
        let rows = stand.rows("SELECT c, v, writetime(v) FROM t WHERE p = 1").await;
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!(rows[0].columns[2], rows[1].columns[2], "one batch, one timestamp");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_sessions_work() {
    let stand = Stand::new().await;
    numbered(&stand, 3, 200).await;
    for compression in [Compression::Lz4, Compression::Snappy] {
        let session = SessionBuilder::new()
            .known_node_addr(stand.server.address())
            .compression(Some(compression))
            .build()
            .await
            .expect("the driver connects");
        let text = "x".repeat(100_000);
        session
            .query_unpaged("INSERT INTO ks.t (p, c, v) VALUES (9, 9, ?)", (&text,))
            .await
            .expect("stored");
        let result = session.query_unpaged("SELECT v FROM ks.t WHERE p = 9", ()).await;
        let rows = result.expect("read").into_rows_result().expect("rows");
        assert_eq!(rows.single_row::<(String,)>().expect("one row").0, text);
        let result = session.query_unpaged("SELECT p FROM ks.t", ()).await;
        assert_eq!(result.expect("read").into_rows_result().expect("rows").rows_num(), 601);
    }
}
