//! Statements as the parser sees them: names and terms, nothing resolved.

mod display;

/// A name that may carry its keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// `ks.` if given.
    pub keyspace: Option<String>,
    /// Table.
    pub name: String,
}

/// One parsed statement.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Statement {
    Select(Box<Select>),
    Modify(Box<Modify>),
    Batch(Batch),
    Use(String),
    CreateKeyspace {
        name: String,
        if_not_exists: bool,
        properties: Vec<(String, Property)>,
    },
    AlterKeyspace {
        name: String,
        properties: Vec<(String, Property)>,
    },
    DropKeyspace {
        name: String,
        if_exists: bool,
    },
    CreateTable(Box<CreateTable>),
    AlterTable {
        table: TableName,
        change: AlterTable,
    },
    DropTable {
        table: TableName,
        if_exists: bool,
    },
    Truncate {
        table: TableName,
    },
    Describe(Describe),
    /// A statement that CQL knows and this engine refuses with Invalid (roles, indexes, views,
    /// functions, …); the text says what.
    Unsupported(String),
}

/// `INSERT`, `UPDATE` and `DELETE`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Modify {
    Insert {
        table: TableName,
        columns: Vec<String>,
        values: Vec<Term>,
        if_not_exists: bool,
        using: Using,
    },
    Update {
        table: TableName,
        using: Using,
        /// Column and new value; other forms (`v = v + 1`, `m[k] = v`) are `Assignment::Unsupported`.
        assignments: Vec<(String, Assignment)>,
        relations: Vec<Relation>,
        condition: Condition,
    },
    Delete {
        table: TableName,
        /// Empty: the whole row.
        columns: Vec<String>,
        using: Using,
        relations: Vec<Relation>,
        condition: Condition,
    },
}

/// What a column is set to.
#[derive(Debug, Clone, PartialEq)]
pub enum Assignment {
    /// `c = term`
    Set(Term),
    /// `c = c + term` and `c = c - term`: the operator.
    Arithmetic(char, Term),
    /// `c[k] = term`, `c.f = term`
    Element,
}

/// `USING TTL … AND TIMESTAMP … AND TIMEOUT …`
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub struct Using {
    pub ttl: Option<Term>,
    pub timestamp: Option<Term>,
    pub timeout: Option<Term>,
}

/// The `IF` clause.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Condition {
    #[default]
    None,
    Exists,
    NotExists,
    Columns(Vec<ColumnCondition>),
}

/// `column op term`, `column [NOT] IN …`
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub struct ColumnCondition {
    pub column: String,
    pub operator: Operator,
    pub operand: Operand,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Operator {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    In,
    NotIn,
    Contains,
    ContainsKey,
    Like,
}

/// The right-hand side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// One value; for `IN ?` the marker that stands for the list.
    Term(Term),
    /// `IN (a, b, …)`
    List(Vec<Term>),
}

/// One relation of a `WHERE` clause.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Relation {
    Column {
        column: String,
        operator: Operator,
        operand: Operand,
    },
    /// `(c, d) > (1, 'a')`; for IN the operands are tuples.
    Tuple {
        columns: Vec<String>,
        operator: Operator,
        operand: Operand,
    },
    /// `token(p, …) > …`
    Token {
        columns: Vec<String>,
        operator: Operator,
        operand: Term,
    },
}

/// A value in the making.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Term {
    Null,
    Literal(Literal),
    /// `?` or `:name`; `index` counts markers in text order (a name used twice keeps the same
    /// index).
    Marker {
        index: usize,
        name: Option<String>,
    },
    List(Vec<Term>),
    /// `{…}` without colons; an empty `{}` too.
    Set(Vec<Term>),
    Map(Vec<(Term, Term)>),
    Tuple(Vec<Term>),
    Function {
        name: String,
        arguments: Vec<Term>,
    },
    /// `(int) term`: the type's text.
    Cast(String, Box<Term>),
}

