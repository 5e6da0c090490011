//! What an application is: one value, from which topics, consumers, migrations, audit, verification, scanner and
//! routing follow.
//!
//! ```text
//! pub const BANK: Application = Application::new(AGGREGATES, READ_MODELS);
//! ```
//!
//! Every process of the application takes it, and so do its tests: [`Application::check`] names what is
//! registered incompletely.

use kernel::{Aggregates, RegistrationError};
use projection::{ReadModelError, ReadModels};

/// The aggregates and the read models of an application.
#[derive(Debug, Clone, Copy)]
pub struct Application {
    /// What commands are sent to.
    pub aggregates: Aggregates,
    /// What queries read.
    pub read_models: ReadModels,
}

/// What is registered incompletely or twice.
#[derive(Debug, thiserror::Error)]
pub enum Incomplete {
    /// An aggregate, or one of its events.
    #[error("the aggregates are not registered completely")]
    Aggregates(#[from] RegistrationError),
    /// A read model, or one of its tables.
    #[error("the read models are not registered completely")]
    ReadModels(#[from] ReadModelError),
}

impl Application {
    /// An application of these aggregates and read models.
    #[must_use]
    pub const fn new(aggregates: Aggregates, read_models: ReadModels) -> Self {
        Self { aggregates, read_models }
    }

    /// Errs with the first thing that is registered incompletely or twice. Every process asks at its
    /// start: what this finds would otherwise show at the first command, or never.
    pub fn check(&self) -> Result<(), Incomplete> {
        self.aggregates.check()?;
        Ok(self.read_models.check(self.aggregates)?)
    }
}
