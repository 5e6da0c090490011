//! The embedded broker: Tansu, which speaks the Kafka protocol, in a process of its own.

use crate::run::{run, stop_signal};
use anyhow::Context;
use clap::Parser;
use std::ffi::OsString;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tansu_broker::broker::Broker;
use tansu_broker::coordinator::group::administrator::Controller;
use tansu_storage::StorageContainer;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

/// Its name for clients and in its storage.
const CLUSTER_ID: &str = "dev-stack";
const NODE_ID: i32 = 111;

/// The command line of the embedded broker.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// `127.0.0.1:port`
    #[arg(long, default_value = "127.0.0.1:9092")]
    listen: SocketAddrV4,
    /// The file to keep records in.
    #[arg(long)]
    database: PathBuf,
}

/// The broker as a program: what a stack starts as a child. The first argument is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    /// The embedded broker.
    #[derive(Parser)]
    #[command(version)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    let Line { arguments } = Line::parse_from(arguments);
    run("broker", until_told(arguments))
}

/// Serves until a signal comes or the process that started this one is gone: its end of the standard
/// input closes then, however it died.
pub async fn until_told(arguments: Arguments) -> anyhow::Result<()> {
    // A panic would end the one task that serves the storage, and every request after it would wait
    // for ever; the process that started this one starts it again instead.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    let orphaned = async {
        let mut nothing = tokio::io::sink();
        tokio::io::copy(&mut tokio::io::stdin(), &mut nothing).await.map(drop)
    };
    tokio::select! {
        served = serve(arguments.listen.into(), &arguments.database) => served,
        signal = stop_signal() => signal,
        read = orphaned => read.context("wait for the end of standard input"),
    }
}

/// Serves at `listen` until dropped. Records live in `database`, a file. The broker's storage in
/// memory is of no use: it gives an end of a partition before its last records when the last batch has
/// several.
async fn serve(listen: SocketAddr, database: &Path) -> anyhow::Result<()> {
    let storage = database_url(database)?;
    let listener = format!("tcp://{listen}");
    let mut broker = Broker::<Controller<StorageContainer>, StorageContainer>::builder()
        .node_id(NODE_ID)
        .cluster_id(CLUSTER_ID)
        .incarnation_id(Uuid::now_v7())
        .advertised_listener(listener.parse::<Url>()?)
        .storage(storage.clone())
        .listener(listener.parse::<Url>()?)
        .silent(true)
        .build()
        .await
        .with_context(|| format!("open the broker's storage {storage}"))?;
    index_headers(database).await.context("index the broker's headers")?;
    broker.serve(Instant::now()).await.context("run the broker")?;
    Ok(())
}

/// The broker looks for the headers of each record that it reads, in a table without index: reading
/// some thousand records would take minutes.
async fn index_headers(database: &Path) -> anyhow::Result<()> {
    let connection = libsql::Builder::new_local(database).build().await?.connect()?;
    let index = "CREATE INDEX IF NOT EXISTS header_place ON header (topition, offset_id)";
    connection.execute(index, ()).await?;
    Ok(())
}

/// The broker takes the path behind the first slash of a URL, as it stands, relative to its
/// working folder: a second slash makes it absolute.
fn database_url(path: &Path) -> anyhow::Result<Url> {
    let absolute = std::path::absolute(path)?;
    let plain = absolute.to_str().context("the database's path is not UTF-8")?;
    let url = Url::parse(&format!("sqlite:///{plain}"))?;
    anyhow::ensure!(
        url.path() == format!("/{plain}"),
        "the broker cannot keep its data below {plain}: the path has characters that a URL escapes"
    );
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use messaging::{KafkaConfig, Message, Publisher, PublisherConfig, TopicReader};
    use std::time::Duration;

    const NAMES: [&str; 2] = ["tallies.events", "counts.events"];

    fn message(version: u64) -> Message {
        Message {
            topic: NAMES[0].to_owned(),
            key: "a".to_owned(),
            headers: vec![("ce_sequence", version.to_string())],
            payload: format!("{{\"version\":{version}}}"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_acknowledged_is_read_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("topics.sqlite");
        let listen = SocketAddr::from(([127, 0, 0, 1], crate::free_port().unwrap()));
        let kafka = KafkaConfig::open(vec![listen.to_string()]);
        let timeout = Duration::from_secs(60);
        let mut broker = tokio::task::JoinSet::new();
        broker.spawn(async move { serve(listen, &database).await });
        let created = messaging::topics::create(&kafka, &NAMES, 4, 1, timeout).await.unwrap();
        assert!(created.iter().all(|topic| topic.is_new), "{created:?}");
        let again = messaging::topics::create(&kafka, &NAMES, 4, 1, timeout).await.unwrap();
        assert!(again.iter().all(|topic| !topic.is_new), "{again:?}");

        let config = serde_json::json!({
            "message_timeout_ms": 30_000, "linger_ms": 20, "queue_messages_max": 1_000,
        });
        let config: PublisherConfig = serde_json::from_value(config).unwrap();
        let publisher = Publisher::new(kafka.clone(), config).unwrap();
        for version in 1..=37 {
            publisher.publish(&message(version)).await.unwrap();
        }
        // The last batch has several records.
        let last = [message(38), message(39), message(40)];
        for published in futures::future::join_all(last.iter().map(|m| publisher.publish(m))).await
        {
            published.unwrap();
        }
        let reader = TopicReader::from_beginning(&kafka, &NAMES[..1], timeout).unwrap();
        let ends = reader.ends(timeout).unwrap();
        assert_eq!(ends.iter().map(|(.., low, high)| high - low).sum::<i64>(), 40, "{ends:?}");
        let mut versions = Vec::new();
        while versions.len() < 40 {
            let next = tokio::time::timeout(timeout, reader.next()).await.expect("all 40 records");
            versions.push(next.unwrap().version().unwrap());
        }
        assert_eq!(versions, (1..=40).collect::<Vec<u64>>());
        let ended = broker.try_join_next();
        assert!(ended.is_none(), "the broker ended: {ended:?}");
    }
}
