//! Constants to bytes. What a constant means is decided by the type of where it stands.

use super::collection::{encode_list, encode_map, encode_tuple};
use super::validate::marshaling;
use super::{datetime, duration, number};
use crate::ast::{Literal, Term};
use crate::error::{CqlError, Result};
use crate::schema::CqlType;
use bytes::Bytes;
use std::net::IpAddr;

/// Gives the value of what is no constant: a marker or a function call. It gets the term, the type
/// wanted, and the name of what it is for.
pub type Resolve<'a> = dyn FnMut(&Term, &CqlType, &str) -> Result<Option<Bytes>> + 'a;

impl CqlType {
    /// The bytes of a constant that stands for `receiver` (a column's name, for the message).
    /// Refuses constants of another kind (`'text'` for a number) and values out of range.
    pub fn literal(&self, literal: &Literal, receiver: &str) -> Result<Bytes> {
        if !self.takes(literal) {
            return Err(CqlError::invalid(format!(
                "Invalid {} constant ({}) for \"{receiver}\" of type {self}",
                literal.kind(),
                literal.text(),
            )));
        }
        match literal {
            Literal::Boolean(value) => Ok(Bytes::copy_from_slice(&[u8::from(*value)])),
            Literal::Hex(digits) => hex(digits),
            Literal::Uuid(uuid) => {
                let value = Bytes::copy_from_slice(uuid.as_bytes());
                self.validate(&value)?;
                Ok(value)
            }
            Literal::String(text)
            | Literal::Integer(text)
            | Literal::Float(text)
            | Literal::Duration(text) => self.from_text(text),
        }
    }

    /// The value of a term without markers and function calls; `None` is null. Collections come
    /// out normalised.
    pub fn constant(&self, term: &Term, receiver: &str) -> Result<Option<Bytes>> {
        self.build(term, receiver, &mut |term, _, _| {
            Err(CqlError::invalid(format!("Expected a constant, got {term}")))
        })
    }

    /// As [`CqlType::constant`], with markers and function calls given by `resolve`, also inside
    /// collections.
    pub fn build(
        &self,
        term: &Term,
        receiver: &str,
        resolve: &mut Resolve<'_>,
    ) -> Result<Option<Bytes>> {
        let value = match (self, term) {
            (_, Term::Null) => return Ok(None),
            (_, Term::Literal(literal)) => return self.literal(literal, receiver).map(Some),
            (_, Term::Marker { .. } | Term::Function { .. }) => {
                return resolve(term, self, receiver);
            }
            (_, Term::Cast(text, inner)) => {
                return self.build_cast(text, inner, receiver, resolve);
            }
            (Self::List(item, _), Term::List(terms)) => {
                encode_list(&items(item, terms, "list", receiver, resolve)?)
            }
            (Self::Set(item, _), Term::Set(terms)) => {
                encode_list(&items(item, terms, "set", receiver, resolve)?)
            }
            (Self::Map(..), Term::Set(terms)) if terms.is_empty() => {
                encode_map::<Bytes, Bytes>(&[])
            }
            (Self::Map(key, item, _), Term::Map(entries)) => {
                encode_map(&map_entries(key, item, entries, receiver, resolve)?)
            }
            (Self::Tuple(types), Term::Tuple(terms)) => {
                encode_tuple(&components(types, terms, receiver, resolve)?)
            }
            // `(x)` may be a parenthesised value.
            (_, Term::Tuple(terms)) if terms.len() == 1 => {
                return self.build(&terms[0], receiver, resolve);
            }
            _ => {
                return Err(CqlError::invalid(format!(
                    "Invalid {} literal for {receiver} of type {self}",
                    shape(term)
                )));
            }
        };
        self.normalize(value).map(Some)
    }

    fn build_cast(
        &self,
        text: &str,
        inner: &Term,
        receiver: &str,
        resolve: &mut Resolve<'_>,
    ) -> Result<Option<Bytes>> {
        let ty = Self::parse(text, "")?;
        if !self.accepts(&ty) {
            return Err(CqlError::invalid(format!(
                "Cannot assign value ({text}){inner} to {receiver} of type {self}"
            )));
        }
        ty.build(inner, receiver, resolve)
    }

