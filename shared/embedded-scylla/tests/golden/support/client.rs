//! A blocking client for protocol version 4: one request at a time, no client timestamps.

use super::values::Type;
use anyhow::{Context as _, bail, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Serial consistency of every request.
const SERIAL: u16 = 8;
/// An answer that takes longer than this fails the test.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A body has warnings in front.
pub(crate) const FLAG_WARNINGS: u8 = 0x08;

/// One connection.
pub(crate) struct Client {
    socket: TcpStream,
    next_stream: i16,
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// VOID, SET KEYSPACE or SCHEMA CHANGE.
    Done,
    /// One page.
    Rows(Page),
    /// An ERROR frame.
    Error(Error),
}

/// A column of a result, or a bind marker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnSpec {
    /// Keyspace.
    pub(crate) keyspace: String,
    /// Table.
    pub(crate) table: String,
    /// Column, alias or marker name.
    pub(crate) name: String,
    /// Type.
    pub(crate) ty: Type,
}

/// One page of rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page {
    /// In order.
    pub(crate) columns: Vec<ColumnSpec>,
    /// Cells row by row.
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
    /// Set when there may be more.
    pub(crate) paging_state: Option<Vec<u8>>,
}

/// An ERROR frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Error {
    /// Wire code.
    pub(crate) code: i32,
    /// Message.
    pub(crate) message: String,
    /// Of "already exists": keyspace and table.
    pub(crate) exists: Option<(String, String)>,
}

impl Client {
    /// Connects and starts up.
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut client = Self { socket, next_stream: 0 };
        let mut startup = Vec::new();
        put_short(&mut startup, 1);
        put_string(&mut startup, "CQL_VERSION");
        put_string(&mut startup, "3.3.1");
        let (opcode, _) = client.request(0x01, &startup)?;
        ensure!(opcode == 0x02, "STARTUP was answered with opcode {opcode:#04x}");
        Ok(client)
    }

    /// QUERY without values. `page_size` of `None` is unpaged.
    pub(crate) fn query(
        &mut self,
        text: &str,
        consistency: u16,
        page_size: Option<i32>,
        paging_state: Option<&[u8]>,
    ) -> anyhow::Result<Answer> {
        let mut body = Vec::new();
        put_int(&mut body, text.len() as i32);
        body.extend_from_slice(text.as_bytes());
        put_short(&mut body, consistency);
        let paging_flag = if paging_state.is_some() { 0x08 } else { 0 };
        let size_flag = if page_size.is_some() { 0x04 } else { 0 };
        body.push(0x10 | size_flag | paging_flag);
        if let Some(page_size) = page_size {
            put_int(&mut body, page_size);
        }
        if let Some(state) = paging_state {
            put_int(&mut body, state.len() as i32);
            body.extend_from_slice(state);
        }
        put_short(&mut body, SERIAL);
        let (opcode, body) = self.request(0x07, &body)?;
        decode_answer(opcode, &body)
    }

    /// Sends one frame and reads its answer: opcode and body.
    pub(crate) fn request(&mut self, opcode: u8, body: &[u8]) -> anyhow::Result<(u8, Vec<u8>)> {
        self.next_stream = (self.next_stream + 1) & 0x7fff;
        let stream = self.next_stream;
        self.send(opcode, stream, body)?;
        let (answered, opcode, body) = self.read_frame()?;
        ensure!(answered == stream, "stream {stream} was answered as {answered}");
        Ok((opcode, body))
    }

    /// Sends one frame.
    pub(crate) fn send(&mut self, opcode: u8, stream: i16, body: &[u8]) -> anyhow::Result<()> {
        let mut frame = vec![0x04, 0x00];
        frame.extend(stream.to_be_bytes());
        frame.push(opcode);
        put_int(&mut frame, body.len() as i32);
        frame.extend_from_slice(body);
        Ok(self.socket.write_all(&frame)?)
    }

    /// Reads one response frame: stream, opcode, body.
    pub(crate) fn read_frame(&mut self) -> anyhow::Result<(i16, u8, Vec<u8>)> {
        let mut header = [0u8; 9];
        self.socket.read_exact(&mut header).context("read a frame header")?;
        let [version, flags, stream @ .., opcode, l0, l1, l2, l3] = header;
        ensure!(version == 0x84, "response version {version:#04x}");
        ensure!(flags & !FLAG_WARNINGS == 0, "response flags {flags:#04x}: nothing was negotiated");
        let mut body = vec![0u8; u32::from_be_bytes([l0, l1, l2, l3]) as usize];
        self.socket.read_exact(&mut body).context("read a frame body")?;
        if flags & FLAG_WARNINGS != 0 {
            body = without_warnings(&body)?;
        }
        Ok((i16::from_be_bytes(stream), opcode, body))
    }
}

