//! The values of one execution, in marker order.

use crate::error::{CqlError, Result};
use crate::protocol::{ColumnSpec, Value, Values};
use std::collections::HashMap;

/// Orders values by marker and checks that there are as many as markers.
pub(crate) fn arrange(markers: &[ColumnSpec], values: Values) -> Result<Vec<Value>> {
    let values = match values {
        Values::Positional(values) => values,
        Values::Named(named) => {
            let given: HashMap<String, Value> = named.into_iter().collect();
            // A value that is not given is unset.
            let value = |marker: &ColumnSpec| given.get(&marker.name).cloned();
            markers.iter().map(|marker| value(marker).unwrap_or(Value::Unset)).collect()
        }
    };
    if values.len() == markers.len() {
        return Ok(values);
    }
    Err(CqlError::invalid(format!(
        "Invalid amount of bind variables: expected {} received {}",
        markers.len(),
        values.len()
    )))
}

/// As [`arrange`], for a statement of a batch, where ScyllaDB says it in other words.
pub(crate) fn check_batched(markers: &[ColumnSpec], values: &[Value]) -> Result<()> {
    if values.len() == markers.len() {
        return Ok(());
    }
    Err(CqlError::invalid(format!(
        "There were {} markers(?) in CQL but {} bound variables",
        markers.len(),
        values.len()
    )))
}
