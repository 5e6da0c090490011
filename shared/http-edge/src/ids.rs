//! Ids and versions in paths and headers.

use crate::{Problem, codes};
use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::http::HeaderValue;
use http_server::context::parse_id;
use kernel::Version;
use uuid::Uuid;

/// What a path names, as it stands there.
pub(crate) type PathNames = Result<RawPathParams, RawPathParamsRejection>;

/// 400: not an id.
pub(crate) fn malformed_id(name: &str) -> Problem {
    let detail = format!("{name} in the path must be a UUID of 36 characters");
    codes::MALFORMED_ID.problem(detail).at(name)
}

/// The id under this name.
pub(crate) fn id(name: &str, text: &str) -> Result<Uuid, Problem> {
    parse_id(text).ok_or_else(|| malformed_id(name))
}

/// The path's names, where they are text at all.
pub(crate) fn names(path: PathNames) -> Result<RawPathParams, Problem> {
    path.map_err(|_| malformed_id("the path"))
}

/// A version as an `ETag` has it.
pub(crate) fn tag(version: Version) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("a number in quotes")
}
