//! What every aggregate is: a pure decision and a pure fold.

use crate::event::{DomainEvent, Timestamp};
use uuid::Uuid;

/// What an aggregate's decision yields: the events to store, or the rule that forbids it.
///
/// An empty list means that the command found its own effect already there: it is accepted and
/// nothing is stored.
pub type Decision<A> = Result<Vec<<A as Aggregate>::Event>, <A as Aggregate>::Error>;

/// Everything a decision may know besides state and command. Time comes in as a value, so that
/// a decision is a plain function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionContext {
    /// The id of the aggregate that decides.
    pub aggregate_id: Uuid,
    /// The time that the events of this decision carry; never before the aggregate's last event.
    pub now: Timestamp,
}

/// A consistency boundary: commands are decided against its state, events change the state.
///
/// `Default` is the state before the first event. Neither function may look at a clock, a random
/// source or anything outside its arguments: replaying the same events gives the same state.
pub trait Aggregate: Default + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The stored name of the aggregate's type, for example `order`.
    const TYPE: &'static str;
    /// The topic that its events are published to, for example `orders.events`.
    const TOPIC: &'static str;
    /// What may be asked of it.
    type Command: Clone + Send + Sync + 'static;
    /// What happened to it.
    type Event: DomainEvent;
    /// Why a command is refused.
    type Error: DomainError;

    /// Decides a command against the current state.
    fn decide(&self, command: Self::Command, ctx: &DecisionContext) -> Decision<Self>;

    /// Changes the state by one event that happened. Never fails: an event is a fact.
    fn apply(&mut self, event: &Self::Event);
}

/// How the sender of a command is to understand a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The aggregate does not exist.
    NotFound,
    /// The command does not fit the aggregate's current state.
    WrongState,
    /// The command's values break a rule whatever the state is.
    InvalidValue,
}

/// A stable code of an error, and how its refusal is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// In snake case, for example `order_already_shipped`.
    pub code: &'static str,
    /// What kind of refusal it is.
    pub kind: RefusalKind,
}

/// A refusal by the domain: typed, with a stable code. [`error_codes`](crate::error_codes) implements it for an enum.
pub trait DomainError: std::error::Error + Clone + PartialEq + Send + Sync + 'static {
    /// Every code that [`code`](Self::code) may give, for the documentation of an application.
    const CODES: &'static [ErrorCode];

    /// A stable snake-case code for clients, for example `order_already_shipped`.
    fn code(&self) -> &'static str;
    /// What kind of refusal it is.
    fn kind(&self) -> RefusalKind;
}

/// Implements [`DomainError`] for an enum, each variant with its [`RefusalKind`] and its code. A variant that is left
/// out does not compile, so the list of codes is always whole.
///
/// ```text
/// kernel::error_codes! {
///     AccountError {
///         NotFound: NotFound "account_not_found",
///         Overdrawn: WrongState "account_overdrawn",
///     }
/// }
/// ```
#[macro_export]
macro_rules! error_codes {
    ($error:ident { $($variant:ident: $kind:ident $code:literal),+ $(,)? }) => {
        impl $crate::DomainError for $error {
            const CODES: &'static [$crate::ErrorCode] = &[$(
                $crate::ErrorCode { code: $code, kind: $crate::RefusalKind::$kind }
            ),+];

            fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code),+
                }
            }

            fn kind(&self) -> $crate::RefusalKind {
                match self {
                    $(Self::$variant { .. } => $crate::RefusalKind::$kind),+
                }
            }
        }
    };
}
