//! CQL text to tokens, one at a time. It cannot fail: what is no token becomes [`Kind::Bad`], and
//! the parser says so when it gets there.

use uuid::Uuid;

/// One token and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Bytes of the text.
    pub(super) start: usize,
    pub(super) end: usize,
    /// From 1.
    pub(super) line: u32,
    /// From 0, in characters.
    pub(super) column: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// An unquoted word: an identifier or a keyword.
    Word,
    /// `"Quoted"`, unescaped.
    Quoted(String),
    /// `'text'` or `$$text$$`, unescaped.
    Text(String),
    Integer,
    Float,
    /// With `0x`.
    Hex,
    Uuid(Uuid),
    Duration,
    /// One of [`PUNCTUATION`].
    Punctuation(&'static str),
    /// No token of CQL.
    Bad,
    End,
}

/// Longer ones first.
const PUNCTUATION: [&str; 22] = [
    "<=", ">=", "!=", "(", ")", "[", "]", "{", "}", "<", ">", "=", ",", ";", ":", ".", "?", "*",
    "+", "-", "/", "%",
];

#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1, column: 0 }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn next(&mut self) -> Token {
        self.skip_blanks();
        let (start, line, column) = (self.at, self.line, self.column);
        let (kind, length) = self.scan();
        self.advance(length);
        Token { kind, start, end: self.at, line, column }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Moves on by `length` bytes and keeps line and column.
    fn advance(&mut self, length: usize) {
        let passed = &self.rest()[..length];
        for c in passed.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 0;
            } else {
                self.column += 1;
            }
        }
        self.at += length;
    }

    /// White space and comments. An unclosed comment reaches to the end.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start().len();
            let length = if blanks > 0 {
                blanks
            } else if rest.starts_with("--") || rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.get(2..).and_then(|rest| rest.find("*/")).map_or(rest.len(), |at| at + 4)
            } else {
                return;
            };
            self.advance(length);
        }
    }

    /// The token at the current place and its length in bytes.
    fn scan(&self) -> (Kind, usize) {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return (Kind::End, 0) };
        match first {
            '\'' => quoted(rest, '\'', Kind::Text),
            '"' => quoted(rest, '"', Kind::Quoted),
            '$' => dollar_quoted(rest),
            _ if first.is_ascii_hexdigit() && uuid(rest).is_some() => {
                uuid(rest).map_or((Kind::Bad, 1), |uuid| (Kind::Uuid(uuid), UUID_LENGTH))
            }
            '0'..='9' => number(rest),
            'P' if iso_duration(rest).is_some() => {
                (Kind::Duration, iso_duration(rest).unwrap_or(rest.len()))
            }
            'a'..='z' | 'A'..='Z' => (Kind::Word, word_length(rest)),
            _ => PUNCTUATION
                .iter()
                .find(|punctuation| rest.starts_with(**punctuation))
                .map_or((Kind::Bad, first.len_utf8()), |punctuation| {
                    (Kind::Punctuation(punctuation), punctuation.len())
                }),
        }
    }
}

const UUID_LENGTH: usize = 36;

/// A quote inside is written twice.
fn quoted(rest: &str, quote: char, kind: fn(String) -> Kind) -> (Kind, usize) {
    let mut value = String::new();
    let mut at = 1;
    loop {
        let Some(end) = rest[at..].find(quote) else { return (Kind::Bad, rest.len()) };
        value.push_str(&rest[at..at + end]);
        at += end + 1;
        if !rest[at..].starts_with(quote) {
            return (kind(value), at);
        }
        value.push(quote);
        at += 1;
    }
}

fn dollar_quoted(rest: &str) -> (Kind, usize) {
    let Some(inner) = rest.strip_prefix("$$") else { return (Kind::Bad, 1) };
    match inner.find("$$") {
        Some(end) => (Kind::Text(inner[..end].to_owned()), end + 4),
        None => (Kind::Bad, rest.len()),
    }
}

fn uuid(rest: &str) -> Option<Uuid> {
    let text = rest.get(..UUID_LENGTH)?;
    let in_a_word = rest[UUID_LENGTH..].starts_with(|c: char| c.is_ascii_alphanumeric());
    let dashes = text.bytes().enumerate().filter(|(_, byte)| *byte == b'-').map(|(at, _)| at);
    if in_a_word || !dashes.eq([8, 13, 18, 23]) {
        return None;
    }
    Uuid::parse_str(text).ok()
}

fn word_length(rest: &str) -> usize {
    rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// Integer, float, blob or duration; the sign is a token of its own.
fn number(rest: &str) -> (Kind, usize) {
    if rest.starts_with("0x") || rest.starts_with("0X") {
        let length = word_length(rest);
        let is_hex = rest[2..length].bytes().all(|byte| byte.is_ascii_hexdigit());
        return (if is_hex { Kind::Hex } else { Kind::Bad }, length);
    }
    let whole = digits(rest);
    let mut end = whole;
    let mut kind = Kind::Integer;
    if rest[end..].starts_with('.') {
        kind = Kind::Float;
        end += 1 + digits(&rest[end + 1..]);
    }
    if let Some(exponent) = rest[end..].strip_prefix(['e', 'E']) {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let length = digits(unsigned);
        if length > 0 {
            kind = Kind::Float;
            end += 1 + (exponent.len() - unsigned.len()) + length;
        }
    }
    let tail = rest[end..].find(|c: char| !(c.is_alphanumeric() || c == '_'));
    let tail_end = tail.map_or(rest.len(), |at| end + at);
    if tail_end == end {
        return (kind, end);
    }
    let is_duration =
        kind == Kind::Integer && crate::types::duration::parse(&rest[..tail_end]).is_some();
    (if is_duration { Kind::Duration } else { Kind::Bad }, tail_end)
}

/// The length of an ISO 8601 duration. A column may be called `p1y`, so only upper case counts.
fn iso_duration(rest: &str) -> Option<usize> {
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':')))
        .unwrap_or(rest.len());
    let is_one = |length: usize| crate::types::duration::parse(&rest[..length]).is_some();
    [end, word_length(rest)].into_iter().find(|length| is_one(*length))
}
