//! What the HTTP port of an API takes from the configuration.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use runtime::config::{BadValue, check_files, check_port_files};
use runtime::port::{HEADER_BYTES_MIN, PortConfig, at_most_a_day};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::principals::PrincipalsConfig;

/// The section of the configuration that this is.
pub(crate) const SECTION: &str = "http";

/// The HTTP port and what its requests may cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate of this process and those up to its authority, PEM; empty: it speaks plainly.
    pub tls_cert_file: String,
    /// The private key of that certificate, PEM.
    pub tls_key_file: String,
    /// The authorities of clients, PEM, of which each then has to show a certificate; empty: none has to.
    pub client_ca_file: String,
    /// How long a client may take for the handshake of TLS.
    pub handshake_timeout_ms: NonZeroU64,
    /// Connections served at once, fewer where there are too few file descriptors (the soft limit is raised to
    /// the hard one at start); beyond it the one that has waited longest for its client is closed to make
    /// room, and while all are worked on new ones wait to be accepted.
    pub connections_max: NonZeroU32,
    /// How long a connection may wait for its client at least before it is closed to make room; newcomers wait
    /// for that to be accepted.
    pub connection_ms_min: u64,
    /// How long a client may take to send a request's header, or leave a connection idle.
    pub header_timeout_ms: NonZeroU64,
    /// How long a client may take to take an answer in.
    pub answer_timeout_ms: NonZeroU64,
    /// How long a client may take for either while the process ends.
    pub drain_timeout_ms: NonZeroU64,
    /// The largest header of a request; then 431.
    #[schemars(range(min = HEADER_BYTES_MIN))]
    pub header_bytes_max: NonZeroU32,
    /// Requests worked on at once, at most; it begins with four times `requests_min` and follows
    /// `target_ms`.
    pub requests_max: NonZeroU32,
    /// Requests worked on at once, at least.
    pub requests_min: NonZeroU32,
    /// While requests wait and even the fastest one at work takes longer than this, fewer are worked
    /// on at once; while it takes less than half of it, more.
    pub target_ms: NonZeroU64,
    /// How often it is looked at how many requests are worked on at once.
    pub adapt_ms: NonZeroU64,
    /// Requests that wait to be worked on; then 429.
    pub queue_max: u32,
    /// How long a request may wait to be worked on; then 503.
    pub queue_ms_max: u64,
    /// How long a request may wait for its answer, from its header on; a client may ask for less with
    /// `Prefer: wait=<seconds>`.
    pub request_timeout_ms: NonZeroU64,
    /// On whose behalf requests come.
    pub principals: PrincipalsConfig,
}

impl HttpConfig {
    /// Bounds for tools and tests.
    #[must_use]
    pub fn at(listen: SocketAddr) -> Self {
        let count = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let time = |ms| NonZeroU64::new(ms).unwrap_or(NonZeroU64::MIN);
        Self {
            listen,
            tls_cert_file: String::new(),
            tls_key_file: String::new(),
            client_ca_file: String::new(),
            handshake_timeout_ms: time(5_000),
            connections_max: count(64),
            connection_ms_min: 20,
            header_timeout_ms: time(5_000),
            answer_timeout_ms: time(5_000),
            drain_timeout_ms: time(1_000),
            header_bytes_max: count(64 * 1024),
            requests_max: count(64),
            requests_min: count(8),
            target_ms: time(100),
            adapt_ms: time(500),
            queue_max: 64,
            queue_ms_max: 250,
            request_timeout_ms: time(5_000),
            principals: PrincipalsConfig::generous(),
        }
    }

    /// Errs when keys contradict each other.
    pub fn check(&self) -> Result<(), BadValue> {
        if self.requests_min > self.requests_max {
            return Err(BadValue::new("requests_min", "must not be above requests_max"));
        }
        let files = [&self.tls_cert_file, &self.tls_key_file, &self.client_ca_file];
        check_port_files(SECTION, files.map(String::as_str))
    }

    /// Errs when no port could be opened with these values, or with the files that they name.
    pub fn usable(&self) -> Result<(), BadValue> {
        self.check()?;
        check_files(&self.tls_files())
    }

    fn tls_files(&self) -> [(&'static str, &str); 3] {
        [
            ("tls_cert_file", &self.tls_cert_file),
            ("tls_key_file", &self.tls_key_file),
            ("client_ca_file", &self.client_ca_file),
        ]
    }

    /// How long a request may wait for its answer.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        at_most_a_day(self.request_timeout_ms)
    }

    /// What its connections may cost.
    pub(crate) fn port(self) -> PortConfig {
        PortConfig {
            section: SECTION,
            listen: self.listen,
            tls_cert_file: self.tls_cert_file,
            tls_key_file: self.tls_key_file,
            client_ca_file: self.client_ca_file,
            handshake_timeout: at_most_a_day(self.handshake_timeout_ms),
            connections_max: self.connections_max,
            connection_time_min: Duration::from_millis(self.connection_ms_min),
            header_timeout: at_most_a_day(self.header_timeout_ms),
            answer_timeout: at_most_a_day(self.answer_timeout_ms),
            drain_timeout: at_most_a_day(self.drain_timeout_ms),
            header_bytes_max: self.header_bytes_max,
        }
    }
}
