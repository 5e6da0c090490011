//! Requests that cannot be understood: each a 4xx problem document that names what is wrong.

use super::*;
use domain::OrderStatus;

#[tokio::test]
async fn a_parameter_that_cannot_be_understood_is_named() {
    let api = Api::start().await;
    let cases = [
        ("/v1/orders", "query"),
        ("/v1/orders?status=created&colour=red", "query"),
        ("/v1/orders?status=lost", "status"),
        ("/v1/orders?status=", "status"),
        ("/v1/orders?status=Created", "status"),
        ("/v1/orders?status=created&limit=6", "limit"),
        ("/v1/orders?status=created&cursor=xyz", "cursor"),
        ("/v1/customers/{id}/orders?limit=6", "limit"),
        ("/v1/customers/{id}/orders?cursor=%00", "cursor"),
        ("/v1/customers/{id}/orders?status=created", "query"),
        ("/v1/orders/{id}/events?limit=5", "limit"),
        ("/v1/customers/{id}/events?before=1", "query"),
    ];
    for (path, field) in cases {
        let answer = api.get(&path.replace("{id}", &ORDER.to_string())).await;
        answer.is_problem(400, "malformed_parameter");
        assert_eq!(answer.body["field"], field, "{path}: {}", answer.body);
    }
    for path in ["orders/7", "orders/x/events", "customers/x", "customers/x/orders"] {
        api.get(&format!("/v1/{path}")).await.is_problem(400, "malformed_id");
    }
}

#[tokio::test]
async fn orders_are_listed_by_every_status() {
    let api = Api::start().await;
    for status in OrderStatus::ALL {
        api.ok(&format!("/v1/orders?status={status}")).await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let api = Api::start().await;
    for path in ["/v1/order", "/v2/orders", "/v1/orders/x/y"] {
        api.get(path).await.is_problem(404, "route_not_found");
    }
    for path in ["orders/{id}", "orders/{id}/events", "customers/{id}", "customers/{id}/events"] {
        let path = format!("/v1/{}", path.replace("{id}", &NOBODY.to_string()));
        api.get(&path).await.is_problem(404, "not_found");
    }
}
