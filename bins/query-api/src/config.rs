//! The configuration of this process.

use http_edge::queries::QueryLimits;
use runtime::config::{BadValue, Configuration};
use runtime::{BreakerConfig, HttpConfig, ScyllaConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database.
    pub(crate) scylla: ScyllaConfig,
    /// The port for queries.
    pub(crate) http: HttpConfig,
    /// When requests are refused because the database answers nobody.
    pub(crate) breaker: BreakerConfig,
    /// What a query may cost.
    pub(crate) queries: QueriesConfig,
}

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

impl Configuration for Config {
    fn check(&self) -> Result<(), BadValue> {
        self.http.usable().map_err(|bad| bad.within("http"))?;
        self.queries.limits().check().map_err(|bad| bad.within("queries"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}

impl QueriesConfig {
    /// What holds for the queries of any domain.
    pub(crate) fn limits(&self) -> QueryLimits {
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

    #[test]
    fn every_key_refuses_what_is_bad() {
        let defaults = include_str!("../../../config/query-api.toml");
        runtime::config::testing::assert_refuses_what_is_bad::<Config>("query-api", defaults);
    }
}
