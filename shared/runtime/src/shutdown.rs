//! What asks a process to end: a signal, or the end of the pipe from its parent.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::low_level::signal_name;
use signal_hook_tokio::Signals;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The process was asked to end while it was still waiting for something. Not a failure.
#[derive(Debug, thiserror::Error)]
#[error("asked to end while waiting for {awaited}")]
pub struct Stopped {
    /// What it was waiting for.
    pub awaited: String,
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT. Asked again by SIGTERM, it goes on ending in
/// order: orchestrators repeat themselves. A second SIGINT is a person who will not wait. SIGHUP ends nothing
/// and calls `hung_up`.
pub(crate) fn on_signals(
    shutdown: CancellationToken,
    hung_up: impl Fn(),
) -> std::io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    Ok(async move {
        while let Some(number) = signals.next().await {
            let signal = signal_name(number).unwrap_or("signal");
            if number == SIGHUP {
                hung_up();
                continue;
            }
            if shutdown.is_cancelled() && number == SIGINT {
                warn!(signal, "asked to end again, not waiting any longer");
                std::process::exit(1);
            }
            info!(signal, "shutting down");
            shutdown.cancel();
        }
    })
}

/// For a command that does one thing: SIGTERM and SIGINT end it at once, with 128 and their number. By itself the kernel
/// leaves the first process of a container as it is.
pub fn end_at_signals() -> std::io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        register_conditional_shutdown(signal, 128 + signal, Arc::new(AtomicBool::new(true)))?;
    }
    Ok(())
}

/// Cancels `shutdown` when standard input ends, which happens when the parent dies, however it does.
///
/// A thread of its own reads: a blocked read must hold up neither the workers nor the end.
pub(crate) fn on_parent_gone(shutdown: CancellationToken) -> std::io::Result<()> {
    std::thread::Builder::new().name("parent-pipe".to_owned()).spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut ignored = [0; 256];
        loop {
            match input.read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!(%error, "parent pipe cannot be read");
                    break;
                }
            }
        }
        info!("parent is gone, shutting down");
        shutdown.cancel();
    })?;
    Ok(())
}
