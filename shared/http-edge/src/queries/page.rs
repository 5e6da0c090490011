//! Lists page by page: what a client asks for, and what it gets.

use super::limits::QueryLimits;
use crate::{Problem, codes};
use axum::extract::Query;
use axum::http::Uri;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt::Display;
use std::str::FromStr;

/// Which page of a list: `?limit=…&cursor=…` and the list's own parameters.
#[derive(Debug)]
pub struct PageRequest<P> {
    /// The list's own parameters. Their type is to have `#[serde(deny_unknown_fields)]`.
    pub parameters: P,
    /// How many entries the page may have; at least 1.
    pub limit: usize,
    cursor: Option<String>,
}

/// The parameters of a list that has none of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

/// What every list understands.
#[derive(Deserialize)]
struct Paging {
    limit: Option<usize>,
    cursor: Option<String>,
}

impl<P: DeserializeOwned> PageRequest<P> {
    pub(super) fn read(uri: &Uri, limits: &QueryLimits) -> Result<Self, Problem> {
        let all = uri.query().unwrap_or_default().split('&');
        let of_paging = |pair: &&str| matches!(pair.split('=').next(), Some("limit" | "cursor"));
        let (paging, own): (Vec<_>, Vec<_>) = all.partition(of_paging);
        let (paging, parameters) = (paging.join("&"), parameters(&own.join("&"))?);
        let Paging { limit, cursor } = self::parameters(&paging)?;
        let max = limits.page_size_max;
        let limit = limit.unwrap_or(limits.page_size);
        if limit == 0 || limit > max {
            return Err(malformed_parameter("limit", format!("must be between 1 and {max}")));
        }
        Ok(Self { parameters, limit, cursor })
    }
}

impl<P> PageRequest<P> {
    /// The `next` of the page before, where the client gives it back. 400 for what is no cursor.
    pub fn cursor<C: FromStr<Err: Display>>(&self) -> Result<Option<C>, Problem> {
        let read = |error: C::Err| malformed_parameter("cursor", error.to_string());
        self.cursor.as_deref().map(str::parse).transpose().map_err(read)
    }
}

/// Reads all parameters of a query into a struct.
pub(super) fn parameters<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
    let uri = uri.map_err(|error| malformed_parameter("query", error.to_string()))?;
    let read = Query::try_from_uri(&uri);
    let Query(parameters) =
        read.map_err(|error| malformed_parameter("query", error.body_text()))?;
    Ok(parameters)
}

/// 400: a query parameter that cannot be understood.
pub fn malformed_parameter(name: &str, detail: impl Into<String>) -> Problem {
    codes::MALFORMED_PARAMETER.problem(detail).at(name)
}

/// A page of a list. In JSON its entries have the name of the list.
#[derive(Debug)]
pub struct Page<V> {
    /// What is listed, for example `orders`.
    pub name: &'static str,
    /// In the order of the list.
    pub entries: Vec<V>,
    /// Given back as `cursor` to get the next page; `None` at the end.
    pub next: Option<String>,
}

impl<V: Serialize> Serialize for Page<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry(self.name, &self.entries)?;
        if let Some(next) = &self.next {
            members.serialize_entry("next", next)?;
        }
        members.end()
    }
}
