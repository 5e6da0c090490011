//! The server as a program, for `main` of this crate and of others.
//!
//! It prints `embedded-scylla listening on ADDR metrics ADDR` to stdout when it is ready, with ` faults
//! ADDR` behind it if that port is open, and logs to stderr. It exits 0 on SIGTERM, SIGINT, and with
//! `--parent-pipe` when its stdin ends, which it does when the process that started it dies in whatever
//! way. It exits 1 when it cannot start or its storage has failed.

use crate::engine::EngineConfig;
use crate::release::Release;
use crate::server::{Limits, SecurityConfig, Server, ServerConfig, TlsFiles};
use crate::storage::Durability;
use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

const MIB: usize = 1024 * 1024;

/// A wire-compatible stand-in for one ScyllaDB node, for development and tests.
///
/// Without --client-ca or --password-file everybody who reaches the port may do everything: keep it on a loopback
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

    /// The release of ScyllaDB to be like in what is made of keyspaces and tablets: 5.4, 6.2, 2025.1,
    /// 2025.4 or 2026.2. Without, 5.4 that also takes `tablets = {'enabled': false}`.
    #[arg(long, value_parser = release, value_name = "RELEASE")]
    release: Option<Release>,

    /// With a `--release` that has tablets: refuses keyspaces without, as
    /// `tablets_mode_for_new_keyspaces: enforced` does.
    #[arg(long, requires = "release")]
    tablets_enforced: bool,

    /// With a `--release` that has tablets: tablets, and CDC streams, of a new table whose keyspace
    /// does not say how many; rounded up to a power of two.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "N")]
    tablets_per_table: u32,

    /// The release of Cassandra that clients shall take the server for, as `release_version` in
    /// `system.local`; cqlsh 6.1 and later describe the schema only of 4.0 and later.
    #[arg(long, default_value = "3.0.8", value_name = "VERSION")]
    cassandra_version: String,

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

/// Serves until it is told to end. The first argument is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match serve(Arguments::parse_from(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with all causes, whatever line breaks are in them.
            eprintln!("embedded-scylla: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> anyhow::Result<()> {
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
            release: arguments.release.unwrap_or_default(),
            tablets_enforced: arguments.tablets_enforced,
            tablets_per_table: arguments.tablets_per_table,
            cassandra_version: arguments.cassandra_version,
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

fn release(name: &str) -> Result<Release, String> {
    let known = [
        ("5.4", Release::V5_4),
        ("6.2", Release::V6_2),
        ("2025.1", Release::V2025_1),
        ("2025.4", Release::V2025_4),
        ("2026.2", Release::V2026_2),
    ];
    let found = known.into_iter().find(|(known, _)| *known == name);
    found
        .map(|(_, release)| release)
        .ok_or_else(|| format!("one of {}", known.map(|(name, _)| name).join(", ")))
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
