//! Starts the whole system on this machine and shows it at work, or one that runs elsewhere.

mod elsewhere;
mod settings;
mod up;

use anyhow::Context;
use clap::{Parser, Subcommand};
use elsewhere::Elsewhere;
use local_stack::broker;
use runtime::config::{ConfigArguments, Loaded};
use settings::Settings;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The whole system on one machine, without Docker.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
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
    /// URLs, against a system that runs already, whose stores the configuration names.
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
    Broker(broker::Arguments),
}

/// The configuration of this program as it was when it was compiled.
const DEFAULTS: &str = include_str!("../../../config/dev-stack.toml");

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let loaded = match arguments.config.load::<Settings>("dev-stack", DEFAULTS) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    local_stack::run("dev-stack", run(arguments, loaded))
}

async fn run(arguments: Arguments, loaded: Loaded<Settings>) -> anyhow::Result<()> {
    let Loaded { shell, config: settings, .. } = loaded;
    let place =
        up::Place { data_dir: arguments.data_dir, keyspace: settings.scylla.keyspace.clone() };
    // The log is of the clients of a system elsewhere: the children of a stack have their own.
    let doors = |elsewhere: Elsewhere| {
        runtime::end_at_signals().context("listen for signals")?;
        runtime::telemetry::init(&shell.log)?;
        elsewhere.doors(settings)
    };
    match arguments.command {
        None => up::up(&place).await,
        Some(Command::Demo { json, elsewhere: None }) => up::demo(&place, json).await,
        Some(Command::Demo { json, elsewhere: Some(elsewhere) }) => {
            elsewhere::demo(&doors(elsewhere)?, json).await
        }
        Some(Command::Bench { json, seconds, idle_seconds }) => {
            up::bench(&place, json, seconds, idle_seconds).await
        }
        Some(Command::Load { json, rate, seconds, elsewhere }) => {
            elsewhere::load(doors(elsewhere)?, json, rate, Duration::from_secs(seconds)).await
        }
        Some(Command::Broker(arguments)) => broker::until_told(arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_refuses_what_is_bad() {
        runtime::config::testing::assert_refuses_what_is_bad::<Settings>("dev-stack", DEFAULTS);
    }
}
