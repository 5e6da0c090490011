//! The database's now, as seen from here.
//!
//! Log rows are stamped by the database's nodes, so the reader asks the nodes for their time
//! ([`NodeReading`]) and extrapolates with the process's own monotonic clock in between. A node's
//! answer is an interval: its time when the answer arrived lies between the value it sent and that
//! value plus the round trip plus the millisecond that was cut off. *Now* is the slowest node's
//! clock, for what it stamps next must not lie behind what was read already.
//!
//! | seen | then |
//! | --- | --- |
//! | nothing yet | the confirm pass holds for half a safety interval, for nobody knows what the clock did before: rows stamped until then become visible meanwhile |
//! | a jump forward beyond half the safety interval | the same, for one safety interval |
//! | a step back | [`DatabaseClock::stepped_back`]: the group begins anew, both passes at now − 2 × safety interval |
//! | nodes further apart than half the safety interval | the confirm pass holds until they are not |
//! | no reading for half a safety interval | the confirm pass holds |

use crate::log_time::{LogTime, micros};
use crate::source::{LogSource, NodeReading};
use crate::{lock, metrics};
use runtime::{Backoff, BackoffConfig};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Smaller steps back are covered by the overlap of the fast pass's looks and by its looking back.
const STEP_TOLERANCE: Duration = Duration::from_millis(200);
/// What `toTimestamp` cuts off.
const RESOLUTION: Duration = Duration::from_millis(1);

/// Why the confirm pass must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The clock is not known for long enough.
    New,
    /// The clock jumped forward.
    Jumped,
    /// The nodes' clocks are too far apart.
    Skewed,
    /// The clock was not read for too long.
    Stale,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "the database's clock is not known for long enough",
            Self::Jumped => "the database's clock jumped forward",
            Self::Skewed => "the nodes' clocks are too far apart",
            Self::Stale => "the database's clock cannot be read",
        })
    }
}

/// The slowest node's clock minus the process's, in microseconds; the truth lies in between.
#[derive(Debug, Clone, Copy)]
struct Offset {
    at: Instant,
    least: i64,
    most: i64,
}

#[derive(Debug)]
struct State {
    /// The readings of the last safety interval, oldest first; never empty.
    recent: VecDeque<Offset>,
    skew: Duration,
}

/// The database's clock.
#[derive(Debug)]
pub(crate) struct DatabaseClock {
    origin: Instant,
    safety_interval: Duration,
    stepped_back: CancellationToken,
    state: Mutex<State>,
}

impl DatabaseClock {
    /// Reads the clock for the first time; tries until it can be read.
    pub(crate) async fn start(
        source: &dyn LogSource,
        safety_interval: Duration,
        pauses: BackoffConfig,
    ) -> Self {
        let mut backoff = Backoff::new(pauses);
        loop {
            match source.clocks().await {
                Ok(readings) => return Self::new(Instant::now(), safety_interval, &readings),
                Err(error) => {
                    warn!(error = runtime::chain(&error).to_string(), "database's clock not read");
                }
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    pub(crate) fn new(
        origin: Instant,
        safety_interval: Duration,
        readings: &[NodeReading],
    ) -> Self {
        let (offset, skew) = combine(origin, readings);
        let state = Mutex::new(State { recent: VecDeque::from([offset]), skew });
        Self { origin, safety_interval, stepped_back: CancellationToken::new(), state }
    }

    /// Reads the clock again and again.
    pub(crate) async fn follow(&self, source: &dyn LogSource, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            match source.clocks().await {
                Ok(readings) => self.observe(&readings),
                // The confirm pass holds when this goes on, and says so.
                Err(error) => {
                    let error = runtime::chain(&error).to_string();
                    tracing::debug!(error, "database's clock not read");
                }
            }
        }
    }

    /// Takes new readings into account.
    pub(crate) fn observe(&self, readings: &[NodeReading]) {
        let (offset, skew) = combine(self.origin, readings);
        metrics::CLOCK_SKEW.set(skew.as_secs_f64());
        self.with(|state| {
            let before = *state.recent.back().expect("never empty");
            if offset.most + micros(STEP_TOLERANCE) < before.least {
                let by = Duration::from_micros((before.least - offset.most).unsigned_abs());
                warn!(?by, "database's clock stepped back");
                self.stepped_back.cancel();
            } else if offset.least > before.most + micros(self.safety_interval / 2) {
                let by = Duration::from_micros((offset.least - before.most).unsigned_abs());
                warn!(?by, "database's clock jumped forward");
            }
            if skew > self.safety_interval / 2 && state.skew <= self.safety_interval / 2 {
                warn!(?skew, "clocks of the database's nodes are too far apart");
            }
            state.skew = skew;
            state.recent.push_back(offset);
            while state.recent.len() > 1
                && offset.at.duration_since(state.recent[0].at) > self.safety_interval
            {
                state.recent.pop_front();
            }
        });
    }

    /// The slowest node's time, at least.
    pub(crate) fn now(&self) -> LogTime {
        self.with(|state| self.at(state.recent.back().expect("never empty").least))
    }

    /// The slowest node's time, at most. Rows stamped up to now have a timestamp below it.
    pub(crate) fn now_at_most(&self) -> LogTime {
        self.with(|state| self.at(state.recent.back().expect("never empty").most))
    }

    /// Cancelled by a step back.
    pub(crate) fn stepped_back(&self) -> &CancellationToken {
        &self.stepped_back
    }

    /// Where both passes start when nothing says that they may start later.
    pub(crate) fn restart_point(&self) -> LogTime {
        self.now().minus(self.safety_interval * 2)
    }

    /// What [`Self::settled_until`] would be if nothing held it.
    pub(crate) fn due_until(&self) -> LogTime {
        self.now().minus(self.safety_interval)
    }

    /// Up to here every row is visible.
    pub(crate) fn settled_until(&self) -> Result<LogTime, Hold> {
        let half = self.safety_interval / 2;
        if self.origin.elapsed() < half {
            return Err(Hold::New);
        }
        self.with(|state| {
            let newest = *state.recent.back().expect("never empty");
            if newest.at.elapsed() > half {
                return Err(Hold::Stale);
            }
            if state.skew > half {
                return Err(Hold::Skewed);
            }
            let jumped = |before: &Offset| newest.least > before.most + micros(half);
            if state.recent.iter().any(jumped) {
                return Err(Hold::Jumped);
            }
            Ok(self.at(newest.least).minus(self.safety_interval))
        })
    }

    fn at(&self, offset: i64) -> LogTime {
        LogTime::from_micros(micros(self.origin.elapsed()).saturating_add(offset))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut lock(&self.state))
    }
}

/// The slowest node's offset, and how far the nodes are apart at least.
fn combine(origin: Instant, readings: &[NodeReading]) -> (Offset, Duration) {
    let mut slowest = Offset { at: origin, least: i64::MAX, most: i64::MAX };
    let mut fastest_least = i64::MIN;
    for reading in readings {
        let value = reading.value.micros();
        let least = value - micros(reading.received.duration_since(origin));
        let most = value + micros(RESOLUTION) - micros(reading.sent.duration_since(origin));
        slowest.at = slowest.at.max(reading.received);
        slowest.least = slowest.least.min(least);
        slowest.most = slowest.most.min(most);
        fastest_least = fastest_least.max(least);
    }
    let skew = u64::try_from(fastest_least.saturating_sub(slowest.most)).unwrap_or(0);
    (slowest, Duration::from_micros(skew))
}
