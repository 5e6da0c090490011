//! Which queries are there.

use super::answer::{self, Representation};
use super::bounds::Bounds;
use super::history::history;
use super::limits::QueryLimits;
use super::page::{Page, PageRequest};
use crate::ids::{self, PathNames};
use crate::shell::around;
use crate::{Problem, codes, problem};
use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{MethodRouter, get};
use event_store::EventReader;
use http_server::HttpConfig;
use http_server::context::Terms;
use kernel::Aggregate;
use runtime::Breaker;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use uuid::Uuid;

/// The routes of an application's queries. `Q` is what its functions read with: prepared statements, for example.
///
/// ```text
/// QueryRoutes::new()
///     .get("account", "/v1/accounts/{id}", account)
///     .list("accounts", "/v1/accounts", accounts)
///     .history::<Account>("accounts")
///
/// async fn account(queries: Queries, id: Uuid) -> Result<Option<AccountView>, Problem> { … }
/// async fn accounts(queries: Queries, page: PageRequest<NoParameters>) -> Result<Page<AccountView>, Problem> { … }
/// ```
pub struct QueryRoutes<Q> {
    routes: Vec<QueryRoute<Q>>,
}

struct QueryRoute<Q> {
    /// What it is measured under.
    name: String,
    path: String,
    handler: MethodRouter<Shared<Q>>,
}

/// What every route works with.
#[derive(Clone)]
pub(super) struct Shared<Q> {
    queries: Q,
    pub(super) events: EventReader,
    pub(super) limits: QueryLimits,
}

impl<Q> Default for QueryRoutes<Q> {
    fn default() -> Self {
        Self { routes: Vec::new() }
    }
}

impl<Q> fmt::Debug for QueryRoutes<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| &route.path)).finish()
    }
}

impl<Q: Clone + Send + Sync + 'static> QueryRoutes<Q> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One row by the `{id}` of the path, with its version as `ETag`. `name` is what it is measured under, and what a
    /// client is told is not there when the function gives `None`.
    #[must_use]
    pub fn get<V, F, R>(self, name: &'static str, path: &str, read: F) -> Self
    where
        V: Representation,
        F: Fn(Q, Uuid) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Option<V>, Problem>> + Send,
    {
        let handler = get(async move |State(shared), path| {
            let (shared, id): (Shared<Q>, Uuid) = (shared, id_in(path)?);
            let view = read(shared.queries, id).await?;
            answer::one(&view.ok_or_else(|| not_found(name, id))?)
        });
        self.with_id(name, path, handler)
    }

    /// A list, page by page.
    #[must_use]
    pub fn list<P, V, F, R>(self, name: &'static str, path: &str, read: F) -> Self
    where
        P: DeserializeOwned + Send,
        V: Serialize,
        F: Fn(Q, PageRequest<P>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Page<V>, Problem>> + Send,
    {
        let handler = get(async move |State(shared), uri: Uri| {
            let shared: Shared<Q> = shared;
            let page = PageRequest::read(&uri, &shared.limits)?;
            answer::json(&read(shared.queries, page).await?)
        });
        self.with(name.to_owned(), path, handler)
    }

    /// A list of what belongs to the `{id}` of the path, page by page.
    #[must_use]
    pub fn list_of<P, V, F, R>(self, name: &'static str, path: &str, read: F) -> Self
    where
        P: DeserializeOwned + Send,
        V: Serialize,
        F: Fn(Q, Uuid, PageRequest<P>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Page<V>, Problem>> + Send,
    {
        let handler = get(async move |State(shared), path, uri: Uri| {
            let (shared, id): (Shared<Q>, Uuid) = (shared, id_in(path)?);
            let page = PageRequest::read(&uri, &shared.limits)?;
            answer::json(&read(shared.queries, id, page).await?)
        });
        self.with_id(name, path, handler)
    }

    /// `GET /v1/<collection>/{id}/events`: the events of one aggregate.
    #[must_use]
    pub fn history<A: Aggregate>(self, collection: &str) -> Self {
        let path = format!("/v1/{collection}/{{id}}/events");
        self.with(format!("{}_events", A::TYPE), &path, get(history::<A, Q>))
    }

    fn with_id(self, name: &str, path: &str, handler: MethodRouter<Shared<Q>>) -> Self {
        assert!(path.contains("{id}"), "{path} is to have an {{id}}");
        self.with(name.to_owned(), path, handler)
    }

    fn with(mut self, name: String, path: &str, handler: MethodRouter<Shared<Q>>) -> Self {
        self.routes.push(QueryRoute { name, path: path.to_owned(), handler });
        self
    }
}

/// The API for queries of one process.
pub fn router<Q: Clone + Send + Sync + 'static>(
    queries: Q,
    events: EventReader,
    http: &HttpConfig,
    limits: QueryLimits,
    breaker: Breaker,
    routes: QueryRoutes<Q>,
) -> Router {
    let bounds = Bounds::new(http, breaker);
    let mut router = Router::new();
    for QueryRoute { name, path, handler } in routes.routes {
        router = router.route(&path, bounds.query(name, handler));
    }
    // Queries have no outcome but their answer.
    let terms = Terms::of(http, None);
    around(router, terms, problem::internal).with_state(Shared { queries, events, limits })
}

/// The id in a path.
pub(super) fn id_in(path: PathNames) -> Result<Uuid, Problem> {
    let names = ids::names(path)?;
    let id = names.iter().find(|(name, _)| *name == "id");
    let (name, text) = id.expect("the path has an id, as was checked when the route was made");
    ids::id(name, text)
}

/// 404: something is not in the read models, or not in the event store.
pub(super) fn not_found(what: &str, id: Uuid) -> Problem {
    let detail = format!("there is no {what} {id}, or no event of it was projected yet");
    codes::NOT_FOUND.problem(detail)
}
