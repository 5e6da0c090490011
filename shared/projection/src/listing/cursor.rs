//! Where a page of a list ended.

use kernel::Timestamp;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The place behind the last row of a page. Opaque to clients: they hand back what they got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(super) created_at: Timestamp,
    pub(super) id: Uuid,
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{}", self.created_at.0, self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let plain = text.len() == 48 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plain {
            return Err(CursorError);
        }
        let (time, id) = text.split_at(16);
        let time = u64::from_str_radix(time, 16).map_err(|_| CursorError)?;
        let id = Uuid::try_parse(id).map_err(|_| CursorError)?;
        Ok(Self { created_at: Timestamp(time.cast_signed()), id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_was_written() {
        let cursor = Cursor { created_at: Timestamp(1_700_000_000_123), id: Uuid::max() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        let before = Cursor { created_at: Timestamp(-5), id: Uuid::nil() };
        assert_eq!(before.to_string().parse(), Ok(before));
    }

    #[test]
    fn anything_else_is_no_cursor() {
        for text in ["", "x", &"g".repeat(48), &"0".repeat(47), &"é".repeat(24)] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
