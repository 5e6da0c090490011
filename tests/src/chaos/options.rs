//! What a run is made of.

use super::schedule::{Timed, schedule};
use crate::names::{COMMAND_API, OUTBOX_RELAY, PROJECTION_WORKER};
use crate::world::Plan;
use local_stack::{Replicas, Whom};
use std::time::Duration;

/// What all runs have in common: intervals so short that a minute holds many of them.
const SETTINGS: [(&str, &str, &str); 44] = [
    ("esctl", "APP__SETTINGS__SAFETY_INTERVAL_MS", "3000"),
    ("command-api", "APP__EVENT_STORE__HEARTBEAT_MS", "500"),
    ("command-api", "APP__EVENT_STORE__GRACE_MS", "3000"),
    ("command-api", "APP__EVENT_STORE__WAIT_MS_MAX", "3000"),
    ("command-api", "APP__EVENT_STORE__SETTLE__INTERVAL_MS", "300"),
    ("command-api", "APP__EVENT_STORE__SETTLE__RETRY_MS_MAX", "5000"),
    ("command-api", "APP__EVENT_STORE__REQUEST_TIMEOUT_MS", "1000"),
    ("command-api", "APP__SCYLLA__REQUEST_TIMEOUT_MS", "2000"),
    ("command-api", "APP__SCYLLA__CONNECT_TIMEOUT_MS", "1000"),
    ("projection-worker", "APP__SCYLLA__REQUEST_TIMEOUT_MS", "2000"),
    ("projection-worker", "APP__SCYLLA__CONNECT_TIMEOUT_MS", "1000"),
    ("projection-worker", "APP__CDC__CLOCK_INTERVAL_MS", "500"),
    ("projection-worker", "APP__CDC__CONFIRM_INTERVAL_MS", "700"),
    ("projection-worker", "APP__CDC__CHECKPOINT_INTERVAL_MS", "1000"),
    ("projection-worker", "APP__CDC__GENERATION_INTERVAL_MS", "1000"),
    ("projection-worker", "APP__LEASES__TERM_MS", "3000"),
    ("projection-worker", "APP__LEASES__RENEW_INTERVAL_MS", "700"),
    ("projection-worker", "APP__LEASES__REQUEST_TIMEOUT_MS", "700"),
    ("outbox-relay", "APP__LEASES__TERM_MS", "3000"),
    ("outbox-relay", "APP__LEASES__RENEW_INTERVAL_MS", "700"),
    ("outbox-relay", "APP__LEASES__REQUEST_TIMEOUT_MS", "700"),
    // As the grace period and five seconds, which is the least.
    ("projection-worker", "APP__SCANNER__AGE_MS_MIN", "8000"),
    ("projection-worker", "APP__SCANNER__OUTBOX_INTERVAL_MS", "1000"),
    ("projection-worker", "APP__SCANNER__LEDGER_INTERVAL_MS", "10000"),
    ("outbox-relay", "APP__SCYLLA__REQUEST_TIMEOUT_MS", "2000"),
    ("outbox-relay", "APP__SCYLLA__CONNECT_TIMEOUT_MS", "1000"),
    ("outbox-relay", "APP__CDC__CLOCK_INTERVAL_MS", "500"),
    ("outbox-relay", "APP__CDC__CONFIRM_INTERVAL_MS", "700"),
    ("outbox-relay", "APP__CDC__CHECKPOINT_INTERVAL_MS", "1000"),
    ("outbox-relay", "APP__CDC__GENERATION_INTERVAL_MS", "1000"),
    ("outbox-relay", "APP__PUBLISHER__MESSAGE_TIMEOUT_MS", "2000"),
    ("dlq-retrier", "APP__PUBLISHER__MESSAGE_TIMEOUT_MS", "2000"),
    ("outbox-relay", "APP__CDC__BACKOFF__MAX_MS", "1000"),
    ("projection-worker", "APP__CDC__BACKOFF__MAX_MS", "1000"),
    ("query-api", "APP__SCYLLA__CONNECT_TIMEOUT_MS", "1000"),
    ("dlq-retrier", "APP__SCYLLA__REQUEST_TIMEOUT_MS", "2000"),
    ("dlq-retrier", "APP__SCYLLA__CONNECT_TIMEOUT_MS", "1000"),
    ("dlq-retrier", "APP__LEASES__TERM_MS", "3000"),
    ("dlq-retrier", "APP__LEASES__RENEW_INTERVAL_MS", "700"),
    ("dlq-retrier", "APP__LEASES__POLL_INTERVAL_MS", "300"),
    ("dlq-retrier", "APP__LEASES__REQUEST_TIMEOUT_MS", "700"),
    ("dlq-retrier", "APP__RETRY__SCAN_INTERVAL_MS", "500"),
    ("dlq-retrier", "APP__RETRY__BACKOFF__INITIAL_MS", "200"),
    ("dlq-retrier", "APP__RETRY__BACKOFF__MAX_MS", "2000"),
];

/// One run.
#[derive(Debug, Clone)]
pub struct ChaosOptions {
    /// Chooses what clients ask for.
    pub seed: u64,
    /// How long clients work at least, and the nemesis has for its schedule.
    pub duration: Duration,
    /// What the nemesis does.
    pub schedule: Vec<Timed>,
    /// How many processes of each kind there are.
    pub replicas: Replicas,
    /// How many clients there are.
    pub clients: u32,
    /// How long a client thinks between two requests, on average.
    pub pause: Duration,
    /// So many commands at most.
    pub commands_max: usize,
    /// How long everything may take to be whole again.
    pub heal_limit: Duration,
    /// More variables, for example a seeded defect.
    pub env: Vec<(Whom, String, String)>,
    /// No other test is at work beside it.
    pub alone: bool,
}

impl ChaosOptions {
    /// Faults of all kinds for so long. Needs programs with their test hooks, which poison events.
    pub fn full(seed: u64, duration: Duration) -> Self {
        let replicas = Replicas::of([(COMMAND_API, 2), (PROJECTION_WORKER, 2), (OUTBOX_RELAY, 2)]);
        Self {
            seed,
            duration,
            schedule: schedule(seed, &replicas, duration),
            replicas,
            clients: 52,
            pause: Duration::from_millis(45),
            // More than are sent in that time: faults need somebody who meets them.
            commands_max: 20_000 + 300 * usize::try_from(duration.as_secs()).unwrap_or(0),
            heal_limit: Duration::from_secs(60),
            env: Vec::new(),
            alone: true,
        }
    }

    /// A short run with the faults that it is given, for one question.
    pub fn small(seed: u64, duration: Duration, schedule: Vec<Timed>) -> Self {
        Self {
            duration,
            schedule,
            clients: 12,
            pause: Duration::from_millis(25),
            commands_max: 2_500,
            alone: false,
            ..Self::full(seed, Duration::ZERO)
        }
    }

    pub(super) fn plan(&self) -> Plan {
        let settings = SETTINGS.iter().map(|(program, name, value)| {
            (Whom::Program(program), (*name).to_owned(), (*value).to_owned())
        });
        Plan {
            replicas: self.replicas.clone(),
            env_of: settings.chain(self.env.iter().cloned()).collect(),
            proxied: true,
            alone: self.alone,
            ..Plan::default()
        }
    }
}
