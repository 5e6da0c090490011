//! A real Apache Kafka: what the relay promises, and how it is let in.

mod deaths;
mod guarded;
mod refusals;

use crate::certificates::{Authority, Folder};
use harness::{Guard, Kafka};
use std::path::Path;

const USER: &str = "relay";
const PASSWORD: &str = "canary-password";

/// A guarded node, and the files of a client that it lets in: `ca.crt`, `password`, and `client.crt` with
/// its key.
struct Guarded {
    authority: Authority,
    folder: Folder,
    kafka: Kafka,
}

impl Guarded {
    async fn prepare() -> anyhow::Result<Self> {
        let (authority, folder) = (Authority::new("brokers"), Folder::new());
        let client_ca = folder.authority("clients.crt", &authority);
        folder.authority("ca.crt", &authority);
        folder.identity("client", &authority.issue(&["worker"]));
        folder.write("password", &format!("{PASSWORD}\n"));
        let identity = folder.write("broker.pem", &one_file(&authority.issue(&["127.0.0.1"])));
        let guard = Guard { identity, client_ca, user: (USER.to_owned(), PASSWORD.to_owned()) };
        let kafka = Kafka::prepare(&folder.path().join("kafka"), Some(&guard)).await?;
        Ok(Self { authority, folder, kafka })
    }

    fn file(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }
}

/// As Kafka wants it.
fn one_file((certificate, key): &(String, String)) -> String {
    format!("{key}{certificate}")
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}
