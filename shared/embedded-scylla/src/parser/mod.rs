//! CQL text to statements: a lexer and a recursive-descent parser, hand-written.
//!
//! Whatever the text, parsing ends with a statement or a syntax error (`line L:C …`, the line from
//! 1 and the column from 0): nesting, the number of tokens and the length of the text are bounded.
//! Names are not resolved here.
//!
//! | file | subject |
//! | --- | --- |
//! | `lexer` | text to tokens |
//! | `cursor` | the place in the text: look-ahead, names, keywords, errors |
//! | `term`, `relation` | values; `WHERE` and `IF` |
//! | `select`, `modify`, `schema`, `describe` | the statements |

mod cursor;
mod describe;
mod lexer;
mod modify;
mod relation;
mod schema;
mod select;
mod term;
#[cfg(test)]
mod tests;

use crate::ast::Statement;
use crate::error::{CqlError, Result};
use cursor::Parser;
pub(crate) use cursor::is_reserved;
use lexer::Kind;

/// The longest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 16 << 20;

/// A parsed statement and its bind markers.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// One per marker index: the name of a `:name` marker, `None` for `?`.
    pub markers: Vec<Option<String>>,
}

/// Parses one statement; a trailing `;` is optional.
pub fn parse(text: &str) -> Result<Parsed> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(CqlError::invalid(format!(
            "Statement is too long: {} bytes, at most {STATEMENT_BYTES_MAX}",
            text.len()
        )));
    }
    let mut parser = Parser::new(text);
    let statement = parser.statement()?;
    while parser.eat_mark(";")? {}
    if *parser.kind() != Kind::End {
        return Err(parser.unexpected());
    }
    Ok(Parsed { statement, markers: parser.markers })
}

impl Parser<'_> {
    fn statement(&mut self) -> Result<Statement> {
        if *self.kind() != Kind::Word {
            return Err(self.unexpected());
        }
        match self.raw().to_ascii_lowercase().as_str() {
            "select" => self.select(),
            "insert" | "update" | "delete" => {
                self.modify().map(|modify| Statement::Modify(Box::new(modify)))
            }
            "begin" => self.batch(),
            "use" => {
                self.advance()?;
                self.name().map(Statement::Use)
            }
            "create" => self.create(),
            "alter" => self.alter(),
            "drop" => self.drop_statement(),
            "truncate" => self.truncate(),
            "describe" | "desc" => self.describe(),
            verb @ ("grant" | "revoke" | "list" | "attach" | "detach" | "prune") => {
                self.skip_to_end()?;
                Ok(Statement::Unsupported(format!("{} is not supported", verb.to_uppercase())))
            }
            _ => Err(self.unexpected()),
        }
    }
}
