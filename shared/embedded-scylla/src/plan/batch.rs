//! Batches: what must hold for all statements together.

use crate::error::{CqlError, Result};
use crate::plan::conditions::CasResult;
use crate::plan::modify::ModifyPlan;
use crate::protocol::BatchKind;
use std::sync::Arc;

/// Checks the rules that do not depend on values. `has_timestamp`: the batch itself
/// has `USING TIMESTAMP`.
pub(crate) fn check(
    kind: BatchKind,
    statements: &[Arc<ModifyPlan>],
    has_timestamp: bool,
) -> Result<()> {
    if kind == BatchKind::Counter && !statements.is_empty() {
        return Err(CqlError::invalid("Cannot include non-counter statement in a counter batch"));
    }
    let conditional = statements.iter().any(|statement| statement.condition.is_some());
    if has_timestamp {
        if statements.iter().any(|statement| statement.using.has_timestamp()) {
            return Err(CqlError::invalid(
                "Timestamp must be set either on BATCH or individual statements",
            ));
        }
        if conditional {
            return Err(CqlError::invalid("Cannot provide custom timestamp for conditional BATCH"));
        }
    }
    if conditional && statements.iter().any(|other| other.table.id != statements[0].table.id) {
        return Err(CqlError::invalid("BATCH with conditions cannot span multiple tables"));
    }
    Ok(())
}

/// What a batch answers with, if any of its statements is conditional.
pub(crate) fn cas_result(statements: &[Arc<ModifyPlan>]) -> Option<CasResult> {
    let conditions = statements.iter().filter_map(|statement| statement.condition.as_ref());
    conditions.clone().next()?;
    Some(CasResult::new(&statements[0].table, conditions, true))
}
