//! Compares the rows of the read models with a fresh fold of the events, through the same
//! [`Projection`](crate::Projection) code.
//!
//! Rows follow the events after a moment, and those of one aggregate not all at once. So a
//! difference counts only when it is still there some time later: by then each row must be as it is
//! after one of the versions from the first look's on ([`Audit::look`] with `at_least`).
//!
//! [`Audit::look`] finds what is wrong with the rows that an aggregate has or ever had;
//! [`Audit::scan`] and [`Audit::stranger`] find rows that no aggregate ever had. [`run_audit`] does the former, slowly
//! and for ever.

pub(crate) mod history;
mod tables;
mod worker;

pub use history::{History, Unfoldable};
pub use tables::{RowKey, ScanPage};
pub use worker::{AuditConfig, AuditDeps, run_audit};

use crate::projection::Table;
use crate::read_model::{ReadModel, ReadModels};
use event_store::audit::{AuditError, AuditReader, events_of};
use kernel::{RecordedEvent, Version};
use scylla::client::session::Session;
use std::error::Error;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tables::Rows;
use uuid::Uuid;

/// Reads events and rows. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    reader: AuditReader,
    rows: Rows,
    read_models: ReadModels,
}

/// What a look at an aggregate found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// The newest version when it was looked at.
    pub version: Version,
    /// Empty when all is well.
    pub drifts: Vec<Drift>,
}

/// A row that is not as the events say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The projection.
    pub projection: &'static str,
    /// The table.
    pub table: &'static str,
    /// The row's primary key, for people; empty when the events cannot be folded at all.
    pub key: String,
    /// What is wrong, for people.
    pub what: String,
}

/// Why an aggregate could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] AuditError),
    /// A read model could not be read.
    #[error("read {table}")]
    Rows {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Audit {
    /// An audit of these read models over the ledger that `reader` reads.
    pub fn new(session: Arc<Session>, reader: AuditReader, read_models: ReadModels) -> Self {
        Self { reader, rows: Rows::new(session), read_models }
    }

    /// Every table, with its projection.
    pub fn tables(&self) -> Vec<(&'static str, &'static Table)> {
        let models = self.read_models.iter();
        models.flat_map(|model| model.tables.iter().map(|table| (model.name, table))).collect()
    }

    /// Looks at the rows of an aggregate. Without `at_least` they must be as after its newest
    /// version; with it each may be as after any version from that one on.
    pub async fn look(&self, id: Uuid, at_least: Option<Version>) -> Result<Look, LookError> {
        let Some(events) = self.events(id).await? else { return Ok(Look::default()) };
        self.look_with(id, &events, at_least).await
    }

    /// The same when its events were just read.
    pub async fn look_with(
        &self,
        id: Uuid,
        events: &[RecordedEvent],
        at_least: Option<Version>,
    ) -> Result<Look, LookError> {
        let Some(last) = events.last() else { return Ok(Look::default()) };
        let at_least = at_least.unwrap_or(last.version);
        let mut look = Look { version: last.version, drifts: Vec::new() };
        for model in self.read_models.of_type(&last.aggregate_type) {
            look.drifts.extend(self.look_at(model, id, events, at_least).await?);
        }
        Ok(look)
    }

    async fn look_at(
        &self,
        model: &ReadModel,
        id: Uuid,
        events: &[RecordedEvent],
        at_least: Version,
    ) -> Result<Vec<Drift>, LookError> {
        let history = match model.history(events) {
            Ok(history) => history,
            Err(error) => return Ok(vec![unfoldable(model, &error)]),
        };
        let mut found = Vec::new();
        for key in history.keys() {
            found.push((key.clone(), self.rows.read(key).await?));
        }
        let drifts = |history: &History| {
            let compared = found.iter().map(|(key, row)| {
                let what = history.compare(key, row.as_ref(), at_least)?;
                let (projection, table) = (model.name, key.table);
                Some(Drift { projection, table, key: key.to_string(), what })
            });
            compared.flatten().collect::<Vec<_>>()
        };
        let first = drifts(&history);
        if first.is_empty() {
            return Ok(first);
        }
        // An event that came after the events were read is in the rows already, maybe.
        let events = self.events(id).await?.unwrap_or_default();
        match model.history(&events) {
            Ok(history) => Ok(drifts(&history)),
            Err(error) => Ok(vec![unfoldable(model, &error)]),
        }
    }

    /// The events; `None` when their rows are not as they must be, which is not for the read models
    /// to say.
    async fn events(&self, id: Uuid) -> Result<Option<Vec<RecordedEvent>>, LookError> {
        Ok(events_of(&self.reader.stored(id).await?).ok())
    }

    /// One page of a table's rows, by token. The first one with `page: None`. `tokens` are those of
    /// the table's own partitions.
    pub async fn scan(
        &self,
        table: &'static Table,
        tokens: RangeInclusive<i64>,
        page: Option<event_store::audit::NextPage>,
    ) -> Result<ScanPage, LookError> {
        self.rows.scan(table, tokens, page).await
    }

    /// What is wrong with a row that a scan found, if its aggregate never had it. A row that the
    /// aggregate has or had is [`Audit::look`]'s.
    pub async fn stranger(
        &self,
        projection: &str,
        id: Uuid,
        key: &RowKey,
    ) -> Result<Option<String>, LookError> {
        let stored = self.reader.stored(id).await?;
        let of_type = stored.last().and_then(|stored| stored.row.aggregate_type.clone());
        let mut models = of_type.iter().flat_map(|of_type| self.read_models.of_type(of_type));
        let Some(model) = models.find(|model| model.name == projection) else {
            return Ok(self
                .still(key)
                .await?
                .then(|| "no event of its aggregate is stored".to_owned()));
        };
        // Rows that cannot be folded are found by the look at the aggregate.
        let Ok(events) = events_of(&stored) else { return Ok(None) };
        let Ok(history) = model.history(&events) else { return Ok(None) };
        if history.keys().any(|known| known == key) || !self.still(key).await? {
            return Ok(None);
        }
        Ok(Some("its aggregate never had such a row".to_owned()))
    }

    async fn still(&self, key: &RowKey) -> Result<bool, LookError> {
        Ok(self.rows.read(key).await?.is_some())
    }
}

fn unfoldable(model: &ReadModel, error: &Unfoldable) -> Drift {
    let table = model.tables.first().map_or("", |table| table.name);
    let what = runtime::chain(error).to_string();
    Drift { projection: model.name, table, key: String::new(), what }
}
