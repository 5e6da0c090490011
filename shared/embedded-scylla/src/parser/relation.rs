//! `WHERE` and `IF`.

use super::cursor::Parser;
use super::lexer::Kind;
use crate::ast::{ColumnCondition, Condition, Operand, Operator, Relation};
use crate::error::{CqlError, Result};

impl Parser<'_> {
    /// `relation AND relation …`
    pub(super) fn relations(&mut self) -> Result<Vec<Relation>> {
        let mut relations = vec![self.relation()?];
        while self.eat_word("and")? {
            relations.push(self.relation()?);
        }
        Ok(relations)
    }

    fn relation(&mut self) -> Result<Relation> {
        self.nested(|parser| {
            if parser.is_word("token") {
                return parser.token_relation();
            }
            if parser.is_mark("(") {
                return parser.relation_in_parentheses();
            }
            let column = parser.name()?;
            let (operator, operand) = parser.comparison(&column, false)?;
            Ok(Relation::Column { column, operator, operand })
        })
    }

    fn token_relation(&mut self) -> Result<Relation> {
        self.expect_words(&["token"])?;
        let columns = self.parenthesised(Self::name)?;
        let operator = self.comparison_mark()?;
        Ok(Relation::Token { columns, operator, operand: self.term()? })
    }

    /// `(c, d) > (1, 2)` or just `(c > 1)`.
    fn relation_in_parentheses(&mut self) -> Result<Relation> {
        if !matches!(self.ahead(2).0.kind, Kind::Punctuation("," | ")")) {
            self.expect_mark("(")?;
            let relation = self.relation()?;
            self.expect_mark(")")?;
            return Ok(relation);
        }
        let columns = self.parenthesised(Self::name)?;
        let (operator, operand) = if self.eat_word("in")? {
            (Operator::In, self.in_operand()?)
        } else {
            (self.comparison_mark()?, Operand::Term(self.term()?))
        };
        Ok(Relation::Tuple { columns, operator, operand })
    }

    /// What follows a column; `NOT IN` only in conditions.
    fn comparison(&mut self, column: &str, in_condition: bool) -> Result<(Operator, Operand)> {
        if self.is_mark("[") || self.is_mark(".") {
            return Err(CqlError::invalid(format!(
                "Elements of column {column} cannot be compared: only frozen collections are supported"
            )));
        }
        if self.eat_word("in")? {
            return Ok((Operator::In, self.in_operand()?));
        }
        if in_condition && self.eat_words(&["not", "in"])? {
            return Ok((Operator::NotIn, self.in_operand()?));
        }
        let operator = if self.eat_words(&["contains", "key"])? {
            Operator::ContainsKey
        } else if self.eat_word("contains")? {
            Operator::Contains
        } else if self.eat_word("like")? {
            Operator::Like
        } else {
            self.comparison_mark()?
        };
        Ok((operator, Operand::Term(self.term()?)))
    }

    /// `IN (a, b)` or `IN ?`
    fn in_operand(&mut self) -> Result<Operand> {
        if self.is_mark("(") {
            return self.term_list().map(Operand::List);
        }
        self.marker().map(Operand::Term)
    }

    fn comparison_mark(&mut self) -> Result<Operator> {
        let operator = match *self.kind() {
            Kind::Punctuation("=") => Operator::Eq,
            Kind::Punctuation("!=") => Operator::NotEq,
            Kind::Punctuation("<") => Operator::Lt,
            Kind::Punctuation("<=") => Operator::LtEq,
            Kind::Punctuation(">") => Operator::Gt,
            Kind::Punctuation(">=") => Operator::GtEq,
            _ => return Err(self.unexpected()),
        };
        self.advance()?;
        Ok(operator)
    }

    /// `[IF EXISTS | IF column op term AND …]` of UPDATE and DELETE.
    pub(super) fn condition(&mut self) -> Result<Condition> {
        if !self.eat_word("if")? {
            return Ok(Condition::None);
        }
        // `exists` is also a legal column name.
        let exists = self.is_word("exists") && !self.is_comparison_ahead();
        if exists {
            self.advance()?;
            return Ok(Condition::Exists);
        }
        let mut conditions = vec![self.column_condition()?];
        while self.eat_word("and")? {
            conditions.push(self.column_condition()?);
        }
        Ok(Condition::Columns(conditions))
    }

    fn is_comparison_ahead(&self) -> bool {
        let (token, raw) = self.ahead(1);
        match token.kind {
            Kind::Punctuation(mark) => ["=", "!=", "<", "<=", ">", ">="].contains(&mark),
            Kind::Word => ["in", "not"].contains(&raw.to_ascii_lowercase().as_str()),
            _ => false,
        }
    }

    fn column_condition(&mut self) -> Result<ColumnCondition> {
        let column = self.name()?;
        let (operator, operand) = self.comparison(&column, true)?;
        Ok(ColumnCondition { column, operator, operand })
    }
}
