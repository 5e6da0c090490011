//! The tables of the read models, and reads of their rows whatever the columns.

use super::LookError;
use crate::projection::Table;
use event_store::audit::NextPage;
use kernel::Timestamp;
use moka::future::Cache;
use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::response::query_result::QueryRowsResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use uuid::Uuid;

/// The columns of a row that have a value, but for those of its key.
pub(super) type Columns = BTreeMap<String, CqlValue>;

/// How many statements are kept prepared: two per table.
const PREPARED_MAX: u64 = 64;

/// The place of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowKey {
    /// The table.
    pub table: &'static str,
    pub(super) columns: Vec<(&'static str, CqlValue)>,
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (column, value)) in self.columns.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(f, "{space}{column}={}", shown(value))?;
        }
        Ok(())
    }
}

/// A value for people.
pub(super) fn shown(value: &CqlValue) -> String {
    match value {
        CqlValue::Text(text) => text.clone(),
        CqlValue::Uuid(id) => id.to_string(),
        CqlValue::Int(number) => number.to_string(),
        CqlValue::BigInt(number) => number.to_string(),
        CqlValue::Timestamp(at) => Timestamp(at.0).to_string(),
        other => format!("{other:?}"),
    }
}

/// One page of a scan: aggregates and places of its rows.
#[derive(Debug)]
pub struct ScanPage {
    /// Rows that name an aggregate, and where they are.
    pub rows: Vec<(Uuid, RowKey)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<NextPage>,
}

#[derive(Clone)]
pub(super) struct Rows {
    session: Arc<Session>,
    statements: Cache<String, PreparedStatement>,
}

impl Rows {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session, statements: Cache::new(PREPARED_MAX) }
    }

    /// A row's columns; `None` when it is not there.
    pub(super) async fn read(&self, key: &RowKey) -> Result<Option<Columns>, LookError> {
        let table = key.table;
        let relations: Vec<_> = key.columns.iter().map(|(name, _)| format!("{name} = ?")).collect();
        let text = format!("SELECT * FROM {table} WHERE {}", relations.join(" AND "));
        let statement = self.statement(table, &text).await?;
        let values: Vec<_> = key.columns.iter().map(|(_, value)| value).collect();
        let rows = self.session.execute_unpaged(&statement, values).await.map_err(failed(table))?;
        let rows = rows.into_rows_result().map_err(failed(table))?;
        let mut columns = columns_of(table, &rows)?;
        let Some(mut row) = columns.pop() else { return Ok(None) };
        for (name, _) in &key.columns {
            row.remove(*name);
        }
        Ok(Some(row))
    }

    pub(super) async fn scan(
        &self,
        table: &'static Table,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<ScanPage, LookError> {
        let (name, keys) = (table.name, table.key().collect::<Vec<_>>().join(", "));
        let token = format!("token({})", table.partition.join(", "));
        let text = format!("SELECT {keys} FROM {name} WHERE {token} >= ? AND {token} <= ?");
        let statement = self.statement(name, &text).await?;
        let page = page.map_or_else(PagingState::start, NextPage::into_state);
        let values = (*tokens.start(), *tokens.end());
        let answer = self.session.execute_single_page(&statement, values, page).await;
        let (rows, next) = answer.map_err(failed(name))?;
        let rows = rows.into_rows_result().map_err(failed(name))?;
        let rows = columns_of(name, &rows)?.into_iter().map(|mut row| {
            let columns = table.key().filter_map(|name| Some((name, row.remove(name)?)));
            let key = RowKey { table: name, columns: columns.collect() };
            let mut columns = key.columns.iter();
            let id = columns.find(|(name, _)| *name == table.aggregate)?.1.as_uuid()?;
            Some((id, key))
        });
        let next = match next {
            PagingStateResponse::HasMorePages { state } => Some(NextPage::from(state)),
            PagingStateResponse::NoMorePages => None,
        };
        Ok(ScanPage { rows: rows.flatten().collect(), next })
    }

    async fn statement(
        &self,
        table: &'static str,
        text: &str,
    ) -> Result<PreparedStatement, LookError> {
        let prepare = async {
            let mut statement = self.session.prepare(text).await?;
            statement.set_is_idempotent(true);
            Ok::<_, PrepareError>(statement)
        };
        self.statements.try_get_with_by_ref(text, prepare).await.map_err(failed(table))
    }
}

/// The values of each row, by column.
fn columns_of(table: &'static str, rows: &QueryRowsResult) -> Result<Vec<Columns>, LookError> {
    let names: Vec<_> = rows.column_specs().iter().map(|spec| spec.name().to_owned()).collect();
    let mut all = Vec::with_capacity(rows.rows_num());
    for row in rows.rows::<Row>().map_err(failed(table))? {
        let row = row.map_err(failed(table))?;
        let values = names.iter().zip(row.columns);
        all.push(values.filter_map(|(name, value)| Some((name.clone(), value?))).collect());
    }
    Ok(all)
}

fn failed<E>(table: &'static str) -> impl Fn(E) -> LookError
where
    E: Error + Send + Sync + 'static,
{
    move |source| LookError::Rows { table, source: Box::new(source) }
}
