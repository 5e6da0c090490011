//! Both directions of one proxied connection.

use super::{Counts, Mode, Rewrite};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::sleep;

/// Bytes that are read at a time.
const CHUNK: usize = 16 * 1024;
/// The longest frame that is rewritten.
const FRAME_MAX: usize = 128 * 1024 * 1024;

/// One connection's way through the proxy.
pub(super) struct Pump {
    pub(super) modes: watch::Receiver<Mode>,
    pub(super) counts: Arc<Counts>,
    pub(super) rewrite: Option<Rewrite>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// Closes a connection so that its peer sees a reset.
pub(super) fn reset(stream: TcpStream) {
    // A connection that is gone already needs no reset.
    let _ = stream.set_zero_linger();
}

impl Pump {
    /// Passes bytes on until an end closes, or a mode breaks the connection.
    pub(super) async fn run(self, mut client: TcpStream, mut server: TcpStream) {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let mut modes = self.modes.clone();
        let broken = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let requests = self.pass(from_client, to_server, Direction::Request);
            let answers = self.pass(from_server, to_client, Direction::Answer);
            tokio::select! {
                ended = async { tokio::try_join!(requests, answers) } => ended.is_err(),
                _ = modes.wait_for(|mode| mode.breaks()) => {
                    self.affected();
                    true
                }
            }
        };
        if broken {
            reset(client);
            reset(server);
        }
    }

    async fn pass(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        direction: Direction,
    ) -> io::Result<()> {
        let mut modes = self.modes.clone();
        let rewrite = self.rewrite.as_ref().filter(|_| direction == Direction::Answer);
        let mut buffer = Vec::new();
        loop {
            let more = match rewrite {
                Some(_) => read_frame(&mut from, &mut buffer).await?,
                None => read_chunk(&mut from, &mut buffer).await?,
            };
            if !more {
                return to.shutdown().await;
            }
            if let Some(rewrite) = rewrite {
                rewrite.apply(&mut buffer);
            }
            self.hold(&mut modes, direction).await;
            to.write_all(&buffer).await?;
        }
    }

    /// Keeps a chunk until the mode lets it pass.
    async fn hold(&self, modes: &mut watch::Receiver<Mode>, direction: Direction) {
        let held = |mode: &Mode| match mode {
            Mode::Blackhole => true,
            Mode::Mute => direction == Direction::Answer,
            Mode::Pass | Mode::Reset | Mode::Slow(_) | Mode::Refuse => false,
        };
        let now = *modes.borrow_and_update();
        if let Mode::Slow(delay) = now {
            self.affected();
            sleep(delay).await;
        }
        if held(&modes.borrow_and_update()) {
            self.affected();
            // The sender lives as long as the proxy; without it the connection ends anyway.
            let _ = modes.wait_for(|mode| !held(mode)).await;
        }
    }

    fn affected(&self) {
        self.counts.affected.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads what is there; `false` at the end of the stream.
async fn read_chunk(from: &mut ReadHalf<'_>, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.clear();
    buffer.reserve(CHUNK);
    Ok(from.read_buf(buffer).await? > 0)
}

/// Reads one whole frame, its length before it; `false` at the end of the stream.
async fn read_frame(from: &mut ReadHalf<'_>, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let size = u32::from_be_bytes(length) as usize;
    if size > FRAME_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {size} bytes")));
    }
    buffer.clear();
    buffer.extend(length);
    buffer.resize(4 + size, 0);
    from.read_exact(&mut buffer[4..]).await?;
    Ok(true)
}
