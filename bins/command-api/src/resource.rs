//! From a request to a command and from its outcome to an answer, the same for every aggregate.
//!
//! A new aggregate is a [`Resource`] with a [`CommandBody`] per command, and one line in
//! [`crate::routes`].

use crate::body::{self, Bodies};
use crate::headers::CommandHeaders;
use crate::identity;
use crate::json;
use crate::look_up::look_ups_of;
use crate::problem::{self, Problem};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, post, put};
use axum::{Extension, Json, Router};
use domain::ValueError;
use event_store::{
    CommandRequest, Effect, EventStore, ExecuteError, LookUp, Outcome, StoredEventRef,
};
use kernel::{Aggregate, DomainError, Version};
use runtime::http::admission::{Admission, Place};
use runtime::http::context::RequestContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use tokio::time::Instant;
use uuid::Uuid;

/// Who executes commands.
pub(crate) trait Store: Clone + Send + Sync + 'static {
    /// See [`EventStore::execute_by`].
    fn execute<A: Aggregate>(
        &self,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Outcome, ExecuteError<A::Error>>> + Send;

    /// See [`EventStore::look_up_by`].
    fn look_up<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        command_ids: &[Uuid],
        deadline: Instant,
    ) -> impl Future<Output = Result<LookUp, ExecuteError<A::Error>>> + Send;

    /// See [`EventStore::is_at_work`].
    fn is_at_work(&self, command_id: Uuid) -> bool;
}

impl Store for EventStore {
    async fn execute<A: Aggregate>(
        &self,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> Result<Outcome, ExecuteError<A::Error>> {
        self.execute_by(request, deadline).await
    }

    async fn look_up<A: Aggregate>(
        &self,
        aggregate_id: Uuid,
        command_ids: &[Uuid],
        deadline: Instant,
    ) -> Result<LookUp, ExecuteError<A::Error>> {
        self.look_up_by::<A>(aggregate_id, command_ids, deadline).await
    }

    fn is_at_work(&self, command_id: Uuid) -> bool {
        EventStore::is_at_work(self, command_id)
    }
}

/// What every route works with.
#[derive(Clone)]
pub(crate) struct Api<S> {
    pub(crate) store: S,
    pub(crate) bodies: Bodies,
    pub(crate) admission: Admission,
}

/// An aggregate that takes commands over HTTP.
pub(crate) trait Resource: Aggregate {
    /// Adds a route per command.
    fn commands<S: Store>(routes: Commands<Self, S>) -> Commands<Self, S>;
}

/// What a client sends for one kind of command.
pub(crate) trait CommandBody<A: Aggregate>: DeserializeOwned + Serialize + Send {
    /// The command's name, in metrics and fingerprints.
    const NAME: &'static str;
    /// Whether no body at all means an empty one.
    const MAY_BE_ABSENT: bool = false;

    /// The id that the client names for what it creates.
    fn named_id(&self) -> Option<Uuid> {
        None
    }

    /// Takes over an id of the path other than the aggregate's.
    fn take_path_id(&mut self, _id: Uuid) {}

    /// Checks the values.
    fn into_command(self, command_id: Uuid) -> Result<A::Command, InvalidValue>;
}

/// A value that breaks a rule, and where it stands.
#[derive(Debug)]
pub(crate) struct InvalidValue {
    field: String,
    error: ValueError,
}

/// Says where a value stands.
pub(crate) trait At<T> {
    fn at(self, field: impl Into<String>) -> Result<T, InvalidValue>;
}

impl<T> At<T> for Result<T, ValueError> {
    fn at(self, field: impl Into<String>) -> Result<T, InvalidValue> {
        self.map_err(|error| InvalidValue { field: field.into(), error })
    }
}

/// The routes of one aggregate: `/v1/<collection>/...`.
pub(crate) fn commands_of<A: Resource, S: Store>(collection: &'static str) -> Router<Api<S>> {
    let commands = Commands { collection, router: Router::new(), aggregate: PhantomData };
    A::commands(commands).router.merge(look_ups_of::<A, S>(collection))
}

/// Collects the routes of one aggregate.
pub(crate) struct Commands<A, S> {
    collection: &'static str,
    router: Router<Api<S>>,
    aggregate: PhantomData<A>,
}

impl<A: Aggregate, S: Store> Commands<A, S> {
    /// `POST /v1/<collection>` makes a new aggregate.
    pub(crate) fn create<B: CommandBody<A> + 'static>(mut self) -> Self {
        let collection = self.collection;
        let handler = post(async move |State(api), Extension(context), path, request| {
            let context: RequestContext = context;
            let asked = receive::<A, B, S>(&api, &context, path, request).await?;
            let outcome = execute(&api, context, asked, true).await?;
            let location = format!("/v1/{collection}/{}", outcome.aggregate_id);
            let location = HeaderValue::from_str(&location).expect("a path of visible ASCII");
            let headers = [(header::LOCATION, location)];
            Ok::<_, Problem>((StatusCode::CREATED, headers, answer(&outcome)))
        });
        self.router = self.router.route(&format!("/v1/{collection}"), handler);
        self
    }

