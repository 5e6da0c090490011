//! The `WHERE` clause: which partitions, which slices of them, and what is left to filter.

use crate::ast::{self, Operator, Relation, Term};
use crate::error::{CqlError, Result};
use crate::plan::comparison::{ColumnRef, Comparison, symbol};
use crate::plan::terms::{Expr, Scope};
use crate::schema::{Column, ColumnKind, CqlType, Table};

/// What ScyllaDB says when a statement would have to look at rows it does not return.
const NEEDS_FILTERING: &str = "Cannot execute this query as it might involve data filtering and \
    thus may have unpredictable performance. If you want to execute this query despite the \
    performance unpredictability, use ALLOW FILTERING";

/// A `WHERE` clause, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Restrictions {
    /// Which partitions.
    pub(crate) partitions: Partitions,
    /// For each clustering column of a prefix of the key, what restricts it; all but the last by
    /// `=` or `IN`.
    pub(crate) clustering: Vec<Vec<Comparison>>,
    /// `(c, d) > (1, 2)`; never together with `clustering`.
    pub(crate) tuples: Vec<TupleComparison>,
    /// What rows are filtered by after they were read.
    pub(crate) filters: Vec<Comparison>,
    /// Whether any clustering column is restricted at all.
    pub(crate) restricts_clustering: bool,
}

/// Which partitions a statement is about.
#[derive(Debug, Clone)]
pub(crate) enum Partitions {
    /// Each column of the partition key is restricted by `=` or `IN`.
    Keys(Vec<Vec<Comparison>>),
    /// A part of the ring: comparisons of the token; none is the whole ring.
    Ring(Vec<(Operator, Expr)>),
}

/// `(c, d, …) operator operand` over the first so many clustering columns.
#[derive(Debug, Clone)]
pub(crate) struct TupleComparison {
    /// How many clustering columns, from the first.
    pub(crate) width: usize,
    /// `=`, `IN` or a slice.
    pub(crate) operator: Operator,
    /// Its values; several for IN.
    pub(crate) operand: TupleOperand,
}

/// The right-hand side of a comparison of tuples.
#[derive(Debug, Clone)]
pub(crate) enum TupleOperand {
    /// As written, component by component.
    Tuples(Vec<Vec<Expr>>),
    /// A marker for one tuple.
    Tuple(Expr),
    /// A marker for a list of tuples.
    List(Expr),
}

/// What kind of statement the clause belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// SELECT, with `ALLOW FILTERING` or without.
    Select {
        /// Whether filtering was allowed.
        allow_filtering: bool,
    },
    /// INSERT (as relations of its key columns), UPDATE and DELETE.
    Modify,
}

impl Restrictions {
    /// Takes a clause apart; says what is not possible in ScyllaDB's words.
    pub(crate) fn prepare(
        scope: &mut Scope<'_>,
        relations: &[Relation],
        purpose: Purpose,
    ) -> Result<Self> {
        let table = scope.table;
        check_count("relations", relations.len())?;
        let mut sorted = Sorted::default();
        for relation in relations {
            sorted.add(scope, relation)?;
        }
        let filtering = purpose == Purpose::Select { allow_filtering: true };
        let mut filters = Vec::new();
        let partitions = sorted.partitions(table, filtering, purpose, &mut filters)?;
        let restricts_clustering = !sorted.clustering.is_empty() || !sorted.tuples.is_empty();
        if !sorted.tuples.is_empty() && !sorted.clustering.is_empty() {
            return Err(CqlError::invalid(
                "Mixing single column relations and multi column relations on clustering columns is not allowed",
            ));
        }
        let clustering = prefix(table, sorted.clustering, filtering, &mut filters)?;
        filters.append(&mut sorted.regular);
        if !filters.is_empty() && !filtering {
            return Err(CqlError::invalid(NEEDS_FILTERING));
        }
        Ok(Self { partitions, clustering, tuples: sorted.tuples, filters, restricts_clustering })
    }

    /// Whether the partition key is restricted by an `IN`.
    pub(crate) fn has_partition_in(&self) -> bool {
        match &self.partitions {
            Partitions::Keys(columns) => columns.iter().flatten().any(is_in),
            Partitions::Ring(_) => false,
        }
    }

    /// How many clustering columns are fixed by `=` or `IN`, from the first.
    pub(crate) fn clustering_fixed(&self) -> usize {
        let tuples = self.tuples.iter().filter(|tuple| is_point(tuple.operator));
        let fixed = self.clustering.iter().take_while(|column| column.iter().any(fixes)).count();
        tuples.map(|tuple| tuple.width).max().unwrap_or(0).max(fixed)
    }

