//! Tells whoever started the process where it listens, so that nobody has to pick ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

/// Names the file to write; without it nothing is written.
pub(crate) const VARIABLE: &str = "APP_PORT_FILE";

/// The addresses so far, as one JSON object such as `{"admin":"127.0.0.1:4711"}`.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    path: Option<PathBuf>,
    known: Mutex<BTreeMap<&'static str, SocketAddr>>,
}

impl Addresses {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// Adds an address. A reader sees either the old file or the new one, never a part.
    pub(crate) fn publish(&self, name: &'static str, address: SocketAddr) -> anyhow::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name, address);
        match &self.path {
            Some(path) => write(path, &known)
                .with_context(|| format!("write addresses to {}", path.display())),
            None => Ok(()),
        }
    }
}

fn write(path: &Path, known: &BTreeMap<&'static str, SocketAddr>) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, serde_json::to_vec(known)?)?;
    Ok(std::fs::rename(&beside, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_every_address_so_far() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("ports.json");
        let addresses = Addresses::new(Some(path.clone()));
        addresses.publish("admin", ([127, 0, 0, 1], 4711).into()).expect("first");
        addresses.publish("http", ([127, 0, 0, 1], 4712).into()).expect("second");
        assert_eq!(
            std::fs::read_to_string(path).expect("file"),
            r#"{"admin":"127.0.0.1:4711","http":"127.0.0.1:4712"}"#
        );
    }
}
