//! The configuration of this process.

use database::ScyllaConfig;
use http_server::HttpConfig;
use runtime::BreakerConfig;
use runtime::config::{BadValue, Configuration};
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
        self.queries.check().map_err(|bad| bad.within("queries"))?;
        self.scylla.usable().map_err(|bad| bad.within("scylla"))
    }
}

impl QueriesConfig {
    fn check(&self) -> Result<(), BadValue> {
        if self.page_size > self.page_size_max {
            return Err(BadValue::new("page_size", "must not be above page_size_max"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::config;

    #[test]
    fn every_key_refuses_what_is_bad() {
        let defaults = include_str!("../../../config/query-api.toml");
        runtime::config::testing::assert_refuses_what_is_bad::<Config>("query-api", defaults);
    }

    #[test]
    fn a_bound_that_makes_no_sense_is_refused_by_its_key() {
        assert_eq!(config().check(), Ok(()));
        let bad = QueriesConfig { page_size: 11, page_size_max: 10, ..config() };
        assert_eq!(bad.check().expect_err("refused").key, "page_size");
    }
}
