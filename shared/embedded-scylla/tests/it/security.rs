//! TLS and passwords, as the driver and clients that know neither meet them.

use crate::certificates::{Authority, Folder};
use crate::process::Process;
use crate::support::{PATIENCE, http, wait_for};
use embedded_scylla::server::{SecurityConfig, Server, ServerConfig, TlsFiles};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::NewSessionError;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const HERE: &str = "127.0.0.1";
const OPTIONS: &[u8] = &[4, 0, 0, 0, 5, 0, 0, 0, 0];

/// What a client knows of TLS.
fn client(ca: &Path, identity: Option<[PathBuf; 2]>) -> Arc<ClientConfig> {
    let mut authorities = RootCertStore::empty();
    authorities.add(CertificateDer::from_pem_file(ca).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_root_certificates(authorities);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some([certificate, key]) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).expect("PEM")];
            let key = PrivateKeyDer::from_pem_file(key).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("they fit")
        }
    })
}

async fn driver(
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    user: Option<(&str, &str)>,
) -> Result<Session, NewSessionError> {
    let mut builder = SessionBuilder::new().known_node_addr(address).tls_context(tls);
    if let Some((user, password)) = user {
        builder = builder.user(user, password);
    }
    timeout(PATIENCE, builder.build()).await.expect("an end in time")
}

async fn shake_hands(
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await.expect("the port is open");
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let shaken = TlsConnector::from(Arc::clone(tls)).connect(name, socket);
    timeout(PATIENCE, shaken).await.expect("an end in time")
}

/// Asks over a connection what the server supports.
async fn assert_answers(stream: &mut TlsStream<TcpStream>) {
    let mut header = [0; 9];
    stream.write_all(OPTIONS).await.expect("the server reads");
    timeout(PATIENCE, stream.read_exact(&mut header)).await.expect("in time").expect("an answer");
    let body = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
    stream.read_exact(&mut vec![0; body as usize]).await.expect("a body");
    assert_eq!(header[4], 6, "SUPPORTED");
}

/// The serving side: an authority, a certificate from it, and a server that shows it.
struct Host {
    authority: Authority,
    ca: PathBuf,
    folder: Folder,
    server: Server,
}

