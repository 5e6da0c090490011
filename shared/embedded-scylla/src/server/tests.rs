//! Connections over real sockets, against a handler that does as it is told.

mod handshake;
mod stage;

use super::*;
use crate::protocol::SchemaChange;
use crate::wire::compression::Compression;
use crate::wire::tests::decode::{Body, decode};
use crate::wire::{flag, opcode};
use bytes::{BufMut, BytesMut};
use stage::{PATIENCE, Stage, frame, query, startup};
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

#[tokio::test]
async fn nothing_but_options_and_startup_is_answered_before_startup() {
    let stage = Stage::new(Limits::default()).await;
    let mut client = stage.client().await;
    client.send(0, opcode::OPTIONS, 5, &[]).await;
    let supported = client.receive().await;
    assert_eq!((supported.opcode, supported.stream), (opcode::SUPPORTED, 5));
    client.query(6, "keyspace").await;
    assert_eq!(client.receive().await.message().0, 0x000a);
    client.send(0, opcode::STARTUP, 7, &startup(&[("COMPRESSION", "zip")])).await;
    assert_eq!(client.receive().await.message().0, 0x000a);
    client.send(0, opcode::STARTUP, 8, &startup(&[("CQL_VERSION", "4.0.0")])).await;
    assert_eq!(client.receive().await.opcode, opcode::READY);
    client.send(0, opcode::STARTUP, 9, &startup(&[])).await;
    assert_eq!(client.receive().await.message().0, 0x000a);
    client.query(10, "keyspace").await;
    assert_eq!(client.receive().await.message(), (0x2200, "None".into()));
}

#[tokio::test]
async fn a_foreign_version_and_a_large_first_frame_are_answered_and_hung_up_on() {
    let stage = Stage::new(Limits::default()).await;
    let mut client = stage.client().await;
    let mut version5 = frame(0, opcode::OPTIONS, 3, &[]);
    version5[0] = 5;
    client.socket.write_all(&version5).await.expect("server reads");
    let answer = client.receive().await;
    assert_eq!(answer.stream, 3);
    let (code, message) = answer.message();
    assert_eq!(code, 0x000a);
    assert!(message.contains("Invalid or unsupported protocol version: 5"), "{message}");
    client.assert_closed().await;

    let mut client = stage.client().await;
    client.send(0, opcode::STARTUP, 4, &vec![0; 100_001]).await;
    assert_eq!(client.receive().await.message().0, 0x2200);
    client.assert_closed().await;
}

#[tokio::test]
async fn answers_leave_as_they_are_ready() {
    let stage = Stage::new(Limits::default()).await;
    let mut client = stage.ready().await;
    client.query(1, "wait").await;
    stage.wait_for("the first request", |stage| stage.begun() == 1).await;
    client.query(2, "keyspace").await;
    assert_eq!(client.receive().await.stream, 2);
    client.send(0, opcode::OPTIONS, 3, &[]).await;
    let supported = client.receive().await;
    assert_eq!((supported.opcode, supported.stream), (opcode::SUPPORTED, 3));
    stage.puppet.go.notify_one();
    assert_eq!(client.receive().await.stream, 1);
}

#[tokio::test]
async fn requests_that_arrive_after_use_see_it() {
    let stage = Stage::new(Limits::default()).await;
    let mut client = stage.ready().await;
    let mut burst = BytesMut::new();
    for round in 0..50 {
        burst.put(frame(0, opcode::QUERY, 2 * round, &query(&format!("use k{round}"))));
        burst.put(frame(0, opcode::QUERY, 2 * round + 1, &query("keyspace")));
    }
    client.socket.write_all(&burst).await.expect("server reads");
    for _ in 0..100 {
        let answer = client.receive().await;
        let round = answer.stream / 2;
        if answer.stream % 2 == 0 {
            let expected = Body::SetKeyspace(format!("k{round}"));
            assert_eq!(decode("RESULT", 0, &answer.body).1, expected);
        } else {
            assert_eq!(answer.message().1, format!("Some(\"k{round}\")"));
        }
    }
}

