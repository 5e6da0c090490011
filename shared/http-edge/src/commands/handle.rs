//! From a request to a command and from its outcome to an answer, the same for every aggregate.

use super::body::Bodies;
use super::command_body::{Read, ReadBody};
use super::headers::CommandHeaders;
use super::identity;
use super::problem;
use super::routes::CommandRoute;
use super::store::Store;
use crate::Problem;
use crate::ids::{self, PathNames, tag};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, on};
use axum::{Extension, Json};
use event_store::{CommandRequest, Effect, ExecuteError, Outcome, StoredEventRef};
use http_server::admission::{Admission, Place};
use http_server::context::RequestContext;
use kernel::{Aggregate, DomainError, Version};
use serde::Serialize;
use uuid::Uuid;

/// What every route works with.
#[derive(Clone)]
pub(super) struct Api<S> {
    pub(super) store: S,
    pub(super) bodies: Bodies,
    pub(super) admission: Admission,
}

/// Answers requests for one command.
pub(super) fn handler<A: Aggregate, S: Store>(
    collection: &'static str,
    route: CommandRoute<A>,
) -> MethodRouter<Api<S>> {
    let CommandRoute { method, creates, read, .. } = route;
    let handler = async move |State(api), Extension(context), path, request| {
        let (api, context): (Api<S>, RequestContext) = (api, context);
        let asked = receive::<A, S>(&api, &context, read, path, request).await?;
        let outcome = execute(&api, context, asked, creates).await?;
        Ok::<_, Problem>(if creates { created(collection, &outcome) } else { answer(&outcome) })
    };
    on(method, handler)
}

/// A request that was read and is well formed.
struct Asked<A: Aggregate> {
    aggregate_id: Option<Uuid>,
    headers: CommandHeaders,
    body: Box<dyn ReadBody<A>>,
}

/// Reads path, headers and body, in this order; the first fault is told.
async fn receive<A: Aggregate, S: Store>(
    api: &Api<S>,
    context: &RequestContext,
    read: Read<A>,
    path: PathNames,
    request: Request,
) -> Result<Asked<A>, Problem> {
    let (mut aggregate_id, mut other_ids) = (None, Vec::new());
    for (name, text) in &ids::names(path)? {
        let id = ids::id(name, text)?;
        if name == "id" {
            aggregate_id = Some(id);
        } else {
            other_ids.push(id);
        }
    }
    let (parts, body) = request.into_parts();
    let headers = CommandHeaders::read(&parts.headers)?;
    let received = api.bodies.receive(&parts.headers, body, context.deadline).await?;
    let body = read(&parts.headers, &received.bytes, other_ids)?;
    Ok(Asked { aggregate_id: aggregate_id.or(body.named_id()), headers, body })
}

/// Names the command, checks its values and has it executed.
async fn execute<A: Aggregate, S: Store>(
    api: &Api<S>,
    context: RequestContext,
    asked: Asked<A>,
    creates: bool,
) -> Result<Outcome, Problem> {
    let Asked { aggregate_id: named, headers, body } = asked;
    let command_id = identity::command_id(A::TYPE, named, &headers.idempotency_key);
    let admitted = api.admission.admit(&context).await;
    // Held until the answer is there. "Not done" would be wrong if an earlier sending took effect.
    let place = admitted.map_err(|refused| {
        let at_work = api.store.is_at_work(command_id);
        problem::not_admitted(refused, if at_work { Effect::Unknown } else { Effect::NotDone })
    })?;
    let (name, fingerprint) = (body.name(), body.fingerprint());
    let command = body.into_command(command_id).map_err(problem::invalid_value)?;
    let aggregate_id = named.unwrap_or_else(|| identity::id_of_new(A::TYPE, command_id));
    let request = CommandRequest {
        name,
        aggregate_id,
        command_id,
        fingerprint,
        command,
        expected_version: headers.expected_version,
        causation_id: None,
        correlation_id: context.correlation_id,
        actor: context.principal.as_deref().map(str::to_owned),
        trace_parent: context.trace_parent,
    };
    let outcome = api.store.execute::<A>(request, context.deadline).await;
    tell(place, &outcome, aggregate_id);
    outcome.map_err(|error| problem::of_command(&error, creates))
}

/// Tells the breaker whether the database answered.
pub(super) fn tell<T, E: DomainError>(
    place: Place,
    outcome: &Result<T, ExecuteError<E>>,
    aggregate_id: Uuid,
) {
    match outcome {
        Err(ExecuteError::Unavailable { .. } | ExecuteError::Unknown { .. }) => {
            place.failed(aggregate_id);
        }
        // Refused here, without asking it.
        Err(ExecuteError::Busy { .. } | ExecuteError::TooLarge { .. }) => drop(place),
        Ok(_) | Err(_) => place.succeeded(),
    }
}

/// The body of an answer.
#[derive(Serialize)]
struct Accepted<'a> {
    aggregate_id: Uuid,
    version: Version,
    events: Vec<AcceptedEvent<'a>>,
}

/// An event in the body of an answer.
#[derive(Serialize)]
pub(super) struct AcceptedEvent<'a> {
    id: Uuid,
    r#type: &'a str,
    version: Version,
}

impl<'a> AcceptedEvent<'a> {
    pub(super) fn of(event: &'a StoredEventRef) -> Self {
        Self { id: event.event_id, r#type: &event.event_type, version: event.version }
    }
}

/// The answer to an accepted command; the same for a replay.
fn answer(outcome: &Outcome) -> Response {
    let body = Accepted {
        aggregate_id: outcome.aggregate_id,
        version: outcome.version,
        events: outcome.events.iter().map(AcceptedEvent::of).collect(),
    };
    ([(header::ETAG, tag(outcome.version))], Json(body)).into_response()
}

/// The answer to an accepted create.
fn created(collection: &str, outcome: &Outcome) -> Response {
    let location = format!("/v1/{collection}/{}", outcome.aggregate_id);
    let location = HeaderValue::from_str(&location).expect("a path of visible ASCII");
    (StatusCode::CREATED, [(header::LOCATION, location)], answer(outcome)).into_response()
}
