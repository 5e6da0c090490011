//! More requests than there is room for, and requests whose time is over: each refused with a code of
//! its own, and with the truth about the command.

use super::*;
use futures::poll;
use http_server::principals::PrincipalsConfig;
use std::time::Duration;
use tokio::time::Instant;

const QUEUE: Duration = Duration::from_millis(100);

/// One request at work, so many in the queue.
fn narrow(queue_max: u32) -> CommandServer {
    let requests_max = NonZeroU32::MIN;
    let queue_ms_max = QUEUE.as_millis() as u64;
    let http = HttpConfig { requests_max, queue_max, queue_ms_max, ..http() };
    CommandServer::bounded(&http, &limits(), jar::routes())
}

fn other(key: &str) -> Ask {
    ask("POST", "/v1/jars", &{
        let mut body = jar();
        body.as_object_mut().expect("an object").remove("jar_id");
        body
    })
    .key(key)
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_place_is_refused_at_once_and_nothing_is_done() {
    let server = narrow(1);
    let gate = server.store.hold();
    let mut first = std::pin::pin!(server.send(create()));
    let mut second = std::pin::pin!(server.send(other("second")));
    assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
    let before = Instant::now();
    let third = server.send(other("third")).await;
    third.is_problem(429, "too_many_requests");
    assert_eq!(third.body["outcome"], "not_done");
    assert_eq!(third.header("retry-after"), Some("1"));
    assert_eq!(before.elapsed(), Duration::ZERO);

    gate.add_permits(2);
    assert_eq!(first.await.status, StatusCode::CREATED);
    assert_eq!(second.await.status, StatusCode::CREATED);
    assert_eq!(server.store.executed().len(), 2, "the third never arrived at the store");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_too_long_for_a_place_is_refused_and_nothing_is_done() {
    let server = narrow(8);
    let _gate = server.store.hold();
    let mut first = std::pin::pin!(server.send(create()));
    assert!(poll!(first.as_mut()).is_pending());
    let before = Instant::now();
    let second = server.send(other("second")).await;
    second.is_problem(503, "overloaded");
    assert_eq!(second.body["outcome"], "not_done");
    assert_eq!(second.header("retry-after"), Some("1"));
    assert!(before.elapsed() <= 2 * QUEUE);
    assert!(server.store.executed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_clients_own_deadline_is_kept_in_the_queue_and_at_work() {
    let server = narrow(8);
    let _gate = server.store.hold();
    let late = server.send(create().header("prefer", "wait=0")).await;
    late.is_problem(503, "deadline_passed");
    assert_eq!(late.body["detail"], "the request timed out while queued");
    assert_eq!(late.body["outcome"], "not_done");
    assert_eq!(late.header("preference-applied"), Some("wait=0"));
    assert!(server.store.executed().is_empty());

    let before = Instant::now();
    let slow = server.send(create().header("prefer", "wait=2")).await;
    slow.is_problem(503, "outcome_unknown");
    let waited = before.elapsed();
    assert!(
        waited >= Duration::from_secs(2) && waited < Duration::from_millis(2_100),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_also_ends_the_wait_for_a_body() {
    let server = server();
    let mut request: Request<Body> = create().header("prefer", "wait=1").into();
    let never = futures::stream::pending::<Result<axum::body::Bytes, std::convert::Infallible>>();
    *request.body_mut() = Body::from_stream(never);
    let before = Instant::now();
    server.send(request).await.is_problem(408, "body_timeout");
    assert!(before.elapsed() < Duration::from_millis(1_100), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn not_done_is_never_said_while_an_earlier_sending_is_at_work() {
    let server = narrow(0);
    let gate = server.store.hold();
    let mut first = std::pin::pin!(server.send(create()));
    assert!(poll!(first.as_mut()).is_pending());
    let again = server.send(create()).await;
    again.is_problem(429, "too_many_requests");
    assert_eq!(again.body["outcome"], "unknown");
    // A look-up that is refused says nothing about the command either.
    let path = format!("/v1/jars/{JAR}/commands/create");
    let looked = server.send(ask("GET", &path, &Value::Null)).await;
    looked.is_problem(429, "too_many_requests");
    assert_eq!(looked.body["outcome"], "unknown");

    gate.add_permits(2);
    let first = first.await;
    assert_eq!(first.status, StatusCode::CREATED);
    let settled = server.send(create()).await;
    assert_eq!((settled.status, &settled.body), (StatusCode::CREATED, &first.body));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_its_place() {
    let server = narrow(0);
    let _gate = server.store.hold();
    {
        let mut gone = std::pin::pin!(server.send(create()));
        assert!(poll!(gone.as_mut()).is_pending());
        server.send(other("second")).await.is_problem(429, "too_many_requests");
    }
    let mut second = std::pin::pin!(server.send(other("second")));
    assert!(poll!(second.as_mut()).is_pending(), "it has the place");
}

/// One request of each principal at once, and hardly any later.
fn one_of_each_principal() -> CommandServer {
    let one = NonZeroU32::MIN;
    let principals = PrincipalsConfig { requests_per_second: one, burst: one, ..http().principals };
    CommandServer::bounded(&HttpConfig { principals, ..http() }, &limits(), jar::routes())
}

#[tokio::test]
async fn a_principal_who_sends_too_many_is_refused_and_nobody_else() {
    let server = one_of_each_principal();
    let by = |actor: &str, key: &str| other(key).header("x-actor", actor);
    server.accepts(by("ada", "first")).await;
    let refused = server.send(by("ada", "second")).await;
    refused.is_problem(429, "principal_rate_limited");
    assert_eq!(refused.body["outcome"], "not_done");
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.accepts(by("bob", "third")).await;
    for key in ["fourth", "fifth"] {
        server.accepts(other(key)).await;
    }
    let actors: Vec<_> = server.store.executed().into_iter().map(|done| done.actor).collect();
    assert_eq!(actors, [Some("ada".to_owned()), Some("bob".to_owned()), None, None]);
}

#[tokio::test]
async fn a_limited_principal_is_not_told_not_done_of_what_is_at_work() {
    let server = one_of_each_principal();
    let _gate = server.store.hold();
    let mut first = std::pin::pin!(server.send(create().header("x-actor", "ada")));
    assert!(poll!(first.as_mut()).is_pending());
    let again = server.send(create().header("x-actor", "ada")).await;
    again.is_problem(429, "principal_rate_limited");
    assert_eq!(again.body["outcome"], "unknown");
}
