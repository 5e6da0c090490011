//! Requests that cannot be understood: each a 4xx problem document that names what is wrong.

use super::*;

#[tokio::test]
async fn a_parameter_that_cannot_be_understood_is_named() {
    let api = Api::start().await;
    let cases = [
        ("/v1/orders/7", "id"),
        ("/v1/orders/01900000000070008000000000000001", "id"),
        ("/v1/orders/%7B01900000-0000-7000-8000-000000000001%7D", "id"),
        ("/v1/orders/%ff", "id"),
        ("/v1/orders/x/events", "id"),
        ("/v1/customers/x", "id"),
        ("/v1/customers/x/orders", "id"),
        ("/v1/customers/x/events", "id"),
        ("/v1/orders", "query"),
        ("/v1/orders?status=created&status=created", "query"),
        ("/v1/orders?status=created&colour=red", "query"),
        ("/v1/orders?status=created&limit=", "query"),
        ("/v1/orders?status=created&limit=-1", "query"),
        ("/v1/orders?status=created&limit=1e3", "query"),
        ("/v1/orders?status=created&limit=99999999999999999999", "query"),
        ("/v1/orders?status=lost", "status"),
        ("/v1/orders?status=", "status"),
        ("/v1/orders?status=Created", "status"),
        ("/v1/orders?status=created&limit=0", "limit"),
        ("/v1/orders?status=created&limit=6", "limit"),
        ("/v1/orders?status=created&cursor=", "cursor"),
        ("/v1/orders?status=created&cursor=xyz", "cursor"),
        ("/v1/customers/{id}/orders?limit=6", "limit"),
        ("/v1/customers/{id}/orders?cursor=%00", "cursor"),
        ("/v1/customers/{id}/orders?status=created", "query"),
        ("/v1/orders/{id}/events?limit=0", "limit"),
        ("/v1/orders/{id}/events?limit=5", "limit"),
        ("/v1/orders/{id}/events?after=-1", "query"),
        ("/v1/orders/{id}/events?after=x", "query"),
        ("/v1/orders/{id}/events?after=9223372036854775807", "after"),
        ("/v1/orders/{id}/events?after=18446744073709551615", "after"),
        ("/v1/orders/{id}/events?before=1", "query"),
    ];
    for (path, field) in cases {
        let answer = api.get(&path.replace("{id}", &ORDER.to_string())).await;
        answer.is_problem(400, "malformed_parameter");
        assert_eq!(answer.body["field"], field, "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let api = Api::start().await;
    for path in ["/", "/v1", "/v1/order", "/v2/orders", "/v1/orders/", "/v1/orders/x/y"] {
        api.get(path).await.is_problem(404, "no_such_resource");
    }
    for path in ["orders/{id}", "orders/{id}/events", "customers/{id}", "customers/{id}/events"] {
        let path = format!("/v1/{}", path.replace("{id}", &NOBODY.to_string()));
        api.get(&path).await.is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn queries_are_read_only() {
    let api = Api::start().await;
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for path in ["/v1/orders".to_owned(), format!("/v1/customers/{CUSTOMER}")] {
            let answer = api.send(request(method, &path)).await;
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{method} {path}");
        }
    }
    let head = api.send(request("HEAD", "/v1/orders?status=created")).await;
    assert_eq!((head.status, head.body), (StatusCode::OK, Value::Null));
}

#[tokio::test]
async fn a_request_is_found_again_by_its_ids() {
    let api = Api::start().await;
    let ask = |name: &str, value: &str| {
        let mut request = request("GET", "/v1/orders/7");
        let name: axum::http::HeaderName = name.parse().expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
        request
    };
    let given = "01900000-0000-7000-8000-00000000000a";
    let answer = api.send(ask("x-correlation-id", given)).await;
    answer.is_problem(400, "malformed_parameter");
    assert_eq!(answer.body["correlation_id"], given);
    let answer = api.send(ask("x-correlation-id", "seven")).await;
    answer.is_problem(400, "malformed_correlation_id");

    let trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = api.send(ask("traceparent", trace_parent)).await;
    answer.is_problem(400, "malformed_parameter");
    assert_eq!(answer.body["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");

    let mut fine = request("GET", "/v1/orders?status=created");
    fine.headers_mut().insert("x-correlation-id", given.parse().expect("a value"));
    let answer = api.send(fine).await;
    assert_eq!((answer.status, answer.header("x-correlation-id")), (StatusCode::OK, Some(given)));
}
