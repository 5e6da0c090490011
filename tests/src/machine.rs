//! Who has the machine: tests run beside each other, and those that measure time run alone.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Held as long as a test has processes at work.
///
/// Who comes while somebody waits for the whole machine waits too: a test must not take a second one.
pub enum Machine {
    /// Beside others.
    Shared {
        /// Nobody has it alone.
        _guard: RwLockReadGuard<'static, ()>,
    },
    /// By one test.
    Alone {
        /// Nobody else has it.
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

static MACHINE: RwLock<()> = RwLock::const_new(());

impl Machine {
    /// Beside others, when nobody needs it alone.
    pub async fn shared() -> Self {
        Self::Shared { _guard: MACHINE.read().await }
    }

    /// When all others are done.
    pub async fn alone() -> Self {
        Self::Alone { _guard: MACHINE.write().await }
    }
}
