//! Where a system is that runs already, as arguments.

use anyhow::Context;
use clap::Args;
use dev_stack::demo::{Doors, KEYSPACE, Login};
use std::path::PathBuf;

/// Other clients may use it at the same time.
#[derive(Args)]
pub(crate) struct Elsewhere {
    /// Base URL of command-api.
    #[arg(long, required = false, requires_all = ["query_api", "scylla", "brokers"])]
    command_api: String,
    /// Base URL of query-api.
    #[arg(long, required = false, requires = "command_api")]
    query_api: String,
    /// `host:port` of nodes of ScyllaDB, separated by commas.
    #[arg(long, value_delimiter = ',', requires = "command_api")]
    scylla: Vec<String>,
    /// Its keyspace, if it is not event_platform.
    #[arg(long, requires = "command_api")]
    keyspace: Option<String>,
    /// The role to look into ScyllaDB with, where it asks for one.
    #[arg(long, requires = "scylla_password_file")]
    scylla_username: Option<String>,
    /// The file with its password.
    #[arg(long, requires = "scylla_username")]
    scylla_password_file: Option<PathBuf>,
    /// `host:port` of Kafka brokers, separated by commas.
    #[arg(long, value_delimiter = ',', requires = "command_api")]
    brokers: Vec<String>,
}

impl Elsewhere {
    /// As the demo and the load take it; reads the password.
    pub(crate) fn doors(self) -> anyhow::Result<Doors> {
        let scylla_login = match (self.scylla_username, self.scylla_password_file) {
            (Some(username), Some(file)) => {
                let password = std::fs::read_to_string(&file)
                    .with_context(|| format!("read the password in {}", file.display()))?;
                Some(Login { username, password: password.trim_end().to_owned() })
            }
            _ => None,
        };
        Ok(Doors {
            commands: self.command_api,
            queries: self.query_api,
            scylla_nodes: self.scylla,
            keyspace: self.keyspace.unwrap_or_else(|| KEYSPACE.to_owned()),
            scylla_login,
            brokers: self.brokers,
            is_shared: true,
        })
    }
}
