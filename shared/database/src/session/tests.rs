//! Who is let in, against the embedded engine, and what is said to those who are not.

use std::net::SocketAddr;
use std::path::Path;

use crate::certificates::{Authority, Folder};
use embedded_scylla::server::{SecurityConfig, Server, ServerConfig, TlsFiles};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;

/// An engine that shows a certificate for `names`, and demands one and a password.
struct Guarded {
    authority: Authority,
    folder: Folder,
    server: Server,
}

const PASSWORD: &str = "canary-password";

impl Guarded {
    async fn start(names: &[&str]) -> Self {
        let (authority, folder) = (Authority::new("nodes"), Folder::new());
        let ca = folder.authority("ca.crt", &authority);
        let [cert, key] = folder.identity("node", &authority.issue(names));
        folder.identity("worker", &authority.issue(&["worker"]));
        folder.write("password", &format!("{PASSWORD}\n"));
        let mut config = ServerConfig::ephemeral(folder.path().join("data"));
        config.security = SecurityConfig {
            tls: Some(TlsFiles { cert, key, client_ca: Some(ca) }),
            password_file: Some(folder.write("users", &format!("ann:{PASSWORD}"))),
        };
        let server = Server::start(config).await.expect("the engine starts");
        Self { authority, folder, server }
    }

    fn file(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }

    /// The configuration that is let in.
    fn config(&self) -> ScyllaConfig {
        ScyllaConfig {
            username: "ann".into(),
            password_file: self.file("password"),
            tls: true,
            tls_ca_file: self.file("ca.crt"),
            tls_cert_file: self.file("worker.crt"),
            tls_key_file: self.file("worker.key"),
            connect_timeout_ms: 10_000,
            ..ScyllaConfig::at(self.server.address().to_string())
        }
    }

    /// Expects a refusal that names `key` first and shows no secret.
    async fn check_refused(&self, adjust: impl FnOnce(&mut ScyllaConfig), key: &str) {
        let mut config = self.config();
        adjust(&mut config);
        let error = config.connect().await.expect_err(key);
        let said = format!("{error:#}\n{error:?}\n{}\n{config:?}", chain(error.as_ref()));
        assert!(error.to_string().contains(key), "{key:?} is not named in {error:#}");
        assert!(!said.contains("canary"), "{said}");
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

async fn assert_usable(session: &Session) {
    session.query_unpaged("SELECT key FROM system.local", ()).await.expect("answered");
}

#[tokio::test]
async fn who_has_all_that_is_demanded_is_let_in() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    assert_usable(&guarded.config().connect().await.expect("let in")).await;
    let inline = ScyllaConfig {
        password: Secret::new(PASSWORD),
        password_file: String::new(),
        ..guarded.config()
    };
    assert_usable(&inline.connect().await.expect("let in")).await;
    let printed = toml::to_string(&inline).expect("printable");
    assert!(
        printed.contains("password = \"********\"") && !printed.contains("canary"),
        "{printed}"
    );
}

#[tokio::test]
async fn who_is_refused_is_told_which_key_to_look_at() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    let others = Authority::new("others");
    guarded.folder.authority("others.crt", &others);
    guarded.folder.identity("foreign", &others.issue(&["worker"]));
    guarded.folder.identity("expired", &guarded.authority.issue_expired(&["worker"]));
    guarded.folder.write("wrong", "canary-wrong");
    let own =
        |name: &str| (guarded.file(&format!("{name}.crt")), guarded.file(&format!("{name}.key")));

    let wrong = guarded.file("others.crt");
    guarded.check_refused(|config| config.tls_ca_file = wrong, "scylla.tls_ca_file").await;
    for (cert, key) in [(String::new(), String::new()), own("foreign"), own("expired")] {
        let adjust = |config: &mut ScyllaConfig| {
            (config.tls_cert_file, config.tls_key_file) = (cert, key);
        };
        guarded.check_refused(adjust, "scylla.tls_cert_file").await;
    }
    let wrong = guarded.file("wrong");
    guarded.check_refused(|config| config.password_file = wrong, "scylla.password_file").await;
    let nobody = |config: &mut ScyllaConfig| {
        (config.username, config.password_file) = (String::new(), String::new());
    };
    guarded.check_refused(nobody, "scylla.username").await;
    let plain = |config: &mut ScyllaConfig| {
        config.tls = false;
        config.tls_ca_file.clear();
        config.tls_cert_file.clear();
        config.tls_key_file.clear();
    };
    guarded.check_refused(plain, "scylla.tls").await;
}

