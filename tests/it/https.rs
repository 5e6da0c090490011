//! The processes themselves behind TLS: a command goes in and its order comes out encrypted, and nothing plainly.

use crate::certificates::{Authority, Folder};
use anyhow::{Context, ensure};
use dev_stack::demo::{create_order, items};
use harness::names::{COMMAND_API, QUERY_API};
use harness::{Plan, World};
use hyper::Method;
use local_stack::http::HttpClient;
use local_stack::{Process, Whom, wait_for};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// Shows a certificate if it has an `own` one.
fn client(folder: &Folder, own: Option<&str>) -> anyhow::Result<HttpClient> {
    let file = |name: String| folder.path().join(name).display().to_string();
    let of_own = |kind| own.map(|own| file(format!("{own}.{kind}"))).unwrap_or_default();
    let files = [file("ca.crt".to_owned()), of_own("crt"), of_own("key")];
    HttpClient::with_tls(["ca", "crt", "key"], files.each_ref().map(String::as_str))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_queries_pass_encrypted_and_nothing_passes_plainly() -> anyhow::Result<()> {
    let (authority, folder) = (Authority::new("services"), Folder::new());
    let ca = folder.authority("ca.crt", &authority).display().to_string();
    let server = folder.identity("server", &authority.issue(&["127.0.0.1"]));
    let [cert, key] = server.map(|file| file.display().to_string());
    folder.identity("client", &authority.issue(&["client"]));
    let mut env_of = Vec::new();
    for program in ["command-api", "query-api"] {
        for (name, value) in [("TLS_CERT_FILE", &cert), ("TLS_KEY_FILE", &key)] {
            env_of.push((Whom::Program(program), format!("APP__HTTP__{name}"), value.clone()));
        }
    }
    env_of.push((Whom::Program("query-api"), "APP__HTTP__CLIENT_CA_FILE".to_owned(), ca));
    let world = World::start(Plan { env_of, ..Plan::default() }).await?;
    let addresses = world.stack.addresses().clone();
    let at = |name| addresses.http(Process::Worker(name, 0)).context("an API");
    let (commands, queries) = (at(COMMAND_API)?, at(QUERY_API)?);

    let order = Uuid::now_v7();
    let mut body = create_order(Uuid::now_v7(), items(1));
    body["order_id"] = json!(order);
    let (anybody, known) = (client(&folder, None)?, client(&folder, Some("client"))?);
    let (create, key) = (format!("https://{commands}/v1/orders"), Uuid::now_v7().to_string());
    let answer = anybody.command(Method::POST, &create, &key, &body).await;
    let answer = answer.context("create the order")?;
    ensure!(answer.status.is_success(), "{} {}", answer.status, answer.body);
    let look = format!("https://{queries}/v1/orders/{order}");
    wait_for("the order to be shown", Duration::from_secs(30), || async {
        let answer = known.get(&look).await.map_err(|error| format!("{error:#}"))?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await?;
    let refused = anybody.get(&look).await;
    ensure!(refused.is_err(), "let in without a certificate: {refused:?}");
    for address in [commands, queries] {
        let mut plain = TcpStream::connect(address).await?;
        plain
            .write_all(b"GET /v1/orders HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        // A connection that is reset was refused as well.
        let read = plain.read_to_end(&mut answer).await;
        ensure!(!answer.starts_with(b"HTTP"), "{read:?} {answer:?}");
    }
    world.finish().await
}
