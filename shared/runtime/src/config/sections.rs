//! The sections that every process has, and the type for values that nobody may see.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing_subscriber::EnvFilter;

use super::security::check_certificate;
use super::{BadValue, check_files};
use crate::supervisor::Supervision;

/// The shell's part of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shell {
    /// The port for probes and metrics: `/livez`, `/readyz`, `/startupz`, `/metrics`.
    pub admin: Admin,
    /// What is logged, and how.
    pub log: Log,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What happens to children that fall.
    pub supervision: Supervision,
    /// How readiness is kept true.
    pub health: Health,
}

impl Shell {
    /// Errs when the log's filter cannot be read, or the certificate of the admin port.
    pub(super) fn check(&self) -> Result<(), BadValue> {
        self.admin.check().map_err(|bad| bad.within("admin"))?;
        let filter = EnvFilter::try_new(&self.log.filter);
        filter.map(drop).map_err(|error| BadValue::new("log.filter", error.to_string()))
    }
}

/// `[admin]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address to listen on; port 0 takes a free one. The alias takes a port alone.
    pub listen: SocketAddr,
    /// The certificate of this process and those up to its authority, PEM; empty: it speaks plainly.
    pub tls_cert_file: String,
    /// The private key of that certificate, PEM.
    pub tls_key_file: String,
    /// Connections of probes and scrapers; beyond it the one that has waited longest for its client is
    /// closed.
    pub connections_max: NonZeroU32,
    /// How long a client may take to send a request, leave its connection idle, or take an answer in.
    pub client_timeout_ms: NonZeroU64,
}

impl Admin {
    fn check(&self) -> Result<(), BadValue> {
        check_certificate("admin", &self.tls_cert_file, &self.tls_key_file)?;
        check_files(&[("tls_cert_file", &self.tls_cert_file), ("tls_key_file", &self.tls_key_file)])
    }

    #[cfg(test)]
    pub(crate) fn on_a_free_port() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_cert_file: String::new(),
            tls_key_file: String::new(),
            connections_max: NonZeroU32::MIN,
            client_timeout_ms: NonZeroU64::MAX,
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// For people or for machines; both to stderr.
    pub format: LogFormat,
    /// What is logged, as directives of `RUST_LOG`.
    pub filter: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[shutdown]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long workers may take to finish after the signal.
    pub grace_ms: u64,
}

impl Shutdown {
    /// The grace period.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// `[health]`
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// How often `/readyz` looks whether the database answers and has the schema, by one query.
    pub interval_ms: NonZeroU64,
    /// How long such a look may take.
    pub timeout_ms: NonZeroU64,
    /// How long the database may give no answer until `/readyz` says so: one node that is lost is no outage.
    pub outage_ms: NonZeroU64,
}

/// A value that is neither logged nor printed. Serialized it is a row of stars.
#[derive(Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(transparent, extend("writeOnly" = true))]
pub struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual error would show what is there instead of a text.
        let text = String::deserialize(deserializer);
        text.map(Self).map_err(|_| D::Error::custom("invalid type, expected a string"))
    }
}

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// What a file holds, without the end of its line. Errs with the `key` that names the file.
    pub fn read(key: &str, path: &str) -> Result<Self, BadValue> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| BadValue::new(key, format!("cannot read {path}: {error}")))?;
        let value = text.trim_end();
        if value.is_empty() {
            return Err(BadValue::new(key, format!("{path} is empty")));
        }
        Ok(Self::new(value))
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn masked(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "********" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.masked())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.masked())
    }
}
