//! `esctl dlq`: events that a consumer could not handle.

mod act;
mod list;

use std::sync::Arc;
use std::time::Duration;

use cdc::{LetterState, Replay};
use clap::ValueEnum;
use dead_letter::Key;
use dead_letter::operator::{Filter, Operator, OperatorError};
use uuid::Uuid;

use crate::esctl::output::Format;
use crate::esctl::settings::Settings;
use crate::esctl::{EXIT_CONFLICT, EXIT_FAILURE, EXIT_NOT_FOUND, connection};

/// Looking at single events of the ledger; a person waits.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// List dead letters
    List(list::Arguments),
    /// Show one dead letter with its error
    Show(One),
    /// Have a dead letter tried at once, with all its attempts before it
    Retry(act::Retry),
    /// The same for all that the filter means
    RetryAll(act::RetryAll),
    /// Give up the event of a parked dead letter: its effect on the consumer is left out for good
    Discard(act::Discard),
}

/// Which letter is meant.
#[derive(clap::Args)]
pub(crate) struct One {
    /// The consumer, for example orders@1
    consumer: String,
    /// The aggregate's id
    aggregate_id: Uuid,
}

/// Which letters are meant.
#[derive(clap::Args)]
pub(crate) struct Filters {
    /// Only of this consumer, for example orders@1
    #[arg(long)]
    consumer: Option<String>,
    /// Only in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only with an event of this type, for example OrderCreated
    #[arg(long = "type", value_name = "EVENT_TYPE")]
    event_type: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Blocked,
    Parked,
    Released,
}

impl Filters {
    fn filter(&self) -> Filter {
        let state = self.state.map(|state| match state {
            State::Blocked => LetterState::Blocked,
            State::Parked => LetterState::Parked,
            State::Released => LetterState::Released,
        });
        Filter { consumer: self.consumer.clone(), state, event_type: self.event_type.clone() }
    }
}

/// What the verbs work with.
struct Letters {
    operator: Operator,
    slots: u32,
}

impl Letters {
    async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let session = Arc::new(connection::open(&settings.scylla).await?);
        let slots = database::schema::settings(&session).await?.slots;
        let replay = Replay::open(session.clone(), READ_TIMEOUT, 1).await?;
        Ok(Self { operator: Operator::open(session, replay).await?, slots })
    }

    fn key(&self, one: &One) -> Key {
        let One { consumer, aggregate_id } = one;
        let slot = cdc::slot_of(*aggregate_id, self.slots);
        Key { consumer: consumer.clone(), slot, aggregate_id: *aggregate_id }
    }
}

/// Does what the verb says.
pub(crate) async fn run(verb: &Verb, settings: &Settings, format: Format) -> anyhow::Result<()> {
    let letters = Letters::open(settings).await?;
    match verb {
        Verb::List(arguments) => list::list(arguments, &letters, format).await,
        Verb::Show(one) => list::show(one, &letters, format).await,
        Verb::Retry(arguments) => act::retry(arguments, &letters, format).await,
        Verb::RetryAll(arguments) => act::retry_all(arguments, &letters, format).await,
        Verb::Discard(arguments) => act::discard(arguments, &letters, format).await,
    }
}

/// The exit code of what could not be done.
pub(crate) fn code_of(error: &OperatorError) -> u8 {
    match error {
        OperatorError::NotFound { .. } => EXIT_NOT_FOUND,
        OperatorError::NotParked { .. }
        | OperatorError::BeingDiscarded { .. }
        | OperatorError::Changed
        | OperatorError::Unreadable { .. }
        | OperatorError::NotNext { .. } => EXIT_CONFLICT,
        OperatorError::Letters(_) | OperatorError::Surroundings(_) => EXIT_FAILURE,
    }
}