/// A body that starts with warnings, without them.
pub(crate) fn without_warnings(body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Body(body);
    for _ in 0..body.short()? {
        body.string()?;
    }
    Ok(body.0.to_vec())
}

/// Reads an answer to QUERY.
pub(crate) fn decode_answer(opcode: u8, body: &[u8]) -> anyhow::Result<Answer> {
    let mut body = Body(body);
    match opcode {
        0x00 => decode_error(body.0).map(Answer::Error),
        0x08 => match body.int()? {
            1 | 3 | 5 => Ok(Answer::Done),
            2 => body.rows().map(Answer::Rows),
            kind => bail!("result of kind {kind}"),
        },
        _ => bail!("QUERY was answered with opcode {opcode:#04x}"),
    }
}

/// Reads the body of an ERROR frame.
pub(crate) fn decode_error(body: &[u8]) -> anyhow::Result<Error> {
    let mut body = Body(body);
    let (code, message) = (body.int()?, body.string()?);
    let exists = if code == 0x2400 { Some((body.string()?, body.string()?)) } else { None };
    Ok(Error { code, message, exists })
}

/// A reader of response bodies.
pub(crate) struct Body<'a>(pub(crate) &'a [u8]);

impl<'a> Body<'a> {
    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> anyhow::Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length).context("the body is too short")?;
        self.0 = rest;
        Ok(head)
    }

    /// u16
    pub(crate) fn short(&mut self) -> anyhow::Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    /// i32
    pub(crate) fn int(&mut self) -> anyhow::Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    /// Short length and UTF-8.
    pub(crate) fn string(&mut self) -> anyhow::Result<String> {
        let length = self.short()?;
        Ok(std::str::from_utf8(self.take(length.into())?)?.to_owned())
    }

    /// Int length and bytes; negative is null.
    pub(crate) fn bytes(&mut self) -> anyhow::Result<Option<&'a [u8]>> {
        match usize::try_from(self.int()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The columns of a result or of prepared metadata.
    pub(crate) fn column_specs(
        &mut self,
        flags: i32,
        count: i32,
    ) -> anyhow::Result<Vec<ColumnSpec>> {
        let global = if flags & 0x01 != 0 && count > 0 {
            Some((self.string()?, self.string()?))
        } else {
            None
        };
        let specs = (0..count).map(|_| {
            let (keyspace, table) = match &global {
                Some(table) => table.clone(),
                None => (self.string()?, self.string()?),
            };
            Ok(ColumnSpec { keyspace, table, name: self.string()?, ty: Type::read(self)? })
        });
        specs.collect()
    }

    /// What follows the kind of a ROWS result.
    pub(crate) fn rows(&mut self) -> anyhow::Result<Page> {
        let flags = self.int()?;
        let count = self.int()?;
        let paging_state = if flags & 0x02 != 0 { self.bytes()?.map(<[u8]>::to_vec) } else { None };
        ensure!(flags & 0x04 == 0, "no metadata, though it was not skipped");
        let columns = self.column_specs(flags, count)?;
        let mut rows = Vec::new();
        for _ in 0..self.int()? {
            let cells = columns.iter().map(|_| Ok(self.bytes()?.map(<[u8]>::to_vec)));
            rows.push(cells.collect::<anyhow::Result<Vec<_>>>()?);
        }
        ensure!(self.0.is_empty(), "{} bytes after the last row", self.0.len());
        Ok(Page { columns, rows, paging_state })
    }
}

fn put_short(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_be_bytes());
}

fn put_int(out: &mut Vec<u8>, value: i32) {
    out.extend(value.to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_short(out, text.len() as u16);
    out.extend_from_slice(text.as_bytes());
}
