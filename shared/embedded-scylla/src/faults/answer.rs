//! What clients are told in place of a result.

use crate::error::{CqlError, ErrorKind};
use crate::protocol::consistency;
use serde::{Deserialize, Serialize};

/// What a client sees instead of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// 0x1100
    #[default]
    WriteTimeout,
    /// 0x1700
    CasUnknown,
    /// 0x1600
    CdcWriteFailure,
    /// 0x1200
    ReadTimeout,
    /// Nothing, ever; the stream stays open until the connection closes.
    Silence,
    /// 0x1001; a rule's kind, not an answer to choose.
    #[serde(skip)]
    Overloaded,
    /// 0x1000; a rule's kind, not an answer to choose.
    #[serde(skip)]
    Unavailable,
}

/// What errors repeat of the request that they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Its consistency; of an LWT the serial one.
    pub consistency: u16,
    /// `CAS`, `SIMPLE`, `BATCH` or `UNLOGGED_BATCH`; of a read it is not told.
    pub write_type: &'static str,
}

impl Answer {
    /// The answer: an error, or for [`Answer::Silence`] a future that never ends, which the server
    /// drops with the connection.
    pub async fn give(self, asked: Asked) -> CqlError {
        let Asked { consistency, write_type } = asked;
        let level = consistency::name(consistency);
        let (received, block_for) = (0, 1);
        let timed_out =
            || format!("Operation timed out - received only 0 responses from 1 CL={level}.");
        let (kind, message) = match self {
            Self::WriteTimeout => (
                ErrorKind::WriteTimeout { consistency, received, block_for, write_type },
                timed_out(),
            ),
            Self::CasUnknown => (
                ErrorKind::CasUnknown { consistency, received, block_for },
                format!(
                    "CAS operation result is unknown - proposal was not accepted by a quorum. CL={level}"
                ),
            ),
            Self::CdcWriteFailure => {
                (ErrorKind::CdcWriteFailure, "Failed to write to the CDC log table.".to_owned())
            }
            Self::ReadTimeout => (
                ErrorKind::ReadTimeout { consistency, received, block_for, data_present: false },
                timed_out(),
            ),
            Self::Overloaded => {
                (ErrorKind::Overloaded, "Too many in flight requests: 0".to_owned())
            }
            Self::Unavailable => (
                ErrorKind::Unavailable { consistency, required: 1, alive: 0 },
                format!("Cannot achieve consistency level for cl {level}. Requires 1, alive 0."),
            ),
            Self::Silence => std::future::pending().await,
        };
        CqlError::new(kind, format!("{message} (injected)"))
    }
}
