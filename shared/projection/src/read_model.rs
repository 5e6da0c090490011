//! The read models of an application, as one value that everything else is derived from.

use crate::audit::history::{History, Unfoldable, history_of};
use crate::projection::{Projection, Table};
use crate::projector::{Projector, consumer_of};
use cdc::ChangeConsumer;
use database::MigrationSet;
use database::schema::split;
use kernel::{Aggregates, RecordedEvent};
use scylla::client::session::Session;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What has to be known of a projection beside its type.
#[derive(Debug, Clone, Copy)]
pub struct ReadModel {
    /// The projection's name.
    pub name: &'static str,
    /// Of its code: rows made by different versions never mix.
    pub code_version: u32,
    /// The aggregate type whose events it folds.
    pub aggregate_type: &'static str,
    /// The tables that it writes.
    pub tables: &'static [Table],
    consumer: fn(Arc<Session>) -> Arc<dyn ChangeConsumer>,
    history: fn(&[RecordedEvent]) -> Result<History, Unfoldable>,
}

impl ReadModel {
    /// What has to be known of `P`.
    #[must_use]
    pub const fn of<P: Projection>() -> Self {
        Self {
            name: P::NAME,
            code_version: P::CODE_VERSION,
            aggregate_type: P::AGGREGATE_TYPE,
            tables: P::TABLES,
            consumer: |session| Arc::new(Projector::<P>::new(session)),
            history: history_of::<P>,
        }
    }

    /// The stored name of the consumer that keeps it up to date.
    #[must_use]
    pub fn consumer_name(&self) -> String {
        consumer_of(self.name)
    }

    pub(crate) fn history(&self, events: &[RecordedEvent]) -> Result<History, Unfoldable> {
        (self.history)(events)
    }
}

/// All read models of an application, with the migrations that make their tables.
///
/// ```text
/// pub const READ_MODELS: ReadModels = ReadModels::new(
///     &[ReadModel::of::<Accounts>()],
///     MigrationSet {
///         crate_name: "bank",
///         migrations: &[Migration { number: 1, name: "accounts", cql: include_str!("accounts.cql") }],
///     },
/// );
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ReadModels {
    models: &'static [ReadModel],
    migrations: MigrationSet,
}

/// What is wrong with the registration of read models.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadModelError {
    /// Two things share a name.
    #[error("{what} {name} is registered twice")]
    Twice {
        /// What it names.
        what: &'static str,
        /// The name.
        name: &'static str,
    },
    /// No aggregate has the events.
    #[error("read model {name} folds {aggregate_type}, which is not registered as an aggregate")]
    NoAggregate {
        /// The projection.
        name: &'static str,
        /// What it wants to fold.
        aggregate_type: &'static str,
    },
    /// No migration makes the table.
    #[error("read model {name} writes {table}, which no migration of {migrations} creates")]
    NoMigration {
        /// The projection.
        name: &'static str,
        /// The table.
        table: &'static str,
        /// The name of the migrations.
        migrations: &'static str,
    },
    /// A migration makes a table that no read model names: it would never be audited.
    #[error("{migrations} creates {table}, which no read model names")]
    NoReadModel {
        /// The table.
        table: String,
        /// The name of the migrations.
        migrations: &'static str,
    },
    /// The primary key is another one.
    #[error("read model {name}: {table} is created with PRIMARY KEY ({created}), not ({named})")]
    OtherKey {
        /// The projection.
        name: &'static str,
        /// The table.
        table: &'static str,
        /// As the migration has it.
        created: String,
        /// As the read model has it.
        named: String,
    },
    /// Rows could not be traced to their aggregate.
    #[error(
        "read model {name}: the key of {table} does not have {column}, which names the aggregate"
    )]
    NoAggregateColumn {
        /// The projection.
        name: &'static str,
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}

impl ReadModels {
    /// These read models, whose tables these migrations make.
    #[must_use]
    pub const fn new(models: &'static [ReadModel], migrations: MigrationSet) -> Self {
        Self { models, migrations }
    }

