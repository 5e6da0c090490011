//! Body compression, chosen by the client at STARTUP.
//!
//! lz4 bodies are a 4-byte uncompressed length and one raw block; snappy bodies are in its raw
//! format. Both say how long they will be, so that a bomb is refused before it is unpacked.

use super::{BODY_LEN_MAX, HEADER_LEN, flag};
use crate::error::{CqlError, Result};
use bytes::{BufMut, Bytes, BytesMut};

/// Smaller bodies are sent as they are.
const COMPRESS_MIN: usize = 1024;

/// No block of either format unpacks to more than this many times its length.
const RATIO_MAX: usize = 255;

/// An algorithm that the server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Lz4,
    Snappy,
}

impl Compression {
    /// By its name in STARTUP.
    pub(crate) fn from_name(name: &str) -> Result<Self> {
        match name {
            "lz4" => Ok(Self::Lz4),
            "snappy" => Ok(Self::Snappy),
            other => Err(CqlError::protocol(format!("Unknown compression algorithm: {other}"))),
        }
    }

    /// How long a body will be once it is unpacked; errs if that cannot be true.
    pub(crate) fn uncompressed_len(self, body: &[u8]) -> Result<usize> {
        let len = match self {
            Self::Lz4 => {
                let len = body
                    .first_chunk()
                    .ok_or_else(|| CqlError::protocol("truncated compressed frame"))?;
                u32::from_be_bytes(*len) as usize
            }
            Self::Snappy => snap::raw::decompress_len(body).map_err(|error| broken(&error))?,
        };
        if len > BODY_LEN_MAX.min(body.len().saturating_mul(RATIO_MAX)) {
            return Err(CqlError::protocol("compressed frame with an impossible length"));
        }
        Ok(len)
    }

    /// Unpacks a body; the caller has looked at [`Compression::uncompressed_len`].
    pub(crate) fn decompress(self, body: &[u8]) -> Result<Bytes> {
        let len = self.uncompressed_len(body)?;
        let unpacked = match self {
            Self::Lz4 => {
                lz4_flex::block::decompress(&body[4..], len).map_err(|error| broken(&error))?
            }
            Self::Snappy => {
                snap::raw::Decoder::new().decompress_vec(body).map_err(|error| broken(&error))?
            }
        };
        if unpacked.len() != len {
            return Err(CqlError::protocol("compressed frame with a wrong length"));
        }
        Ok(unpacked.into())
    }

    /// Compresses a whole response frame if that is worth it.
    pub(crate) fn compress(self, frame: Bytes) -> Bytes {
        let (header, body) = frame.split_at(HEADER_LEN);
        if body.len() < COMPRESS_MIN {
            return frame;
        }
        let packed = match self {
            Self::Lz4 => {
                let mut packed = Vec::with_capacity(body.len() / 2);
                packed.extend_from_slice(&(body.len() as u32).to_be_bytes());
                packed.extend_from_slice(&lz4_flex::block::compress(body));
                packed
            }
            Self::Snappy => match snap::raw::Encoder::new().compress_vec(body) {
                Ok(packed) => packed,
                // Uncompressed frames are always legal.
                Err(_) => return frame,
            },
        };
        if packed.len() >= body.len() {
            return frame;
        }
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + packed.len());
        bytes.put_slice(header);
        bytes[1] |= flag::COMPRESSED;
        bytes[5..HEADER_LEN].copy_from_slice(&(packed.len() as u32).to_be_bytes());
        bytes.put_slice(&packed);
        bytes.freeze()
    }
}

fn broken(error: &dyn std::error::Error) -> CqlError {
    CqlError::protocol(format!("broken compressed frame: {error}"))
}
