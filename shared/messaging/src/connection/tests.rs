//! Configurations of which no client can be made. Who is let in and who is not, tests/it/kafka asks a real broker.

use super::*;
use crate::producer::Publisher;
use rdkafka::producer::FutureProducer;
use std::time::Duration;

fn client(config: &KafkaConfig) -> Result<FutureProducer<BrokerContext>, KafkaConfigError> {
    config.client(BrokerContext::new(config), |_| {})
}

fn config() -> KafkaConfig {
    // Nobody is asked: a client connects in the background.
    KafkaConfig::open(vec!["127.0.0.1:1".to_owned()])
}

/// Expects that no client is made, for a reason that names `key` and shows no secret.
#[track_caller]
fn check_refused(adjust: impl FnOnce(&mut KafkaConfig), key: &str) {
    let mut config = config();
    adjust(&mut config);
    let error = client(&config).map(drop).expect_err(key);
    assert!(error.to_string().contains(key), "{key:?} is not named in {error}");
    let shown = serde_json::to_string(&config).expect("printable");
    let all = format!("{error} {error:?} {config:?} {shown}");
    assert!(!all.contains("canary"), "{all}");
}

#[tokio::test]
async fn keys_that_contradict_each_other_are_named() {
    check_refused(|config| config.brokers.clear(), "kafka.brokers");
    check_refused(|config| config.password = Secret::new("canary"), "kafka.password: is set");
    check_refused(|config| config.password_file = "/p".into(), "kafka.password_file: is set");
    let twice = |config: &mut KafkaConfig| {
        config.username = "ann".into();
        (config.password, config.password_file) = (Secret::new("canary"), "/p".into());
    };
    check_refused(twice, "kafka.password_file: is set, and so is kafka.password");
    check_refused(|config| config.tls_ca_file = "/ca".into(), "kafka.tls is false");
    check_refused(|config| config.tls_cert_file = "/cert".into(), "kafka.tls is false");
    check_refused(|config| config.tls = true, "kafka.tls_ca_file");
    let half = |config: &mut KafkaConfig| {
        (config.tls, config.tls_ca_file, config.tls_cert_file) = (true, "/ca".into(), "/c".into());
    };
    check_refused(half, "kafka.tls_key_file: must be named where kafka.tls_cert_file is");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_their_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = |_| rcgen::generate_simple_self_signed(["worker".to_owned()]).expect("a key");
    let [own, other] = [0, 1].map(made);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (cert, key) = (file("crt", &own.cert.pem()), file("key", &own.signing_key.serialize_pem()));
    let encrypted = |config: &mut KafkaConfig| {
        (config.tls, config.tls_ca_file) = (true, cert.clone());
        (config.tls_cert_file, config.tls_key_file) = (cert.clone(), key.clone());
    };
    let mut good = config();
    encrypted(&mut good);
    drop(client(&good).expect("sound files"));

    for bad in [file("garbage", "canary"), "/nowhere".to_owned()] {
        let adjust = |set: fn(&mut KafkaConfig, String)| {
            let bad = bad.clone();
            move |config: &mut KafkaConfig| {
                encrypted(config);
                set(config, bad);
            }
        };
        check_refused(adjust(|config, bad| config.tls_ca_file = bad), "kafka.tls_ca_file");
        check_refused(adjust(|config, bad| config.tls_cert_file = bad), "kafka.tls_cert_file");
        check_refused(adjust(|config, bad| config.tls_key_file = bad), "kafka.tls_key_file");
    }
    let other = file("other", &other.signing_key.serialize_pem());
    let misfit = |config: &mut KafkaConfig| {
        encrypted(config);
        config.tls_key_file = other;
    };
    check_refused(misfit, "kafka.tls_key_file");
    for bad in [file("empty", "\n"), "/nowhere".to_owned()] {
        let named = |config: &mut KafkaConfig| {
            (config.username, config.password_file) = ("ann".into(), bad);
        };
        check_refused(named, "kafka.password_file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_is_made_anew_of_changed_files_and_not_of_bad_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let (new, place) = (folder.path().join("new"), folder.path().join(name));
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &place).expect("renamed");
        place.to_str().expect("UTF-8").to_owned()
    };
    let made = |_| rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("a certificate");
    let authorities = [0, 1].map(made).map(|made| made.cert.pem());
    let mut kafka = config();
    (kafka.tls, kafka.tls_ca_file) = (true, write("ca", &authorities[0]));
    (kafka.username, kafka.password_file) = ("ann".into(), write("password", "canary-1"));
    let sending = serde_json::json!({
        "message_timeout_ms": 1_000, "linger_ms": 0, "queue_messages_max": 10,
    });
    let sending = serde_json::from_value(sending).expect("sound");
    let publisher = Publisher::new(kafka, sending).expect("sound files");
    let generation_after = async |name: &str, text: &str| {
        if !name.is_empty() {
            write(name, text);
        }
        publisher.renew_if_files_changed(Duration::ZERO).await;
        publisher.generation()
    };
    assert_eq!(generation_after("", "").await, 1, "nothing changed");
    assert_eq!(generation_after("ca", &authorities[1]).await, 2);
    assert_eq!(generation_after("password", "canary-2").await, 3);
    assert_eq!(generation_after("ca", "garbage").await, 3, "the last one stays");
    assert_eq!(generation_after("password", "").await, 3, "the last one stays");
    assert_eq!(generation_after("ca", &authorities[0]).await, 3, "there is no password yet");
    assert_eq!(generation_after("password", "canary-3").await, 4);
    assert_eq!(generation_after("", "").await, 4, "nothing changed");
}
