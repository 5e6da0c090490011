//! The CQL binary protocol, version 4: bytes to requests, responses to bytes.
//!
//! A frame is read by the server's connection in two steps: [`Header::decode`] judges the first
//! nine bytes, then [`request::decode`] turns the body into a [`request::Request`]. Answers are
//! written as whole frames by [`response`]. Nothing here does I/O, and nothing that a client sends
//! can make it panic or allocate more than a small multiple of what was sent.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 1 | version: `0x04` in requests, `0x84` in responses |
//! | 1 | 1 | flags: compressed, tracing, custom payload, warnings |
//! | 2 | 2 | stream, echoed; -1 for events |
//! | 4 | 1 | opcode |
//! | 5 | 4 | length of the body |
//!
//! What differs from ScyllaDB 5.4 on the wire: SUPPORTED offers neither a shard-aware port nor rate
//! limit errors; answers carry no warnings; bodies below 1 KiB are never compressed.

pub(crate) mod compression;
mod read;
pub(crate) mod request;
pub(crate) mod response;
#[cfg(test)]
pub(crate) mod tests;

use crate::error::CqlError;

/// Bytes of a frame before its body.
pub(crate) const HEADER_LEN: usize = 9;

/// The only version that the server speaks.
pub(crate) const VERSION: u8 = 4;

/// The largest body that the protocol allows.
pub(crate) const BODY_LEN_MAX: usize = 256 * 1024 * 1024;

/// The bit that PREPARED carries for conditional statements, once the client has asked for it.
pub(crate) const LWT_MARK: u32 = 1 << 31;

/// Frame flags.
pub(crate) mod flag {
    pub(crate) const COMPRESSED: u8 = 0x01;
    pub(crate) const TRACING: u8 = 0x02;
    pub(crate) const CUSTOM_PAYLOAD: u8 = 0x04;
}

/// Opcodes of both directions.
pub(crate) mod opcode {
    pub(crate) const ERROR: u8 = 0x00;
    pub(crate) const STARTUP: u8 = 0x01;
    pub(crate) const READY: u8 = 0x02;
    pub(crate) const AUTHENTICATE: u8 = 0x03;
    pub(crate) const OPTIONS: u8 = 0x05;
    pub(crate) const SUPPORTED: u8 = 0x06;
    pub(crate) const QUERY: u8 = 0x07;
    pub(crate) const RESULT: u8 = 0x08;
    pub(crate) const PREPARE: u8 = 0x09;
    pub(crate) const EXECUTE: u8 = 0x0a;
    pub(crate) const REGISTER: u8 = 0x0b;
    pub(crate) const EVENT: u8 = 0x0c;
    pub(crate) const BATCH: u8 = 0x0d;
    pub(crate) const AUTH_RESPONSE: u8 = 0x0f;
    pub(crate) const AUTH_SUCCESS: u8 = 0x10;
}

/// The first nine bytes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) flags: u8,
    pub(crate) stream: i16,
    pub(crate) opcode: u8,
    pub(crate) body_len: usize,
}

impl Header {
    /// The header, or the error to answer with on the given stream before closing.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, (i16, CqlError)> {
        let [version, flags, s0, s1, opcode, l0, l1, l2, l3] = *bytes;
        let stream = i16::from_be_bytes([s0, s1]);
        if version != VERSION {
            let message = format!(
                "Invalid or unsupported protocol version: {}; only version {VERSION} is supported",
                version & 0x7f
            );
            return Err((stream, CqlError::protocol(message)));
        }
        let body_len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        Ok(Self { flags, stream, opcode, body_len })
    }
}
