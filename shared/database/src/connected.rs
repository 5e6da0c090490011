//! The database of a process: what it is connected to, and what keeps `/readyz` true about it.

use std::sync::{Arc, OnceLock};

use scylla::client::session::Session;

use runtime::{Backoff, BackoffConfig, Breaker, BreakerConfig, Process, Readiness, Target};
use tokio_util::sync::CancellationToken;

use crate::health::{self, Watched};
use crate::schema::{self, MigrationSet, PendingReader, Settings};
use crate::session::{self, ScyllaConfig};

/// ScyllaDB, as circuit breakers know it.
pub const TARGET: Target = Target::new("database");

/// A process's connection to the database, with its keyspace in use.
#[derive(Debug)]
pub struct Database {
    session: Arc<Session>,
    /// Between looks for the schema.
    pauses: BackoffConfig,
    readiness: Readiness,
    shutdown: CancellationToken,
    /// That of the process's requests, from when they have one.
    breaker: Arc<OnceLock<Breaker>>,
}

impl Database {
    /// Connects to the database and uses its keyspace; tries until both are there. Errs when the process is asked
    /// to end meanwhile, or when the configuration cannot fit this cluster.
    pub async fn connect<C>(process: &Process<C>, config: &ScyllaConfig) -> anyhow::Result<Self> {
        let (readiness, shutdown) = (process.readiness(), process.shutdown());
        let session = session::connect_when_up(config, &readiness, &shutdown).await?;
        let (pauses, breaker) = (config.backoff(), Arc::default());
        Ok(Self { session, pauses, readiness, shutdown, breaker })
    }

    /// The session, for statements.
    pub fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }

    /// Waits until all of `migrations` are applied, saying for what it waits, and reads what all processes agree
    /// on. Workers never migrate: `esctl migrate` does. From then on the child `health` of the process keeps
    /// `/readyz` true about the database and these tables. To be called once.
    pub async fn wait_for_schema<C>(
        &self,
        process: &mut Process<C>,
        migrations: &[MigrationSet],
    ) -> anyhow::Result<Settings> {
        let backoff = Backoff::new(self.pauses);
        let (session, readiness, shutdown) = (&self.session, &self.readiness, &self.shutdown);
        let migrations = PendingReader::new(self.session(), migrations);
        let settings = schema::wait(session, &migrations, backoff, readiness, shutdown).await?;
        let watched = Watched {
            migrations,
            readiness: readiness.clone(),
            config: process.health(),
            breaker: Arc::clone(&self.breaker),
        };
        process.child("health", move |shutdown| health::watch(watched.clone(), shutdown));
        Ok(settings)
    }

    /// The circuit breaker of the database for the process's requests. The health check finds out, too,
    /// when the database is back: otherwise the first who ask after a quiet time would be refused.
    pub fn breaker(&self, config: BreakerConfig) -> Breaker {
        let make = || Breaker::new(TARGET, config, Some(self.readiness.clone()));
        self.breaker.get_or_init(make).clone()
    }
}
