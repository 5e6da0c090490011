//! Reads a body strictly: one JSON value, exactly the fields that are known, each once, each of its
//! type. What is wrong is told with the path of the field.

use crate::Problem;
use crate::codes::{self, Code};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use std::fmt;
use std::marker::PhantomData;

/// How deep arrays and objects may lie in each other. No command needs more than three.
const DEPTH_MAX: usize = 32;

/// A struct that is read from an object only. serde would also read it from an array of its fields, which a client
/// must not send by mistake.
#[derive(Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Reads one object. Objects within it are to be [`Object`]s too.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        codes::INVALID_UTF8.problem(detail)
    })?;
    if is_deeper_than(DEPTH_MAX, text) {
        let detail = format!("the body is nested deeper than {DEPTH_MAX} levels");
        return Err(codes::JSON_TOO_DEEP.problem(detail));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(problem)?;
    deserializer.end().map_err(|error| codes::TRAILING_BYTES.problem(error.to_string()))?;
    Ok(value)
}

/// Looks at brackets outside strings only, so it needs neither valid JSON nor a stack.
fn is_deeper_than(depth_max: usize, text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

fn problem(error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let inner = error.into_inner();
    let detail = inner.to_string();
    match inner.classify() {
        Category::Syntax | Category::Eof | Category::Io => codes::MALFORMED_JSON.problem(detail),
        Category::Data => {
            let (code, field) = sort(&detail);
            // For a name that is not known the path ends with it already; for the others it ends
            // with the object that lacks the field or has it twice.
            let path = match field {
                Some(field) if path == "." => field.to_owned(),
                Some(field) => format!("{path}.{field}"),
                None => path,
            };
            code.problem(detail).at(path)
        }
    }
}

/// The code for an error of serde, and the field that it names beyond its path. serde offers no
/// other way to tell its errors apart than their words, which its `Error` trait states.
fn sort(detail: &str) -> (Code, Option<&str>) {
    if detail.starts_with("unknown field `") {
        return (codes::UNKNOWN_FIELD, None);
    }
    for (words, code) in
        [("missing field `", codes::MISSING_FIELD), ("duplicate field `", codes::DUPLICATE_FIELD)]
    {
        if let Some(rest) = detail.strip_prefix(words) {
            // Both are names of our own fields, which have no such mark in them.
            return (code, rest.split('`').next());
        }
    }
    (codes::WRONG_TYPE, None)
}

#[cfg(test)]
mod tests;
