//! Runs a script and writes its answers in the form of the recordings; finds the differences.

use super::client::{Answer, Client, Error, Page};
use super::values::Shower;
use anyhow::{Context as _, bail};
use std::fmt::Write as _;

/// Rows per page where the script sets none.
const PAGE_SIZE: i32 = 5000;

/// One statement, or a directive or comment, with its answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// As written in the script.
    pub(crate) text: String,
    /// Lines of the answer; none for directives and comments.
    pub(crate) answer: Vec<String>,
    /// Whether the script had set a page size.
    pub(crate) paged: bool,
}

/// Runs a script.
pub(crate) fn run(client: &mut Client, script: &str) -> anyhow::Result<Vec<Entry>> {
    let mut shower = Shower::new(script);
    let (mut consistency, mut page_size) = (consistency("ONE")?, None);
    let mut entries = Vec::new();
    for text in chunks(script) {
        let mut answer = Vec::new();
        if let Some(directive) = text.strip_prefix("--") {
            match directive.trim().split_once(' ') {
                Some(("ks", name)) => fresh_keyspace(client, name)?,
                Some(("cl", name)) => consistency = self::consistency(name)?,
                Some(("page", size)) => page_size = Some(size.parse()?),
                _ => {}
            }
        } else {
            let statement = text.trim_end_matches(';');
            let size = page_size.unwrap_or(PAGE_SIZE);
            answer = ask(client, &mut shower, statement, consistency, size)
                .with_context(|| format!("run {text}"))?;
        }
        entries.push(Entry { text, answer, paged: page_size.is_some() });
    }
    Ok(entries)
}

/// Comment and directive lines one by one; statements up to a line that ends with `;`.
fn chunks(script: &str) -> Vec<String> {
    let mut chunks = Vec::new();
    let mut statement: Vec<&str> = Vec::new();
    for line in script.lines().map(str::trim_end) {
        if statement.is_empty() && (line.is_empty() || line.starts_with("--")) {
            if !line.is_empty() {
                chunks.push(line.to_owned());
            }
            continue;
        }
        statement.push(line);
        if line.ends_with(';') {
            chunks.push(std::mem::take(&mut statement).join("\n"));
        }
    }
    chunks
}

fn consistency(name: &str) -> anyhow::Result<u16> {
    let names = [
        "ANY",
        "ONE",
        "TWO",
        "THREE",
        "QUORUM",
        "ALL",
        "LOCAL_QUORUM",
        "EACH_QUORUM",
        "SERIAL",
        "LOCAL_SERIAL",
        "LOCAL_ONE",
    ];
    let at = names.iter().position(|known| *known == name);
    Ok(at.with_context(|| format!("consistency {name}"))? as u16)
}

fn fresh_keyspace(client: &mut Client, name: &str) -> anyhow::Result<()> {
    for statement in [
        format!("DROP KEYSPACE IF EXISTS {name}"),
        format!(
            "CREATE KEYSPACE {name} WITH replication = {{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}}"
        ),
        format!("USE {name}"),
    ] {
        match client.query(&statement, consistency("ONE")?, Some(PAGE_SIZE), None)? {
            Answer::Done => {}
            other => bail!("{statement}: {other:?}"),
        }
    }
    Ok(())
}

/// The lines of the answer to one statement, all pages.
fn ask(
    client: &mut Client,
    shower: &mut Shower<'_>,
    statement: &str,
    consistency: u16,
    page_size: i32,
) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut paging_state: Option<Vec<u8>> = None;
    loop {
        let state = paging_state.as_deref();
        match client.query(statement, consistency, Some(page_size), state)? {
            Answer::Done => lines.push("ok".to_owned()),
            Answer::Error(error) => lines.extend(show_error(&error).lines().map(str::to_owned)),
            Answer::Rows(page) => {
                if lines.is_empty() {
                    lines.push(header(&page));
                }
                for row in &page.rows {
                    lines.push(show_row(shower, &page, row)?);
                }
                if page.paging_state.is_some() {
                    lines.push(NEXT_PAGE.to_owned());
                    paging_state = page.paging_state;
                    continue;
                }
            }
        }
        return Ok(lines);
    }
}

const NEXT_PAGE: &str = "-- next page";

fn header(page: &Page) -> String {
    let columns: Vec<String> =
        page.columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect();
    columns.join(" | ")
}

fn show_row(
    shower: &mut Shower<'_>,
    page: &Page,
    row: &[Option<Vec<u8>>],
) -> anyhow::Result<String> {
    let cells = page.columns.iter().zip(row);
    let shown = cells.map(|(column, cell)| shower.show(&column.name, &column.ty, cell.as_deref()));
    Ok(shown.collect::<anyhow::Result<Vec<_>>>()?.join(" | "))
}

