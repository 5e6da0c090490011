//! Does what the schedule says, writes down what came of it, and makes everything whole again.

use super::engine_port::EnginePort;
use super::poison::Poison;
use super::schedule::{Strike, Timed};
use crate::dump::letters;
use crate::history::{Fault, Recorder};
use crate::hops::Hop;
use crate::proxy::Mode;
use crate::world::World;
use anyhow::Context;
use futures::future::join_all;
use local_stack::{Process, Signal};
use scylla::client::session::Session;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long an orderly stop may take in the middle of everything; then it is a kill.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How much longer than planned a fault stays in force when it has not befallen anybody yet.
const LINGER: Duration = Duration::from_secs(2);
/// Pause between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// Waits for a fault to befall somebody, at most for so long.
async fn until(mut fired: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LINGER;
    while Instant::now() < deadline && !fired().await {
        sleep(LOOK).await;
    }
}

/// The one who strikes.
pub(super) struct Nemesis<'a> {
    world: &'a World,
    /// For looking.
    session: &'a Session,
    recorder: Recorder,
    pub(super) port: EnginePort,
    /// One at a time per process: a stopped process cannot be terminated, and an engine that is down
    /// cannot be told anything.
    turns: HashMap<Process, Mutex<()>>,
    /// The same for the hops.
    hop_turns: HashMap<Hop, Mutex<()>>,
    /// Whether the CDC log was made to lie.
    pub(super) log_lied: AtomicBool,
}

impl<'a> Nemesis<'a> {
    pub(super) fn new(
        world: &'a World,
        session: &'a Session,
        recorder: Recorder,
    ) -> anyhow::Result<Self> {
        let address = world.stack.addresses().engine_faults.as_ref();
        let port = EnginePort::new(address.context("the engine has no test port")?);
        let turns = world.stack.processes().map(|process| (process, Mutex::new(()))).collect();
        let hop_turns = world.hops.all().into_iter().map(|hop| (hop, Mutex::new(()))).collect();
        Ok(Self {
            world,
            session,
            recorder,
            port,
            turns,
            hop_turns,
            log_lied: AtomicBool::new(false),
        })
    }

    /// Strikes as scheduled; returns when the last strike is over.
    pub(super) async fn run(&self, schedule: &[Timed]) {
        let begun = Instant::now();
        let mut tracks: BTreeMap<u8, Vec<&Timed>> = BTreeMap::new();
        for timed in schedule {
            tracks.entry(timed.track).or_default().push(timed);
        }
        join_all(tracks.into_values().map(|track| async move {
            for timed in track {
                sleep_until(begun + timed.at).await;
                self.strike(&timed.strike).await;
            }
        }))
        .await;
    }

    /// Strikes once, and notes it. What could not be done has not fired.
    async fn strike(&self, strike: &Strike) {
        if strike.makes_the_log_lie() {
            self.log_lied.store(true, Ordering::Relaxed);
        }
        let began_us = self.recorder.now_us();
        let (target, fired) = match strike {
            Strike::Kill(process, down) => {
                (process.name(), self.stop(*process, Signal::Kill, *down).await)
            }
            Strike::Stop(process, away) => {
                (process.name(), self.stop(*process, Signal::Terminate, *away).await)
            }
            Strike::Pause(process, away) => (process.name(), self.pause(*process, *away).await),
            Strike::Hop(hop, mode, length) => {
                (format!("{hop:?}"), self.hop(*hop, *mode, *length).await)
            }
            Strike::Engine(rule, length) => (rule.to_string(), self.rule(rule, *length).await),
            Strike::Generation => ("embedded-scylla".to_owned(), self.generation().await),
            Strike::Clock(skew_ms, length) => {
                (format!("{skew_ms} ms"), self.clock(*skew_ms, *length).await)
            }
            Strike::PowerCut(how) => (how.to_string(), self.power_cut(how).await),
            Strike::Poison(poison, length) => {
                (poison.to_string(), self.poison(poison, *length).await)
            }
        };
        // An engine that is down cannot be told anything: that strike did not fire.
        let (fired, target) = match fired {
            Ok(fired) => (fired, target),
            Err(error) => (0, format!("{target}: {error:#}")),
        };
        let ended_us = self.recorder.now_us();
        self.recorder.fault(Fault { kind: strike.kind(), target, began_us, ended_us, fired });
    }

    /// Ends a process and starts it again.
    async fn stop(&self, process: Process, signal: Signal, down: Duration) -> anyhow::Result<u64> {
        let _turn = self.turns.get(&process).context("no such process")?.lock().await;
        let stack = &self.world.stack;
        let running = stack.pid(process).is_some();
        if timeout(STOP_WITHIN, stack.stop(process, signal)).await.is_err() {
            stack.stop(process, Signal::Kill).await?;
        }
        sleep(down).await;
        stack.resume(process).await?;
        Ok(u64::from(running))
    }