    /// For each column of the partition key the marker it is set equal to; `None` if any has none.
    pub(crate) fn partition_markers(&self) -> Option<Vec<usize>> {
        match &self.partitions {
            Partitions::Keys(columns) => columns
                .iter()
                .map(|column| match column.as_slice() {
                    [comparison] => comparison.marker_index(),
                    _ => None,
                })
                .collect(),
            Partitions::Ring(_) => None,
        }
    }
}

fn is_in(comparison: &Comparison) -> bool {
    comparison.operator == Operator::In
}

fn is_point(operator: Operator) -> bool {
    matches!(operator, Operator::Eq | Operator::In)
}

fn fixes(comparison: &Comparison) -> bool {
    is_point(comparison.operator)
}

/// Relations by the kind of their column.
#[derive(Default)]
struct Sorted {
    partition: Vec<Comparison>,
    token: Vec<(Operator, Expr)>,
    clustering: Vec<Comparison>,
    tuples: Vec<TupleComparison>,
    regular: Vec<Comparison>,
}

impl Sorted {
    fn add(&mut self, scope: &mut Scope<'_>, relation: &Relation) -> Result<()> {
        match relation {
            Relation::Column { column, operator, operand } => {
                let column = find(scope.table, column)?;
                if matches!(operator, Operator::NotEq | Operator::NotIn) {
                    return Err(CqlError::invalid(format!(
                        "Unsupported \"{}\" relation: {}",
                        symbol(*operator),
                        column.name
                    )));
                }
                let comparison = Comparison::prepare(scope, column, *operator, operand)?;
                match column.kind {
                    ColumnKind::PartitionKey => self.partition.push(comparison),
                    ColumnKind::Clustering => self.clustering.push(comparison),
                    ColumnKind::Static | ColumnKind::Regular => self.regular.push(comparison),
                }
            }
            Relation::Tuple { columns, operator, operand } => {
                self.tuples.push(tuple(scope, columns, *operator, operand)?);
            }
            Relation::Token { columns, operator, operand } => {
                let key = scope.table.partition_key();
                if !columns.iter().eq(key.iter().map(|column| &column.name)) {
                    for column in columns {
                        find(scope.table, column)?;
                    }
                    let key: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
                    return Err(CqlError::invalid(format!(
                        "The token function arguments must be in the partition key order: {}",
                        key.join(", ")
                    )));
                }
                if !matches!(
                    operator,
                    Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
                ) {
                    return Err(CqlError::invalid(format!(
                        "Unsupported operator {} for the token function",
                        symbol(*operator)
                    )));
                }
                let bound = Expr::prepare(scope, operand, "partition key token", &CqlType::Bigint)?;
                self.token.push((*operator, bound));
            }
        }
        Ok(())
    }

    fn partitions(
        &mut self,
        table: &Table,
        filtering: bool,
        purpose: Purpose,
        filters: &mut Vec<Comparison>,
    ) -> Result<Partitions> {
        if !self.token.is_empty() {
            if purpose == Purpose::Modify {
                return Err(CqlError::invalid(
                    "The token function cannot be used in WHERE clauses for UPDATE and DELETE statements",
                ));
            }
            if let Some(comparison) = self.partition.first()
                && !filtering
            {
                return Err(CqlError::invalid(format!(
                    "Columns \"{}\" cannot be restricted by both a normal relation and a token relation",
                    comparison.name
                )));
            }
            filters.append(&mut self.partition);
            return Ok(Partitions::Ring(std::mem::take(&mut self.token)));
        }
        if !filtering && self.partition.iter().any(|comparison| !fixes(comparison)) {
            return Err(CqlError::invalid(
                "Only EQ and IN relation are supported on the partition key (unless you use the token() function or allow filtering)",
            ));
        }
        let columns: Vec<Vec<Comparison>> = (0..table.partition_key_len)
            .map(|at| {
                let of_column = |c: &&Comparison| c.column == ColumnRef::Partition(at);
                self.partition.iter().filter(of_column).cloned().collect()
            })
            .collect();
        if columns.iter().all(|column: &Vec<Comparison>| column.iter().any(fixes)) {
            return Ok(Partitions::Keys(columns));
        }
        if purpose == Purpose::Modify {
            let missing = columns.iter().position(Vec::is_empty).unwrap_or(0);
            return Err(CqlError::invalid(format!(
                "Missing mandatory PRIMARY KEY part {}",
                table.columns[missing].name
            )));
        }
        filters.append(&mut self.partition);
        Ok(Partitions::Ring(Vec::new()))
    }
}

