//! What became of a command: `GET /v1/<collection>/{id}/commands/{key}`, and without an id for a create
//! whose client never learned it.
//!
//! A look-up that fails says nothing about the command, so every problem here has the outcome unknown.

use super::handle::{AcceptedEvent, Api, tell};
use super::store::Store;
use super::{headers, identity, problem};
use crate::Problem;
use crate::ids::{self, PathNames, tag};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use event_store::{Effect, LookUp};
use http_server::context::RequestContext;
use kernel::{Aggregate, Version};
use serde::Serialize;
use uuid::Uuid;

/// The routes of one aggregate.
pub(super) fn look_ups_of<A: Aggregate, S: Store>(collection: &str) -> Router<Api<S>> {
    Router::new()
        .route(&format!("/v1/{collection}/{{id}}/commands/{{key}}"), get(look_up::<A, S>))
        .route(&format!("/v1/{collection}/commands/{{key}}"), get(look_up::<A, S>))
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Found<'a> {
    Done {
        version: Version,
        events: Vec<AcceptedEvent<'a>>,
        /// Where the path does not name it.
        #[serde(skip_serializing_if = "Option::is_none")]
        aggregate_id: Option<Uuid>,
    },
    NotFound {
        version: Version,
    },
}

async fn look_up<A: Aggregate, S: Store>(
    State(api): State<Api<S>>,
    Extension(context): Extension<RequestContext>,
    path: PathNames,
) -> Result<Response, Problem> {
    let unknown = problem::outcome(Effect::Unknown);
    let (named, key) = read(path).map_err(|problem| problem.outcome(unknown))?;
    // A create whose client named no id is a command of the type; the id that it makes derives from it.
    let create = identity::command_id(A::TYPE, None, &key);
    let made = identity::id_of_new(A::TYPE, create);
    let aggregate_id = named.unwrap_or(made);
    let of_aggregate = identity::command_id(A::TYPE, named, &key);
    let command_ids: &[Uuid] =
        if aggregate_id == made { &[of_aggregate, create] } else { &[of_aggregate] };
    let admitted = api.admission.admit(&context).await;
    let place = admitted.map_err(|refused| problem::not_admitted(refused, Effect::Unknown))?;
    let found = api.store.look_up::<A>(aggregate_id, command_ids, context.deadline).await;
    tell(place, &found, aggregate_id);
    let found = found.map_err(|error| problem::of_look_up(&error))?;
    let (version, body) = match &found {
        LookUp::Done(outcome) => {
            let events = outcome.events.iter().map(AcceptedEvent::of).collect();
            let aggregate_id = named.is_none().then_some(aggregate_id);
            (outcome.version, Found::Done { version: outcome.version, events, aggregate_id })
        }
        LookUp::NotFound { version } => (*version, Found::NotFound { version: *version }),
    };
    Ok(([(header::ETAG, tag(version))], Json(body)).into_response())
}

/// The aggregate's id, where the path has one, and the key.
fn read(path: PathNames) -> Result<(Option<Uuid>, String), Problem> {
    let path = ids::names(path)?;
    let (mut id, mut key) = (None, None);
    for (name, text) in &path {
        if name == "key" {
            key = headers::key(text.as_bytes());
        } else {
            id = Some(ids::id(name, text)?);
        }
    }
    let key = key.ok_or_else(|| headers::invalid_key().at("key"))?;
    Ok((id, key.to_owned()))
}
