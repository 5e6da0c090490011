//! What is accepted, and how it is answered.

use super::*;
use uuid::Uuid;

#[tokio::test]
async fn a_command_is_answered_with_its_events() {
    let server = server();
    let created = server.accepts(create()).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("location"), Some(format!("/v1/jars/{JAR}").as_str()));
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(created.header("content-type"), Some("application/json"));
    let event = &created.body["events"][0];
    assert!(event["id"].as_str().is_some_and(|id| Uuid::try_parse(id).is_ok()), "{event}");
    let expected = json!({
        "aggregate_id": JAR,
        "version": 1,
        "events": [{"id": event["id"], "type": "JarOpened", "version": 1}],
    });
    assert_eq!(created.body, expected);

    let steps = [
        ("PUT", "coins", json!({"coins": [coin(), coin()]}), "JarFilled"),
        ("POST", "close", Value::Null, "JarClosed"),
    ];
    for ((method, action, body, event), version) in steps.into_iter().zip(2..) {
        let answer = server.accepts(on_jar(method, action, &body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{action}");
        assert_eq!(answer.header("location"), None, "{action}");
        assert_eq!(answer.header("etag"), Some(format!("\"{version}\"").as_str()), "{action}");
        assert_eq!(answer.body["events"][0]["type"], event);
        assert_eq!(answer.body["events"][0]["version"], version);
    }
}

#[tokio::test]
async fn a_create_sent_again_gets_its_first_answer() {
    let server = server();
    let first = server.accepts(create()).await;
    server.accepts(on_jar("POST", "close", &Value::Null)).await;
    let again = server.accepts(create()).await;
    assert_eq!(again.status, StatusCode::CREATED);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("etag"), first.header("etag"));
    // With fields in another order and an optional field spelled out it is the same request.
    let respelled = format!(
        r#"{{"coins":[{{"count":2,"name":"tea"}}],
            "label":"EUR","owner_id":"{TALLY}","jar_id":"{JAR}"}}"#
    );
    assert_eq!(server.accepts(create().body(respelled)).await.body, first.body);
}

#[tokio::test]
async fn an_id_that_the_client_does_not_name_derives_from_the_key() {
    let server = server();
    let mut body = jar();
    body.as_object_mut().expect("an object").remove("jar_id");
    let create = |key| ask("POST", "/v1/jars", &body).key(key);
    let first = server.accepts(create("a")).await;
    let again = server.accepts(create("a")).await;
    let other = server.accepts(create("b")).await;
    assert_eq!(first.body, again.body);
    assert_ne!(first.body["aggregate_id"], other.body["aggregate_id"]);
    body["jar_id"] = Value::Null;
    let spelled_out = server.accepts(ask("POST", "/v1/jars", &body).key("a")).await;
    assert_eq!(first.body, spelled_out.body);
}

#[tokio::test]
async fn an_effect_that_is_there_already_is_no_event() {
    let server = server();
    server.accepts(create()).await;
    server.accepts(on_jar("POST", "close", &Value::Null)).await;
    let again = server.accepts(on_jar("POST", "close", &Value::Null).key("other")).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.body, json!({"aggregate_id": JAR, "version": 2, "events": []}));
    assert_eq!(again.header("etag"), Some("\"2\""));
}

#[tokio::test]
async fn the_expected_version_may_be_named() {
    let server = server();
    server.accepts(create().header("if-match", "\"0\"")).await;
    let close = on_jar("POST", "close", &Value::Null);
    server.accepts(close.header("if-match", "\"1\"")).await;
}

#[tokio::test]
async fn correlation_and_trace_go_with_the_command() {
    let server = server();
    let correlation = "01900000-0000-7000-8000-0000000000ff";
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = create().header("x-correlation-id", correlation).header("traceparent", trace);
    let answer = server.accepts(request).await;
    assert_eq!(answer.header("x-correlation-id"), Some(correlation));
    let generated = server
        .accepts(on_jar("POST", "close", &Value::Null).header("traceparent", "00-not-a-trace-00"))
        .await;
    let executed = server.store.executed();
    assert_eq!(executed[0].correlation_id.to_string(), correlation);
    assert_eq!(executed[0].trace_parent.as_deref(), Some(trace));
    let id = generated.header("x-correlation-id").expect("an id").to_owned();
    assert_eq!(executed[1].correlation_id.to_string(), id);
    assert_eq!(executed[1].correlation_id.get_version_num(), 7);
    assert_eq!(executed[1].trace_parent, None, "an invalid trace is passed over");

    let refused = server.send(create().key("x").header("traceparent", trace)).await;
    refused.is_problem(409, "jar_already_there");
    assert_eq!(refused.body["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn one_key_names_different_commands_for_different_aggregates() {
    let server = server();
    let mut other = jar();
    other["jar_id"] = json!(COIN);
    server.accepts(create().key("same")).await;
    server.accepts(ask("POST", "/v1/jars", &other).key("same")).await;
    server.accepts(start().key("same")).await;
    let ids: std::collections::HashSet<_> =
        server.store.executed().iter().map(|executed| executed.command_id).collect();
    assert_eq!(ids.len(), 3);
    let asked: Vec<_> = server
        .store
        .executed()
        .iter()
        .map(|executed| (executed.name, executed.aggregate_id.to_string()))
        .collect();
    let expected = [("open", JAR), ("open", COIN), ("start", TALLY)];
    assert_eq!(asked, expected.map(|(name, id)| (name, id.to_owned())));
}
