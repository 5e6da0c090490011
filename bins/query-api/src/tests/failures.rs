//! A database that is away, and what is counted of queries.

use super::*;

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
        send(&api.router, Ask::get(&path)).await.is_problem(503, "unavailable");
    }
    // Five failed and none succeeded: from now on only one request at a time asks.
    let answer = send(&api.router, Ask::get("/v1/orders?status=shipped")).await;
    answer.is_problem(503, "database_away");
}

/// How many queries of this name ended so. Other tests of this process count too.
fn count(name: &str, outcome: &str) -> u64 {
    let label = |metric: &prometheus::proto::Metric, name: &str, value: &str| {
        metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
    };
    let families = prometheus::gather();
    let family = families.iter().find(|family| family.name() == "query_duration_seconds");
    let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
    let counted =
        metrics.iter().find(|one| label(one, "query", name) && label(one, "outcome", outcome));
    counted.map_or(0, |metric| metric.get_histogram().get_sample_count())
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
        let before = count(name, outcome);
        api.get(&path).await;
        assert!(count(name, outcome) > before, "{name} {outcome} after {path}");
    }
}
