//! Size, time and memory of bodies; and what a client sees of it over a real connection.

use super::*;
use axum::body::Bytes;
use futures::{StreamExt, stream};
use http_server::HttpServer;
use runtime::CancellationToken;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MIB: usize = 1024 * 1024;

/// A jar of exactly `bytes` bytes.
fn padded(bytes: usize) -> Vec<u8> {
    let mut body = jar().to_string().into_bytes();
    body.resize(bytes, b' ');
    body
}

fn streamed(body: Body) -> Request<Body> {
    let mut request: Request<Body> = create().into();
    *request.body_mut() = body;
    request
}

/// 64 KiB at a time without end, counting what was taken.
fn endless(taken: &Arc<AtomicUsize>) -> Body {
    let taken = Arc::clone(taken);
    let chunks = stream::repeat(Bytes::from(vec![b' '; 64 * 1024])).map(move |chunk| {
        taken.fetch_add(chunk.len(), Ordering::SeqCst);
        Ok::<_, Infallible>(chunk)
    });
    Body::from_stream(chunks)
}

#[tokio::test]
async fn a_body_may_have_one_mebibyte_and_not_a_byte_more() {
    let server = server();
    server.accepts(create().body(padded(MIB))).await;
    for length in [Some(MIB + 1), None] {
        let mut ask = create().body(padded(MIB + 1));
        if let Some(length) = length {
            ask = ask.header("content-length", length.to_string());
        }
        let answer = server.send(ask).await;
        answer.is_problem(413, "body_too_large");
        assert_eq!(answer.body["outcome"], "not_done");
    }
    assert_eq!(server.store.executed().len(), 1);
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    let server = server();
    let taken = Arc::new(AtomicUsize::new(0));
    server.send(streamed(endless(&taken))).await.is_problem(413, "body_too_large");
    let taken = taken.load(Ordering::SeqCst);
    assert!(taken <= 2 * MIB + 2 * 64 * 1024, "{taken} bytes were taken");
}

#[tokio::test]
async fn a_client_that_asks_before_sending_too_much_is_told_before() {
    let server = server();
    let taken = Arc::new(AtomicUsize::new(0));
    let mut request = streamed(endless(&taken));
    request.headers_mut().insert("content-length", (2 * MIB).into());
    request.headers_mut().insert("expect", "100-continue".parse().expect("a value"));
    server.send(request).await.is_problem(413, "body_too_large");
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_not_waited_for() {
    let server = server();
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    server.send(streamed(never)).await.is_problem(408, "body_timeout");
    assert!(server.store.executed().is_empty());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let server = server();
    let broken = stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("reset"))]);
    server.send(streamed(Body::from_stream(broken))).await.is_problem(400, "broken_body");
}

#[tokio::test]
async fn bodies_together_are_bounded_and_their_room_comes_back() {
    let one = NonZeroU32::new(1).expect("not zero");
    let server = CommandServer::bounded(
        &http(),
        &RequestLimits { full_bodies_max: one, ..limits() },
        jar::routes(),
    );
    let half = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b' '; MIB / 2]))]);
    let slow = Body::from_stream(half.chain(stream::pending()));
    let waiting = server.router.clone().oneshot(streamed(slow));
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());

    let answer = server.send(create().body(padded(MIB / 2 + 1))).await;
    answer.is_problem(429, "too_many_bodies");
    assert_eq!(answer.header("retry-after"), Some("1"));
    server.accepts(create()).await;
    // The client of the slow one goes away.
    waiting.set(server.router.clone().oneshot(create().into()));
    waiting.as_mut().await.expect("infallible");
    server.accepts(create().body(padded(MIB))).await;
}

/// Serves the routes on a port of their own for as long as `work` runs.
async fn over_tcp(server: &CommandServer, work: impl AsyncFnOnce(TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let http = HttpConfig::at(address);
    let shutdown = CancellationToken::new();
    let serving =
        HttpServer::new(listener, server.router.clone(), http, shutdown.clone()).expect("no TLS");
    let client = async {
        work(TcpStream::connect(address).await.expect("connect")).await;
        shutdown.cancel();
    };
    tokio::join!(serving.run(), client);
}

fn head(length: usize) -> String {
    format!(
        "POST /v1/jars HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         idempotency-key: k\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Reads one answer with its body.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).await.expect("an answer");
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).expect("visible ASCII");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length: usize = length.expect("a length").parse().expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("its body");
    head + std::str::from_utf8(&body).expect("UTF-8")
}

#[tokio::test]
async fn a_client_that_sends_too_much_sees_why() {
    let server = server();
    over_tcp(&server, async |mut stream| {
        stream.write_all(head(MIB + 1).as_bytes()).await.expect("send the head");
        stream.write_all(&padded(MIB + 1)).await.expect("send the body");
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_does_not_cost_the_connection() {
    let server = server();
    over_tcp(&server, async |mut stream| {
        for (body, status) in [("{", "400"), ("{}", "400"), (&jar().to_string(), "201")] {
            let request = head(body.len()) + body;
            stream.write_all(request.as_bytes()).await.expect("send");
            let answer = tokio::time::timeout(Duration::from_secs(10), read_answer(&mut stream));
            let answer = answer.await.expect("an answer in time");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    })
    .await;
}
