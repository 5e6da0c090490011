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

use super::{Reading, chunk::Chunk, generation::Slots, groups::Groups, lateness::Lateness};
use crate::config::millis;
use crate::consumer::ErrorClass;
use crate::error::StoreError;
use crate::log_time::{LogTime, Window};
use crate::metrics;
use crate::ordering::Stopped;
use crate::retries::Retries;
use crate::source::{Detail, LogRow};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What all chunks share.
pub(super) struct FastPass {
    pub(super) reading: Reading,
    /// How many chunks there are, among which the budget is shared.
    pub(super) chunks: AtomicUsize,
}

/// Why a chunk is not read any further.
pub(super) enum End {
    /// It was asked to end, the sequencer did, or all of a part was read.
    Stopped,
    /// Trying again will not help.
    Failed(StoreError),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// One chunk's progress.
struct Follower<'a> {
    pass: &'a FastPass,
    chunk: &'a Chunk,
    last_news: Option<Instant>,
    last_look_back: Instant,
    lateness: Lateness,
}

impl FastPass {
    /// Follows a chunk. Errs when trying again will not help.
    pub(super) async fn follow(&self, chunk: &Chunk) -> Result<(), StoreError> {
        let mut follower = Follower {
            pass: self,
            chunk,
            // Perhaps there is news: streams are put together anew while they are in use.
            last_news: Some(Instant::now()),
            last_look_back: Instant::now(),
            lateness: Lateness::default(),
        };
        let pauses = self.reading.around.config.backoff;
        let mut retries = Retries::new(Some("log"), "read the log", pauses);
        loop {
            let begun = Instant::now();
            let next = match follower.look().await {
                Ok(interval) => {
                    retries.reset();
                    begun + interval
                }
                Err(End::Stopped) => return Ok(()),
                Err(End::Failed(error)) if error.class == ErrorClass::Transport => {
                    Instant::now() + retries.failed(&error)
                }
                Err(End::Failed(error)) => return Err(error),
            };
            tokio::time::sleep_until(next).await;
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
        let config = &self.reading.around.config;
        if is_busy {
            share(config.busy_queries_per_second).max(millis(config.busy_interval_ms))
        } else {
            let (served, all) = slots.share();
            share(config.idle_queries_per_second).saturating_mul(all) / served
        }
    }
}

impl Follower<'_> {
    /// One look at the end of the log; returns how long after its beginning the next one is due.
    async fn look(&mut self) -> Result<Duration, End> {
        let Reading { around, clock, .. } = &self.pass.reading;
        let config = &around.config;
        let until = self.chunk.read_until();
        let now = clock.now_at_most();
        let now = self.chunk.end.map_or(now, |end| end.min(now));
        let overlap = self.lateness.overlap(millis(config.overlap_ms), millis(config.look_back_ms));
        let from = until.minus(overlap);
        let to = now.min(from.plus(millis(config.window_ms_max)));
        let window = Window::new(from, to);
        if !window.is_empty() {
            self.read(window, Detail::Full, "fast").await?;
        }
        if to > until {
            self.chunk.was_read_until(to);
        }
        if to < now {
            // Behind: the rest at once.
            return Ok(Duration::ZERO);
        }
        if self.chunk.is_through() {
            return Err(End::Stopped);
        }
        self.look_further(from).await?;
        Ok(self
            .pass
            .interval(self.had_news_within(millis(config.busy_linger_ms)), &self.chunk.slots))
    }

    /// Now and then: behind `before`, for late rows, and ahead of a clock that stepped back.
    async fn look_further(&mut self, before: LogTime) -> Result<(), End> {
        let Reading { around, clock, .. } = &self.pass.reading;
        let config = &around.config;
        if self.last_look_back.elapsed() < millis(config.look_back_interval_ms) {
            return Ok(());
        }
        self.last_look_back = Instant::now();
        if self.had_news_within(millis(config.look_back_ms) + millis(config.busy_linger_ms)) {
            let behind = Window::new(before.minus(millis(config.look_back_ms)), before);
            self.read(behind, Detail::Keys, "look_back").await?;
        }
        if let Some(ahead) = self.chunk.ahead
            && clock.now() <= ahead.to
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
            let log = &self.pass.reading.around.log;
            let page = log.read(&self.chunk.streams, window, detail, next).await?;
            metrics::ROWS.with_label_values(&[pass]).inc_by(page.rows.len() as u64);
            for row in page.rows {
                if self.chunk.slots.of(row.announcement.aggregate_id).is_some() {
                    self.submit(groups.push(row)).await?;
                }
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        self.submit(groups.finish()).await
    }

    async fn submit(&mut self, rows: Vec<LogRow>) -> Result<(), End> {
        for row in rows {
            let stamp = LogTime::of(row.time);
            if self.pass.reading.sequencer.submit(row).await? {
                self.last_news = Some(Instant::now());
                // Zero for a row that no look could have found before.
                self.lateness.note(self.chunk.read_until().since(stamp));
            }
        }
        Ok(())
    }
}
