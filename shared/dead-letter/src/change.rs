//! One change of a letter, until its outcome is known.
//!
//! A request whose answer is lost may have been applied, may be applied later, or never. What is
//! sent again carries the same comparison and the same attempt id, so only one of them can apply; and
//! no later one, because the comparison names the change before.

use crate::error::LetterError;
use crate::letter::{Key, Letter, Stored};
use crate::store::{LetterStore, Strength};
use runtime::{Backoff, BackoffConfig};

/// How often a change of unknown outcome is sent; then the caller learns of it.
const SENDINGS_MAX: u32 = 5;

/// Pauses between those.
const PAUSES: BackoffConfig = BackoffConfig { initial_ms: 20, max_ms: 1_000 };

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It is stored.
    Applied,
    /// Somebody else's change came first.
    Lost,
}

/// What is to be changed into what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    Insert(&'a Letter),
    Replace(&'a Stored, &'a Letter),
    Remove(&'a Stored),
}

impl Change<'_> {
    fn key(&self) -> &Key {
        match self {
            Self::Insert(to) => &to.key,
            Self::Replace(from, _) | Self::Remove(from) => from.key(),
        }
    }

    /// Whether `now` is what the change leaves behind.
    fn is_done(&self, now: Option<&Stored>) -> bool {
        match self {
            Self::Insert(to) | Self::Replace(_, to) => {
                now.and_then(Stored::attempt) == Some(to.stamp.attempt)
            }
            Self::Remove(_) => now.is_none(),
        }
    }

    /// Whether `now` is what the change starts from.
    fn is_open(&self, now: Option<&Stored>) -> bool {
        match self {
            Self::Insert(_) => now.is_none(),
            Self::Replace(from, _) | Self::Remove(from) => {
                now.is_some_and(|now| now.compared() == from.compared())
            }
        }
    }
}

/// Makes a change. Errs when its outcome stays unknown: then it may still come about.
pub(crate) async fn make(
    store: &dyn LetterStore,
    change: Change<'_>,
) -> Result<Changed, LetterError> {
    let mut backoff = Backoff::new(PAUSES);
    loop {
        let sent = match change {
            Change::Insert(to) => store.insert(to).await,
            Change::Replace(from, to) => store.replace(from, to).await,
            Change::Remove(from) => store.remove(from).await,
        };
        if let Ok(true) = sent {
            return Ok(Changed::Applied);
        }
        let now = store.read(change.key(), Strength::Serial).await?;
        if change.is_done(now.as_ref()) {
            return Ok(Changed::Applied);
        }
        match sent {
            // Nobody has changed the row, yet the request may still be on its way.
            Err(error) if change.is_open(now.as_ref()) => {
                if backoff.attempts() + 1 >= SENDINGS_MAX {
                    return Err(error);
                }
                tokio::time::sleep(backoff.next_pause()).await;
            }
            _ => return Ok(Changed::Lost),
        }
    }
}
