//! The pass that gives the latency: looks at the end of the log again and again.
//!
//! One task per *chunk* of up to 100 streams, one query per look. Each look reads from a little
//! before the end of the last one up to the database's now: a row becomes visible a little after its
//! timestamp, so this [overlap](Lateness) follows what is seen, from [`CdcConfig::overlap_ms`] on. While rows come the next look follows within
//! milliseconds; without news for a while the pace falls to this process's part of the group's budget. Rows
//! of slower coordinators land further behind; for these, streams with news are looked at by keys
//! alone every now and then, a second further back. What comes still later is the confirm pass's.
//!
//! A coordinator keeps its timestamps ascending when its clock steps back: for as long as the clock
//! lies behind them, it stamps just after the last ones. That part of the log, [`Chunk::ahead`] of
//! the clock, is looked at as well then.

use crate::clock::DatabaseClock;
use crate::config::CdcConfig;
use crate::consumer::{ErrorClass, HandleError};
use crate::generation::Slots;
use crate::log_time::{LogTime, Window};
use crate::metrics;
use crate::sequencer::{Sequencer, Stopped};
use crate::source::{Detail, LogRow, LogSource};
use runtime::{Backoff, chain};
use scylla_cdc::cdc_types::StreamID;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Streams of one generation that are read together, and up to where they were.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) streams: Vec<StreamID>,
    /// Rows of other slots are dropped.
    pub(crate) slots: Slots,
    /// Where to end; `None` to follow the log for good.
    end: Option<LogTime>,
    read_until: AtomicI64,
    /// Where rows may be stamped although the clock is not there yet.
    ahead: Option<Window>,
}

impl Chunk {
    /// Nothing of it was read before `start`.
    pub(crate) fn new(
        streams: Vec<StreamID>,
        slots: Slots,
        start: LogTime,
        ahead: Option<Window>,
    ) -> Self {
        let read_until = AtomicI64::new(start.micros());
        Self { streams, slots, end: None, read_until, ahead }
    }

    /// A part of the log with an end, which is read once.
    pub(crate) fn part(streams: Vec<StreamID>, slots: Slots, part: Window) -> Self {
        let read_until = AtomicI64::new(part.from.micros());
        Self { streams, slots, end: Some(part.to), read_until, ahead: None }
    }

    pub(crate) fn is_part(&self) -> bool {
        self.end.is_some()
    }

    /// Whether a part was read to its end.
    pub(crate) fn is_through(&self) -> bool {
        self.end.is_some_and(|end| self.read_until() >= end)
    }

    /// Every row before it that was visible went to the sequencer.
    pub(crate) fn read_until(&self) -> LogTime {
        LogTime::from_micros(self.read_until.load(Ordering::Acquire))
    }
}

/// What all chunks share.
pub(crate) struct FastPass {
    pub(crate) log: Arc<dyn LogSource>,
    pub(crate) clock: Arc<DatabaseClock>,
    pub(crate) sequencer: Sequencer,
    pub(crate) config: CdcConfig,
    /// How many chunks there are, among which the budget is shared.
    pub(crate) chunks: AtomicUsize,
}

/// Why a chunk is not read any further.
pub(crate) enum End {
    /// It was asked to end, the sequencer did, or all of a part was read.
    Stopped,
    /// Trying again will not help.
    Failed(HandleError),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<HandleError> for End {
    fn from(error: HandleError) -> Self {
        Self::Failed(error)
    }
}

/// One chunk's progress.
struct Follower<'a> {
    pass: &'a FastPass,
    chunk: &'a Chunk,
    stop: &'a CancellationToken,
    last_news: Option<Instant>,
    last_look_back: Instant,
    lateness: Lateness,
}

