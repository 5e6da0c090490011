//! The options of tables. Most are kept only for clients to read back.

use super::cdc_options;
use crate::ast::Property;
use crate::error::{CqlError, ErrorKind, Result};
use crate::schema::CdcOptions;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The largest `default_time_to_live`, 20 years.
const TTL_MAX: u32 = 630_720_000;

/// What options have when nothing else is said, as `system_schema.tables` shows them.
pub(crate) fn default(name: &str) -> Value {
    match name {
        "bloom_filter_fp_chance" => json!(0.01),
        "caching" => json!({"keys": "ALL", "rows_per_partition": "ALL"}),
        "comment" => json!(""),
        "compaction" => json!({"class": "SizeTieredCompactionStrategy"}),
        "compression" => {
            json!({"sstable_compression": "org.apache.cassandra.io.compress.LZ4Compressor"})
        }
        "crc_check_chance" => json!(1.0),
        "dclocal_read_repair_chance" | "read_repair_chance" => json!(0.0),
        "gc_grace_seconds" => json!(864_000),
        "max_index_interval" => json!(2048),
        "min_index_interval" => json!(128),
        "memtable_flush_period_in_ms" => json!(0),
        "speculative_retry" => json!("99.0PERCENTILE"),
        _ => Value::Null,
    }
}

/// What a `WITH` clause says.
#[derive(Debug, Default)]
pub(super) struct TableOptions {
    /// `default_time_to_live`, if given.
    pub(super) default_time_to_live: Option<u32>,
    /// `cdc`, if given.
    pub(super) cdc: Option<CdcOptions>,
    /// `id`, if given.
    pub(super) id: Option<uuid::Uuid>,
    /// The rest by name, as JSON text.
    pub(super) others: BTreeMap<String, String>,
}

impl TableOptions {
    pub(super) fn read(given: &[(String, Property)]) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in given {
            let name = name.to_ascii_lowercase();
            options.one(&name, value)?;
        }
        Ok(options)
    }

    fn one(&mut self, name: &str, value: &Property) -> Result<()> {
        let stored = match (name, value) {
            ("cdc", Property::Map(map)) => {
                self.cdc = Some(cdc_options::read(map)?);
                return Ok(());
            }
            ("default_time_to_live", Property::Simple(text)) => {
                let seconds = integer(name, text)?;
                let seconds = u32::try_from(seconds).ok().filter(|ttl| *ttl <= TTL_MAX);
                self.default_time_to_live = Some(seconds.ok_or_else(|| {
                    CqlError::config(format!(
                        "default_time_to_live must be between 0 and {TTL_MAX} (got {text})"
                    ))
                })?);
                return Ok(());
            }
            ("id", Property::Simple(text)) => {
                let id = uuid::Uuid::parse_str(text)
                    .map_err(|_| CqlError::config(format!("Invalid table id {text}")))?;
                self.id = Some(id);
                return Ok(());
            }
            ("comment" | "speculative_retry", Property::Simple(text)) => json!(text),
            (
                "gc_grace_seconds"
                | "max_index_interval"
                | "memtable_flush_period_in_ms"
                | "min_index_interval"
                | "paxos_grace_seconds",
                Property::Simple(text),
            ) => json!(integer(name, text)?),
            (
                "bloom_filter_fp_chance"
                | "crc_check_chance"
                | "dclocal_read_repair_chance"
                | "read_repair_chance",
                Property::Simple(text),
            ) => json!(fraction(name, text)?),
            ("in_memory" | "synchronous_updates", Property::Simple(text)) => {
                json!(super::keyspace::boolean(name, text)?)
            }
            ("caching", Property::Map(map)) => with_defaults("caching", map),
            (
                "compaction" | "compression" | "tombstone_gc" | "per_partition_rate_limit",
                Property::Map(map),
            ) => object(map),
            _ if is_known(name) => {
                return Err(syntax(format!("Invalid value for property '{name}'")));
            }
            _ => return Err(syntax(format!("Unknown property '{name}'"))),
        };
        self.others.insert(name.to_owned(), stored.to_string());
        Ok(())
    }
}

fn is_known(name: &str) -> bool {
    matches!(
        name,
        "cdc"
            | "default_time_to_live"
            | "id"
            | "in_memory"
            | "paxos_grace_seconds"
            | "per_partition_rate_limit"
            | "synchronous_updates"
            | "tombstone_gc"
    ) || !default(name).is_null()
}

fn object(map: &[(String, String)]) -> Value {
    Value::Object(map.iter().map(|(key, value)| (key.clone(), json!(value))).collect())
}

fn with_defaults(name: &str, map: &[(String, String)]) -> Value {
    let mut merged = default(name).as_object().cloned().unwrap_or_else(Map::new);
    merged.extend(map.iter().map(|(key, value)| (key.clone(), json!(value))));
    Value::Object(merged)
}

fn integer(name: &str, text: &str) -> Result<i32> {
    text.parse().map_err(|_| syntax(format!("Invalid integer value {text} for '{name}'")))
}

fn fraction(name: &str, text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(syntax(format!("Invalid double value {text} for '{name}'"))),
    }
}

fn syntax(message: String) -> CqlError {
    CqlError::new(ErrorKind::Syntax, message)
}
