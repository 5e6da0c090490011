//! The connection to ScyllaDB, with the consistency that the whole design rests on.
//!
//! [`ScyllaConfig::connect`] is the only place that builds a session. It speaks TLS ([`tls`]) and says who it is
//! ([`credentials`]) as configured; when the database does not let it in, the error names the key to look
//! at ([`refusal`]).

mod credentials;
mod refusal;
mod tls;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use runtime::config::{
    BadValue, Configuration, Secret, Sources, are_addresses, check_credentials,
    check_password_file, check_tls, check_tls_files,
};
use runtime::{Backoff, BackoffConfig, Readiness, Stopped, chain};
use schemars::JsonSchema;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{Compression, PoolSize};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::response::query_result::QueryResult;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::waiting::until_there;

/// The connection to the database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScyllaConfig {
    /// Contact points as `host:port`.
    #[schemars(length(min = 1))]
    pub nodes: Vec<String>,
    /// The keyspace of all tables: lower-case letters, digits, underscore; at most 48.
    pub keyspace: String,
    /// The user; empty when the cluster asks for no password.
    pub username: String,
    /// The password that goes with the user name.
    pub password: Secret,
    /// A file that holds the password instead, read for each connection; both set is an error.
    pub password_file: String,
    /// Whether all connections are encrypted ([TLS and passwords](production.md#tls-and-passwords)).
    pub tls: bool,
    /// Certificates of the authorities of the nodes, PEM; required by `tls`.
    pub tls_ca_file: String,
    /// The certificate of this process and those up to its authority, PEM; empty: it shows none.
    pub tls_cert_file: String,
    /// The private key of that certificate, PEM; both or neither.
    pub tls_key_file: String,
    /// Connections to each shard of each node. One carries many requests at a time.
    #[schemars(range(min = 1, max = 32))]
    pub connections_per_shard: NonZeroUsize,
    /// Whether each shard is reached through the port that leads to the shard one asks for. Without it the driver
    /// connects until every shard has come up by chance: for networks that change the port a connection comes from.
    pub shard_aware_port: bool,
    /// How requests and answers are compressed on their way.
    pub compression: FrameCompression,
    /// How long one connection may take to be made; connecting in all may take this and `request_timeout_ms`,
    /// for each of the `nodes`.
    #[schemars(range(min = 1))]
    pub connect_timeout_ms: u64,
    /// How long a connection may be quiet until it is asked whether anybody is there.
    #[schemars(range(min = 1))]
    pub keepalive_interval_ms: u64,
    /// How long the answer to that may take until the connection is given up, with all requests on it. A node that
    /// hangs holds up nobody for longer than this and `keepalive_interval_ms`.
    #[schemars(range(min = 1))]
    pub keepalive_timeout_ms: u64,
    /// How long one request may take before its outcome counts as unknown, where nothing shorter applies.
    #[schemars(range(min = 1))]
    pub request_timeout_ms: u64,
    /// For reads, writes, and the commit of a lightweight transaction.
    pub consistency: ReadWriteConsistency,
    /// For the decision of a lightweight transaction.
    pub serial_consistency: DecisionConsistency,
    /// The data centre of this process, in which every process that writes or reads must be; required by the
    /// `local_` levels, else empty.
    pub datacenter: String,
    /// Bound of the first pause between attempts to connect and looks for the schema; doubles.
    #[schemars(range(min = 1))]
    pub retry_initial_ms: u64,
    /// Bound of every such pause.
    #[schemars(range(min = 1))]
    pub retry_max_ms: u64,
}

/// How many replicas must have seen a read or a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadWriteConsistency {
    /// A majority of all replicas.
    Quorum,
    /// A majority within the data centre.
    LocalQuorum,
}

/// Among which replicas a lightweight transaction is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionConsistency {
    /// All replicas.
    Serial,
    /// Those of the data centre.
    LocalSerial,
}

/// How what goes over a connection is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrameCompression {
    /// It is not: for networks that have room, and processors that have not.
    None,
    /// By LZ4, which is fast.
    Lz4,
    /// By Snappy.
    Snappy,
}

impl ScyllaConfig {
    /// The built-in defaults with another contact point, for tools and tests.
    pub fn at(node: impl Into<String>) -> Self {
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct Common {
            scylla: ScyllaConfig,
        }
        impl Configuration for Common {}
        let defaults = runtime::config::load::<Common>("common", "", &Sources::default());
        let Common { scylla } = defaults.expect("the built-in defaults are good").config;
        Self { nodes: vec![node.into()], ..scylla }
    }

    /// Pauses between attempts to reach the database.
    pub fn backoff(&self) -> BackoffConfig {
        BackoffConfig { initial_ms: self.retry_initial_ms, max_ms: self.retry_max_ms }
    }

