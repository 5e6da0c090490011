//! Configuration in layers, later wins: defaults compiled into the process, the files of a
//! directory, the environment.
//!
//! The tree is split in two. The sections in `SHELL_SECTIONS` belong to the shell;
//! everything else is the process's own type, which denies unknown fields. The types say all there is to
//! say about a key: what it takes, its bounds, and in its doc comment what it means ([`keys`]). From them
//! comes the [`reference`] that every process prints, and against them every value is held. What one key
//! alone cannot tell is for [`Configuration::check`]. A problem is one line that names the key, where its
//! value came from, and the reason; it never shows a secret.

mod command_line;
mod environment;
mod files;
mod keys;
mod printed;
mod reference;
mod sections;
mod security;
pub mod testing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Config, ValueKind};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use command_line::ConfigArguments;
pub(crate) use command_line::refuse;
pub use keys::{BadValue, Unit, are_addresses, in_range};
pub use reference::{Entry, Kind, reference, to_markdown};
pub use sections::{Admin, Health, Log, LogFormat, Secret, Shell, Shutdown};
pub use security::{
    check_credentials, check_files, check_password_file, check_port_files, check_tls,
    check_tls_files,
};

/// Sections of the tree that belong to the shell.
const SHELL_SECTIONS: [&str; 5] = ["admin", "health", "log", "shutdown", "supervision"];

/// Where the layers above the compiled-in defaults come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The directory with `default.toml` and `<process>.toml`; a missing file is an empty layer.
    pub directory: Option<PathBuf>,
    /// The environment as pairs of name and value.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// The given directory, which must exist, or else `./config`, which may be missing; and the
    /// environment of this process.
    pub fn of_process(directory: Option<&Path>) -> Result<Self, ConfigError> {
        let directory = match directory {
            Some(named) if !named.is_dir() => {
                return Err(ConfigError::Directory { path: named.to_owned() });
            }
            Some(named) => named.to_owned(),
            None => PathBuf::from("config"),
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| environment::concerns_us(name))
            .map(|(name, value)| {
                let value = value.into_string().map_err(|_| ConfigError::Value {
                    key: name.clone(),
                    origin: "the environment".to_owned(),
                    reason: "is not UTF-8".to_owned(),
                })?;
                Ok((name, value))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { directory: Some(directory), environment })
    }
}

/// What a process's own part of the configuration is read into.
pub trait Configuration: DeserializeOwned + Serialize + JsonSchema {
    /// Errs with the first value that cannot work, as far as it takes more than its own bounds to know: keys
    /// that contradict each other, files that cannot be used.
    fn check(&self) -> Result<(), BadValue> {
        Ok(())
    }
}

/// A configuration that was read and found good.
#[derive(Debug, Clone)]
pub struct Loaded<C> {
    /// The shell's sections.
    pub shell: Shell,
    /// The process's own part.
    pub config: C,
    layers: Layers,
}

/// Which layer above the built-in defaults gave a value, by its key.
#[derive(Debug, Clone)]
struct Layers(BTreeMap<String, String>);

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A directory was named and is not there.
    #[error("configuration directory {} does not exist", path.display())]
    Directory {
        /// What was asked for.
        path: PathBuf,
    },
    /// A file cannot be read, or not as TOML.
    #[error("configuration cannot be read: {reason}")]
    Unreadable {
        /// What is wrong, with file and line.
        reason: String,
    },
    /// A key is unknown or its value is bad.
    #[error("configuration key {key} ({origin}): {reason}")]
    Value {
        /// The path of the key, or the name of the variable.
        key: String,
        /// Which layer said so.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the layers of one process. `defaults` is the text of its compiled-in `<process>.toml`.
pub fn load<C: Configuration>(
    name: &str,
    defaults: &str,
    sources: &Sources,
) -> Result<Loaded<C>, ConfigError> {
    let files = files::layers(name, defaults, sources.directory.as_deref())?;
    let tree = environment::apply(files, &sources.environment)?;
    let layers = Layers::of_tree(&tree)?;
    let mut own: Map<String, Value> = tree.try_deserialize().map_err(unreadable)?;
    let mut shell = Map::new();
    for section in SHELL_SECTIONS {
        if let Some(value) = own.remove(section) {
            shell.insert(section.to_owned(), value);
        }
    }
    let shell: Shell = typed(shell, &layers)?;
    let config: C = typed(own, &layers)?;
    shell.check().and_then(|()| config.check()).map_err(|bad| layers.blame(bad))?;
    Ok(Loaded { shell, config, layers })
}

fn unreadable(error: config::ConfigError) -> ConfigError {
    ConfigError::Unreadable { reason: one_line(&error.to_string()) }
}

/// Turns a part of the tree into a type, strictly: `"5"` is not a number, no key is ignored, and every
/// number is within its bounds.
fn typed<T: DeserializeOwned + JsonSchema + Serialize>(
    part: Map<String, Value>,
    layers: &Layers,
) -> Result<T, ConfigError> {
    let value: T = serde_path_to_error::deserialize(Value::Object(part)).map_err(|error| {
        layers.blame(BadValue::new(error.path().to_string(), one_line(&error.inner().to_string())))
    })?;
    in_range(&value).map_err(|bad| layers.blame(bad))?;
    Ok(value)
}

impl Layers {
    fn of_tree(tree: &Config) -> Result<Self, ConfigError> {
        let mut layers = BTreeMap::new();
        for (name, value) in config::Source::collect(tree).map_err(unreadable)? {
            collect(name, value, &mut layers);
        }
        Ok(Self(layers))
    }

    /// Which layer gave the value of `key`; of a section, any that gave one of its values.
    fn of(&self, key: &str) -> Option<&str> {
        let key = key.split('[').next().unwrap_or(key);
        let below = format!("{key}.");
        let mut found = self.0.iter().filter(|(path, _)| *path == key || path.starts_with(&below));
        found.next().map(|(_, layer)| layer.as_str())
    }

    /// The error that a value is, with the layer that it came from.
    fn blame(&self, bad: BadValue) -> ConfigError {
        let BadValue { key, reason } = bad;
        let layer = self.of(&key);
        let variable = environment::variable(&key);
        // What was read from a file because a variable said so may be anything, also a secret.
        let reason = match layer.and_then(|layer| layer.strip_suffix("_FILE")) {
            Some(of) if of == variable => "what is in the file does not fit".to_owned(),
            _ => reason,
        };
        let origin = layer.unwrap_or("built-in defaults").to_owned();
        ConfigError::Value { key, origin, reason }
    }
}

fn collect(path: String, value: config::Value, into: &mut BTreeMap<String, String>) {
    let origin = value.origin().map(str::to_owned);
    match (value.kind, origin) {
        (ValueKind::Table(section), _) => {
            for (name, value) in section {
                collect(format!("{path}.{name}"), value, into);
            }
        }
        (_, Some(origin)) => {
            into.insert(path, origin);
        }
        (_, None) => {}
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
