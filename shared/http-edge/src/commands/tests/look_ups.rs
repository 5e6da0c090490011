//! What became of a command.

use super::*;
use crate::testing::Fails;
use event_store::BusyReason;
use std::time::Duration;

fn look_up(path: &str) -> Ask {
    ask("GET", path, &Value::Null).without("content-type").without("idempotency-key")
}

fn of_jar(key: &str) -> Ask {
    look_up(&format!("/v1/jars/{JAR}/commands/{key}"))
}

#[tokio::test]
async fn a_command_is_found_by_its_key_whatever_came_after_it() {
    let server = server();
    let created = server.accepts(create()).await;
    let closeed = server.accepts(on_jar("POST", "close", &Value::Null)).await;
    for (key, answer) in [("create", &created), ("close", &closeed)] {
        let found = server.accepts(of_jar(key)).await;
        assert_eq!(found.status, StatusCode::OK);
        assert_eq!(found.header("etag"), answer.header("etag"));
        let expected = json!({
            "state": "done",
            "version": answer.body["version"],
            "events": answer.body["events"],
        });
        assert_eq!(found.body, expected);
    }
    let registered = server.accepts(start()).await;
    let found = server.accepts(look_up(&format!("/v1/tallies/{TALLY}/commands/start")));
    assert_eq!(found.await.body["events"], registered.body["events"]);
    let executed = server.store.executed();
    assert_eq!(executed.len(), 3, "a look-up is no command: {executed:?}");
}

#[tokio::test]
async fn an_unknown_command_is_not_found_at_a_version() {
    let server = server();
    let nothing = server.accepts(of_jar("create")).await;
    assert_eq!(nothing.body, json!({"state": "not_found", "version": 0}));
    server.accepts(create()).await;
    for key in ["other", "close", "Create"] {
        let unknown = server.accepts(of_jar(key)).await;
        assert_eq!(unknown.status, StatusCode::OK);
        assert_eq!(unknown.body, json!({"state": "not_found", "version": 1}), "{key}");
        assert_eq!(unknown.header("etag"), Some("\"1\""));
    }
    // A refused command leaves nothing.
    server.send(create().key("second")).await.is_problem(409, "jar_already_there");
    assert_eq!(server.accepts(of_jar("second")).await.body["state"], "not_found");
}

#[tokio::test]
async fn a_create_without_an_id_is_found_by_its_key_alone_and_by_the_id_it_made() {
    let server = server();
    let mut body = jar();
    body.as_object_mut().expect("an object").remove("jar_id");
    let created = server.accepts(ask("POST", "/v1/jars", &body).key("mine")).await;
    let id = created.body["aggregate_id"].as_str().expect("an id").to_owned();
    let found = server.accepts(look_up("/v1/jars/commands/mine")).await;
    let expected = json!({
        "state": "done",
        "version": 1,
        "events": created.body["events"],
        "aggregate_id": id,
    });
    assert_eq!(found.body, expected);
    let by_id = server.accepts(look_up(&format!("/v1/jars/{id}/commands/mine"))).await;
    assert_eq!(by_id.body["events"], created.body["events"]);

    // Where the client named the id, the key is the aggregate's.
    server.accepts(create()).await;
    let unnamed = server.accepts(look_up("/v1/jars/commands/create")).await;
    assert_eq!(unnamed.body, json!({"state": "not_found", "version": 0}));
    let elsewhere = server.accepts(look_up(&format!("/v1/jars/{JAR}/commands/mine"))).await;
    assert_eq!(elsewhere.body, json!({"state": "not_found", "version": 1}));
    let tallies = server.accepts(look_up("/v1/tallies/commands/mine")).await;
    assert_eq!(tallies.body["state"], "not_found");
}

#[tokio::test]
async fn keys_are_what_they_are_in_the_header() {
    let server = server();
    let key = "a/b?c#d%20\"~";
    server.accepts(create().key(key)).await;
    let encoded = "a%2Fb%3Fc%23d%2520%22%7E";
    assert_eq!(server.accepts(of_jar(encoded)).await.body["state"], "done");
    let long = "k".repeat(256);
    for bad in ["a%20b", "%00", "schl%C3%BCssel", &long] {
        let refused = server.send(of_jar(bad)).await;
        refused.is_problem(400, "invalid_idempotency_key");
        assert_eq!(
            (&refused.body["field"], &refused.body["outcome"]),
            (&json!("key"), &json!("unknown"))
        );
    }
    for path in ["/v1/jars/x/commands/k", &format!("/v1/jars/{JAR}/commands/%FF")] {
        let refused = server.send(look_up(path)).await;
        refused.is_problem(400, "malformed_id");
        assert_eq!(refused.body["outcome"], "unknown");
    }
    server.send(of_jar("")).await.is_problem(404, "route_not_found");
    let mut posted = of_jar("create");
    posted.method = Method::POST;
    server.send(posted).await.is_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_look_up_that_fails_says_nothing_about_the_command() {
    let server = server();
    server.accepts(create()).await;
    let taken = look_up(&format!("/v1/tallies/{JAR}/commands/create"));
    let other_type = server.send(taken).await;
    other_type.is_problem(404, "id_of_other_type");
    assert_eq!(other_type.body["outcome"], "unknown");
    let busy = Fails::Busy(BusyReason::AggregateWait, Duration::from_secs(1));
    for (fails, status, code) in [
        (Fails::Unavailable, 503, "unavailable"),
        (busy, 503, "aggregate_wait_ran_out"),
        (Fails::Corrupt, 500, "stored_events_unusable"),
    ] {
        server.store.fail_next(fails);
        let failed = server.send(of_jar("create")).await;
        failed.is_problem(status, code);
        assert_eq!(failed.body["outcome"], "unknown", "{code}");
        let detail = failed.body["detail"].as_str().expect("a text");
        assert!(!detail.contains("not done"), "{code}: {detail}");
    }
}
