//! Starts the processes of the system in order and keeps them running.

mod addresses;
mod options;
mod output;
mod process;
mod specs;

pub use addresses::{Addresses, Listens, Replicas};
pub use options::{Detours, Program, StackOptions, Whom};
pub use output::Output;
pub use process::{COMMAND_API, Process, QUERY_API};

use crate::child::{ChildSpec, Signal, Supervised, run_to_end};
use crate::http::HttpClient;
use crate::programs::Programs;
use crate::wait::wait_for;
use anyhow::{Context, bail, ensure};
use database::ScyllaConfig;
use futures::future::{join_all, select_all, try_join_all};
use specs::Specs;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;

/// How long a process may take until it listens or is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a process may take to end; the workers have a grace period of 10 s.
const END_WITHIN: Duration = Duration::from_secs(15);

/// The tool that makes the schema and the topics, and verifies what the stores hold.
const ESCTL: &str = "esctl";

/// Ends a child orderly; one that does not end is killed, and that is an error.
async fn end(child: &Supervised) -> anyhow::Result<()> {
    match tokio::time::timeout(END_WITHIN, child.stop(Signal::Terminate)).await {
        Ok(ended) => ended,
        Err(_) => {
            child.stop(Signal::Kill).await?;
            bail!("{} did not end within {END_WITHIN:?} and was killed", child.name)
        }
    }
}

/// The running system. Dropping it kills all processes; [`Stack::shutdown`] ends them orderly.
pub struct Stack {
    programs: Programs,
    options: StackOptions,
    http: HttpClient,
    children: Vec<(Process, Supervised)>,
}

impl Stack {
    /// Starts engine and broker, migrates, creates the topics, starts the workers, and returns
    /// when all are ready.
    pub async fn start(programs: &Programs, options: StackOptions) -> anyhow::Result<Self> {
        let mut stack = Self::empty(programs, options)?;
        let stores = [Process::Engine, Process::Broker];
        for process in stores {
            stack.children.push((process, stack.spawn(process)?));
        }
        try_join_all(stores.map(|process| stack.ready_one(process))).await?;
        stack.esctl("esctl-migrate", &["migrate"]).await?;
        stack.esctl("esctl-topics", &["topics", "create"]).await?;
        for process in stack.addresses().workers() {
            stack.children.push((process, stack.spawn(process)?));
        }
        stack.ready().await?;
        Ok(stack)
    }

    /// A stack that is prepared and does not run: [`Stack::resume`] starts each process, in any order.
    pub fn down(programs: &Programs, options: StackOptions) -> anyhow::Result<Self> {
        let mut stack = Self::empty(programs, options)?;
        let workers = stack.addresses().workers();
        for process in [Process::Engine, Process::Broker].into_iter().chain(workers) {
            let child = Supervised::down(stack.specs().of(process)?, stack.output().clone());
            stack.children.push((process, child));
        }
        Ok(stack)
    }

