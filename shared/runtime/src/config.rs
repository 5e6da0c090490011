//! Configuration in layers, later wins: defaults compiled into the process, the files of a
//! directory, the environment.
//!
//! The tree is split in two. The sections in `SHELL_SECTIONS` belong to the shell;
//! everything else is the process's own type, which denies unknown fields. A problem is one line
//! that names the key, where its value came from, and the reason.

mod environment;
mod sections;

use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat, Source, ValueKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use sections::{Admin, Log, LogFormat, Secret, Shell, Shutdown};

/// What every process starts from.
const COMMON_DEFAULTS: &str = include_str!("../../../config/default.toml");

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

/// A configuration that was read and found good.
#[derive(Debug, Clone)]
pub struct Loaded<C> {
    /// The shell's sections.
    pub shell: Shell,
    /// The process's own part.
    pub config: C,
}

impl<C: Serialize> Loaded<C> {
    /// The whole configuration as TOML, secrets hidden.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        Ok(format!("{}\n{}", toml::to_string(&self.shell)?, toml::to_string(&self.config)?))
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A directory was named and is not there.
    #[error("configuration directory {} does not exist", path.display())]
    Directory {
        /// What was asked for.
        path: PathBuf,
    },
    /// A file is not readable as TOML.
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
pub fn load<C: DeserializeOwned>(
    name: &str,
    defaults: &str,
    sources: &Sources,
) -> Result<Loaded<C>, ConfigError> {
    let files = layers(name, defaults, sources.directory.as_deref())?;
    let tree = environment::apply(files, &sources.environment)?;
    let mut own: Map<String, Value> = tree.clone().try_deserialize().map_err(unreadable)?;
    let mut shell = Map::new();
    for section in SHELL_SECTIONS {
        if let Some(value) = own.remove(section) {
            shell.insert(section.to_owned(), value);
        }
    }
    Ok(Loaded { shell: typed(shell, &tree)?, config: typed(own, &tree)? })
}

fn layers(name: &str, defaults: &str, directory: Option<&Path>) -> Result<Config, ConfigError> {
    let mut builder = Config::builder()
        .add_source(File::from_str(COMMON_DEFAULTS, FileFormat::Toml))
        .add_source(File::from_str(defaults, FileFormat::Toml));
    if let Some(directory) = directory {
        for file in ["default", name] {
            let path = directory.join(format!("{file}.toml"));
            builder = builder.add_source(File::from(path).format(FileFormat::Toml).required(false));
        }
    }
    builder.build().map_err(unreadable)
}

fn unreadable(error: config::ConfigError) -> ConfigError {
    ConfigError::Unreadable { reason: one_line(&error.to_string()) }
}

/// Turns a part of the tree into a type, strictly: `"5"` is not a number, and no key is ignored.
fn typed<T: DeserializeOwned>(part: Map<String, Value>, tree: &Config) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(Value::Object(part)).map_err(|error| {
        let key = error.path().to_string();
        let origin = origin(tree, &key).unwrap_or_else(|| "built-in defaults".to_owned());
        ConfigError::Value { key, origin, reason: one_line(&error.inner().to_string()) }
    })
}

/// Which layer gave the value of `key`; of a section, any that gave one of its values.
fn origin(tree: &Config, key: &str) -> Option<String> {
    let mut parts = key.split('.');
    let mut value = tree.collect().ok()?.remove(parts.next()?)?;
    for part in parts {
        value = value.into_table().ok()?.remove(part)?;
    }
    any_origin(value)
}

fn any_origin(value: config::Value) -> Option<String> {
    match (value.origin(), value.kind.clone()) {
        (Some(origin), _) => Some(origin.to_owned()),
        (None, ValueKind::Table(section)) => section.into_values().find_map(any_origin),
        (None, _) => None,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