    async fn pause(&self, process: Process, away: Duration) -> anyhow::Result<u64> {
        let _turn = self.turns.get(&process).context("no such process")?.lock().await;
        self.world.stack.signal(process, Signal::Pause)?;
        sleep(away).await;
        self.world.stack.signal(process, Signal::Resume)?;
        Ok(1)
    }

    async fn hop(&self, hop: Hop, mode: Mode, length: Duration) -> anyhow::Result<u64> {
        let _turn = self.hop_turns.get(&hop).context("no proxies here")?.lock().await;
        let proxy = self.world.hops.get(hop).context("no such hop")?;
        let before = proxy.affected();
        proxy.set(mode);
        sleep(length).await;
        until(async || proxy.affected() > before).await;
        proxy.set(Mode::Pass);
        Ok(proxy.affected() - before)
    }

    async fn rule(&self, rule: &serde_json::Value, length: Duration) -> anyhow::Result<u64> {
        let _turn = self.turns.get(&Process::Engine).context("no engine")?.lock().await;
        self.engine_is_up().await?;
        let kind = rule["kind"].as_str().unwrap_or_default();
        let fired = async || {
            let fired = self.port.fired().await?;
            anyhow::Ok(fired.get(kind).copied().unwrap_or_default())
        };
        let before = fired().await?;
        self.port.add(rule).await?;
        sleep(length).await;
        // The engine stays up meanwhile, so its count only grows.
        until(async || fired().await.is_ok_and(|after| after > before)).await;
        let after = fired().await?;
        self.port.clear().await?;
        Ok(after.saturating_sub(before))
    }

    /// Waits for an engine that was just started: one that is down cannot be told anything.
    async fn engine_is_up(&self) -> anyhow::Result<()> {
        timeout(STOP_WITHIN, self.world.stack.ready_one(Process::Engine)).await?
    }

    async fn generation(&self) -> anyhow::Result<u64> {
        let _turn = self.turns.get(&Process::Engine).context("no engine")?.lock().await;
        self.engine_is_up().await?;
        self.port.post("/generations", &serde_json::json!({})).await?;
        Ok(1)
    }

    async fn clock(&self, skew_ms: i64, length: Duration) -> anyhow::Result<u64> {
        let _turn = self.turns.get(&Process::Engine).context("no engine")?.lock().await;
        self.engine_is_up().await?;
        self.port.post("/clock", &serde_json::json!({"skew_ms": skew_ms})).await?;
        sleep(length).await;
        self.port.post("/clock", &serde_json::json!({"skew_ms": 0})).await?;
        Ok(1)
    }

    /// Poisons events; how many letters were seen meanwhile.
    async fn poison(&self, poison: &Poison, length: Duration) -> anyhow::Result<u64> {
        self.world.poison(std::slice::from_ref(poison))?;
        let end = Instant::now() + length;
        let mut seen = 0;
        while Instant::now() < end {
            sleep(LOOK * 4).await;
            // A database that is down now shows them later, or this strike has not fired.
            if let Ok(Ok(rows)) = timeout(LINGER, letters(self.session)).await {
                let mine = rows.iter().filter(|row| row.consumer == poison.consumer).count();
                seen = seen.max(mine);
            }
        }
        self.world.poison(&[])?;
        Ok(u64::try_from(seen)?)
    }

    async fn power_cut(&self, how: &serde_json::Value) -> anyhow::Result<u64> {
        let _turn = self.turns.get(&Process::Engine).context("no engine")?.lock().await;
        self.engine_is_up().await?;
        let stack = &self.world.stack;
        let before = stack.pid(Process::Engine).context("the engine is down")?;
        stack.may_end(Process::Engine)?;
        // It dies instead of answering.
        let told = self.port.post("/power-cut", how).await;
        let dead = local_stack::wait_for("the engine to die", STOP_WITHIN, || async {
            match stack.pid(Process::Engine) {
                Some(pid) if pid == before => Err(format!("{told:?}")),
                _ => Ok(()),
            }
        });
        let dead = dead.await;
        stack.resume(Process::Engine).await?;
        dead?;
        Ok(1)
    }

    /// All faults off, everything running. Waits until every process calls itself ready.
    pub(super) async fn heal(&self) -> anyhow::Result<()> {
        for hop in self.world.hops.all() {
            if let Some(proxy) = self.world.hops.get(hop) {
                proxy.set(Mode::Pass);
            }
        }
        let stack = &self.world.stack;
        for process in stack.processes() {
            if stack.pid(process).is_some() {
                stack.signal(process, Signal::Resume)?;
            }
            stack.resume(process).await?;
        }
        stack.ready_one(Process::Engine).await?;
        self.port.clear().await.context("drop the engine's rules")?;
        stack.ready_one(Process::Broker).await?;
        stack.ready().await?;
        // As a person does, once what was parked can be handled again.
        self.world.poison(&[])?;
        self.world.esctl(&["dlq", "retry-all", "--state", "parked"]).await.map(drop)
    }
}
