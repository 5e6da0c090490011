//! The engine in process, without sockets: statements in, rows as text out.

mod append;
mod limits;
mod lwt;
mod paging;
mod schema;
mod select;

use super::*;
use crate::protocol::Values;
use crate::storage::Durability;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tempfile::TempDir;

/// An engine with a keyspace `ks` in use.
pub(super) struct Fixture {
    pub(super) engine: Engine,
    pub(super) connection: ConnectionContext,
    /// `None` while the engine is being reopened.
    dir: Option<TempDir>,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With other bounds than usual.
    pub(super) async fn with(change: impl FnOnce(&mut EngineConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = EngineConfig::new(dir.path());
        // Nothing is killed here.
        config.durability = Durability::Periodic(Duration::from_millis(100));
        change(&mut config);
        let connection = ConnectionContext {
            keyspace: Some("ks".to_owned()),
            local_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9042)),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
        };
        let fixture = Self { engine: open(config), connection, dir: Some(dir) };
        fixture
            .ok("CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}")
            .await;
        fixture
    }

    /// The same data under a new engine.
    pub(super) async fn reopened(mut self) -> Self {
        let dir = self.dir.take();
        let config = self.engine.inner.config.clone();
        drop(self.engine);
        // The old engine is gone when nobody holds its storage any more.
        let engine = tokio::task::spawn_blocking(move || open(config)).await.expect("no panic");
        Self { engine, connection: self.connection, dir }
    }

    /// Runs a statement without values, not paged.
    pub(super) async fn run(&self, text: &str) -> Result<Response> {
        self.engine.query(&self.connection, text, params(Vec::new())).await
    }

    /// Runs statements that must succeed; the rows of the last one as text.
    pub(super) async fn ok(&self, text: &str) -> String {
        match self.run(text).await {
            Ok(response) => show(&response),
            Err(error) => panic!("{text}\n{error:?}"),
        }
    }

    /// Runs a statement that must be refused as invalid; the message.
    pub(super) async fn refused(&self, text: &str) -> String {
        match self.run(text).await {
            Ok(response) => panic!("{text}\nwas not refused: {}", show(&response)),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Invalid, "{text}\n{error}");
                error.message
            }
        }
    }

    /// Prepares and executes.
    pub(super) async fn prepared(&self, text: &str, values: Vec<Value>) -> String {
        let prepared = match self.engine.prepare(self.connection.keyspace.as_deref(), text) {
            Ok(prepared) => prepared,
            Err(error) => panic!("{text}\n{error:?}"),
        };
        match self.engine.execute(&self.connection, &prepared.id, params(values)).await {
            Ok(response) => show(&response),
            Err(error) => panic!("{text}\n{error:?}"),
        }
    }
}

fn open(config: EngineConfig) -> Engine {
    let metrics = Metrics::new().expect("metrics have different names");
    Engine::open(config, metrics, Faults::new(0)).expect("a new data directory opens")
}

pub(super) fn params(values: Vec<Value>) -> QueryParams {
    QueryParams {
        consistency: consistency::QUORUM,
        values: Values::Positional(values),
        skip_metadata: false,
        page_size: None,
        paging_state: None,
        serial_consistency: Some(consistency::SERIAL),
        timestamp: None,
    }
}

pub(super) fn int(value: i32) -> Value {
    Value::Bytes(Bytes::copy_from_slice(&value.to_be_bytes()))
}

pub(super) fn bigint(value: i64) -> Value {
    Value::Bytes(Bytes::copy_from_slice(&value.to_be_bytes()))
}

pub(super) fn uuid(low: u8) -> Value {
    let mut bytes = [0; 16];
    bytes[15] = low;
    Value::Bytes(Bytes::copy_from_slice(&bytes))
}

/// The column names, then a line per row; nothing for what has no rows.
pub(super) fn show(response: &Response) -> String {
    let Response::Rows(rows) = response else { return String::new() };
    let names: Vec<&str> = rows.columns.iter().map(|column| column.name.as_str()).collect();
    let lines = rows.rows.iter().map(|row| {
        let cells: Vec<String> = row
            .iter()
            .zip(rows.columns.iter())
            .map(|(cell, column)| match cell {
                Some(bytes) => column.ty.to_text(bytes),
                None => "null".to_owned(),
            })
            .collect();
        cells.join(" ")
    });
    std::iter::once(names.join(" ")).chain(lines).collect::<Vec<_>>().join("\n")
}
