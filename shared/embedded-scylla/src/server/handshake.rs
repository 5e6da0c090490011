//! What a client has to say before it may ask anything.
//!
//! | state | takes | answers |
//! | --- | --- | --- |
//! | fresh | OPTIONS, STARTUP | SUPPORTED; READY, or AUTHENTICATE where passwords are asked for |
//! | asked for a password | AUTH_RESPONSE | AUTH_SUCCESS; ERROR 0x0100, after which it may try again |
//!
//! Anything else is refused as a protocol error, as ScyllaDB does. The connection's deadline bounds
//! how long a client may try.

use super::passwords::Passwords;
use crate::error::{CqlError, Result};
use crate::wire::compression::Compression;
use crate::wire::request::Request;
use crate::wire::{Header, opcode, response};
use bytes::Bytes;
use std::sync::Arc;

/// What STARTUP settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    pub(super) compression: Option<Compression>,
    pub(super) lwt_mark: bool,
}

/// How far one client has come.
pub(super) struct Handshake {
    /// Those who may come in; `None` lets everybody in.
    passwords: Option<Arc<Passwords>>,
    /// Set while a password is awaited.
    asked: Option<Started>,
}

impl Handshake {
    pub(super) fn new(passwords: Option<Arc<Passwords>>) -> Self {
        Self { passwords, asked: None }
    }

    /// How a frame of the handshake may be packed: some clients pack AUTH_RESPONSE.
    pub(super) fn compression(&self) -> Option<Compression> {
        self.asked.and_then(|started| started.compression)
    }

    /// Judges one request; gives the answer, and what was settled if the client is let in.
    pub(super) fn step(
        &mut self,
        header: Header,
        request: Result<Request>,
    ) -> Result<(Bytes, Option<Started>)> {
        let stream = header.stream;
        let Some(started) = self.asked else {
            return match request? {
                Request::Options => Ok((response::supported(stream), None)),
                Request::Startup(options) => self.begin(stream, startup(&options)?),
                _ => Err(unexpected(header, "STARTUP or OPTIONS")),
            };
        };
        // By its opcode, so that the body of anything else does not matter.
        if header.opcode != opcode::AUTH_RESPONSE {
            return Err(unexpected(header, "SASL_RESPONSE"));
        }
        if let (Request::AuthResponse(token), Some(passwords)) = (request?, &self.passwords) {
            passwords.check(&token.0)?;
        }
        Ok((response::auth_success(stream), Some(started)))
    }

    fn begin(&mut self, stream: i16, started: Started) -> Result<(Bytes, Option<Started>)> {
        if self.passwords.is_none() {
            return Ok((response::ready(stream), Some(started)));
        }
        self.asked = Some(started);
        Ok((response::authenticate(stream), None))
    }
}

fn unexpected(header: Header, expected: &str) -> CqlError {
    CqlError::protocol(format!("Unexpected message {}, expecting {expected}", header.opcode))
}

/// Judges the options of STARTUP.
fn startup(options: &[(String, String)]) -> Result<Started> {
    let option = |wanted: &str| {
        options.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str())
    };
    tracing::debug!(
        driver = option("DRIVER_NAME").unwrap_or("unknown"),
        version = option("DRIVER_VERSION").unwrap_or("unknown"),
        application = option("APPLICATION_NAME").unwrap_or("unknown"),
        "connection started"
    );
    let (mark, mask) = response::LWT_MARK_OPTION;
    Ok(Started {
        compression: option("COMPRESSION").map(Compression::from_name).transpose()?,
        lwt_mark: option(mark) == Some(mask),
    })
}
