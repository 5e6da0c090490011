//! A disk that fails a sync, once or from then on: what was to be synced is not acknowledged, the
//! process ends, and a new one has all that was acknowledged.
//!
//! After a failed sync nobody knows what the disk holds of the pages that were to be written, and the
//! next sync may well succeed without them. So one failure is the end. `strace` makes the system calls
//! of the real process fail; where it is not to be had, or may not, the test says so and ends.

use crate::process::{Process, data};
use crate::support::{KEYSPACE, PATIENCE, connect, run};
use futures::StreamExt as _;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A server whose system calls are interfered with; ends with its input.
struct Traced {
    child: Child,
    address: SocketAddr,
}

impl Drop for Traced {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn can_trace() -> bool {
    let traced = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"])
        .stderr(Stdio::null())
        .status();
    traced.is_ok_and(|status| status.success())
}

impl Traced {
    fn start(data: &Path, when: &str) -> Self {
        let calls = "fsync,fdatasync";
        let mut child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:error=EIO:when={when}")])
            .arg(env!("CARGO_BIN_EXE_embedded-scylla"))
            .args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--parent-pipe"])
            .arg("--data-dir")
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("strace is there");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let address = line.strip_prefix("embedded-scylla listening on ");
        let address = address.and_then(|rest| rest.split(' ').next()?.parse().ok());
        let address = address.unwrap_or_else(|| panic!("said {line:?}"));
        Self { child, address }
    }
}

/// Writes until a write is not acknowledged; gives the rows that were.
async fn write_until_refused(address: SocketAddr) -> BTreeSet<i32> {
    let session = connect(address).await;
    run(&session, KEYSPACE).await;
    run(&session, "CREATE TABLE ks.t (p int, c int, v int, PRIMARY KEY (p, c))").await;
    let insert = session.prepare("INSERT INTO ks.t (p, c, v) VALUES (1, ?, ?)").await;
    let insert = &insert.expect("sound");
    let session = &session;
    let mut writes = futures::stream::iter(0..100_000)
        .map(async |c| (c, session.execute_unpaged(insert, (c, c)).await.is_ok()))
        .buffered(4);
    let mut acknowledged = BTreeSet::new();
    let until_refused = async {
        while let Some((c, is_acknowledged)) = writes.next().await {
            if !is_acknowledged {
                return;
            }
            acknowledged.insert(c);
        }
        panic!("the disk never fails");
    };
    tokio::time::timeout(PATIENCE, until_refused).await.expect("a sync fails");
    acknowledged
}

async fn a_failed_sync_is_the_end(when: &str) {
    let dir = data();
    let mut failing = Traced::start(dir.path(), when);
    let acknowledged = write_until_refused(failing.address).await;
    println!("{} rows were acknowledged, then sync {when} failed", acknowledged.len());
    assert!(acknowledged.len() > 20, "it failed from the start");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = failing.child.try_wait().expect("it is our child") {
            break status;
        }
        assert!(Instant::now() < deadline, "it goes on after a failed sync");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(status.code(), Some(1), "it ends by itself, with an error");

    let whole = Process::start(dir.path(), &[]);
    let session = connect(whole.address).await;
    let result = session.query_unpaged("SELECT c, v FROM ks.t WHERE p = 1", ()).await;
    let rows = result.expect("answered").into_rows_result().expect("rows");
    let stored = rows.rows::<(i32, i32)>().expect("ints").map(|row| row.expect("two ints"));
    let stored: BTreeSet<i32> = stored
        .map(|(c, v)| {
            assert_eq!(c, v, "a row that nobody wrote");
            c
        })
        .collect();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged but lost: {lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_process_and_loses_nothing_that_was_acknowledged() {
    if !can_trace() {
        println!("not run: system calls cannot be interfered with here");
        return;
    }
    // Once, after which syncs succeed again; and for good.
    for when in ["60", "60+"] {
        a_failed_sync_is_the_end(when).await;
    }
}
