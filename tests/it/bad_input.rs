//! Bad input, end to end: a 4xx problem document with its own code, and nothing stored.

use dev_stack::demo::{create_order, items};
use harness::{Client, Plan, World};
use hyper::Method;
use local_stack::http::Answer;
use serde_json::{Value, json};
use uuid::Uuid;

/// A request and what it must be answered with.
struct Case {
    what: &'static str,
    headers: Vec<(&'static str, String)>,
    method: Method,
    path: String,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    field: Option<&'static str>,
}

fn good() -> Value {
    create_order(Uuid::nil(), items(1))
}

/// A create with a body of its own.
fn create(what: &'static str, body: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    Case {
        what,
        headers: vec![
            ("idempotency-key", Uuid::now_v7().to_string()),
            ("content-type", "application/json".to_owned()),
        ],
        method: Method::POST,
        path: "/v1/orders".to_owned(),
        body: body.into(),
        status,
        code,
        field: None,
    }
}

impl Case {
    fn at(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    fn on(mut self, method: Method, path: String) -> Self {
        (self.method, self.path) = (method, path);
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }
}

fn with(pointer: &str, value: Value) -> String {
    let mut body = good();
    *body.pointer_mut(pointer).expect("the field is there") = value;
    body.to_string()
}

fn plus(field: &str) -> String {
    let mut body = good();
    body[field] = json!(1);
    body.to_string()
}

fn minus(field: &str) -> String {
    let mut body = good();
    body.as_object_mut().expect("an object").remove(field);
    body.to_string()
}

fn cases(order: Uuid) -> Vec<Case> {
    let deep = format!("{{\"items\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let twice = good().to_string().replacen('{', "{\"currency\":\"EUR\",", 1);
    let broken = good().to_string().replace("beans", "be\u{1}ns").into_bytes();
    let broken: Vec<u8> =
        broken.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    let large = vec![b' '; 1_048_577];
    let unknown = Uuid::from_u128(0xdead);
    vec![
        create("text for a number", with("/items/0/quantity", json!("1")), 400, "wrong_type")
            .at("items[0].quantity"),
        create("a fraction", with("/items/0/quantity", json!(1.5)), 400, "wrong_type")
            .at("items[0].quantity"),
        create("null", with("/currency", Value::Null), 400, "wrong_type").at("currency"),
        create("a list as body", "[]", 400, "wrong_type"),
        create("a missing field", minus("customer_id"), 400, "missing_field").at("customer_id"),
        create("an unknown field", plus("colour"), 400, "unknown_field").at("colour"),
        create("a field given twice", twice, 400, "duplicate_field").at("currency"),
        create("no items", with("/items", json!([])), 422, "no_items").at("items"),
        create("quantity 0", with("/items/0/quantity", json!(0)), 422, "quantity_out_of_range")
            .at("items[0].quantity"),
        create(
            "quantity 2^31",
            with("/items/0/quantity", json!(1_u64 << 31)),
            422,
            "quantity_out_of_range",
        )
        .at("items[0].quantity"),
        create(
            "a negative price",
            with("/items/0/unit_price_minor", json!(-1)),
            422,
            "amount_out_of_range",
        )
        .at("items[0].unit_price_minor"),
        create(
            "no currency of this world",
            with("/currency", json!("eur")),
            422,
            "unknown_currency",
        )
        .at("currency"),
        create("1 MiB and a byte", large, 413, "body_too_large"),
        create("very deep JSON", deep, 400, "json_too_deep"),
        create("broken UTF-8", broken, 400, "invalid_utf8"),
        create("half a document", "{\"currency\":", 400, "malformed_json"),
        create("two documents", format!("{}{{}}", good()), 400, "trailing_bytes"),
        create("no body", "", 400, "malformed_json"),
        create("another media type", good().to_string(), 415, "unsupported_media_type")
            .header("content-type", "text/plain"),
        create("no idempotency key", good().to_string(), 400, "missing_idempotency_key")
            .without("idempotency-key"),
        create("a broken idempotency key", good().to_string(), 400, "invalid_idempotency_key")
            .header("idempotency-key", "a b"),
        create("a broken correlation id", good().to_string(), 400, "malformed_correlation_id")
            .header("x-correlation-id", "7"),
        create("an unknown order", "{}", 404, "order_not_found")
            .on(Method::POST, format!("/v1/orders/{unknown}/confirm")),
        create("an id that is none", "{}", 400, "malformed_id")
            .on(Method::POST, "/v1/orders/seven/confirm".to_owned()),
        create("a stale If-Match", "{}", 412, "stale_version")
            .on(Method::POST, format!("/v1/orders/{order}/confirm"))
            .header("if-match", "\"7\""),
        create("a broken If-Match", "{}", 400, "malformed_if_match")
            .on(Method::POST, format!("/v1/orders/{order}/confirm"))
            .header("if-match", "seven"),
        create(
            "shipping what is not confirmed",
            r#"{"carrier":"x","tracking_number":"y"}"#,
            409,
            "",
        )
        .on(Method::POST, format!("/v1/orders/{order}/ship")),
        create("no such route", "{}", 404, "").on(Method::POST, "/v2/orders".to_owned()),
        create("no such method", "{}", 405, "method_not_allowed")
            .on(Method::DELETE, "/v1/orders".to_owned()),
    ]
}

async fn send(client: &Client, case: &Case) -> anyhow::Result<Answer> {
    let headers: Vec<_> =
        case.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let url = format!("{}{}", client.commands, case.path);
    client.http.request(case.method.clone(), &url, &headers, Some(case.body.clone().into())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_a_problem_document_and_stores_nothing() -> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    let client = world.client(0);
    let order = client.create().await?;
    let mut wrong = Vec::new();
    for case in cases(order) {
        let answer = match send(&client, &case).await {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("{}: {error:#}", case.what));
                continue;
            }
        };
        let media_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok());
        let code = answer.text("code").unwrap_or_default();
        let right = answer.status == case.status
            && media_type == Some("application/problem+json")
            && !code.is_empty()
            && (case.code.is_empty() || code == case.code)
            && case.field.is_none_or(|field| answer.text("field") == Some(field))
            && answer.text("outcome") == Some("not_done");
        if !right {
            wrong
                .push(format!("{}: {} {:?} {}", case.what, answer.status, media_type, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let key = Uuid::now_v7().to_string();
    let (url, one, two) = (
        format!("{}/v1/orders", client.commands),
        create_order(Uuid::nil(), items(1)),
        create_order(Uuid::nil(), items(2)),
    );
    let first = client.http.command(Method::POST, &url, &key, &one).await?;
    assert_eq!(first.status, 201, "{}", first.body);
    let reused = client.http.command(Method::POST, &url, &key, &two).await?;
    assert_eq!(
        (reused.status.as_u16(), reused.text("code")),
        (422, Some("idempotency_key_reused"))
    );

    let session = world.session().await?;
    let counted = session
        .query_unpaged("SELECT COUNT(*) FROM event_store", ())
        .await?
        .into_rows_result()?
        .single_row::<(i64,)>()?;
    assert_eq!(counted, (2,), "nothing but the two creates is stored");
    world.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn query_api_refuses_what_it_cannot_understand() -> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    let client = world.client(0);
    let nobody = Uuid::from_u128(0xdead);
    let cases = [
        (format!("/v1/orders/{nobody}"), 404, "not_found"),
        (format!("/v1/orders/{nobody}/events"), 404, "not_found"),
        (format!("/v1/customers/{nobody}"), 404, "not_found"),
        ("/v1/orders/seven".to_owned(), 400, "malformed_id"),
        ("/v1/orders".to_owned(), 400, "malformed_parameter"),
        ("/v1/orders?status=lost".to_owned(), 400, "malformed_parameter"),
        ("/v1/orders?status=created&limit=0".to_owned(), 400, "malformed_parameter"),
        ("/v1/orders?status=created&limit=1000".to_owned(), 400, "malformed_parameter"),
        ("/v1/orders?status=created&cursor=xyz".to_owned(), 400, "malformed_parameter"),
        ("/v1/orders?status=created&colour=red".to_owned(), 400, "malformed_parameter"),
        ("/v1/parcels".to_owned(), 404, "route_not_found"),
    ];
    for (path, status, code) in cases {
        let answer = client.http.get(&format!("{}{path}", client.queries)).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.text("code")),
            (status, Some(code)),
            "{path}: {}",
            answer.body
        );
    }
    let none = client.http.get(&format!("{}/v1/customers/{nobody}/orders", client.queries)).await?;
    assert_eq!((none.status.as_u16(), &none.body), (200, &json!({"orders": []})));
    world.finish().await
}
