//! The binary: what it prints, that it serves, and how it ends.

use crate::support::{KEYSPACE, PATIENCE, connect, http, run, wait_for};
use futures::StreamExt as _;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// A server process; killed when a test ends early.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    metrics: SocketAddr,
    faults: Option<SocketAddr>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_embedded-scylla"))
            .args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let words = line.split_whitespace().collect::<Vec<_>>();
        let (["embedded-scylla", "listening", "on", address, "metrics", metrics], more) =
            words.split_at(words.len().min(6))
        else {
            panic!("said {line:?}")
        };
        let parse = |address: &str| address.parse().unwrap_or_else(|_| panic!("said {line:?}"));
        let faults = match more {
            [] => None,
            ["faults", address] => Some(parse(address)),
            _ => panic!("said {line:?}"),
        };
        Self { address: parse(address), metrics: parse(metrics), faults, child }
    }

    /// Where the fault port is.
    pub(crate) fn faults(&self) -> SocketAddr {
        self.faults.expect("started with --fault-listen")
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(sent.success());
    }

    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the process ends", async || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }
}

pub(crate) fn data() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_and_ends_well_on_signals() {
    let dir = data();
    for signal in ["-TERM", "-INT"] {
        let mut process = Process::start(dir.path(), &["--token-ranges", "4"]);
        let session = connect(process.address).await;
        assert_eq!(session.get_cluster_state().replica_locator().ring().len(), 4);
        let (status, text) = http(process.metrics, "GET", "/metrics", "").await;
        assert_eq!(status, 200);
        assert!(text.contains("requests_total{"), "{text}");
        process.signal(signal);
        let status = process.wait().await;
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_its_parents_pipe() {
    let dir = data();
    let mut process = Process::start(dir.path(), &["--parent-pipe"]);
    connect(process.address).await;
    assert!(process.child.try_wait().expect("our child").is_none());
    drop(process.child.stdin.take());
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_a_kill() {
    let dir = data();
    let mut acknowledged = BTreeSet::new();
    for round in 0..5 {
        let process = Process::start(dir.path(), &[]);
        let session = connect(process.address).await;
        if round == 0 {
            run(&session, KEYSPACE).await;
            run(&session, "CREATE TABLE ks.t (p int, c int, PRIMARY KEY (p, c))").await;
        }
        let result = session.query_unpaged("SELECT c FROM ks.t WHERE p = 1", ()).await;
        let rows = result.expect("answered").into_rows_result().expect("rows");
        let stored = rows.rows::<(i32,)>().expect("ints").map(|row| row.expect("an int").0);
        let stored = stored.collect::<BTreeSet<_>>();
        let lost = acknowledged.difference(&stored).collect::<Vec<_>>();
        assert!(lost.is_empty(), "round {round}: {lost:?} of {} rows", acknowledged.len());

        let insert = session.prepare("INSERT INTO ks.t (p, c) VALUES (1, ?)").await;
        let insert = insert.expect("sound");
        let (insert, session) = (&insert, &session);
        let first = round * 100_000;
        let mut writes = futures::stream::iter(first..first + 100_000)
            .map(async |c| (c, session.execute_unpaged(insert, (c,)).await))
            .buffer_unordered(16);
        // Killed with sixteen writes in flight, each round at another place.
        let kill_after = 40 + 7 * round as usize;
        let mut answered = 0;
        let until_dead = async {
            while let Some((c, outcome)) = writes.next().await {
                match outcome {
                    Ok(_) => assert!(acknowledged.insert(c)),
                    Err(_) => break,
                }
                answered += 1;
                if answered == kill_after {
                    process.signal("-KILL");
                }
            }
        };
        tokio::time::timeout(PATIENCE, until_dead).await.expect("writes fail once it is dead");
        assert!(answered >= kill_after, "only {answered} writes before the first error");
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let dir = data();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_embedded-scylla"))
        .args(["--listen", &address, "--metrics-listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .output()
        .expect("the binary is built");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("bind listen {address}")), "{text}");
    assert_eq!(output.stdout, b"");
}
