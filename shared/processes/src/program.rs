//! All processes of an application in one program, which its first argument tells which of them to be.

use crate::query_api::Queries;
use crate::{command_api, dlq_retrier, esctl, outbox_relay, projection_worker, query_api};
use application::Application;
use http_edge::commands::CommandRoutes;
use std::process::ExitCode;

/// A program that is every process of an application.
///
/// ```text
/// Program::new(BANK, commands::routes).run::<BankQueries>(include_str!("../config/query-api.toml"))
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Program {
    application: Application,
    commands: fn() -> CommandRoutes,
}

impl Program {
    /// Of this application, with the routes of its commands.
    #[must_use]
    pub fn new(application: Application, commands: fn() -> CommandRoutes) -> Self {
        Self { application, commands }
    }

    /// Runs the process that the first argument names. `None` if it names none of them. For `query_defaults` see
    /// [`query_api::main`].
    pub fn run<Q: Queries>(self, query_defaults: &'static str) -> Option<ExitCode> {
        let application = self.application;
        Some(match std::env::args().nth(1)?.as_str() {
            "command-api" => command_api::main(application, self.commands),
            "query-api" => query_api::main::<Q>(application, query_defaults),
            "projection-worker" => projection_worker::main(application),
            "outbox-relay" => outbox_relay::main(application),
            "dlq-retrier" => dlq_retrier::main(application),
            "esctl" => esctl::main(application),
            _ => return None,
        })
    }
}
