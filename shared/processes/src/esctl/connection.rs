//! The connection of a command that needs the tables to be there.

use anyhow::Context;
use database::ScyllaConfig;
use scylla::client::session::Session;

/// The database was never migrated.
#[derive(Debug, thiserror::Error)]
#[error("keyspace {0} does not exist; `esctl migrate` creates it")]
pub(crate) struct KeyspaceMissing(String);

/// Connects once; a person who calls can call again.
pub(crate) async fn connect(config: &ScyllaConfig) -> anyhow::Result<Session> {
    config
        .connect()
        .await
        .with_context(|| format!("connect to the database at {}", config.nodes.join(",")))
}

/// Connects and uses the keyspace.
pub(crate) async fn open(config: &ScyllaConfig) -> anyhow::Result<Session> {
    let session = connect(config).await?;
    if !database::session::use_keyspace(&session, &config.keyspace).await? {
        return Err(KeyspaceMissing(config.keyspace.clone()).into());
    }
    Ok(session)
}
