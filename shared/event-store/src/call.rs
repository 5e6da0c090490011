//! What the caller of a command and the task that works on it agree on: whether a commit may be on
//! its way. So a caller whose wait runs out is told "not done" exactly when nothing was sent and
//! nothing will be.

use std::sync::atomic::{AtomicU8, Ordering};
use tokio::time::Instant;

/// Nothing of this call is on its way.
const IDLE: u8 = 0;
/// A commit was sent; it is not certain that it cannot land any more.
const SENT: u8 = 1;
/// The caller went away with "not done"; nothing may be sent.
const ABANDONED: u8 = 2;

/// One call of a command.
#[derive(Debug)]
pub(crate) struct Call {
    phase: AtomicU8,
    deadline: Instant,
}

impl Call {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { phase: AtomicU8::new(IDLE), deadline }
    }

    /// When the caller stops waiting.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn is_overdue(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Before a commit is sent: `false` forbids it.
    pub(crate) fn begin_sending(&self) -> bool {
        self.exchange(IDLE, SENT) != ABANDONED
    }

    /// What was sent is known not to have landed, and cannot land any more.
    pub(crate) fn nothing_landed(&self) {
        self.exchange(SENT, IDLE);
    }

    /// The caller goes away: `true` when it may say "not done".
    pub(crate) fn abandon(&self) -> bool {
        self.exchange(IDLE, ABANDONED) == IDLE
    }

    /// Whether something may be on its way.
    pub(crate) fn is_sent(&self) -> bool {
        self.phase.load(Ordering::SeqCst) == SENT
    }

    /// The phase before; it becomes `to` if it was `from`.
    fn exchange(&self, from: u8, to: u8) -> u8 {
        let exchanged = self.phase.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        exchanged.unwrap_or_else(|found| found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn not_done_is_said_only_when_nothing_was_sent_and_nothing_will_be() {
        let call = Call::new(Instant::now());
        assert!(call.begin_sending());
        assert!(!call.abandon(), "a commit is on its way");
        call.nothing_landed();
        assert!(call.abandon());
        assert!(!call.begin_sending(), "the caller was told that it is not done");
    }
}
