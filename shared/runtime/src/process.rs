//! The life of a process: arguments → configuration → log → admin port → `run` → exit code.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::addresses::{self, Addresses};
use crate::config::{ConfigArguments, Configuration, Health, Loaded, Shutdown, refuse};
use crate::probe::{self, Probe};
use crate::readiness::{Phase, Readiness};
use crate::shutdown::Stopped;
use crate::supervisor::Supervisor;
use crate::telemetry::chain;
use crate::{admin, descriptors, process_metrics, shutdown, telemetry, traces};

#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Ask the process that runs with this configuration, print its answer, and end with 0 or 1
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "readyz")]
    probe: Option<Probe>,
    /// End when standard input ends, as after SIGTERM
    #[arg(long, env = "APP_PARENT_PIPE", value_parser = clap::builder::FalseyValueParser::new(),
          num_args = 0, default_missing_value = "true")]
    parent_pipe: bool,
}

/// The arguments of a process, its program's name first. A program may be several processes: then its first
/// argument is the name of the one that it is to be, and is left out here.
pub fn arguments(name: &str) -> Vec<OsString> {
    let mut all: Vec<OsString> = std::env::args_os().collect();
    if all.get(1).is_some_and(|first| first == name) {
        all.remove(0);
    }
    all
}

/// Runs a process from its arguments to its exit code.
///
/// `name` is the name of the binary, its configuration file and its metrics; `defaults` is the text
/// of `config/<name>.toml`, compiled in. Exit codes: 0 after a clean end, 64 for a bad
/// configuration, 1 for any other failure.
pub fn main<C, F, Fut>(name: &'static str, defaults: &'static str, run: F) -> ExitCode
where
    C: Configuration + Send + 'static,
    F: FnOnce(Process<C>) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let command = Arguments::command().name(name);
    let arguments = match command
        .try_get_matches_from(arguments(name))
        .and_then(|m| Arguments::from_arg_matches(&m))
    {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let loaded = match arguments.config.load::<C>(name, defaults) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Some(probe) = arguments.probe {
        return probe::ask(name, &loaded.shell.admin, probe);
    }
    let tracer = traces::start(name);
    if let Err(error) = tracer.and_then(|tracer| telemetry::init_with(&loaded.shell.log, tracer)) {
        return refuse(name, &error);
    }
    telemetry::log_panics();
    descriptors::raise_limit();
    let again = || read_filter_again::<C>(name, defaults, &arguments.config);
    let result = start_and_run(name, loaded, arguments.parent_pipe, again, run);
    traces::flush();
    match result {
        Ok(()) => {
            info!(process = name, "ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(process = name, error = %chain(error.as_ref()), "process failed");
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration again. Of what it says now only the log's filter is taken.
fn read_filter_again<C: Configuration>(name: &str, defaults: &str, arguments: &ConfigArguments) {
    let read = arguments.read::<C>(name, defaults).map_err(anyhow::Error::new);
    let set = read.and_then(|loaded| {
        let filter = loaded.shell.log.filter;
        info!(filter, "reading the filter of the log again");
        telemetry::set_filter(&filter)
    });
    if let Err(error) = set {
        let error = chain(error.as_ref()).to_string();
        warn!(error, "the filter of the log stays as it is");
    }
}

fn start_and_run<C, F, Fut>(
    name: &'static str,
    loaded: Loaded<C>,
    parent_pipe: bool,
    hung_up: impl Fn(),
    run: F,
) -> anyhow::Result<()>
where
    F: FnOnce(Process<C>) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let Loaded { shell, config, .. } = loaded;
    let version = env!("CARGO_PKG_VERSION");
    info!(process = name, version, pid = std::process::id(), "starting");
    let shutdown = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        .build()
        .context("start the runtime")?;
    // Before anyone can know that the process is there: a signal is never too early.
    let signals = {
        let _inside = runtime.enter();
        shutdown::on_signals(shutdown.clone(), hung_up).context("register signals")?
    };
    process_metrics::register(name, version).context("register process metrics")?;
    let readiness = Readiness::default();
    let addresses = Addresses::new(std::env::var_os(addresses::VARIABLE).map(PathBuf::from));
    let admin = admin::start(&shell.admin, readiness.clone())?;
    addresses.publish("admin", admin)?;

    let grace = shell.shutdown;
    let process = Process {
        name,
        config,
        readiness: readiness.clone(),
        shutdown: shutdown.clone(),
        grace: grace.clone(),
        addresses: Arc::new(addresses),
        supervisor: Supervisor::new(shell.supervision, shutdown.clone(), readiness.clone()),
        health: shell.health,
    };
    let result = runtime.block_on(async {
        if parent_pipe {
            shutdown::on_parent_gone(shutdown.clone()).context("watch the parent pipe")?;
        }
        tokio::select! {
            result = run(process) => ignore_stopped(result),
            result = overdue(&shutdown, &grace) => result,
            () = signals => anyhow::bail!("signals cannot be received any longer"),
        }
    });
    readiness.enter(Phase::Stopping);
    // Blocking work that is still running ends with the process.
    runtime.shutdown_background();
    result
}

/// Being asked to end while waiting for something is a clean end.
fn ignore_stopped(result: anyhow::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.is::<Stopped>() => {
            info!(reason = %chain(error.as_ref()), "stopped before the start was over");
            Ok(())
        }
        result => result,
    }
}

/// Errs when the process is still there long after it should have drained.
async fn overdue(shutdown: &CancellationToken, grace: &Shutdown) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    // `run_until_shutdown` keeps to the grace period itself and knows names; this is for the rest.
    tokio::time::sleep(grace.grace() + Duration::from_secs(1)).await;
    anyhow::bail!("did not end within the grace period of {} ms", grace.grace_ms)
}

/// What the shell gives to `run`.
pub struct Process<C> {
    /// The process's own configuration.
    pub config: C,
    name: &'static str,
    readiness: Readiness,
    shutdown: CancellationToken,
    grace: Shutdown,
    addresses: Arc<Addresses>,
    supervisor: Supervisor,
    health: Health,
}

impl<C> Process<C> {
    /// The name of the process.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Cancelled when the process is to end: take no more work, finish what is in flight, return.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// The named checks behind `/readyz`.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// How a child that keeps `/readyz` true while the process runs is to look at what the process needs.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Says that the process listens on an address, in the log and in the port file.
    pub fn listening(&self, name: &'static str, address: SocketAddr) -> anyhow::Result<()> {
        info!(%address, "{name} listening");
        self.addresses.publish(name, address)
    }

    /// Starts a child that can be started again: `make` is called for each start with
    /// [`Process::shutdown`], and whatever the child holds must be made in it, or be good after a fall
    /// at any place. It is to return only after the shutdown was cancelled; when it returns earlier or
    /// panics it is started again, when it does so too often (`[supervision]`) or fails, the process
    /// ends with exit code 1.
    pub fn child<F, Fut>(&mut self, name: &'static str, mut make: F)
    where
        F: FnMut(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.supervisor.start_again(name, move || make(shutdown.clone()));
    }

    /// Starts a child whose restart unit is the process, because others hold on to what it held.
    /// It is to return only after [`Process::shutdown`] was cancelled: ending earlier, failing or
    /// panicking ends the whole process with exit code 1, after the other children have drained.
    pub fn worker(
        &mut self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.supervisor.start(name, work);
    }

    /// Is ready, waits for the end, and drains the workers within the grace period. What outlives
    /// it is logged by name and makes the process fail.
    pub async fn run_until_shutdown(self) -> anyhow::Result<()> {
        self.readiness.enter(Phase::Running);
        info!(process = self.name, "ready");
        let readiness = self.readiness.clone();
        let shutdown = self.shutdown.clone();
        let not_ready = async move {
            shutdown.cancelled().await;
            readiness.enter(Phase::Stopping);
        };
        let (result, ()) = tokio::join!(self.supervisor.run(self.grace.grace()), not_ready);
        result
    }
}
