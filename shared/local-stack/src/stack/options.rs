//! What a stack is made of.

use super::{Addresses, Output, Process};
use anyhow::Context;
use runtime::ScyllaConfig;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a stack is made of.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// Where the engine and the broker keep their data.
    pub data_dir: PathBuf,
    /// Where everything listens.
    pub addresses: Addresses,
    /// Where the tables are.
    pub keyspace: String,
    /// Where the children's logs go.
    pub output: Output,
    /// More environment for all workers, for example other bounds.
    pub env: Vec<(String, String)>,
    /// More environment for some processes.
    pub env_of: Vec<(Whom, String, String)>,
    /// More arguments of the engine, for example a file with passwords.
    pub engine: Vec<String>,
    /// Ways to engine and broker that are not the direct one.
    pub detours: Detours,
    /// A program that serves Kafka's protocol at the broker's address, in the place of the embedded one.
    pub broker: Option<Program>,
}

impl StackOptions {
    /// A plain stack that keeps everything in this folder, its logs in `logs`. With `terminal` the logs are
    /// also shown.
    pub fn new(data_dir: &Path, addresses: Addresses, terminal: bool) -> anyhow::Result<Self> {
        let logs = data_dir.join("logs");
        let output = Output::new(&logs, terminal);
        Ok(Self {
            data_dir: data_dir.to_owned(),
            keyspace: ScyllaConfig::at(&addresses.engine).keyspace,
            addresses,
            output: output.with_context(|| format!("create {}", logs.display()))?,
            env: Vec::new(),
            env_of: Vec::new(),
            engine: Vec::new(),
            detours: Detours::default(),
            broker: None,
        })
    }
}

/// Another program, and its arguments.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Program {
    pub program: PathBuf,
    pub args: Vec<String>,
}

/// Whom a variable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Every process of a program, `esctl` among them, by its name.
    Program(&'static str),
    /// One process.
    One(Process),
}

/// Where a process finds the engine or the broker when it is not to reach them directly, by
/// process: the place of a proxy.
#[derive(Debug, Clone, Default)]
pub struct Detours {
    /// `host:port` of the engine as a process sees it.
    pub engine: HashMap<Process, String>,
    /// `host:port` of the broker as a process sees it.
    pub broker: HashMap<Process, String>,
}
