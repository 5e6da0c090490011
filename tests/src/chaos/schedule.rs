//! What the nemesis does and when, chosen by a seed before the run.

use super::poison::{Poison, PoisonEffect, Poisoned};
use crate::hops::Hop;
use crate::names::{COMMAND_API, OUTBOX_RELAY, PROJECTION_WORKER};
use crate::proxy::Mode;
use local_stack::{PLATFORM, Process, Replicas, Store};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::Duration;

/// Half the safety interval of these runs: so long may a row take to become visible, and so far may
/// clocks differ.
const LOG_DELAY_MS_MAX: u64 = 1_400;
const SKEW_MS_MAX: i64 = 1_400;

/// How often processes of a name are chosen, in proportion: those with more to lose more often.
const WEIGHTS: [(&str, u32); 3] = [(COMMAND_API, 48), (PROJECTION_WORKER, 36), (OUTBOX_RELAY, 24)];
/// The same of every other name.
const WEIGHT: u32 = 12;

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Strike {
    /// `kill -9`, and a new start after so long.
    Kill(Process, Duration),
    /// SIGSTOP, and SIGCONT after so long.
    Pause(Process, Duration),
    /// SIGTERM, and a new start after so long: scaling down and up, or a broker that is away.
    Stop(Process, Duration),
    /// A proxy misbehaves for so long.
    Hop(Hop, Mode, Duration),
    /// A rule at the engine's test port, in force for so long.
    Engine(Value, Duration),
    /// A new generation of CDC streams.
    Generation,
    /// The engine's clock is off by so many milliseconds for so long.
    Clock(i64, Duration),
    /// The engine forgets what was not synced, and ends.
    PowerCut(Value),
    /// Events that a consumer cannot handle, for so long.
    Poison(Poison, Duration),
}

impl Strike {
    /// Its kind, for counting.
    pub fn kind(&self) -> String {
        match self {
            Self::Kill(Process::Engine, _) => "kill_engine".to_owned(),
            Self::Kill(Process::Broker, _) => "kill_broker".to_owned(),
            Self::Kill(..) => "kill_worker".to_owned(),
            Self::Pause(..) => "pause".to_owned(),
            Self::Stop(Process::Broker, _) => "stop_broker".to_owned(),
            Self::Stop(..) => "scale".to_owned(),
            Self::Hop(_, mode, _) => format!("proxy_{}", mode.name()),
            Self::Engine(rule, _) => rule["kind"].as_str().unwrap_or_default().to_owned(),
            Self::Generation => "generation".to_owned(),
            Self::Clock(..) => "clock_skew".to_owned(),
            Self::PowerCut(_) => "power_cut".to_owned(),
            Self::Poison(..) => "poison".to_owned(),
        }
    }

    /// Whether a process dies of it without warning.
    pub fn kills(&self) -> bool {
        matches!(self, Self::Kill(..) | Self::PowerCut(_))
    }

    /// Whether the CDC log does not tell the truth any more once it was in force.
    pub fn makes_the_log_lie(&self) -> bool {
        let Self::Engine(rule, _) = self else { return false };
        match rule["kind"].as_str() {
            Some("log_rows_dropped") => true,
            Some(kind) if kind.starts_with("log_rows") => {
                rule["delay_ms"].as_u64() > Some(LOG_DELAY_MS_MAX)
            }
            _ => false,
        }
    }
}

/// A strike in its track. Strikes of one track follow one another; tracks run side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// Which track.
    pub track: u8,
    /// When, since the beginning of the torture.
    pub at: Duration,
    /// What.
    pub strike: Strike,
}

/// Chooses strikes.
struct Chooser {
    random: StdRng,
    workers: Vec<(Process, u32)>,
    schedule: Vec<Timed>,
    length: Duration,
}

