//! Results on stdout: a table for people, JSON for programs.

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use serde::Serialize;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// One JSON document.
    Json,
}

/// A column of a table: its title, and what a row has in it.
pub(crate) type Column<T> = (&'static str, fn(&T) -> String);

/// Writes rows in either format.
pub(crate) fn rows<T: Serialize>(
    format: Format,
    rows: &[T],
    columns: &[Column<T>],
) -> anyhow::Result<()> {
    match format {
        Format::Json => text(&format!("{}\n", serde_json::to_string_pretty(rows)?)),
        Format::Table => text(&table(rows, columns)),
    }
}

/// Writes text as it is. A reader that has gone away (`| head`) is no failure.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn table<T>(rows: &[T], columns: &[Column<T>]) -> String {
    let mut lines: Vec<Vec<String>> =
        vec![columns.iter().map(|(title, _)| title.to_uppercase()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect()));
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [("relay", 3), ("projections", 12)];
        let columns: [Column<(&str, i32)>; 2] =
            [("group", |row| row.0.to_owned()), ("slot", |row| row.1.to_string())];
        assert_eq!(table(&rows, &columns), "GROUP        SLOT\nrelay        3\nprojections  12\n");
    }
}
