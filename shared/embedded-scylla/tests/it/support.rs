//! One server per test, on free ports, in this process.

use embedded_scylla::release::Release;
use embedded_scylla::server::{Server, ServerConfig};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::Row;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest that any condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a session in keyspace `ks`.
pub(crate) struct Stand {
    pub(crate) session: Session,
    pub(crate) server: Server,
    pub(crate) _dir: TempDir,
}

impl Stand {
    pub(crate) async fn new() -> Self {
        Self::start(KEYSPACE, |_| {}).await
    }

    /// A server of a release with tablets, on which `ks` is.
    pub(crate) async fn on_tablets() -> Self {
        let keyspace = format!("{KEYSPACE} AND tablets = {{'enabled': true}}");
        Self::start(&keyspace, |config| config.engine.release = Release::V2025_4).await
    }

    pub(crate) async fn start(keyspace: &str, configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = ServerConfig::ephemeral(dir.path());
        configure(&mut config);
        let server = Server::start(config).await.expect("starts");
        let session = connect(server.address()).await;
        run(&session, keyspace).await;
        session.use_keyspace("ks", false).await.expect("the keyspace is there");
        Self { session, server, _dir: dir }
    }

    /// Runs a statement that has no rows to tell.
    pub(crate) async fn run(&self, statement: &str) {
        run(&self.session, statement).await;
    }

    /// Runs a statement and gives its rows.
    pub(crate) async fn rows(&self, statement: &str) -> Vec<Row> {
        let result = self
            .session
            .query_unpaged(statement, ())
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
        let rows = result.into_rows_result().unwrap_or_else(|error| panic!("{statement}: {error}"));
        let rows = rows.rows::<Row>().expect("any row is a row");
        rows.map(|row| row.expect("values are sound")).collect()
    }
}

pub(crate) const KEYSPACE: &str = "CREATE KEYSPACE ks WITH replication = \
     {'class': 'NetworkTopologyStrategy', 'replication_factor': 3}";

pub(crate) async fn connect(address: SocketAddr) -> Session {
    SessionBuilder::new().known_node_addr(address).build().await.expect("the driver connects")
}

pub(crate) async fn run(session: &Session, statement: &str) {
    session
        .query_unpaged(statement, ())
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// One HTTP request; gives status and body.
pub(crate) async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.expect("the port is open");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.expect("the request is read");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status line"), body.to_owned())
}

/// Waits for a condition; panics with what it was when it does not come true.
pub(crate) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}