    /// Errs when values make no sense or contradict each other.
    pub fn check(&self) -> Result<(), BadValue> {
        are_addresses("nodes", &self.nodes)?;
        let letters = |name: &str| {
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if !self.keyspace.starts_with(|c: char| c.is_ascii_lowercase())
            || !letters(&self.keyspace)
            || self.keyspace.len() > 48
        {
            let reason =
                format!("{:?} is not a lower-case name of at most 48 letters", self.keyspace);
            return Err(BadValue::new("keyspace", reason));
        }
        let local = self.consistency == ReadWriteConsistency::LocalQuorum;
        if local != (self.serial_consistency == DecisionConsistency::LocalSerial) {
            let reason = "must be local if scylla.serial_consistency is, and not otherwise";
            return Err(BadValue::new("consistency", reason));
        }
        if local && self.datacenter.is_empty() {
            let reason = "must be named where scylla.consistency is \"local_quorum\"";
            return Err(BadValue::new("datacenter", reason));
        }
        check_credentials("scylla", &self.username, &self.password, &self.password_file)?;
        check_tls("scylla", self.tls, self.tls_files())
    }

    /// Errs when no process could start with these values, or with the files that they name.
    pub fn usable(&self) -> Result<(), BadValue> {
        self.check()?;
        check_password_file(&self.password_file)?;
        check_tls_files(self.tls_files())
    }

    fn tls_files(&self) -> [&str; 3] {
        [&self.tls_ca_file, &self.tls_cert_file, &self.tls_key_file]
    }

    /// Connects once, without a keyspace. No client timestamps, no speculative execution: a second
    /// copy of a request would make outcomes unknown that are not. Errs also when a file that the
    /// configuration names cannot be used, with its key.
    pub async fn connect(&self) -> anyhow::Result<Session> {
        self.check().map_err(within)?;
        let mut balancing = DefaultPolicy::builder().token_aware(true);
        if !self.datacenter.is_empty() {
            balancing = balancing.prefer_datacenter(self.datacenter.clone());
        }
        let profile = ExecutionProfile::builder()
            .consistency(match self.consistency {
                ReadWriteConsistency::Quorum => Consistency::Quorum,
                ReadWriteConsistency::LocalQuorum => Consistency::LocalQuorum,
            })
            .serial_consistency(Some(match self.serial_consistency {
                DecisionConsistency::Serial => SerialConsistency::Serial,
                DecisionConsistency::LocalSerial => SerialConsistency::LocalSerial,
            }))
            .request_timeout(Some(Duration::from_millis(self.request_timeout_ms)))
            .load_balancing_policy(balancing.build())
            .speculative_execution_policy(None)
            .build();
        let mut builder =
            self.connections().default_execution_profile_handle(profile.into_handle());
        if let Some(credentials) = credentials::of(self).map_err(misfit)? {
            builder = builder.authenticator_provider(credentials);
        }
        if self.tls {
            builder = builder.tls_context(Some(tls::client_config(self).map_err(misfit)?));
        }
        let session = match timeout(self.patience(), builder.build()).await {
            Ok(built) => built.map_err(|error| refusal::explained(self, error))?,
            Err(_) => bail!(
                "no node of scylla.nodes let this process in within {} ms; scylla.tls may be wrong",
                self.patience().as_millis()
            ),
        };
        self.check_datacenter(&session)?;
        Ok(session)
    }

    /// How connections are made, but for who may make them.
    fn connections(&self) -> SessionBuilder {
        SessionBuilder::new()
            .known_nodes(&self.nodes)
            .connection_timeout(Duration::from_millis(self.connect_timeout_ms))
            .keepalive_interval(Duration::from_millis(self.keepalive_interval_ms))
            .keepalive_timeout(Duration::from_millis(self.keepalive_timeout_ms))
            .pool_size(PoolSize::PerShard(self.connections_per_shard))
            .disallow_shard_aware_port(!self.shard_aware_port)
            .compression(match self.compression {
                FrameCompression::None => None,
                FrameCompression::Lz4 => Some(Compression::Lz4),
                FrameCompression::Snappy => Some(Compression::Snappy),
            })
    }

    /// How long connecting may take in all. The driver bounds only the making of a socket: a node that
    /// never ends the TLS handshake, or never answers STARTUP, would be waited for without end.
    fn patience(&self) -> Duration {
        let nodes = self.nodes.len().try_into().unwrap_or(u32::MAX);
        let each = self.connect_timeout_ms.saturating_add(self.request_timeout_ms);
        Duration::from_millis(each).saturating_mul(nodes)
    }

    fn check_datacenter(&self, session: &Session) -> anyhow::Result<()> {
        let cluster = session.get_cluster_state();
        let present = |node: &Arc<scylla::cluster::Node>| {
            node.datacenter.as_deref() == Some(self.datacenter.as_str())
        };
        if !self.datacenter.is_empty() && !cluster.get_nodes_info().iter().any(present) {
            return Err(Misfit(format!(
                "scylla.datacenter {:?} is not a data centre of this cluster",
                self.datacenter
            ))
            .into());
        }
        Ok(())
    }
}

/// The consistency with which a read sees every lightweight transaction that was decided. It is for
/// reads of one partition.
pub fn serial_read(session: &Session) -> Consistency {
    let profile = session.get_default_execution_profile_handle().to_profile();
    match profile.get_serial_consistency() {
        Some(SerialConsistency::LocalSerial) => Consistency::LocalSerial,
        Some(SerialConsistency::Serial) | None => Consistency::Serial,
    }
}

/// The consistency of reads of `system_distributed`, which is replicated three times whatever the size: a node that is alone has
/// one copy, and of three that there should be that is no quorum.
pub fn distributed_read(session: &Session) -> Consistency {
    let nodes = session.get_cluster_state().get_nodes_info().len();
    if nodes > 1 { Consistency::Quorum } else { Consistency::One }
}

/// Whether a lightweight transaction was applied: the first column of its answer. The columns after
/// it depend on the statement and are not decoded.
pub fn was_applied(answer: QueryResult) -> Result<bool, LwtAnswerError> {
    let rows = answer.into_rows_result().map_err(|error| LwtAnswerError(error.to_string()))?;
    let row: Row = rows.first_row().map_err(|error| LwtAnswerError(error.to_string()))?;
    match row.columns.first() {
        Some(Some(CqlValue::Boolean(applied))) => Ok(*applied),
        other => Err(LwtAnswerError(format!("it begins with {other:?}"))),
    }
}

/// The database answered something that is not the answer of a lightweight transaction.
#[derive(Debug, thiserror::Error)]
#[error("not the answer of a lightweight transaction: {0}")]
pub struct LwtAnswerError(String);

/// The configuration does not fit the cluster or the files that it names; trying again does not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misfit(String);

fn within(bad: BadValue) -> BadValue {
    bad.within("scylla")
}

fn misfit(error: anyhow::Error) -> anyhow::Error {
    Misfit(chain(error.as_ref()).to_string()).into()
}

/// Connects and uses the keyspace; tries until both are there.
pub(crate) async fn connect_when_up(
    config: &ScyllaConfig,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<Arc<Session>> {
    config.check().map_err(within)?;
    let nodes = config.nodes.join(",");
    readiness.set("database", false, format!("connecting to {nodes}"));
    let mut backoff = Backoff::new(config.backoff());
    let session = loop {
        let attempt = tokio::select! {
            () = shutdown.cancelled() => return Err(stopped("the database")),
            attempt = config.connect() => attempt,
        };
        match attempt {
            Ok(session) => break session,
            Err(error) if error.is::<Misfit>() => return Err(error),
            Err(error) => {
                warn!(nodes, error = %chain(error.as_ref()), "waiting for the database");
                readiness.set("database", false, format!("connecting to {nodes}: {error}"));
                if !backoff.pause(shutdown).await {
                    return Err(stopped("the database"));
                }
            }
        }
    };
    info!(nodes, "database connected");
    use_keyspace_when_there(config, &session, readiness, shutdown).await?;
    readiness.set("database", true, "connected");
    Ok(Arc::new(session))
}

async fn use_keyspace_when_there(
    config: &ScyllaConfig,
    session: &Session,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let keyspace = &config.keyspace;
    let look = async || match use_keyspace(session, keyspace).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("keyspace {keyspace} does not exist, `esctl migrate` creates it")),
        Err(error) => Err(format!("keyspace {keyspace} cannot be used: {}", chain(error.as_ref()))),
    };
    let backoff = Backoff::new(config.backoff());
    until_there("the keyspace", "database", look, backoff, readiness, shutdown).await
}

/// Uses `keyspace` from now on, also on connections that are made later. False when it does not
/// exist; `USE` is not tried then, because the driver would remember the name and stumble over it.
pub async fn use_keyspace(session: &Session, keyspace: &str) -> anyhow::Result<bool> {
    const EXISTS: &str =
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let found = session
        .query_unpaged(EXISTS, (keyspace,))
        .await
        .context("look for the keyspace")?
        .into_rows_result()?;
    if found.rows_num() == 0 {
        return Ok(false);
    }
    session.use_keyspace(keyspace, false).await.context("use the keyspace")?;
    // Routing needs the replication of a keyspace that may be newer than the session.
    session.refresh_metadata().await.context("read the cluster's metadata")?;
    Ok(true)
}

pub(crate) fn stopped(awaited: &str) -> anyhow::Error {
    Stopped { awaited: awaited.to_owned() }.into()
}

#[cfg(test)]
mod tests;
