//! What is accepted, and how it is answered.

use super::*;
use uuid::Uuid;

#[tokio::test]
async fn an_order_goes_from_creation_to_delivery() {
    let server = server();
    let created = server.accepts(create()).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("location"), Some(format!("/v1/orders/{ORDER}").as_str()));
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(created.header("content-type"), Some("application/json"));
    let event = &created.body["events"][0];
    assert!(event["id"].as_str().is_some_and(|id| Uuid::try_parse(id).is_ok()), "{event}");
    let expected = json!({
        "aggregate_id": ORDER,
        "version": 1,
        "events": [{"id": event["id"], "type": "OrderCreated", "version": 1}],
    });
    assert_eq!(created.body, expected);

    let steps = [
        ("PUT", "items", json!({"items": [item(), item()]}), "OrderItemsUpdated"),
        ("POST", "confirm", Value::Null, "OrderConfirmed"),
        ("POST", "ship", json!({"carrier": "DHL", "tracking_number": "JD1"}), "OrderShipped"),
        ("POST", "deliver", json!({"signature": "Ada"}), "OrderDelivered"),
    ];
    for ((method, action, body, event), version) in steps.into_iter().zip(2..) {
        let answer = server.accepts(on_order(method, action, &body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{action}");
        assert_eq!(answer.header("location"), None, "{action}");
        assert_eq!(answer.header("etag"), Some(format!("\"{version}\"").as_str()), "{action}");
        assert_eq!(answer.body["events"][0]["type"], event);
        assert_eq!(answer.body["events"][0]["version"], version);
    }
}

#[tokio::test]
async fn every_command_to_a_customer_has_its_route() {
    let server = server();
    let registered = server.accepts(register()).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    assert_eq!(registered.header("location"), Some(format!("/v1/customers/{CUSTOMER}").as_str()));
    let address = json!({"address_id": ADDRESS, "street": "1 Strand", "city": "London",
                         "postal_code": "WC2N 5HR", "country": "GB"});
    for (method, action, body, event) in [
        ("PUT", "profile", json!({"name": "Ada King", "phone": "112"}), "CustomerProfileUpdated"),
        ("PUT", "email", json!({"email": "ada@example.org"}), "CustomerEmailChanged"),
        ("POST", "addresses", address, "CustomerAddressAdded"),
        ("DELETE", &format!("addresses/{ADDRESS}"), Value::Null, "CustomerAddressRemoved"),
        ("POST", "suspend", json!({"reason": "unpaid"}), "CustomerSuspended"),
        ("POST", "reactivate", json!({}), "CustomerReactivated"),
        ("POST", "deactivate", json!({"reason": "moved on"}), "CustomerDeactivated"),
    ] {
        let answer = server.accepts(on_customer(method, action, &body)).await;
        assert_eq!(answer.body["events"][0]["type"], event, "{action}");
    }
}

#[tokio::test]
async fn an_address_without_id_gets_the_same_one_each_time() {
    let server = server();
    server.accepts(register()).await;
    let address = json!({"street": "1 Strand", "city": "London", "country": "GB"});
    let first = server.accepts(on_customer("POST", "addresses", &address)).await;
    let again = server.accepts(on_customer("POST", "addresses", &address)).await;
    assert_eq!(first.body, again.body);
    let second = server.accepts(on_customer("POST", "addresses", &address).key("second")).await;
    assert_eq!(second.body["version"], 3, "another key is another address");
}

/// The names are part of the fingerprints of commands that are remembered.
#[tokio::test]
async fn commands_have_the_names_that_they_always_had() {
    let server = server();
    server.accepts(create()).await;
    server.accepts(register()).await;
    for (method, action, body) in [
        ("PUT", "items", json!({"items": [item(), item()]})),
        ("POST", "confirm", Value::Null),
        ("POST", "cancel", json!({"reason": "none"})),
    ] {
        server.accepts(on_order(method, action, &body)).await;
    }
    let names: Vec<_> = server.store.executed().iter().map(|executed| executed.name).collect();
    assert_eq!(names, ["create", "register", "update_items", "confirm", "cancel"]);
}