    fn empty(programs: &Programs, options: StackOptions) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("create {}", options.data_dir.display()))?;
        let (programs, http) = (programs.clone(), HttpClient::default());
        Ok(Self { programs, options, http, children: Vec::new() })
    }

    fn specs(&self) -> Specs<'_> {
        Specs { programs: &self.programs, options: &self.options }
    }

    fn spawn(&self, process: Process) -> anyhow::Result<Supervised> {
        Ok(Supervised::start(self.specs().of(process)?, self.output().clone()))
    }

    /// Runs the operator's command line to its end, with a log.
    async fn esctl(&self, name: &str, args: &[&str]) -> anyhow::Result<()> {
        let (program, mut line) = self.programs.line(ESCTL);
        line.extend(args.iter().map(|arg| (*arg).to_owned()));
        let env = self.specs().env_of_tool(ESCTL);
        let spec = ChildSpec { name: name.to_owned(), program, args: line, env };
        run_to_end(&spec, self.output()).await
    }

    /// A command that runs a tool of the application, which finds the stores.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = self.programs.command(name);
        command.envs(self.specs().env_of_tool(name)).kill_on_drop(true);
        command
    }

    /// Compares outbox, read models and topics with the ledger, as an operator does with `esctl verify`. Errs
    /// with what differs.
    pub async fn verify(&self) -> anyhow::Result<()> {
        let output = self.tool(ESCTL).arg("verify").output().await.context("run esctl verify")?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "esctl verify: {}{}",
            said(&output.stdout),
            said(&output.stderr)
        );
        Ok(())
    }

    /// Kills the engine or the broker and starts it on the same data at another address. The workers are
    /// told nothing.
    pub async fn move_to(&mut self, process: Process, address: String) -> anyhow::Result<()> {
        self.stop(process, Signal::Kill).await?;
        let addresses = &mut self.options.addresses;
        match process {
            Process::Engine => addresses.engine = address,
            Process::Broker => addresses.broker = address,
            _ => bail!("{} has no address that others know", process.name()),
        }
        let child = self.spawn(process)?;
        let place = self.children.iter_mut().find(|(candidate, _)| *candidate == process);
        place.with_context(|| format!("no {} here", process.name()))?.1 = child;
        self.ready_one(process).await
    }

    /// What the stack is made of.
    pub fn options(&self) -> &StackOptions {
        &self.options
    }

    /// Where everything listens.
    pub fn addresses(&self) -> &Addresses {
        &self.options.addresses
    }

    /// Where the logs are.
    pub fn output(&self) -> &Output {
        &self.options.output
    }

    /// Waits until every worker calls itself ready.
    pub async fn ready(&self) -> anyhow::Result<()> {
        try_join_all(self.addresses().workers().into_iter().map(|process| self.ready_one(process)))
            .await?;
        Ok(())
    }

    /// Waits until one worker calls itself ready, or the engine or the broker listens.
    pub async fn ready_one(&self, process: Process) -> anyhow::Result<()> {
        let Some(admin) = self.addresses().admin(process) else {
            let address = if process == Process::Engine {
                &self.addresses().engine
            } else {
                &self.addresses().broker
            };
            return self.listening(process, address).await;
        };
        let (name, url) = (process.name(), format!("http://{admin}/readyz?verbose"));
        wait_for(&format!("{name} to be ready"), READY_WITHIN, || async {
            match self.http.get(&url).await {
                Ok(answer) if answer.status.is_success() => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await
        .with_context(|| self.output().describe(&name))
    }

    async fn listening(&self, process: Process, address: &str) -> anyhow::Result<()> {
        let name = process.name();
        wait_for(&format!("{name} to listen on {address}"), READY_WITHIN, || async {
            TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await
        .with_context(|| self.output().describe(&name))
    }

    /// Sends a signal. A process that dies of it is started again after a second.
    pub fn signal(&self, process: Process, signal: Signal) -> anyhow::Result<()> {
        self.child(process)?.signal(signal)
    }

    /// Ends a process and leaves it down.
    pub async fn stop(&self, process: Process, signal: Signal) -> anyhow::Result<()> {
        self.child(process)?.stop(signal).await
    }

    /// Lets a process end by itself, for a reason that is known: it stays down then and is not counted
    /// among those that do not stay up. [`Stack::resume`] has it running again.
    pub fn may_end(&self, process: Process) -> anyhow::Result<()> {
        self.child(process)?.may_end();
        Ok(())
    }

    /// Starts a stopped process again.
    pub async fn resume(&self, process: Process) -> anyhow::Result<()> {
        self.child(process)?.resume().await
    }

    /// The id of a running process.
    pub fn pid(&self, process: Process) -> Option<u32> {
        self.child(process).ok()?.pid()
    }

    /// All processes, in start order.
    pub fn processes(&self) -> impl Iterator<Item = Process> + '_ {
        self.children.iter().map(|(process, _)| *process)
    }

    fn child(&self, process: Process) -> anyhow::Result<&Supervised> {
        let found = self.children.iter().find(|(candidate, _)| *candidate == process);
        found.map(|(_, child)| child).with_context(|| format!("no {} here", process.name()))
    }

    /// Resolves with the reason when a process has been given up.
    pub async fn given_up(&self) -> String {
        let waits = self.children.iter().map(|(_, child)| Box::pin(child.given_up()));
        select_all(waits).await.0
    }

    /// Ends everything orderly: workers first, then broker and engine.
    pub async fn shutdown(&self) -> anyhow::Result<()> {
        let (stores, workers): (Vec<_>, Vec<_>) = self
            .children
            .iter()
            .partition(|(process, _)| matches!(process, Process::Engine | Process::Broker));
        for group in [workers, stores] {
            for ended in join_all(group.iter().map(|(_, child)| end(child))).await {
                ended?;
            }
        }
        Ok(())
    }
}
