//! What the shop's queries may cost.

use http_edge::queries::QueryLimits;
use processes::query_api::QueryConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a query may cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueriesConfig {
    /// Orders per page of a list, where the client names no number.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) page_size: usize,
    /// The most orders per page that a client may name.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) page_size_max: usize,
    /// Events per page of a history, the default and the most that a client may name.
    #[schemars(range(min = 1, max = 5000))]
    pub(crate) events_page_size_max: u32,
    /// How far back the orders of a customer are listed.
    #[schemars(range(min = 1, max = 36_525))]
    pub(crate) orders_by_customer_days_max: u32,
    /// How far back the orders in a status are listed.
    #[schemars(range(min = 1, max = 36_525))]
    pub(crate) orders_by_status_days_max: u32,
}

impl QueryConfig for QueriesConfig {
    fn limits(&self) -> QueryLimits {
        QueryLimits {
            page_size: self.page_size,
            page_size_max: self.page_size_max,
            events_page_size_max: self.events_page_size_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use processes::query_api::Config;

    #[test]
    fn every_key_refuses_what_is_bad() {
        let defaults = include_str!("../../../config/query-api.toml");
        runtime::config::testing::assert_refuses_what_is_bad::<Config<QueriesConfig>>(
            "query-api",
            defaults,
        );
    }
}
