//! `SELECT`

use super::cursor::Parser;
use super::lexer::Kind;
use crate::ast::{Select, Selector, Statement};
use crate::error::{CqlError, Result};

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Statement> {
        self.expect_words(&["select"])?;
        let json = self.modifier("json")?;
        let distinct = self.modifier("distinct")?;
        let selectors =
            if self.eat_mark("*")? { None } else { Some(self.comma_separated(Self::aliased)?) };
        self.expect_words(&["from"])?;
        let table = self.table_name()?;
        let relations = if self.eat_word("where")? { self.relations()? } else { Vec::new() };
        let group_by = if self.eat_words(&["group", "by"])? {
            self.comma_separated(Self::name)?
        } else {
            Vec::new()
        };
        let order_by = if self.eat_words(&["order", "by"])? {
            self.comma_separated(Self::ordering)?
        } else {
            Vec::new()
        };
        let per_partition_limit = if self.eat_words(&["per", "partition", "limit"])? {
            Some(self.integer_or_marker()?)
        } else {
            None
        };
        let limit = if self.eat_word("limit")? { Some(self.integer_or_marker()?) } else { None };
        let allow_filtering = self.eat_words(&["allow", "filtering"])?;
        let bypass_cache = self.eat_words(&["bypass", "cache"])?;
        let timeout = self.using_timeout()?;
        Ok(Statement::Select(Box::new(Select {
            table,
            json,
            distinct,
            selectors,
            relations,
            group_by,
            order_by,
            per_partition_limit,
            limit,
            allow_filtering,
            bypass_cache,
            timeout,
        })))
    }

    /// `[USING TIMEOUT duration]`
    pub(super) fn using_timeout(&mut self) -> Result<Option<crate::ast::Term>> {
        if !self.eat_word("using")? {
            return Ok(None);
        }
        self.expect_words(&["timeout"])?;
        self.duration_or_marker().map(Some)
    }

    /// `JSON` or `DISTINCT`, unless it is the name of a selected column.
    fn modifier(&mut self, keyword: &str) -> Result<bool> {
        if !self.is_word(keyword) {
            return Ok(false);
        }
        let (next, raw) = self.ahead(1);
        let is_column = match next.kind {
            Kind::Punctuation(mark) => mark != "*",
            Kind::Word => ["from", "as"].contains(&raw.to_ascii_lowercase().as_str()),
            _ => false,
        };
        if is_column { Ok(false) } else { self.eat_word(keyword) }
    }

    fn ordering(&mut self) -> Result<(String, bool)> {
        let column = self.name()?;
        let descending = self.eat_word("desc")?;
        if !descending {
            self.eat_word("asc")?;
        }
        Ok((column, descending))
    }

    fn aliased(&mut self) -> Result<(Selector, Option<String>)> {
        let selector = self.selector()?;
        let alias = if self.eat_word("as")? { Some(self.name()?) } else { None };
        Ok((selector, alias))
    }

    fn selector(&mut self) -> Result<Selector> {
        self.nested(Self::selector_here)
    }

    fn selector_here(&mut self) -> Result<Selector> {
        let is_call = matches!(self.ahead(1).0.kind, Kind::Punctuation("("));
        if is_call && self.is_word("cast") {
            return self.cast_selector();
        }
        if is_call && self.is_word("count") && self.is_count_of_rows() {
            return self.count_of_rows();
        }
        if is_call && (self.is_word("writetime") || self.is_word("ttl")) {
            let is_ttl = self.is_word("ttl");
            self.advance()?;
            self.expect_mark("(")?;
            let column = self.name()?;
            self.expect_mark(")")?;
            return Ok(if is_ttl { Selector::Ttl(column) } else { Selector::Writetime(column) });
        }
        let is_qualified = matches!(self.ahead(1).0.kind, Kind::Punctuation("."));
        if is_call || (is_qualified && matches!(self.ahead(3).0.kind, Kind::Punctuation("("))) {
            return self.call_selector();
        }
        if is_qualified {
            return Err(CqlError::invalid("Fields of user-defined types are not supported"));
        }
        self.name().map(Selector::Column)
    }

    fn is_count_of_rows(&self) -> bool {
        matches!(self.ahead(2).0.kind, Kind::Punctuation("*") | Kind::Integer)
    }

    /// `COUNT(*)` and `COUNT(1)`
    fn count_of_rows(&mut self) -> Result<Selector> {
        self.advance()?;
        self.expect_mark("(")?;
        if !self.eat_mark("*")? {
            let number = self.raw();
            if number != "1" {
                return Err(CqlError::invalid(format!(
                    "Only COUNT(1) is supported, got COUNT({number})"
                )));
            }
            self.advance()?;
        }
        self.expect_mark(")")?;
        Ok(Selector::CountStar)
    }

    /// `CAST(selector AS type)`
    fn cast_selector(&mut self) -> Result<Selector> {
        self.advance()?;
        self.expect_mark("(")?;
        let inner = self.selector()?;
        self.expect_words(&["as"])?;
        let ty = self.type_text()?;
        self.expect_mark(")")?;
        Ok(Selector::Cast(Box::new(inner), ty))
    }

    /// `function(selector, …)`. Constants are no selectors (5.4 knows none); the error is then at
    /// the parenthesis.
    fn call_selector(&mut self) -> Result<Selector> {
        let name = self.function_name()?;
        let open = self.clone_token();
        self.expect_mark("(")?;
        if self.eat_mark(")")? {
            return Ok(Selector::Function { name, arguments: Vec::new() });
        }
        let starts = self.is_name() || self.is_word("token") || self.is_word("cast");
        if !starts {
            return Err(self.unexpected_at(&open));
        }
        let arguments = self.comma_separated(Self::selector)?;
        self.expect_mark(")")?;
        Ok(Selector::Function { name, arguments })
    }
}
