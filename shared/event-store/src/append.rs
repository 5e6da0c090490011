//! One commit, from the intent to a certain outcome.
//!
//! Nothing here is bounded in time once a commit was sent: the deadline bounds waiting, never
//! resolving. Each pass of [`Appender::append`] starts with nothing on its way, makes sure of the
//! intent and the heartbeat, and sends; [`Appender::send`] then does not return before it is certain
//! what happened. An uncertain answer is looked up by a SERIAL read. Nothing there proves nothing,
//! since the commit may still be on its way: it is sent again with the same ids, or the fence is
//! moved, after which it cannot land.

use crate::call::Call;
use crate::config::EventStoreConfig;
use crate::ids::{Fence, WriterId};
use crate::intents::OpenBucket;
use crate::ledger::{Commit, CommitAnswer, Intent, Ledger, LedgerError, ReadFailure, Strength};
use crate::load::{since, upwards};
use crate::metrics::METRICS;
use crate::writer::{Pulse, Writer};
use kernel::{RecordedEvent, Version};
use runtime::test_hooks::crash_point;
use runtime::{Backoff, chain};
use std::sync::Arc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};
use uuid::Uuid;

/// Brings commits to a certain outcome.
pub(crate) struct Appender {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) writer: Writer,
    pub(crate) config: EventStoreConfig,
}

/// The events of one command, to be committed after a version.
#[derive(Debug, Clone)]
pub(crate) struct Append {
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_type: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) after: Version,
    pub(crate) fence: Option<Fence>,
    /// At least one.
    pub(crate) events: Arc<[RecordedEvent]>,
}

/// A durable intent, and the open bucket it is in.
#[derive(Debug)]
pub(crate) struct Hold {
    bucket: OpenBucket,
    after: Version,
}

/// What became of an append. The fence is the one that was seen last.
#[derive(Debug)]
pub(crate) enum Landed {
    /// The events are facts, as they were sent.
    Applied { fence: Option<Fence> },
    /// The command's events are facts, as they are here: an earlier sending landed, maybe another
    /// process's.
    Found { events: Vec<RecordedEvent> },
    /// Another's event has the version.
    Lost,
    /// Nothing landed, and nothing of this append can any more.
    NotDone { fence: Option<Fence>, why: NotDone },
}

/// Why nothing was committed.
#[derive(Debug)]
pub(crate) enum NotDone {
    Unavailable { doing: &'static str, source: Option<LedgerError> },
    FenceKeepsMoving { attempts: u32 },
}

/// What is certain about what was sent.
#[derive(Debug)]
enum Known {
    Applied,
    Found(Vec<RecordedEvent>),
    Lost,
    FenceMoved(Option<Fence>),
    NotSent(LedgerError),
}

/// What a look at the ledger leads to.
enum Look {
    Known(Known),
    SendAgain,
}

impl Appender {
    /// Commits the events, or makes sure that they are not.
    pub(crate) async fn append(
        &self,
        call: &Call,
        hold: &mut Option<Hold>,
        append: &Append,
    ) -> Landed {
        let (aggregate_id, events) = (append.aggregate_id, Arc::clone(&append.events));
        let mut commit = Commit { aggregate_id, fence: append.fence, events };
        let mut backoff = Backoff::new(self.config.backoff());
        let mut fences = 0;
        loop {
            let why = match self.clear_to_send(call, hold, append).await {
                Err(why) => why,
                Ok(writer) => match self.send(call, writer, &commit, append.after).await {
                    Known::Applied => return Landed::Applied { fence: commit.fence },
                    Known::Found(events) => return Landed::Found { events },
                    Known::Lost => {
                        call.nothing_landed();
                        return Landed::Lost;
                    }
                    Known::FenceMoved(fence) => {
                        call.nothing_landed();
                        commit.fence = fence;
                        fences += 1;
                        if fences <= self.config.conflict_retries_max {
                            continue;
                        }
                        NotDone::FenceKeepsMoving { attempts: fences }
                    }
                    Known::NotSent(error) => {
                        call.nothing_landed();
                        if pause(&mut backoff, call).await {
                            continue;
                        }
                        NotDone::Unavailable { doing: "commit", source: Some(error) }
                    }
                },
            };
            return Landed::NotDone { fence: commit.fence, why };
        }
    }

