//! `[kafka]`: where the broker is, whether the way to it is encrypted, and who we are. The only place that
//! configures a client of librdkafka for it.
//!
//! librdkafka reads files when a client is made, and never again: who lives long makes a new client when
//! they change ([`KafkaConfig::stamps`]). Secrets stay in [`Secret`] until they are handed over.

use crate::broker_context::BrokerContext;
use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use reloaded::Stamps;
use runtime::Secret;
use runtime::config::{
    BadValue, are_addresses, check_credentials, check_password_file, check_tls, check_tls_files,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to reach the broker.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of one or more brokers; they name the others.
    #[schemars(length(min = 1))]
    pub brokers: Vec<String>,
    /// Empty when the broker asks for no password.
    pub username: String,
    /// The password that goes with the user name.
    pub password: Secret,
    /// A file that holds the password instead; empty: none.
    pub password_file: String,
    /// How the password is shown to be known.
    pub sasl_mechanism: SaslMechanism,
    /// Whether all connections are encrypted.
    pub tls: bool,
    /// Certificates of the authorities of the brokers, PEM; required by `tls`.
    pub tls_ca_file: String,
    /// The certificate of this process and those up to its authority, PEM; empty: it shows none.
    pub tls_cert_file: String,
    /// The private key of that certificate, PEM.
    pub tls_key_file: String,
}

/// How a password is shown to be known. The names are those of Kafka.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// By saying it.
    #[serde(rename = "PLAIN")]
    Plain,
    /// By a proof that does not give it away.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with a longer hash.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// No client can be made of `[kafka]`: keys contradict each other, or a file cannot be used. Says which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KafkaConfigError(String);

impl From<BadValue> for KafkaConfigError {
    fn from(bad: BadValue) -> Self {
        Self(bad.within("kafka").to_string())
    }
}

impl KafkaConfig {
    /// Brokers that let everybody in, unencrypted: for tools and tests.
    pub fn open(brokers: Vec<String>) -> Self {
        Self {
            brokers,
            username: String::new(),
            password: Secret::default(),
            password_file: String::new(),
            sasl_mechanism: SaslMechanism::default(),
            tls: false,
            tls_ca_file: String::new(),
            tls_cert_file: String::new(),
            tls_key_file: String::new(),
        }
    }

    /// Errs when values make no sense or contradict each other.
    fn check(&self) -> Result<(), BadValue> {
        if self.brokers.is_empty() {
            return Err(BadValue::new("brokers", "is empty"));
        }
        are_addresses("brokers", &self.brokers)?;
        check_credentials("kafka", &self.username, &self.password, &self.password_file)?;
        check_tls("kafka", self.tls, self.tls_files())
    }

    /// Errs when no client could be made of these values, or of the files that they name.
    pub fn usable(&self) -> Result<(), BadValue> {
        self.check()?;
        check_password_file(&self.password_file)?;
        check_tls_files(self.tls_files())
    }

    fn tls_files(&self) -> [&str; 3] {
        [&self.tls_ca_file, &self.tls_cert_file, &self.tls_key_file]
    }

    /// By which it is told whether a client of now would be another one than a client of then. Take them
    /// before the client is made.
    pub(crate) fn stamps(&self) -> Stamps {
        Stamps::of(&[
            &self.password_file,
            &self.tls_ca_file,
            &self.tls_cert_file,
            &self.tls_key_file,
        ])
    }

    /// A client that is told more by `adjust`. It connects in the background.
    pub(crate) fn client<C>(
        &self,
        context: BrokerContext,
        adjust: impl FnOnce(&mut ClientConfig),
    ) -> Result<C, KafkaConfigError>
    where
        C: FromClientConfigAndContext<BrokerContext>,
    {
        self.check()?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("security.protocol", self.protocol())
            // The lines that say why a connection ended are needed whatever is logged.
            .set_log_level(RDKafkaLogLevel::Info);
        self.encrypt(&mut config);
        self.authenticate(&mut config)?;
        adjust(&mut config);
        C::from_config_and_context(&config, context).map_err(|error| self.unusable(&error))
    }

    fn protocol(&self) -> &'static str {
        match (self.tls, self.username.is_empty()) {
            (false, true) => "plaintext",
            (false, false) => "sasl_plaintext",
            (true, true) => "ssl",
            (true, false) => "sasl_ssl",
        }
    }

    fn encrypt(&self, config: &mut ClientConfig) {
        if !self.tls {
            return;
        }
        config
            .set("ssl.ca.location", &self.tls_ca_file)
            // What is the default, and must not be left to it.
            .set("enable.ssl.certificate.verification", "true")
            .set("ssl.endpoint.identification.algorithm", "https");
        if !self.tls_cert_file.is_empty() {
            config
                .set("ssl.certificate.location", &self.tls_cert_file)
                .set("ssl.key.location", &self.tls_key_file);
        }
    }

    fn authenticate(&self, config: &mut ClientConfig) -> Result<(), BadValue> {
        if self.username.is_empty() {
            return Ok(());
        }
        let password = if self.password_file.is_empty() {
            self.password.clone()
        } else {
            Secret::read("password_file", &self.password_file)?
        };
        config
            .set("sasl.mechanism", self.sasl_mechanism.name())
            .set("sasl.username", &self.username)
            .set("sasl.password", password.expose());
        Ok(())
    }

    /// librdkafka names its own keys, a person knows ours.
    fn unusable(&self, error: &KafkaError) -> KafkaConfigError {
        let KafkaError::ClientCreation(said) = error else {
            return KafkaConfigError(error.to_string());
        };
        let (ca, cert, key) = (&self.tls_ca_file, &self.tls_cert_file, &self.tls_key_file);
        let subject = if said.starts_with("ssl.ca.location failed") {
            format!("kafka.tls_ca_file {ca} cannot be used: ")
        } else if said.starts_with("ssl.certificate.location failed") {
            format!("kafka.tls_cert_file {cert} cannot be used: ")
        } else if said.starts_with("ssl.key.location failed") {
            format!(
                "kafka.tls_key_file {key} cannot be used, or does not fit kafka.tls_cert_file: "
            )
        } else if said.starts_with("Private key check failed") {
            format!("kafka.tls_cert_file {cert} and kafka.tls_key_file {key} do not fit: ")
        } else {
            String::new()
        };
        KafkaConfigError(format!("{subject}{said}"))
    }
}

#[cfg(test)]
mod tests;