#[tokio::test]
async fn a_process_that_is_refused_tries_on_and_says_why_it_is_not_ready() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    guarded.folder.write("password", "canary-wrong");
    let config = guarded.config();
    let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
    let awaited = || readiness.check("database").map(|(_, why)| why).unwrap_or_default();
    let operator = async {
        while !awaited().contains("the database refuses scylla.username") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!awaited().contains("canary"), "{}", awaited());
        // No keyspace is there: getting as far as that is to be let in.
        guarded.folder.write("password", PASSWORD);
        while !awaited().contains("keyspace") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shutdown.cancel();
    };
    let both = async { tokio::join!(connect_when_up(&config, &readiness, &shutdown), operator) };
    let (ended, ()) = timeout(Duration::from_secs(20), both).await.expect("in time");
    assert!(ended.expect_err("it was stopped").is::<Stopped>());
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_their_keys() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    guarded.folder.write("garbage", "canary");
    guarded.folder.write("empty", "\n");
    let (garbage, empty, away) = (guarded.file("garbage"), guarded.file("empty"), "/nowhere");
    for path in [garbage.as_str(), away] {
        let set = |config: &mut ScyllaConfig| config.tls_ca_file = path.into();
        guarded.check_refused(set, "scylla.tls_ca_file").await;
        let set = |config: &mut ScyllaConfig| config.tls_cert_file = path.into();
        guarded.check_refused(set, "scylla.tls_cert_file").await;
        let set = |config: &mut ScyllaConfig| config.tls_key_file = path.into();
        guarded.check_refused(set, "scylla.tls_key_file").await;
    }
    for path in [empty.as_str(), away] {
        let set = |config: &mut ScyllaConfig| config.password_file = path.into();
        guarded.check_refused(set, "scylla.password_file").await;
    }
    // A key that belongs to another certificate.
    let node = guarded.file("node.key");
    guarded.check_refused(|config| config.tls_key_file = node, "scylla.tls_key_file").await;
}

#[tokio::test]
async fn keys_that_contradict_each_other_are_named() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    let set = |config: &mut ScyllaConfig| config.password = Secret::new("canary");
    guarded.check_refused(set, "scylla.password_file").await;
    guarded.check_refused(|config| config.username.clear(), "scylla.password_file").await;
    guarded.check_refused(|config| config.tls = false, "scylla.tls_ca_file").await;
    guarded.check_refused(|config| config.tls_ca_file.clear(), "scylla.tls_ca_file").await;
    guarded.check_refused(|config| config.tls_key_file.clear(), "scylla.tls_key_file").await;
    guarded.check_refused(|config| config.tls_cert_file.clear(), "scylla.tls_cert_file").await;
}

#[tokio::test]
async fn a_node_is_known_by_its_address_or_by_a_name_of_the_contact_points() {
    let guarded = Guarded::start(&["localhost"]).await;
    guarded.check_refused(|_| {}, "scylla.nodes").await;
    let port = guarded.server.address().port();
    let named = ScyllaConfig { nodes: vec![format!("localhost:{port}")], ..guarded.config() };
    assert_usable(&named.connect().await.expect("let in")).await;
}

#[tokio::test]
async fn tls_to_a_node_that_speaks_none_names_its_key() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    let folder = Folder::new();
    let open = Server::start(ServerConfig::ephemeral(folder.path())).await.expect("starts");
    let node = open.address().to_string();
    guarded.check_refused(|config| config.nodes = vec![node], "scylla.tls").await;
}

#[tokio::test]
async fn a_node_that_never_shakes_hands_is_not_waited_for() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let node = mute.local_addr().expect("bound").to_string();
    let adjust = |config: &mut ScyllaConfig| {
        config.nodes = vec![node];
        (config.connect_timeout_ms, config.request_timeout_ms) = (100, 100);
    };
    guarded.check_refused(adjust, "scylla.tls").await;
}

