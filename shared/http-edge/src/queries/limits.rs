//! What a query may cost.

use runtime::config::BadValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a query may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryLimits {
    /// Entries per page of a list, where the client names no number.
    #[schemars(range(min = 1, max = 1000))]
    pub page_size: usize,
    /// The most entries per page that a client may name.
    #[schemars(range(min = 1, max = 1000))]
    pub page_size_max: usize,
    /// Events per page of a history, the default and the most that a client may name.
    #[schemars(range(min = 1, max = 5000))]
    pub events_page_size_max: u32,
}

impl QueryLimits {
    /// Errs with the key that contradicts another one.
    pub fn check(&self) -> Result<(), BadValue> {
        if self.page_size > self.page_size_max {
            return Err(BadValue::new("page_size", "must not be above page_size_max"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_makes_no_sense_is_refused_by_its_key() {
        let good = QueryLimits { page_size: 10, page_size_max: 10, events_page_size_max: 1 };
        assert_eq!(good.check(), Ok(()));
        let bad = QueryLimits { page_size: 11, ..good };
        assert_eq!(bad.check().expect_err("refused").key, "page_size");
    }
}
