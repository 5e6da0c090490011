//! Whatever a client sends: a 4xx with its own code, and nothing executed.

use super::*;

/// Sends a request that must not reach the store.
async fn check(ask: Ask, status: u16, code: &str, field: Option<&str>) {
    server().refuses(ask, status, code, field).await;
}

/// An order with one member replaced; `null` removes it.
fn order_with(member: &str, value: Value) -> Ask {
    let mut body = order();
    set(&mut body, member, value);
    create().body(body.to_string())
}

/// An order whose second item has one member replaced; `null` removes it.
fn item_with(member: &str, value: Value) -> Ask {
    let mut second = item();
    set(&mut second, member, value);
    order_with("items", json!([item(), second]))
}

#[tokio::test]
async fn missing_fields() {
    for member in ["customer_id", "currency", "items"] {
        check(order_with(member, Value::Null), 400, "missing_field", Some(member)).await;
    }
    for member in ["product_id", "quantity", "unit_price_minor"] {
        let field = format!("items[1].{member}");
        check(item_with(member, Value::Null), 400, "missing_field", Some(&field)).await;
    }
}

#[tokio::test]
async fn unknown_fields() {
    check(order_with("total", json!(1)), 400, "unknown_field", Some("total")).await;
    let field = Some("items[1].colour");
    check(item_with("colour", json!("red")), 400, "unknown_field", field).await;
    let confirm = on_order("POST", "confirm", &json!({"force": true}));
    check(confirm, 400, "unknown_field", Some("force")).await;
    let remove =
        on_customer("DELETE", &format!("addresses/{ADDRESS}"), &json!({"address_id": ORDER}));
    check(remove.key("remove"), 400, "unknown_field", Some("address_id")).await;
}

#[tokio::test]
async fn an_item_is_an_object_of_numbers_and_text() {
    let items = order_with("items", json!([["tea", 2, 450]]));
    check(items, 400, "wrong_type", Some("items[0]")).await;
    for number in ["quantity", "unit_price_minor"] {
        let field = format!("items[1].{number}");
        check(item_with(number, json!("1")), 400, "wrong_type", Some(&field)).await;
        check(item_with(number, json!(1.5)), 400, "wrong_type", Some(&field)).await;
    }
    let remove = on_customer("DELETE", "addresses/x", &Value::Null).key("k");
    check(remove, 400, "malformed_id", Some("address_id")).await;
}

#[tokio::test]
async fn values_that_break_a_rule() {
    let many = vec![item(); domain::value::ITEMS_MAX + 1];
    let dear =
        json!({"product_id": "x", "quantity": 2, "unit_price_minor": 9_007_199_254_740_991_i64});
    for (ask, code, field) in [
        (order_with("items", json!([])), "no_items", "items"),
        (order_with("items", json!(many)), "too_many_items", "items"),
        (order_with("items", json!([dear])), "total_too_large", "items"),
        (item_with("quantity", json!(0)), "quantity_out_of_range", "items[1].quantity"),
        (item_with("quantity", json!(-1)), "quantity_out_of_range", "items[1].quantity"),
        (item_with("quantity", json!(1_u64 << 31)), "quantity_out_of_range", "items[1].quantity"),
        (item_with("quantity", json!(i64::MAX)), "quantity_out_of_range", "items[1].quantity"),
        (
            item_with("unit_price_minor", json!(-1)),
            "amount_out_of_range",
            "items[1].unit_price_minor",
        ),
        (item_with("product_id", json!("")), "blank_text", "items[1].product_id"),
        (item_with("product_id", json!("a\u{0}")), "forbidden_character", "items[1].product_id"),
        (
            item_with("product_id", json!("a\u{202e}b")),
            "forbidden_character",
            "items[1].product_id",
        ),
        (item_with("product_id", json!(" a")), "padded_text", "items[1].product_id"),
        (item_with("product_id", json!("x".repeat(65))), "text_too_long", "items[1].product_id"),
        (order_with("currency", json!("eur")), "unknown_currency", "currency"),
        (order_with("currency", json!("")), "unknown_currency", "currency"),
    ] {
        check(ask, 422, code, Some(field)).await;
    }
    for (action, body, code, field) in [
        ("ship", json!({"carrier": "", "tracking_number": "1"}), "blank_text", "carrier"),
        ("ship", json!({"carrier": "DHL", "tracking_number": ""}), "blank_text", "tracking_number"),
        ("deliver", json!({"signature": "x".repeat(201)}), "text_too_long", "signature"),
        ("cancel", json!({"reason": "\n"}), "blank_text", "reason"),
    ] {
        check(on_order("POST", action, &body), 422, code, Some(field)).await;
    }
    let address = |member: &str, value: &str| {
        let mut body = json!({"street": "1 Strand", "city": "London", "country": "GB"});
        body[member] = json!(value);
        on_customer("POST", "addresses", &body)
    };
    for (ask, code, field) in [
        (on_customer("PUT", "email", &json!({"email": "ada"})), "malformed_email", "email"),
        (on_customer("PUT", "profile", &json!({"name": " "})), "blank_text", "name"),
        (
            on_customer("PUT", "profile", &json!({"name": "A", "phone": "?"})),
            "malformed_phone",
            "phone",
        ),
        (address("country", "gb"), "malformed_country", "country"),
        (address("postal_code", ""), "blank_text", "postal_code"),
        (address("street", "a\tb"), "forbidden_character", "street"),
        (address("city", &"x".repeat(101)), "text_too_long", "city"),
    ] {
        check(ask, 422, code, Some(field)).await;
    }
}

#[tokio::test]
async fn text_that_is_only_unusual_is_kept() {
    let server = server();
    for (place, text) in
        ["\"quoted\"", "'; --", "日本", "👩‍🚀", "e\u{301}", "\\u0000"].iter().enumerate()
    {
        let mut body = order();
        body["items"][0]["product_id"] = json!(text);
        body.as_object_mut().expect("an object").remove("order_id");
        server.accepts(ask("POST", "/v1/orders", &body).key(&format!("key-{place}"))).await;
    }
}