impl FastPass {
    /// Follows a chunk until `stop`. Errs when trying again will not help.
    pub(crate) async fn follow(
        &self,
        chunk: &Chunk,
        stop: &CancellationToken,
    ) -> Result<(), HandleError> {
        let mut follower = Follower {
            pass: self,
            chunk,
            stop,
            // Perhaps there is news: streams are put together anew while they are in use.
            last_news: Some(Instant::now()),
            last_look_back: Instant::now(),
            lateness: Lateness::default(),
        };
        let mut backoff = Backoff::new(self.config.backoff);
        loop {
            let begun = Instant::now();
            let looked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                looked = follower.look() => looked,
            };
            let next = match looked {
                Ok(interval) => {
                    backoff.reset();
                    begun + interval
                }
                Err(End::Stopped) => return Ok(()),
                Err(End::Failed(error)) if error.class == ErrorClass::Transport => {
                    metrics::RETRIES.with_label_values(&["log"]).inc();
                    if backoff.attempts().is_power_of_two() {
                        let error = chain(&error).to_string();
                        warn!(attempts = backoff.attempts(), error, "log not read, trying again");
                    }
                    Instant::now() + backoff.next_pause()
                }
                Err(End::Failed(error)) => return Err(error),
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// From one look at a chunk to the next, so that all of them together keep to the budget. Without
    /// news that is the group's: this process has as much of it as it has slots, so that another
    /// replica costs next to nothing.
    fn interval(&self, is_busy: bool, slots: &Slots) -> Duration {
        let chunks = u32::try_from(self.chunks.load(Ordering::Relaxed).max(1)).unwrap_or(u32::MAX);
        let share = |queries_per_second: u32| {
            Duration::from_secs(1).saturating_mul(chunks) / queries_per_second.max(1)
        };
        if is_busy {
            share(self.config.busy_queries_per_second).max(self.config.busy_interval())
        } else {
            let (served, all) = slots.share();
            share(self.config.idle_queries_per_second).saturating_mul(all) / served
        }
    }
}

impl Follower<'_> {
    /// One look at the end of the log; returns how long after its beginning the next one is due.
    async fn look(&mut self) -> Result<Duration, End> {
        let config = &self.pass.config;
        let until = self.chunk.read_until();
        let now = self.pass.clock.now_at_most();
        let now = self.chunk.end.map_or(now, |end| end.min(now));
        let overlap = self.lateness.overlap(config.overlap(), config.look_back());
        let from = until.minus(overlap);
        let to = now.min(from.plus(config.window_max()));
        let window = Window::new(from, to);
        if !window.is_empty() {
            self.read(window, Detail::Full, "fast").await?;
        }
        if to > until {
            self.chunk.read_until.store(to.micros(), Ordering::Release);
        }
        if to < now {
            // Behind: the rest at once.
            return Ok(Duration::ZERO);
        }
        if self.chunk.is_through() {
            return Err(End::Stopped);
        }
        self.look_further(from).await?;
        Ok(self.pass.interval(self.had_news_within(config.busy_linger()), &self.chunk.slots))
    }

    /// Now and then: behind `before`, for late rows, and ahead of a clock that stepped back.
    async fn look_further(&mut self, before: LogTime) -> Result<(), End> {
        let config = &self.pass.config;
        if self.last_look_back.elapsed() < config.look_back_interval() {
            return Ok(());
        }
        self.last_look_back = Instant::now();
        if self.had_news_within(config.look_back() + config.busy_linger()) {
            let behind = Window::new(before.minus(config.look_back()), before);
            self.read(behind, Detail::Keys, "look_back").await?;
        }
        if let Some(ahead) = self.chunk.ahead
            && self.pass.clock.now() <= ahead.to
        {
            self.read(ahead, Detail::Keys, "look_back").await?;
        }
        Ok(())
    }

    fn had_news_within(&self, time: Duration) -> bool {
        self.last_news.is_some_and(|last| last.elapsed() < time)
    }

    /// Hands every row of the window to the sequencer, page by page.
    async fn read(
        &mut self,
        window: Window,
        detail: Detail,
        pass: &'static str,
    ) -> Result<(), End> {
        let mut groups = Groups::default();
        let mut next = None;
        loop {
            metrics::QUERIES.with_label_values(&[pass]).inc();
            let log = &self.pass.log;
            let page = log.read(&self.chunk.streams, window, detail, next).await?;
            metrics::ROWS.with_label_values(&[pass]).inc_by(page.rows.len() as u64);
            for row in page.rows {
                if self.chunk.slots.of(row.ring.aggregate_id).is_some() {
                    self.submit(groups.push(row)).await?;
                }
            }
            next = page.next;
            if next.is_none() || self.stop.is_cancelled() {
                break;
            }
        }
        self.submit(groups.finish()).await
    }

    async fn submit(&mut self, rows: Vec<LogRow>) -> Result<(), End> {
        for row in rows {
            let stamp = LogTime::of(row.time);
            if self.pass.sequencer.submit(row).await? {
                self.last_news = Some(Instant::now());
                // Zero for a row that no look could have found before.
                self.lateness.note(self.chunk.read_until().since(stamp));
            }
        }
        Ok(())
    }
}

/// How late rows became visible lately, behind the end of a look that should have found them.
#[derive(Debug, Default)]
struct Lateness {
    most: Duration,
    noted: Option<Instant>,
}

impl Lateness {
    /// Takes a row into account that came so late.
    fn note(&mut self, late: Duration) {
        if late >= self.now() {
            self.most = late;
            self.noted = Some(Instant::now());
        }
    }

