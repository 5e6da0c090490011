//! This process as a writer: its row, its heartbeat, its intent buckets.
//!
//! The row proves that the process is alive. A commit may be sent only while the last applied
//! heartbeat was sent less than half the grace period ago; so by the time another process may
//! declare this one dead, whatever it sent is old enough to be fenced off. A writer that finds itself
//! dead starts anew under a new id: commits that it still holds are announced by their own tasks, and
//! by whoever settles the old id, which does no harm.

use crate::announce::Announcer;
use crate::config::EventStoreConfig;
use crate::error::Failure;
use crate::ids::{AttemptId, Counter, WriterId};
use crate::intents::{BucketLimits, Buckets};
use crate::ledger::{Heartbeat, Ledger, LedgerError, WriterAnswer, WriterState};
use crate::metrics::METRICS;
use runtime::{Backoff, CancellationToken, chain};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

/// The state of the writer as appends see it.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) writer: WriterId,
    /// When the last applied heartbeat was sent.
    sent: Instant,
    /// Somebody wrote this writer's death certificate; another id is on its way.
    is_dead: bool,
}

/// What appends and the settler need of the writer.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pulse: watch::Receiver<Pulse>,
    answering_since: watch::Receiver<Instant>,
    age_max: Duration,
}

impl Writer {
    /// The writer, once its heartbeat is fresh enough to commit. `None` when that does not happen
    /// before the deadline.
    pub(crate) async fn fresh(&self, deadline: Instant) -> Option<Pulse> {
        let mut pulse = self.pulse.clone();
        loop {
            let current = pulse.borrow_and_update().clone();
            if self.is_fresh(&current) {
                return Some(current);
            }
            match timeout_at(deadline, pulse.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }

    /// Whether a commit under this writer may be sent now.
    pub(crate) fn may_commit(&self, writer: WriterId) -> bool {
        let pulse = self.pulse.borrow();
        pulse.writer == writer && self.is_fresh(&pulse)
    }

    /// The id that this process writes under now.
    pub(crate) fn id(&self) -> WriterId {
        self.pulse.borrow().writer
    }

    /// Since when every heartbeat of this process was answered, while the last one is fresh. `None`
    /// when it is not: then this process had better not judge others.
    pub(crate) fn sound_since(&self) -> Option<Instant> {
        self.is_fresh(&self.pulse.borrow()).then(|| *self.answering_since.borrow())
    }

    fn is_fresh(&self, pulse: &Pulse) -> bool {
        !pulse.is_dead && pulse.sent.elapsed() < self.age_max
    }
}

/// Keeps the writer's row alive. Created by [`Keeper::register`], driven by [`Keeper::run`].
pub(crate) struct Keeper {
    ledger: Arc<dyn Ledger>,
    announcer: Arc<Announcer>,
    config: EventStoreConfig,
    pulse: watch::Sender<Pulse>,
    more_buckets: Arc<Notify>,
    row: Row,
    /// Since when every heartbeat was answered.
    answering_since: watch::Sender<Instant>,
    closed: CancellationToken,
}

/// The writer's row as this process last wrote it.
struct Row {
    writer: WriterId,
    buckets: Arc<Buckets>,
    counter: Counter,
    attempt: AttemptId,
}

impl Row {
    /// The row whose last heartbeat was sent then.
    fn pulse(&self, sent: Instant) -> Pulse {
        Pulse { buckets: Arc::clone(&self.buckets), writer: self.writer, sent, is_dead: false }
    }
}

/// How an attempt to change the row ended.
enum Beat {
    /// Applied; sent at this time at the earliest.
    Applied(Instant),
    /// The row is not ours any more.
    Dead,
    /// The store was closed before the database answered.
    Unanswered,
}

impl Keeper {
    /// Writes the row of a new writer; tries until `deadline`.
    pub(crate) async fn register(
        ledger: Arc<dyn Ledger>,
        announcer: Arc<Announcer>,
        config: EventStoreConfig,
        closed: CancellationToken,
        deadline: Instant,
    ) -> Result<(Self, Writer), LedgerError> {
        let more_buckets = Arc::new(Notify::new());
        let (row, sent) = create_row(&*ledger, &config, &more_buckets, deadline).await?;
        let (pulse, receiver) = watch::channel(row.pulse(sent));
        let (answering_since, answering) = watch::channel(Instant::now());
        let age_max = config.heartbeat_age_max();
        let writer = Writer { pulse: receiver, answering_since: answering, age_max };
        let keeper =
            Self { ledger, announcer, config, pulse, more_buckets, row, answering_since, closed };
        Ok((keeper, writer))
    }

    /// Beats until the store is closed, then removes the row. Errs when this process must end: from
    /// then on there are no heartbeats, so that another process finishes what is left.
    pub(crate) async fn run(
        mut self,
        mut failed: watch::Receiver<Option<Failure>>,
    ) -> Result<(), Failure> {
        let closed = self.closed.clone();
        let mut next = self.pulse.borrow().sent + self.config.heartbeat();
        loop {
            tokio::select! {
                () = closed.cancelled() => break,
                failure = failed.wait_for(Option::is_some) => {
                    let failure = failure.ok().and_then(|failure| failure.clone());
                    return Err(failure.unwrap_or(Failure::HeartbeatEnded));
                }
                () = sleep_until(next) => {}
                () = self.more_buckets.notified() => {}
            }
            self.check_announcements()?;
            let Some(sent) = self.beat_or_start_anew().await else { break };
            next = sent + self.config.heartbeat();
        }
        self.remove_row().await;
        Ok(())
    }

    /// An announcement that does not come through while the database answers will not come through.
    fn check_announcements(&self) -> Result<(), Failure> {
        let stuck = Duration::from_millis(self.config.announcement_stuck_ms);
        let Some((aggregate_id, committed)) = self.announcer.oldest_waiting() else {
            return Ok(());
        };
        let waited = committed.max(*self.answering_since.borrow()).elapsed();
        if waited < stuck {
            return Ok(());
        }
        Err(Failure::AnnouncementStuck { aggregate_id, waited })
    }

    /// When the heartbeat in the row was sent; `None` when the store was closed meanwhile.
    async fn beat_or_start_anew(&mut self) -> Option<Instant> {
        let (oldest_bucket, newest_bucket) = self.row.buckets.span();
        let beat = Heartbeat {
            writer: self.row.writer,
            counter: self.row.counter,
            previous: Some(self.row.attempt),
            attempt: AttemptId::fresh(),
            oldest_bucket,
            newest_bucket,
            intent_spread: spread(&self.config),
        };
        let sent = match self.until_answered(&beat).await {
            Beat::Applied(sent) => {
                self.row.counter = beat.counter.next();
                self.row.attempt = beat.attempt;
                self.row.buckets.announced(newest_bucket);
                sent
            }
            Beat::Dead => {
                METRICS.declared_dead.inc();
                warn!(writer = %self.row.writer, "declared dead by another process, starting anew");
                self.pulse.send_modify(|pulse| pulse.is_dead = true);
                self.start_anew().await?
            }
            Beat::Unanswered => return None,
        };
        METRICS.heartbeat_applied(sent.elapsed());
        self.pulse.send_replace(self.row.pulse(sent));
        Some(sent)
    }

    /// Sends a heartbeat until the database says whether it is applied.
    async fn until_answered(&mut self, beat: &Heartbeat) -> Beat {
        let mut backoff = Backoff::new(self.config.backoff());
        let first_sent = Instant::now();
        loop {
            let sent = Instant::now();
            match self.ledger.heartbeat(beat).await {
                Ok(answer) => {
                    if backoff.attempts() > 0 {
                        info!(attempts = backoff.attempts(), "heartbeat is answered again");
                    }
                    return judge(&answer, beat, sent, first_sent);
                }
                Err(error) => {
                    if backoff.attempts() == 0 {
                        warn!(error = %chain(&error), "heartbeat failed");
                    }
                }
            }
            if !backoff.pause(&self.closed).await {
                return Beat::Unanswered;
            }
            self.answering_since.send_replace(Instant::now());
        }
    }

    async fn start_anew(&mut self) -> Option<Instant> {
        loop {
            let deadline = Instant::now() + self.config.wait();
            let created = create_row(&*self.ledger, &self.config, &self.more_buckets, deadline);
            tokio::select! {
                () = self.closed.cancelled() => return None,
                created = created => if let Ok((row, sent)) = created {
                    self.row = row;
                    return Some(sent);
                }
            }
            self.answering_since.send_replace(Instant::now());
        }
    }

    /// Removes the row after a clean stop. When that fails the row stays, and is settled as that of a
    /// dead writer, which finds nothing to do.
    async fn remove_row(&self) {
        let mut backoff = Backoff::new(self.config.backoff());
        while backoff.attempts() < self.config.commit_resends_max {
            let Row { writer, counter, attempt, .. } = self.row;
            let alive = WriterState::Alive;
            match self.ledger.remove_writer(writer, alive, counter, attempt).await {
                Ok(removed) => {
                    info!(writer = %self.row.writer, removed, "writer signed off");
                    return;
                }
                Err(error) => {
                    warn!(writer = %self.row.writer, error = %chain(&error), "sign off failed");
                }
            }
            sleep(backoff.next_pause()).await;
        }
    }
}

/// Writes the row of a writer with a new id; tries until `deadline`.
async fn create_row(
    ledger: &dyn Ledger,
    config: &EventStoreConfig,
    more_buckets: &Arc<Notify>,
    deadline: Instant,
) -> Result<(Row, Instant), LedgerError> {
    let limits = BucketLimits {
        age_max: Duration::from_millis(config.intent_bucket_ms),
        intents_max: config.intent_bucket_intents_max,
        ahead: config.intent_buckets_ahead,
        spread: config.intent_spread,
    };
    let mut backoff = Backoff::new(config.backoff());
    loop {
        // A row of unknown fate is left behind under its id: it never beats, nothing refers to it.
        let (writer, attempt) = (WriterId::fresh(), AttemptId::fresh());
        let buckets = Arc::new(Buckets::new(writer, limits, Arc::clone(more_buckets)));
        let (oldest_bucket, newest_bucket) = buckets.span();
        let beat = Heartbeat {
            writer,
            counter: Counter::NONE,
            previous: None,
            attempt,
            oldest_bucket,
            newest_bucket,
            intent_spread: spread(config),
        };
        let sent = Instant::now();
        match ledger.heartbeat(&beat).await {
            Ok(answer) if answer.applied => {
                buckets.announced(newest_bucket);
                info!(%writer, "registered as a writer");
                return Ok((Row { writer, buckets, counter: beat.counter.next(), attempt }, sent));
            }
            Ok(_) => warn!(%writer, "a new writer's id is taken"),
            Err(error) => {
                warn!(error = %chain(&error), "registration as a writer failed");
                if Instant::now() >= deadline {
                    return Err(error);
                }
            }
        }
        sleep(backoff.next_pause()).await;
    }
}

/// Whether a heartbeat is in the row. When an earlier sending of it landed, that one's time counts.
fn judge(answer: &WriterAnswer, beat: &Heartbeat, sent: Instant, first_sent: Instant) -> Beat {
    if answer.applied {
        return Beat::Applied(sent);
    }
    let ours = answer.attempt == Some(beat.attempt) && answer.state == Some(WriterState::Alive);
    if ours && answer.counter == Some(beat.counter.next()) {
        Beat::Applied(first_sent)
    } else {
        Beat::Dead
    }
}

fn spread(config: &EventStoreConfig) -> i32 {
    i32::try_from(config.intent_spread).unwrap_or(i32::MAX)
}
