//! From what was read to an answer.

use crate::ids::tag;
use crate::{Problem, unreadable};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use kernel::Version;
use serde::Serialize;

/// The JSON of one aggregate, as a read model has it.
pub trait Representation: Serialize {
    /// The version that it shows, which becomes its `ETag`.
    fn version(&self) -> Version;
}

/// One aggregate.
pub(super) fn one(view: &impl Representation) -> Result<Response, Problem> {
    let mut response = json(view)?;
    response.headers_mut().insert(header::ETAG, tag(view.version()));
    Ok(response)
}

/// Anything. Errs when something in it has no place in JSON, such as a time beyond the year 9999.
pub(super) fn json(view: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(view).map_err(|error| unreadable(&error))?;
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}