    /// `POST /v1/<collection>/{id}/<action>`.
    pub(crate) fn post<B: CommandBody<A> + 'static>(self, action: &str) -> Self {
        self.on(action, post(change::<A, B, S>))
    }

    /// `PUT /v1/<collection>/{id}/<part>`.
    pub(crate) fn put<B: CommandBody<A> + 'static>(self, part: &str) -> Self {
        self.on(part, put(change::<A, B, S>))
    }

    /// `DELETE /v1/<collection>/{id}/<part>`.
    pub(crate) fn delete<B: CommandBody<A> + 'static>(self, part: &str) -> Self {
        self.on(part, delete(change::<A, B, S>))
    }

    fn on(mut self, path: &str, handler: MethodRouter<Api<S>>) -> Self {
        let path = format!("/v1/{}/{{id}}/{path}", self.collection);
        self.router = self.router.route(&path, handler);
        self
    }
}

pub(crate) type PathIds = Result<RawPathParams, RawPathParamsRejection>;

/// A request that was read and is well formed.
struct Asked<B> {
    aggregate_id: Option<Uuid>,
    headers: CommandHeaders,
    body: B,
}

/// A command to an aggregate that is there already.
async fn change<A: Aggregate, B: CommandBody<A>, S: Store>(
    State(api): State<Api<S>>,
    Extension(context): Extension<RequestContext>,
    path: PathIds,
    request: Request,
) -> Result<Response, Problem> {
    let asked = receive::<A, B, S>(&api, &context, path, request).await?;
    let outcome = execute::<A, B, S>(&api, context, asked, false).await?;
    Ok(answer(&outcome))
}

/// Reads path, headers and body, in this order; the first fault is told.
async fn receive<A: Aggregate, B: CommandBody<A>, S: Store>(
    api: &Api<S>,
    context: &RequestContext,
    path: PathIds,
    request: Request,
) -> Result<Asked<B>, Problem> {
    let (mut aggregate_id, mut other_ids) = (None, Vec::new());
    let path = path.map_err(|_| malformed_id("the path"))?;
    for (name, text) in &path {
        let id = identity::parse_id(text).ok_or_else(|| malformed_id(name))?;
        if name == "id" {
            aggregate_id = Some(id);
        } else {
            other_ids.push(id);
        }
    }
    let (parts, body) = request.into_parts();
    let headers = CommandHeaders::read(&parts.headers)?;
    let received = api.bodies.receive(&parts.headers, body, context.deadline).await?;
    let mut body: B = match &received.bytes[..] {
        [] if B::MAY_BE_ABSENT => json::parse(b"{}")?,
        [] => return Err(Problem::malformed("malformed_json", "the command needs a body")),
        bytes => {
            body::check_kind(&parts.headers)?;
            json::parse(bytes)?
        }
    };
    for id in other_ids {
        body.take_path_id(id);
    }
    Ok(Asked { aggregate_id: aggregate_id.or(body.named_id()), headers, body })
}

pub(crate) fn malformed_id(name: &str) -> Problem {
    let detail = format!("{name} in the path must be a UUID of 36 characters");
    Problem::malformed("malformed_id", detail).at(name.to_owned())
}

/// Names the command, checks its values and has it executed.
async fn execute<A: Aggregate, B: CommandBody<A>, S: Store>(
    api: &Api<S>,
    context: RequestContext,
    asked: Asked<B>,
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
    let fingerprint = identity::fingerprint(A::TYPE, B::NAME, &body);
    let command = body
        .into_command(command_id)
        .map_err(|invalid| problem::invalid_value(invalid.field, &invalid.error))?;
    let aggregate_id = named.unwrap_or_else(|| identity::id_of_new(A::TYPE, command_id));
    let request = CommandRequest {
        name: B::NAME,
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
pub(crate) fn tell<T, E: DomainError>(
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
pub(crate) struct AcceptedEvent<'a> {
    id: Uuid,
    r#type: &'a str,
    version: Version,
}

impl<'a> AcceptedEvent<'a> {
    pub(crate) fn of(event: &'a StoredEventRef) -> Self {
        Self { id: event.event_id, r#type: &event.event_type, version: event.version }
    }
}

/// A version as an `ETag` has it.
pub(crate) fn tag(version: Version) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("a number in quotes")
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
