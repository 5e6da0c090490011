//! `INSERT`, `UPDATE`, `DELETE`, `BATCH`

use super::cursor::Parser;
use super::lexer::Kind;
use crate::ast::{Assignment, Batch, Modify, Statement, Using};
use crate::error::{CqlError, Result};
use crate::protocol::BatchKind;

impl Parser<'_> {
    /// One of the three; an error if none starts here.
    pub(super) fn modify(&mut self) -> Result<Modify> {
        if self.eat_word("insert")? {
            self.insert()
        } else if self.eat_word("update")? {
            self.update()
        } else if self.eat_word("delete")? {
            self.delete()
        } else {
            Err(self.unexpected())
        }
    }

    fn insert(&mut self) -> Result<Modify> {
        self.expect_words(&["into"])?;
        let table = self.table_name()?;
        if self.is_word("json") {
            return Err(CqlError::invalid("INSERT JSON is not supported"));
        }
        let columns = self.parenthesised(Self::name)?;
        self.expect_words(&["values"])?;
        let values = self.parenthesised(Self::term)?;
        let if_not_exists = self.if_not_exists()?;
        let using = self.using()?;
        Ok(Modify::Insert { table, columns, values, if_not_exists, using })
    }

    fn update(&mut self) -> Result<Modify> {
        let table = self.table_name()?;
        let using = self.using()?;
        self.expect_words(&["set"])?;
        let assignments = self.comma_separated(Self::assignment)?;
        self.expect_words(&["where"])?;
        let relations = self.relations()?;
        let condition = self.condition()?;
        Ok(Modify::Update { table, using, assignments, relations, condition })
    }

    fn delete(&mut self) -> Result<Modify> {
        let columns = if self.is_word("from") {
            Vec::new()
        } else {
            self.comma_separated(Self::deleted_column)?
        };
        self.expect_words(&["from"])?;
        let table = self.table_name()?;
        let using = self.using_attributes(false)?;
        self.expect_words(&["where"])?;
        let relations = self.relations()?;
        let condition = self.condition()?;
        Ok(Modify::Delete { table, columns, using, relations, condition })
    }

    fn deleted_column(&mut self) -> Result<String> {
        let column = self.name()?;
        if self.is_mark("[") || self.is_mark(".") {
            return Err(CqlError::invalid(format!(
                "Elements of column {column} cannot be deleted: only frozen collections are supported"
            )));
        }
        Ok(column)
    }

    /// `c = term`, `c = c + term`, `c = term + c`, `c[k] = term`, `c.f = term`
    fn assignment(&mut self) -> Result<(String, Assignment)> {
        let column = self.name()?;
        if self.eat_mark("[")? {
            self.term()?;
            self.expect_mark("]")?;
            self.expect_mark("=")?;
            self.term()?;
            return Ok((column, Assignment::Element));
        }
        if self.eat_mark(".")? {
            self.name()?;
            self.expect_mark("=")?;
            self.term()?;
            return Ok((column, Assignment::Element));
        }
        self.expect_mark("=")?;
        let names_a_column =
            self.is_name() && !matches!(self.ahead(1).0.kind, Kind::Punctuation("(" | "."));
        let assignment = if names_a_column {
            self.column_operand(&column)?;
            let operator = if self.is_mark("-") { '-' } else { '+' };
            self.expect_mark(if operator == '-' { "-" } else { "+" })?;
            Assignment::Arithmetic(operator, self.term()?)
        } else {
            let term = self.term()?;
            if self.eat_mark("+")? {
                self.column_operand(&column)?;
                Assignment::Arithmetic('+', term)
            } else {
                Assignment::Set(term)
            }
        };
        Ok((column, assignment))
    }

    fn column_operand(&mut self, column: &str) -> Result<()> {
        if self.name()? == column {
            return Ok(());
        }
        Err(CqlError::invalid("Only expressions of the form X = X +<value> are supported."))
    }

    /// `[USING TTL n AND TIMESTAMP n AND TIMEOUT d]`
    fn using(&mut self) -> Result<Using> {
        self.using_attributes(true)
    }

    fn using_attributes(&mut self, allow_ttl: bool) -> Result<Using> {
        let mut using = Using::default();
        if !self.eat_word("using")? {
            return Ok(using);
        }
        loop {
            if allow_ttl && self.eat_word("ttl")? {
                using.ttl = Some(self.integer_or_marker()?);
            } else if self.eat_word("timestamp")? {
                using.timestamp = Some(self.integer_or_marker()?);
            } else if self.eat_word("timeout")? {
                using.timeout = Some(self.duration_or_marker()?);
            } else {
                return Err(self.unexpected());
            }
            if !self.eat_word("and")? {
                return Ok(using);
            }
        }
    }

    /// `BEGIN [UNLOGGED | COUNTER] BATCH [USING …] statement[;] … APPLY BATCH`
    pub(super) fn batch(&mut self) -> Result<Statement> {
        self.expect_words(&["begin"])?;
        let kind = if self.eat_word("unlogged")? {
            BatchKind::Unlogged
        } else if self.eat_word("counter")? {
            BatchKind::Counter
        } else {
            BatchKind::Logged
        };
        self.expect_words(&["batch"])?;
        let using = self.using()?;
        let mut statements = Vec::new();
        while !self.is_word("apply") {
            statements.push(self.modify()?);
            self.eat_mark(";")?;
        }
        self.expect_words(&["apply", "batch"])?;
        Ok(Statement::Batch(Batch { kind, using, statements }))
    }
}
