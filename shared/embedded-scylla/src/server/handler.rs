//! What the connections ask of the engine, as a trait, so that they can be tested without one.

use crate::engine::Engine;
use crate::error::Result;
use crate::protocol::{BatchRequest, PreparedMetadata, QueryParams, Response, SchemaChange};
use crate::trace::{self, Trace};
use bytes::Bytes;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What a request needs to know of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionContext {
    /// Set by USE.
    pub keyspace: Option<String>,
    /// The server's end of the socket: what `system.local` shows as `rpc_address`.
    pub local_address: SocketAddr,
    /// The client's end.
    pub peer: SocketAddr,
}

/// A request that is more than talk about the connection.
#[derive(Debug)]
pub(crate) enum Work {
    Query { text: String, params: QueryParams },
    Prepare { text: String },
    Execute { id: Bytes, params: QueryParams },
    Batch(BatchRequest),
}

impl Work {
    /// Whether ROWS goes without its columns.
    pub(crate) fn skip_metadata(&self) -> bool {
        match self {
            Self::Query { params, .. } | Self::Execute { params, .. } => params.skip_metadata,
            Self::Prepare { .. } | Self::Batch(_) => false,
        }
    }

    /// What a trace shows of it; `bytes` is the length of its body.
    pub(crate) fn to_trace(&self, bytes: usize) -> trace::Request {
        let (title, parameters) = match self {
            Self::Query { text, params } => {
                ("Execute CQL3 query", trace::parameters(Some(text), params))
            }
            Self::Prepare { text } => {
                let query = ("query".to_owned(), trace::cut(text));
                ("Preparing CQL3 query", [query].into())
            }
            // The engine adds the text that stands behind the id.
            Self::Execute { params, .. } => {
                ("Execute CQL3 prepared query", trace::parameters(None, params))
            }
            Self::Batch(batch) => {
                let BatchRequest { consistency, serial_consistency, timestamp, .. } = batch;
                let levels = trace::levels(*consistency, *serial_consistency, *timestamp);
                ("Execute batch of CQL3 queries", levels)
            }
        };
        trace::Request { title, parameters, bytes }
    }

    /// Whether this is a plain `USE`, which takes effect before the connection's next request is
    /// looked at.
    pub(crate) fn is_use(&self) -> bool {
        let Self::Query { text, .. } = self else { return false };
        let text = text.trim_start().as_bytes();
        let (word, rest) = text.split_at_checked(3).unwrap_or((text, &[]));
        word.eq_ignore_ascii_case(b"use")
            && rest.first().is_some_and(|next| next.is_ascii_whitespace() || *next == b'"')
    }
}

/// What comes of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Response(Response),
    Prepared { id: Bytes, metadata: PreparedMetadata },
}

/// Runs requests. Called from many tasks at once; a panic inside is caught by the caller.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Runs one request.
    fn handle(
        &self,
        context: &ConnectionContext,
        work: Work,
    ) -> impl Future<Output = Result<Outcome>> + Send;

    /// Begins the trace of a request whose client asked for one.
    fn begin_trace(&self, context: &ConnectionContext, request: trace::Request) -> Arc<Trace>;

    /// Schema changes from now on.
    fn schema_events(&self) -> broadcast::Receiver<SchemaChange>;
}

impl Handler for Engine {
    async fn handle(&self, context: &ConnectionContext, work: Work) -> Result<Outcome> {
        Ok(match work {
            Work::Query { text, params } => {
                Outcome::Response(self.query(context, &text, params).await?)
            }
            Work::Prepare { text } => {
                let prepared = self.prepare(context.keyspace.as_deref(), &text)?;
                Outcome::Prepared { id: prepared.id.clone(), metadata: prepared.metadata.clone() }
            }
            Work::Execute { id, params } => {
                Outcome::Response(self.execute(context, &id, params).await?)
            }
            Work::Batch(request) => Outcome::Response(self.batch(context, request).await?),
        })
    }

    fn begin_trace(&self, context: &ConnectionContext, request: trace::Request) -> Arc<Trace> {
        Engine::begin_trace(self, context, request)
    }

    fn schema_events(&self) -> broadcast::Receiver<SchemaChange> {
        Engine::schema_events(self)
    }
}
