//! The topmost layer: `APP__SECTION__KEY` and a few plain aliases.
//!
//! A variable has no type of its own, so it takes that of the value it replaces: the defaults name
//! every key. A variable without a counterpart is passed on and found unknown by the type that is
//! filled. `APP__SECTION__KEY_FILE` names a file that holds the value, for secrets.

use std::net::SocketAddr;

use config::{Config, Value, ValueKind};

use super::{ConfigError, unreadable};

pub(super) const PREFIX: &str = "APP__";

/// Plain names that deployments commonly use, and the key each one stands for. Of these a process
/// takes only those whose key it has.
pub(super) const ALIASES: [(&str, &str); 4] = [
    ("SCYLLA_NODES", "scylla.nodes"),
    ("REDPANDA_BROKERS", "kafka.brokers"),
    ("METRICS_PORT", "admin.listen"),
    ("RUST_LOG", "log.filter"),
];

/// Whether a variable of this name can say anything to [`apply`].
pub(super) fn concerns_us(name: &str) -> bool {
    name.starts_with(PREFIX) || ALIASES.iter().any(|(alias, _)| *alias == name)
}

/// The variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Lays the variables over `files`; the exact names win over the aliases. Empty aliases count as
/// unset.
pub(super) fn apply(
    files: Config,
    environment: &[(String, String)],
) -> Result<Config, ConfigError> {
    let mut overrides = Vec::new();
    for (alias, key) in ALIASES {
        let set = environment.iter().find(|(name, value)| name == alias && !value.is_empty());
        if let (Some((_, text)), Some(present)) = (set, value_at(&files, key)) {
            let text = if alias == "METRICS_PORT" {
                with_port(&present, text).map_err(|reason| bad(alias, reason))?
            } else {
                text.clone()
            };
            overrides.push((key.to_owned(), parsed(alias, &text, &present.kind)?));
        }
    }
    let mut exact: Vec<_> =
        environment.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    exact.sort();
    for (name, text) in exact {
        overrides.push(exact_override(&files, name, text)?);
    }
    let mut builder = Config::builder().add_source(files);
    for (key, value) in overrides {
        builder = builder.set_override(key, value).map_err(unreadable)?;
    }
    builder.build().map_err(unreadable)
}

fn exact_override(files: &Config, name: &str, text: &str) -> Result<(String, Value), ConfigError> {
    let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
    let well_formed = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    if !key.split('.').all(well_formed) {
        return Err(bad(name, "is not of the form APP__SECTION__KEY".to_owned()));
    }
    if let Some(present) = value_at(files, &key) {
        return Ok((key, parsed(name, text, &present.kind)?));
    }
    if let Some(base) = key.strip_suffix("_file")
        && let Some(present) = value_at(files, base)
    {
        let content = std::fs::read_to_string(text)
            .map_err(|error| bad(name, format!("cannot read {text}: {error}")))?;
        // The content may be a secret, so it is not shown when it does not fit.
        let value = parsed(name, content.trim_end(), &present.kind)
            .map_err(|_| bad(name, format!("what is in {text} is not of the type of {base}")))?;
        return Ok((base.to_owned(), value));
    }
    Ok((key, parsed(name, text, &guessed(text))?))
}

fn value_at(files: &Config, key: &str) -> Option<Value> {
    files.get::<Value>(key).ok()
}

/// The kind that an unknown key would have had in a file.
fn guessed(text: &str) -> ValueKind {
    if text.parse::<i64>().is_ok() {
        ValueKind::I64(0)
    } else if text.parse::<bool>().is_ok() {
        ValueKind::Boolean(false)
    } else {
        ValueKind::String(String::new())
    }
}

/// Reads `text` as a value of the same kind as `present`.
fn parsed(name: &str, text: &str, present: &ValueKind) -> Result<Value, ConfigError> {
    let not_a = |what: &str| bad(name, format!("{text:?} is not {what}"));
    let kind = match present {
        ValueKind::Boolean(_) => {
            ValueKind::Boolean(text.parse().map_err(|_| not_a("true or false"))?)
        }
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            // A file may write 2 for a fraction; whether one fits is for the type to say.
            let whole = text.parse().map(ValueKind::I64).ok();
            whole.or_else(|| text.parse().map(ValueKind::Float).ok()).ok_or(not_a("a number"))?
        }
        ValueKind::Float(_) => ValueKind::Float(text.parse().map_err(|_| not_a("a number"))?),
        ValueKind::Array(present) => ValueKind::Array(list(name, text, present)?),
        ValueKind::Table(_) => {
            return Err(bad(name, "names a section, not a key".to_owned()));
        }
        ValueKind::String(_) | ValueKind::Nil => ValueKind::String(text.to_owned()),
    };
    Ok(Value::new(Some(&name.to_owned()), kind))
}

/// Parts between commas; they take the kind of the elements that they replace.
fn list(name: &str, text: &str, present: &[Value]) -> Result<Vec<Value>, ConfigError> {
    let text_kind = ValueKind::String(String::new());
    let kind = present.first().map_or(&text_kind, |first| &first.kind);
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| parsed(name, part, kind))
        .collect()
}

/// The address in `present` with another port.
fn with_port(present: &Value, port: &str) -> Result<String, String> {
    let port: u16 = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
    let address = present.clone().into_string().map_err(|error| error.to_string())?;
    let mut address: SocketAddr =
        address.parse().map_err(|_| format!("admin.listen {address:?} is not an address"))?;
    address.set_port(port);
    Ok(address.to_string())
}

fn bad(name: &str, reason: String) -> ConfigError {
    ConfigError::Value { key: name.to_owned(), origin: "the environment".to_owned(), reason }
}
