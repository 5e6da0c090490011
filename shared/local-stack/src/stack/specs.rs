//! The command line and environment of each process.

use super::{Process, Program, StackOptions, Whom};
use crate::child::ChildSpec;
use crate::manifest::Store;
use crate::programs::Programs;
use anyhow::Context;
use std::path::PathBuf;

pub(super) struct Specs<'a> {
    pub(super) programs: &'a Programs,
    pub(super) options: &'a StackOptions,
}

impl Specs<'_> {
    pub(super) fn of(&self, process: Process) -> anyhow::Result<ChildSpec> {
        match process {
            Process::Engine => Ok(self.engine()),
            Process::Broker => Ok(self.broker()),
            Process::Worker(name, _) => self.worker(process, name),
        }
    }

    fn engine(&self) -> ChildSpec {
        let addresses = &self.options.addresses;
        let data = self.options.data_dir.join("engine");
        let (program, mut args) = self.programs.line(&self.programs.manifest().engine().name);
        // People look inside with cqlsh, which describes the schema only of Cassandra 4 and later.
        for (flag, value) in [
            ("--listen", addresses.engine.as_str()),
            ("--metrics-listen", &addresses.engine_metrics),
            ("--data-dir", &data.display().to_string()),
            ("--cassandra-version", "4.1.0"),
        ] {
            args.extend([flag.to_owned(), value.to_owned()]);
        }
        args.push("--parent-pipe".to_owned());
        if let Some(faults) = &addresses.engine_faults {
            args.extend(["--fault-listen".to_owned(), faults.clone()]);
        }
        args.extend(self.options.engine.iter().cloned());
        without_environment(Process::Engine, program, args)
    }

    fn broker(&self) -> ChildSpec {
        if let Some(Program { program, args }) = self.options.broker.clone() {
            return without_environment(Process::Broker, program, args);
        }
        let database = self.options.data_dir.join("topics.sqlite");
        let (program, mut args) = self.programs.broker();
        args.extend([
            "--listen".to_owned(),
            self.options.addresses.broker.clone(),
            "--database".to_owned(),
            database.display().to_string(),
        ]);
        without_environment(Process::Broker, program, args)
    }

    fn worker(&self, process: Process, name: &str) -> anyhow::Result<ChildSpec> {
        let unknown = || format!("no {} here", process.name());
        let listens = self.options.addresses.listens(process).with_context(unknown)?;
        let entry = self.programs.manifest().get(name).with_context(unknown)?;
        let mut env = vec![
            ("SCYLLA_NODES", self.engine_of(process)),
            ("APP__ADMIN__LISTEN", &listens.admin),
            ("APP__SCYLLA__KEYSPACE", &self.options.keyspace),
            ("APP_PARENT_PIPE", "1"),
        ];
        env.extend(listens.http.as_ref().map(|http| ("APP__HTTP__LISTEN", http.as_str())));
        if entry.needs(Store::Kafka) {
            env.push(("REDPANDA_BROKERS", self.broker_of(process)));
        }
        let (program, args) = self.programs.line(name);
        let env = owned(env)
            .chain(self.options.env.iter().cloned())
            .chain(self.env_for(name, Some(process)));
        Ok(ChildSpec { name: process.name(), program, args, env: env.collect() })
    }

    fn engine_of(&self, process: Process) -> &str {
        let direct = &self.options.addresses.engine;
        self.options.detours.engine.get(&process).unwrap_or(direct)
    }

    fn broker_of(&self, process: Process) -> &str {
        let direct = &self.options.addresses.broker;
        self.options.detours.broker.get(&process).unwrap_or(direct)
    }

    /// What `env_of` has for a process.
    fn env_for(
        &self,
        program: &str,
        process: Option<Process>,
    ) -> impl Iterator<Item = (String, String)> {
        let is_meant = move |whom: &Whom| match whom {
            Whom::Program(name) => *name == program,
            Whom::One(one) => Some(*one) == process,
        };
        let meant = self.options.env_of.iter().filter(move |(whom, _, _)| is_meant(whom));
        meant.map(|(_, name, value)| (name.clone(), value.clone()))
    }

    /// The environment of a tool that ends by itself.
    pub(super) fn env_of_tool(&self, name: &str) -> Vec<(String, String)> {
        let addresses = &self.options.addresses;
        let env = vec![
            ("SCYLLA_NODES", addresses.engine.as_str()),
            ("APP__SCYLLA__KEYSPACE", &self.options.keyspace),
            ("REDPANDA_BROKERS", &addresses.broker),
        ];
        owned(env).chain(self.env_for(name, None)).collect()
    }
}

fn without_environment(process: Process, program: PathBuf, args: Vec<String>) -> ChildSpec {
    ChildSpec { name: process.name(), program, args, env: Vec::new() }
}

fn owned(env: Vec<(&str, &str)>) -> impl Iterator<Item = (String, String)> {
    env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()))
}
