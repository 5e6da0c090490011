//! Decodes server frames, written apart from the encoder and without its types, so that recorded
//! frames of a real server can judge it. Used by the unit tests and by the replay test.

/// A type by its wire code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Type {
    pub(crate) code: u16,
    pub(crate) children: Vec<Type>,
}

/// Keyspace, table, name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) ty: Type,
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Void,
    Rows(RowsBody),
    SetKeyspace(String),
    Prepared {
        id: Vec<u8>,
        flags: u32,
        partition_key: Vec<u16>,
        markers: Vec<Column>,
        result_flags: u32,
        columns: Vec<Column>,
    },
    /// Change, target, keyspace and table.
    SchemaChange(Vec<String>),
    Error {
        code: i32,
        message: String,
        rest: Vec<u8>,
    },
}

/// ROWS
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowsBody {
    pub(crate) flags: u32,
    pub(crate) paging_state: Option<Vec<u8>>,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
}

/// Reads a RESULT, ERROR or EVENT body; panics on what a server must not send.
pub(crate) fn decode(op: &str, flags: u8, body: &[u8]) -> (Vec<String>, Body) {
    let mut rest = Rest(body);
    let warnings = if flags & 8 != 0 { rest.strings() } else { Vec::new() };
    let decoded = match op {
        "ERROR" => Body::Error { code: rest.int(), message: rest.string(), rest: rest.0.to_vec() },
        "EVENT" => {
            assert_eq!(rest.string(), "SCHEMA_CHANGE");
            rest.schema_change()
        }
        "RESULT" => match rest.int() {
            1 => Body::Void,
            2 => Body::Rows(rest.rows()),
            3 => Body::SetKeyspace(rest.string()),
            4 => rest.prepared(),
            5 => rest.schema_change(),
            kind => panic!("result kind {kind}"),
        },
        other => panic!("{other} has no body to decode"),
    };
    if op != "ERROR" {
        assert_eq!(rest.0, &[] as &[u8], "bytes after the body of {decoded:?}");
    }
    (warnings, decoded)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn count(&mut self) -> usize {
        usize::try_from(self.int()).expect("a count is not negative")
    }

    fn string(&mut self) -> String {
        let len = self.short();
        String::from_utf8(self.take(len.into()).to_vec()).expect("strings are UTF-8")
    }

    fn strings(&mut self) -> Vec<String> {
        (0..self.short()).map(|_| self.string()).collect()
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        usize::try_from(self.int()).ok().map(|len| self.take(len).to_vec())
    }

    fn schema_change(&mut self) -> Body {
        let mut parts = Vec::new();
        while !self.0.is_empty() {
            parts.push(self.string());
        }
        Body::SchemaChange(parts)
    }

    fn ty(&mut self) -> Type {
        let code = self.short();
        let children = match code {
            0x20 | 0x22 => 1,
            0x21 => 2,
            0x31 => self.short().into(),
            _ => 0,
        };
        Type { code, children: (0..children).map(|_| self.ty()).collect() }
    }

    fn columns(&mut self, flags: u32, count: usize) -> Vec<Column> {
        if flags & 4 != 0 {
            return Vec::new();
        }
        let global = (flags & 1 != 0).then(|| (self.string(), self.string()));
        (0..count)
            .map(|_| {
                let (keyspace, table) =
                    global.clone().unwrap_or_else(|| (self.string(), self.string()));
                Column { keyspace, table, name: self.string(), ty: self.ty() }
            })
            .collect()
    }

    fn rows(&mut self) -> RowsBody {
        let flags = self.int() as u32;
        let count = self.count();
        let paging_state =
            (flags & 2 != 0).then(|| self.bytes().expect("more pages have a paging state"));
        let columns = self.columns(flags, count);
        let rows = (0..self.count()).map(|_| (0..count).map(|_| self.bytes()).collect()).collect();
        RowsBody { flags, paging_state, columns, rows }
    }

    fn prepared(&mut self) -> Body {
        let id_len = self.short();
        let id = self.take(id_len.into()).to_vec();
        let flags = self.int() as u32;
        let count = self.count();
        let partition_key = (0..self.count()).map(|_| self.short()).collect();
        let markers = self.columns(flags, count);
        let result_flags = self.int() as u32;
        let result_count = self.count();
        let columns = self.columns(result_flags, result_count);
        Body::Prepared { id, flags, partition_key, markers, result_flags, columns }
    }
}