/// Strikes of all kinds for a torture of this length.
pub fn schedule(seed: u64, replicas: &Replicas, length: Duration) -> Vec<Timed> {
    let random = StdRng::seed_from_u64(seed ^ 0x6e65_6d65_7369_7321);
    let workers = workers(replicas);
    let mut chooser = Chooser { random, workers, schedule: Vec::new(), length };
    chooser.track(0, 1_500..3_500, Chooser::death_of_a_worker);
    chooser.track(1, 2_500..5_000, Chooser::absence_of_a_worker);
    chooser.track(2, 5_000..9_000, Chooser::trouble_of_a_store);
    chooser.track(3, 1_000..2_200, Chooser::bad_hop);
    chooser.track(4, 1_000..2_200, Chooser::bad_hop);
    chooser.track(5, 700..1_400, Chooser::bad_answer);
    chooser.track(6, 8_000..16_000, Chooser::bad_event);
    chooser.schedule.sort_by_key(|timed| timed.at);
    chooser.schedule
}

/// How often each process is chosen; the replicas of a name share its weight.
fn workers(replicas: &Replicas) -> Vec<(Process, u32)> {
    let mut workers = Vec::new();
    for entry in PLATFORM.workers() {
        let of_name = WEIGHTS.iter().find(|(name, _)| *name == entry.name);
        let weight = of_name.map_or(WEIGHT, |(_, weight)| *weight);
        let count = replicas.count(&entry.name);
        let each = u32::try_from(count).map_or(0, |count| weight / count.max(1));
        workers.extend((0..count).map(|replica| (Process::Worker(&entry.name, replica), each)));
    }
    workers
}

