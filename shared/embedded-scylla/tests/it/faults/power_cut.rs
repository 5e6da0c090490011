//! Power cuts: what was not synced is gone, what was acknowledged after a sync is there.

use crate::process::{Process, data};
use crate::support::{KEYSPACE, PATIENCE, connect, run};
use futures::StreamExt as _;
use scylla::client::session::Session;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ABORTED: i32 = 6;

fn start(dir: &Path, more: &[&str]) -> Process {
    let mut arguments = vec!["--fault-listen", "127.0.0.1:0"];
    arguments.extend(more);
    Process::start(dir, &arguments)
}

/// Cuts the power; the process ends without an answer.
async fn cut(process: &mut Process, body: &str) {
    let mut socket = TcpStream::connect(process.faults()).await.expect("the port is open");
    let request = format!(
        "POST /power-cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.expect("the request is read");
    let mut answer = Vec::new();
    // Whether the connection ends or breaks is up to the kernel.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    assert_eq!(String::from_utf8_lossy(&answer), "", "the power is still on");
    assert_eq!(process.wait().await.signal(), Some(ABORTED));
}

async fn ints(session: &Session, cql: &str) -> Vec<i32> {
    let result = session.query_unpaged(cql, ()).await.unwrap_or_else(|e| panic!("{cql}: {e}"));
    let rows = result.into_rows_result().expect("rows");
    rows.rows::<(i32,)>().expect("ints").map(|row| row.expect("an int").0).collect()
}

/// The rows of the table; fails if the log says anything else.
async fn stored(session: &Session) -> BTreeSet<i32> {
    let base: BTreeSet<i32> = ints(session, "SELECT c FROM ks.t").await.into_iter().collect();
    let log = ints(session, "SELECT c FROM ks.t_scylla_cdc_log").await;
    assert_eq!(log.len(), base.len(), "the log has rows twice, or none for some");
    assert_eq!(log.into_iter().collect::<BTreeSet<_>>(), base);
    base
}

async fn create(session: &Session) {
    run(session, KEYSPACE).await;
    let options = "WITH cdc = {'enabled': true}";
    run(session, &format!("CREATE TABLE ks.t (p int, c int, PRIMARY KEY (p, c)) {options}")).await;
}

/// Writes with sixteen in flight until `enough` are acknowledged, then cuts; gives those that were.
async fn write_and_cut(
    process: &mut Process,
    session: &Session,
    first: i32,
    body: &str,
) -> Vec<i32> {
    let insert = session.prepare("INSERT INTO ks.t (p, c) VALUES (?, ?)").await.expect("sound");
    let insert = &insert;
    let mut writes = futures::stream::iter(first..first + 100_000)
        .map(async |c| (c, session.execute_unpaged(insert, (c % 7, c)).await))
        .buffer_unordered(16);
    let mut acknowledged = Vec::new();
    let enough = 150;
    while acknowledged.len() < enough {
        let (c, outcome) = writes.next().await.expect("there are more");
        outcome.expect("healthy");
        acknowledged.push(c);
    }
    // The other fifteen are under way while the power goes.
    let (drained, ()) = tokio::join!(
        async {
            let mut drained = Vec::new();
            while let Some((c, Ok(_))) = writes.next().await {
                drained.push(c);
            }
            drained
        },
        cut(process, body)
    );
    acknowledged.extend(drained);
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_each_commit_is_synced() {
    let dir = data();
    let mut acknowledged = BTreeSet::new();
    for (round, body) in
        ["", r#"{"torn":true}"#, r#"{"torn":false}"#, r#"{"torn":true}"#].into_iter().enumerate()
    {
        let mut process = start(dir.path(), &[]);
        let session = connect(process.address).await;
        if round == 0 {
            create(&session).await;
        }
        let found = stored(&session).await;
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} of {}", acknowledged.len());
        let first = i32::try_from(round).expect("small") * 100_000;
        acknowledged.extend(write_and_cut(&mut process, &session, first, body).await);
    }
    let process = start(dir.path(), &[]);
    let found = stored(&connect(process.address).await).await;
    assert!(acknowledged.is_subset(&found));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_synced_is_gone_from_table_and_log() {
    let dir = data();
    let periodic = ["--durability", "periodic", "--sync-interval-ms", "60000"];
    // A clean stop syncs, so the table is there for certain.
    let mut process = start(dir.path(), &periodic);
    create(&connect(process.address).await).await;
    process.signal("-TERM");
    process.wait().await;
    for body in ["", r#"{"torn":true}"#] {
        let mut process = start(dir.path(), &periodic);
        let session = connect(process.address).await;
        assert_eq!(stored(&session).await, BTreeSet::new(), "before {body:?}");
        let acknowledged = write_and_cut(&mut process, &session, 0, body).await;
        assert!(acknowledged.len() >= 150);
    }
    // A killed process on the other hand leaves all that it acknowledged to the operating system.
    let process = start(dir.path(), &periodic);
    let session = connect(process.address).await;
    assert_eq!(stored(&session).await, BTreeSet::new());
    run(&session, "INSERT INTO ks.t (p, c) VALUES (1, 1)").await;
    process.signal("-KILL");
    drop(process);
    let mut process = start(dir.path(), &periodic);
    let session = connect(process.address).await;
    assert_eq!(stored(&session).await, BTreeSet::from([1]));
    // And what a start has found is certain.
    cut(&mut process, "").await;
    let process = start(dir.path(), &[]);
    assert_eq!(stored(&connect(process.address).await).await, BTreeSet::from([1]));
}
