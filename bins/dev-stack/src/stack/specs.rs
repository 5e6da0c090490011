//! The command line and environment of each process.

use super::{Process, Program, StackOptions, Whom};
use crate::binaries::Binaries;
use crate::child::ChildSpec;

pub(super) struct Specs<'a> {
    pub(super) binaries: &'a Binaries,
    pub(super) options: &'a StackOptions,
}

impl Specs<'_> {
    pub(super) fn of(&self, process: Process) -> ChildSpec {
        let addresses = &self.options.addresses;
        match process {
            Process::Engine => self.engine(),
            Process::Broker => self.broker(),
            Process::CommandApi(replica) => {
                let (http, admin) = &addresses.command_apis[replica];
                self.worker(process, "command-api", admin, &[("APP__HTTP__LISTEN", http)])
            }
            Process::ProjectionWorker(replica) => {
                let admin = &addresses.projection_workers[replica];
                self.worker(process, "projection-worker", admin, &[])
            }
            Process::OutboxRelay(replica) => self.worker(
                process,
                "outbox-relay",
                &addresses.outbox_relays[replica],
                &[("REDPANDA_BROKERS", self.broker_of(process))],
            ),
            Process::DlqRetrier => self.worker(
                process,
                "dlq-retrier",
                &addresses.dlq_retrier,
                &[("REDPANDA_BROKERS", self.broker_of(process))],
            ),
            Process::QueryApi => self.worker(
                process,
                "query-api",
                &addresses.query_api_admin,
                &[("APP__HTTP__LISTEN", &addresses.query_api)],
            ),
        }
    }

    fn engine(&self) -> ChildSpec {
        let addresses = &self.options.addresses;
        let mut args = vec![
            "--listen".to_owned(),
            addresses.engine.clone(),
            "--metrics-listen".to_owned(),
            addresses.engine_metrics.clone(),
            "--data-dir".to_owned(),
            self.options.data_dir.join("engine").display().to_string(),
            "--parent-pipe".to_owned(),
            // People look inside with cqlsh, which describes the schema only of Cassandra 4 and later.
            "--cassandra-version".to_owned(),
            "4.1.0".to_owned(),
        ];
        if let Some(faults) = &addresses.engine_faults {
            args.extend(["--fault-listen".to_owned(), faults.clone()]);
        }
        args.extend(self.options.engine.iter().cloned());
        ChildSpec {
            name: Process::Engine.name(),
            program: self.binaries.path("embedded-scylla"),
            args,
            env: Vec::new(),
        }
    }

    fn broker(&self) -> ChildSpec {
        if let Some(Program { program, args }) = self.options.broker.clone() {
            return ChildSpec { name: Process::Broker.name(), program, args, env: Vec::new() };
        }
        let database = self.options.data_dir.join("topics.sqlite");
        let args = vec![
            "broker".to_owned(),
            "--listen".to_owned(),
            self.options.addresses.broker.clone(),
            "--database".to_owned(),
            database.display().to_string(),
        ];
        ChildSpec {
            name: Process::Broker.name(),
            program: self.binaries.path("dev-stack"),
            args,
            env: Vec::new(),
        }
    }

    fn worker(
        &self,
        process: Process,
        program: &str,
        admin: &str,
        env: &[(&str, &str)],
    ) -> ChildSpec {
        let common = [
            ("SCYLLA_NODES", self.engine_of(process)),
            ("APP__ADMIN__LISTEN", admin),
            ("APP_PARENT_PIPE", "1"),
        ];
        let env = common.iter().chain(env).map(|(key, value)| ((*key).into(), (*value).into()));
        ChildSpec {
            name: process.name(),
            program: self.binaries.path(program),
            args: Vec::new(),
            env: env
                .chain(self.options.env.iter().cloned())
                .chain(self.env_for(program, Some(process)))
                .collect(),
        }
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

    /// A run of the operator's command line.
    pub(super) fn esctl(&self, name: &str, args: &[&str]) -> ChildSpec {
        let addresses = &self.options.addresses;
        ChildSpec {
            name: name.to_owned(),
            program: self.binaries.path("esctl"),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: [
                ("SCYLLA_NODES".to_owned(), addresses.engine.clone()),
                ("REDPANDA_BROKERS".to_owned(), addresses.broker.clone()),
            ]
            .into_iter()
            .chain(self.env_for("esctl", None))
            .collect(),
        }
    }
}
