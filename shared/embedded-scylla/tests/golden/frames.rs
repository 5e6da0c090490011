//! Damaged frames and garbage: an answer or a clean end of that connection, and others go on being
//! served.

use crate::support::client::Answer;
use crate::support::random::{assert_no_panics, client_with_schema, random};
use crate::support::server::TestServer;
use anyhow::{Context as _, ensure};
use proptest::prelude::*;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Consistency ONE.
const ONE: u16 = 1;

/// Bodies that are right, to be damaged.
fn valid_bodies() -> Vec<(u8, Vec<u8>)> {
    let long_string = |text: &str| {
        let mut out = (text.len() as u32).to_be_bytes().to_vec();
        out.extend(text.as_bytes());
        out
    };
    let select = long_string("SELECT * FROM k.t WHERE p = ? AND c = :c");
    // Consistency, flags (values, names, page size, paging state, serial), two values.
    let parameters =
        b"\x00\x01\x5d\x00\x02\x00\x01p\x00\x00\x00\x04\x00\x00\x00\x01\x00\x01c\xff\xff\xff\xff\x00\x00\x00\x05\x00\x00\x00\x04abcd\x00\x08";
    let mut batch = b"\x00\x00\x02\x00".to_vec();
    batch.extend(long_string("INSERT INTO k.t (p, c, d) VALUES (?, ?, ?)"));
    batch.extend(b"\x00\x03\x00\x00\x00\x04\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00\x00\x01a");
    batch.extend(
        b"\x01\x00\x10aaaabbbbccccdddd\x00\x00\x00\x01\x30\x00\x08\x00\x00\x00\x00\x00\x00\x00\x05",
    );
    vec![
        (0x05, Vec::new()),
        (0x07, [&select[..], parameters].concat()),
        (0x09, select),
        (0x0a, [&b"\x00\x10aaaabbbbccccdddd"[..], parameters].concat()),
        (0x0b, b"\x00\x01\x00\x0dSCHEMA_CHANGE".to_vec()),
        (0x0d, batch),
        (0x01, b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.3.1".to_vec()),
        (0x0f, b"\x00\x00\x00\x02ab".to_vec()),
    ]
}

#[test]
fn damaged_frames_are_answered_on_their_stream() -> anyhow::Result<()> {
    let server = TestServer::start()?;
    let client = RefCell::new(client_with_schema(&server)?);
    let bodies = valid_bodies();
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let cut = prop::option::of(any::<prop::sample::Index>());
    let strategy =
        (prop::sample::select(bodies), damage, cut, prop::option::weighted(0.1, any::<u8>()));
    random(2000, strategy, |((opcode, mut body), damage, cut, other_opcode)| {
        if !body.is_empty() {
            for (at, byte) in damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len() + 1));
            }
        }
        let opcode = other_opcode.unwrap_or(opcode);
        let (answered, answer) = client
            .borrow_mut()
            .request(opcode, &body)
            .with_context(|| format!("opcode {opcode:#04x} body {body:02x?}"))?;
        ensure!(
            [0x00, 0x02, 0x06, 0x08].contains(&answered),
            "opcode {opcode:#04x} body {body:02x?} was answered with {answered:#04x} {answer:02x?}"
        );
        Ok(())
    })?;
    assert_no_panics(&server)
}

#[test]
fn garbage_ends_its_own_connection_only() -> anyhow::Result<()> {
    let server = TestServer::start()?;
    let mut other = client_with_schema(&server)?;
    let address = server.server().address();
    let header = prop_oneof![
        any::<[u8; 9]>().prop_map(|header| header.to_vec()),
        // A right header with some length.
        (any::<u8>(), any::<u8>(), any::<u32>()).prop_map(|(flags, opcode, length)| {
            let mut header = vec![0x04, flags, 0, 1, opcode];
            header.extend(length.to_be_bytes());
            header
        }),
    ];
    random(300, (header, any::<Vec<u8>>()), |(header, body)| {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        // The server may have hung up by now, which is fine.
        let sent = socket.write_all(&[header.clone(), body.clone()].concat());
        let closed = sent.and_then(|()| socket.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let read = socket.read_to_end(&mut answer);
        if let Err(error) = read {
            let reset = error.kind() == std::io::ErrorKind::ConnectionReset;
            ensure!(reset, "{header:02x?} {body:02x?} {closed:?}: {error}");
        }
        let is_frame = answer.is_empty() || answer[0] == 0x84;
        ensure!(is_frame, "{header:02x?} {body:02x?} was answered with {answer:02x?}");
        Ok(())
    })?;
    let answer = other.query("SELECT key FROM system.local", ONE, None, None)?;
    ensure!(matches!(answer, Answer::Rows(_)), "{answer:?}");
    assert_no_panics(&server)
}
