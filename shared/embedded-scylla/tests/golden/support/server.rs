//! A server of its own for each test.

use super::client::Client;
use anyhow::Context as _;
use embedded_scylla::server::{Server, ServerConfig};
use tokio::runtime::Runtime;

/// The cluster that was recorded; the only name in the recordings that is not the script's.
const CLUSTER: &str = "loopback-test";

/// A running server with a fresh data directory, on free ports.
pub(crate) struct TestServer {
    runtime: Runtime,
    server: Option<Server>,
    _data_dir: tempfile::TempDir,
}

impl TestServer {
    /// Starts one.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let data_dir = tempfile::tempdir()?;
        let mut config = ServerConfig::ephemeral(data_dir.path());
        config.engine.cluster_name = CLUSTER.to_owned();
        let server = runtime.block_on(Server::start(config)).context("start the server")?;
        Ok(Self { runtime, server: Some(server), _data_dir: data_dir })
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(self.server().address())
    }

    /// The server itself.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs until it is dropped")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }
}

/// Runs `test` with a client of a fresh server.
pub(crate) fn with_client<T>(
    test: impl FnOnce(&mut Client) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let server = TestServer::start()?;
    test(&mut server.connect()?)
}
