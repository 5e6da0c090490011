//! The whole system with a broker that demands TLS, passwords and certificates, and the relay that outlives
//! their changes.

use super::{Guarded, USER, one_file};
use crate::certificates::Authority;
use crate::demo::{elsewhere, reported};
use anyhow::{Context, ensure};
use harness::names::OUTBOX_RELAY;
use harness::{Plan, Steady, World};
use local_stack::{Process, Signal, Whom, wait_for};
use serde_json::json;
use std::time::Duration;

const RELAY: Process = Process::Worker(OUTBOX_RELAY, 0);
const SOON: Duration = Duration::from_secs(60);

/// The relay comes with a password, the retrier with a certificate, and `esctl` with a password by another
/// mechanism.
fn plan(guarded: &Guarded) -> Plan {
    let mut env_of = Vec::new();
    let mut tell = |program, settings: &[(&str, &str)]| {
        for (key, value) in settings {
            let name = format!("APP__KAFKA__{}", key.to_uppercase());
            env_of.push((Whom::Program(program), name, (*value).to_owned()));
        }
    };
    let (ca, password) = (guarded.file("ca.crt"), guarded.file("password"));
    let (secure, mutual) = (guarded.kafka.secure(), guarded.kafka.mutual());
    let encrypted = [("tls", "true"), ("tls_ca_file", ca.as_str())];
    let known = [("brokers", secure.as_str()), ("username", USER), ("password_file", &password)];
    for (program, mechanism) in [("outbox-relay", "SCRAM-SHA-512"), ("esctl", "SCRAM-SHA-256")] {
        tell(program, &encrypted);
        tell(program, &known);
        tell(program, &[("sasl_mechanism", mechanism)]);
    }
    let (cert, key) = (guarded.file("client.crt"), guarded.file("client.key"));
    tell("dlq-retrier", &encrypted);
    tell("dlq-retrier", &[("brokers", &mutual), ("tls_cert_file", &cert), ("tls_key_file", &key)]);
    for (name, value) in [
        ("APP__BROKER_WATCH__INTERVAL_MS", "200"),
        ("APP__BROKER_WATCH__RETRY_INTERVAL_MS", "200"),
        ("APP__BROKER_WATCH__TIMEOUT_MS", "1500"),
        ("APP__PUBLISHER__MESSAGE_TIMEOUT_MS", "1500"),
    ] {
        env_of.push((Whom::Program("outbox-relay"), name.to_owned(), value.to_owned()));
    }
    let kafka = Some(guarded.kafka.clone());
    Plan { kafka, env_of, ..Plan::default() }
}

/// How `esctl` comes in.
fn of_esctl(guarded: &Guarded) -> impl Iterator<Item = (String, String)> {
    let told = plan(guarded).env_of.into_iter();
    told.filter(|(whom, ..)| *whom == Whom::Program("esctl")).map(|(_, name, value)| (name, value))
}

/// Waits until the relay is not ready and says all of that, and no secret.
async fn relay_says(world: &World, words: &[&str]) -> anyhow::Result<()> {
    let admin = world.stack.addresses().admin(RELAY).context("the relay")?;
    let (url, http) = (format!("http://{admin}/readyz?verbose"), world.client(0).http);
    wait_for(&format!("the relay to say {words:?}"), SOON, || async {
        let answer = http.get(&url).await.map_err(|error| format!("{error:#}"))?;
        let body = answer.body.to_string();
        let says = words.iter().all(|word| body.contains(word));
        if says && !answer.status.is_success() { Ok(()) } else { Err(body) }
    })
    .await?;
    let log = std::fs::read_to_string(world.logs().join("outbox-relay.log"))?;
    for word in words {
        ensure!(log.contains(word), "the relay's log does not say {word:?}");
    }
    ensure!(!log.contains("canary"), "the relay's log holds a secret");
    Ok(())
}

/// A file of the relay's is bad, and good again.
async fn bad_for_a_while(
    world: &World,
    guarded: &Guarded,
    file: &str,
    bad: &str,
    key: &str,
) -> anyhow::Result<()> {
    let good = std::fs::read_to_string(guarded.file(file))?;
    guarded.folder.write(file, bad);
    relay_says(world, &[key]).await?;
    guarded.folder.write(file, &good);
    world.stack.ready_one(RELAY).await
}

/// The broker comes back with another certificate.
async fn broker_shows(
    world: &World,
    guarded: &Guarded,
    identity: &(String, String),
) -> anyhow::Result<()> {
    world.stack.stop(Process::Broker, Signal::Terminate).await?;
    guarded.folder.write("broker.pem", &one_file(identity));
    world.stack.resume(Process::Broker).await?;
    world.stack.ready_one(Process::Broker).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka, which tests/kafka/fetch brings; .ci/run runs it"]
async fn a_guarded_broker_lets_all_in_and_the_relay_outlives_every_change() -> anyhow::Result<()> {
    let guarded = Guarded::prepare().await?;
    let world = World::start(plan(&guarded)).await?;
    let relay = world.stack.pid(RELAY).context("the relay runs")?;
    let load = Steady::start(&[world.client(0)], 2);

    let others = Authority::new("others");
    let of_others = std::fs::read_to_string(guarded.folder.authority("others.crt", &others))?;
    bad_for_a_while(&world, &guarded, "ca.crt", &of_others, "kafka.tls_ca_file").await?;
    bad_for_a_while(&world, &guarded, "password", "canary-wrong", "kafka.password_file").await?;

    let (good, good_names) = (&guarded.authority, &["127.0.0.1"]);
    broker_shows(&world, &guarded, &good.issue_expired(good_names)).await?;
    relay_says(&world, &["certificate of the broker", "not valid at this time"]).await?;
    broker_shows(&world, &guarded, &good.issue(&["elsewhere.example"])).await?;
    relay_says(&world, &["certificate of the broker", "kafka.brokers"]).await?;
    broker_shows(&world, &guarded, &good.issue(good_names)).await?;
    world.stack.ready_one(RELAY).await?;

    let told = load.end().await;
    world.keeps_every_promise(told).await?;
    ensure!(world.stack.pid(RELAY) == Some(relay), "the relay was started again");
    // Everything came through the guarded listeners but this look; esctl's and that of the demo are guarded again.
    let mut demo = elsewhere(&world, "http", &["demo"]).await?;
    demo.envs(of_esctl(&guarded));
    let report = reported(demo).await?;
    ensure!(report["ok"] == json!(true), "{report}");
    ensure!(world.esctl(&["verify"]).await? == json!([]), "the topics differ");
    world.finish_after(|_| true).await
}