fn show_error(error: &Error) -> String {
    if let Some((keyspace, table)) = &error.exists {
        return if table.is_empty() {
            format!("error AlreadyExists: Keyspace '{keyspace}' already exists")
        } else {
            format!("error AlreadyExists: Table '{keyspace}.{table}' already exists")
        };
    }
    let kind = match error.code {
        0x0000 => "Server error",
        0x000a => "Protocol error",
        0x1001 => "Coordinator node overloaded",
        0x2000 => "Syntax error in CQL query",
        0x2100 => "Unauthorized",
        0x2200 => "Invalid query",
        0x2300 => "Query invalid because of configuration issue",
        _ => "Error",
    };
    format!("error {:#06x} {kind}: {}", error.code, mask_dates(&error.message))
}

/// `yyyy/mm/dd hh:mm:ss` becomes `<date>`.
fn mask_dates(message: &str) -> String {
    const PATTERN: &str = "dddd/dd/dd dd:dd:dd";
    let mut masked = String::new();
    let mut rest = message;
    while let Some(c) = rest.chars().next() {
        let is_date = rest.get(..PATTERN.len()).is_some_and(|text| {
            text.chars().zip(PATTERN.chars()).all(|(c, pattern)| match pattern {
                'd' => c.is_ascii_digit(),
                _ => c == pattern,
            })
        });
        if is_date {
            masked.push_str("<date>");
            rest = &rest[PATTERN.len()..];
        } else {
            masked.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    masked
}

/// The recording's form of all entries.
pub(crate) fn render(entries: &[Entry]) -> String {
    let mut out = String::new();
    for entry in entries {
        if entry.answer.is_empty() {
            out.push_str(&entry.text);
        } else {
            let statement = entry.text.replace('\n', "\n> ");
            // Writing to a string cannot fail.
            let _ = write!(out, "> {statement}\n---\n{}", entry.answer.join("\n"));
        }
        out.push_str("\n\n");
    }
    out
}

/// Takes the answers out of a recording of the same script.
pub(crate) fn parse_recording(recording: &str, script: &str) -> anyhow::Result<Vec<Entry>> {
    let mut rest = recording;
    let mut entries = Vec::new();
    let mut paged = false;
    for text in chunks(script) {
        paged |= text.starts_with("-- page ");
        let head = if text.starts_with("--") {
            format!("{text}\n\n")
        } else {
            format!("> {}\n---\n", text.replace('\n', "\n> "))
        };
        rest = rest
            .strip_prefix(head.as_str())
            .with_context(|| format!("the recording does not go on with {head:?}: {rest:.200}"))?;
        let mut answer = Vec::new();
        if !text.starts_with("--") {
            let (lines, after) = rest.split_once("\n\n").unwrap_or((rest.trim_end(), ""));
            answer = lines.lines().map(str::to_owned).collect();
            rest = after;
        }
        entries.push(Entry { text, answer, paged });
    }
    anyhow::ensure!(rest.trim().is_empty(), "the recording has more than the script: {rest:.200}");
    Ok(entries)
}

/// Where the answers differ from the recording, beyond what may differ (see `testscripts`).
pub(crate) fn differences(recorded: &[Entry], answered: &[Entry]) -> Vec<String> {
    recorded
        .iter()
        .zip(answered)
        .filter(|(recorded, answered)| comparable(recorded) != comparable(answered))
        .map(|(recorded, answered)| {
            format!(
                "statement: {}\n--- expected\n{}\n--- got\n{}\n",
                recorded.text,
                recorded.answer.join("\n"),
                answered.answer.join("\n")
            )
        })
        .collect()
}

/// An answer without what may differ.
fn comparable(entry: &Entry) -> Vec<String> {
    let mut lines: Vec<String> = entry.answer.iter().map(|line| syntax_position(line)).collect();
    while !entry.paged && lines.last().is_some_and(|line| line == NEXT_PAGE) {
        lines.pop();
    }
    let tablets_off = entry.text.starts_with("CREATE KEYSPACE")
        && entry.text.contains("tablets = {'enabled': false}");
    let unknown = lines.first().is_some_and(|line| line.ends_with("Unknown property 'tablets'"));
    if tablets_off && unknown {
        return vec!["ok".to_owned()];
    }
    lines
}

/// A syntax error without its words after `line L:C`.
fn syntax_position(line: &str) -> String {
    const HEAD: &str = "error 0x2000 Syntax error in CQL query: line ";
    match line.strip_prefix(HEAD).and_then(|rest| rest.split_once(' ')) {
        Some((position, _)) => format!("{HEAD}{position}"),
        None => line.to_owned(),
    }
}
