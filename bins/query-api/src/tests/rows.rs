//! Orders and customers as the read models have them, and the lists.

use super::*;
use kernel::Timestamp;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

const ORDER_COLUMNS: &str = "order_id, version, customer_id, status, currency, total_minor, items, \
    created_at, updated_at";

async fn insert_order(api: &Api, items: &str) {
    api.execute(&format!(
        "INSERT INTO order_read_model ({ORDER_COLUMNS}) VALUES ({ORDER}, 3, {CUSTOMER}, \
         'confirmed', 'EUR', 900, '{items}', 1767323045678, 1767323046678)"
    ))
    .await;
}

#[tokio::test]
async fn an_order_has_its_fields_and_its_version_as_etag() {
    let api = Api::start().await;
    api.get(&format!("/v1/orders/{ORDER}")).await.is_problem(404, "not_found");
    insert_order(&api, r#"[{"product_id":"tea","quantity":2,"unit_price_minor":450}]"#).await;
    let answer = api.ok(&format!("/v1/orders/{ORDER}")).await;
    assert_eq!(answer.header("etag"), Some("\"3\""));
    let expected = json!({
        "order_id": ORDER,
        "version": 3,
        "customer_id": CUSTOMER,
        "status": "confirmed",
        "currency": "EUR",
        "total_minor": 900,
        "items": [{"product_id": "tea", "quantity": 2, "unit_price_minor": 450}],
        "carrier": null,
        "tracking_number": null,
        "signature": null,
        "cancel_reason": null,
        "created_at": "2026-01-02T03:04:05.678Z",
        "updated_at": "2026-01-02T03:04:06.678Z",
        "confirmed_at": null,
        "shipped_at": null,
        "delivered_at": null,
        "cancelled_at": null,
    });
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn a_customer_has_their_fields_and_their_version_as_etag() {
    let api = Api::start().await;
    api.get(&format!("/v1/customers/{CUSTOMER}")).await.is_problem(404, "not_found");
    api.execute(&format!(
        "INSERT INTO customer_read_model (customer_id, version, name, email, status, addresses, \
         registered_at, updated_at) VALUES ({CUSTOMER}, 12, 'Ada', 'ada@example.com', 'active', \
         '[{{\"address_id\":\"{NOBODY}\",\"street\":\"Square 1\",\"city\":\"London\",\
         \"country\":\"GB\"}}]', 1767323045678, 1767323046678)"
    ))
    .await;
    let answer = api.ok(&format!("/v1/customers/{CUSTOMER}")).await;
    assert_eq!(answer.header("etag"), Some("\"12\""));
    let expected = json!({
        "customer_id": CUSTOMER,
        "version": 12,
        "name": "Ada",
        "email": "ada@example.com",
        "phone": null,
        "status": "active",
        "status_reason": null,
        "addresses": [
            {"address_id": NOBODY, "street": "Square 1", "city": "London", "country": "GB"},
        ],
        "registered_at": "2026-01-02T03:04:05.678Z",
        "updated_at": "2026-01-02T03:04:06.678Z",
    });
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_our_fault() {
    let api = Api::start().await;
    insert_order(&api, "no items").await;
    let answer = api.get(&format!("/v1/orders/{ORDER}")).await;
    answer.is_problem(500, "unreadable_data");
    assert!(!answer.body.to_string().contains("expected ident"), "internals: {}", answer.body);

    // No year has so many digits.
    let far = "UPDATE order_read_model SET items = '[]', created_at = 999999999999999999";
    api.execute(&format!("{far} WHERE order_id = {ORDER}")).await;
    api.get(&format!("/v1/orders/{ORDER}")).await.is_problem(500, "unreadable_data");
}

/// `count` orders of the customer in `created`, a minute apart, the newest first.
async fn list_orders(api: &Api, count: u8) -> Vec<Uuid> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = i64::try_from(now).expect("some centuries at most");
    let mut ids = Vec::new();
    for number in 0..count {
        let id = Uuid::from_u128(u128::from(number) << 64);
        let at = Timestamp(now - i64::from(number) * 60_000);
        let (day, bucket) = (at.0 / 86_400_000, at.0 / 86_400_000 / 90);
        api.execute(&format!(
            "INSERT INTO orders_by_customer (customer_id, bucket, created_at, order_id, version, \
             status, currency, total_minor) VALUES ({CUSTOMER}, {bucket}, {}, {id}, 1, 'created', \
             'EUR', 900)",
            at.0
        ))
        .await;
        api.execute(&format!(
            "INSERT INTO orders_by_status (status, day, spread, created_at, order_id, version, \
             customer_id, currency, total_minor) VALUES ('created', {day}, {}, {}, {id}, 1, \
             {CUSTOMER}, 'EUR', 900)",
            number % 16,
            at.0
        ))
        .await;
        ids.push(id);
    }
    ids
}

fn ids(answer: &Answer) -> Vec<Uuid> {
    let orders = answer.body["orders"].as_array().expect("orders");
    orders.iter().map(|order| serde_json::from_value(order["order_id"].clone()).unwrap()).collect()
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let api = Api::start().await;
    let expected = list_orders(&api, 7).await;
    let of_customer = format!("/v1/customers/{CUSTOMER}/orders?");
    for list in ["/v1/orders?status=created&", &of_customer] {
        // The default page, then one as large as allowed.
        let first = api.ok(list.trim_end_matches(['?', '&'])).await;
        assert_eq!(ids(&first), expected[..3], "{list}");
        assert_eq!(first.body["orders"][0]["customer_id"], CUSTOMER.to_string(), "{list}");
        assert_eq!(first.body["orders"][0]["status"], "created", "{list}");
        let next = first.body["next"].as_str().expect("there is more");
        let second = api.ok(&format!("{list}limit=4&cursor={next}")).await;
        assert_eq!(ids(&second), expected[3..], "{list}");
        assert_eq!(second.body.get("next"), None, "{list}: {}", second.body);
        assert_eq!(ids(&api.ok(&format!("{list}limit=5")).await).len(), 5);
    }
    let none = api.ok("/v1/orders?status=shipped").await;
    assert_eq!(none.body, json!({"orders": []}));
    let none = api.ok(&format!("/v1/customers/{NOBODY}/orders")).await;
    assert_eq!(none.body, json!({"orders": []}));
}
