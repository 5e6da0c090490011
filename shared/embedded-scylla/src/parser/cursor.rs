//! The parser's place in the text: one token of look-ahead, names, keywords, errors.

use super::lexer::{Kind, Lexer, Token};
use crate::ast::TableName;
use crate::error::{CqlError, Result};

/// How deep terms, selectors and types may nest.
const DEPTH_MAX: usize = 64;
/// How many tokens a statement may have: what bounds the memory that parsing takes.
const TOKENS_MAX: usize = 2_000_000;

/// Words that are no names unless quoted. (`TABLE` and `COLUMNFAMILY` are one keyword.)
const RESERVED: [&str; 62] = [
    "add",
    "allow",
    "alter",
    "and",
    "ann",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "cast",
    "columnfamily",
    "concurrency",
    "create",
    "default",
    "delete",
    "drop",
    "entries",
    "false",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "materialized",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "replace",
    "revoke",
    "schema",
    "select",
    "set",
    "table",
    "to",
    "token",
    "true",
    "truncate",
    "unlogged",
    "unset",
    "update",
    "use",
    "using",
    "view",
    "where",
    "with",
];

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    tokens: usize,
    depth: usize,
    /// Names of the markers seen so far, by index.
    pub(super) markers: Vec<Option<String>>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut lexer = Lexer::new(text);
        let token = lexer.next();
        Self { lexer, token, tokens: 0, depth: 0, markers: Vec::new() }
    }

    /// The token at hand.
    pub(super) fn kind(&self) -> &Kind {
        &self.token.kind
    }

    /// The token at hand as written.
    pub(super) fn raw(&self) -> &'a str {
        self.raw_of(&self.token)
    }

    fn raw_of(&self, token: &Token) -> &'a str {
        &self.lexer.text()[token.start..token.end]
    }

    /// A copy of the token at hand, for an error that is only found later.
    pub(super) fn clone_token(&self) -> Token {
        self.token.clone()
    }

    /// Goes on to the next token.
    pub(super) fn advance(&mut self) -> Result<Token> {
        self.tokens += 1;
        if self.tokens > TOKENS_MAX {
            return Err(CqlError::invalid(format!(
                "Statement is too long: more than {TOKENS_MAX} tokens"
            )));
        }
        let next = self.lexer.next();
        Ok(std::mem::replace(&mut self.token, next))
    }

    /// The `distance`-th token after the one at hand.
    pub(super) fn ahead(&self, distance: usize) -> (Token, &'a str) {
        let mut lexer = self.lexer.clone();
        let mut token = lexer.next();
        for _ in 1..distance {
            token = lexer.next();
        }
        let raw = self.raw_of(&token);
        (token, raw)
    }

    /// Runs `parse` one level deeper.
    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            return Err(CqlError::syntax(
                self.token.line,
                self.token.column,
                format!("nested more than {DEPTH_MAX} levels deep"),
            ));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// "This token cannot stand here."
    pub(super) fn unexpected(&self) -> CqlError {
        self.unexpected_at(&self.token)
    }

    pub(super) fn unexpected_at(&self, token: &Token) -> CqlError {
        if token.kind == Kind::End {
            // As ScyllaDB has it: the end has no place of its own.
            return CqlError::syntax(1, 0, "no viable alternative at input '<EOF>'");
        }
        let raw = self.raw_of(token);
        let shown: String = raw.chars().take(100).collect();
        let message = format!("no viable alternative at input '{shown}'");
        CqlError::syntax(token.line, token.column, message)
    }

    pub(super) fn is_word(&self, keyword: &str) -> bool {
        self.token.kind == Kind::Word && self.raw().eq_ignore_ascii_case(keyword)
    }

    /// Whether the next `keywords` follow one another here.
    pub(super) fn are_words(&self, keywords: &[&str]) -> bool {
        let Some((first, rest)) = keywords.split_first() else { return true };
        if !self.is_word(first) {
            return false;
        }
        let mut lexer = self.lexer.clone();
        rest.iter().all(|keyword| {
            let token = lexer.next();
            token.kind == Kind::Word && self.raw_of(&token).eq_ignore_ascii_case(keyword)
        })
    }

    /// Takes the keywords if they all follow here.
    pub(super) fn eat_words(&mut self, keywords: &[&str]) -> Result<bool> {
        if !self.are_words(keywords) {
            return Ok(false);
        }
        for _ in keywords {
            self.advance()?;
        }
        Ok(true)
    }

    pub(super) fn eat_word(&mut self, keyword: &str) -> Result<bool> {
        self.eat_words(&[keyword])
    }

    /// Takes the keywords, or fails at the first that is something else.
    pub(super) fn expect_words(&mut self, keywords: &[&str]) -> Result<()> {
        for keyword in keywords {
            if !self.eat_word(keyword)? {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        matches!(self.token.kind, Kind::Punctuation(punctuation) if punctuation == mark)
    }

    pub(super) fn eat_mark(&mut self, mark: &str) -> Result<bool> {
        let is_there = self.is_mark(mark);
        if is_there {
            self.advance()?;
        }
        Ok(is_there)
    }

    pub(super) fn expect_mark(&mut self, mark: &str) -> Result<()> {
        if self.eat_mark(mark)? { Ok(()) } else { Err(self.unexpected()) }
    }

    /// One or more, separated by commas.
    pub(super) fn comma_separated<T>(
        &mut self,
        mut parse: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = vec![parse(self)?];
        while self.eat_mark(",")? {
            items.push(parse(self)?);
        }
        Ok(items)
    }

    /// `( a, b, … )`, at least one.
    pub(super) fn parenthesised<T>(
        &mut self,
        parse: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect_mark("(")?;
        let items = self.comma_separated(parse)?;
        self.expect_mark(")")?;
        Ok(items)
    }

    /// Whether a name stands here: a quoted one, or a word that is not reserved.
    pub(super) fn is_name(&self) -> bool {
        is_name(&self.token.kind, self.raw())
    }

    /// Whether one stands behind the token at hand.
    pub(super) fn is_name_ahead(&self) -> bool {
        let (token, raw) = self.ahead(1);
        is_name(&token.kind, raw)
    }

    /// A name, folded to lower case unless quoted.
    pub(super) fn name(&mut self) -> Result<String> {
        if !self.is_name() {
            return Err(self.unexpected());
        }
        let raw = self.raw();
        Ok(match self.advance()?.kind {
            Kind::Quoted(name) => name,
            _ => raw.to_ascii_lowercase(),
        })
    }

    /// `[keyspace.]table`
    pub(super) fn table_name(&mut self) -> Result<TableName> {
        let first = self.name()?;
        if self.eat_mark(".")? {
            return Ok(TableName { keyspace: Some(first), name: self.name()? });
        }
        Ok(TableName { keyspace: None, name: first })
    }

    /// `IF NOT EXISTS`
    pub(super) fn if_not_exists(&mut self) -> Result<bool> {
        let given = self.eat_word("if")?;
        if given {
            self.expect_words(&["not", "exists"])?;
        }
        Ok(given)
    }

    /// `IF EXISTS` of `DROP`.
    pub(super) fn if_exists(&mut self) -> Result<bool> {
        let given = self.eat_word("if")?;
        if given {
            self.expect_words(&["exists"])?;
        }
        Ok(given)
    }
}

fn is_name(kind: &Kind, raw: &str) -> bool {
    match kind {
        Kind::Quoted(_) => true,
        Kind::Word => !is_reserved(raw),
        _ => false,
    }
}

/// Whether a word is a name only between quotes.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}
