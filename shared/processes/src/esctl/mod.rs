//! The operator's command line.
//!
//! Data goes to stdout, as a table or as JSON; messages go to stderr. Exit codes: 0 done, 1 failure,
//! 2 wrong usage, 3 not found, 4 conflict, 5 a check failed, 64 bad configuration. Configuration
//! comes from the same files and variables as for every process; secrets never from arguments.

mod connection;
mod dlq;
mod migrate;
mod output;
mod schema;
mod settings;
mod slots;
mod topics;
mod verify;

use std::process::ExitCode;

use anyhow::Context;
use application::Application;
use clap::{Parser, Subcommand};
use database::schema::Edited;
use runtime::config::{ConfigArguments, Loaded};

use connection::KeyspaceMissing;
use dead_letter::operator::OperatorError;
use output::Format;
use settings::Settings;

/// Operates the event platform.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// How results are written
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    noun: Option<Noun>,
}

#[derive(Subcommand)]
enum Noun {
    /// Create the keyspace and bring all tables up to date
    Migrate(migrate::Arguments),
    /// Print the whole schema as annotated CQL
    Schema,
    /// Kafka topics
    #[command(subcommand)]
    Topics(topics::Verb),
    /// Events that a consumer could not handle
    #[command(subcommand)]
    Dlq(dlq::Verb),
    /// Parts of the token ring and how far each is settled
    #[command(subcommand)]
    Slots(slots::Verb),
    /// Processes that share the slots of their group
    #[command(subcommand)]
    Members(slots::MembersVerb),
    /// Compare outbox, read models and topics with the ledger
    Verify(verify::Arguments),
}

/// Runs the command line for this application, from its arguments to its exit code.
pub fn main(application: Application) -> ExitCode {
    let arguments = Arguments::parse();
    let loaded = match arguments.config.load::<Settings>("esctl", DEFAULTS) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match execute(application, arguments, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("esctl: {}", runtime::chain(error.as_ref()));
            ExitCode::from(code_of(&error))
        }
    }
}

/// The whole schema of an application as annotated CQL, in the order in which it is applied; what `esctl schema` prints.
pub fn schema(application: Application) -> anyhow::Result<String> {
    schema::annotated(application)
}

/// The configuration of this command line as it was when it was compiled.
const DEFAULTS: &str = include_str!("../../../../config/esctl.toml");

const EXIT_FAILURE: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_NOT_FOUND: u8 = 3;
const EXIT_CONFLICT: u8 = 4;
const EXIT_CHECK_FAILED: u8 = 5;

/// Nothing to do was named.
#[derive(Debug, thiserror::Error)]
#[error("nothing to do; see esctl --help")]
struct NothingToDo;

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<NothingToDo>() || error.is::<verify::BadSlots>() {
        EXIT_USAGE
    } else if error.is::<KeyspaceMissing>() {
        EXIT_NOT_FOUND
    } else if error.is::<Edited>() {
        EXIT_CONFLICT
    } else if let Some(error) = error.downcast_ref::<OperatorError>() {
        dlq::code_of(error)
    } else if error.is::<verify::Differs>() {
        EXIT_CHECK_FAILED
    } else {
        EXIT_FAILURE
    }
}

fn execute(
    application: Application,
    arguments: Arguments,
    loaded: Loaded<Settings>,
) -> anyhow::Result<()> {
    application.check()?;
    let noun = arguments.noun.ok_or(NothingToDo)?;
    runtime::end_at_signals().context("listen for signals")?;
    runtime::telemetry::init(&loaded.shell.log)?;
    let settings = loaded.config;
    let format = arguments.output;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match noun {
            Noun::Migrate(arguments) => {
                migrate::run(application, &arguments, &settings, format).await
            }
            Noun::Schema => schema::run(application),
            Noun::Topics(verb) => topics::run(application, &verb, &settings, format).await,
            Noun::Dlq(verb) => dlq::run(&verb, &settings, format).await,
            Noun::Slots(verb) => slots::run(&verb, &settings, format).await,
            Noun::Members(verb) => slots::members(&verb, &settings, format).await,
            Noun::Verify(arguments) => {
                verify::run(application, &arguments, &settings, format).await
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_refuses_what_is_bad() {
        runtime::config::testing::assert_refuses_what_is_bad::<Settings>("esctl", DEFAULTS);
    }
}