    /// Each of them, in the order in which they were named.
    pub fn iter(&self) -> std::slice::Iter<'static, ReadModel> {
        self.models.iter()
    }

    /// Those that fold the events of an aggregate type.
    pub fn of_type(&self, aggregate_type: &str) -> impl Iterator<Item = &'static ReadModel> {
        self.models.iter().filter(move |model| model.aggregate_type == aggregate_type)
    }

    /// What makes their tables.
    #[must_use]
    pub fn migrations(&self) -> MigrationSet {
        self.migrations
    }

    /// All of them as consumers of one group.
    #[must_use]
    pub fn consumers(&self, session: &Arc<Session>) -> Vec<Arc<dyn ChangeConsumer>> {
        self.models.iter().map(|model| (model.consumer)(Arc::clone(session))).collect()
    }

    /// Errs with what is registered incompletely or twice. Every process asks at its start, and the
    /// application's own tests do.
    pub fn check(&self, aggregates: Aggregates) -> Result<(), ReadModelError> {
        let migrations = self.migrations.crate_name;
        let created = self.created();
        let (mut names, mut tables) = (BTreeSet::new(), BTreeSet::new());
        for model in self.models {
            let ReadModel { name, aggregate_type, .. } = *model;
            if !names.insert(name) {
                return Err(ReadModelError::Twice { what: "read model", name });
            }
            if aggregates.get(aggregate_type).is_none() {
                return Err(ReadModelError::NoAggregate { name, aggregate_type });
            }
            for described in model.tables {
                let table = described.name;
                if !tables.insert(table) {
                    return Err(ReadModelError::Twice { what: "table", name: table });
                }
                let Some((_, key)) = created.iter().find(|(created, _)| created == table) else {
                    return Err(ReadModelError::NoMigration { name, table, migrations });
                };
                let named = key_of(described);
                if *key != named {
                    return Err(ReadModelError::OtherKey {
                        name,
                        table,
                        created: key.clone(),
                        named,
                    });
                }
                let column = described.aggregate;
                if !described.key().any(|of_key| of_key == column) {
                    return Err(ReadModelError::NoAggregateColumn { name, table, column });
                }
            }
        }
        match created.into_iter().find(|(table, _)| !tables.contains(table.as_str())) {
            Some((table, _)) => Err(ReadModelError::NoReadModel { table, migrations }),
            None => Ok(()),
        }
    }

    /// Every table that the migrations create, with its primary key.
    fn created(&self) -> Vec<(String, String)> {
        let statements = self.migrations.migrations.iter().flat_map(|one| split(one.cql));
        let create = statements.filter(|statement| statement.starts_with("CREATE TABLE"));
        create
            .map(|statement| {
                let before = statement.split('(').next().unwrap_or_default();
                let table = before.split_whitespace().last().unwrap_or_default().to_owned();
                (table, primary_key(&statement))
            })
            .collect()
    }
}

/// The primary key of a statement that creates a table, without spaces: `(a,b),c` or `a`.
fn primary_key(statement: &str) -> String {
    let flat: String = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((before, after)) = flat.split_once("PRIMARY KEY") else { return String::new() };
    let Some(list) = after.trim_start().strip_prefix('(') else {
        // Behind the column itself.
        let column = before.rsplit([',', '(']).next().unwrap_or_default();
        return column.split_whitespace().next().unwrap_or_default().to_owned();
    };
    let mut depth = 1;
    let end = list.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    let key: String =
        list[..end.unwrap_or(list.len())].chars().filter(|c| !c.is_whitespace()).collect();
    // A partition key of one column may stand in brackets of its own.
    match key.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((partition, clustering)) if !partition.contains(',') => {
            format!("{partition}{clustering}")
        }
        _ => key,
    }
}

/// The same of a description.
fn key_of(table: &Table) -> String {
    let partition = match table.partition {
        [one] => (*one).to_owned(),
        several => format!("({})", several.join(",")),
    };
    let clustering = table.clustering.iter().map(|column| format!(",{column}"));
    partition + &clustering.collect::<String>()
}
