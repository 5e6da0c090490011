//! Frames from and to a socket.
//!
//! [`FrameReader`] reads a body only after its length is known to be allowed and its bytes fit into
//! the server's budget, and gives a client that has begun a frame only so long to finish it.
//! [`write_frames`] writes what is ready in as few system calls as it can.

use super::Limits;
use crate::error::CqlError;
use crate::wire::{HEADER_LEN, Header};
use bytes::{Bytes, BytesMut};
use prometheus::IntGauge;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// Budgets are counted in units of so many bytes.
const UNIT: usize = 1024;

/// The largest body before STARTUP.
const FIRST_BODY_LEN_MAX: usize = 100_000;

/// How much a read may take beyond the frame that it is for.
const READ_AHEAD: usize = 64 * 1024;

/// How many frames one write may gather.
const GATHER_MAX: usize = 128;

/// Bytes that are held somewhere, bounded in sum.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    units_max: u32,
    gauge: Option<IntGauge>,
}

/// A part of a budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    bytes: i64,
    gauge: Option<IntGauge>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.sub(self.bytes);
        }
    }
}

impl Budget {
    pub(crate) fn new(bytes: usize, gauge: Option<IntGauge>) -> Self {
        let units_max = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1);
        let units = Arc::new(Semaphore::new((units_max as usize).min(Semaphore::MAX_PERMITS)));
        Self { units, units_max, gauge }
    }

    /// What needs more than there is takes all of it.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units_max)
    }

    fn share(&self, bytes: usize, permit: Option<OwnedSemaphorePermit>) -> Share {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if let Some(gauge) = &self.gauge {
            gauge.add(bytes);
        }
        Share { bytes, gauge: self.gauge.clone(), _permit: permit }
    }

    /// Waits for its turn, first come, first served; nothing is to be had at once.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        if bytes == 0 {
            return self.share(0, None);
        }
        let permit = Arc::clone(&self.units)
            .acquire_many_owned(self.units(bytes))
            .await
            .expect("budgets are never closed");
        self.share(bytes, Some(permit))
    }

    /// `None` if there is not as much now.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Share> {
        let permit = Arc::clone(&self.units).try_acquire_many_owned(self.units(bytes)).ok()?;
        Some(self.share(bytes, Some(permit)))
    }

    /// Waits until all who came earlier have got theirs.
    pub(crate) async fn wait_turn(&self) {
        drop(self.units.acquire().await);
    }
}

/// A request frame.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) header: Header,
    pub(crate) body: Bytes,
    /// To be held until the request is answered.
    pub(crate) share: Share,
}

/// Why there is no further frame.
#[derive(Debug)]
pub(crate) enum End {
    /// The client is gone, or too slow.
    Closed(io::Error),
    /// The stream cannot be read on: answer this and close.
    Refused { stream: i16, error: CqlError },
}

/// The reading half of a connection.
pub(crate) struct FrameReader<R> {
    read: R,
    buffer: BytesMut,
    budget: Budget,
    body_len_max: usize,
    /// For a frame that has begun.
    timeout: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(read: R, budget: Budget, limits: &Limits) -> Self {
        Self {
            read,
            buffer: BytesMut::new(),
            budget,
            body_len_max: FIRST_BODY_LEN_MAX.min(limits.frame_bytes_max),
            timeout: limits.read_timeout,
        }
    }

    /// The connection is started: from now on frames may be this large.
    pub(crate) fn allow(&mut self, body_len_max: usize) {
        self.body_len_max = body_len_max;
    }

    /// The next frame. Waits as long as it takes for its first byte.
    pub(crate) async fn next(&mut self) -> Result<Incoming, End> {
        if self.buffer.is_empty() {
            self.fill(HEADER_LEN).await.map_err(End::Closed)?;
        }
        let header = self.within(HEADER_LEN, "frame header").await?;
        let header =
            Header::decode(&header).map_err(|(stream, error)| End::Refused { stream, error })?;
        if header.body_len > self.body_len_max {
            let error = CqlError::invalid(format!(
                "request size too large (length {}; limit {})",
                header.body_len, self.body_len_max
            ));
            return Err(End::Refused { stream: header.stream, error });
        }
        let share = self.budget.take(header.body_len).await;
        self.within(HEADER_LEN + header.body_len, "frame body").await?;
        let mut frame = self.buffer.split_to(HEADER_LEN + header.body_len).freeze();
        Ok(Incoming { header, body: frame.split_off(HEADER_LEN), share })
    }

    /// The half itself, without what was read ahead.
    pub(crate) fn into_inner(self) -> R {
        self.read
    }

    /// Reads until the buffer holds so many bytes, in time; gives the header.
    async fn within(&mut self, len: usize, what: &str) -> Result<[u8; HEADER_LEN], End> {
        let time = self.timeout;
        let filled = timeout(time, async {
            while self.buffer.len() < len {
                self.fill(len - self.buffer.len()).await?;
            }
            Ok(())
        });
        match filled.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(End::Closed(error)),
            Err(_) => {
                let message = format!("{what} not complete after {} ms", time.as_millis());
                return Err(End::Closed(io::Error::new(io::ErrorKind::TimedOut, message)));
            }
        }
        Ok(*self.buffer.first_chunk().expect("the buffer holds a header"))
    }

    /// One read, of up to what is missing and a little more.
    async fn fill(&mut self, missing: usize) -> io::Result<()> {
        self.buffer.reserve(missing.clamp(4096, READ_AHEAD));
        match self.read.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Reads and drops what the client still sends, so that closing the socket does not take away an
/// answer that is on its way.
pub(crate) async fn linger(mut read: impl AsyncRead + Unpin, time: Duration) {
    // The client was told why; whether it reads that is up to it.
    let _ = timeout(time, tokio::io::copy(&mut read, &mut tokio::io::sink())).await;
}

/// A frame on its way out, with its share of the connection's budget.
pub(crate) type Outgoing = (Bytes, Option<Share>);

/// Writes frames until all senders are gone, then closes the writing half. Errs when the client is
/// gone or does not read for `time`.
pub(crate) async fn write_frames(
    mut write: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Outgoing>,
    time: Duration,
) -> io::Result<()> {
    let mut ready = Vec::with_capacity(GATHER_MAX);
    let mut buffer = BytesMut::new();
    while queue.recv_many(&mut ready, GATHER_MAX).await > 0 {
        // Small frames are gathered; a large one goes out without being copied.
        for (frame, share) in ready.drain(..) {
            if frame.len() < READ_AHEAD {
                buffer.extend_from_slice(&frame);
            } else {
                write_in_time(&mut write, &buffer, time).await?;
                buffer.clear();
                write_in_time(&mut write, &frame, time).await?;
            }
            if buffer.len() >= READ_AHEAD {
                write_in_time(&mut write, &buffer, time).await?;
                buffer.clear();
            }
            drop(share);
        }
        write_in_time(&mut write, &buffer, time).await?;
        buffer.clear();
    }
    write.shutdown().await
}

/// Writes all; each single write must get on within the time.
async fn write_in_time(
    write: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    time: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match timeout(time, write.write(bytes)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(Ok(written)) => bytes = &bytes[written..],
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    // TLS may hold on to what the socket did not take at once.
    timeout(time, write.flush()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