impl Host {
    /// With `client_ca` it demands certificates of its own authority.
    async fn start(client_ca: bool, configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let (authority, folder) = (Authority::new("nodes"), Folder::new());
        let ca = folder.authority("ca.crt", &authority);
        let [cert, key] = folder.identity("node", &authority.issue(&[HERE]));
        let mut config = ServerConfig::ephemeral(folder.path().join("data"));
        let client_ca = client_ca.then(|| ca.clone());
        config.security.tls = Some(TlsFiles { cert, key, client_ca });
        configure(&mut config);
        let server = Server::start(config).await.expect("starts");
        Self { authority, ca, folder, server }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn plain_client(&self) -> Arc<ClientConfig> {
        client(&self.ca, None)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_trusts_the_authority_speaks_tls() {
    let host = Host::start(false, |_| {}).await;
    let session = driver(host.address(), Some(host.plain_client()), None).await.expect("connects");
    let found = session.query_unpaged("SELECT key FROM system.local", ()).await.expect("answered");
    assert_eq!(found.into_rows_result().expect("rows").rows_num(), 1);

    let other = host.folder.authority("other.crt", &Authority::new("others"));
    let refused = driver(host.address(), Some(client(&other, None)), None).await;
    let error = refused.expect_err("of another authority").to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_arrive_whole_over_tls() {
    let host = Host::start(false, |_| {}).await;
    let session = driver(host.address(), Some(host.plain_client()), None).await.expect("connects");
    for statement in [crate::support::KEYSPACE, "CREATE TABLE ks.t (p int PRIMARY KEY, v blob)"] {
        crate::support::run(&session, statement).await;
    }
    let stored = vec![7_u8; 3_000_000];
    session
        .query_unpaged("INSERT INTO ks.t (p, v) VALUES (1, ?)", (&stored,))
        .await
        .expect("stored");
    let found = session.query_unpaged("SELECT v FROM ks.t WHERE p = 1", ()).await.expect("read");
    let row = found.into_rows_result().expect("rows").single_row::<(Vec<u8>,)>();
    assert!(row.expect("one row").0 == stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_certificates_are_demanded_only_good_ones_let_in() {
    let host = Host::start(true, |_| {}).await;
    let good = host.folder.identity("good", &host.authority.issue(&["worker"]));
    let expired = host.folder.identity("expired", &host.authority.issue_expired(&["worker"]));
    let foreign = host.folder.identity("foreign", &Authority::new("others").issue(&["worker"]));
    let tls = client(&host.ca, Some(good));
    driver(host.address(), Some(tls), None).await.expect("connects");
    for (identity, what) in [(None, "none"), (Some(expired), "old"), (Some(foreign), "foreign")] {
        let tls = client(&host.ca, identity);
        driver(host.address(), Some(tls), None).await.expect_err(what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_to_new_clients_and_a_bad_one_to_nobody() {
    let host = Host::start(false, |_| {}).await;
    let tls = host.plain_client();
    let shown = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
    };
    let mut old = shake_hands(host.address(), &tls).await.expect("good");
    let first = shown(&old);
    let renewed = host.authority.issue(&[HERE]);
    host.folder.write("node.crt", &renewed.0);
    let between = shake_hands(host.address(), &tls).await.expect("the old pair stays");
    assert!(shown(&between) == first, "the new certificate does not fit the old key");
    host.folder.write("node.key", &renewed.1);
    let mut new = shake_hands(host.address(), &tls).await.expect("good");
    assert!(shown(&new) != first, "the new pair is taken");
    host.folder.write("node.crt", "no certificate");
    let kept = shake_hands(host.address(), &tls).await.expect("the last good pair stays");
    assert!(shown(&kept) == shown(&new));
    assert_answers(&mut old).await;
    assert_answers(&mut new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_the_other_kind_are_hung_up_on() {
    let host = Host::start(false, |_| {}).await;
    let mut plain = TcpStream::connect(host.address()).await.expect("the port is open");
    plain.write_all(OPTIONS).await.expect("the server reads");
    let mut said = Vec::new();
    // Reset or closed: both are an end.
    let _ = timeout(PATIENCE, plain.read_to_end(&mut said)).await.expect("an end in time");
    assert!(said.len() < 9, "no frame: {said:?}");
    driver(host.address(), None, None).await.expect_err("the driver without TLS");
    let mut good = shake_hands(host.address(), &host.plain_client()).await.expect("still serves");
    assert_answers(&mut good).await;

    let dir = Folder::new();
    let config = ServerConfig::ephemeral(dir.path());
    let open = Server::start(config).await.expect("starts");
    shake_hands(open.address(), &host.plain_client()).await.expect_err("no TLS there");
    driver(open.address(), None, None).await.expect("still serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_tls_handshake_is_cut_and_counts_as_a_connection() {
    let host = Host::start(false, |config| {
        config.limits.handshake_timeout = Duration::from_secs(2);
        config.limits.connections_max = 1;
    })
    .await;
    let mut stalled = TcpStream::connect(host.address()).await.expect("the port is open");
    stalled.write_all(&[0x16, 3, 1, 0x40]).await.expect("the server reads");
    let connections = async |count: u8| {
        let (_, text) = http(host.server.metrics_address(), "GET", "/metrics", "").await;
        text.contains(&format!("\nconnections {count}\n"))
    };
    wait_for("the stalled connection", async || connections(1).await).await;
    shake_hands(host.address(), &host.plain_client()).await.expect_err("one too many");
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, stalled.read_to_end(&mut said)).await.expect("cut in time");
    wait_for("no connection", async || connections(0).await).await;
    let mut good = shake_hands(host.address(), &host.plain_client()).await.expect("there is room");
    assert_answers(&mut good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_knows_a_password_comes_in() {
    let folder = Folder::new();
    let password_file = folder.write("passwords", "ann:canary-1\n");
    let mut config = ServerConfig::ephemeral(folder.path().join("data"));
    config.security = SecurityConfig { tls: None, password_file: Some(password_file) };
    let server = Server::start(config).await.expect("starts");
    let login = |user| driver(server.address(), None, user);
    login(Some(("ann", "canary-1"))).await.expect("connects");
    let error = login(Some(("ann", "canary-2"))).await.expect_err("wrong").to_string();
    assert!(error.contains("Username and/or password are incorrect"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    let error = login(None).await.expect_err("missing").to_string();
    assert!(error.contains("Authentication is required"), "{error}");

    folder.write("passwords", "ann:canary-2\n");
    login(Some(("ann", "canary-2"))).await.expect("the new one counts");
    login(Some(("ann", "canary-1"))).await.expect_err("the old one does not");
    folder.write("passwords", "canary-3\n");
    login(Some(("ann", "canary-2"))).await.expect("a bad file is not taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_binary_takes_files_and_says_which_is_bad() {
    let (authority, folder) = (Authority::new("nodes"), Folder::new());
    let ca = folder.authority("ca.crt", &authority);
    let [cert, key] = folder.identity("node", &authority.issue(&[HERE]));
    let passwords = folder.write("passwords", "ann:canary\n");
    let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (cert, key, ca_text, passwords) = (text(&cert), text(&key), text(&ca), text(&passwords));
    let mut all = vec!["--tls-cert", &cert, "--tls-key", &key, "--client-ca", &ca_text];
    all.extend(["--password-file", &passwords]);
    let process = Process::start(&folder.path().join("data"), &all);
    let worker = folder.identity("worker", &authority.issue(&["worker"]));
    let tls = client(&ca, Some(worker));
    driver(process.address, Some(tls), Some(("ann", "canary"))).await.expect("connects");

    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_embedded-scylla"))
            .args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("other"))
            .args(arguments)
            .output()
            .expect("the binary is built");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for alone in [["--tls-cert", &cert], ["--tls-key", &key], ["--client-ca", &ca_text]] {
        let (code, said) = run(&alone);
        assert_eq!(code, Some(2), "{alone:?}: {said}");
    }
    let bad = text(&folder.write("bad", "canary"));
    for arguments in [
        vec!["--tls-cert", &bad, "--tls-key", &key],
        vec!["--tls-cert", &cert, "--tls-key", &bad],
        vec!["--password-file", &bad],
    ] {
        let (code, said) = run(&arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains(&bad) && !said.contains("canary"), "{arguments:?}: {said}");
    }
}
