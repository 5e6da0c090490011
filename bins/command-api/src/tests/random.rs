//! Bodies at random: the rules hold for them all the same.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Anything that JSON can say, a few levels deep.
fn anything() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".*", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A valid body with some members replaced, removed or added.
fn nearly_valid() -> impl Strategy<Value = Value> {
    let member = prop::sample::select(vec![
        "order_id",
        "customer_id",
        "currency",
        "items",
        "product_id",
        "quantity",
        "unit_price_minor",
        "name",
        "email",
        "reason",
    ]);
    prop::collection::vec((any::<bool>(), member, prop::option::of(anything())), 1..3).prop_map(
        |changes| {
            let mut body = order();
            for (within_item, member, value) in changes {
                let target = match body.pointer_mut("/items/0") {
                    Some(item) if within_item && item.is_object() => item,
                    _ => &mut body,
                };
                let members = target.as_object_mut().expect("an object");
                match value {
                    Some(value) => members.insert(member.to_owned(), value),
                    None => members.remove(member),
                };
            }
            body
        },
    )
}

fn route() -> impl Strategy<Value = (&'static str, String)> {
    prop::sample::select(vec![
        ("POST", "/v1/orders".to_owned()),
        ("PUT", format!("/v1/orders/{ORDER}/items")),
        ("POST", format!("/v1/orders/{ORDER}/confirm")),
        ("POST", format!("/v1/orders/{ORDER}/ship")),
        ("POST", format!("/v1/orders/{ORDER}/cancel")),
        ("POST", "/v1/customers".to_owned()),
        ("PUT", format!("/v1/customers/{CUSTOMER}/profile")),
        ("POST", format!("/v1/customers/{CUSTOMER}/addresses")),
        ("DELETE", format!("/v1/customers/{CUSTOMER}/addresses/{ADDRESS}")),
    ])
}

/// Accepted, or refused with a problem document below 500 and, unless the rules of the aggregate
/// refused it, without reaching the store.
fn holds(method: &str, path: &str, body: Vec<u8>) -> TestCaseResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let server = server();
        let answer = server.send(ask(method, path, &Value::Null).body(body)).await;
        if !answer.status.is_success() {
            let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
            answer.is_problem(answer.status.as_u16(), &code);
            prop_assert!(answer.status.is_client_error(), "{} {}", answer.status, answer.body);
            let by_the_store = [404, 409].contains(&answer.status.as_u16());
            prop_assert_eq!(by_the_store, !server.store.executed().is_empty(), "{}", code);
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_answered_below_500((method, path) in route(), body in anything()) {
        holds(method, &path, body.to_string().into_bytes())?;
    }

    #[test]
    fn what_is_nearly_an_order_is_answered_below_500(body in nearly_valid()) {
        holds("POST", "/v1/orders", body.to_string().into_bytes())?;
    }

    #[test]
    fn any_bytes_are_answered_below_500(
        (method, path) in route(),
        body in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        holds(method, &path, body)?;
    }
}
