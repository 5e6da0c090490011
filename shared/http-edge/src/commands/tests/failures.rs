//! Refusals by the rules and failures of the store, each with its status, code and outcome.

use super::*;
use crate::testing::Fails;
use event_store::BusyReason;
use std::time::Duration;
use uuid::Uuid;

#[tokio::test]
async fn a_refusal_by_the_rules_names_the_rule_and_the_version() {
    let server = server();
    let close = || on_jar("POST", "close", &Value::Null);
    let unknown = server.send(close()).await;
    unknown.is_problem(404, "jar_not_found");
    assert_eq!(unknown.body["outcome"], "not_done");
    assert_eq!(unknown.body.get("current_version"), None);

    server.accepts(create()).await;
    let again = server.send(create().key("other")).await;
    again.is_problem(409, "jar_already_there");
    assert_eq!(again.body["title"], "Jar already there");
    assert_eq!(again.body["detail"], "a jar of this id is there already");
    assert_eq!(again.body["current_version"], 1);
    assert_eq!(again.body["outcome"], "not_done");

    let many = on_jar("PUT", "coins", &json!({"coins": vec![coin(); 100]}));
    server.send(many).await.is_problem(422, "too_many_coins");
    let remove = on_jar("DELETE", &format!("coins/{COIN}"), &Value::Null).key("remove");
    server.send(remove).await.is_problem(404, "coin_not_found");
}

#[tokio::test]
async fn a_stale_version_is_told_with_the_current_one() {
    let server = server();
    server.accepts(create()).await;
    let stale = on_jar("POST", "close", &Value::Null).header("if-match", "\"2\"");
    let refused = server.send(stale).await;
    refused.is_problem(412, "stale_version");
    assert_eq!(refused.body["current_version"], 1);
}

#[tokio::test]
async fn a_key_used_for_another_body_or_command_is_refused() {
    let server = server();
    server.accepts(create()).await;
    let mut other = jar();
    other["label"] = json!("USD");
    let reused = server.send(ask("POST", "/v1/jars", &other).key("create")).await;
    reused.is_problem(422, "idempotency_key_reused");
    assert_eq!(reused.body["outcome"], "not_done");
    let close = on_jar("POST", "close", &Value::Null).key("create");
    server.send(close).await.is_problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn an_id_of_something_else_is_not_mistaken() {
    let server = server();
    server.accepts(start()).await;
    let mut body = jar();
    body["jar_id"] = json!(TALLY);
    server.send(ask("POST", "/v1/jars", &body)).await.is_problem(409, "id_taken");
    let close = ask("POST", &format!("/v1/jars/{TALLY}/close"), &Value::Null);
    server.send(close).await.is_problem(404, "id_of_other_type");
}

#[tokio::test]
async fn each_failure_of_the_store_says_whether_the_command_was_done() {
    let server = server();
    let busy = |reason| Fails::Busy(reason, Duration::from_millis(1_200));
    let cases = [
        (busy(BusyReason::OpenCommands), 429, "too_many_commands", "not_done", Some("2")),
        (busy(BusyReason::AggregateQueue), 429, "aggregate_queue_full", "not_done", Some("2")),
        (busy(BusyReason::AggregateWait), 503, "aggregate_wait_ran_out", "not_done", Some("2")),
        (Fails::Unavailable, 503, "unavailable", "not_done", Some("1")),
        (Fails::Unknown, 503, "outcome_unknown", "unknown", Some("1")),
        (Fails::Conflict, 409, "contended", "not_done", Some("1")),
        (Fails::TooLarge, 422, "command_too_large", "not_done", None),
        (Fails::Corrupt, 500, "stored_events_unusable", "not_done", None),
        (Fails::Unstorable, 500, "internal_error", "not_done", None),
        (Fails::Panic, 500, "internal_error", "unknown", None),
    ];
    for (fails, status, code, outcome, retry_after) in cases {
        server.store.fail_next(fails);
        let answer = server.send(create()).await;
        answer.is_problem(status, code);
        assert_eq!(answer.body["outcome"], outcome, "{code}");
        assert_eq!(answer.header("retry-after"), retry_after, "{code}");
    }
    server.store.fail_next(Fails::Conflict);
    assert_eq!(server.send(create()).await.body["current_version"], 7);
    server.accepts(create()).await;
}

#[tokio::test]
async fn a_database_that_answers_nobody_is_not_asked_and_nothing_is_done() {
    let server = server();
    let close = |id: u128| {
        let path = format!("/v1/jars/{}/close", Uuid::from_u128(id));
        ask("POST", &path, &Value::Null).key("close")
    };
    // One jar alone, however often it fails, says nothing about the others.
    for _ in 0..10 {
        server.store.fail_next(Fails::Unavailable);
        server.send(close(1)).await.is_problem(503, "unavailable");
    }
    server.accepts(create()).await;
    for id in 1..=5 {
        server.store.fail_next(if id % 2 == 0 { Fails::Unknown } else { Fails::Unavailable });
        assert_eq!(server.send(close(id)).await.status, 503);
    }
    let executed = server.store.executed().len();
    let refused = server.send(close(6)).await;
    refused.is_problem(503, "database_away");
    assert_eq!(refused.body["outcome"], "not_done");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(server.store.executed().len(), executed);

    // One at a time finds out; its success is for everybody.
    let probed = async {
        while server.send(start()).await.status != StatusCode::CREATED {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), probed).await.expect("closed again");
    server.send(close(6)).await.is_problem(404, "jar_not_found");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document_too() {
    let server = server();
    for path in ["/", "/v1/jars/", "/v1/jar", "/v1/jars/x/y/z", "/v2/jars"] {
        let answer = server.send(ask("POST", path, &json!({}))).await;
        answer.is_problem(404, "route_not_found");
    }
    let wrong = server.send(ask("GET", "/v1/jars", &Value::Null)).await;
    wrong.is_problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
    let wrong = on_jar("POST", "coins", &json!({}));
    server.send(wrong).await.is_problem(405, "method_not_allowed");
}