    /// How far back the next look goes: twice as far as was necessary, within bounds.
    fn overlap(&self, least: Duration, most: Duration) -> Duration {
        self.now().saturating_mul(2).clamp(least, most.max(least))
    }

    /// Halves every second.
    fn now(&self) -> Duration {
        let age = self.noted.map_or(Duration::ZERO, |noted| noted.elapsed());
        self.most / 2_u32.saturating_pow(u32::try_from(age.as_secs()).unwrap_or(u32::MAX))
    }
}

/// Puts the rows of one group, which come in clustering order (the newest version first), in order
/// of version; also over the border of two pages.
#[derive(Debug, Default)]
struct Groups {
    open: Vec<LogRow>,
}

impl Groups {
    /// Takes the next row; gives back the rows of the groups that are complete.
    fn push(&mut self, row: LogRow) -> Vec<LogRow> {
        let same = self
            .open
            .first()
            .is_some_and(|first| first.time == row.time && first.stream == row.stream);
        let mut complete = if same { Vec::new() } else { self.finish() };
        let ends = row.end_of_group;
        self.open.push(row);
        if ends {
            complete.append(&mut self.finish());
        }
        complete
    }

    /// The rows of the last group, complete or not.
    fn finish(&mut self) -> Vec<LogRow> {
        let mut group = std::mem::take(&mut self.open);
        group.sort_by_key(|row| row.ring.version);
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Ring;
    use uuid::Uuid;

    #[tokio::test(start_paused = true)]
    async fn the_overlap_follows_what_comes_late_and_forgets_it() {
        let [least, most] = [30, 1_000].map(Duration::from_millis);
        let mut lateness = Lateness::default();
        let mut check = |late_ms, expected_ms| {
            lateness.note(Duration::from_millis(late_ms));
            let overlap = lateness.overlap(least, most);
            assert_eq!(overlap, Duration::from_millis(expected_ms), "after {late_ms} ms");
        };
        check(0, 30);
        check(60, 120);
        check(40, 120);
        check(3_000, 1_000);
        tokio::time::advance(Duration::from_secs(4)).await;
        check(1, 375);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        check(0, 30);
    }

    fn row(time: u128, version: u64, end_of_group: bool) -> LogRow {
        LogRow {
            stream: StreamID::new(vec![0; 16]),
            time: Uuid::from_u128(time),
            end_of_group,
            ring: Ring { aggregate_id: Uuid::nil(), aggregate_type: None, version },
            change: None,
        }
    }

    fn check(rows: Vec<LogRow>, expected: &[u64]) {
        let mut groups = Groups::default();
        let mut out: Vec<LogRow> = rows.into_iter().flat_map(|row| groups.push(row)).collect();
        out.extend(groups.finish());
        let versions: Vec<u64> = out.iter().map(|row| row.ring.version).collect();
        assert_eq!(versions, expected);
    }

    #[test]
    fn rows_of_a_group_come_in_order_of_version() {
        check(vec![row(1, 3, false), row(1, 2, false), row(1, 1, true)], &[1, 2, 3]);
    }

    #[test]
    fn groups_keep_their_order() {
        let rows = vec![row(1, 5, false), row(1, 4, true), row(2, 2, false), row(2, 1, true)];
        check(rows, &[4, 5, 1, 2]);
    }

    #[test]
    fn a_group_without_its_end_is_handed_on_when_the_next_begins_or_nothing_follows() {
        check(vec![row(1, 2, false), row(2, 4, false), row(2, 3, false)], &[2, 3, 4]);
    }
}
