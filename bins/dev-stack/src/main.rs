//! Starts the whole system on this machine and shows it at work.

mod up;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use dev_stack::demo::{Doors, KEYSPACE};
use std::path::PathBuf;
use std::process::ExitCode;

/// The whole system on one machine, without Docker.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// Keep data here between runs, topics included. Without it everything lives in a temporary
    /// folder and ends with the run.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the order lifecycle on free ports in a temporary folder, verify every hop, and end. With
    /// addresses, against a system that runs already.
    Demo {
        /// Print one JSON object as the last line instead of the story.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        elsewhere: Option<Elsewhere>,
    },
    /// Measure latency, throughput, requests per command and idle cost, and end.
    Bench {
        /// Print one JSON object as the last line.
        #[arg(long)]
        json: bool,
        /// Seconds at the open-loop rate.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Seconds of standing idle.
        #[arg(long, default_value_t = 60)]
        idle_seconds: u64,
    },
    /// Run the embedded broker: what the stack starts as a child.
    Broker {
        /// `127.0.0.1:port`
        #[arg(long, default_value = "127.0.0.1:9092")]
        listen: std::net::SocketAddrV4,
        /// The file to keep records in.
        #[arg(long)]
        database: PathBuf,
    },
}

/// Where a running system is. Other clients may use it at the same time.
#[derive(Args)]
struct Elsewhere {
    /// Base URL of command-api.
    #[arg(long, required = false, requires_all = ["query_api", "scylla", "brokers"])]
    command_api: String,
    /// Base URL of query-api.
    #[arg(long, required = false, requires = "command_api")]
    query_api: String,
    /// `host:port` of nodes of ScyllaDB, separated by commas.
    #[arg(long, value_delimiter = ',', requires = "command_api")]
    scylla: Vec<String>,
    /// Its keyspace, if it is not event_platform.
    #[arg(long, requires = "command_api")]
    keyspace: Option<String>,
    /// `host:port` of Kafka brokers, separated by commas.
    #[arg(long, value_delimiter = ',', requires = "command_api")]
    brokers: Vec<String>,
}

impl From<Elsewhere> for Doors {
    fn from(elsewhere: Elsewhere) -> Self {
        let Elsewhere { command_api, query_api, scylla, keyspace, brokers } = elsewhere;
        let (commands, queries, scylla_nodes) = (command_api, query_api, scylla);
        let keyspace = keyspace.unwrap_or_else(|| KEYSPACE.to_owned());
        Self { commands, queries, scylla_nodes, keyspace, brokers, is_shared: true }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.context("start the runtime").and_then(|runtime| {
        let result = runtime.block_on(run(arguments));
        // A thread that reads standard input may never return.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dev-stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        None => up::up(arguments.data_dir).await,
        Some(Command::Demo { json, elsewhere: None }) => up::demo(arguments.data_dir, json).await,
        Some(Command::Demo { json, elsewhere: Some(elsewhere) }) => {
            up::demo_elsewhere(&elsewhere.into(), json).await
        }
        Some(Command::Bench { json, seconds, idle_seconds }) => {
            up::bench(arguments.data_dir, json, seconds, idle_seconds).await
        }
        Some(Command::Broker { listen, database }) => up::broker(listen.port(), &database).await,
    }
}