/// The restrictions that select slices; what is not reached by them is left to filters.
fn prefix(
    table: &Table,
    comparisons: Vec<Comparison>,
    filtering: bool,
    filters: &mut Vec<Comparison>,
) -> Result<Vec<Vec<Comparison>>> {
    let mut columns: Vec<Vec<Comparison>> = vec![Vec::new(); table.clustering_len];
    for comparison in comparisons {
        match comparison.column {
            ColumnRef::Clustering(at) if !is_filter_only(&comparison) => {
                columns[at].push(comparison);
            }
            _ => filters.push(comparison),
        }
    }
    let mut reached = 0;
    for (at, column) in columns.iter().enumerate() {
        if column.is_empty() {
            break;
        }
        reached = at + 1;
        if !column.iter().any(fixes) {
            break;
        }
    }
    for beyond in columns.split_off(reached).into_iter().flatten() {
        if !filtering {
            let previous = &table.clustering()[reached.saturating_sub(1)].name;
            return Err(CqlError::invalid(match columns.last() {
                Some(last) if !last.iter().any(fixes) => format!(
                    "Clustering column \"{}\" cannot be restricted (preceding column \"{previous}\" is restricted by a non-EQ relation)",
                    beyond.name
                ),
                _ => format!(
                    "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not restricted",
                    beyond.name,
                    table.clustering()[reached].name
                ),
            }));
        }
        filters.push(beyond);
    }
    Ok(columns)
}

fn is_filter_only(comparison: &Comparison) -> bool {
    matches!(comparison.operator, Operator::Contains | Operator::ContainsKey | Operator::Like)
}

fn tuple(
    scope: &mut Scope<'_>,
    names: &[String],
    operator: Operator,
    operand: &ast::Operand,
) -> Result<TupleComparison> {
    let table = scope.table;
    for name in names {
        let column = find(table, name)?;
        if column.kind != ColumnKind::Clustering {
            return Err(CqlError::invalid(format!(
                "Multi-column relations can only be applied to clustering columns but was applied to: {name}"
            )));
        }
    }
    let expected = table.clustering().iter().map(|column| &column.name);
    if !expected.take(names.len()).eq(names.iter()) {
        return Err(CqlError::invalid(format!(
            "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: ({})",
            names.join(", ")
        )));
    }
    if !matches!(
        operator,
        Operator::Eq | Operator::In | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
    ) {
        return Err(CqlError::invalid(format!(
            "Unsupported operator {} in a multi-column relation",
            symbol(operator)
        )));
    }
    let columns = &table.clustering()[..names.len()];
    let ty = CqlType::Tuple(columns.iter().map(|column| column.ty.clone()).collect());
    let name = format!("({})", names.join(","));
    let operand = match operand {
        ast::Operand::Term(Term::Marker { index, .. }) if operator == Operator::In => {
            let list = CqlType::List(Box::new(ty.clone()), false);
            let marker = Expr::marker(scope, *index, &format!("in{name}"), &list)?;
            TupleOperand::List(marker)
        }
        ast::Operand::Term(Term::Marker { index, .. }) => {
            TupleOperand::Tuple(Expr::marker(scope, *index, &name, &ty)?)
        }
        ast::Operand::Term(term) => TupleOperand::Tuples(vec![components(scope, columns, term)?]),
        ast::Operand::List(terms) => TupleOperand::Tuples(
            terms.iter().map(|term| components(scope, columns, term)).collect::<Result<_>>()?,
        ),
    };
    Ok(TupleComparison { width: names.len(), operator, operand })
}

fn components(scope: &mut Scope<'_>, columns: &[Column], term: &Term) -> Result<Vec<Expr>> {
    let Term::Tuple(items) = term else {
        return Err(CqlError::invalid("Expected a tuple in a multi-column relation"));
    };
    if items.len() != columns.len() {
        return Err(CqlError::invalid(format!(
            "Expected {} elements in value tuple, but got {}",
            columns.len(),
            items.len()
        )));
    }
    columns
        .iter()
        .zip(items)
        .map(|(column, term)| Expr::prepare(scope, term, &column.name, &column.ty))
        .collect()
}

/// Refuses clauses that it would take long to look through; no sound one is that long.
pub(crate) fn check_count(what: &str, count: usize) -> Result<()> {
    const MAX: usize = 4096;
    if count > MAX {
        return Err(CqlError::invalid(format!("Too many {what}: {count}, at most {MAX}")));
    }
    Ok(())
}

/// A column by name, as `WHERE`, `IF` and selections miss it.
pub(crate) fn find<'a>(table: &'a Table, name: &str) -> Result<&'a Column> {
    table.column(name).ok_or_else(|| CqlError::invalid(format!("Unrecognized name {name}")))
}
