//! Checked reads of the protocol's primitives. Every read errs on a short body.

use crate::error::{CqlError, Result};
use crate::protocol::{Value, consistency};
use bytes::{Buf, Bytes};

/// What is left of a body. Values are slices of it, not copies.
pub(super) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(super) fn new(body: Bytes) -> Self {
        Self { rest: body }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, len: usize) -> Result<Bytes> {
        if self.rest.len() < len {
            return Err(CqlError::protocol(format!(
                "truncated frame: expected {len} bytes, length is {}",
                self.rest.len()
            )));
        }
        Ok(self.rest.split_to(len))
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?.get_u8())
    }

    pub(super) fn short(&mut self) -> Result<u16> {
        Ok(self.take(2)?.get_u16())
    }

    pub(super) fn int(&mut self) -> Result<i32> {
        Ok(self.take(4)?.get_i32())
    }

    pub(super) fn long(&mut self) -> Result<i64> {
        Ok(self.take(8)?.get_i64())
    }

    pub(super) fn consistency(&mut self) -> Result<u16> {
        let code = self.short()?;
        if code > consistency::LOCAL_ONE {
            return Err(CqlError::protocol(format!("Unknown code {code} for a consistency level")));
        }
        Ok(code)
    }

    pub(super) fn string(&mut self) -> Result<String> {
        let len = self.short()?;
        utf8(self.take(len.into())?)
    }

    pub(super) fn long_string(&mut self) -> Result<String> {
        let len = self.int()?;
        let len = usize::try_from(len)
            .map_err(|_| CqlError::protocol(format!("negative length {len} of a string")))?;
        utf8(self.take(len)?)
    }

    pub(super) fn short_bytes(&mut self) -> Result<Bytes> {
        let len = self.short()?;
        self.take(len.into())
    }

    /// `bytes`: any negative length is null.
    pub(super) fn bytes(&mut self) -> Result<Option<Bytes>> {
        let len = self.int()?;
        usize::try_from(len).ok().map(|len| self.take(len)).transpose()
    }

    /// `value`: -1 is null, -2 is unset.
    pub(super) fn value(&mut self) -> Result<Value> {
        let len = self.int()?;
        match usize::try_from(len) {
            Ok(len) => Ok(Value::Bytes(self.take(len)?)),
            Err(_) if len == -1 => Ok(Value::Null),
            Err(_) if len == -2 => Ok(Value::Unset),
            Err(_) => Err(CqlError::protocol(format!("invalid value length: {len}"))),
        }
    }

    pub(super) fn string_list(&mut self) -> Result<Vec<String>> {
        self.list(2, Self::string)
    }

    pub(super) fn string_map(&mut self) -> Result<Vec<(String, String)>> {
        self.list(4, |reader| Ok((reader.string()?, reader.string()?)))
    }

    /// Skips the custom payload of a request.
    pub(super) fn skip_bytes_map(&mut self) -> Result<()> {
        for _ in 0..self.short()? {
            self.string()?;
            self.bytes()?;
        }
        Ok(())
    }

    /// A short count, then so many items of at least `item_len` bytes each. Room is made only for
    /// what the rest of the body can hold.
    pub(super) fn list<T>(
        &mut self,
        item_len: usize,
        item: impl Fn(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = usize::from(self.short()?);
        let mut items = Vec::with_capacity(count.min(self.rest.len() / item_len));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

fn utf8(bytes: Bytes) -> Result<String> {
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(CqlError::protocol("Cannot decode string as UTF8")),
    }
}
