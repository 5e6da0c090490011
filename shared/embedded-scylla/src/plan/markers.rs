//! Bind markers of a statement: what they are called and which type they take.

use crate::error::{CqlError, Result};
use crate::protocol::ColumnSpec;
use crate::schema::{CqlType, Table};

/// The markers of one statement, filled in as its terms are prepared.
#[derive(Debug)]
pub(crate) struct Markers {
    /// `:name` where it was given one.
    names: Vec<Option<String>>,
    specs: Vec<Option<ColumnSpec>>,
}

impl Markers {
    /// As many markers as the parser counted, nothing known of them but their names.
    pub(crate) fn new(names: Vec<Option<String>>) -> Self {
        let specs = names.iter().map(|_| None).collect();
        Self { names, specs }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Says what a marker stands for; the first use of a name that occurs more than once decides.
    pub(crate) fn declare(
        &mut self,
        index: usize,
        table: &Table,
        name: &str,
        ty: &CqlType,
    ) -> Result<()> {
        let (Some(given), Some(spec)) = (self.names.get(index), self.specs.get_mut(index)) else {
            return Err(CqlError::server("a bind marker is out of bounds"));
        };
        if spec.is_none() {
            *spec = Some(ColumnSpec {
                keyspace: table.keyspace.clone(),
                table: table.name.clone(),
                name: given.clone().unwrap_or_else(|| name.to_owned()),
                ty: ty.clone(),
            });
        }
        Ok(())
    }

    /// All markers, in order.
    pub(crate) fn finish(self) -> Result<Vec<ColumnSpec>> {
        self.specs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| {
                spec.ok_or_else(|| {
                    CqlError::invalid(format!("bind variable {index} is not used by the statement"))
                })
            })
            .collect()
    }
}
