//! Runs chaos and soaks from the command line.

use anyhow::Context;
use clap::{Parser, Subcommand};
use harness::outages::{survives_poison_storm, survives_without_broker, survives_without_database};
use harness::{ChaosOptions, Crowd, Load, Plan, World, chaos, hooked_binaries};
use harness::{survives_crowd, survives_overload, survives_rare_poison};
use std::process::ExitCode;
use std::time::Duration;

/// Shows that the promises hold under races, crashes and cut wires.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One run on a stack of its own: load, faults, healing, judgement. Exit code 0 only when no
    /// promise is violated and enough happened.
    Chaos {
        /// Chooses commands and faults; a new one when it is not given.
        #[arg(long)]
        seed: Option<u64>,
        /// How long the faults last, for example 60s or 5m.
        #[arg(long, default_value = "60s", value_parser = duration)]
        duration: Duration,
        /// How many clients there are, instead of as many as the test suite has.
        #[arg(long)]
        clients: Option<u32>,
        /// Print one JSON object as the last line instead of the report.
        #[arg(long)]
        json: bool,
    },
    /// What the test suite does in seconds and small, at full length and size and one after the other: three
    /// times the capacity, crowds of connections, rare poison, a broker that is away, a database that is
    /// away, an event type that nobody can handle. What is to last no time is left out.
    Soak {
        /// How long the overload and the crowd last, each.
        #[arg(long, default_value = "60s", value_parser = duration)]
        overload: Duration,
        /// How long the broker is away.
        #[arg(long, default_value = "2m", value_parser = duration)]
        broker: Duration,
        /// How long the database is away.
        #[arg(long, default_value = "60s", value_parser = duration)]
        database: Duration,
        /// How long nobody can handle the event type.
        #[arg(long, default_value = "60s", value_parser = duration)]
        poison: Duration,
    },
}

/// Seconds or minutes.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - usize::from(text.ends_with(['s', 'm'])));
    let number: u64 = number.parse().map_err(|error| format!("{text:?}: {error}"))?;
    match unit {
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Ok(Duration::from_secs(number)),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let (seed, duration, clients, json) = match Arguments::parse().command {
        Command::Chaos { seed, duration, clients, json } => (seed, duration, clients, json),
        Command::Soak { overload, broker, database, poison } => {
            return exit_code(soak(overload, broker, database, poison).await);
        }
    };
    let seed = seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let mut options = ChaosOptions::full(seed, duration);
    options.clients = clients.unwrap_or(options.clients);
    let report = match hooked_binaries().await {
        Ok(binaries) => chaos(binaries, &options).await,
        Err(error) => Err(error),
    };
    match report {
        Ok(report) => {
            println!("{}", if json { report.json() } else { report.to_string() });
            if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => exit_code(Err(error)),
    }
}

async fn soak(
    overload: Duration,
    broker: Duration,
    database: Duration,
    poison: Duration,
) -> anyhow::Result<()> {
    if !overload.is_zero() {
        survives_too_much(overload).await?;
    }
    if !broker.is_zero() {
        survives_without_broker(broker).await.context("a broker that is away")?;
        println!("broker away for {} s: survived", broker.as_secs());
    }
    if !database.is_zero() {
        survives_without_database(database).await.context("a database that is away")?;
        println!("database away for {} s: survived", database.as_secs());
    }
    if !poison.is_zero() {
        survives_poison_storm(poison).await.context("an event type that nobody can handle")?;
        println!("event type that nobody could handle for {} s: survived", poison.as_secs());
    }
    Ok(())
}

/// More requests than can be done, more connections than there is room for, and poison among the work.
async fn survives_too_much(overload: Duration) -> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    survives_overload(&world, Load::Commands, 3.0, overload).await.context("overload")?;
    world.finish().await?;
    let world = World::start(Load::plan_of_few("query-api")).await?;
    let queries = Load::slow_queries(&world).await?;
    survives_overload(&world, queries, 3.0, overload).await.context("queries")?;
    world.finish().await?;
    println!("overload of {} s: survived", overload.as_secs());
    let world = World::start(Plan::default()).await?;
    let crowd = Crowd { idle: 10_000, slow: 4_800, readers: 200 };
    survives_crowd(&world, crowd, overload, Duration::ZERO).await.context("a crowd")?;
    world.finish().await?;
    println!("crowd for {} s: survived", overload.as_secs());
    survives_rare_poison(1_000, 6_000, Duration::from_millis(10)).await.context("rare poison")?;
    println!("rare poison: survived");
    Ok(())
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("system-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
