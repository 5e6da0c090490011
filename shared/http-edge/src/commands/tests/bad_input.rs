//! Whatever a client sends: a 4xx with its own code, and nothing executed.

use super::*;

/// Sends a request that must not reach the store.
async fn check(ask: Ask, status: u16, code: &str, field: Option<&str>) {
    server().refuses(ask, status, code, field).await;
}

/// A jar with one member replaced; `null` removes it.
fn jar_with(member: &str, value: Value) -> Ask {
    let mut body = jar();
    set(&mut body, member, value);
    create().body(body.to_string())
}

/// A jar whose second coin has one member replaced; `null` removes it.
fn coin_with(member: &str, value: Value) -> Ask {
    let mut second = coin();
    set(&mut second, member, value);
    jar_with("coins", json!([coin(), second]))
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let deep = |open: &str, close: &str| {
        format!(r#"{{"coins": {}{}}}"#, open.repeat(100_000), close.repeat(100_000))
    };
    for (body, code) in [
        (Vec::new(), "malformed_json"),
        (b" ".to_vec(), "malformed_json"),
        (b"{".to_vec(), "malformed_json"),
        (b"{\"label\": EUR}".to_vec(), "malformed_json"),
        (b"{\"label\": \"\\ud800\"}".to_vec(), "malformed_json"),
        (b"{\"label\": 1e400}".to_vec(), "malformed_json"),
        (b"{\"label\": NaN}".to_vec(), "malformed_json"),
        (b"{\"label\": \"a\nb\"}".to_vec(), "malformed_json"),
        (b"\xef\xbb\xbf{}".to_vec(), "malformed_json"),
        (b"{\"label\": \"\xff\"}".to_vec(), "invalid_utf8"),
        (b"\xc3".to_vec(), "invalid_utf8"),
        (format!("{} x", jar()).into_bytes(), "trailing_bytes"),
        (format!("{0}{0}", jar()).into_bytes(), "trailing_bytes"),
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
    let fields = json!([JAR, TALLY, "EUR", [coin()]]);
    check(create().body(fields.to_string()), 400, "wrong_type", Some(".")).await;
    check(on_jar("POST", "close", &json!([])), 400, "wrong_type", Some(".")).await;
    let coins = jar_with("coins", json!([["tea", 2]]));
    check(coins, 400, "wrong_type", Some("coins[0]")).await;
}

#[tokio::test]
async fn fields_of_another_type() {
    let others = [json!(1.5), json!(true), json!("x"), json!([]), json!({})];
    for wrong in &others {
        if !wrong.is_string() {
            check(jar_with("label", wrong.clone()), 400, "wrong_type", Some("label")).await;
            let product = coin_with("name", wrong.clone());
            check(product, 400, "wrong_type", Some("coins[1].name")).await;
        }
        let owner = jar_with("owner_id", wrong.clone());
        check(owner, 400, "wrong_type", Some("owner_id")).await;
        check(jar_with("jar_id", wrong.clone()), 400, "wrong_type", Some("jar_id")).await;
        let count = coin_with("count", wrong.clone());
        check(count, 400, "wrong_type", Some("coins[1].count")).await;
        if !wrong.is_array() {
            check(jar_with("coins", wrong.clone()), 400, "wrong_type", Some("coins")).await;
        }
    }
    check(jar_with("coins", json!([1])), 400, "wrong_type", Some("coins[0]")).await;
    for number in ["9223372036854775808", "-0", "1.0", "1e3", "\"1\"", "null"] {
        let body = jar().to_string().replace("\"count\":2", &format!("\"count\":{number}"));
        check(create().body(body), 400, "wrong_type", Some("coins[0].count")).await;
    }
    let null = create().body(jar().to_string().replace("\"EUR\"", "null"));
    check(null, 400, "wrong_type", Some("label")).await;
}

#[tokio::test]
async fn missing_fields() {
    for member in ["owner_id", "label", "coins"] {
        check(jar_with(member, Value::Null), 400, "missing_field", Some(member)).await;
    }
    for member in ["name", "count"] {
        let field = format!("coins[1].{member}");
        check(coin_with(member, Value::Null), 400, "missing_field", Some(&field)).await;
    }
}

#[tokio::test]
async fn unknown_fields() {
    check(jar_with("total", json!(1)), 400, "unknown_field", Some("total")).await;
    let field = Some("coins[1].colour");
    check(coin_with("colour", json!("red")), 400, "unknown_field", field).await;
    check(jar_with("Label", json!("EUR")), 400, "unknown_field", Some("Label")).await;
    check(jar_with("", json!(1)), 400, "unknown_field", Some("")).await;
    let close = on_jar("POST", "close", &json!({"force": true}));
    check(close, 400, "unknown_field", Some("force")).await;
    let remove = on_jar("DELETE", &format!("coins/{COIN}"), &json!({"coin_id": JAR})).key("remove");
    check(remove, 400, "unknown_field", Some("coin_id")).await;
    let long = "x".repeat(10_000);
    let quoted = format!("{}…", &long[..200]);
    check(jar_with(&long, json!(1)), 400, "unknown_field", Some(&quoted)).await;
}

#[tokio::test]
async fn duplicate_fields() {
    let twice = |body: String, member: &str| {
        let found = body.rfind(&format!("\"{member}\":")).expect("the member");
        let end = found + body[found..].find([',', '}', ']']).expect("its end");
        let copy = body[found..end].to_owned();
        format!("{}{copy},{}", &body[..found], &body[found..])
    };
    let body = twice(jar().to_string(), "label");
    check(create().body(body), 400, "duplicate_field", Some("label")).await;
    let body = twice(jar().to_string(), "count");
    check(create().body(body), 400, "duplicate_field", Some("coins[0].count")).await;
}

#[tokio::test]
async fn values_that_break_a_rule() {
    let nested = coin_with("name", json!(" "));
    check(nested, 422, "blank_name", Some("coins[1].name")).await;
    check(jar_with("label", json!("")), 422, "blank_name", Some("label")).await;
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
    for id in ["", "x", "01900000000070008000000000000001", &format!("{{{JAR}}}")] {
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
    let close = on_jar("POST", "close", &json!({})).without("content-type");
    check(close, 415, media, None).await;
    let packed = create().header("content-encoding", "gzip");
    check(packed, 415, "unsupported_content_encoding", None).await;
}

#[tokio::test]
async fn a_content_type_may_have_parameters_and_any_case() {
    let server = server();
    server.accepts(create().header("content-type", "Application/JSON; charset=utf-8")).await;
    // Without a body its type does not matter; curl sends this one by default.
    let kind = "application/x-www-form-urlencoded";
    let close = on_jar("POST", "close", &Value::Null).header("content-type", kind);
    server.accepts(close).await;
}

#[tokio::test]
async fn ids_in_the_path_that_are_not_ids() {
    for id in ["1", "x", "%20", "%FF", "%00", "'; DROP TABLE event_store; --", &"9".repeat(5_000)] {
        let path = format!("/v1/jars/{}/close", id.replace(' ', "%20"));
        let field = if id == "%FF" { "the path" } else { "id" };
        check(ask("POST", &path, &Value::Null), 400, "malformed_id", Some(field)).await;
    }
    let remove = on_jar("DELETE", "coins/x", &Value::Null).key("k");
    check(remove, 400, "malformed_id", Some("coin_id")).await;
}

#[tokio::test]
async fn text_that_is_only_unusual_is_kept() {
    let server = server();
    for (place, text) in
        ["\"quoted\"", "'; --", "日本", "👩‍🚀", "e\u{301}", "\\u0000"].iter().enumerate()
    {
        let mut body = jar();
        body["coins"][0]["name"] = json!(text);
        body.as_object_mut().expect("an object").remove("jar_id");
        server.accepts(ask("POST", "/v1/jars", &body).key(&format!("key-{place}"))).await;
    }
}
