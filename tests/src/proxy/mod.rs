//! A TCP proxy on one hop, which the nemesis can make misbehave.
//!
//! Each process has proxies of its own, so that one process can be cut off alone. Bytes that a
//! blackhole holds back are not lost: when it is lifted they arrive late, as after the retransmission
//! of a network that was away. Whoever gave up meanwhile has closed its end; what it had sent is
//! delivered all the same.

mod pump;
#[cfg(test)]
mod tests;

use anyhow::Context;
use pump::Pump;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a proxy does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Resets what is open and every new connection.
    Reset,
    /// Holds back both directions; new connections are accepted and hear nothing.
    Blackhole,
    /// Holds back the answers only: requests arrive and take effect.
    Mute,
    /// Delays each chunk by so much.
    Slow(Duration),
    /// Resets what is open and does not listen.
    Refuse,
}

impl Mode {
    /// For reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Reset => "reset",
            Self::Blackhole => "blackhole",
            Self::Mute => "mute",
            Self::Slow(_) => "slow",
            Self::Refuse => "refuse",
        }
    }

    fn breaks(self) -> bool {
        matches!(self, Self::Reset | Self::Refuse)
    }
}

/// Bytes of the target's answers that are replaced by as many others. The answers are taken to be
/// frames with a length of four bytes before them, as Kafka's are: a broker names one address for
/// itself, and each client has to find its own proxy there.
#[derive(Debug, Clone)]
pub struct Rewrite {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Rewrite {
    /// Replaces one `host:port` by another in Kafka's form: host text, port in four bytes. The hosts
    /// must be equally long.
    pub fn address(from: SocketAddr, to: SocketAddr) -> anyhow::Result<Self> {
        let bytes = |address: SocketAddr| {
            let mut bytes = address.ip().to_string().into_bytes();
            bytes.extend(u32::from(address.port()).to_be_bytes());
            bytes
        };
        let rewrite = Self { from: bytes(from), to: bytes(to) };
        anyhow::ensure!(rewrite.from.len() == rewrite.to.len(), "{from} and {to} differ in length");
        Ok(rewrite)
    }

    fn apply(&self, frame: &mut [u8]) {
        let mut at = 0;
        while at + self.from.len() <= frame.len() {
            if frame[at..].starts_with(&self.from) {
                frame[at..at + self.to.len()].copy_from_slice(&self.to);
                at += self.to.len();
            } else {
                at += 1;
            }
        }
    }
}

/// How much a proxy's faults did.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    affected: AtomicU64,
}

/// A listener, and the connections that it passes on. Dropping it ends all of them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    counts: Arc<Counts>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Listens on `address` for connections to `target`. `host:port` both, on loopback.
    pub async fn start(
        address: SocketAddr,
        target: SocketAddr,
        rewrite: Option<Rewrite>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address} before {target}"))?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let counts = Arc::new(Counts::default());
        let hop = Hop { address, target, rewrite, modes, counts: Arc::clone(&counts) };
        let mut task = JoinSet::new();
        task.spawn(hop.serve(listener));
        Ok(Self { address, mode, counts, _task: task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does, for open connections and new ones.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Connections that were broken or delayed, and chunks that were delayed, so far.
    pub fn affected(&self) -> u64 {
        self.counts.affected.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }
}

/// What the tasks of a proxy share.
struct Hop {
    address: SocketAddr,
    target: SocketAddr,
    rewrite: Option<Rewrite>,
    modes: watch::Receiver<Mode>,
    counts: Arc<Counts>,
}

/// Pause before a port that somebody else holds is tried again.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

impl Hop {
    async fn serve(mut self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut listener = Some(listener);
        loop {
            while connections.try_join_next().is_some() {}
            let mode = *self.modes.borrow_and_update();
            if mode == Mode::Refuse {
                listener = None;
                if self.modes.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let Some(listening) = &listener else {
                match TcpListener::bind(self.address).await {
                    Ok(again) => listener = Some(again),
                    Err(_) => tokio::time::sleep(REBIND_PAUSE).await,
                }
                continue;
            };
            tokio::select! {
                changed = self.modes.changed() => if changed.is_err() { return },
                accepted = listening.accept() => if let Ok((client, _)) = accepted {
                    if mode == Mode::Reset {
                        self.counts.affected.fetch_add(1, Ordering::Relaxed);
                        pump::reset(client);
                    } else {
                        connections.spawn(connection(
                            client,
                            self.target,
                            self.rewrite.clone(),
                            self.modes.clone(),
                            Arc::clone(&self.counts),
                        ));
                    }
                }
            }
        }
    }
}

async fn connection(
    client: TcpStream,
    target: SocketAddr,
    rewrite: Option<Rewrite>,
    mut modes: watch::Receiver<Mode>,
    counts: Arc<Counts>,
) {
    // Whom a blackhole swallows does not reach the target.
    let passing = modes.wait_for(|mode| *mode != Mode::Blackhole);
    if passing.await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return pump::reset(client);
    };
    counts.open.fetch_add(1, Ordering::Relaxed);
    let pump = Pump { modes, counts: Arc::clone(&counts), rewrite };
    pump.run(client, server).await;
    counts.open.fetch_sub(1, Ordering::Relaxed);
}
