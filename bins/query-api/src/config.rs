//! The configuration of this process.

use runtime::{BreakerConfig, HttpConfig, ScyllaConfig};
use serde::{Deserialize, Deserializer, Serialize};

/// Everything but the shell's sections.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database.
    pub(crate) scylla: ScyllaConfig,
    /// The port for queries.
    pub(crate) http: HttpConfig,
    /// When requests are refused because the database answers nobody.
    #[serde(deserialize_with = "BreakerConfig::checked")]
    pub(crate) breaker: BreakerConfig,
    /// What a query may cost.
    #[serde(deserialize_with = "checked")]
    pub(crate) queries: QueriesConfig,
}

/// `[queries]`: what a query may cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueriesConfig {
    /// Orders per page of a list, where the client names no number.
    pub(crate) page_size: usize,
    /// The most that a client may name.
    pub(crate) page_size_max: usize,
    /// Events per page of a history, and the most that a client may name.
    pub(crate) events_page_size_max: u32,
    /// How far back the orders of a customer are listed.
    pub(crate) orders_by_customer_days_max: u32,
    /// How far back the orders in a status are listed.
    pub(crate) orders_by_status_days_max: u32,
}

impl QueriesConfig {
    fn check(&self) -> Result<(), String> {
        let within = |key, value: u64, max: u64| {
            let fits = (1..=max).contains(&value);
            if fits { Ok(()) } else { Err(format!("queries.{key} must be between 1 and {max}")) }
        };
        // Each of the partitions that one database query names may give as many rows.
        within("page_size_max", self.page_size_max as u64, 1_000)?;
        within("page_size", self.page_size as u64, self.page_size_max as u64)?;
        within("events_page_size_max", self.events_page_size_max.into(), 5_000)?;
        let century = 36_525;
        within("orders_by_customer_days_max", self.orders_by_customer_days_max.into(), century)?;
        within("orders_by_status_days_max", self.orders_by_status_days_max.into(), century)
    }
}

/// A bad value is to be a bad configuration, not a failed start.
fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<QueriesConfig, D::Error> {
    let config = QueriesConfig::deserialize(deserializer)?;
    config.check().map_err(serde::de::Error::custom)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::config;
    use runtime::config::Sources;

    #[test]
    fn the_defaults_are_good() {
        let defaults = include_str!("../../../config/query-api.toml");
        let loaded = runtime::config::load::<Config>("query-api", defaults, &Sources::default());
        loaded.unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn a_bound_that_makes_no_sense_is_refused_by_its_key() {
        assert_eq!(config().check(), Ok(()));
        let cases = [
            (QueriesConfig { page_size: 0, ..config() }, "page_size"),
            (QueriesConfig { page_size: 11, page_size_max: 10, ..config() }, "page_size"),
            (QueriesConfig { page_size_max: 1_001, ..config() }, "page_size_max"),
            (QueriesConfig { events_page_size_max: 0, ..config() }, "events_page_size_max"),
            (QueriesConfig { orders_by_status_days_max: 0, ..config() }, "orders_by_status_days"),
        ];
        for (config, key) in cases {
            let error = config.check().expect_err(key);
            assert!(error.starts_with(&format!("queries.{key}")), "{error}");
        }
    }
}
