//! The reference of a process's configuration, from the types that it fills and the files that are compiled
//! into it.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::environment::{self, ALIASES};
use super::keys::{self, DAYS_MAX, Key, Unit, sentence};
use super::{ConfigError, Configuration, Sources, load};

/// One key.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The path, with dots.
    pub key: String,
    /// What its section is about.
    pub section: String,
    /// What it means.
    pub meaning: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The least number that is good, or how many a list must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<i128>,
    /// The largest number that is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<i128>,
    /// What a number counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// What is good where only a few values are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What holds where no layer says anything.
    pub default: Value,
    /// The environment variable.
    pub variable: String,
    /// Its plain alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<&'static str>,
    /// Whether it is hidden wherever it is printed.
    pub secret: bool,
    /// Type, bounds and unit, for people.
    pub takes: String,
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Boolean,
    Number,
    Text,
    ListOfTexts,
    Choice,
}

/// All keys of a process, those of the shell first.
pub fn reference<C: Configuration>(name: &str, defaults: &str) -> Result<Vec<Entry>, ConfigError> {
    let loaded = load::<C>(name, defaults, &Sources::default())?;
    let mut entries = entries_of(&loaded.shell);
    entries.extend(entries_of(&loaded.config));
    Ok(entries)
}

fn entries_of<T: JsonSchema + Serialize>(defaults: &T) -> Vec<Entry> {
    let defaults = serde_json::to_value(defaults).unwrap_or_default();
    keys::of::<T>().into_iter().map(|key| entry(key, &defaults)).collect()
}

fn entry(key: Key, defaults: &Value) -> Entry {
    let default = defaults.pointer(&format!("/{}", key.path.replace('.', "/")));
    let values = choices(&key.schema);
    let kind = match key.schema["type"].as_str() {
        _ if !values.is_empty() => Kind::Choice,
        Some("boolean") => Kind::Boolean,
        Some("integer") => Kind::Number,
        Some("array") => Kind::ListOfTexts,
        _ => Kind::Text,
    };
    let (minimum, maximum) = match kind {
        Kind::ListOfTexts => (key.schema["minItems"].as_i64().map(i128::from), None),
        _ => key.range(),
    };
    let mut entry = Entry {
        meaning: sentence(&key.schema),
        kind,
        minimum,
        maximum,
        unit: Unit::of(&key.path).filter(|_| kind == Kind::Number),
        values,
        default: default.cloned().unwrap_or_default(),
        variable: environment::variable(&key.path),
        alias: ALIASES.iter().find(|(_, of)| *of == key.path).map(|(alias, _)| *alias),
        secret: key.schema["writeOnly"] == true,
        takes: String::new(),
        section: key.section,
        key: key.path,
    };
    entry.takes = entry.takes();
    entry
}

/// The values of an enumeration, with or without meanings of their own.
fn choices(schema: &Value) -> Vec<String> {
    let plain = schema["enum"].as_array().into_iter().flatten();
    let told = schema["oneOf"].as_array().into_iter().flatten().map(|one| &one["const"]);
    plain.chain(told).filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Entry {
    fn takes(&self) -> String {
        let unit = self.unit.map(|unit| format!(" {unit}")).unwrap_or_default();
        // The longest time is told once, not at every key.
        let longest = match self.unit {
            Some(Unit::Milliseconds) => Some(DAYS_MAX * 86_400_000),
            Some(Unit::Seconds) => Some(DAYS_MAX * 86_400),
            _ => None,
        };
        let told = self.maximum.filter(|max| Some(*max) != longest && *max < i32::MAX.into());
        match (self.kind, self.minimum, told) {
            (Kind::Boolean, ..) => "`true` or `false`".to_owned(),
            (Kind::Choice, ..) => self
                .values
                .iter()
                .map(|value| format!("`{value}`"))
                .collect::<Vec<_>>()
                .join(" or "),
            (Kind::Text, ..) if self.secret => "secret text".to_owned(),
            (Kind::Text, ..) => "text".to_owned(),
            (Kind::ListOfTexts, Some(1), _) => "list of texts, not empty".to_owned(),
            (Kind::ListOfTexts, ..) => "list of texts".to_owned(),
            (Kind::Number, Some(min), Some(max)) => format!("{min} to {max}{unit}"),
            (Kind::Number, Some(min), None) => format!("{min}{unit} or more"),
            (Kind::Number, None, Some(max)) => format!("at most {max}{unit}"),
            (Kind::Number, None, None) => format!("number{unit}"),
        }
    }
}

/// Tables for people, one per section.
pub fn to_markdown(name: &str, entries: &[Entry]) -> String {
    let mut text = format!("# Configuration of {name}\n");
    let mut section = None;
    for entry in entries {
        let path = entry.key.rsplit_once('.').map_or("", |(section, _)| section);
        if section != Some(path) {
            section = Some(path);
            let _ = write!(text, "\n## `[{path}]`\n\n{}\n\n", entry.section);
            text.push_str("| key | takes | default | meaning | environment |\n");
            text.push_str("| --- | --- | --- | --- | --- |\n");
        }
        let alias = entry.alias.map(|alias| format!(", `{alias}`")).unwrap_or_default();
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` | {} | `{}`{alias} |",
            entry.key, entry.takes, entry.default, entry.meaning, entry.variable,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_is_described_by_its_types() {
        let shell =
            super::super::load::<super::super::tests::Nothing>("x", "", &Sources::default());
        let entries = entries_of(&shell.expect("the defaults are good").shell);
        let found = |key: &str| entries.iter().find(|entry| entry.key == key).expect("it is there");
        let format = found("log.format");
        assert_eq!((format.kind, format.takes.as_str()), (Kind::Choice, "`text` or `json`"));
        let listen = found("admin.listen");
        assert_eq!(listen.alias, Some("METRICS_PORT"));
        assert_eq!(listen.default, "127.0.0.1:9090");
        let timeout = found("health.timeout_ms");
        assert_eq!((timeout.minimum, timeout.takes.as_str()), (Some(1), "1 ms or more"));
        assert_eq!(timeout.variable, "APP__HEALTH__TIMEOUT_MS");
        let mute: Vec<_> = entries.iter().filter(|entry| entry.meaning.is_empty()).collect();
        assert!(mute.is_empty(), "{mute:#?}");
    }
}
