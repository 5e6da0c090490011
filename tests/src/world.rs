//! A stack of its own for one test.

use crate::chaos::engine_port::EnginePort;
use crate::chaos::{Poison, set_poison};
use crate::check::{Expectations, verify};
use crate::client::{Client, Outcome, Told};
use crate::defects;
use crate::dump::Dump;
use crate::hops::Hops;
use crate::kafka::Kafka;
use crate::machine::Machine;
use crate::names::COMMAND_API;
use anyhow::{Context, ensure};
use local_stack::http::HttpClient;
use local_stack::{
    Addresses, Detours, PLATFORM, Process, Programs, Replicas, Signal, Stack, StackOptions, Whom,
    wait_for,
};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// The file of a world that says which events are poisoned.
const POISON: &str = "poison";

/// The programs under test, built once per run.
pub async fn binaries() -> anyhow::Result<&'static Programs> {
    static BINARIES: OnceCell<Programs> = OnceCell::const_new();
    BINARIES
        .get_or_try_init(|| async {
            let _machine = Machine::shared().await;
            Programs::find(&PLATFORM).await
        })
        .await
}

/// The same programs with their test hooks (`runtime::test_hooks`) and every seeded [`Defect`], built
/// once per run. Start a world with them by [`World::start_with`], and choose defects and crashes by
/// [`Plan::env`] or [`Plan::env_of`].
///
/// All tests with hooks have these programs, also those that want no defect: a build without the
/// defects would compile most of the workspace once more.
///
/// [`Defect`]: crate::Defect
pub async fn hooked_binaries() -> anyhow::Result<&'static Programs> {
    static BINARIES: OnceCell<Programs> = OnceCell::const_new();
    BINARIES
        .get_or_try_init(|| async {
            let plain = binaries().await?;
            let _machine = Machine::shared().await;
            plain.find_hooked(defects::plant).await
        })
        .await
}

/// The seed of a random test: from `SEED`, else a new one. Printed first, so that a failure can be
/// run again.
pub fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("SEED={seed}");
    seed
}

/// What a world is made of.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// How many processes of each kind there are.
    pub replicas: Replicas,
    /// Environment of all workers.
    pub env: Vec<(String, String)>,
    /// Environment of some processes, `esctl` among them.
    pub env_of: Vec<(Whom, String, String)>,
    /// More arguments of the engine.
    pub engine: Vec<String>,
    /// A proxy on every hop, in [`World::hops`].
    pub proxied: bool,
    /// Workers are told a second address of engine and broker too, to which these may move:
    /// [`World::move_to_second`].
    pub second_addresses: bool,
    /// A real Kafka in the place of the embedded broker; its open listener is where everybody goes.
    pub kafka: Option<Kafka>,
    /// No other test is at work beside this one, which measures how long something takes.
    pub alone: bool,
}

impl Plan {
    /// A plan with so many replicas of `command-api`.
    pub fn command_apis(command_apis: usize) -> Self {
        Self { replicas: Replicas::of([(COMMAND_API, command_apis)]), ..Self::default() }
    }

    async fn machine(&self) -> Machine {
        if self.alone { Machine::alone().await } else { Machine::shared().await }
    }
}

/// A running stack in a temporary folder, on free ports.
pub struct World {
    /// The processes.
    pub stack: Stack,
    /// The proxies; none unless the plan asked for them.
    pub hops: Hops,
    /// Data and logs; kept when the test ends without [`World::finish`].
    folder: Option<TempDir>,
    /// Given back when all else is gone.
    _machine: Machine,
}

