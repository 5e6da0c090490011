//! The port of a process that is not able to work yet.

use anyhow::Context;
use runtime::Process;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::HttpConfig;
use crate::metrics;

/// Connections that the kernel keeps until the process takes them.
const BACKLOG: u32 = 1024;

/// The HTTP port, so that one in use is told at the start and not after the database was waited for. Nobody can
/// connect before [`TakenPort::listen`].
#[derive(Debug)]
pub struct TakenPort {
    socket: TcpSocket,
}

impl TakenPort {
    /// Takes the port that is configured.
    pub fn take(config: &HttpConfig) -> anyhow::Result<Self> {
        metrics::register();
        let take = || {
            let address = config.listen;
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(Self { socket })
        };
        take().map_err(|error: std::io::Error| {
            anyhow::Error::new(error).context(format!("bind http.listen {}", config.listen))
        })
    }

    /// Listens on the port and makes its address known, in the log and in the port file under `http`.
    pub fn listen<C>(self, process: &Process<C>) -> anyhow::Result<TcpListener> {
        let listener = self.socket.listen(BACKLOG).context("listen on http.listen")?;
        let address = listener.local_addr().context("address of the HTTP port")?;
        process.listening("http", address)?;
        Ok(listener)
    }
}
