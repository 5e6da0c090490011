//! Random cases, and what must hold after them.

use super::client::{Answer, Client};
use super::server::TestServer;
use anyhow::ensure;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Runs `cases` random cases; proptest prints and keeps the seed of one that fails.
pub(crate) fn random<S: Strategy>(
    cases: u32,
    strategy: S,
    test: impl Fn(S::Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let config =
        Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&strategy, |value| {
        test(value).map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    run.map_err(|error| anyhow::anyhow!("{error}"))
}

/// No request has panicked so far, as the metrics say.
pub(crate) fn assert_no_panics(server: &TestServer) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(server.server().metrics_address())?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    socket.read_to_string(&mut page)?;
    let line = page.lines().find(|line| line.starts_with("panics_total"));
    ensure!(line == Some("panics_total 0"), "{line:?}");
    Ok(())
}

/// Consistency ONE.
const ONE: u16 = 1;

const SCHEMA: [&str; 4] = [
    "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}",
    "USE k",
    "CREATE TABLE t (p int, c int, d text, s int static, v int, w text, l frozen<list<int>>, m frozen<map<text, int>>, u timeuuid, PRIMARY KEY (p, c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC) AND cdc = {'enabled': true, 'preimage': true, 'postimage': true}",
    "CREATE TABLE one (p text, q uuid, v bigint, b blob, f double, PRIMARY KEY ((p, q)))",
];

/// A client of a server with two tables in keyspace `k`.
pub(crate) fn client_with_schema(server: &TestServer) -> anyhow::Result<Client> {
    let mut client = server.connect()?;
    for statement in SCHEMA {
        let answer = client.query(statement, ONE, None, None)?;
        ensure!(answer == Answer::Done, "{statement}: {answer:?}");
    }
    Ok(client)
}