impl World {
    /// Starts everything and waits until it is ready.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        Self::start_with(binaries().await?, plan).await
    }

    /// The same with other programs, for example [`hooked_binaries`].
    pub async fn start_with(programs: &Programs, plan: Plan) -> anyhow::Result<Self> {
        let machine = plan.machine().await;
        let folder = tempfile::Builder::new().prefix("system-test-").tempdir()?;
        let (options, hops) = prepare(&folder, plan).await?;
        match Stack::start(programs, options).await {
            Ok(stack) => Ok(Self { stack, hops, folder: Some(folder), _machine: machine }),
            Err(error) => {
                let kept = folder.keep();
                Err(error.context(format!("logs in {}", kept.join("logs").display())))
            }
        }
    }

    /// A world in which nothing runs yet: each process is started by `stack.resume`, and the schema and the
    /// topics are made by [`World::esctl`].
    pub async fn down(plan: Plan) -> anyhow::Result<Self> {
        let (programs, machine) = (binaries().await?, plan.machine().await);
        let folder = tempfile::Builder::new().prefix("system-test-").tempdir()?;
        let (options, hops) = prepare(&folder, plan).await?;
        let stack = Stack::down(programs, options)?;
        Ok(Self { stack, hops, folder: Some(folder), _machine: machine })
    }

    /// A client of replica `index` of `command-api`.
    pub fn client(&self, index: usize) -> Client {
        Client::of(&self.stack, index)
    }

    /// A session with the database itself.
    pub async fn session(&self) -> anyhow::Result<Session> {
        SessionBuilder::new()
            .known_node(&self.stack.addresses().engine)
            .use_keyspace(&self.stack.options().keyspace, true)
            .build()
            .await
            .context("open a session for looking")
    }

    /// The operator's command line; its JSON.
    pub async fn esctl(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut esctl = self.stack.tool("esctl");
        let output = esctl.args(["-o", "json"]).args(arguments).output().await?;
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        anyhow::ensure!(output.status.success(), "esctl {arguments:?}: {err}");
        serde_json::from_str(&out).with_context(|| format!("esctl {arguments:?} printed {out:?}"))
    }

    /// Adds a rule of the engine's fault port.
    pub async fn add_fault(&self, rule: &Value) -> anyhow::Result<()> {
        self.engine_port()?.add(rule).await
    }

    /// How often each kind of fault fired since the engine started.
    pub async fn faults_fired(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        self.engine_port()?.fired().await
    }

    /// Drops all rules of that port.
    pub async fn clear_faults(&self) -> anyhow::Result<()> {
        self.engine_port()?.clear().await
    }

    fn engine_port(&self) -> anyhow::Result<EnginePort> {
        let address = self.stack.addresses().engine_faults.as_deref();
        let address = address.context("the engine has no fault port")?;
        Ok(EnginePort::with_client(HttpClient::default(), address))
    }

    /// From now on these events cannot be handled, and no others; for a world of
    /// [`hooked_binaries`].
    pub fn poison(&self, poison: &[Poison]) -> anyhow::Result<()> {
        let folder = self.folder.as_ref().context("the world is over")?;
        set_poison(&folder.path().join(POISON), poison).context("poison events")
    }

    /// Kills a process, starts it again, and waits until it is ready.
    pub async fn kill_and_wait(&self, process: Process) -> anyhow::Result<()> {
        self.stack.stop(process, Signal::Kill).await?;
        self.stack.resume(process).await?;
        self.stack.ready_one(process).await
    }

    /// Starts the engine or the broker again at its second address; for a world with
    /// [`Plan::second_addresses`].
    pub async fn move_to_second(&mut self, process: Process) -> anyhow::Result<()> {
        let addresses = self.stack.addresses();
        let first = if process == Process::Engine { &addresses.engine } else { &addresses.broker };
        let second = second(first);
        self.stack.move_to(process, second).await
    }

    /// Errs unless every command that these senders were told of was accepted, and the stores come to hold
    /// exactly that, as every promise says.
    pub async fn keeps_every_promise(&self, told: Vec<Told>) -> anyhow::Result<()> {
        let unsettled: Vec<_> =
            told.iter().filter(|told| !matches!(told.outcome, Outcome::Accepted(_))).collect();
        ensure!(unsettled.is_empty(), "{unsettled:#?}");
        let (session, broker) = (self.session().await?, &self.stack.addresses().broker);
        let expected = Expectations { told, complete: true };
        wait_for("every promise to be kept", Duration::from_secs(90), || async {
            let dump = Dump::take(&session, broker, Duration::from_secs(60)).await;
            let dump = dump.map_err(|error| format!("{error:#}"))?;
            let violations = verify(&dump, &expected);
            if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
        })
        .await?;
        Ok(())
    }

    /// Ends the test: all is as it should be. Takes the stack down and removes its folder. Errs
    /// when a process warned of something.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.finish_after(|_| false).await
    }

    /// The same after faults: lines that `announced` knows are expected.
    pub async fn finish_after(mut self, announced: fn(&str) -> bool) -> anyhow::Result<()> {
        self.stack.shutdown().await?;
        let unexpected = complaints(self.logs(), announced)?;
        anyhow::ensure!(unexpected.is_empty(), "lines that nobody announced: {unexpected:#?}");
        self.folder = None;
        Ok(())
    }

    /// Where the logs are.
    pub fn logs(&self) -> &Path {
        self.stack.output().folder()
    }
}

/// The same port on another address of this machine.
fn second(address: &str) -> String {
    address.replace("127.0.0.1", "127.0.0.2")
}

/// Every worker is told both addresses.
fn both(addresses: &Addresses) -> Detours {
    let both = |address: &str| format!("{address},{}", second(address));
    let to_all = |address: &str| {
        addresses.workers().into_iter().map(|worker| (worker, both(address))).collect()
    };
    Detours { engine: to_all(&addresses.engine), broker: to_all(&addresses.broker) }
}

/// Free ports, folders, and proxies if there are to be any.
async fn prepare(folder: &TempDir, plan: Plan) -> anyhow::Result<(StackOptions, Hops)> {
    let mut addresses = Addresses::free(&PLATFORM, &plan.replicas)?;
    if let Some(kafka) = &plan.kafka {
        addresses.broker = kafka.plain();
    }
    let hops = if plan.proxied { Hops::before(&addresses).await? } else { Hops::default() };
    let detours = if plan.second_addresses { both(&addresses) } else { hops.detours() };
    let poison = folder.path().join(POISON);
    let mut env = plan.env;
    env.push(("TEST_POISON".to_owned(), poison.display().to_string()));
    let options = StackOptions {
        env,
        env_of: plan.env_of,
        engine: plan.engine,
        detours,
        broker: plan.kafka.as_ref().map(Kafka::program).transpose()?,
        ..StackOptions::new(folder.path(), addresses, false)?
    };
    Ok((options, hops))
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            println!("logs and data: {}", folder.keep().display());
        }
    }
}

/// How warnings, errors and panics begin, in text and in JSON.
const COMPLAINTS: [&str; 5] =
    [" WARN ", "ERROR ", "panicked at", r#""level":"WARN""#, r#""level":"ERROR""#];

/// Warnings, errors and panics in the logs that are not announced.
fn complaints(logs: &Path, announced: fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(logs)? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&path)?.lines() {
            let complains = COMPLAINTS.iter().any(|word| line.contains(word));
            if complains && !announced(line) {
                found.push(format!("{name}: {line}"));
            }
        }
    }
    Ok(found)
}
