//! A full disk: what cannot be stored is not acknowledged, the process ends, and with space again all
//! that was acknowledged is there.
//!
//! The data directory is a small tmpfs in a mount namespace of its own, which one shell keeps: it runs the
//! server until that gives up, makes space, and runs it again. Where such namespaces are not to be had
//! the test says so and ends.

use crate::support::{KEYSPACE, PATIENCE, connect, run};
use futures::StreamExt as _;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

const SCRIPT: &str = r#"
    mount -t tmpfs -o size=8m tmpfs "$1" || exit 90
    head -c 4M /dev/zero > "$1/ballast"
    mkdir "$1/data"
    serve() {
        "$2" --data-dir "$1/data" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --parent-pipe
    }
    serve "$1" "$2" <&3
    echo "ended $?"
    rm "$1/ballast"
    serve "$1" "$2" <&3
"#;

struct Shell {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The server ends with the pipe, the shell with the server.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Shell {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("text");
        line
    }

    fn address(&mut self) -> SocketAddr {
        let line = self.line();
        let address = line.strip_prefix("embedded-scylla listening on ");
        let address = address.and_then(|rest| rest.split(' ').next()?.parse().ok());
        address.unwrap_or_else(|| panic!("said {line:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_not_acknowledged_and_nothing_else_is_lost() {
    let possible = Command::new("unshare").args(["-Urm", "true"]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("not run: no namespaces to be had here");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut child = Command::new("unshare")
        .args(["-Urm", "sh", "-c", &format!("exec 3<&0; {SCRIPT}"), "sh"])
        .arg(dir.path())
        .arg(env!("CARGO_BIN_EXE_embedded-scylla"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut shell = Shell { child, lines };

    let session = connect(shell.address()).await;
    run(&session, KEYSPACE).await;
    run(&session, "CREATE TABLE ks.t (p int, c int, v blob, PRIMARY KEY (p, c))").await;
    let insert = session.prepare("INSERT INTO ks.t (p, c, v) VALUES (1, ?, ?)").await;
    let (insert, value) = (insert.expect("sound"), vec![7_u8; 4096]);
    let (insert, value) = (&insert, &value);
    let mut writes = futures::stream::iter(0..100_000)
        .map(async |c| (c, session.execute_unpaged(insert, (c, value)).await.is_ok()))
        .buffered(8);
    let mut acknowledged = BTreeSet::new();
    let until_refused = async {
        while let Some((c, is_acknowledged)) = writes.next().await {
            if !is_acknowledged {
                return;
            }
            acknowledged.insert(c);
        }
        panic!("the disk is never full");
    };
    tokio::time::timeout(PATIENCE, until_refused).await.expect("the disk fills up");
    drop(writes);
    println!("{} rows of 4 KiB were acknowledged", acknowledged.len());
    assert!(acknowledged.len() > 50, "the disk was full from the start");
    drop(session);
    assert_eq!(shell.line(), "ended 1\n", "it ends by itself, with an error");

    let session = connect(shell.address()).await;
    let result = session.query_unpaged("SELECT c FROM ks.t WHERE p = 1", ()).await;
    let rows = result.expect("answered").into_rows_result().expect("rows");
    let stored: BTreeSet<i32> =
        rows.rows::<(i32,)>().expect("ints").map(|row| row.expect("an int").0).collect();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged but lost: {lost:?}");
    session.execute_unpaged(insert, (-1, value)).await.expect("there is space again");
}