    /// Whether a value of type `other` may stand where this type is wanted, as it is.
    pub fn accepts(&self, other: &CqlType) -> bool {
        self == other
            || match self {
                Self::Blob => true,
                Self::Text => *other == Self::Ascii,
                Self::Uuid => *other == Self::Timeuuid,
                Self::Bigint => matches!(other, Self::Counter | Self::Timestamp | Self::Time),
                Self::Timestamp => *other == Self::Bigint,
                Self::List(..) | Self::Set(..) | Self::Map(..) => self.thawed() == other.thawed(),
                _ => false,
            }
    }

    fn thawed(&self) -> CqlType {
        match self.clone() {
            Self::List(item, _) => Self::List(item, false),
            Self::Set(item, _) => Self::Set(item, false),
            Self::Map(key, item, _) => Self::Map(key, item, false),
            other => other,
        }
    }

    /// Whether constants of this kind may stand for values of the type.
    fn takes(&self, literal: &Literal) -> bool {
        match literal {
            Literal::String(_) => matches!(
                self,
                Self::Ascii | Self::Text | Self::Inet | Self::Timestamp | Self::Date | Self::Time
            ),
            Literal::Integer(_) => matches!(
                self,
                Self::Bigint
                    | Self::Counter
                    | Self::Date
                    | Self::Decimal
                    | Self::Double
                    | Self::Duration
                    | Self::Float
                    | Self::Int
                    | Self::Smallint
                    | Self::Time
                    | Self::Timestamp
                    | Self::Tinyint
                    | Self::Varint
            ),
            Literal::Float(_) => matches!(self, Self::Decimal | Self::Double | Self::Float),
            Literal::Boolean(_) => *self == Self::Boolean,
            Literal::Hex(_) => *self == Self::Blob,
            Literal::Uuid(_) => matches!(self, Self::Uuid | Self::Timeuuid),
            Literal::Duration(_) => *self == Self::Duration,
        }
    }

    /// The value that a text stands for, for types that have a text form.
    pub fn from_text(&self, text: &str) -> Result<Bytes> {
        let number_format = || marshaling(format!("Invalid number format '{text}'"));
        let value = match self {
            Self::Text => text.as_bytes().to_vec(),
            Self::Ascii if text.is_ascii() => text.as_bytes().to_vec(),
            Self::Ascii => {
                return Err(marshaling(format!(
                    "Value not compatible with type {}: '{text}'",
                    self.class_name()
                )));
            }
            Self::Bigint | Self::Counter => {
                text.parse::<i64>().map_err(|_| number_format())?.to_be_bytes().to_vec()
            }
            Self::Int => self.small::<i32>(text)?.to_be_bytes().to_vec(),
            Self::Smallint => self.small::<i16>(text)?.to_be_bytes().to_vec(),
            Self::Tinyint => self.small::<i8>(text)?.to_be_bytes().to_vec(),
            Self::Float => {
                text.parse::<f32>().map_err(|_| number_format())?.to_be_bytes().to_vec()
            }
            Self::Double => {
                text.parse::<f64>().map_err(|_| number_format())?.to_be_bytes().to_vec()
            }
            Self::Varint => number::varint_from_text(text).ok_or_else(|| {
                marshaling(format!("unable to make int from '{text}'"))
            })?,
            Self::Decimal => number::decimal_from_text(text).ok_or_else(|| {
                marshaling(format!("unable to make BigDecimal from '{text}'"))
            })?,
            Self::Inet => match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => address.octets().to_vec(),
                Ok(IpAddr::V6(address)) => address.octets().to_vec(),
                Err(_) => {
                    return Err(marshaling(format!("Failed to parse inet_addr from '{text}'")));
                }
            },
            Self::Timestamp => datetime::timestamp_from_text(text)
                .ok_or_else(|| {
                    marshaling(format!(
                        "unable to parse date '{text}': marshaling error: Unable to parse timestamp from '{text}'"
                    ))
                })?
                .to_be_bytes()
                .to_vec(),
            Self::Date => datetime::date_from_text(text)
                .ok_or_else(|| marshaling(format!("Unable to coerce '{text}' to a formatted date (long)")))?
                .to_be_bytes()
                .to_vec(),
            Self::Time => datetime::time_from_text(text)
                .ok_or_else(|| {
                    marshaling("Timestamp format must be hh:mm:ss[.fffffffff]".to_owned())
                })?
                .to_be_bytes()
                .to_vec(),
            Self::Duration => duration::parse(text)
                .ok_or_else(|| marshaling(format!("unable to convert '{text}' to a duration")))?
                .encode(),
            Self::Uuid | Self::Timeuuid => {
                let uuid: uuid::Uuid = text
                    .parse()
                    .map_err(|_| marshaling(format!("unable to make UUID from '{text}'")))?;
                self.validate(uuid.as_bytes())?;
                uuid.as_bytes().to_vec()
            }
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => vec![1],
                "false" => vec![0],
                _ => return Err(marshaling(format!("unable to make boolean from '{text}'"))),
            },
            Self::Blob => return hex(text.strip_prefix("0x").unwrap_or(text)),
            Self::List(..) | Self::Set(..) | Self::Map(..) | Self::Tuple(_) => {
                return Err(marshaling(format!("unable to make {self} from '{text}'")));
            }
        };
        Ok(value.into())
    }

    fn small<T: TryFrom<i64>>(&self, text: &str) -> Result<T> {
        let value: i64 =
            text.parse().map_err(|_| marshaling(format!("Invalid number format '{text}'")))?;
        T::try_from(value).map_err(|_| {
            marshaling(format!("Value out of range for type {}: '{text}'", self.class_name()))
        })
    }
}

