//! Why a read model could not be read.

use scylla::errors::{
    ExecutionError, IntoRowsResultError, MaybeFirstRowError, PrepareError, RowsError,
};

/// Why a read model could not be read.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A statement could not be prepared.
    #[error("prepare the reads of the read models")]
    Prepare(#[source] Box<PrepareError>),
    /// The database did not answer, or refused.
    #[error("read a read model")]
    Execute(#[source] Box<ExecutionError>),
    /// The answer does not have the expected shape.
    #[error("understand a row of a read model: {0}")]
    Shape(String),
}

impl From<PrepareError> for QueryError {
    fn from(error: PrepareError) -> Self {
        Self::Prepare(Box::new(error))
    }
}

impl From<ExecutionError> for QueryError {
    fn from(error: ExecutionError) -> Self {
        Self::Execute(Box::new(error))
    }
}

impl From<IntoRowsResultError> for QueryError {
    fn from(error: IntoRowsResultError) -> Self {
        Self::Shape(error.to_string())
    }
}

impl From<RowsError> for QueryError {
    fn from(error: RowsError) -> Self {
        Self::Shape(error.to_string())
    }
}

impl From<MaybeFirstRowError> for QueryError {
    fn from(error: MaybeFirstRowError) -> Self {
        Self::Shape(error.to_string())
    }
}