    /// Waits until a commit may be sent: durable intent, fresh heartbeat of the intent's writer, and
    /// a caller that was not told "not done". Gives the writer.
    async fn clear_to_send(
        &self,
        call: &Call,
        hold: &mut Option<Hold>,
        append: &Append,
    ) -> Result<WriterId, NotDone> {
        let overdue = |doing| NotDone::Unavailable { doing, source: None };
        loop {
            if call.is_overdue() {
                return Err(overdue("commit"));
            }
            let fresh = self.writer.fresh(call.deadline()).await;
            let pulse = fresh.ok_or_else(|| overdue("prove that this process is alive"))?;
            let held = hold.as_ref().is_some_and(|hold| {
                hold.bucket.writer() == pulse.writer && hold.after <= append.after
            });
            if !held {
                *hold = Some(self.make_intent(call, &pulse, append).await?);
            }
            // The intent may have taken long.
            if self.writer.may_commit(pulse.writer) {
                return call.begin_sending().then_some(pulse.writer).ok_or(overdue("commit"));
            }
        }
    }

    /// Makes the intent durable, unless the bucket has it already.
    async fn make_intent(
        &self,
        call: &Call,
        pulse: &Pulse,
        append: &Append,
    ) -> Result<Hold, NotDone> {
        let (aggregate_id, after) = (append.aggregate_id, append.after);
        let bucket = pulse.buckets.enter(aggregate_id, after);
        if bucket.is_covered() {
            return Ok(Hold { bucket, after });
        }
        let intent = Intent {
            writer: pulse.writer,
            bucket: bucket.number(),
            spread: bucket.spread(aggregate_id),
            aggregate_id,
            after,
            aggregate_type: append.aggregate_type,
            topic: append.topic,
        };
        let mut backoff = Backoff::new(self.config.backoff());
        while let Err(error) = self.ledger.write_intent(&intent).await {
            debug!(%aggregate_id, error = %chain(&error), "intent failed");
            if !pause(&mut backoff, call).await {
                let doing = "write the intent";
                return Err(NotDone::Unavailable { doing, source: Some(error) });
            }
        }
        crash_point("append.intent-written");
        bucket.made_durable(aggregate_id, after);
        Ok(Hold { bucket, after })
    }

    /// Sends a commit, again if need be, and does not return before the outcome is certain.
    async fn send(&self, call: &Call, writer: WriterId, commit: &Commit, after: Version) -> Known {
        let ours = commit.events[0].event_id;
        let mut on_its_way = false;
        let mut resolving = Resolving::new(&self.config);
        loop {
            crash_point("append.before-commit");
            match self.ledger.commit(commit).await {
                Ok(CommitAnswer { applied: true, .. }) => return Known::Applied,
                // An earlier sending landed: what is stored is to be read.
                Ok(CommitAnswer { event_id: Some(id), .. }) if id == ours => {}
                Ok(CommitAnswer { event_id: Some(_), .. }) => return Known::Lost,
                Ok(CommitAnswer { fence, .. }) if fence != commit.fence => {
                    return Known::FenceMoved(fence);
                }
                // Neither applied nor a reason for it: to be looked up.
                Ok(_) => {}
                Err(LedgerError::NotDone(source)) if !on_its_way => {
                    return Known::NotSent(LedgerError::NotDone(source));
                }
                Err(LedgerError::NotDone(_)) => {}
                Err(error) => {
                    crash_point("append.unknown");
                    METRICS.unknown_outcomes.inc();
                    let aggregate_id = commit.aggregate_id;
                    let (version, error) = (after.next().0, chain(&error).to_string());
                    warn!(%aggregate_id, version, error, "outcome of a commit is unknown");
                    on_its_way = true;
                }
            }
            match self.look_up(call, writer, commit, after, &mut resolving).await {
                Look::Known(known) => return known,
                Look::SendAgain => {}
            }
        }
    }

