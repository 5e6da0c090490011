//! The handshake where a password is asked for, frame by frame.

use super::stage::{Client, Stage, frame, query, startup};
use super::*;
use bytes::BufMut;

/// A listener that knows one user, and its file.
async fn guarded() -> (Stage, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "ann:canary").expect("written");
    let password_file = Some(file.path().to_owned());
    let security = Security::open(SecurityConfig { tls: None, password_file });
    (Stage::with(Limits::default(), security.expect("a sound file")).await, file)
}

fn token(text: &str) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u32(text.len() as u32);
    body.put_slice(text.as_bytes());
    body
}

async fn asked(stage: &Stage, options: &[(&str, &str)]) -> Client {
    let mut client = stage.client().await;
    client.send(0, opcode::STARTUP, 1, &startup(options)).await;
    let answer = client.receive().await;
    assert_eq!((answer.opcode, answer.stream), (opcode::AUTHENTICATE, 1));
    assert_eq!(&answer.body[2..], b"org.apache.cassandra.auth.PasswordAuthenticator");
    client
}

#[tokio::test]
async fn nothing_but_a_password_counts_once_it_was_asked_for() {
    let (stage, _file) = guarded().await;
    let mut client = asked(&stage, &[]).await;
    let requests = [
        (opcode::QUERY, query("keyspace")),
        (opcode::OPTIONS, BytesMut::new()),
        (opcode::STARTUP, startup(&[])),
        (opcode::REGISTER, BytesMut::new()),
        (opcode::PREPARE, BytesMut::from(&b"not even sound"[..])),
    ];
    for (opcode, body) in requests {
        client.send(0, opcode, 2, &body).await;
        let message = format!("Unexpected message {opcode}, expecting SASL_RESPONSE");
        assert_eq!(client.receive().await.message(), (0x000a, message));
    }
    client.send(0, opcode::AUTH_RESPONSE, 3, &token("\0ann\0wrong")).await;
    let refused = (0x0100, "Username and/or password are incorrect".to_owned());
    assert_eq!(client.receive().await.message(), refused);
    client.query(4, "keyspace").await;
    assert_eq!(client.receive().await.message().0, 0x000a);
    assert_eq!(stage.begun(), 0, "no request came through");

    client.send(0, opcode::AUTH_RESPONSE, 5, &token("\0ann\0canary")).await;
    let answer = client.receive().await;
    assert_eq!((answer.opcode, answer.stream), (opcode::AUTH_SUCCESS, 5));
    client.query(6, "keyspace").await;
    assert_eq!(client.receive().await.message(), (0x2200, "None".into()));
    client.send(0, opcode::AUTH_RESPONSE, 7, &token("\0ann\0canary")).await;
    assert_eq!(client.receive().await.message().0, 0x000a);
}

#[tokio::test]
async fn a_password_does_not_count_before_startup() {
    let (stage, _file) = guarded().await;
    let mut client = stage.client().await;
    client.send(0, opcode::AUTH_RESPONSE, 1, &token("\0ann\0canary")).await;
    assert_eq!(client.receive().await.message().0, 0x000a);
    client.query(2, "keyspace").await;
    assert_eq!(client.receive().await.message().0, 0x000a);
}

#[tokio::test]
async fn a_packed_password_is_understood() {
    let (stage, _file) = guarded().await;
    let mut client = asked(&stage, &[("COMPRESSION", "lz4")]).await;
    // Long enough that it is worth packing: what stands before the user is not looked at.
    let long = format!("{}\0ann\0canary", "x".repeat(5000));
    let plain = frame(0, opcode::AUTH_RESPONSE, 2, &token(&long)).freeze();
    let packed = Compression::Lz4.compress(plain);
    assert_eq!(packed[1], flag::COMPRESSED);
    client.socket.write_all(&packed).await.expect("server reads");
    let answer = client.receive().await;
    assert_eq!((answer.opcode, answer.flags), (opcode::AUTH_SUCCESS, 0));
}

#[tokio::test]
async fn a_client_that_never_gives_its_password_is_hung_up_on() {
    let (_, file) = guarded().await;
    let password_file = Some(file.path().to_owned());
    let security = Security::open(SecurityConfig { tls: None, password_file });
    let limits = Limits { handshake_timeout: Duration::from_millis(200), ..Limits::default() };
    let stage = Stage::with(limits, security.expect("a sound file")).await;
    asked(&stage, &[]).await.assert_closed().await;
}
