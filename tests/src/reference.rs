//! The references of all programs in one text, section by section.

use crate::world::binaries;
use anyhow::{Context, ensure};
use local_stack::PLATFORM;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The programs that have a configuration, in the order of the documentation.
pub fn configured() -> Vec<&'static str> {
    PLATFORM.configured().map(|entry| entry.name.as_str()).collect()
}

/// One key of a program, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub struct Key {
    /// The path, with dots.
    pub key: String,
    /// What its section is about.
    pub section: String,
    /// What it means.
    pub meaning: String,
    /// Type, bounds and unit.
    pub takes: String,
    /// What holds where no layer says anything.
    pub default: Value,
    /// The environment variable.
    pub variable: String,
    /// Its plain alias.
    #[serde(default)]
    pub alias: Option<String>,
    /// Whether it is hidden wherever it is printed.
    pub secret: bool,
}

/// What a program says of its keys.
pub async fn reference(program: &str) -> anyhow::Result<Vec<Key>> {
    let output = binaries()
        .await?
        .command(program)
        .arg("--print-config-reference=json")
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("the reference of {program}"))
}

/// A key of some programs, with the defaults of each.
struct Row {
    key: Key,
    defaults: Vec<(&'static str, Value)>,
}

impl Row {
    /// The programs that have the key.
    fn whose(&self) -> String {
        if self.defaults.len() == configured().len() {
            return "every program".to_owned();
        }
        let programs: Vec<&str> = self.defaults.iter().map(|(program, _)| *program).collect();
        programs.join(", ")
    }
}

/// Tables of all keys of all programs, one per section; what is the same in several programs is told once.
pub async fn all_references() -> anyhow::Result<String> {
    let mut order = Vec::new();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for program in configured() {
        for key in reference(program).await? {
            let (name, default) = (key.key.clone(), key.default.clone());
            let row = rows.entry(name.clone()).or_insert_with(|| {
                order.push(name.clone());
                Row { key: key.clone(), defaults: Vec::new() }
            });
            let told = (&row.key.takes, &row.key.meaning);
            ensure!(told == (&key.takes, &key.meaning), "{name} of {program} differs from others'");
            row.defaults.push((program, default));
        }
    }
    Ok(tables(order.iter().filter_map(|name| rows.get(name))))
}

fn tables<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut sections: Vec<((&str, String), Vec<&Row>)> = Vec::new();
    for row in rows {
        let path = row.key.key.rsplit_once('.').map_or("", |(section, _)| section);
        let section = (path, row.whose());
        match sections.iter_mut().find(|(other, _)| *other == section) {
            Some((_, rows)) => rows.push(row),
            None => sections.push((section, vec![row])),
        }
    }
    let mut text = String::new();
    for ((path, whose), rows) in sections {
        let _ = write!(text, "\n### `[{path}]`: {whose}\n\n{}\n\n", rows[0].key.section);
        text.push_str("| key | takes | default | meaning | environment |\n");
        text.push_str("| --- | --- | --- | --- | --- |\n");
        for Row { key, defaults } in rows {
            let alias = key.alias.iter().map(|alias| format!(", `{alias}`")).collect::<String>();
            let (name, takes, meaning) = (&key.key, &key.takes, &key.meaning);
            let (default, variable) = (told_once(defaults), &key.variable);
            let _ = writeln!(
                text,
                "| `{name}` | {takes} | {default} | {meaning} | `{variable}`{alias} |"
            );
        }
    }
    text
}

/// The default; where programs differ, that of most, and the others with their names.
fn told_once(defaults: &[(&'static str, Value)]) -> String {
    let count = |value: &Value| defaults.iter().filter(|(_, other)| other == value).count();
    let shown = |value: &Value| if value == "" { "empty".to_owned() } else { format!("`{value}`") };
    let Some((_, usual)) = defaults.iter().rev().max_by_key(|(_, value)| count(value)) else {
        return String::new();
    };
    let alone = count(usual) == 1 && defaults.len() > 1;
    let mut told = if alone { Vec::new() } else { vec![shown(usual)] };
    for (program, value) in defaults.iter().filter(|(_, value)| alone || value != usual) {
        told.push(format!("{program} {}", shown(value)));
    }
    told.join("; ")
}