    /// Looks at the ledger until it is certain what happened, or the commit may be sent again.
    async fn look_up(
        &self,
        call: &Call,
        writer: WriterId,
        commit: &Commit,
        after: Version,
        resolving: &mut Resolving,
    ) -> Look {
        loop {
            match self.look(commit, after).await {
                Ok(Some(known)) => return Look::Known(known),
                Ok(None) => {
                    let again = resolving.resends < self.config.commit_resends_max
                        && !call.is_overdue()
                        && self.writer.may_commit(writer);
                    if again {
                        resolving.resends += 1;
                        sleep(resolving.backoff.next_pause()).await;
                        return Look::SendAgain;
                    }
                    if self.move_fence(commit, resolving.fence).await {
                        continue;
                    }
                }
                Err(error) => {
                    let aggregate_id = commit.aggregate_id;
                    warn!(%aggregate_id, error = %chain(&error), "look at a commit failed");
                }
            }
            sleep(resolving.backoff.next_pause()).await;
        }
    }

    /// What the ledger says of a commit at SERIAL; `None` when it may still be on its way.
    async fn look(&self, commit: &Commit, after: Version) -> Result<Option<Known>, ReadFailure> {
        let (ledger, id) = (&*self.ledger, commit.aggregate_id);
        let count = i32::try_from(commit.events.len()).unwrap_or(i32::MAX);
        let page = self.config.load_page_events.max(count);
        let mut tail = since(ledger, id, after, page).await?.tail;
        if tail.events.first().is_some_and(|first| first.version > after.next()) {
            tail = upwards(ledger, id, after.next(), page, Strength::Serial).await?.tail;
        }
        let at = tail.events.iter().position(|event| event.version == after.next());
        let Some(at) = at else {
            let moved = tail.fence != commit.fence;
            return Ok(moved.then_some(Known::FenceMoved(tail.fence)));
        };
        if tail.events[at].event_id != commit.events[0].event_id {
            return Ok(Some(Known::Lost));
        }
        let ours = tail.events[at].metadata.command_id;
        let mut events = tail.events.split_off(at);
        events.truncate(commit.events.len());
        events.retain(|event| event.metadata.command_id == ours);
        Ok(Some(Known::Found(events)))
    }

    /// Moves the fence that a commit rests on. `true` when the database answered: the fence is
    /// another one now, whoever moved it.
    async fn move_fence(&self, commit: &Commit, to: Fence) -> bool {
        let aggregate_id = commit.aggregate_id;
        match self.ledger.move_fence(aggregate_id, commit.fence, to).await {
            Ok(answer) => {
                METRICS.fence_moves.inc();
                debug!(%aggregate_id, applied = answer.applied, "fence moved");
                true
            }
            Err(error) => {
                warn!(%aggregate_id, error = %chain(&error), "moving the fence failed");
                false
            }
        }
    }
}

/// How far the resolution of an unknown outcome has come.
struct Resolving {
    backoff: Backoff,
    resends: u32,
    /// The value that the fence is moved to; fresh, so that it never takes an earlier one.
    fence: Fence,
}

impl Resolving {
    fn new(config: &EventStoreConfig) -> Self {
        Self { backoff: Backoff::new(config.backoff()), resends: 0, fence: Fence::fresh() }
    }
}

/// Pauses before another try; `false` when the caller's wait runs out meanwhile.
pub(crate) async fn pause(backoff: &mut Backoff, call: &Call) -> bool {
    let until = Instant::now() + backoff.next_pause();
    sleep_until(until.min(call.deadline())).await;
    !call.is_overdue()
}
