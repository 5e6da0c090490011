//! One client connection.
//!
//! First the client says who it is: over TLS if the port has it, then in STARTUP, then by a password if
//! the server asks for one ([`super::handshake`]), all within one deadline.
//!
//! The reader takes frames one by one, answers what concerns the connection itself (OPTIONS,
//! REGISTER) and `USE` in place, and gives every other request a task of its own, so that
//! answers leave in any order. It stops reading while too many requests are in flight or too many
//! answers wait for a slow client.
//!
//! When the client hangs up, requests in flight run to their end, within the drain timeout; what
//! then still waits (a request that shall never be answered) is dropped.

use super::frames::{Budget, End, FrameReader, Incoming, Outgoing, Share, linger, write_frames};
use super::handler::{ConnectionContext, Handler, Outcome, Work};
use super::handshake::{Handshake, Started};
use super::panic::{catch_panic, panic_text};
use super::{Limits, Shared};
use crate::error::{CqlError, ErrorKind, Result};
use crate::protocol::{Response, SchemaChange};
use crate::trace::{self, Trace};
use crate::wire::compression::Compression;
use crate::wire::request::{self, Request};
use crate::wire::{flag, response};
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a refused client may go on sending before the socket is closed.
const LINGER: Duration = Duration::from_secs(1);

/// What the reader and the requests of one connection share.
struct Connection<H> {
    shared: Arc<Shared<H>>,
    context: ArcSwap<ConnectionContext>,
    /// What the handshake settled; not set before its end.
    started: OnceLock<Started>,
    frames: mpsc::Sender<Outgoing>,
    outgoing: Budget,
    /// Nothing more is read: no more events are of use.
    ended: CancellationToken,
    /// Ends whatever still runs for this connection.
    closed: CancellationToken,
    /// Whether it gets events.
    registered: AtomicBool,
}

/// Serves one client until it hangs up, breaks the protocol, is too slow, or the server stops.
pub(super) async fn serve<H: Handler>(socket: TcpStream, shared: Arc<Shared<H>>) {
    let (Ok(local_address), Ok(peer)) = (socket.local_addr(), socket.peer_addr()) else { return };
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "socket without nodelay");
    }
    let begin =
        Begin { local_address, peer, deadline: Instant::now() + shared.limits.handshake_timeout };
    let Some(tls) = &shared.security.tls else {
        // Halves of a plain socket share nothing, those of any other stream a lock.
        let (read, write) = socket.into_split();
        return talk(read, write, begin, shared).await;
    };
    let accepted = tokio::select! {
        accepted = timeout_at(begin.deadline, tls.accept(socket)) => accepted,
        () = shared.stop.cancelled() => return,
    };
    match accepted {
        Ok(Ok(stream)) => {
            let (read, write) = tokio::io::split(stream);
            talk(read, write, begin, shared).await;
        }
        Ok(Err((error, socket))) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            linger(socket, LINGER).await;
        }
        Err(_) => tracing::debug!(%peer, "no TLS handshake in time"),
    }
}

/// What is known of a connection before anything was said.
struct Begin {
    local_address: SocketAddr,
    peer: SocketAddr,
    /// Of the whole handshake.
    deadline: Instant,
}

/// Speaks CQL with one client, whatever carries the bytes.
async fn talk<H: Handler>(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin + Send + 'static,
    begin: Begin,
    shared: Arc<Shared<H>>,
) {
    let Begin { local_address, peer, deadline } = begin;
    let limits = &shared.limits;
    let (frames, queue) = mpsc::channel(limits.requests_per_connection_max);
    let mut writer = shared.tasks.spawn(write_frames(write, queue, limits.write_timeout));
    let mut reader = FrameReader::new(read, shared.request_bytes.clone(), limits);
    let tasks = TaskTracker::new();
    let connection = Arc::new(Connection {
        context: ArcSwap::from_pointee(ConnectionContext { keyspace: None, local_address, peer }),
        started: OnceLock::new(),
        frames,
        outgoing: Budget::new(limits.outgoing_bytes_max, None),
        ended: CancellationToken::new(),
        closed: CancellationToken::new(),
        registered: AtomicBool::new(false),
        shared: Arc::clone(&shared),
    });
    tracing::debug!(%peer, "connection opened");
    let end = tokio::select! {
        end = connection.read(&mut reader, deadline, &tasks) => Some(end),
        () = shared.stop.cancelled() => None,
        written = &mut writer => {
            tracing::debug!(%peer, ?written, "client no longer reads");
            None
        }
    };
    if let Some(End::Refused { stream, error }) = &end {
        connection.send(connection.error(*stream, error)).await;
    }
    connection.ended.cancel();
    tasks.close();
    // Past this time the rest is dropped, which is what a client that hung up gets.
    let _ = timeout(limits.drain_timeout, tasks.wait()).await;
    connection.closed.cancel();
    tasks.wait().await;
    // The last sender: the writer ends when it has written what is queued.
    drop(connection);
    if !writer.is_finished() && timeout(shared.limits.drain_timeout, &mut writer).await.is_err() {
        writer.abort();
    }
    if matches!(end, Some(End::Refused { .. })) {
        linger(reader.into_inner(), LINGER).await;
    }
    match end {
        Some(End::Closed(reason)) => tracing::debug!(%peer, %reason, "connection closed"),
        Some(End::Refused { error, .. }) => tracing::debug!(%peer, %error, "client refused"),
        None => tracing::debug!(%peer, "connection closed"),
    }
}

