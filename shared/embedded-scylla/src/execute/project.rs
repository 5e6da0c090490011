//! From rows of a table to rows of a result.

use crate::error::Result;
use crate::execute::aggregates::Accumulator;
use crate::execute::functions;
use crate::execute::row::RowView;
use crate::plan::selection::{Selection, Selector};
use crate::schema::CqlType;
use bytes::Bytes;

/// A row of a result.
pub(crate) type ResultRow = Vec<Option<Bytes>>;

/// The server's clock during one execution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// For functions.
    pub(crate) now_micros: i64,
    /// For remaining TTLs; that of the reader.
    pub(crate) now_seconds: i64,
}

impl Selection {
    /// What the selection gives for one row.
    pub(crate) fn project(&self, row: &RowView<'_>, clock: Clock) -> Result<ResultRow> {
        let values: ResultRow = self
            .selectors
            .iter()
            .map(|selector| selector.value(row, clock))
            .collect::<Result<_>>()?;
        Ok(self.shape(values))
    }

    /// Values as they are, or as one JSON text.
    pub(crate) fn shape(&self, values: ResultRow) -> ResultRow {
        if !self.json {
            return values;
        }
        let fields: Vec<String> = self
            .fields
            .iter()
            .zip(values)
            .map(|(field, value)| {
                let value = value.map_or_else(|| "null".to_owned(), |v| field.ty.to_json(&v));
                format!("{}: {value}", json_name(&field.name))
            })
            .collect();
        vec![Some(format!("{{{}}}", fields.join(", ")).into())]
    }
}

/// Names that CQL would have to quote are quoted within the JSON string too.
fn json_name(name: &str) -> String {
    let plain =
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_().* ".contains(c));
    let name = if plain { name.to_owned() } else { format!("\"{name}\"") };
    CqlType::Text.to_json(name.as_bytes())
}

impl Selector {
    /// The value for one row; aggregates have none here.
    pub(crate) fn value(&self, row: &RowView<'_>, clock: Clock) -> Result<Option<Bytes>> {
        Ok(match self {
            Self::Column(column) => row.value(*column).cloned(),
            Self::Writetime(column) => {
                row.cell(*column).map(|cell| bytes(&cell.timestamp.to_be_bytes()))
            }
            Self::Ttl(column) => row.cell(*column).and_then(|cell| cell.expiry).map(|expiry| {
                let left = (expiry.at - clock.now_seconds).max(0);
                bytes(&i32::try_from(left).unwrap_or(i32::MAX).to_be_bytes())
            }),
            Self::Token => Some(bytes(&row.key.token.to_be_bytes())),
            Self::Call(function, arguments) => {
                let arguments: Vec<Option<Bytes>> = arguments
                    .iter()
                    .map(|argument| argument.value(row, clock))
                    .collect::<Result<_>>()?;
                functions::call(function, &arguments, clock.now_micros)?
            }
            Self::Aggregate(..) => None,
        })
    }
}

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// What an aggregating selection has seen so far.
pub(crate) struct Aggregation<'a> {
    selection: &'a Selection,
    nodes: Vec<Node<'a>>,
}

/// A selector with its state; calls may have aggregates as arguments.
enum Node<'a> {
    Aggregate(Accumulator, Option<&'a Selector>),
    Call(&'a crate::plan::functions::Function, Vec<Node<'a>>),
    /// The value of the first row.
    First(&'a Selector, Option<Option<Bytes>>),
}

impl<'a> Aggregation<'a> {
    /// Nothing seen yet.
    pub(crate) fn new(selection: &'a Selection) -> Self {
        Self { selection, nodes: selection.selectors.iter().map(Node::new).collect() }
    }

    /// One more row.
    pub(crate) fn add(&mut self, row: &RowView<'_>, clock: Clock) -> Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.add(row, clock))
    }

    /// The one row of the result.
    pub(crate) fn finish(self, clock: Clock) -> Result<ResultRow> {
        let values =
            self.nodes.into_iter().map(|node| node.finish(clock)).collect::<Result<_>>()?;
        Ok(self.selection.shape(values))
    }
}

impl<'a> Node<'a> {
    fn new(selector: &'a Selector) -> Self {
        match selector {
            Selector::Aggregate(aggregate, argument) => {
                Self::Aggregate(Accumulator::new(aggregate), argument.as_deref())
            }
            Selector::Call(function, arguments) => {
                Self::Call(function, arguments.iter().map(Self::new).collect())
            }
            other => Self::First(other, None),
        }
    }

    fn add(&mut self, row: &RowView<'_>, clock: Clock) -> Result<()> {
        match self {
            Self::Aggregate(accumulator, None) => accumulator.count(),
            Self::Aggregate(accumulator, Some(argument)) => {
                if let Some(value) = argument.value(row, clock)? {
                    accumulator.add(value)?;
                }
            }
            Self::Call(_, arguments) => {
                for argument in arguments {
                    argument.add(row, clock)?;
                }
            }
            Self::First(selector, first) => {
                if first.is_none() {
                    *first = Some(selector.value(row, clock)?);
                }
            }
        }
        Ok(())
    }

    fn finish(self, clock: Clock) -> Result<Option<Bytes>> {
        match self {
            Self::Aggregate(accumulator, _) => accumulator.finish(),
            Self::Call(function, arguments) => {
                let arguments: Vec<Option<Bytes>> = arguments
                    .into_iter()
                    .map(|argument| argument.finish(clock))
                    .collect::<Result<_>>()?;
                functions::call(function, &arguments, clock.now_micros)
            }
            Self::First(_, value) => Ok(value.flatten()),
        }
    }
}