fn items(
    item: &CqlType,
    terms: &[Term],
    of: &str,
    receiver: &str,
    resolve: &mut Resolve<'_>,
) -> Result<Vec<Bytes>> {
    terms
        .iter()
        .map(|term| {
            check(item, term, || format!("Invalid {of} literal for {receiver}: value"))?;
            item.build(term, &format!("value({receiver})"), resolve)?
                .ok_or_else(|| CqlError::invalid("Cannot store NULL in list or set"))
        })
        .collect()
}

fn map_entries(
    key: &CqlType,
    item: &CqlType,
    entries: &[(Term, Term)],
    receiver: &str,
    resolve: &mut Resolve<'_>,
) -> Result<Vec<(Bytes, Bytes)>> {
    let no_nulls = || CqlError::invalid("Cannot store NULL in map");
    entries
        .iter()
        .map(|(k, v)| {
            check(key, k, || format!("Invalid map literal for {receiver}: key"))?;
            check(item, v, || format!("Invalid map literal for {receiver}: value"))?;
            let k = key.build(k, &format!("key({receiver})"), resolve)?.ok_or_else(no_nulls)?;
            let v = item.build(v, &format!("value({receiver})"), resolve)?.ok_or_else(no_nulls)?;
            Ok((k, v))
        })
        .collect()
}

fn components(
    types: &[CqlType],
    terms: &[Term],
    receiver: &str,
    resolve: &mut Resolve<'_>,
) -> Result<Vec<Option<Bytes>>> {
    if terms.len() > types.len() {
        return Err(CqlError::invalid(format!(
            "Invalid tuple literal for {receiver}: too many elements. Type {} expects {} but got {}",
            CqlType::Tuple(types.to_vec()),
            types.len(),
            terms.len()
        )));
    }
    types
        .iter()
        .zip(terms)
        .enumerate()
        .map(|(index, (ty, term))| {
            check(ty, term, || format!("Invalid tuple literal for {receiver}: component {index}"))?;
            ty.build(term, &format!("{receiver}[{index}]"), resolve)
        })
        .collect()
}

/// Refuses a constant of another kind in the words of the collection it is in.
fn check(ty: &CqlType, term: &Term, what: impl Fn() -> String) -> Result<()> {
    match term {
        Term::Literal(literal) if !ty.takes(literal) => {
            Err(CqlError::invalid(format!("{} {term} is not of type {ty}", what())))
        }
        _ => Ok(()),
    }
}

fn shape(term: &Term) -> &'static str {
    match term {
        Term::List(_) => "list",
        Term::Set(_) => "set",
        Term::Map(_) => "map",
        _ => "tuple type",
    }
}

fn hex(digits: &str) -> Result<Bytes> {
    if !digits.len().is_multiple_of(2) {
        // A server error, as ScyllaDB answers it.
        return Err(CqlError::server("An hex string representing bytes must have an even length"));
    }
    let nibble = |byte: u8| (byte as char).to_digit(16);
    digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| Some((nibble(pair[0])? << 4 | nibble(pair[1])?) as u8))
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
        .ok_or_else(|| CqlError::server("Non-hex characters in a blob"))
}
