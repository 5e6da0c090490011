//! What is said to those whom a guarded broker does not let in.

use super::{Authority, Guarded, PASSWORD, USER};
use anyhow::ensure;
use harness::binaries;
use messaging::{KafkaConfig, Publisher, PublisherConfig, SaslMechanism, TopicReader};
use serde_json::json;
use std::time::Duration;

/// Long enough for a busy machine; who is let in does not wait for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// For who is not let in; the reason comes much earlier.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

impl Guarded {
    /// One that is let in by its password.
    fn known(&self) -> KafkaConfig {
        KafkaConfig {
            username: USER.into(),
            password_file: self.file("password"),
            tls: true,
            tls_ca_file: self.file("ca.crt"),
            ..KafkaConfig::open(vec![self.kafka.secure()])
        }
    }

    /// One that is let in by its certificate.
    fn certified(&self) -> KafkaConfig {
        KafkaConfig {
            tls: true,
            tls_ca_file: self.file("ca.crt"),
            tls_cert_file: self.file("client.crt"),
            tls_key_file: self.file("client.key"),
            ..KafkaConfig::open(vec![self.kafka.mutual()])
        }
    }
}

fn publisher(kafka: KafkaConfig) -> Publisher {
    let config = json!({"message_timeout_ms": 10_000, "linger_ms": 0, "queue_messages_max": 100});
    let config: PublisherConfig = serde_json::from_value(config).expect("a sound configuration");
    Publisher::new(kafka, config).expect("a publisher")
}

/// What a publisher is told, if it is not let in.
async fn told(kafka: KafkaConfig, within: Duration) -> Option<String> {
    let publisher = publisher(kafka);
    let reached = tokio::task::spawn_blocking(move || publisher.reach(within)).await;
    reached.expect("no panic").err().map(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka, which tests/kafka/fetch brings; .ci/run runs it"]
async fn who_is_refused_by_a_real_broker_is_told_which_key_to_look_at() -> anyhow::Result<()> {
    let guarded = Guarded::prepare().await?;
    let _broker = guarded.kafka.start().await?;
    let others = Authority::new("others");
    guarded.folder.authority("others.crt", &others);
    guarded.folder.identity("foreign", &others.issue(&["worker"]));
    guarded.folder.identity("expired", &guarded.authority.issue_expired(&["worker"]));
    guarded.folder.write("wrong", "canary-wrong");

    let (known, certified) = (guarded.known(), guarded.certified());
    let plain = KafkaConfig::open(vec![guarded.kafka.plain()]);
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512]
    {
        let config = KafkaConfig { sasl_mechanism: mechanism, ..known.clone() };
        ensure!(told(config, PATIENCE).await.is_none(), "{mechanism:?} is not let in");
    }
    let here = KafkaConfig {
        password: serde_json::from_value(json!(PASSWORD))?,
        password_file: String::new(),
        ..known.clone()
    };
    let unencrypted = KafkaConfig {
        brokers: vec![guarded.kafka.unencrypted()],
        tls: false,
        tls_ca_file: String::new(),
        ..known.clone()
    };
    for config in [here, unencrypted.clone(), certified.clone(), plain.clone()] {
        let refused = told(config.clone(), PATIENCE).await;
        ensure!(refused.is_none(), "{config:?}: {refused:?}");
    }

    let of =
        |name: &str| [guarded.file(&format!("{name}.crt")), guarded.file(&format!("{name}.key"))];
    let showing = |[cert, key]: [String; 2]| KafkaConfig {
        tls_cert_file: cert,
        tls_key_file: key,
        ..certified.clone()
    };
    let at = |brokers: String, config: &KafkaConfig| KafkaConfig {
        brokers: vec![brokers],
        ..config.clone()
    };
    let wrong_mechanism =
        KafkaConfig { sasl_mechanism: SaslMechanism::Plain, ..unencrypted.clone() };
    for (config, key) in [
        (
            KafkaConfig { tls_ca_file: guarded.file("others.crt"), ..known.clone() },
            "kafka.tls_ca_file",
        ),
        (
            KafkaConfig { password_file: guarded.file("wrong"), ..known.clone() },
            "kafka.password_file",
        ),
        (KafkaConfig { username: "nobody".into(), ..known.clone() }, "kafka.username"),
        (
            KafkaConfig {
                sasl_mechanism: SaslMechanism::Plain,
                password_file: guarded.file("wrong"),
                ..known.clone()
            },
            "kafka.password_file",
        ),
        (wrong_mechanism, "kafka.sasl_mechanism"),
        (showing([String::new(), String::new()]), "demands a certificate: kafka.tls_cert_file"),
        (showing(of("foreign")), "refuses the certificate in kafka.tls_cert_file"),
        (showing(of("expired")), "refuses the certificate in kafka.tls_cert_file"),
        (at(guarded.kafka.plain(), &certified), "kafka.tls"),
        (at(guarded.kafka.mutual(), &plain), "kafka.tls"),
        (at(guarded.kafka.unencrypted(), &plain), "kafka.username"),
        (at("nowhere.invalid:9092".into(), &plain), "kafka.brokers"),
    ] {
        let said = told(config.clone(), REFUSED_WITHIN).await.unwrap_or_default();
        println!("{said}");
        ensure!(said.contains(key), "{key:?} is not named in {said:?}");
        ensure!(!said.contains("canary"), "{said}");
    }

    // Whoever reads topics is told the same way.
    let others = KafkaConfig { tls_ca_file: guarded.file("others.crt"), ..known };
    let read = move || TopicReader::from_beginning(&others, &["orders.events"], REFUSED_WITHIN);
    let error = tokio::task::spawn_blocking(read).await?.map(drop).expect_err("refused");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    ensure!(cause.contains("kafka.tls_ca_file"), "{error}: {cause}");
    Ok(())
}

/// As a person sees it: at once, by exit code and the key.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_end_a_process_at_once() -> anyhow::Result<()> {
    for program in ["outbox-relay", "dlq-retrier"] {
        let output = binaries()
            .await?
            .command(program)
            .env("APP__ADMIN__LISTEN", "127.0.0.1:0")
            .env("APP__KAFKA__TLS", "true")
            .env("APP__KAFKA__TLS_CA_FILE", "/nowhere")
            .kill_on_drop(true)
            .output()
            .await?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(64), "{:?}: {said}", output.status);
        ensure!(said.contains("kafka.tls_ca_file"), "{said}");
    }
    Ok(())
}
