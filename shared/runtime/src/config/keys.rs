//! What a configuration may hold, as its types say it: the JSON schema that is derived from them, with doc
//! comments as meanings and `#[schemars(range(…))]` as bounds. The reference is printed from it, and every
//! value is held against it.

use std::fmt;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

/// The longest time that a key may name: longer is never meant, and clocks cannot count without end.
pub(super) const DAYS_MAX: i128 = 366;

/// One key of a type, with what its schema says.
#[derive(Debug)]
pub(super) struct Key {
    /// The path, with dots.
    pub(super) path: String,
    /// What the section is, where it is the first of its section that says so.
    pub(super) section: String,
    pub(super) schema: Value,
}

/// All keys of `T`, section by section.
pub(super) fn of<T: JsonSchema>() -> Vec<Key> {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    let mut keys = Vec::new();
    collect("", &schema, &mut keys);
    keys
}

fn collect(path: &str, schema: &Value, into: &mut Vec<Key>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let (sections, values): (Vec<_>, Vec<_>) =
        properties.iter().partition(|(_, schema)| schema["properties"].is_object());
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in values {
        let (path, section) = (below(name), sentence(schema));
        into.push(Key { path, section, schema: value.clone() });
    }
    for (name, section) in sections {
        collect(&below(name), section, into);
    }
}

/// What the first paragraph of the doc comment says, on one line.
pub(super) fn sentence(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let text = text.split("\n\n").next().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a number counts, as the name of its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// `…_ms`
    Milliseconds,
    /// `…_s`
    Seconds,
    /// `…_days`
    Days,
    /// `…_bytes`
    Bytes,
}

impl Unit {
    /// The unit stands last in a name, or before `min` or `max`.
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('.').next().unwrap_or(path);
        name.split('_').rev().take(2).find_map(|word| match word {
            "ms" => Some(Self::Milliseconds),
            "s" => Some(Self::Seconds),
            "days" => Some(Self::Days),
            "bytes" => Some(Self::Bytes),
            _ => None,
        })
    }

    fn max(self) -> Option<i128> {
        match self {
            Self::Milliseconds => Some(DAYS_MAX * 86_400_000),
            Self::Seconds => Some(DAYS_MAX * 86_400),
            Self::Days | Self::Bytes => None,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Days => "days",
            Self::Bytes => "bytes",
        })
    }
}

impl Key {
    /// The least and the largest number that are good.
    pub(super) fn range(&self) -> (Option<i128>, Option<i128>) {
        let stated = |bound: &str| self.schema[bound].as_number().and_then(|n| n.as_i128());
        let longest = Unit::of(&self.path).filter(|_| self.is_number()).and_then(Unit::max);
        let largest = stated("maximum").or_else(|| largest(self.schema["format"].as_str()?));
        (stated("minimum"), largest.into_iter().chain(longest).min())
    }

    pub(super) fn is_number(&self) -> bool {
        self.schema["type"] == "integer"
    }

    /// What is wrong with a value, as far as its schema can tell.
    fn complaint(&self, value: &Value) -> Option<String> {
        let least = self.schema["minItems"].as_u64().unwrap_or(0);
        if value.as_array().is_some_and(|list| (list.len() as u64) < least) {
            return Some(if least == 1 {
                "is empty".into()
            } else {
                format!("has less than {least}")
            });
        }
        let number = value.as_number()?.as_i128()?;
        let (min, max) = self.range();
        if min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max) {
            return None;
        }
        Some(match (min, max) {
            (Some(min), Some(max)) => format!("must be between {min} and {max}, not {number}"),
            (Some(min), None) => format!("must be at least {min}, not {number}"),
            (None, Some(max)) => format!("must be at most {max}, not {number}"),
            (None, None) => unreachable!("a number without bounds is within them"),
        })
    }
}

/// The largest number of a type, where a bound is worth telling.
fn largest(format: &str) -> Option<i128> {
    match format {
        "uint16" => Some(u16::MAX.into()),
        "int32" => Some(i32::MAX.into()),
        "uint32" => Some(u32::MAX.into()),
        _ => None,
    }
}

/// A value that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct BadValue {
    /// The key, with dots.
    pub key: String,
    /// What is wrong with its value.
    pub reason: String,
}

impl BadValue {
    /// `key` as seen from the type that is checked.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }

    /// The same as seen from outside of `section`.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        Self { key: format!("{section}.{}", self.key), ..self }
    }
}

/// Errs with the first value that is not within the bounds that its type states.
pub fn in_range<T: JsonSchema + Serialize>(config: &T) -> Result<(), BadValue> {
    let values = serde_json::to_value(config)
        .map_err(|error| BadValue::new("", format!("cannot be looked at: {error}")))?;
    for key in of::<T>() {
        let value = values.pointer(&format!("/{}", key.path.replace('.', "/")));
        if let Some(reason) = value.and_then(|value| key.complaint(value)) {
            return Err(BadValue::new(key.path, reason));
        }
    }
    Ok(())
}

/// Errs unless all are addresses of servers: `host:port`, or a host with the usual port.
pub fn are_addresses(key: &str, addresses: &[String]) -> Result<(), BadValue> {
    match addresses.iter().find(|address| !is_address(address)) {
        Some(wrong) => Err(BadValue::new(key, format!("{wrong:?} is not of the form host:port"))),
        None => Ok(()),
    }
}

fn is_address(text: &str) -> bool {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let (host, port) =
        text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = host.parse::<std::net::IpAddr>().is_ok()
        || (!host.is_empty()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')));
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_stand_last_or_before_a_bound() {
        for (path, expected) in [
            ("a.term_ms", Some(Unit::Milliseconds)),
            ("a.wait_ms_max", Some(Unit::Milliseconds)),
            ("a.log_ttl_s", Some(Unit::Seconds)),
            ("a.body_bytes_max", Some(Unit::Bytes)),
            ("a.lists_days_max", Some(Unit::Days)),
            ("a.page_rows", None),
        ] {
            assert_eq!(Unit::of(path), expected, "{path}");
        }
    }

    #[test]
    fn addresses_have_a_host_and_maybe_a_port() {
        for good in ["a:1", "10.0.0.1:9042", "node-1.example", "[::1]:9042", "::1", "10.0.0.1"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", ":1", "a:", "a:70000", "a:0", "a b:1", "a:1,b:2", "http://a:1", "a:b:1"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