impl Chooser {
    /// Fills a track, with pauses of this many milliseconds from beginning to beginning.
    fn track(
        &mut self,
        track: u8,
        every_ms: std::ops::Range<u64>,
        choose: fn(&mut Self) -> Strike,
    ) {
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_millis(self.random.random_range(every_ms.clone()));
            if at >= self.length {
                return;
            }
            let strike = choose(self);
            self.schedule.push(Timed { track, at, strike });
        }
    }

    fn ms(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }

    fn worker(&mut self) -> Process {
        let chosen = self.workers.choose_weighted(&mut self.random, |(_, weight)| *weight);
        chosen.expect("some process has a weight").0
    }

    fn death_of_a_worker(&mut self) -> Strike {
        let (worker, down) = (self.worker(), self.ms(0..800));
        Strike::Kill(worker, down)
    }

    fn absence_of_a_worker(&mut self) -> Strike {
        let worker = self.worker();
        // Longer than the lease term and the grace period of these runs, or shorter.
        let away = self.ms(500..5_500);
        if self.random.random_bool(0.6) {
            Strike::Pause(worker, away)
        } else {
            Strike::Stop(worker, away)
        }
    }

    fn trouble_of_a_store(&mut self) -> Strike {
        let down = self.ms(0..2_000);
        match self.random.random_range(0..5) {
            0 | 1 => Strike::Kill(Process::Engine, down),
            2 => Strike::Kill(Process::Broker, down),
            3 => Strike::Stop(Process::Broker, down + Duration::from_secs(1)),
            _ => Strike::Pause(Process::Engine, down),
        }
    }

    fn bad_hop(&mut self) -> Strike {
        let worker = self.worker();
        let entry = PLATFORM.entry_of(worker);
        let publishes = entry.is_some_and(|entry| entry.needs(Store::Kafka));
        let serves = entry.is_some_and(|entry| entry.ports.http.is_some());
        let hop = match self.random.random_range(0..3) {
            0 | 1 if publishes => Hop::ToBroker(worker),
            0 if serves => Hop::FromClients(worker),
            _ => Hop::ToEngine(worker),
        };
        let slow = self.ms(5..150);
        let modes = [Mode::Reset, Mode::Blackhole, Mode::Mute, Mode::Slow(slow), Mode::Refuse];
        let mode = *modes.choose(&mut self.random).expect("there are five");
        let length = self.ms(200..2_500);
        Strike::Hop(hop, mode, length)
    }

    fn bad_answer(&mut self) -> Strike {
        let ms = |strike: Value| Strike::Engine(strike, Duration::from_millis(900));
        match self.random.random_range(0..20) {
            0..=7 => ms(self.bad_decision()),
            8..=12 => ms(self.bad_request()),
            13..=15 => ms(self.bad_log()),
            16 | 17 => Strike::Generation,
            18 => {
                let skew = self.random.random_range(-SKEW_MS_MAX..=SKEW_MS_MAX);
                Strike::Clock(skew, self.ms(500..3_000))
            }
            _ => Strike::PowerCut(json!({"torn": self.random.random_bool(0.5)})),
        }
    }

    /// Events that a consumer cannot handle.
    fn bad_event(&mut self) -> Strike {
        let consumers = ["orders@1", "customers@1", "relay"];
        let consumer = (*consumers.choose(&mut self.random).expect("there are some")).to_owned();
        let events = Poisoned::Every(self.random.random_range(15..40));
        let poison = Poison { consumer, events, effect: PoisonEffect::Refuse };
        Strike::Poison(poison, self.ms(2_000..5_000))
    }

    /// A lightweight transaction of unknown outcome.
    fn bad_decision(&mut self) -> Value {
        let kinds = [
            "lwt_applied_timeout",
            "lwt_applied_late",
            "lwt_not_applied_timeout",
            "lwt_applied_later",
        ];
        let kind = *kinds.choose(&mut self.random).expect("there are some");
        let mut rule = json!({"kind": kind, "count": self.random.random_range(1..6)});
        let delay_ms = self.random.random_range(1..1_500);
        match kind {
            "lwt_applied_late" => rule["delay_ms"] = json!(delay_ms),
            "lwt_applied_later" if self.random.random_bool(0.5) => {
                rule["delay_ms"] = json!(delay_ms);
            }
            _ => {}
        }
        if kind != "lwt_applied_late" {
            let answers = ["write_timeout", "cas_unknown", "silence"];
            rule["answer"] = json!(answers.choose(&mut self.random));
        }
        // Mostly where it hurts: the ledger. Sometimes leases and heartbeats.
        if self.random.random_bool(0.7) {
            rule["table"] = json!("event_store");
        }
        rule
    }

    /// Any other request that fails, or takes its time.
    fn bad_request(&mut self) -> Value {
        let kinds = [
            "write_applied_timeout",
            "write_not_applied_timeout",
            "read_timeout",
            "slow",
            "overloaded",
            "unavailable",
        ];
        let kind = *kinds.choose(&mut self.random).expect("there are some");
        let mut rule = json!({"kind": kind, "count": self.random.random_range(3..20)});
        match kind {
            "slow" => rule["delay_ms"] = json!(self.random.random_range(50..1_200)),
            "write_applied_timeout" | "write_not_applied_timeout" => {
                let tables = ["outbox_messages", "append_intents", "consumer_cursors"];
                rule["table"] = json!(tables.choose(&mut self.random));
            }
            _ => {}
        }
        rule
    }

    /// A log whose rows never come, come late, twice, or in another order; the delays are within what
    /// the safety interval allows.
    fn bad_log(&mut self) -> Value {
        let kinds =
            ["log_rows_dropped", "log_rows_delayed", "log_rows_doubled", "log_rows_permuted"];
        let kind = *kinds.choose(&mut self.random).expect("there are some");
        let count = self.random.random_range(5..60);
        let mut rule = json!({"kind": kind, "table": "outbox_messages", "count": count});
        if kind != "log_rows_dropped" {
            rule["delay_ms"] = json!(self.random.random_range(1..LOG_DELAY_MS_MAX));
        }
        rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_always_gives_the_same_strikes_and_another_gives_others() {
        let replicas = &Replicas::of([(COMMAND_API, 2)]);
        let minute = Duration::from_secs(60);
        assert_eq!(schedule(7, replicas, minute), schedule(7, replicas, minute));
        assert_ne!(schedule(7, replicas, minute), schedule(8, replicas, minute));
    }

    #[test]
    fn a_minute_has_kills_and_faults_of_many_kinds() {
        for seed in 0..50 {
            let strikes = schedule(seed, &Replicas::default(), Duration::from_secs(60));
            let kinds: BTreeSet<String> = strikes.iter().map(|timed| timed.strike.kind()).collect();
            let kills = strikes.iter().filter(|timed| timed.strike.kills()).count();
            assert!(strikes.len() >= 100, "{} strikes of seed {seed}", strikes.len());
            assert!(kinds.len() >= 12, "seed {seed} has only {kinds:?}");
            assert!(kills >= 16, "{kills} kills of seed {seed}");
        }
    }
}
