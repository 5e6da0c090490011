//! A listener with a handler that does as its query says, and a client that speaks in frames.

use super::super::*;
use crate::error::{CqlError, Result};
use crate::protocol::{ColumnSpec, Response, Rows, SchemaChange};
use crate::schema::CqlType;
use crate::server::handler::{Outcome, Work};
use crate::trace::{self, Trace, Traces};
use crate::wire::tests::decode::{Body, decode};
use crate::wire::{HEADER_LEN, opcode};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Does what the text of a query says.
#[derive(Clone)]
pub(super) struct Puppet {
    pub(super) begun: Arc<AtomicUsize>,
    pub(super) finished: Arc<AtomicUsize>,
    pub(super) go: Arc<Notify>,
    pub(super) changes: broadcast::Sender<SchemaChange>,
    pub(super) traces: Arc<Traces>,
}

impl Handler for Puppet {
    async fn handle(&self, context: &ConnectionContext, work: Work) -> Result<Outcome> {
        let Work::Query { text, .. } = work else { panic!("only queries here") };
        self.begun.fetch_add(1, Ordering::SeqCst);
        let answer = match text.split_once(' ').unwrap_or((&text, "")) {
            ("use", keyspace) => Response::SetKeyspace(keyspace.to_owned()),
            ("keyspace", _) => return Err(CqlError::invalid(format!("{:?}", context.keyspace))),
            ("panic", _) => panic!("as told"),
            ("wait", _) => {
                self.go.notified().await;
                Response::Void
            }
            ("never", _) => std::future::pending().await,
            ("big", len) => rows(len.parse().expect("a length")),
            other => panic!("{other:?}"),
        };
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::Response(answer))
    }

    fn begin_trace(&self, context: &ConnectionContext, request: trace::Request) -> Arc<Trace> {
        self.traces.begin(context, 0, request)
    }

    fn schema_events(&self) -> broadcast::Receiver<SchemaChange> {
        self.changes.subscribe()
    }
}

pub(super) fn rows(len: usize) -> Response {
    let column =
        ColumnSpec { keyspace: "k".into(), table: "t".into(), name: "c".into(), ty: CqlType::Blob };
    let rows = vec![vec![Some(Bytes::from(vec![7; len]))]];
    Response::Rows(Rows { columns: [column].into(), rows, paging_state: None })
}

/// A listener with a puppet behind it.
pub(super) struct Stage {
    pub(super) puppet: Puppet,
    pub(super) address: SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Stage {
    pub(super) async fn new(limits: Limits) -> Self {
        Self::with(limits, Security::default()).await
    }

    pub(super) async fn with(limits: Limits, security: Security) -> Self {
        let puppet = Puppet {
            begun: Arc::default(),
            finished: Arc::default(),
            go: Arc::default(),
            changes: broadcast::channel(16).0,
            traces: Arc::new(Traces::new(2)),
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (listener, address) = bind(any, "listen").await.expect("a free port");
        let metrics = Metrics::new().expect("names are unique");
        let shared = Arc::new(Shared::new(puppet.clone(), Arc::clone(&metrics), limits, security));
        let (tasks, stop) = (shared.tasks.clone(), shared.stop.clone());
        tasks.spawn(accept(listener, shared));
        Self { puppet, address, metrics, tasks, stop }
    }

    pub(super) async fn client(&self) -> Client {
        Client { socket: TcpStream::connect(self.address).await.expect("the listener is up") }
    }

    pub(super) async fn ready(&self) -> Client {
        let mut client = self.client().await;
        client.send(0, opcode::STARTUP, 0, &startup(&[])).await;
        assert_eq!(client.receive().await.opcode, opcode::READY);
        client
    }

    pub(super) async fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let poll = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }

    pub(super) fn begun(&self) -> usize {
        self.puppet.begun.load(Ordering::SeqCst)
    }
}

pub(super) struct Client {
    pub(super) socket: TcpStream,
}

pub(super) struct Received {
    pub(super) flags: u8,
    pub(super) stream: i16,
    pub(super) opcode: u8,
    pub(super) body: Bytes,
}

impl Received {
    pub(super) fn message(&self) -> (i32, String) {
        assert_eq!(self.opcode, opcode::ERROR, "{:?}", self.body);
        match decode("ERROR", 0, &self.body) {
            (_, Body::Error { code, message, .. }) => (code, message),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn frame(flags: u8, opcode: u8, stream: i16, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_slice(&[4, flags]);
    bytes.put_i16(stream);
    bytes.put_u8(opcode);
    bytes.put_u32(body.len() as u32);
    bytes.put_slice(body);
    bytes
}

pub(super) fn startup(options: &[(&str, &str)]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u16(options.len() as u16);
    for text in options.iter().flat_map(|(key, value)| [key, value]) {
        body.put_u16(text.len() as u16);
        body.put_slice(text.as_bytes());
    }
    body
}

pub(super) fn query(text: &str) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u32(text.len() as u32);
    body.put_slice(text.as_bytes());
    body.put_slice(&[0, 6, 0]);
    body
}

impl Client {
    pub(super) async fn send(&mut self, flags: u8, opcode: u8, stream: i16, body: &[u8]) {
        self.socket.write_all(&frame(flags, opcode, stream, body)).await.expect("server reads");
    }

    pub(super) async fn query(&mut self, stream: i16, text: &str) {
        self.send(0, opcode::QUERY, stream, &query(text)).await;
    }

    pub(super) async fn receive(&mut self) -> Received {
        let read = async {
            let mut header = [0; HEADER_LEN];
            self.socket.read_exact(&mut header).await.expect("an answer");
            let [version, flags, s0, s1, opcode, len @ ..] = header;
            assert_eq!(version, 0x84);
            let mut body = vec![0; u32::from_be_bytes(len) as usize];
            self.socket.read_exact(&mut body).await.expect("a whole answer");
            let stream = i16::from_be_bytes([s0, s1]);
            Received { flags, stream, opcode, body: body.into() }
        };
        timeout(PATIENCE, read).await.expect("an answer in time")
    }

    /// Asserts that the server hangs up (and sends nothing more).
    pub(super) async fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, self.socket.read_to_end(&mut rest)).await;
        let end = end.expect("the connection stays open");
        assert!(rest.is_empty(), "{} bytes before the end {end:?}", rest.len());
    }
}
