//! What can go wrong with letters.

use cdc::{ErrorClass, StoreError};
use std::error::Error;

/// Why a letter could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// The database did not answer, or not as it should. The same call may be made again.
    #[error("{what}")]
    Storage {
        /// What was being done, to what.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database calls the request wrong: the schema does not fit.
    #[error("{what}")]
    Refused {
        /// What was being done, to what.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Others kept changing the letter.
    #[error(
        "change the letter of {consumer} for aggregate {aggregate_id}: others kept changing it"
    )]
    Contended {
        /// The consumer.
        consumer: String,
        /// The aggregate.
        aggregate_id: uuid::Uuid,
    },
}

impl From<LetterError> for StoreError {
    fn from(error: LetterError) -> Self {
        let class = match &error {
            LetterError::Refused { .. } => ErrorClass::Fatal,
            LetterError::Storage { .. } | LetterError::Contended { .. } => ErrorClass::Transport,
        };
        StoreError::new(class, "work on a dead letter", error)
    }
}
