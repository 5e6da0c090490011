//! Where the processes of a stack listen.

use super::Process;
use crate::ports::free_port;

/// How many processes of each kind there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the processes")]
pub struct Replicas {
    pub command_apis: usize,
    pub projection_workers: usize,
    pub outbox_relays: usize,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { command_apis: 1, projection_workers: 1, outbox_relays: 1 }
    }
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
    /// HTTP and admin address of each replica of `command-api`.
    pub command_apis: Vec<(String, String)>,
    /// Admin address of each replica of `projection-worker`.
    pub projection_workers: Vec<String>,
    /// Admin address of each replica of `outbox-relay`.
    pub outbox_relays: Vec<String>,
    /// Admin address.
    pub dlq_retrier: String,
    /// HTTP.
    pub query_api: String,
    /// Admin address.
    pub query_api_admin: String,
}

impl Addresses {
    /// The ports that the documentation names.
    pub fn default_ports() -> Self {
        let at = |port: u16| format!("127.0.0.1:{port}");
        Self {
            engine: at(9042),
            engine_metrics: at(9180),
            engine_faults: None,
            broker: at(9092),
            command_apis: vec![(at(8000), at(9100))],
            projection_workers: vec![at(9101)],
            outbox_relays: vec![at(9102)],
            dlq_retrier: at(9103),
            query_api: at(8001),
            query_api_admin: at(9104),
        }
    }

    /// Free ports, and the engine's test port open.
    pub fn free(replicas: Replicas) -> std::io::Result<Self> {
        let at = || free_port().map(|port| format!("127.0.0.1:{port}"));
        Ok(Self {
            engine: at()?,
            engine_metrics: at()?,
            engine_faults: Some(at()?),
            broker: at()?,
            command_apis: (0..replicas.command_apis)
                .map(|_| Ok((at()?, at()?)))
                .collect::<std::io::Result<_>>()?,
            projection_workers: (0..replicas.projection_workers)
                .map(|_| at())
                .collect::<std::io::Result<_>>()?,
            outbox_relays: (0..replicas.outbox_relays)
                .map(|_| at())
                .collect::<std::io::Result<_>>()?,
            dlq_retrier: at()?,
            query_api: at()?,
            query_api_admin: at()?,
        })
    }

    /// The workers of a stack with these addresses.
    pub fn workers(&self) -> Vec<Process> {
        let mut workers: Vec<Process> =
            (0..self.command_apis.len()).map(Process::CommandApi).collect();
        workers.extend((0..self.projection_workers.len()).map(Process::ProjectionWorker));
        workers.extend((0..self.outbox_relays.len()).map(Process::OutboxRelay));
        workers.push(Process::DlqRetrier);
        workers.push(Process::QueryApi);
        workers
    }

    /// A worker's admin address.
    pub fn admin(&self, process: Process) -> Option<&str> {
        match process {
            Process::Engine | Process::Broker => None,
            Process::CommandApi(replica) => {
                self.command_apis.get(replica).map(|(_, admin)| admin.as_str())
            }
            Process::ProjectionWorker(replica) => {
                self.projection_workers.get(replica).map(String::as_str)
            }
            Process::DlqRetrier => Some(&self.dlq_retrier),
            Process::OutboxRelay(replica) => self.outbox_relays.get(replica).map(String::as_str),
            Process::QueryApi => Some(&self.query_api_admin),
        }
    }

    /// Where `/metrics` is.
    pub fn metrics(&self, process: Process) -> Option<&str> {
        if process == Process::Engine { Some(&self.engine_metrics) } else { self.admin(process) }
    }

    /// The base URL of `command-api`'s first replica.
    pub fn command_url(&self) -> String {
        self.command_apis.first().map(|(http, _)| format!("http://{http}")).unwrap_or_default()
    }

    /// The base URL of `query-api`.
    pub fn query_url(&self) -> String {
        format!("http://{}", self.query_api)
    }
}