#[tokio::test]
async fn a_panic_is_answered_and_counted() {
    let stage = Stage::new(Limits::default()).await;
    let mut client = stage.ready().await;
    client.query(1, "panic").await;
    assert_eq!(client.receive().await.message().0, 0x0000);
    client.query(2, "keyspace").await;
    assert_eq!(client.receive().await.message().0, 0x2200);
    let text = stage.metrics.render().expect("counters have text form");
    assert!(text.contains("\npanics_total 1\n"), "{text}");
    assert!(text.contains("\nerrors_total{code=\"0x0000\"} 1\n"), "{text}");
}

#[tokio::test]
async fn requests_beyond_the_bound_wait_unread() {
    let limits = Limits { requests_per_connection_max: 2, ..Limits::default() };
    let stage = Stage::new(limits).await;
    let mut client = stage.ready().await;
    for stream in 0..5 {
        client.query(stream, "wait").await;
    }
    for answered in 0..5 {
        let begun = 5.min(answered + 2);
        stage.wait_for("two requests at a time", |stage| stage.begun() == begun).await;
        stage.puppet.go.notify_one();
        client.receive().await;
    }
}

#[tokio::test]
async fn bodies_in_flight_are_bounded_over_all_connections() {
    let limits = Limits { request_bytes_max: 2 * 1024, ..Limits::default() };
    let stage = Stage::new(limits).await;
    let (mut first, mut second) = (stage.ready().await, stage.ready().await);
    let mut third = stage.client().await;
    let padded = format!("wait {}", "x".repeat(1500));
    first.query(1, &padded).await;
    stage.wait_for("the first request", |stage| stage.begun() == 1).await;
    second.query(2, &padded).await;
    third.send(0, opcode::OPTIONS, 3, &[]).await;
    // A keepalive has no body and does not wait.
    assert_eq!(third.receive().await.opcode, opcode::SUPPORTED);
    assert_eq!(stage.begun(), 1);
    stage.puppet.go.notify_one();
    assert_eq!(first.receive().await.stream, 1);
    stage.wait_for("the second request", |stage| stage.begun() == 2).await;
    stage.puppet.go.notify_one();
    assert_eq!(second.receive().await.stream, 2);
    let gauge = stage.metrics.request_bytes().clone();
    stage.wait_for("all shares", |_| gauge.get() == 0).await;
}

