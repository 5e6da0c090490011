//! What is written in Python, as it is installed from PyPI: cqlsh and both drivers.
//!
//! `.ci/tools` installs them and `.ci/run` runs these; where they are not there, a check says so and fails.

use crate::process::{Process, data};
use std::path::{Path, PathBuf};
use std::process::Output;
use tokio::process::Command;

/// Apache Cassandra's driver with its cqlsh, and ScyllaDB's with its own: both drivers are one package
/// to Python, so each is in an environment of its own.
const DRIVERS: [&str; 2] = ["cassandra", "scylla"];

const INSTALL: &str = "`.ci/tools` installs it";

/// A program of one of the environments.
fn installed(driver: &str, program: &str) -> PathBuf {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/python-drivers");
    let path = Path::new(tools).join(driver).join("bin").join(program);
    assert!(path.exists(), "{} is not there: {INSTALL}", path.display());
    path
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

async fn output(command: &mut Command) -> Output {
    let program = format!("{:?}", command.as_std().get_program());
    command.kill_on_drop(true).output().await.unwrap_or_else(|error| panic!("{program}: {error}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs cqlsh and Python drivers, which .ci/tools installs; .ci/run runs it"]
async fn both_drivers_do_what_their_users_do() {
    for driver in DRIVERS {
        let python = installed(driver, "python");
        for (compression, options) in [
            ("default", &[][..]),
            ("none", &["--release", "2025.4"]),
            ("lz4", &["--cassandra-version", "4.1.0"]),
            ("snappy", &[]),
        ] {
            let dir = data();
            let process = Process::start(dir.path(), options);
            let mut command = Command::new(&python);
            command.arg(script("drivers.py"));
            command.args([&process.address.port().to_string(), compression]);
            let output = output(&mut command).await;
            let said = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.trim() == "ok",
                "{driver} with {compression} {options:?}: {said}\n{errors}"
            );
        }
    }
}

/// Runs the script in a cqlsh; its output and its errors.
async fn cqlsh(driver: &str, process: &Process, directory: &Path) -> (String, String) {
    let mut command = Command::new(installed(driver, "cqlsh"));
    command.args(["127.0.0.1", &process.address.port().to_string(), "--no-color", "-f"]);
    command.arg(script("statements.cql")).current_dir(directory).env("HOME", directory);
    let output = output(&mut command).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Asserts that these follow one another.
#[track_caller]
fn follow(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("no {part:?} in its place:\n{text}") };
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs cqlsh and Python drivers, which .ci/tools installs; .ci/run runs it"]
async fn cqlsh_describes_traces_pages_and_copies() {
    // Apache's describes only what it takes for Cassandra 4; ScyllaDB's asks any server.
    for (driver, options) in [("cassandra", &["--cassandra-version", "4.1.0"][..]), ("scylla", &[])]
    {
        let dir = data();
        let process = Process::start(dir.path(), options);
        let home = tempfile::tempdir().expect("a temporary directory");
        let (said, errors) = cqlsh(driver, &process, home.path()).await;
        follow(
            &said,
            &[
                " 1 | 3 | it's",
                " 1 | 2 |  two",
                " 1 | 1 | one",
                "(3 rows)",
                "Consistency level set to QUORUM.",
                "Serial consistency level set to LOCAL_SERIAL.",
                "shell",
                "t  t_scylla_cdc_log",
                "CREATE TABLE shell.t (",
                "PRIMARY KEY (p, c)",
                "WITH CLUSTERING ORDER BY (c DESC)",
                "cdc = {'delta': 'full', 'enabled': 'true'",
                "CREATE KEYSPACE shell WITH replication",
                "CREATE TABLE shell.t (",
                "ALTER TABLE shell.t_scylla_cdc_log WITH",
                "CREATE KEYSPACE shell WITH replication",
                "Cluster: embedded-scylla",
                "Partitioner: org.apache.cassandra.dht.Murmur3Partitioner",
                "Range ownership",
                "Tracing session",
                "Execute CQL3 query",
                "Parsing a statement",
                "Reading from shell.t",
                "Request complete",
                "@ Row 1",
                "| it's",
                "Native protocol v4",
                "Connected to embedded-scylla at 127.0.0.1",
                "3 rows exported to 1 files",
                "3 rows imported from 1 files",
                "     3",
            ],
        );
        // The one thing that was to fail.
        let failures: Vec<_> = errors.lines().filter(|line| line.contains(".cql:")).collect();
        assert!(
            matches!(failures[..], [one] if one.contains("'nothing' not found in keyspace 'shell'")),
            "{driver}: {errors}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs cqlsh and Python drivers, which .ci/tools installs; .ci/run runs it"]
async fn what_cqlsh_describes_makes_the_same_schema_again() {
    let (one, other) = (data(), data());
    let (from, to) = (Process::start(one.path(), &[]), Process::start(other.path(), &[]));
    let home = tempfile::tempdir().expect("a temporary directory");
    cqlsh("scylla", &from, home.path()).await;
    let run = async |process: &Process, arguments: &[&str]| {
        let mut command = Command::new(installed("scylla", "cqlsh"));
        command.args(["127.0.0.1", &process.address.port().to_string(), "--no-color"]);
        command.args(arguments).current_dir(home.path()).env("HOME", home.path());
        let output = output(&mut command).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let described = run(&from, &["-e", "DESCRIBE SCHEMA"]).await;
    assert!(described.contains("CREATE TABLE shell.t ("), "{described}");
    std::fs::write(home.path().join("schema.cql"), &described).expect("a file of ours");
    run(&to, &["-f", "schema.cql"]).await;
    assert_eq!(run(&to, &["-e", "DESCRIBE SCHEMA"]).await, described);
}
