//! Bounds that are reached, a database that is away, and what is counted of it.

use super::*;
use crate::queries::bounds::Bounds;
use crate::queries::metrics::QUERY_DURATION;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http_server::context::{Terms, in_context};
use std::num::NonZeroU32;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_database_that_is_away_is_a_matter_of_time() {
    let api = Api::start().await.with(Rows { fails: Some(Fails::Unavailable), ..Rows::default() });
    api.server.shutdown().await;
    let of = |number: u128| Uuid::from_u128(number);
    for path in [
        format!("/v1/tallies/{TALLY}"),
        format!("/v1/tallies/{TALLY}/events"),
        format!("/v1/owners/{TALLY}/tallies"),
        format!("/v1/tallies/{}/events", of(1)),
        format!("/v1/tallies/{}/events", of(2)),
    ] {
        let answer = send(&api.router, Ask::get(&path)).await;
        answer.is_problem(503, "unavailable");
        assert_eq!(answer.body.get("outcome"), None, "{path}");
    }
    // Five failed and none succeeded: from now on only one request at a time asks.
    let answer = send(&api.router, Ask::get("/v1/tallies?parity=odd")).await;
    answer.is_problem(503, "database_away");
    assert_eq!(answer.body["detail"], "the database is unavailable; retry later");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn what_is_not_asked_of_the_database_needs_no_place() {
    let api = Api::start().await;
    let late = |path: &str| Ask::get(path).header("prefer", "wait=0");
    let answer = send(&api.router, late(&format!("/v1/tallies/{TALLY}"))).await;
    answer.is_problem(503, "deadline_passed");
    assert_eq!(answer.header("preference-applied"), Some("wait=0"));
    send(&api.router, late("/v1/nothing")).await.is_problem(404, "route_not_found");
    api.get("/v1/nothing").await.is_problem(404, "route_not_found");
}

/// A route that answers as soon as `gate` lets it.
fn gated(name: &'static str, config: &HttpConfig, gate: &Arc<Semaphore>) -> Router {
    let gate = Arc::clone(gate);
    let handler = get(async move || {
        let _permit = gate.acquire().await.expect("never closed");
        "through"
    });
    let terms = Terms::of(config, None);
    Router::new()
        .route("/gated", Bounds::new(config, breaker()).query(name.to_owned(), handler))
        .layer(from_fn_with_state(terms, in_context))
}

fn count(name: &str, outcome: &str) -> u64 {
    QUERY_DURATION.with_label_values(&[name, outcome]).get_sample_count()
}

#[tokio::test(start_paused = true)]
async fn one_more_than_there_may_be_is_refused_and_one_too_slow_is_cut_off() {
    let gate = Arc::new(Semaphore::new(0));
    let config = HttpConfig {
        requests_max: NonZeroU32::new(2).expect("not zero"),
        queue_max: 0,
        request_timeout_ms: NonZeroU64::new(1_000).expect("not zero"),
        ..unhurried()
    };
    let router = gated("gated", &config, &gate);
    let ask = || send(&router, Ask::get("/gated"));

    // Two wait at the gate; the third is refused at once.
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    third.is_problem(429, "too_many_requests");
    first.is_problem(503, "unavailable");
    second.is_problem(503, "unavailable");
    assert_eq!((count("gated", "refused"), count("gated", "failed")), (1, 2));

    // Those that were cut off left their places.
    gate.add_permits(2);
    let (first, second) = tokio::join!(ask(), ask());
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(count("gated", "ok"), 2);
}

#[tokio::test]
async fn each_query_is_measured_under_its_name() {
    let api = Api::start().await;
    let cases = [
        ("tallies", "/v1/tallies?parity=odd".to_owned(), "ok"),
        ("tallies", "/v1/tallies".to_owned(), "refused"),
        ("tally", format!("/v1/tallies/{NOBODY}"), "not_found"),
        ("tally_events", format!("/v1/tallies/{NOBODY}/events"), "not_found"),
        ("tallies_of_owner", format!("/v1/owners/{NOBODY}/tallies"), "ok"),
    ];
    for (name, path, outcome) in cases {
        // Other tests of this process count too.
        let before = count(name, outcome);
        api.get(&path).await;
        assert!(count(name, outcome) > before, "{name} {outcome} after {path}");
    }
}