impl<H: Handler> Connection<H> {
    fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Reads requests until there are no more.
    async fn read(
        self: &Arc<Self>,
        reader: &mut FrameReader<impl AsyncRead + Unpin>,
        deadline: Instant,
        tasks: &TaskTracker,
    ) -> End {
        let in_flight = Arc::new(Semaphore::new(self.limits().requests_per_connection_max));
        let handshake = async {
            let mut handshake = Handshake::new(self.shared.security.passwords());
            while self.started.get().is_none() {
                let mut incoming = reader.next().await?;
                self.greet(&mut handshake, &mut incoming).await;
            }
            Ok(())
        };
        match timeout_at(deadline, handshake).await {
            Ok(Ok(())) => {}
            Ok(Err(end)) => return end,
            Err(_) => {
                let message = "handshake not complete in time";
                return End::Closed(std::io::Error::new(std::io::ErrorKind::TimedOut, message));
            }
        }
        reader.allow(self.limits().frame_bytes_max);
        loop {
            let mut incoming = match reader.next().await {
                Ok(incoming) => incoming,
                Err(end) => return end,
            };
            self.shared.metrics.frame_in();
            let stream = incoming.header.stream;
            let compression = self.started.get().and_then(|started| started.compression);
            match self.decode(&mut incoming, compression) {
                Ok(Request::Options) => self.send(response::supported(stream)).await,
                Ok(Request::Startup(_)) => {
                    let error = CqlError::protocol(
                        "Unexpected message STARTUP: the connection is started already",
                    );
                    self.send(self.error(stream, &error)).await;
                }
                Ok(Request::AuthResponse(_)) => {
                    let error =
                        CqlError::protocol("Unexpected message AUTH_RESPONSE: nobody asked for it");
                    self.send(self.error(stream, &error)).await;
                }
                Ok(Request::Register(events)) => self.register(stream, &events, tasks).await,
                Ok(Request::Query { text, params }) => {
                    let work = Work::Query { text, params };
                    self.start(incoming, work, &in_flight, tasks).await;
                }
                Ok(Request::Prepare { text }) => {
                    self.start(incoming, Work::Prepare { text }, &in_flight, tasks).await;
                }
                Ok(Request::Execute { id, params }) => {
                    let work = Work::Execute { id, params };
                    self.start(incoming, work, &in_flight, tasks).await;
                }
                Ok(Request::Batch(batch)) => {
                    self.start(incoming, Work::Batch(batch), &in_flight, tasks).await;
                }
                Err(error) => self.send(self.error(stream, &error)).await,
            }
        }
    }

    /// Decodes a body, unpacking it first if need be: then that is what counts until the answer.
    fn decode(&self, incoming: &mut Incoming, compression: Option<Compression>) -> Result<Request> {
        let header = incoming.header;
        if header.flags & flag::COMPRESSED == 0 {
            return request::decode(header.flags, header.opcode, incoming.body.clone());
        }
        let compression =
            compression.ok_or_else(|| CqlError::protocol("Unexpected compressed frame"))?;
        let len = compression.uncompressed_len(&incoming.body)?;
        if len > self.limits().frame_bytes_max {
            return Err(CqlError::invalid(format!(
                "request size too large (length {len}; limit {})",
                self.limits().frame_bytes_max
            )));
        }
        // Waiting here, with the packed body in hand, could block all.
        let share =
            self.shared.request_bytes.try_take(len).ok_or_else(|| {
                CqlError::new(ErrorKind::Overloaded, "too many requests in flight")
            })?;
        incoming.body = compression.decompress(&incoming.body)?;
        incoming.share = share;
        request::decode(header.flags, header.opcode, incoming.body.clone())
    }

    /// Answers one frame before the connection is started.
    async fn greet(&self, handshake: &mut Handshake, incoming: &mut Incoming) {
        self.shared.metrics.frame_in();
        let header = incoming.header;
        let request = self.decode(incoming, handshake.compression());
        let answer = match handshake.step(header, request) {
            Ok((answer, started)) => {
                if let Some(started) = started {
                    // Only the reader sets it, and it asked first.
                    let _ = self.started.set(started);
                }
                answer
            }
            Err(error) => self.error(header.stream, &error),
        };
        // All of the handshake goes out as it is: compression begins after it.
        self.queue(answer, None).await;
    }

