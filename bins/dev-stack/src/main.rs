//! Starts the whole system on this machine and shows it at work.

mod elsewhere;
mod up;

use anyhow::Context;
use clap::{Parser, Subcommand};
use elsewhere::Elsewhere;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    /// Send commands at a steady rate to a system that runs already, and end with what they saw.
    Load {
        /// Print one JSON object as the last line.
        #[arg(long)]
        json: bool,
        /// Commands per second.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// For how long.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        #[command(flatten)]
        elsewhere: Elsewhere,
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
            up::demo_elsewhere(&elsewhere.doors()?, json).await
        }
        Some(Command::Bench { json, seconds, idle_seconds }) => {
            up::bench(arguments.data_dir, json, seconds, idle_seconds).await
        }
        Some(Command::Load { json, rate, seconds, elsewhere }) => {
            up::load(elsewhere.doors()?, json, rate, Duration::from_secs(seconds)).await
        }
        Some(Command::Broker { listen, database }) => up::broker(listen.into(), &database).await,
    }
}
