//! Where the processes of a stack listen.

use super::process::{COMMAND_API, Process, QUERY_API};
use crate::manifest::{Manifest, ProcessEntry};
use crate::ports::free_port;
use std::collections::BTreeMap;

/// How many processes of a name there are: one, unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replicas(BTreeMap<&'static str, usize>);

impl Replicas {
    /// These many of these, and one of each other.
    pub fn of<const N: usize>(counts: [(&'static str, usize); N]) -> Self {
        Self(BTreeMap::from(counts))
    }

    /// How many of a name.
    pub fn count(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(1)
    }

    /// The same with another number of one name.
    #[must_use]
    pub fn with(mut self, name: &'static str, count: usize) -> Self {
        self.0.insert(name, count);
        self
    }
}

/// Where one process of the application listens.
#[derive(Debug, Clone)]
pub struct Listens {
    /// Clients; APIs only.
    pub http: Option<String>,
    /// Probes and metrics.
    pub admin: String,
}

/// `host:port` of every listener, all on loopback.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// CQL.
    pub engine: String,
    /// The engine's `/metrics`.
    pub engine_metrics: String,
    /// The engine's test port, where faults are injected; off when `None`.
    pub engine_faults: Option<String>,
    /// Kafka protocol.
    pub broker: String,
    /// The application's processes, in the order of the manifest.
    workers: Vec<(Process, Listens)>,
}

impl Addresses {
    /// The ports that the manifest names, one process of each.
    pub fn default_ports(manifest: &'static Manifest) -> Self {
        let at = |port: u16| format!("127.0.0.1:{port}");
        let known = |port: Option<u16>| at(port.expect("a manifest without it is refused"));
        let engine = manifest.engine().ports;
        let listens = |entry: &'static ProcessEntry| {
            let listens =
                Listens { http: entry.ports.http.map(at), admin: known(entry.ports.admin) };
            (Process::Worker(&entry.name, 0), listens)
        };
        Self {
            engine: known(engine.cql),
            engine_metrics: known(engine.metrics),
            engine_faults: None,
            broker: known(manifest.dev().ports.kafka),
            workers: manifest.workers().map(listens).collect(),
        }
    }

    /// Free ports, and the engine's test port open.
    pub fn free(manifest: &'static Manifest, replicas: &Replicas) -> std::io::Result<Self> {
        let at = || free_port().map(|port| format!("127.0.0.1:{port}"));
        let mut workers = Vec::new();
        for entry in manifest.workers() {
            for replica in 0..replicas.count(&entry.name) {
                let http = entry.ports.http.map(|_| at()).transpose()?;
                workers
                    .push((Process::Worker(&entry.name, replica), Listens { http, admin: at()? }));
            }
        }
        Ok(Self {
            engine: at()?,
            engine_metrics: at()?,
            engine_faults: Some(at()?),
            broker: at()?,
            workers,
        })
    }

    /// The application's processes of a stack with these addresses.
    pub fn workers(&self) -> Vec<Process> {
        self.workers.iter().map(|(process, _)| *process).collect()
    }

    /// How many of a name there are.
    pub fn replicas(&self, name: &str) -> usize {
        self.workers.iter().filter(|(process, _)| process.program().0 == name).count()
    }

    /// Where a process of the application listens.
    pub fn listens(&self, process: Process) -> Option<&Listens> {
        self.workers.iter().find(|(candidate, _)| *candidate == process).map(|(_, listens)| listens)
    }

    /// Where an API serves clients.
    pub fn http(&self, process: Process) -> Option<&str> {
        self.listens(process)?.http.as_deref()
    }

    /// Where a process of the application has its probes.
    pub fn admin(&self, process: Process) -> Option<&str> {
        Some(&self.listens(process)?.admin)
    }

    /// Where `/metrics` is.
    pub fn metrics(&self, process: Process) -> Option<&str> {
        if process == Process::Engine { Some(&self.engine_metrics) } else { self.admin(process) }
    }

    /// The base URL of a replica of an API; empty where there is none.
    pub fn url(&self, process: Process) -> String {
        self.http(process).map(|http| format!("http://{http}")).unwrap_or_default()
    }

    /// The base URL of `command-api`'s first replica.
    pub fn command_url(&self) -> String {
        self.url(Process::Worker(COMMAND_API, 0))
    }

    /// The base URL of `query-api`.
    pub fn query_url(&self) -> String {
        self.url(Process::Worker(QUERY_API, 0))
    }
}
