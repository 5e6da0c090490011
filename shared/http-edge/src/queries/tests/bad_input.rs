//! Requests that cannot be understood: each a 4xx problem document that names what is wrong.

use super::*;

#[tokio::test]
async fn a_parameter_that_cannot_be_understood_is_named() {
    let api = Api::start().await;
    let cases = [
        ("/v1/tallies", "query"),
        ("/v1/tallies?parity=odd&parity=odd", "query"),
        ("/v1/tallies?parity=odd&colour=red", "query"),
        ("/v1/tallies?parity=odd&limit=", "query"),
        ("/v1/tallies?parity=odd&limit=-1", "query"),
        ("/v1/tallies?parity=odd&limit=1e3", "query"),
        ("/v1/tallies?parity=odd&limit=1&limit=1", "query"),
        ("/v1/tallies?parity=odd&limit=99999999999999999999", "query"),
        ("/v1/tallies?parity=lost", "parity"),
        ("/v1/tallies?parity=", "parity"),
        ("/v1/tallies?parity=odd&limit=0", "limit"),
        ("/v1/tallies?parity=odd&limit=6", "limit"),
        ("/v1/tallies?parity=odd&cursor=", "cursor"),
        ("/v1/tallies?parity=odd&cursor=xyz", "cursor"),
        ("/v1/owners/{id}/tallies?limit=6", "limit"),
        ("/v1/owners/{id}/tallies?cursor=%00", "cursor"),
        ("/v1/owners/{id}/tallies?parity=odd", "query"),
        ("/v1/tallies/{id}/events?limit=0", "limit"),
        ("/v1/tallies/{id}/events?limit=5", "limit"),
        ("/v1/tallies/{id}/events?after=-1", "query"),
        ("/v1/tallies/{id}/events?after=x", "query"),
        ("/v1/tallies/{id}/events?after=9223372036854775807", "after"),
        ("/v1/tallies/{id}/events?after=18446744073709551615", "after"),
        ("/v1/tallies/{id}/events?before=1", "query"),
    ];
    for (path, field) in cases {
        let answer = api.get(&path.replace("{id}", &TALLY.to_string())).await;
        answer.is_problem(400, "malformed_parameter");
        assert_eq!(answer.body["field"], field, "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn an_id_in_the_path_has_one_form() {
    let api = Api::start().await;
    for (path, field) in [
        ("/v1/tallies/7", "id"),
        ("/v1/tallies/01900000000070008000000000000001", "id"),
        ("/v1/tallies/%7B01900000-0000-7000-8000-000000000001%7D", "id"),
        ("/v1/tallies/%ff", "the path"),
        ("/v1/tallies/x/events", "id"),
        ("/v1/owners/x/tallies", "id"),
    ] {
        let answer = api.get(path).await;
        answer.is_problem(400, "malformed_id");
        assert_eq!(answer.body["field"], field, "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let api = Api::start().await;
    for path in ["/", "/v1", "/v1/tally", "/v2/tallies", "/v1/tallies/", "/v1/tallies/x/y"] {
        api.get(path).await.is_problem(404, "route_not_found");
    }
    for path in [format!("/v1/tallies/{NOBODY}"), format!("/v1/tallies/{NOBODY}/events")] {
        api.get(&path).await.is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn queries_are_read_only() {
    let api = Api::start().await;
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for path in ["/v1/tallies".to_owned(), format!("/v1/tallies/{TALLY}")] {
            let method = method.parse().expect("a method");
            let answer = send(&api.router, Ask { method, ..Ask::get(&path) }).await;
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_request_is_found_again_by_its_ids() {
    let api = Api::start().await;
    let ask = |name, value: &str| Ask::get("/v1/tallies/7").header(name, value);
    let given = "01900000-0000-7000-8000-00000000000a";
    let answer = send(&api.router, ask("x-correlation-id", given)).await;
    answer.is_problem(400, "malformed_id");
    assert_eq!(answer.body["correlation_id"], given);
    let answer = send(&api.router, ask("x-correlation-id", "seven")).await;
    answer.is_problem(400, "malformed_correlation_id");
    let answer = send(&api.router, ask("x-actor", "a b")).await;
    answer.is_problem(400, "malformed_actor");

    let trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = send(&api.router, ask("traceparent", trace_parent)).await;
    answer.is_problem(400, "malformed_id");
    assert_eq!(answer.body["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");

    let fine = Ask::get("/v1/tallies?parity=odd").header("x-correlation-id", given);
    let answer = send(&api.router, fine).await;
    assert_eq!((answer.status, answer.header("x-correlation-id")), (StatusCode::OK, Some(given)));
}
