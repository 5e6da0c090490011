//! What a run works on, and the single steps of a script.
//!
//! A script sends one command after the other and waits for what it wants to see, so that a race has
//! the one outcome that is to be looked at.

use super::board::Known;
use super::clients::Doors;
use super::engine_port::EnginePort;
use super::nemesis::Nemesis;
use super::requests::{change_items, create, id};
use super::schedule::Strike;
use crate::check::{Sample, ahead_of_work};
use crate::dump::{Announced, Progress, SlotRow, WriterRow, progress, writers};
use crate::history::{Fault, Kind, Reply};
use crate::hops::Hop;
use crate::overload::resident_mib;
use crate::proxy::Mode;
use crate::world::World;
use anyhow::{Context, ensure};
use local_stack::{Process, Signal, wait_for};
use rand::SeedableRng;
use rand::rngs::StdRng;
use scylla::client::session::Session;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How long a step may take to show, on a machine that is busy.
const SOON: Duration = Duration::from_secs(40);
/// Who sends in a script.
const AUTHOR: u32 = 0;

/// A running world with everything that a run needs of it.
pub struct Scene<'a> {
    /// The processes.
    pub world: &'a World,
    /// Looks past the processes.
    pub session: &'a Session,
    pub(super) nemesis: Nemesis<'a>,
    pub(super) doors: Doors,
    port: EnginePort,
    random: Mutex<StdRng>,
    /// Locked by who looks, so that looks follow one another.
    samples: tokio::sync::Mutex<Vec<Sample>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        world: &'a World,
        nemesis: Nemesis<'a>,
        doors: Doors,
        session: &'a Session,
        seed: u64,
    ) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let port = nemesis.port.clone();
        Self { world, session, nemesis, doors, port, random, samples: Default::default() }
    }

    fn random(&self) -> MutexGuard<'_, StdRng> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An order that nobody knows yet.
    pub fn order(&self) -> Uuid {
        id(&mut self.random())
    }

    /// Sends the command that creates an order, once. Gives the command's index, and the answer.
    pub async fn create(&self, order: Uuid, replica: usize) -> (usize, Reply) {
        let command = create(&Known::new(Kind::Order, order), &mut self.random()).command;
        let index = self.doors.recorder.command(command);
        (index, self.again(index, replica).await)
    }

    /// Sends a command that changes an order, once.
    pub async fn change(&self, order: Uuid, replica: usize) -> (usize, Reply) {
        let command = change_items(&Known::new(Kind::Order, order), &mut self.random()).command;
        let index = self.doors.recorder.command(command);
        (index, self.again(index, replica).await)
    }

    /// Sends a command again, once, with its own key.
    pub async fn again(&self, index: usize, replica: usize) -> Reply {
        self.doors.send(index, AUTHOR, replica).await
    }

    /// Sends a command until its outcome is certain, through one replica after the other.
    pub async fn settle(&self, index: usize) -> anyhow::Result<Reply> {
        let replicas = self.doors.commands.len();
        let turn = AtomicUsize::new(0);
        let settled = wait_for("an outcome", SOON, || async {
            let reply = self.again(index, turn.fetch_add(1, Ordering::Relaxed) % replicas).await;
            let is_open = reply.leaves_open();
            if is_open { Err(format!("{reply:?}")) } else { Ok(reply) }
        });
        Ok(settled.await?)
    }

    /// Adds a rule at the engine's test port.
    pub async fn rule(&self, rule: Value) -> anyhow::Result<()> {
        if Strike::Engine(rule.clone(), Duration::ZERO).makes_the_log_lie() {
            self.nemesis.log_lied.store(true, Ordering::Relaxed);
        }
        self.port.add(&rule).await
    }

    /// Makes a proxy misbehave, or behave again.
    pub fn hop(&self, hop: Hop, mode: Mode) -> anyhow::Result<()> {
        self.world.hops.get(hop).context("no such hop")?.set(mode);
        Ok(())
    }

    /// Lets every LWT that was to run later run now, and waits until all have. Errs when not so many
    /// wait: then they landed before the script was where it wanted to be.
    pub async fn land(&self, lwts: u64) -> anyhow::Result<()> {
        let waiting = self.port.waiting().await?;
        ensure!(waiting == lwts, "{waiting} of {lwts} LWTs wait: the script was too slow");
        self.port.release().await?;
        wait_for("late LWTs to land", SOON, || async {
            match self.port.waiting().await.map_err(|error| format!("{error:#}"))? {
                0 => Ok(()),
                waiting => Err(format!("{waiting} wait")),
            }
        })
        .await?;
        Ok(())
    }

    /// Notes which of the engine's faults befell somebody so far.
    pub(super) async fn note_rules(&self) -> anyhow::Result<()> {
        let ended_us = self.doors.recorder.now_us();
        for (kind, fired) in self.port.fired().await? {
            if fired > 0 {
                let target = "as the script says".to_owned();
                self.doors.recorder.fault(Fault { kind, target, began_us: 0, ended_us, fired });
            }
        }
        Ok(())
    }

    /// Waits until an event is announced.
    pub async fn announced(&self, order: Uuid, version: u64) -> anyhow::Result<()> {
        wait_for("an event to be announced", SOON, || async {
            let announced = self.progress().await?.announced;
            let is_it = |event: &Announced| event.aggregate_id == order && event.version == version;
            if announced.iter().any(is_it) { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await?;
        Ok(())
    }

    /// Waits until a consumer has handled an event.
    pub async fn handled(&self, order: Uuid, consumer: &str, version: u64) -> anyhow::Result<()> {
        wait_for("an event to be handled", SOON, || async {
            let cursors = self.progress().await?.cursors;
            let at = cursors.get(&order).and_then(|cursors| cursors.get(consumer));
            if at >= Some(&version) { Ok(()) } else { Err(format!("{consumer} is at {at:?}")) }
        })
        .await?;
        Ok(())
    }

    /// The rows of `writers`.
    pub async fn writers(&self) -> anyhow::Result<Vec<WriterRow>> {
        writers(self.session).await
    }

    /// Waits until the rows of `writers` are as wanted.
    pub async fn writers_are(
        &self,
        what: &str,
        wanted: impl Fn(&[WriterRow]) -> bool,
    ) -> anyhow::Result<()> {
        wait_for(what, SOON, || async {
            let rows = self.writers().await.map_err(|error| format!("{error:#}"))?;
            if wanted(&rows) { Ok(()) } else { Err(format!("{rows:?}")) }
        })
        .await?;
        Ok(())
    }

    /// Waits until the rows of `slots` are as wanted, and gives them.
    pub async fn slots_are(
        &self,
        what: &str,
        wanted: impl Fn(&[SlotRow]) -> bool,
    ) -> anyhow::Result<Vec<SlotRow>> {
        let rows = wait_for(what, SOON, || async {
            let slots = self.progress().await?.slots;
            if wanted(&slots) { Ok(slots) } else { Err(format!("{slots:?}")) }
        });
        Ok(rows.await?)
    }

    /// Waits until a process stands still.
    pub async fn stands_still(&self, process: Process) -> anyhow::Result<()> {
        let what = format!("{} to stand still", process.name());
        wait_for(&what, SOON, || async { self.state(process).filter_stopped() }).await?;
        Ok(())
    }

    /// A process goes on.
    pub fn wake(&self, process: Process) -> anyhow::Result<()> {
        self.world.stack.signal(process, Signal::Resume)
    }

    /// What the system says a process is doing, as `/proc` has it.
    fn state(&self, process: Process) -> ProcessState {
        let stat = self.world.stack.pid(process).map(|pid| format!("/proc/{pid}/stat"));
        let text = stat.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        // The name before it is in parentheses, and may hold anything.
        let state = text.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
        ProcessState(state)
    }

    async fn progress(&self) -> Result<Progress, String> {
        progress(self.session).await.map_err(|error| format!("{error:#}"))
    }

    /// Looks at slots and cursors, and keeps what it saw for the verdict.
    pub async fn look(&self) -> anyhow::Result<()> {
        let mut samples = self.samples.lock().await;
        let at_us = self.doors.recorder.now_us();
        let progress = progress(self.session).await?;
        // Of a row that the log never showed, or showed late, no checkpoint can know.
        let honest = !self.nemesis.log_lied.load(Ordering::Relaxed);
        let ahead = honest.then(|| ahead_of_work(&progress));
        let Progress { slots, letters, .. } = progress;
        samples.push(Sample { at_us, slots, ahead, letters });
        Ok(())
    }

    /// Notes how much memory each process has. One that is down just now has none.
    pub(super) fn weigh(&self) {
        for process in self.world.stack.processes() {
            let memory = self.world.stack.pid(process).map(resident_mib);
            if let Some(Ok(mib)) = memory {
                self.doors.recorder.memory(process.name(), mib);
            }
        }
    }

    /// Everything that was seen so far, in the order of time.
    pub(super) async fn samples(&self) -> Vec<Sample> {
        self.samples.lock().await.clone()
    }
}

/// A letter of `/proc/<pid>/stat`.
struct ProcessState(Option<char>);

impl ProcessState {
    fn filter_stopped(&self) -> Result<(), String> {
        if self.0 == Some('T') { Ok(()) } else { Err(format!("its state is {:?}", self.0)) }
    }
}