/// A constant as written; its CQL type is decided by where it stands.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Literal {
    String(String),
    /// Digits with optional sign.
    Integer(String),
    /// With fraction or exponent, `NaN`, `Infinity`.
    Float(String),
    Boolean(bool),
    /// Without `0x`.
    Hex(String),
    Uuid(uuid::Uuid),
    /// As written.
    Duration(String),
}

/// `SELECT`
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub struct Select {
    pub table: TableName,
    pub json: bool,
    pub distinct: bool,
    /// `None`: `*`
    pub selectors: Option<Vec<(Selector, Option<String>)>>,
    pub relations: Vec<Relation>,
    pub group_by: Vec<String>,
    /// Column and whether descending.
    pub order_by: Vec<(String, bool)>,
    pub per_partition_limit: Option<Term>,
    pub limit: Option<Term>,
    pub allow_filtering: bool,
    pub bypass_cache: bool,
    pub timeout: Option<Term>,
}

/// One selected expression.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Selector {
    Column(String),
    /// `COUNT(*)` and `COUNT(1)`
    CountStar,
    Writetime(String),
    Ttl(String),
    /// Any other call, aggregates and `token` included; arguments may be terms.
    Function {
        name: String,
        arguments: Vec<Selector>,
    },
    Term(Term),
    Cast(Box<Selector>, String),
}

/// `BEGIN … BATCH … APPLY BATCH` as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Logged, unlogged or counter.
    pub kind: crate::protocol::BatchKind,
    /// `USING TIMESTAMP …`; a TTL here is refused by the planner.
    pub using: Using,
    /// Its statements; markers are numbered through.
    pub statements: Vec<Modify>,
}

/// `CREATE TABLE`
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub struct CreateTable {
    pub table: TableName,
    pub if_not_exists: bool,
    /// Name, type text, static, inline `PRIMARY KEY`.
    pub columns: Vec<ColumnDefinition>,
    /// From `PRIMARY KEY ((…), …)`: partition key and clustering columns, once per clause given.
    pub primary_keys: Vec<(Vec<String>, Vec<String>)>,
    /// Column and whether descending.
    pub clustering_order: Vec<(String, bool)>,
    pub properties: Vec<(String, Property)>,
    pub compact_storage: bool,
}

/// One column of `CREATE TABLE` and `ALTER TABLE ADD`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub struct ColumnDefinition {
    pub name: String,
    /// As written, for example `frozen<list<int>>`.
    pub ty: String,
    pub is_static: bool,
    pub is_primary_key: bool,
}

/// What `ALTER TABLE` does.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum AlterTable {
    Add(Vec<ColumnDefinition>),
    Drop(Vec<String>),
    Rename(Vec<(String, String)>),
    Type { column: String, ty: String },
    With(Vec<(String, Property)>),
}

/// The value of a `WITH` property.
#[derive(Debug, Clone, PartialEq)]
pub enum Property {
    /// A constant, as text without quotes (`true`, `3600`, `a table`).
    Simple(String),
    /// A map of constants, keys as written.
    Map(Vec<(String, String)>),
}

/// `DESCRIBE … [WITH INTERNALS]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Describe {
    /// What is asked for.
    pub what: Described,
    /// With what no client needs to make the same again, such as ids of tables.
    pub internals: bool,
}

/// What a `DESCRIBE` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum Described {
    Cluster,
    /// `[FULL] SCHEMA`: with the keyspaces of the system too.
    Schema {
        full: bool,
    },
    /// `[ONLY] KEYSPACE [name]`: without what is in it.
    Keyspace {
        name: Option<String>,
        only: bool,
    },
    /// `KEYSPACES`, `TABLES`, …: names alone.
    Names(ElementKind),
    Element(ElementKind, TableName),
    /// A name alone: a keyspace, or else a table.
    Anything(TableName),
}

/// What can be described by a word and a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are CQL's own")]
pub enum ElementKind {
    Keyspace,
    Table,
    Type,
    Function,
    Aggregate,
    Index,
    View,
}
