//! Whatever a client sends: a 4xx with its own code, and nothing executed.

use super::*;

/// Sends a request that must not reach the store.
async fn check(ask: Ask, status: u16, code: &str, field: Option<&str>) {
    let server = Server::new();
    let told = format!("{} {} {}", ask.method, ask.path, String::from_utf8_lossy(&ask.body));
    let told: String = told.chars().take(300).collect();
    let answer = server.send(ask.into()).await;
    assert_eq!(answer.body["code"], code, "{told}: {}", answer.body);
    answer.is_problem(status, code);
    assert_eq!(answer.body.get("field").and_then(Value::as_str), field, "{told}: {}", answer.body);
    assert_eq!(answer.body["outcome"], "not_done", "{told}");
    assert!(server.store.executed().is_empty(), "{told} was executed");
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

fn set(body: &mut Value, member: &str, value: Value) {
    let members = body.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(member);
    } else {
        members.insert(member.to_owned(), value);
    }
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let deep = |open: &str, close: &str| {
        format!(r#"{{"items": {}{}}}"#, open.repeat(100_000), close.repeat(100_000))
    };
    for (body, code) in [
        (Vec::new(), "malformed_json"),
        (b" ".to_vec(), "malformed_json"),
        (b"{".to_vec(), "malformed_json"),
        (b"{\"currency\": EUR}".to_vec(), "malformed_json"),
        (b"{\"currency\": \"\\ud800\"}".to_vec(), "malformed_json"),
        (b"{\"currency\": 1e400}".to_vec(), "malformed_json"),
        (b"{\"currency\": NaN}".to_vec(), "malformed_json"),
        (b"{\"currency\": \"a\nb\"}".to_vec(), "malformed_json"),
        (b"\xef\xbb\xbf{}".to_vec(), "malformed_json"),
        (b"{\"currency\": \"\xff\"}".to_vec(), "invalid_utf8"),
        (b"\xc3".to_vec(), "invalid_utf8"),
        (format!("{} x", order()).into_bytes(), "trailing_bytes"),
        (format!("{0}{0}", order()).into_bytes(), "trailing_bytes"),
        (deep("[", "]").into_bytes(), "json_too_deep"),
        (deep("{\"a\":", "}").into_bytes(), "json_too_deep"),
        ("[".repeat(1_000_000).into_bytes(), "json_too_deep"),
    ] {
        check(create().body(body), 400, code, None).await;
    }
}

#[tokio::test]
async fn bodies_of_another_type() {
    for body in [json!([]), json!("x"), json!(1), json!(true)] {
        check(create().body(body.to_string()), 400, "wrong_type", Some(".")).await;
    }
    check(create().body("null"), 400, "wrong_type", Some(".")).await;
    // An array of the fields' values is no object, even of the right ones.
    let fields = json!([ORDER, CUSTOMER, "EUR", [item()]]);
    check(create().body(fields.to_string()), 400, "wrong_type", Some(".")).await;
    check(on_order("POST", "confirm", &json!([])), 400, "wrong_type", Some(".")).await;
    let items = order_with("items", json!([["tea", 2, 450]]));
    check(items, 400, "wrong_type", Some("items[0]")).await;
}

#[tokio::test]
async fn fields_of_another_type() {
    let others = [json!(1.5), json!(true), json!("x"), json!([]), json!({})];
    for wrong in &others {
        if !wrong.is_string() {
            check(order_with("currency", wrong.clone()), 400, "wrong_type", Some("currency")).await;
            let product = item_with("product_id", wrong.clone());
            check(product, 400, "wrong_type", Some("items[1].product_id")).await;
        }
        let customer = order_with("customer_id", wrong.clone());
        check(customer, 400, "wrong_type", Some("customer_id")).await;
        check(order_with("order_id", wrong.clone()), 400, "wrong_type", Some("order_id")).await;
        for number in ["quantity", "unit_price_minor"] {
            let field = format!("items[1].{number}");
            check(item_with(number, wrong.clone()), 400, "wrong_type", Some(&field)).await;
        }
        if !wrong.is_array() {
            check(order_with("items", wrong.clone()), 400, "wrong_type", Some("items")).await;
        }
    }
    check(order_with("items", json!([1])), 400, "wrong_type", Some("items[0]")).await;
    for number in ["9223372036854775808", "-0", "1.0", "1e3", "\"1\"", "null"] {
        let body = order().to_string().replace("\"quantity\":2", &format!("\"quantity\":{number}"));
        check(create().body(body), 400, "wrong_type", Some("items[0].quantity")).await;
    }
    let null = create().body(order().to_string().replace("\"EUR\"", "null"));
    check(null, 400, "wrong_type", Some("currency")).await;
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
    check(order_with("Currency", json!("EUR")), 400, "unknown_field", Some("Currency")).await;
    check(order_with("", json!(1)), 400, "unknown_field", Some("")).await;
    let confirm = on_order("POST", "confirm", &json!({"force": true}));
    check(confirm, 400, "unknown_field", Some("force")).await;
    let remove =
        on_customer("DELETE", &format!("addresses/{ADDRESS}"), &json!({"address_id": ORDER}));
    check(remove, 400, "unknown_field", Some("address_id")).await;
    let long = "x".repeat(10_000);
    let quoted = format!("{}…", &long[..200]);
    check(order_with(&long, json!(1)), 400, "unknown_field", Some(&quoted)).await;
}

#[tokio::test]
async fn duplicate_fields() {
    let twice = |body: String, member: &str| {
        let found = body.rfind(&format!("\"{member}\":")).expect("the member");
        let end = found + body[found..].find([',', '}', ']']).expect("its end");
        let copy = body[found..end].to_owned();
        format!("{}{copy},{}", &body[..found], &body[found..])
    };
    let body = twice(order().to_string(), "currency");
    check(create().body(body), 400, "duplicate_field", Some("currency")).await;
    let body = twice(order().to_string(), "quantity");
    check(create().body(body), 400, "duplicate_field", Some("items[0].quantity")).await;
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
async fn headers_that_are_missing_or_malformed() {
    let code = "invalid_idempotency_key";
    check(create().without("idempotency-key"), 400, "missing_idempotency_key", None).await;
    check(create().key(""), 400, code, None).await;
    check(create().key("a b"), 400, code, None).await;
    check(create().key(&"k".repeat(256)), 400, code, None).await;
    for tag in ["*", "1", "W/\"1\"", "\"x\"", "\"-1\"", "\"1\", \"2\""] {
        check(create().header("if-match", tag), 400, "malformed_if_match", None).await;
    }
    for id in ["", "x", "01900000000070008000000000000001", &format!("{{{ORDER}}}")] {
        let ask = create().header("x-correlation-id", id);
        check(ask, 400, "malformed_correlation_id", None).await;
    }
    for actor in ["", "a b", "ä", &"a".repeat(129)] {
        check(create().header("x-actor", actor), 400, "malformed_actor", None).await;
    }
    let media = "unsupported_media_type";
    check(create().without("content-type"), 415, media, None).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        check(create().header("content-type", kind), 415, media, None).await;
    }
    let confirm = on_order("POST", "confirm", &json!({})).without("content-type");
    check(confirm, 415, media, None).await;
    let packed = create().header("content-encoding", "gzip");
    check(packed, 415, "unsupported_content_encoding", None).await;
}

#[tokio::test]
async fn a_content_type_may_have_parameters_and_any_case() {
    let server = Server::new();
    server.accepts(create().header("content-type", "Application/JSON; charset=utf-8")).await;
    // Without a body its type does not matter; curl sends this one by default.
    let kind = "application/x-www-form-urlencoded";
    let confirm = on_order("POST", "confirm", &Value::Null).header("content-type", kind);
    server.accepts(confirm).await;
}

#[tokio::test]
async fn ids_in_the_path_that_are_not_ids() {
    for id in ["1", "x", "%20", "%FF", "%00", "'; DROP TABLE event_store; --", &"9".repeat(5_000)] {
        let path = format!("/v1/orders/{}/confirm", id.replace(' ', "%20"));
        let field = if id == "%FF" { "the path" } else { "id" };
        check(ask("POST", &path, &Value::Null), 400, "malformed_id", Some(field)).await;
    }
    let remove = on_customer("DELETE", "addresses/x", &Value::Null).key("k");
    check(remove, 400, "malformed_id", Some("address_id")).await;
}

#[tokio::test]
async fn text_that_is_only_unusual_is_kept() {
    let server = Server::new();
    for (place, text) in
        ["\"quoted\"", "'; --", "日本", "👩‍🚀", "e\u{301}", "\\u0000"].iter().enumerate()
    {
        let mut body = order();
        body["items"][0]["product_id"] = json!(text);
        body.as_object_mut().expect("an object").remove("order_id");
        server.accepts(ask("POST", "/v1/orders", &body).key(&format!("key-{place}"))).await;
    }
}
