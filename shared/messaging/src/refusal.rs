//! Why the broker did not let this process in, in terms of the configuration.
//!
//! librdkafka tells in a line of text what went wrong on the wire. A person needs to know which key to look at.
//! Of a certificate that did not pass, it does not tell why: it is looked at again.

use crate::connection::KafkaConfig;
use runtime::tls::CertificateFault;
use std::time::Duration;

/// The key to look at, where one can be named. `said` is a line such as
/// `sasl_ssl://kafka-1:9093/bootstrap: SSL handshake failed: … (after 3ms in state SSL_HANDSHAKE)`.
pub(crate) fn advice(config: &KafkaConfig, said: &str, patience: Duration) -> Option<&'static str> {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["certificate verify failed"]) {
        return Some(of_certificate(config, said, patience));
    }
    // An alert of the other side.
    if config.tls && has(&["alert"]) {
        return Some(of_alert(config, said));
    }
    if has(&["mechanism handshake failed", "Unsupported SASL mechanism"]) {
        return Some("the broker does not offer kafka.sasl_mechanism");
    }
    if has(&["SASL authentication error", "SASL authentication failure"]) {
        return Some(
            "the broker refuses kafka.username with the password of kafka.password or \
             kafka.password_file",
        );
    }
    if has(&["wrong version number", "unexpected message"]) {
        return Some("the broker does not speak TLS there: kafka.tls");
    }
    if has(&["Failed to resolve"]) {
        return Some("a name of kafka.brokers, or one that the broker gives, is not known");
    }
    has(&["isconnected", "Connection reset", "Receive failed"]).then(|| hung_up(config))
}

fn of_certificate(config: &KafkaConfig, said: &str, patience: Duration) -> &'static str {
    let address = said.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    let fault = address.and_then(|at| CertificateFault::at(at, &config.tls_ca_file, patience));
    match fault {
        Some(CertificateFault::OtherName) => {
            "the certificate of the broker is not for the name or address by which it is reached: \
             kafka.brokers, or the broker's advertised.listeners"
        }
        Some(CertificateFault::NotNow) => {
            "the certificate of the broker, or one in kafka.tls_ca_file, is not valid at this time"
        }
        Some(CertificateFault::OtherAuthority) => {
            "the certificate of the broker is of no authority in kafka.tls_ca_file"
        }
        // Another broker answers there now, or two libraries disagree.
        None => "the certificate of the broker does not pass with kafka.tls_ca_file",
    }
}

fn of_alert(config: &KafkaConfig, said: &str) -> &'static str {
    let of_certificate = ["certificate", "unknown ca", "handshake failure", "access denied"];
    match (of_certificate.iter().any(|word| said.contains(word)), config.tls_cert_file.is_empty()) {
        (true, true) => "the broker demands a certificate: kafka.tls_cert_file",
        (true, false) => "the broker refuses the certificate in kafka.tls_cert_file",
        (false, _) => hung_up(config),
    }
}

/// Nothing is known but that the broker did not go on.
fn hung_up(config: &KafkaConfig) -> &'static str {
    match (config.tls, config.tls_cert_file.is_empty(), config.username.is_empty()) {
        (false, _, true) => {
            "the broker hung up; it may speak only TLS (kafka.tls), or demand a password \
             (kafka.username)"
        }
        (false, _, false) => "the broker hung up; it may speak only TLS: kafka.tls",
        (true, true, _) => {
            "the broker hung up; it may not speak TLS there (kafka.tls), or demand a certificate \
             (kafka.tls_cert_file) or a password (kafka.username)"
        }
        (true, false, _) => {
            "the broker hung up; it may not speak TLS there (kafka.tls), refuse the certificate in \
             kafka.tls_cert_file, or demand a password (kafka.username)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said, and the key that is named for it, without a broker to ask.
    fn check(adjust: impl FnOnce(&mut KafkaConfig), said: &str, named: Option<&str>) {
        let mut config = KafkaConfig::open(vec!["kafka-1:9093".to_owned()]);
        adjust(&mut config);
        let advice = advice(&config, said, Duration::ZERO);
        let is_named = named.is_none_or(|named| advice.is_some_and(|says| says.contains(named)));
        assert!(is_named && advice.is_some() == named.is_some(), "{said}: {advice:?}");
    }

    #[test]
    fn what_librdkafka_says_leads_to_a_key() {
        let encrypted = |config: &mut KafkaConfig| config.tls = true;
        let certified = |config: &mut KafkaConfig| {
            (config.tls, config.tls_cert_file) = (true, "/tls.crt".into());
        };
        let known = |config: &mut KafkaConfig| config.username = "ann".into();
        // Nobody is there to show the certificate again.
        let verify = "ssl://127.0.0.1:1/bootstrap: SSL handshake failed: error:0A000086:SSL \
                      routines::certificate verify failed: broker certificate could not be verified";
        check(encrypted, verify, Some("kafka.tls_ca_file"));
        let alert =
            "ssl://k:1/bootstrap: Receive failed: SSL routines::tlsv13 alert certificate required";
        check(encrypted, alert, Some("demands a certificate: kafka.tls_cert_file"));
        check(certified, alert, Some("refuses the certificate in kafka.tls_cert_file"));
        let wrong = "sasl_ssl://k:1/bootstrap: SASL authentication error: Authentication failed \
                     during authentication due to invalid credentials";
        check(known, wrong, Some("kafka.password_file"));
        let mechanism = "sasl_plaintext://k:1/bootstrap: SASL PLAIN mechanism handshake failed: \
                         Broker: Unsupported SASL mechanism";
        check(known, mechanism, Some("kafka.sasl_mechanism"));
        let plain = "k:1/bootstrap: Disconnected: requesting ApiVersion: might be caused by incorrect \
                     security.protocol configuration";
        check(|_| {}, plain, Some("kafka.tls"));
        check(known, plain, Some("kafka.tls"));
        check(encrypted, "ssl://k:1/1: SSL handshake failed: Disconnected", Some("kafka.tls"));
        check(
            |_| {},
            "k:1/1: Failed to resolve 'k:1': Name or service not known",
            Some("kafka.brokers"),
        );
        // Nothing to look at in the configuration.
        check(|_| {}, "k:1/1: Connect to ipv4#127.0.0.1:1 failed: Connection refused", None);
    }
}
