//! Bounds that are reached, a database that is away, and what is counted of it.

use super::*;
use crate::bounds::Bounds;
use crate::metrics::QUERY_DURATION;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http_server::context::{Terms, in_context};
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_database_that_is_away_is_a_matter_of_time() {
    let api = Api::start().await;
    api.ok("/v1/orders?status=created").await;
    api.server.shutdown().await;
    let paths = [
        format!("/v1/orders/{ORDER}"),
        format!("/v1/orders/{ORDER}/events"),
        format!("/v1/customers/{CUSTOMER}"),
        format!("/v1/customers/{CUSTOMER}/orders"),
        format!("/v1/customers/{CUSTOMER}/events"),
    ];
    for path in paths {
        let answer = send(&api.router, request("GET", &path)).await;
        answer.is_problem(503, "database_unavailable");
        assert_eq!(answer.body.get("outcome"), None, "{path}");
    }
    // Five failed and none succeeded: now nobody waits for it any more, but for one at a time.
    let answer = send(&api.router, request("GET", "/v1/orders?status=shipped")).await;
    answer.is_problem(503, "database_away");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn what_is_not_asked_of_the_database_needs_no_place() {
    let api = Api::start().await;
    // Whose time is over before it begins finds no place either.
    let mut late = request("GET", &format!("/v1/orders/{ORDER}"));
    late.headers_mut().insert("prefer", "wait=0".parse().expect("a value"));
    let answer = api.send(late).await;
    answer.is_problem(503, "deadline_passed");
    assert_eq!(answer.header("preference-applied"), Some("wait=0"));
    let mut late = request("GET", "/v1/nothing");
    late.headers_mut().insert("prefer", "wait=0".parse().expect("a value"));
    api.send(late).await.is_problem(404, "no_such_resource");
    api.get("/v1/nothing").await.is_problem(404, "no_such_resource");
    api.send(request("POST", "/v1/orders")).await.is_problem(405, "method_not_allowed");
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
        .route("/gated", Bounds::new(config, breaker()).query(name, handler))
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
        ..http()
    };
    let router = gated("gated", &config, &gate);
    let ask = || send(&router, request("GET", "/gated"));

    // Two wait at the gate; the third is refused at once.
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    third.is_problem(429, "too_many_requests");
    first.is_problem(503, "timed_out");
    second.is_problem(503, "timed_out");
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
        ("orders_by_status", "/v1/orders?status=created".to_owned(), "ok"),
        ("orders_by_status", "/v1/orders".to_owned(), "refused"),
        ("order", format!("/v1/orders/{NOBODY}"), "not_found"),
        ("order_events", format!("/v1/orders/{NOBODY}/events"), "not_found"),
        ("customer", format!("/v1/customers/{NOBODY}"), "not_found"),
        ("customer_events", format!("/v1/customers/{NOBODY}/events"), "not_found"),
        ("orders_by_customer", format!("/v1/customers/{NOBODY}/orders"), "ok"),
    ];
    for (name, path, outcome) in cases {
        // Other tests of this process count too.
        let before = count(name, outcome);
        api.get(&path).await;
        assert!(count(name, outcome) > before, "{name} {outcome} after {path}");
    }
}
