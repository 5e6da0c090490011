//! Compressed frames between the driver and the server, seen from in between.

#![expect(clippy::disallowed_methods, reason = "what passes bytes on ends with the test's runtime")]

use crate::support::{Stand, run};
use scylla::client::Compression;
use scylla::client::session_builder::SessionBuilder;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes to the server and from it.
#[derive(Default)]
struct Passed {
    up: AtomicUsize,
    down: AtomicUsize,
}

/// Passes everything on and counts it; ends with the test's runtime.
async fn between(server: SocketAddr) -> (SocketAddr, Arc<Passed>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let passed = Arc::new(Passed::default());
    let counted = Arc::clone(&passed);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.expect("the server is up");
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            let passed = Arc::clone(&counted);
            tokio::spawn(async move {
                tokio::join!(
                    pass(client_read, server_write, &passed.up),
                    pass(server_read, client_write, &passed.down)
                )
            });
        }
    });
    (address, passed)
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    count: &AtomicUsize,
) {
    let mut buffer = vec![0; 64 * 1024];
    // Ends when either side does.
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
        count.fetch_add(len, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_and_the_server_pack_what_is_large() {
    const LEN: usize = 1024 * 1024;
    let stand = Stand::new().await;
    run(&stand.session, "CREATE TABLE t (p int PRIMARY KEY, v text)").await;
    for compression in [None, Some(Compression::Lz4), Some(Compression::Snappy)] {
        let (address, passed) = between(stand.server.address()).await;
        let session = SessionBuilder::new()
            .known_node_addr(address)
            .compression(compression)
            .build()
            .await
            .expect("the driver connects");
        session.use_keyspace("ks", false).await.expect("the keyspace is there");
        let insert = session.prepare("INSERT INTO t (p, v) VALUES (?, ?)").await.expect("sound");
        let value = "packed ".repeat(LEN / 7);
        session.execute_unpaged(&insert, (1, &value)).await.expect("written");
        let result = session.query_unpaged("SELECT v FROM t WHERE p = 1", ()).await;
        let rows = result.expect("read").into_rows_result().expect("rows");
        assert_eq!(rows.single_row::<(String,)>().expect("one row").0, value);
        for (way, bytes) in [("up", &passed.up), ("down", &passed.down)] {
            let bytes = bytes.load(Ordering::Relaxed);
            match compression {
                None => assert!(bytes > value.len(), "{way}: {bytes}"),
                Some(_) => assert!(bytes < LEN / 4, "{compression:?} {way}: {bytes}"),
            }
        }
    }
}