#[tokio::test]
async fn slow_clients_are_hung_up_on() {
    let brief = Duration::from_millis(50);
    let stage = Stage::new(Limits { handshake_timeout: brief, ..Limits::default() }).await;
    stage.client().await.assert_closed().await;

    let stage = Stage::new(Limits { read_timeout: brief, ..Limits::default() }).await;
    let mut client = stage.ready().await;
    let whole = frame(0, opcode::QUERY, 1, &query("keyspace"));
    client.socket.write_all(&whole[..whole.len() - 1]).await.expect("server reads");
    client.assert_closed().await;
    let connections = stage.metrics.connections().clone();
    stage.wait_for("no connection", |_| connections.get() == 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_hung_up_on_and_holds_little() {
    let limits = Limits {
        write_timeout: Duration::from_millis(100),
        outgoing_bytes_max: 1024 * 1024,
        drain_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let stage = Stage::new(limits).await;
    let mut client = stage.ready().await;
    let one = frame(0, opcode::QUERY, 1, &query("big 1000000"));
    let burst = one.repeat(500);
    // The server stops reading long before the end, and then closes.
    let sent = timeout(PATIENCE, client.socket.write_all(&burst)).await.expect("closed in time");
    let connections = stage.metrics.connections().clone();
    stage.wait_for("no connection", |_| connections.get() == 0).await;
    assert!(stage.begun() < 100, "{} answers were made, sent: {sent:?}", stage.begun());
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed() {
    let stage = Stage::new(Limits { connections_max: 1, ..Limits::default() }).await;
    let first = stage.ready().await;
    stage.client().await.assert_closed().await;
    drop(first);
    let connections = stage.metrics.connections().clone();
    stage.wait_for("no connection", |_| connections.get() == 0).await;
}

#[tokio::test]
async fn schema_changes_are_told_to_those_who_registered() {
    let stage = Stage::new(Limits::default()).await;
    let (mut registered, mut other) = (stage.ready().await, stage.ready().await);
    let mut body = BytesMut::from(&b"\x00\x01\x00\x0dSCHEMA_CHANGE"[..]);
    registered.send(0, opcode::REGISTER, 1, &body).await;
    assert_eq!(registered.receive().await.opcode, opcode::READY);
    let table = Some("t".to_owned());
    let change = SchemaChange { change: "CREATED", keyspace: "k".into(), table };
    stage.puppet.changes.send(change).expect("somebody listens");
    let event = registered.receive().await;
    assert_eq!((event.opcode, event.stream), (opcode::EVENT, -1));
    let parts = ["CREATED", "TABLE", "k", "t"].map(str::to_owned).to_vec();
    assert_eq!(decode("EVENT", 0, &event.body).1, Body::SchemaChange(parts));
    other.query(2, "keyspace").await;
    assert_eq!(other.receive().await.stream, 2);
    body[4..].copy_from_slice(b"SCHEMA_CHANGX");
    other.send(0, opcode::REGISTER, 3, &body).await;
    assert_eq!(other.receive().await.message().0, 0x000a);
}

#[tokio::test]
async fn compression_is_used_once_agreed() {
    let stage = Stage::new(Limits::default()).await;
    for (name, compression) in [("lz4", Compression::Lz4), ("snappy", Compression::Snappy)] {
        let mut client = stage.client().await;
        client.send(0, opcode::STARTUP, 0, &startup(&[("COMPRESSION", name)])).await;
        let ready = client.receive().await;
        assert_eq!((ready.opcode, ready.flags), (opcode::READY, 0));
        let plain = frame(0, opcode::QUERY, 1, &query(&format!("keyspace{}", " ".repeat(5000))));
        let packed = compression.compress(plain.freeze());
        assert_eq!(packed[1], flag::COMPRESSED);
        client.socket.write_all(&packed).await.expect("server reads");
        assert_eq!(client.receive().await.message().0, 0x2200);
        client.query(2, "big 100000").await;
        let answer = client.receive().await;
        assert_eq!((answer.flags, answer.stream), (flag::COMPRESSED, 2));
        assert!(answer.body.len() < 10_000, "{} bytes", answer.body.len());
        let body = compression.decompress(&answer.body).expect("a sound body");
        assert!(matches!(decode("RESULT", 0, &body).1, Body::Rows(rows) if rows.rows.len() == 1));
    }
    let mut client = stage.ready().await;
    client.send(flag::COMPRESSED, opcode::QUERY, 3, &query("keyspace")).await;
    assert_eq!(client.receive().await.message().0, 0x000a);
}

/// A body of blanks around a query, which both formats pack to next to nothing.
fn bomb(compression: Compression, stream: i16, text: &str, len: usize) -> bytes::Bytes {
    let blanks = " ".repeat(len - text.len());
    compression
        .compress(frame(0, opcode::QUERY, stream, &query(&format!("{text}{blanks}"))).freeze())
}

#[tokio::test]
async fn packed_requests_count_by_what_they_unpack_to_until_they_are_answered() {
    const LEN: usize = 300_000;
    let limits =
        Limits { frame_bytes_max: 2 * LEN, request_bytes_max: 4 * LEN, ..Limits::default() };
    for (name, compression) in [("lz4", Compression::Lz4), ("snappy", Compression::Snappy)] {
        let stage = Stage::new(limits.clone()).await;
        let mut client = stage.client().await;
        client.send(0, opcode::STARTUP, 0, &startup(&[("COMPRESSION", name)])).await;
        assert_eq!(client.receive().await.opcode, opcode::READY);
        for stream in 1..=3 {
            let packed = bomb(compression, stream, "wait ", LEN);
            assert!(packed.len() < LEN / 10, "{} bytes", packed.len());
            client.socket.write_all(&packed).await.expect("server reads");
        }
        stage.wait_for("three requests", |stage| stage.begun() == 3).await;
        // What the fourth unpacks to does not fit beside them.
        client
            .socket
            .write_all(&bomb(compression, 4, "keyspace ", LEN))
            .await
            .expect("server reads");
        let refused = client.receive().await;
        assert_eq!((refused.stream, refused.message().0), (4, 0x1001));
        for _ in 1..=3 {
            stage.puppet.go.notify_one();
            assert_eq!(client.receive().await.opcode, opcode::RESULT);
        }
        client
            .socket
            .write_all(&bomb(compression, 5, "keyspace ", LEN))
            .await
            .expect("server reads");
        assert_eq!(client.receive().await.message().0, 0x2200);
        // One that is larger by itself than a request may be.
        client
            .socket
            .write_all(&bomb(compression, 6, "keyspace ", 3 * LEN))
            .await
            .expect("server reads");
        assert_eq!(client.receive().await.message().0, 0x2200);
        assert_eq!(stage.begun(), 4, "{name}");
    }
}

#[tokio::test]
async fn a_packed_length_that_cannot_be_true_is_refused_before_anything_is_unpacked() {
    let stage = Stage::new(Limits::default()).await;
    let mut client = stage.client().await;
    client.send(0, opcode::STARTUP, 0, &startup(&[("COMPRESSION", "lz4")])).await;
    assert_eq!(client.receive().await.opcode, opcode::READY);
    for len in [u32::MAX, 0x7fff_ffff, 256 * 1024 * 1024] {
        let mut body = BytesMut::new();
        body.put_u32(len);
        body.put_slice(&[0; 1_000]);
        client.send(flag::COMPRESSED, opcode::QUERY, 1, &body).await;
        assert_eq!(client.receive().await.message().0, 0x000a, "{len} bytes");
    }
    client.query(2, "keyspace").await;
    assert_eq!(client.receive().await.message().0, 0x2200);
}

#[tokio::test]
async fn requests_outlive_a_client_that_hangs_up_but_not_for_ever() {
    let limits = Limits { drain_timeout: Duration::from_millis(200), ..Limits::default() };
    let stage = Stage::new(limits).await;
    let mut client = stage.ready().await;
    client.query(1, "wait").await;
    client.query(2, "never").await;
    stage.wait_for("both requests", |stage| stage.begun() == 2).await;
    drop(client);
    stage.puppet.go.notify_one();
    let finished = |stage: &Stage| stage.puppet.finished.load(Ordering::SeqCst) == 1;
    stage.wait_for("the first request", finished).await;
    let connections = stage.metrics.connections().clone();
    stage.wait_for("no connection", |_| connections.get() == 0).await;
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_be_answered() {
    let stage = Stage::new(Limits::default()).await;
    let mut client = stage.ready().await;
    client.query(1, "wait").await;
    stage.wait_for("the request", |stage| stage.begun() == 1).await;
    stage.stop.cancel();
    stage.tasks.close();
    stage.puppet.go.notify_one();
    assert_eq!(client.receive().await.stream, 1);
    client.assert_closed().await;
    timeout(PATIENCE, stage.tasks.wait()).await.expect("all tasks end");
}

#[tokio::test]
async fn a_traced_request_is_answered_with_the_id_of_its_trace() {
    let stage = Stage::new(Limits::default()).await;
    let mut client = stage.client().await;
    client.send(0, opcode::STARTUP, 0, &startup(&[("COMPRESSION", "lz4")])).await;
    client.receive().await;
    for (stream, text, flags) in [
        (1, "big 10", flag::TRACING),
        (2, "big 100000", flag::TRACING | flag::COMPRESSED),
        (3, "use k", flag::TRACING),
        (4, "keyspace", flag::TRACING),
        (5, "panic", flag::TRACING),
    ] {
        client.send(flag::TRACING, opcode::QUERY, stream, &query(text)).await;
        let answer = client.receive().await;
        assert_eq!((answer.stream, answer.flags), (stream, flags), "{text}");
        let body = match flags & flag::COMPRESSED {
            0 => answer.body.clone(),
            _ => Compression::Lz4.decompress(&answer.body).expect("a sound body"),
        };
        let (id, rest) = body.split_at(16);
        // Only the last two are kept here.
        let traces = stage.puppet.traces.all();
        assert!(traces.len() <= 2);
        let trace = traces.last().expect("just begun");
        assert_eq!(trace.id.as_bytes(), id);
        assert_eq!(trace.id.get_version_num(), 1);
        assert_eq!(trace.parameters()["query"], text);
        assert_eq!(
            trace.events().last().map(|event| event.activity.as_str()),
            Some("Done processing - preparing a result")
        );
        assert!(trace.ended().is_some_and(|ended| ended.response_bytes > 25));
        let name = if answer.opcode == opcode::ERROR { "ERROR" } else { "RESULT" };
        decode(name, 0, rest);
    }
    client.query(6, "big 10").await;
    assert_eq!(client.receive().await.flags, 0, "not asked for");
}
