//! The processes of an application, as one file of data names them.

use crate::stack::Process;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The processes that every application of these crates has: `deploy/processes.toml`.
pub static PLATFORM: LazyLock<Manifest> = LazyLock::new(|| {
    let text = include_str!("../../../deploy/processes.toml");
    Manifest::parse(text).expect("a test reads the same text")
});

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Serves clients over HTTP.
    Api,
    /// Reads the CDC log or works through a table.
    Worker,
    /// Does one thing and ends.
    Tool,
    /// Runs all the others on one machine.
    Dev,
    /// Stands in for a store.
    Store,
}

/// What a process connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// ScyllaDB.
    Scylla,
    /// Kafka.
    Kafka,
}

/// Where a process listens on one host unless it is told otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Clients of an API.
    pub http: Option<u16>,
    /// Probes and metrics.
    pub admin: Option<u16>,
    /// The engine's protocol.
    pub cql: Option<u16>,
    /// The engine's metrics.
    pub metrics: Option<u16>,
    /// The embedded broker's protocol.
    pub kafka: Option<u16>,
}

impl Ports {
    fn all(&self) -> impl Iterator<Item = u16> {
        [self.http, self.admin, self.cql, self.metrics, self.kafka].into_iter().flatten()
    }
}

/// One process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessEntry {
    /// Folder, package, program, configuration file, image and `process` label.
    pub name: String,
    /// What it is there for.
    pub kind: Kind,
    /// The same in a few words.
    pub does: String,
    /// Where it listens.
    #[serde(default)]
    pub ports: Ports,
    /// What it connects to.
    #[serde(default)]
    pub needs: Vec<Store>,
    /// Whether it is built for tests with the feature `test-hooks`.
    #[serde(default)]
    pub test_hooks: bool,
    /// Whether its replicas share the slots of a group.
    #[serde(default)]
    pub shares_slots: bool,
    /// The alert that fires when none of it runs.
    #[serde(default)]
    pub absent_alert: Option<String>,
}

impl ProcessEntry {
    /// Whether it runs until it is told to end: an API or a worker.
    pub fn stays(&self) -> bool {
        matches!(self.kind, Kind::Api | Kind::Worker)
    }

    /// Whether it connects to a store.
    pub fn needs(&self, store: Store) -> bool {
        self.needs.contains(&store)
    }

    /// Whether it reads a configuration.
    pub fn is_configured(&self) -> bool {
        self.kind != Kind::Store
    }
}

/// All processes of an application, in the order in which they are named.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    process: Vec<ProcessEntry>,
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no TOML, or has other keys or values.
    #[error("read the manifest")]
    Unreadable(#[source] toml::de::Error),
    /// A name or a port is there twice.
    #[error("{0} is there twice")]
    Twice(String),
    /// What a process of its kind must have is missing.
    #[error("{name} has no {what}")]
    Missing {
        /// Which process.
        name: String,
        /// What it lacks.
        what: &'static str,
    },
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text).map_err(ManifestError::Unreadable)?;
        let mut taken = BTreeSet::new();
        for entry in &manifest.process {
            let ports = entry.ports.all().map(|port| format!("port {port}"));
            for name in ports.chain([entry.name.clone()]) {
                if !taken.insert(name.clone()) {
                    return Err(ManifestError::Twice(name));
                }
            }
            let lacks = match entry.kind {
                Kind::Api if entry.ports.http.is_none() => "ports.http",
                Kind::Api | Kind::Worker if entry.ports.admin.is_none() => "ports.admin",
                Kind::Api | Kind::Worker if entry.absent_alert.is_none() => "absent_alert",
                Kind::Store if entry.ports.cql.is_none() => "ports.cql",
                Kind::Store if entry.ports.metrics.is_none() => "ports.metrics",
                Kind::Dev if entry.ports.kafka.is_none() => "ports.kafka",
                _ => continue,
            };
            return Err(ManifestError::Missing { name: entry.name.clone(), what: lacks });
        }
        for (kind, what) in [
            (Kind::Store, "process that stands in for ScyllaDB"),
            (Kind::Dev, "process that runs the others"),
        ] {
            if !manifest.process.iter().any(|entry| entry.kind == kind) {
                return Err(ManifestError::Missing { name: "the manifest".to_owned(), what });
            }
        }
        Ok(manifest)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, ProcessEntry> {
        self.process.iter()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&ProcessEntry> {
        self.iter().find(|entry| entry.name == name)
    }

    /// Those that run until they are told to end: APIs and workers.
    pub fn workers(&self) -> impl Iterator<Item = &ProcessEntry> {
        self.iter().filter(|entry| entry.stays())
    }

    /// Those that read a configuration.
    pub fn configured(&self) -> impl Iterator<Item = &ProcessEntry> {
        self.iter().filter(|entry| entry.is_configured())
    }

    /// The process that stands in for ScyllaDB.
    pub fn engine(&self) -> &ProcessEntry {
        self.only(Kind::Store)
    }

    /// The process that runs all the others; the embedded broker is a command of it.
    pub fn dev(&self) -> &ProcessEntry {
        self.only(Kind::Dev)
    }

    fn only(&self, kind: Kind) -> &ProcessEntry {
        let found = self.iter().find(|entry| entry.kind == kind);
        found.expect("a manifest without it is refused when it is read")
    }

    /// What a running process is of; `None` for the broker.
    pub fn entry_of(&self, process: Process) -> Option<&ProcessEntry> {
        match process {
            Process::Engine => Some(self.engine()),
            Process::Broker => None,
            Process::Worker(name, _) => self.get(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_own_is_good() {
        let relay = PLATFORM.get("outbox-relay").expect("it has a relay");
        assert!(relay.stays() && relay.needs(Store::Kafka), "{relay:?}");
        assert_eq!(PLATFORM.engine().ports.cql, Some(9042));
        assert!(PLATFORM.configured().all(|entry| entry.kind != Kind::Store));
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        const STORES: &str = "[[process]]\nname = \"engine\"\nkind = \"store\"\ndoes = \"\"\n\
            ports = { cql = 1, metrics = 2 }\n\
            [[process]]\nname = \"all\"\nkind = \"dev\"\ndoes = \"\"\nports = { kafka = 3 }\n";
        let check = |more: &str, expected: Result<(), &str>| {
            let read = Manifest::parse(&format!("{STORES}{more}"));
            let said = read.map(drop).map_err(|error| error.to_string());
            assert_eq!(said, expected.map_err(str::to_owned), "{more}");
        };
        let api =
            |rest: &str| format!("[[process]]\nname = \"a\"\nkind = \"api\"\ndoes = \"\"\n{rest}");
        let whole = api("ports = { http = 4, admin = 5 }\nabsent_alert = \"AbsentA\"\n");
        check("", Ok(()));
        check(&whole, Ok(()));
        check(&format!("{whole}{whole}"), Err("port 4 is there twice"));
        check(&api(""), Err("a has no ports.http"));
        check(&api("ports = { http = 4 }"), Err("a has no ports.admin"));
        check(&api("ports = { http = 4, admin = 5 }"), Err("a has no absent_alert"));
        check(
            &api("ports = { http = 1, admin = 5 }\nabsent_alert = \"A\""),
            Err("port 1 is there twice"),
        );
        check(
            "[[process]]\nname = \"engine\"\nkind = \"tool\"\ndoes = \"\"",
            Err("engine is there twice"),
        );
        check(&api("port = 4"), Err("read the manifest"));
        let none = Manifest::parse("process = []").map(drop).map_err(|error| error.to_string());
        assert_eq!(none, Err("the manifest has no process that stands in for ScyllaDB".to_owned()));
    }
}
