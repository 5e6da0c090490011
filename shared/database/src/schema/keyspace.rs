//! The keyspace, made so that it has lightweight transactions and CDC on every release of ScyllaDB.
//!
//! | release | virtual nodes are asked for by | tablets |
//! | --- | --- | --- |
//! | before 6.0, 2024.1 | no clause: they do not know it | have none |
//! | 6.0 to 6.2, 2024.2, 2025.1 to 2025.3 | the clause | have neither lightweight transactions nor CDC |
//! | from 2025.4 on | the clause; where the cluster insists on tablets, none | have both |
//!
//! What a release cannot do is refused before anything is made: a keyspace stays on what it was made
//! on, and would have to be dropped by hand.

use std::fmt;

use anyhow::{Context, bail};
use schemars::JsonSchema;
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use crate::session::use_keyspace;

/// How the keyspace is made when it does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyspaceConfig {
    /// Copies of each row in each data centre, when `esctl migrate` creates the keyspace.
    #[schemars(range(min = 1))]
    pub replication_factor: u32,
    /// Whether to create it on tablets, which takes ScyllaDB 2025.4 or later and is refused before; one that exists
    /// stays what it is. Without it on a cluster that insists on tablets: the same.
    pub tablets: bool,
}

/// A release by its first two numbers: `2025.1.0` is `2025.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Release(u32, u32);

/// The first with lightweight transactions and CDC on tablets.
const TABLETS_COMPLETE: Release = Release(2025, 4);

impl Release {
    fn parse(version: &str) -> Option<Self> {
        let mut numbers = version.split(|c: char| !c.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// Makes the keyspace if it does not exist, and uses it. True when it was not there before.
pub(super) async fn create(
    session: &Session,
    keyspace: &str,
    config: KeyspaceConfig,
) -> anyhow::Result<bool> {
    if use_keyspace(session, keyspace).await? {
        return Ok(false);
    }
    let KeyspaceConfig { replication_factor, tablets } = config;
    let release = release(session).await;
    let incomplete = release.filter(|release| *release < TABLETS_COMPLETE);
    if let Some(release) = incomplete.filter(|_| tablets) {
        bail!(
            "create the keyspace: keyspace.tablets takes ScyllaDB {TABLETS_COMPLETE} or later, \
             and this is {release}, which has no lightweight transactions and no CDC on tablets"
        );
    }
    let create = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replication_factor}}}"
    );
    let portable = format!("{create} AND tablets = {{'enabled': {tablets}}}");
    match session.query_unpaged(portable, ()).await {
        Ok(_) => {}
        // It does not know the clause, and thus has no tablets.
        Err(error) if is_refused(&error, &DbError::SyntaxError) && !tablets => {
            session.query_unpaged(create, ()).await.context("create the keyspace")?;
        }
        // It insists on tablets.
        Err(error) if is_refused(&error, &DbError::ConfigError) && !tablets => {
            if let Some(release) = incomplete {
                return Err(error).with_context(|| {
                    format!(
                        "create the keyspace without tablets, on which ScyllaDB {release} has no \
                     lightweight transactions and no CDC"
                    )
                });
            }
            info!(keyspace, "the cluster insists on tablets");
            session.query_unpaged(create, ()).await.context("create the keyspace")?;
        }
        Err(error) => return Err(error).context("create the keyspace"),
    }
    if !use_keyspace(session, keyspace).await? {
        bail!("keyspace {keyspace} was created and is not there");
    }
    Ok(true)
}

/// What the node that answers says it is. `None` if it does not say: then the statements will tell
/// what it can do.
async fn release(session: &Session) -> Option<Release> {
    const VERSION: &str = "SELECT version FROM system.versions WHERE key = 'local'";
    let version = async {
        let result = session.query_unpaged(VERSION, ()).await?.into_rows_result()?;
        let (version,) = result.single_row::<(String,)>()?;
        Release::parse(&version).with_context(|| format!("a release called {version:?}"))
    };
    match version.await {
        Ok(release) => Some(release),
        Err(error) => {
            debug!(error = %format!("{error:#}"), "the release is not known");
            None
        }
    }
}

fn is_refused(error: &ExecutionError, kind: &DbError) -> bool {
    matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(refused, _))
            if refused == kind
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_compared() {
        for (version, release, complete) in [
            ("5.4.6-0.20240530.2b8f7b4c9e4d", Some(Release(5, 4)), false),
            ("6.2.3", Some(Release(6, 2)), false),
            ("2024.2.0-0", Some(Release(2024, 2)), false),
            ("2025.1.0~rc1", Some(Release(2025, 1)), false),
            ("2025.4.0~dev", Some(Release(2025, 4)), true),
            ("2026.10", Some(Release(2026, 10)), true),
            ("666.development-0.20260801", None, false),
            ("", None, false),
        ] {
            assert_eq!(Release::parse(version), release, "{version}");
            assert_eq!(release.is_some_and(|release| release >= TABLETS_COMPLETE), complete);
        }
    }
}