    /// Runs one request: `USE` here and now, anything else in a task.
    async fn start(
        self: &Arc<Self>,
        incoming: Incoming,
        work: Work,
        in_flight: &Arc<Semaphore>,
        tasks: &TaskTracker,
    ) {
        self.outgoing.wait_turn().await;
        let permit = Arc::clone(in_flight).acquire_owned().await.expect("never closed");
        let stream = incoming.header.stream;
        // Taken here and not in the task, so that a USE that comes later is not seen.
        let context = self.context.load_full();
        let traced = (incoming.header.flags & flag::TRACING != 0)
            .then(|| self.shared.handler.begin_trace(&context, work.to_trace(incoming.body.len())));
        if work.is_use() {
            let answer = self.answer_traced(stream, &context, work, traced).await;
            self.send(answer).await;
            return;
        }
        let connection = Arc::clone(self);
        tasks.spawn(async move {
            let request = async {
                let answer = connection.answer_traced(stream, &context, work, traced).await;
                connection.send(answer).await;
            };
            tokio::select! {
                biased;
                () = connection.closed.cancelled() => {}
                () = request => {}
            }
            drop((incoming.share, permit));
        });
    }

    /// The frame that answers a request; with the id of its trace if there is one.
    async fn answer_traced(
        &self,
        stream: i16,
        context: &ConnectionContext,
        work: Work,
        traced: Option<Arc<Trace>>,
    ) -> Bytes {
        let Some(trace) = traced else { return self.answer(stream, context, work).await };
        let request = async {
            let answer = self.answer(stream, context, work).await;
            trace::event(|| "Done processing - preparing a result".to_owned());
            answer
        };
        let answer = response::traced(&trace.scope(request).await, trace.id);
        trace.end(answer.len());
        answer
    }

    /// The frame that answers a request, whatever happens inside.
    async fn answer(&self, stream: i16, context: &ConnectionContext, work: Work) -> Bytes {
        let skip_metadata = work.skip_metadata();
        let run = async {
            match self.shared.handler.handle(context, work).await? {
                Outcome::Prepared { id, metadata } => {
                    let lwt_mark = self.started.get().is_some_and(|started| started.lwt_mark);
                    response::prepared(stream, &id, &metadata, lwt_mark)
                }
                Outcome::Response(answer) => {
                    if let Response::SetKeyspace(keyspace) = &answer {
                        self.use_keyspace(keyspace.clone());
                    }
                    response::result(stream, &answer, skip_metadata)
                }
            }
        };
        match catch_panic(run).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => self.error(stream, &error),
            Err(panic) => {
                self.shared.metrics.panic();
                tracing::error!(panic = panic_text(&*panic), "request panicked");
                self.error(stream, &CqlError::server("internal error, see the server's log"))
            }
        }
    }

    fn use_keyspace(&self, keyspace: String) {
        let context = ConnectionContext::clone(&self.context.load());
        self.context.store(Arc::new(ConnectionContext { keyspace: Some(keyspace), ..context }));
    }

    async fn register(self: &Arc<Self>, stream: i16, events: &[String], tasks: &TaskTracker) {
        let known = ["TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE"];
        if let Some(event) = events.iter().find(|event| !known.contains(&event.as_str())) {
            let error = CqlError::protocol(format!("Invalid value '{event}' for event type"));
            return self.send(self.error(stream, &error)).await;
        }
        // One node never has a change of topology or status to tell.
        let wanted = events.iter().any(|event| event == "SCHEMA_CHANGE");
        if wanted && !self.registered.swap(true, Ordering::Relaxed) {
            let changes = self.shared.handler.schema_events();
            let connection = Arc::clone(self);
            tasks.spawn(async move {
                tokio::select! {
                    () = connection.ended.cancelled() => {}
                    () = connection.tell(changes) => {}
                }
            });
        }
        self.send(response::ready(stream)).await;
    }

    /// Sends schema changes as events.
    async fn tell(&self, mut changes: broadcast::Receiver<SchemaChange>) {
        loop {
            match changes.recv().await {
                Ok(change) => match response::event(&change) {
                    Ok(frame) => self.send(frame).await,
                    Err(error) => tracing::warn!(%error, ?change, "event cannot be sent"),
                },
                // Clients take an event as a hint to look; one of those that follow will do.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn error(&self, stream: i16, error: &CqlError) -> Bytes {
        self.shared.metrics.error(response::error_code(&error.kind));
        response::error(stream, error)
    }

    /// Sends a frame, compressed if so agreed.
    async fn send(&self, frame: Bytes) {
        let frame = match self.started.get().and_then(|started| started.compression) {
            Some(compression) => compression.compress(frame),
            None => frame,
        };
        let share = self.outgoing.take(frame.len()).await;
        self.queue(frame, Some(share)).await;
    }

    async fn queue(&self, frame: Bytes, share: Option<Share>) {
        // Fails only when the writer has ended, and then nobody is there to be answered.
        if self.frames.send((frame, share)).await.is_ok() {
            self.shared.metrics.frame_out();
        }
    }
}
