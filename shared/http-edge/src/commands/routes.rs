//! Which commands are there: one entry per aggregate.

use super::body::Bodies;
use super::command_body::{CommandBody, Read, read};
use super::handle::{Api, handler};
use super::limits::RequestLimits;
use super::look_up::look_ups_of;
use super::problem;
use super::store::Store;
use crate::shell::around;
use axum::Router;
use axum::routing::MethodFilter;
use event_store::{Effect, EventStore};
use http_server::HttpConfig;
use http_server::admission::Admission;
use http_server::context::Terms;
use kernel::{Aggregate, Aggregates};
use runtime::Breaker;
use std::fmt;

/// The routes of an application's commands.
///
/// ```text
/// CommandRoutes::new()
///     .aggregate("accounts", |account| account.create::<OpenAccount>().post::<Deposit>("deposit"))
/// ```
pub struct CommandRoutes<S: Store = EventStore> {
    router: Router<Api<S>>,
    aggregate_types: Vec<&'static str>,
}

/// What is wrong with the routes of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    /// A registered aggregate takes no commands.
    #[error("aggregate {aggregate} is registered and has no routes for commands")]
    NoRoutes {
        /// Its type.
        aggregate: &'static str,
    },
    /// Commands are taken for an aggregate that topics, checks and read models do not know.
    #[error("aggregate {aggregate} has routes for commands and is not registered")]
    NotRegistered {
        /// Its type.
        aggregate: &'static str,
    },
}

impl<S: Store> Default for CommandRoutes<S> {
    fn default() -> Self {
        Self { router: Router::new(), aggregate_types: Vec::new() }
    }
}

impl<S: Store> fmt::Debug for CommandRoutes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = &self.aggregate_types;
        f.debug_struct("CommandRoutes").field("aggregate_types", types).finish_non_exhaustive()
    }
}

impl<S: Store> CommandRoutes<S> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the commands of an aggregate under `/v1/<collection>`, and the look-ups of what became of them.
    #[must_use]
    pub fn aggregate<A: Aggregate>(
        mut self,
        collection: &'static str,
        commands: impl FnOnce(Commands<A>) -> Commands<A>,
    ) -> Self {
        let Commands { routes } = commands(Commands { routes: Vec::new() });
        // An aggregate without a command has no routes.
        if !routes.is_empty() {
            self.aggregate_types.push(A::TYPE);
        }
        self.router = self.router.merge(look_ups_of::<A, S>(collection));
        for route in routes {
            let path = format!("/v1/{collection}{}", route.path);
            self.router = self.router.route(&path, handler::<A, S>(collection, route));
        }
        self
    }

    /// The types of the aggregates that take commands.
    #[must_use]
    pub fn aggregate_types(&self) -> &[&'static str] {
        &self.aggregate_types
    }

    /// Errs with an aggregate that is registered and takes no commands, or the other way round. Every process that
    /// takes commands asks at its start, and the application's own tests do.
    pub fn check(&self, registered: Aggregates) -> Result<(), RoutesError> {
        let served = &self.aggregate_types;
        if let Some(missing) = registered.iter().find(|known| !served.contains(&known.name)) {
            return Err(RoutesError::NoRoutes { aggregate: missing.name });
        }
        match served.iter().find(|aggregate| registered.get(aggregate).is_none()) {
            Some(aggregate) => Err(RoutesError::NotRegistered { aggregate }),
            None => Ok(()),
        }
    }
}

/// The commands of one aggregate.
pub struct Commands<A: Aggregate> {
    routes: Vec<CommandRoute<A>>,
}

/// How one command is asked for.
pub(super) struct CommandRoute<A: Aggregate> {
    pub(super) method: MethodFilter,
    /// Below the collection.
    path: String,
    pub(super) creates: bool,
    pub(super) read: Read<A>,
}

impl<A: Aggregate> fmt::Debug for Commands<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| &route.path)).finish()
    }
}

impl<A: Aggregate> Commands<A> {
    /// `POST /v1/<collection>` makes a new aggregate.
    #[must_use]
    pub fn create<B: CommandBody<A>>(self) -> Self {
        self.with::<B>(MethodFilter::POST, String::new(), true)
    }

    /// `POST /v1/<collection>/{id}/<action>`.
    #[must_use]
    pub fn post<B: CommandBody<A>>(self, action: &str) -> Self {
        self.with::<B>(MethodFilter::POST, format!("/{{id}}/{action}"), false)
    }

    /// `PUT /v1/<collection>/{id}/<part>`.
    #[must_use]
    pub fn put<B: CommandBody<A>>(self, part: &str) -> Self {
        self.with::<B>(MethodFilter::PUT, format!("/{{id}}/{part}"), false)
    }

    /// `DELETE /v1/<collection>/{id}/<part>`.
    #[must_use]
    pub fn delete<B: CommandBody<A>>(self, part: &str) -> Self {
        self.with::<B>(MethodFilter::DELETE, format!("/{{id}}/{part}"), false)
    }

    fn with<B: CommandBody<A>>(
        mut self,
        method: MethodFilter,
        path: String,
        creates: bool,
    ) -> Self {
        self.routes.push(CommandRoute { method, path, creates, read: read::<A, B> });
        self
    }
}

/// The API for commands of one process.
pub fn router<S: Store>(
    store: S,
    http: &HttpConfig,
    limits: &RequestLimits,
    breaker: Breaker,
    routes: CommandRoutes<S>,
) -> Router {
    let refused_before_it_began = Some(problem::outcome(Effect::NotDone));
    let terms = Terms::of(http, refused_before_it_began);
    around(routes.router, terms, problem::internal).with_state(Api {
        store,
        bodies: Bodies::new(limits),
        admission: Admission::new(http, breaker),
    })
}
