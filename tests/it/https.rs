//! The processes themselves behind TLS: a command goes in and its order comes out encrypted, and nothing plainly.

use crate::certificates::{Authority, Folder};
use anyhow::{Context, ensure};
use dev_stack::demo::{create_order, items};
use dev_stack::{Whom, wait_for};
use harness::{Plan, World};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

fn client(folder: &Folder, is_certified: bool) -> anyhow::Result<TlsConnector> {
    let file = |name: &str| folder.path().join(name);
    let mut authorities = RootCertStore::empty();
    authorities.add(CertificateDer::from_pem_file(file("ca.crt"))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities);
    let config = if is_certified {
        let chain = vec![CertificateDer::from_pem_file(file("client.crt"))?];
        builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(file("client.key"))?)?
    } else {
        builder.with_no_client_auth()
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn ask(client: &TlsConnector, address: &str, request: &str) -> anyhow::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = client.connect(ServerName::try_from("127.0.0.1")?, stream).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn request(line: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{more}\r\n{body}"
    )
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
    let (commands, queries) = (&addresses.command_apis[0].0, &addresses.query_api);

    let order = Uuid::now_v7();
    let mut body = create_order(Uuid::now_v7(), items(1));
    body["order_id"] = json!(order);
    let key = format!("Idempotency-Key: {}\r\n", Uuid::now_v7());
    let create = request("POST /v1/orders", &key, &body.to_string());
    let (anybody, known) = (client(&folder, false)?, client(&folder, true)?);
    let answer = ask(&anybody, commands, &create).await.context("create the order")?;
    ensure!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    let look = request(&format!("GET /v1/orders/{order}"), "", "");
    wait_for("the order to be shown", Duration::from_secs(30), || async {
        let answer = ask(&known, queries, &look).await.map_err(|error| format!("{error:#}"))?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
    })
    .await?;
    let refused = ask(&anybody, queries, &look).await;
    ensure!(refused.is_err(), "let in without a certificate: {refused:?}");
    for address in [commands, queries] {
        let mut plain = TcpStream::connect(address).await?;
        plain.write_all(look.as_bytes()).await?;
        let mut answer = Vec::new();
        // A connection that is reset was refused as well.
        let read = plain.read_to_end(&mut answer).await;
        ensure!(!answer.starts_with(b"HTTP"), "{read:?} {answer:?}");
    }
    world.finish().await
}
