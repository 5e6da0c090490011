//! Pages: complete, bounded, and continued by a state that outlives the engine.

use super::*;
use crate::protocol::Rows;

async fn page(fixture: &Fixture, text: &str, size: usize, state: Option<Bytes>) -> Result<Rows> {
    let params = QueryParams { page_size: Some(size), paging_state: state, ..params(Vec::new()) };
    match fixture.engine.query(&fixture.connection, text, params).await? {
        Response::Rows(rows) => Ok(rows),
        other => panic!("{text} answered {other:?}"),
    }
}

/// All rows as text, page by page.
async fn pages(fixture: &Fixture, text: &str, size: usize) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut state = None;
    loop {
        let rows = page(fixture, text, size, state).await.expect("the page is read");
        state = rows.paging_state.clone();
        let shown = show(&Response::Rows(rows));
        found.push(shown.lines().skip(1).map(str::to_owned).collect());
        assert!(found.len() < 100, "{text} has no end");
        if state.is_none() {
            return found;
        }
    }
}

/// Three partitions of four rows each, and one with only a static cell.
async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    fixture
        .ok("CREATE TABLE t (p int, c int, d int, s int static, v int, PRIMARY KEY (p, c, d)) \
             WITH CLUSTERING ORDER BY (c ASC, d DESC)")
        .await;
    for p in 1..=3 {
        for (c, d) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let v = p * 100 + c * 10 + d;
            fixture.ok(&format!("INSERT INTO t (p, c, d, v) VALUES ({p}, {c}, {d}, {v})")).await;
        }
    }
    fixture.ok("UPDATE t SET s = 1 WHERE p = 4").await;
    fixture
}

#[tokio::test]
async fn pages_of_any_size_give_the_same_rows() {
    let fixture = filled().await;
    for text in [
        "SELECT p, c, d FROM t",
        "SELECT p, c, d FROM t WHERE p = 2 ORDER BY c DESC",
        "SELECT p, c, d FROM t WHERE p IN (3, 1, 4)",
        "SELECT p, c, d FROM t WHERE p IN (1, 2) AND c IN (1, 2) AND d = 2",
        "SELECT p, c, d FROM t WHERE p = 1 AND (c, d) >= (1, 2)",
        "SELECT p, c, d FROM t WHERE v > 211 ALLOW FILTERING",
        "SELECT p, c, d FROM t PER PARTITION LIMIT 3",
        "SELECT p, c, d FROM t PER PARTITION LIMIT 3 LIMIT 7",
        "SELECT DISTINCT p, s FROM t",
        "SELECT p FROM t WHERE token(p) > -4000000000000000000",
    ] {
        let whole: Vec<String> =
            fixture.ok(text).await.lines().skip(1).map(str::to_owned).collect();
        assert!(!whole.is_empty(), "{text} gives nothing");
        for size in [1, 2, 3, 5, 100] {
            let paged = pages(&fixture, text, size).await;
            assert!(paged.iter().all(|rows| rows.len() <= size), "{text} by {size}: {paged:?}");
            assert_eq!(paged.concat(), whole, "{text} by {size}");
        }
    }
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes_and_an_unpaged_result_too() {
    let fixture = Fixture::with(|config| {
        config.page_bytes = 10_000;
        config.unpaged_bytes_max = 30_000;
    })
    .await;
    fixture.ok("CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))").await;
    let long = "x".repeat(1000);
    for c in 0..40 {
        fixture.ok(&format!("INSERT INTO t (p, c, v) VALUES (1, {c}, '{long}')")).await;
    }
    let paged = pages(&fixture, "SELECT * FROM t", 1000).await;
    assert!(paged.len() >= 4, "{} pages", paged.len());
    assert_eq!(paged.concat().len(), 40);
    let message = fixture.refused("SELECT * FROM t WHERE p = 1").await;
    assert!(message.contains("exceeds 30000 bytes"), "{message}");
    assert_eq!(fixture.ok("SELECT COUNT(*) FROM t").await, "count\n40");
}

#[tokio::test]
async fn a_state_outlives_the_engine_and_writes_in_between() {
    let fixture = filled().await;
    let text = "SELECT p, c, d FROM t LIMIT 10";
    let whole = fixture.ok(text).await;
    let first = page(&fixture, text, 5, None).await.expect("the page is read");
    let state = first.paging_state.clone();
    fixture.ok("INSERT INTO t (p, c, d, v) VALUES (1, 0, 0, 0)").await;
    let fixture = fixture.reopened().await;
    let second = page(&fixture, text, 5, state).await.expect("the page is read");
    assert!(second.paging_state.is_none(), "LIMIT counts over all pages");
    let rest = show(&Response::Rows(second));
    let expected: Vec<&str> = whole.lines().skip(6).collect();
    assert_eq!(rest.lines().skip(1).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_state_that_is_none_is_refused() {
    let fixture = filled().await;
    fixture.ok("CREATE TABLE u (p int, c int, d int, PRIMARY KEY (p, c, d))").await;
    let text = "SELECT p, c, d FROM t";
    let first = page(&fixture, text, 5, None).await.expect("the page is read");
    let state = first.paging_state.expect("there are more rows");
    let foreign = page(&fixture, "SELECT p FROM u", 5, Some(state.clone())).await;
    assert_eq!(foreign.expect_err("of another table").kind, ErrorKind::Protocol);
    let other = page(&fixture, "SELECT p FROM t WHERE p = 99", 5, Some(state.clone())).await;
    assert_eq!(other.expect_err("of another query").kind, ErrorKind::Protocol);
    for length in 0..state.len() {
        let cut = page(&fixture, text, 5, Some(state.slice(..length))).await;
        assert_eq!(cut.expect_err("too short").kind, ErrorKind::Protocol, "{length} bytes");
    }
    for at in 0..state.len() {
        let mut damaged = state.to_vec();
        damaged[at] ^= 0xff;
        // Some damage gives another place, but never a panic.
        if let Err(error) = page(&fixture, text, 5, Some(damaged.into())).await {
            assert_eq!(error.kind, ErrorKind::Protocol, "byte {at}");
        }
    }
}
