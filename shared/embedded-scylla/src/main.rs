//! `embedded-scylla`: one server process.
//!
//! Prints `embedded-scylla listening on ADDR metrics ADDR` to stdout when it is ready, with ` faults
//! ADDR` behind it if that port is open, logs to stderr, and exits 0 on SIGTERM, SIGINT, and with `--parent-pipe` when its stdin ends, which it
//! does when the process that started it dies in whatever way. It exits 1 when it cannot start or
//! its storage has failed.

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use embedded_scylla::engine::EngineConfig;
use embedded_scylla::server::{Limits, SecurityConfig, Server, ServerConfig, TlsFiles};
use embedded_scylla::storage::Durability;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

const MIB: usize = 1024 * 1024;

/// A wire-compatible stand-in for one ScyllaDB node, for development and tests.
///
/// Without --client-ca or --password-file whoever reaches the port may do everything: keep it on a loopback
/// address. The metrics port and the fault port are open in any case.
#[derive(Debug, Parser)]
#[command(name = "embedded-scylla", version)]
struct Arguments {
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9042", value_name = "ADDR")]
    listen: SocketAddr,

    /// Where the data lives; made if missing.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Where `/metrics` is served; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9180", value_name = "ADDR")]
    metrics_listen: SocketAddr,

    /// Opens the fault port, which lets anybody make the server misbehave: for tests only.
    #[arg(long, value_name = "ADDR")]
    fault_listen: Option<SocketAddr>,

    /// Where the draws of the fault port come from.
    #[arg(long, default_value_t = 0, value_name = "N")]
    fault_seed: u64,

    /// Whether an answered write is on disk (`commit`), or will be shortly (`periodic`).
    #[arg(long, value_enum, default_value_t = DurabilityArgument::Commit)]
    durability: DurabilityArgument,

    /// With `--durability periodic`: how often the disk is synced.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000), value_name = "MS")]
    sync_interval_ms: u64,

    /// Token ranges, and CDC streams, of a new data directory; an old one keeps its own.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    token_ranges: u16,

    /// Lets keyspaces be on tablets, as ScyllaDB 2025.4 does: `tablets = {'enabled': true}`.
    #[arg(long)]
    tablets: bool,

    /// With `--tablets`: tablets, and CDC streams, of a new table whose keyspace does not say how
    /// many; rounded up to a power of two.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "N")]
    tablets_per_table: u32,

    /// What `system.local` says where clients shall connect; without it the address that each of
    /// them did connect to.
    #[arg(long, value_name = "IP")]
    rpc_address: Option<IpAddr>,

    /// Speaks TLS with all clients: the server's certificate and those up to its authority, PEM. Files
    /// of certificates and passwords are read again when they change.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// With `--tls-cert`: its private key, PEM.
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// With `--tls-cert`: clients must show a certificate of one of these authorities, PEM.
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    client_ca: Option<PathBuf>,

    /// Clients must give a user name and a password, of which this file has one pair per line:
    /// `user:password`.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Open connections; further ones are closed at once.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    connections_max: usize,

    /// The largest request, 256 at most.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "MIB")]
    request_mib_max: u16,

    /// All requests in flight together.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..), value_name = "MIB")]
    requests_mib_max: u16,

    /// Exit when stdin ends.
    #[arg(long)]
    parent_pipe: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DurabilityArgument {
    Commit,
    Periodic,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::try_new(directives).context("read RUST_LOG")?,
        Err(_) => EnvFilter::new("info,fjall=warn,lsm_tree=warn"),
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Listened for from the start, so that none is missed while the engine opens.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let parent_gone = CancellationToken::new();
    if arguments.parent_pipe {
        watch_parent(parent_gone.clone())?;
    }
    let server = Server::start(config(arguments)).await?;
    let faults = server.fault_address().map(|address| format!(" faults {address}"));
    writeln!(
        std::io::stdout(),
        "embedded-scylla listening on {} metrics {}{}",
        server.address(),
        server.metrics_address(),
        faults.unwrap_or_default()
    )
    .context("say that the server is ready")?;
    let reason = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        () = parent_gone.cancelled() => Ok("parent gone"),
        error = server.failed() => Err(error),
    };
    match &reason {
        Ok(reason) => tracing::info!(reason, "stopping"),
        Err(error) => tracing::error!(%error, "storage failed"),
    }
    server.shutdown().await;
    reason.map(drop).context("the storage failed")
}

fn config(arguments: Arguments) -> ServerConfig {
    let durability = match arguments.durability {
        DurabilityArgument::Commit => Durability::Commit,
        DurabilityArgument::Periodic => {
            Durability::Periodic(Duration::from_millis(arguments.sync_interval_ms))
        }
    };
    let tls = arguments.tls_cert.zip(arguments.tls_key);
    let security = SecurityConfig {
        tls: tls.map(|(cert, key)| TlsFiles { cert, key, client_ca: arguments.client_ca }),
        password_file: arguments.password_file,
    };
    ServerConfig {
        listen: arguments.listen,
        metrics_listen: arguments.metrics_listen,
        fault_listen: arguments.fault_listen,
        fault_seed: arguments.fault_seed,
        security,
        engine: EngineConfig {
            durability,
            token_ranges: arguments.token_ranges.into(),
            tablets: arguments.tablets,
            tablets_per_table: arguments.tablets_per_table,
            rpc_address: arguments.rpc_address,
            ..EngineConfig::new(arguments.data_dir)
        },
        limits: Limits {
            connections_max: arguments.connections_max,
            frame_bytes_max: usize::from(arguments.request_mib_max) * MIB,
            request_bytes_max: usize::from(arguments.requests_mib_max) * MIB,
            ..Limits::default()
        },
    }
}

/// Reads stdin to its end on a thread of its own (a blocked read cannot be given up).
fn watch_parent(gone: CancellationToken) -> anyhow::Result<()> {
    std::thread::Builder::new().name("parent-pipe".into()).spawn(move || {
        // An error means the same as the end: nobody is there.
        let end = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tracing::debug!(?end, "stdin ended");
        gone.cancel();
    })?;
    Ok(())
}
