//! `DESCRIBE`, which newer clients leave to the server.

use super::cursor::Parser;
use crate::ast::{Describe, Described, ElementKind, Statement};
use crate::error::Result;

impl Parser<'_> {
    pub(super) fn describe(&mut self) -> Result<Statement> {
        self.advance()?;
        let what = self.described()?;
        let internals = self.eat_words(&["with", "internals"])?;
        Ok(Statement::Describe(Describe { what, internals }))
    }

    fn described(&mut self) -> Result<Described> {
        if self.eat_word("cluster")? {
            return Ok(Described::Cluster);
        }
        if self.eat_word("schema")? {
            return Ok(Described::Schema { full: false });
        }
        if self.eat_words(&["full", "schema"])? {
            return Ok(Described::Schema { full: true });
        }
        let only = self.eat_words(&["only", "keyspace"])?;
        if only || self.eat_word("keyspace")? {
            let name = if self.is_name() { Some(self.name()?) } else { None };
            return Ok(Described::Keyspace { name, only });
        }
        for (word, kind) in [
            ("keyspaces", ElementKind::Keyspace),
            ("tables", ElementKind::Table),
            ("columnfamilies", ElementKind::Table),
            ("types", ElementKind::Type),
            ("functions", ElementKind::Function),
            ("aggregates", ElementKind::Aggregate),
        ] {
            if self.eat_word(word)? {
                return Ok(Described::Names(kind));
            }
        }
        match self.element_kind()? {
            Some(kind) => Ok(Described::Element(kind, self.table_name()?)),
            None => Ok(Described::Anything(self.table_name()?)),
        }
    }

    /// The word before a name; those that are not reserved may be names themselves.
    fn element_kind(&mut self) -> Result<Option<ElementKind>> {
        if self.eat_table_word()? {
            return Ok(Some(ElementKind::Table));
        }
        if self.eat_word("index")? {
            return Ok(Some(ElementKind::Index));
        }
        if self.eat_words(&["materialized", "view"])? {
            return Ok(Some(ElementKind::View));
        }
        for (word, kind) in [
            ("type", ElementKind::Type),
            ("function", ElementKind::Function),
            ("aggregate", ElementKind::Aggregate),
        ] {
            if self.is_word(word) && self.is_name_ahead() {
                self.advance()?;
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }
}
