//! A real Apache Kafka, for what the embedded broker does not have: TLS, certificates, passwords. It also is
//! what the promises about topics are about in the end.
//!
//! `tests/kafka/fetch` brings it to `target/tools/kafka`. One node of its own for each test, in KRaft mode, on
//! free ports of the loopback.

use anyhow::{Context, ensure};
use local_stack::{Program, free_port, wait_for};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Any name of a cluster will do.
const CLUSTER_ID: &str = "c3lzdGVtLXRlc3RzLS0tLQ";

/// How long a node may take until it listens, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);

/// What the guarded listeners of a node show and demand.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The node's private key and certificate, PEM, in one file. Read when it starts.
    pub identity: PathBuf,
    /// The authorities of clients' certificates, PEM.
    pub client_ca: PathBuf,
    /// Who may come in with which password.
    pub user: (String, String),
}

/// A node that can be started, also again and again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Kafka {
    properties: PathBuf,
    ports: [u16; 5],
}

impl Kafka {
    /// Makes a node that keeps everything in `folder`.
    pub async fn prepare(folder: &Path, guard: Option<&Guard>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut ports = [0; 5];
        for port in &mut ports {
            *port = free_port()?;
        }
        let kafka = Self { properties: folder.join("server.properties"), ports };
        let listeners = kafka.listeners(guard.is_some());
        let mut properties = node(&listeners, ports[4], &folder.join("data"));
        properties.extend(guard.map(guarded));
        std::fs::write(&kafka.properties, properties)?;
        kafka.format(guard).await?;
        Ok(kafka)
    }

    /// Where everybody is let in, unencrypted.
    pub fn plain(&self) -> String {
        self.address(0)
    }

    /// TLS, and a password by any mechanism.
    pub fn secure(&self) -> String {
        self.address(1)
    }

    /// TLS, and a certificate.
    pub fn mutual(&self) -> String {
        self.address(2)
    }

    /// No TLS, and a password by SCRAM-SHA-512.
    pub fn unencrypted(&self) -> String {
        self.address(3)
    }

    fn address(&self, listener: usize) -> String {
        format!("127.0.0.1:{}", self.ports[listener])
    }

    /// What runs the node.
    pub fn program(&self) -> anyhow::Result<Program> {
        let mut args = vec!["--pdeathsig".to_owned(), "KILL".to_owned(), "java".to_owned()];
        args.extend(java_arguments("kafka.Kafka")?);
        args.push(self.properties.display().to_string());
        // It ends with us, whatever ends us.
        Ok(Program { program: "setpriv".into(), args })
    }

    /// Runs the node outside of a stack, until the child is dropped; returns when it listens.
    pub async fn start(&self) -> anyhow::Result<Child> {
        let Program { program, args } = self.program()?;
        let log = std::fs::File::create(self.properties.with_file_name("log"))?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start Kafka")?;
        wait_for("Kafka to listen", START_WITHIN, || async {
            TcpStream::connect(self.plain()).await.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        Ok(child)
    }

    /// The clients' listeners. Without a guard there is only the open one: the others need certificates.
    fn listeners(&self, is_guarded: bool) -> String {
        let names = ["PLAIN", "SECURE", "MUTUAL", "UNENCRYPTED"];
        let open = if is_guarded { names.len() } else { 1 };
        let listeners = (0..open).map(|at| format!("{}://{}", names[at], self.address(at)));
        listeners.collect::<Vec<_>>().join(",")
    }

    /// Makes the storage, which knows the users.
    async fn format(&self, guard: Option<&Guard>) -> anyhow::Result<()> {
        let mut format = Command::new("java");
        format.args(java_arguments("kafka.tools.StorageTool")?);
        format.args(["format", "--cluster-id", CLUSTER_ID, "--config"]).arg(&self.properties);
        if let Some(Guard { user: (name, password), .. }) = guard {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                let user = format!("{mechanism}=[name={name},password={password}]");
                format.args(["--add-scram", &user]);
            }
        }
        let done = format.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let done = done.context("run java; Kafka's storage has to be formatted")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "format Kafka's storage: {said}");
        Ok(())
    }
}

/// The command line of `java` for a program of Kafka's.
fn java_arguments(class: &str) -> anyhow::Result<Vec<String>> {
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/kafka");
    ensure!(jars.join("pom.xml").is_file(), "Kafka is not there: run tests/kafka/fetch");
    Ok(vec![
        "-Xmx512m".to_owned(),
        // Starts sooner, and is not there for long.
        "-XX:+UseSerialGC".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned(),
        "-cp".to_owned(),
        jars.join("*").display().to_string(),
        class.to_owned(),
    ])
}

fn node(listeners: &str, controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={listeners}\n\
         inter.broker.listener.name=PLAIN\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,SECURE:SASL_SSL,\
         MUTUAL:SSL,UNENCRYPTED:SASL_PLAINTEXT\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         log.dirs={}\n",
        data.display()
    )
}

fn guarded(guard: &Guard) -> String {
    let Guard { identity, client_ca, user: (name, password) } = guard;
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let plain = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_{name}=\"{password}\";"
    );
    format!(
        "ssl.keystore.type=PEM\n\
         ssl.keystore.location={}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={}\n\
         listener.name.mutual.ssl.client.auth=required\n\
         listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.secure.plain.sasl.jaas.config={plain}\n\
         listener.name.secure.scram-sha-256.sasl.jaas.config={scram}\n\
         listener.name.secure.scram-sha-512.sasl.jaas.config={scram}\n\
         listener.name.unencrypted.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.unencrypted.scram-sha-512.sasl.jaas.config={scram}\n",
        identity.display(),
        client_ca.display()
    )
}
