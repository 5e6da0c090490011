//! What can be left out of the protocols, or done wrongly. The names are those of the seeded defects
//! in `tests/zoo/`.

use std::fmt;

/// One rule that is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// A commit without an answer is taken for one that did not happen.
    TimeoutIsFailure,
    /// A commit without an answer is taken for one that happened.
    TimeoutIsSuccess,
    /// Commits do not rest on the fence, and an unknown outcome moves none.
    NoFence,
    /// Commits are sent without a durable intent.
    IntentNotWritten,
    /// Nobody settles the writers that stand still.
    DeadWriterNeverSettled,
    /// Who settles a writer does not move the fence before reading the tail.
    SettlerDoesNotFence,
    /// A writer is settled without having been declared dead first.
    NoDeathCertificate,
    /// An append ends with the request that asked for it.
    AppendCancelledWithRequest,
    /// The checkpoint moves before what it covers is handled.
    CheckpointBeforeApply,
    /// The fast pass alone moves the checkpoint.
    ConfirmPassOff,
    /// What the log did not bring is passed over.
    GapHealingOff,
    /// A change of the slot's row applies whatever the row says by then.
    DelayedRenewalMovesCheckpointBack,
    /// At a change of streams the old ones are let go at once.
    OldStreamsDropped,
}

impl Defect {
    /// The name of the seeded defect.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TimeoutIsFailure => "timeout-is-failure",
            Self::TimeoutIsSuccess => "timeout-is-success",
            Self::NoFence => "no-fence",
            Self::IntentNotWritten => "intent-not-written",
            Self::DeadWriterNeverSettled => "dead-writer-never-settled",
            Self::SettlerDoesNotFence => "settler-does-not-fence",
            Self::NoDeathCertificate => "no-death-certificate",
            Self::AppendCancelledWithRequest => "append-cancelled-with-request",
            Self::CheckpointBeforeApply => "checkpoint-before-apply",
            Self::ConfirmPassOff => "confirm-pass-off",
            Self::GapHealingOff => "gap-healing-off",
            Self::DelayedRenewalMovesCheckpointBack => "delayed-renewal-moves-checkpoint-back",
            Self::OldStreamsDropped => "old-streams-dropped",
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
