//! `CREATE`, `ALTER`, `DROP` of keyspaces and tables, `TRUNCATE`; and what is refused by name.

use super::cursor::Parser;
use super::lexer::Kind;
use crate::ast::{AlterTable, ColumnDefinition, CreateTable, Property, Statement, Term};
use crate::error::Result;

/// What `CREATE`, `ALTER`, `DROP` know in CQL and this engine does not.
const UNSUPPORTED_OBJECTS: [&str; 13] = [
    "type",
    "index",
    "custom",
    "materialized",
    "function",
    "aggregate",
    "or",
    "trigger",
    "role",
    "user",
    "service",
    "service_level",
    "unset",
];

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement> {
        self.expect_words(&["create"])?;
        if self.eat_word("keyspace")? || self.eat_word("schema")? {
            let if_not_exists = self.if_not_exists()?;
            let name = self.name()?;
            self.expect_words(&["with"])?;
            let properties = self.properties()?;
            return Ok(Statement::CreateKeyspace { name, if_not_exists, properties });
        }
        if self.eat_table_word()? {
            return self.create_table();
        }
        self.unsupported("CREATE")
    }

    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.expect_words(&["alter"])?;
        if self.eat_word("keyspace")? || self.eat_word("schema")? {
            let name = self.name()?;
            self.expect_words(&["with"])?;
            return Ok(Statement::AlterKeyspace { name, properties: self.properties()? });
        }
        if self.eat_table_word()? {
            let table = self.table_name()?;
            return Ok(Statement::AlterTable { table, change: self.table_change()? });
        }
        self.unsupported("ALTER")
    }

    pub(super) fn drop_statement(&mut self) -> Result<Statement> {
        self.expect_words(&["drop"])?;
        if self.eat_word("keyspace")? || self.eat_word("schema")? {
            let if_exists = self.if_exists()?;
            return Ok(Statement::DropKeyspace { name: self.name()?, if_exists });
        }
        if self.eat_table_word()? {
            let if_exists = self.if_exists()?;
            return Ok(Statement::DropTable { table: self.table_name()?, if_exists });
        }
        self.unsupported("DROP")
    }

    pub(super) fn truncate(&mut self) -> Result<Statement> {
        self.expect_words(&["truncate"])?;
        self.eat_table_word()?;
        let table = self.table_name()?;
        self.using_timeout()?;
        Ok(Statement::Truncate { table })
    }

    /// A statement that is known by its first words and refused whatever follows.
    fn unsupported(&mut self, verb: &str) -> Result<Statement> {
        let object = self.raw().to_ascii_lowercase();
        if *self.kind() != Kind::Word || !UNSUPPORTED_OBJECTS.contains(&object.as_str()) {
            return Err(self.unexpected());
        }
        self.skip_to_end()?;
        let object = match object.as_str() {
            "custom" => "INDEX".to_owned(),
            "materialized" => "MATERIALIZED VIEW".to_owned(),
            "or" => "FUNCTION".to_owned(),
            _ => object.to_ascii_uppercase(),
        };
        Ok(Statement::Unsupported(format!("{verb} {object} is not supported")))
    }

    pub(super) fn skip_to_end(&mut self) -> Result<()> {
        while *self.kind() != Kind::End {
            self.advance()?;
        }
        Ok(())
    }

    pub(super) fn eat_table_word(&mut self) -> Result<bool> {
        Ok(self.eat_word("table")? || self.eat_word("columnfamily")?)
    }

    fn create_table(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let mut table = CreateTable {
            table: self.table_name()?,
            if_not_exists,
            columns: Vec::new(),
            primary_keys: Vec::new(),
            clustering_order: Vec::new(),
            properties: Vec::new(),
            compact_storage: false,
        };
        self.expect_mark("(")?;
        self.table_element(&mut table)?;
        while self.eat_mark(",")? {
            // A comma before the end is legal.
            if !self.is_mark(")") {
                self.table_element(&mut table)?;
            }
        }
        self.expect_mark(")")?;
        if self.eat_word("with")? {
            self.table_option(&mut table)?;
            while self.eat_word("and")? {
                self.table_option(&mut table)?;
            }
        }
        Ok(Statement::CreateTable(Box::new(table)))
    }

    fn table_element(&mut self, table: &mut CreateTable) -> Result<()> {
        if self.eat_words(&["primary", "key"])? {
            table.primary_keys.push(self.primary_key()?);
            return Ok(());
        }
        let mut column = self.column_definition()?;
        column.is_primary_key = self.eat_words(&["primary", "key"])?;
        table.columns.push(column);
        Ok(())
    }

    /// `((p, q), c, d)` or `(p, c)`
    fn primary_key(&mut self) -> Result<(Vec<String>, Vec<String>)> {
        self.expect_mark("(")?;
        let partition =
            if self.is_mark("(") { self.parenthesised(Self::name)? } else { vec![self.name()?] };
        let mut clustering = Vec::new();
        while self.eat_mark(",")? {
            clustering.push(self.name()?);
        }
        self.expect_mark(")")?;
        Ok((partition, clustering))
    }

    /// `name type [STATIC]`
    fn column_definition(&mut self) -> Result<ColumnDefinition> {
        let name = self.name()?;
        let ty = self.type_text()?;
        let is_static = self.eat_word("static")?;
        Ok(ColumnDefinition { name, ty, is_static, is_primary_key: false })
    }

    fn table_option(&mut self, table: &mut CreateTable) -> Result<()> {
        if self.eat_words(&["compact", "storage"])? {
            table.compact_storage = true;
        } else if self.eat_words(&["clustering", "order", "by"])? {
            table.clustering_order.extend(self.parenthesised(|parser| {
                let column = parser.name()?;
                let descending = parser.eat_word("desc")?;
                if !descending {
                    parser.expect_words(&["asc"])?;
                }
                Ok((column, descending))
            })?);
        } else {
            table.properties.push(self.property()?);
        }
        Ok(())
    }

    fn properties(&mut self) -> Result<Vec<(String, Property)>> {
        let mut properties = vec![self.property()?];
        while self.eat_word("and")? {
            properties.push(self.property()?);
        }
        Ok(properties)
    }

    /// `name = constant` or `name = {key: constant, …}`
    fn property(&mut self) -> Result<(String, Property)> {
        let name = self.name()?;
        self.expect_mark("=")?;
        if !self.is_mark("{") {
            // Words that are no constants stand for themselves.
            let value = if self.is_name() { self.name()? } else { self.literal()?.text() };
            return Ok((name, Property::Simple(value)));
        }
        let start = self.clone_token();
        let entries = match self.term()? {
            Term::Map(entries) => entries,
            Term::Set(items) if items.is_empty() => Vec::new(),
            _ => return Err(self.unexpected_at(&start)),
        };
        let entries = entries.into_iter().map(|entry| match entry {
            (Term::Literal(key), Term::Literal(value)) => Ok((key.text(), value.text())),
            _ => Err(self.unexpected_at(&start)),
        });
        Ok((name, Property::Map(entries.collect::<Result<_>>()?)))
    }

    fn table_change(&mut self) -> Result<AlterTable> {
        if self.eat_word("add")? {
            let columns = if self.is_mark("(") {
                self.parenthesised(Self::column_definition)?
            } else {
                vec![self.column_definition()?]
            };
            return Ok(AlterTable::Add(columns));
        }
        if self.eat_word("drop")? {
            let columns = if self.is_mark("(") {
                self.parenthesised(Self::name)?
            } else {
                vec![self.name()?]
            };
            return Ok(AlterTable::Drop(columns));
        }
        if self.eat_word("rename")? {
            let mut renames = Vec::new();
            loop {
                let from = self.name()?;
                self.expect_words(&["to"])?;
                renames.push((from, self.name()?));
                if !self.eat_word("and")? {
                    return Ok(AlterTable::Rename(renames));
                }
            }
        }
        if self.eat_word("alter")? {
            let column = self.name()?;
            self.expect_words(&["type"])?;
            return Ok(AlterTable::Type { column, ty: self.type_text()? });
        }
        self.expect_words(&["with"])?;
        Ok(AlterTable::With(self.properties()?))
    }
}
