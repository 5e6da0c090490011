//! Errors as the wire knows them: a code, a message, and for some codes a few more fields.

use bytes::Bytes;

/// An ERROR frame in the making. `Display` is the message that the client sees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CqlError {
    /// What kind of error, which fixes the wire code and its extra fields.
    pub kind: ErrorKind,
    /// The message, in ScyllaDB's words where clients match on them.
    pub message: String,
}

/// The kinds of error that the server sends. Their codes are those of the native protocol, version 4, section 9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// 0x0000
    Server,
    /// 0x000A
    Protocol,
    /// 0x0100
    BadCredentials,
    /// 0x1000
    Unavailable {
        /// Consistency of the request.
        consistency: u16,
        /// Replicas that are needed.
        required: i32,
        /// Replicas that are there.
        alive: i32,
    },
    /// 0x1001
    Overloaded,
    /// 0x1100
    WriteTimeout {
        /// Consistency of the write; for an LWT the serial one.
        consistency: u16,
        /// Replicas that answered.
        received: i32,
        /// Replicas that were needed.
        block_for: i32,
        /// `SIMPLE`, `BATCH`, `CAS`, `CDC`, …
        write_type: &'static str,
    },
    /// 0x1200
    ReadTimeout {
        /// Consistency of the read.
        consistency: u16,
        /// Replicas that answered.
        received: i32,
        /// Replicas that were needed.
        block_for: i32,
        /// Whether the replica that was asked for the rows themselves answered.
        data_present: bool,
    },
    /// 0x1600: the write to a CDC log failed.
    CdcWriteFailure,
    /// 0x1700: a CAS whose outcome is unknown.
    CasUnknown {
        /// The serial consistency.
        consistency: u16,
        /// Replicas that answered.
        received: i32,
        /// Replicas that were needed.
        block_for: i32,
    },
    /// 0x2000
    Syntax,
    /// 0x2100
    Unauthorized,
    /// 0x2200
    Invalid,
    /// 0x2300
    Config,
    /// 0x2400
    AlreadyExists {
        /// Keyspace.
        keyspace: String,
        /// Table; empty when the keyspace itself exists.
        table: String,
    },
    /// 0x2500
    Unprepared {
        /// The id that is not known.
        id: Bytes,
    },
}

impl CqlError {
    /// An error of any kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// 0x2200, by far the most frequent.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// 0x2000, with the position of the offending token: 1-based line, 0-based column.
    pub fn syntax(line: u32, column: u32, message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Syntax, format!("line {line}:{column} {}", message.as_ref()))
    }

    /// 0x000A
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    /// 0x0000
    pub fn server(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Server, message)
    }

    /// 0x2300
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }
}

/// What most functions of this crate return.
pub type Result<T, E = CqlError> = std::result::Result<T, E>;
