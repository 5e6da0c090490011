//! Who is let in to an encrypted port, and who is not.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::certificates::{Authority, Folder};
use crate::port;
use crate::port::metrics::METRICS;
use crate::port::testing::Answering;
use crate::tls::{CertificateFault, ClientTls, TlsFault};

/// For what comes at once on an idle machine.
const SOON: Duration = Duration::from_secs(20);

/// A port that greets, and the files of its server and clients.
struct Port {
    authority: Authority,
    folder: Folder,
    address: SocketAddr,
    shutdown: CancellationToken,
    server: AbortOnDropHandle<()>,
}

impl Port {
    async fn open(adjust: impl FnOnce(&mut PortConfig, &Folder)) -> Self {
        let (authority, folder) = (Authority::new("services"), Folder::new());
        folder.authority("ca.crt", &authority);
        folder.identity("server", &authority.issue(&["127.0.0.1"]));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut config = PortConfig::at("http", address);
        config.tls_cert_file = file(&folder, "server.crt");
        config.tls_key_file = file(&folder, "server.key");
        adjust(&mut config, &folder);
        let shutdown = CancellationToken::new();
        let service = Answering::always("hello");
        let server =
            port::Port::new(listener, service, config, shutdown.clone()).expect("sound files");
        let server = tokio::runtime::Handle::current().spawn(async move { server.run().await });
        Self { authority, folder, address, shutdown, server: AbortOnDropHandle::new(server) }
    }

    /// One request over TLS, with the certificate of that name if there is one.
    async fn ask(&self, own: Option<&str>) -> anyhow::Result<String> {
        let stream = TcpStream::connect(self.address).await?;
        let mut stream = self.client(own)?.encrypt("127.0.0.1", stream).await?;
        stream.write_all(REQUEST).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn client(&self, own: Option<&str>) -> anyhow::Result<ClientTls> {
        let of_own = |kind| own.map(|own| file(&self.folder, &format!("{own}.{kind}")));
        let [cert, key] = ["crt", "key"].map(|kind| of_own(kind).unwrap_or_default());
        ClientTls::open(["ca", "crt", "key"], [&file(&self.folder, "ca.crt"), &cert, &key])
    }

    /// What comes back for bytes that are sent as they are.
    async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.expect("connect");
        stream.write_all(bytes).await.expect("send");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
        // A connection that is reset was refused as well.
        let _ = read.expect("it ends in time");
        answer
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.server.await.expect("no panic");
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

fn file(folder: &Folder, name: &str) -> String {
    folder.path().join(name).to_str().expect("temporary paths are UTF-8").to_owned()
}

fn is_greeted(answer: &anyhow::Result<String>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.ends_with("hello"))
}

#[tokio::test]
async fn who_speaks_tls_is_answered_and_who_does_not_is_refused() {
    let port = Port::open(|_, _| {}).await;
    let answer = port.ask(None).await;
    assert!(is_greeted(&answer), "{answer:?}");
    let refused = port.raw(REQUEST).await;
    assert!(!refused.starts_with(b"HTTP"), "{refused:?}");
    port.close().await;
}

#[tokio::test]
async fn old_versions_of_tls_are_refused() {
    let port = Port::open(|_, _| {}).await;
    // A greeting of TLS 1.1: version, random, no session, two suites of that time, no compression.
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    let mut bytes = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    bytes.extend(hello);
    let answer = port.raw(&bytes).await;
    // A fatal alert, and nothing else: protocol_version, or handshake_failure.
    assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 70 | 40]), "{answer:?}");
    port.close().await;
}

#[tokio::test]
async fn with_an_authority_for_clients_each_must_show_its_certificate() {
    let port = Port::open(|config, folder| {
        config.client_ca_file = file(folder, "ca.crt");
    })
    .await;
    let others = Authority::new("others");
    port.folder.identity("known", &port.authority.issue(&["client"]));
    port.folder.identity("foreign", &others.issue(&["client"]));
    port.folder.identity("expired", &port.authority.issue_expired(&["client"]));
    let known = port.ask(Some("known")).await;
    assert!(is_greeted(&known), "{known:?}");
    for own in [None, Some("foreign"), Some("expired")] {
        let before = METRICS.handshakes_failed.get();
        let refused = port.ask(own).await;
        assert!(refused.is_err(), "{own:?}: {refused:?}");
        assert!(METRICS.handshakes_failed.get() > before, "it is not counted");
    }
    port.close().await;
}

#[tokio::test]
async fn what_the_files_hold_now_is_what_counts() {
    let port = Port::open(|_, _| {}).await;
    assert!(is_greeted(&port.ask(None).await));
    let others = Authority::new("others");
    port.folder.identity("server", &others.issue(&["127.0.0.1"]));
    let error = port.ask(None).await.expect_err("of another authority");
    let fault = TlsFault::Certificate(CertificateFault::OtherAuthority);
    assert_eq!(TlsFault::of(error.as_ref()), Some(fault), "{error:#}");
    // Garbage is not taken.
    port.folder.write("server.crt", "garbage");
    port.folder.authority("ca.crt", &others);
    assert!(is_greeted(&port.ask(None).await), "the last good pair stays");
    port.close().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut_off() {
    let port = Port::open(|config, _| {
        config.handshake_timeout = Duration::from_millis(50);
    })
    .await;
    let before = METRICS.cut_slow_handshake.get();
    let begun = port.raw(&[22, 3, 1]).await;
    assert!(begun.is_empty(), "{begun:?}");
    assert!(METRICS.cut_slow_handshake.get() > before, "it is not counted");
    port.close().await;
}

#[tokio::test]
async fn slow_handshakes_give_way_to_whoever_comes() {
    let port = Port::open(|config, _| {
        config.handshake_timeout = Duration::from_secs(600);
        config.connections_max = NonZeroU32::new(4).expect("not zero");
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(port.address).await.expect("connect");
        stream.write_all(&[22, 3, 1]).await.expect("begin");
        slow.push(stream);
    }
    let answer = tokio::time::timeout(SOON, port.ask(None)).await.expect("in time");
    assert!(is_greeted(&answer), "{answer:?}");
    // Nor do they hold up the end.
    tokio::time::timeout(SOON, port.close()).await.expect("long before a handshake's time is over");
    drop(slow);
}

#[tokio::test]
async fn keys_that_contradict_each_other_and_bad_files_are_named() {
    let folder = Folder::new();
    let good = Authority::new("services");
    folder.identity("server", &good.issue(&["127.0.0.1"]));
    let garbage = folder.write("garbage", "canary");
    let garbage = garbage.to_str().expect("UTF-8");
    let (cert, key) = (file(&folder, "server.crt"), file(&folder, "server.key"));
    for (files, named) in [
        ([cert.as_str(), "", ""], "http.tls_key_file: must be named"),
        (["", key.as_str(), ""], "http.tls_cert_file: must be named"),
        (["", "", garbage], "http.client_ca_file"),
        ([garbage, key.as_str(), ""], "http.tls_cert_file"),
        ([cert.as_str(), "/nowhere", ""], "http.tls_key_file"),
        ([cert.as_str(), key.as_str(), garbage], "http.client_ca_file"),
    ] {
        let mut config = PortConfig::at("http", "127.0.0.1:0".parse().expect("an address"));
        [config.tls_cert_file, config.tls_key_file, config.client_ca_file] =
            files.map(str::to_owned);
        let error = format!("{:#}", Tls::open(&config).expect_err(named));
        assert!(error.contains(named) && !error.contains("canary"), "{error}");
    }
}
