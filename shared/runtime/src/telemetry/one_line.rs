//! One line per record, whatever somebody put into a field.
//!
//! Fields that are shown as they are (`%error`) may hold line breaks and what steers a terminal: a client's text in
//! an error, or an error of a library that has several lines. The layer that formats text escapes neither there, and
//! with them a client could write lines of its own into the log.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Writes records, each handed over whole, to another writer.
#[derive(Debug, Clone, Copy)]
pub(super) struct OneLine<M> {
    pub(super) writer: M,
    /// Whether the layer colours what it writes: then colours are left as they are, whoever chose them.
    pub(super) colours: bool,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = OneLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine { writer: self.writer.make_writer(), colours: self.colours }
    }
}

/// Takes one record per call of [`Write::write`].
impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let (text, end) = match record.strip_suffix(b"\n") {
            Some(text) => (text, &b"\n"[..]),
            None => (record, &b""[..]),
        };
        if text.iter().any(|&byte| matches!(byte, 0..=0x08 | 0x0a..=0x1f | 0x7f | C1)) {
            let mut escaped = escape(text, self.colours);
            escaped.extend(end);
            self.writer.write_all(&escaped)?;
        } else {
            self.writer.write_all(record)?;
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The first byte of the control characters beyond ASCII, and of some others, in UTF-8.
const C1: u8 = 0xc2;

/// Control characters as one would write them in a string, but for tabs and colours.
fn escape(text: &[u8], colours: bool) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len() + 16);
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let colour = if colours { colour(rest) } else { 0 };
        let (taken, shown) = match (byte, after.first()) {
            _ if colour > 0 => (colour, None),
            (b'\n', _) => (1, Some("\\n".to_owned())),
            (b'\r', _) => (1, Some("\\r".to_owned())),
            (&C1, Some(second @ 0x80..=0x9f)) => (2, Some(format!("\\x{second:02x}"))),
            (0..=0x08 | 0x0a..=0x1f | 0x7f, _) => (1, Some(format!("\\x{byte:02x}"))),
            _ => (1, None),
        };
        let (now, later) = rest.split_at(taken);
        escaped.extend(shown.as_deref().map_or(now, str::as_bytes));
        rest = later;
    }
    escaped
}

/// How long the sequence is that chooses a colour here; 0: there is none.
fn colour(text: &[u8]) -> usize {
    let Some(codes) = text.strip_prefix(b"\x1b[") else { return 0 };
    let len = codes.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b';')).count();
    if codes.get(len) == Some(&b'm') { len + 3 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Kept;
    use super::*;
    use tracing::{error, info};
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn nobody_writes_a_line_of_his_own() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(OneLine { writer: move || writer.clone(), colours: false });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let hostile = "x\n2026-01-01T00:00:00Z ERROR forged\r\x1b[31mred";
            error!(error = %hostile, quoted = hostile, "{hostile}");
            info!("next");
        });
        let text = kept.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(!text.contains(['\r', '\x1b']), "{text:?}");
        assert!(lines[0].contains("x\\n2026") && lines[1].contains("next"), "{text}");
    }

    #[test]
    fn control_characters_are_shown_and_colours_of_a_terminal_stay() {
        let shown = |text: &str, colours| String::from_utf8(escape(text.as_bytes(), colours));
        for (text, plain, coloured) in [
            ("a\tb é", "a\tb é", "a\tb é"),
            ("\0\x07\x7f", "\\x00\\x07\\x7f", "\\x00\\x07\\x7f"),
            ("\u{9b}31m", "\\x9b31m", "\\x9b31m"),
            ("\x1b[1;31mred\x1b[0m", "\\x1b[1;31mred\\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            ("\x1b[2J\x1b", "\\x1b[2J\\x1b", "\\x1b[2J\\x1b"),
        ] {
            assert_eq!(shown(text, false).as_deref(), Ok(plain), "{text:?}");
            assert_eq!(shown(text, true).as_deref(), Ok(coloured), "{text:?}");
        }
    }
}
