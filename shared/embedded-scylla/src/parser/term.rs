//! Terms: constants, collections, markers, function calls, casts; and the text of types.

use super::cursor::{Parser, is_reserved};
use super::lexer::Kind;
use crate::ast::{Literal, Term};
use crate::error::Result;

impl Parser<'_> {
    pub(super) fn term(&mut self) -> Result<Term> {
        self.nested(Self::term_here)
    }

    fn term_here(&mut self) -> Result<Term> {
        if let Kind::Punctuation(mark) = *self.kind() {
            return match mark {
                "?" | ":" => self.marker(),
                "[" => {
                    self.advance()?;
                    Ok(Term::List(self.terms_until("]")?))
                }
                "{" => self.set_or_map(),
                "(" if self.is_cast() => self.cast(),
                "(" => {
                    self.advance()?;
                    Ok(Term::Tuple(self.terms_until(")")?))
                }
                _ => self.literal().map(Term::Literal),
            };
        }
        if self.eat_word("null")? {
            return Ok(Term::Null);
        }
        if self.is_word("token") || (self.is_name() && self.constant_word().is_none()) {
            return self.function();
        }
        self.literal().map(Term::Literal)
    }

    /// Terms up to a closing mark; possibly none.
    fn terms_until(&mut self, close: &str) -> Result<Vec<Term>> {
        if self.eat_mark(close)? {
            return Ok(Vec::new());
        }
        let terms = self.comma_separated(Self::term)?;
        self.expect_mark(close)?;
        Ok(terms)
    }

    /// `( term, … )`, possibly empty.
    pub(super) fn term_list(&mut self) -> Result<Vec<Term>> {
        self.expect_mark("(")?;
        self.terms_until(")")
    }

    fn set_or_map(&mut self) -> Result<Term> {
        self.expect_mark("{")?;
        if self.eat_mark("}")? {
            return Ok(Term::Set(Vec::new()));
        }
        let first = self.term()?;
        if !self.eat_mark(":")? {
            let mut items = vec![first];
            while self.eat_mark(",")? {
                items.push(self.term()?);
            }
            self.expect_mark("}")?;
            return Ok(Term::Set(items));
        }
        let mut entries = vec![(first, self.term()?)];
        while self.eat_mark(",")? {
            let key = self.term()?;
            self.expect_mark(":")?;
            entries.push((key, self.term()?));
        }
        self.expect_mark("}")?;
        Ok(Term::Map(entries))
    }

    /// `?` or `:name`. A name used before is the same variable.
    pub(super) fn marker(&mut self) -> Result<Term> {
        let name = if self.eat_mark("?")? {
            None
        } else {
            self.expect_mark(":")?;
            Some(self.name()?)
        };
        let known = name
            .as_ref()
            .and_then(|name| self.markers.iter().position(|other| other.as_ref() == Some(name)));
        let index = known.unwrap_or(self.markers.len());
        if known.is_none() {
            self.markers.push(name.clone());
        }
        Ok(Term::Marker { index, name })
    }

    fn is_marker(&self) -> bool {
        self.is_mark("?") || self.is_mark(":")
    }

    /// What `LIMIT`, `TTL` and `TIMESTAMP` take: an integer or a marker.
    pub(super) fn integer_or_marker(&mut self) -> Result<Term> {
        if self.is_marker() {
            return self.marker();
        }
        let negative = self.is_mark("-") && self.ahead(1).0.kind == Kind::Integer;
        if negative || *self.kind() == Kind::Integer {
            return self.literal().map(Term::Literal);
        }
        Err(self.unexpected())
    }

    /// What `TIMEOUT` takes: a duration or a marker.
    pub(super) fn duration_or_marker(&mut self) -> Result<Term> {
        if self.is_marker() {
            return self.marker();
        }
        let negative = self.is_mark("-") && self.ahead(1).0.kind == Kind::Duration;
        if negative || *self.kind() == Kind::Duration {
            return self.literal().map(Term::Literal);
        }
        Err(self.unexpected())
    }

    /// Words that are constants.
    fn constant_word(&self) -> Option<Literal> {
        let word = if *self.kind() == Kind::Word { self.raw() } else { return None };
        Some(match word.to_ascii_lowercase().as_str() {
            "true" => Literal::Boolean(true),
            "false" => Literal::Boolean(false),
            "nan" => Literal::Float("NaN".to_owned()),
            "infinity" => Literal::Float("Infinity".to_owned()),
            _ => return None,
        })
    }

    /// A constant, with its sign.
    pub(super) fn literal(&mut self) -> Result<Literal> {
        let sign = if self.is_mark("-") {
            let (next, raw) = self.ahead(1);
            let signed = matches!(next.kind, Kind::Integer | Kind::Float | Kind::Duration)
                || (next.kind == Kind::Word
                    && ["nan", "infinity"].contains(&raw.to_ascii_lowercase().as_str()));
            if !signed {
                return Err(self.unexpected());
            }
            self.advance()?;
            "-"
        } else {
            ""
        };
        let raw = self.raw();
        let literal = match self.kind() {
            Kind::Text(text) => Literal::String(text.clone()),
            Kind::Integer => Literal::Integer(format!("{sign}{raw}")),
            Kind::Float => Literal::Float(format!("{sign}{raw}")),
            Kind::Duration => Literal::Duration(format!("{sign}{raw}")),
            Kind::Hex => Literal::Hex(raw[2..].to_owned()),
            Kind::Uuid(uuid) => Literal::Uuid(*uuid),
            _ => match self.constant_word() {
                Some(Literal::Float(text)) => Literal::Float(format!("{sign}{text}")),
                Some(literal) => literal,
                None => return Err(self.unexpected()),
            },
        };
        self.advance()?;
        Ok(literal)
    }

    /// `name(term, …)`; `system.` in front is left out.
    fn function(&mut self) -> Result<Term> {
        let name = self.function_name()?;
        Ok(Term::Function { name, arguments: self.term_list()? })
    }

    /// The name of a function that is followed by its arguments.
    pub(super) fn function_name(&mut self) -> Result<String> {
        if self.eat_word("token")? {
            return Ok("token".to_owned());
        }
        let start = self.clone_token();
        let first = self.name()?;
        let name = if self.eat_mark(".")? {
            let name = self.name()?;
            if first == "system" { name } else { format!("{first}.{name}") }
        } else {
            first
        };
        if self.is_mark("(") { Ok(name) } else { Err(self.unexpected_at(&start)) }
    }

    /// `(type) term`, as against a tuple: a word that is no constant, then `)` or `<`.
    fn is_cast(&self) -> bool {
        let (first, raw) = self.ahead(1);
        let is_type = match first.kind {
            Kind::Quoted(_) => true,
            Kind::Word => !is_reserved(raw) || raw.eq_ignore_ascii_case("set"),
            _ => false,
        };
        is_type && matches!(self.ahead(2).0.kind, Kind::Punctuation(")" | "<"))
    }

    fn cast(&mut self) -> Result<Term> {
        self.expect_mark("(")?;
        let ty = self.type_text()?;
        self.expect_mark(")")?;
        Ok(Term::Cast(ty, Box::new(self.term()?)))
    }

    /// A type as text, in the form that `CqlType::parse` reads.
    pub(super) fn type_text(&mut self) -> Result<String> {
        self.nested(|parser| {
            let quoted = matches!(parser.kind(), Kind::Quoted(_));
            // `set` is reserved, and a type.
            let name = if parser.eat_word("set")? { "set".to_owned() } else { parser.name()? };
            let mut text = if quoted { format!("\"{name}\"") } else { name };
            if parser.eat_mark(".")? {
                text.push('.');
                text.push_str(&parser.name()?);
            }
            if parser.eat_mark("<")? {
                text.push('<');
                text.push_str(&parser.comma_separated(Self::type_text)?.join(", "));
                parser.expect_mark(">")?;
                text.push('>');
            }
            Ok(text)
        })
    }
}