#[tokio::test]
async fn what_the_files_hold_now_is_what_counts() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    let config = guarded.config();
    let tls = tls::client_config(&config).expect("sound files");
    let shake_hands = async || {
        let mut again = scylla::client::session_builder::SessionBuilder::new()
            .known_nodes(&config.nodes)
            .tls_context(Some(Arc::clone(&tls)));
        let credentials = credentials::of(&config).expect("a sound file").expect("a user");
        again = again.authenticator_provider(credentials);
        again.build().await.map_err(|error| refusal::explained(&config, error))
    };
    shake_hands().await.expect("let in");
    let (good, expired) =
        (guarded.authority.issue(&["worker"]), guarded.authority.issue_expired(&["worker"]));
    guarded.folder.identity("worker", &expired);
    let error = shake_hands().await.expect_err("of long ago");
    assert!(error.to_string().contains("scylla.tls_cert_file"), "{error:#}");
    // Half of a pair is not taken, and neither is garbage.
    guarded.folder.identity("worker", &good);
    shake_hands().await.expect("let in");
    guarded.folder.write("worker.crt", "garbage");
    shake_hands().await.expect("the last good pair stays");
    guarded.folder.authority("ca.crt", &Authority::new("others"));
    let error = shake_hands().await.expect_err("of another authority");
    assert!(error.to_string().contains("scylla.tls_ca_file"), "{error:#}");
}

#[tokio::test]
async fn a_changed_password_is_read_by_a_session_that_is_there() {
    let guarded = Guarded::start(&["127.0.0.1"]).await;
    let credentials = credentials::of(&guarded.config()).expect("sound").expect("a user");
    let say = async || {
        let said = credentials.start_authentication_session("PasswordAuthenticator").await;
        said.map(|(token, _)| token.expect("a token"))
    };
    assert_eq!(say().await.expect("a password"), format!("\0ann\0{PASSWORD}").into_bytes());
    guarded.folder.write("password", "canary-next\n");
    assert_eq!(say().await.expect("a password"), b"\0ann\0canary-next");
    guarded.folder.write("password", "");
    let error = say().await.map(drop).expect_err("there is none");
    assert!(error.starts_with("scylla.password_file"), "{error}");
}

#[tokio::test]
async fn requests_and_answers_are_compressed_as_configured() {
    let folder = Folder::new();
    let config = ServerConfig::ephemeral(folder.path().join("data"));
    let server = Server::start(config).await.expect("the engine starts");
    let at = ScyllaConfig::at(server.address().to_string());
    for (compression, expected) in [
        (FrameCompression::None, None),
        (FrameCompression::Lz4, Some(Compression::Lz4)),
        (FrameCompression::Snappy, Some(Compression::Snappy)),
    ] {
        let config = ScyllaConfig { compression, ..at.clone() };
        assert_eq!(config.connections().config.compression, expected);
        assert_usable(&config.connect().await.expect("let in")).await;
    }
}

#[test]
fn each_shard_has_its_connections_through_its_port_as_configured() {
    let three = NonZeroUsize::new(3).expect("not zero");
    let config = ScyllaConfig {
        connections_per_shard: three,
        shard_aware_port: false,
        ..ScyllaConfig::at("127.0.0.1:9042")
    };
    let builder = config.connections();
    assert!(matches!(builder.config.connection_pool_size, PoolSize::PerShard(n) if n == three));
    assert!(builder.config.disallow_shard_aware_port);
    let by_default = ScyllaConfig::at("127.0.0.1:9042").connections();
    assert!(!by_default.config.disallow_shard_aware_port);
}

/// Passes connections on to the engine until `hung`; from then on they stay open and nothing passes.
async fn pass_on(listener: TcpListener, engine: SocketAddr, hung: CancellationToken) {
    let mut passing = JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.expect("a connection");
        let hung = hung.clone();
        passing.spawn(async move {
            let mut engine = TcpStream::connect(engine).await.expect("the engine listens");
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut engine) => {}
                () = hung.cancelled() => std::future::pending().await,
            }
        });
    }
}

#[tokio::test]
async fn a_node_that_hangs_is_noticed_long_before_a_request_times_out() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let server = Server::start(ServerConfig::ephemeral(folder.path())).await.expect("started");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let config = ScyllaConfig {
        keepalive_interval_ms: 1_100,
        keepalive_timeout_ms: 1_100,
        request_timeout_ms: 60_000,
        ..ScyllaConfig::at(listener.local_addr().expect("bound").to_string())
    };
    let hung = CancellationToken::new();
    let mut node = JoinSet::new();
    node.spawn(pass_on(listener, server.address(), hung.clone()));
    let session = config.connect().await.expect("connect");
    assert_usable(&session).await;
    hung.cancel();
    let asked = Instant::now();
    let answer = session.query_unpaged("SELECT key FROM system.local", ()).await;
    let error = answer.expect_err("nobody answers");
    assert!(asked.elapsed() < Duration::from_secs(10), "{error} after {:?}", asked.elapsed());
}
