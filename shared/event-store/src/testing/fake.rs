//! The ledger in memory, with the conditions of the real statements and scripted faults.

use crate::ids::{AttemptId, Bucket, Counter, Fence, Spread, WriterId};
use crate::ledger::{
    Certificate, Commit, CommitAnswer, FenceAnswer, Heartbeat, Intent, Ledger, LedgerError,
    NextPage, Page, ReadFailure, StoredIntent, StoredWriter, Strength, Tail, WriterAnswer,
    WriterState,
};
use crate::testing::tables::{Late, Partition, Tables};
use async_trait::async_trait;
use kernel::{RecordedEvent, Version};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Read,
    SerialRead,
    Commit,
    MoveFence,
    Intent,
    Announce,
    Heartbeat,
    RemoveWriter,
    Certify,
    Writers,
    Intents,
}

/// Rows per page of what the ledger in memory reads in pages.
const PAGE_ROWS: usize = 2;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// As usual.
    None,
    /// Refused before it began.
    Refused,
    /// No certain answer, never carried out.
    Dropped,
    /// No certain answer, but carried out.
    Unanswered,
    /// No certain answer; carried out just before the n-th next touch of the partition by a
    /// lightweight transaction or a SERIAL read.
    Late(usize),
    /// Carried out at once, answered after a while.
    SlowAnswer(Duration),
    /// Carried out and answered after a while.
    Slow(Duration),
}

#[derive(Default)]
struct State {
    tables: Tables,
    requests: Vec<Op>,
    faults: HashMap<Op, VecDeque<Fault>>,
    always: HashMap<Op, Fault>,
}

/// The ledger in memory.
#[derive(Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, thiserror::Error)]
#[error("scripted fault {0:?} of {1:?}")]
struct Scripted(Fault, Op);

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next requests of this kind meet these faults, in order.
    pub(crate) fn script(&self, op: Op, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry(op).or_default().extend(faults);
    }

    /// All unscripted requests of this kind meet this fault from now on.
    pub(crate) fn always(&self, op: Op, fault: Fault) {
        self.lock().always.insert(op, fault);
    }

    /// No scripted faults any more.
    pub(crate) fn forget_scripts(&self) {
        self.lock().faults.clear();
    }

    /// The database answers nothing any more (or again).
    pub(crate) fn dark(&self, dark: bool) {
        let fault = if dark { Fault::Dropped } else { Fault::None };
        for op in [
            Op::Read,
            Op::SerialRead,
            Op::Commit,
            Op::MoveFence,
            Op::Intent,
            Op::Announce,
            Op::Heartbeat,
            Op::RemoveWriter,
            Op::Certify,
            Op::Writers,
            Op::Intents,
        ] {
            self.always(op, fault);
        }
    }

    /// Everything that is late lands now.
    pub(crate) fn land_everything(&self) {
        let mut state = self.lock();
        for (_, late) in std::mem::take(&mut state.tables.late) {
            state.tables.land(late);
        }
    }

    /// Stores events as another process would.
    pub(crate) fn store(&self, events: impl IntoIterator<Item = RecordedEvent>) {
        let mut state = self.lock();
        for event in events {
            let partition = state.tables.partitions.entry(event.aggregate_id).or_default();
            partition.rows.insert(event.version, event);
        }
    }

    pub(crate) fn set_fence(&self, id: Uuid, fence: Fence) {
        self.lock().tables.partitions.entry(id).or_default().fence = Some(fence);
    }

    pub(crate) fn declare_dead(&self, writer: WriterId) {
        let mut state = self.lock();
        state.tables.writers.get_mut(&writer).expect("a known writer").state = WriterState::Dead;
    }

    pub(crate) fn events(&self, id: Uuid) -> Vec<RecordedEvent> {
        let state = self.lock();
        state
            .tables
            .partitions
            .get(&id)
            .map_or_else(Vec::new, |p| p.rows.values().cloned().collect())
    }

    pub(crate) fn writers(&self) -> BTreeMap<WriterId, StoredWriter> {
        self.lock().tables.writers.clone()
    }

    pub(crate) fn intents(&self) -> Vec<Intent> {
        self.lock().tables.intents.clone()
    }

    pub(crate) fn outbox(&self) -> Vec<(Vec<RecordedEvent>, String)> {
        self.lock().tables.outbox.clone()
    }

    /// The distinct announced versions of an aggregate, ascending.
    pub(crate) fn announced_versions(&self, id: Uuid) -> Vec<u64> {
        let state = self.lock();
        let events = state.tables.outbox.iter().flat_map(|(events, _)| events);
        let mut versions: Vec<_> =
            events.filter(|e| e.aggregate_id == id).map(|e| e.version.0).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// How many requests of a kind there were since the last [`Fake::forget_requests`].
    pub(crate) fn count(&self, op: Op) -> usize {
        self.lock().requests.iter().filter(|request| **request == op).count()
    }

    pub(crate) fn requests(&self) -> Vec<Op> {
        let requests = self.lock().requests.clone();
        requests.into_iter().filter(|op| !matches!(op, Op::Heartbeat | Op::Writers)).collect()
    }

    pub(crate) fn forget_requests(&self) {
        self.lock().requests.clear();
    }

    /// Waits for a condition; looks again after each request. Panics when it does not come to hold
    /// within an hour, which under a paused clock is no time.
    #[track_caller]
    pub(crate) fn until(&self, holds: impl Fn(&Self) -> bool) -> impl Future<Output = ()> {
        let asked_at = Location::caller();
        let holds_at_last = async move {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        async move {
            if timeout(Duration::from_secs(3_600), holds_at_last).await.is_err() {
                panic!("what {asked_at} waits for does not come to hold");
            }
        }
    }

    /// Takes note of a request and gives the fault it meets, after the delay that is part of it.
    async fn begin(&self, op: Op) -> Result<Fault, LedgerError> {
        let fault = {
            let mut state = self.lock();
            state.requests.push(op);
            let scripted = state.faults.get_mut(&op).and_then(VecDeque::pop_front);
            scripted.or_else(|| state.always.get(&op).copied()).unwrap_or(Fault::None)
        };
        self.changed.notify_waiters();
        match fault {
            Fault::Refused => Err(LedgerError::NotDone(Arc::new(Scripted(fault, op)))),
            Fault::Dropped => Err(LedgerError::Unknown(Arc::new(Scripted(fault, op)))),
            Fault::Slow(delay) => {
                sleep(delay).await;
                Ok(fault)
            }
            _ => Ok(fault),
        }
    }

    /// The answer to a request that was carried out.
    async fn end<T>(&self, op: Op, fault: Fault, answer: T) -> Result<T, LedgerError> {
        self.changed.notify_waiters();
        match fault {
            Fault::Unanswered | Fault::Late(_) => {
                Err(LedgerError::Unknown(Arc::new(Scripted(fault, op))))
            }
            Fault::SlowAnswer(delay) => {
                sleep(delay).await;
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    async fn read(
        &self,
        id: Uuid,
        strength: Strength,
        choose: impl Fn(&Partition) -> Vec<RecordedEvent> + Send,
        shows_static_row: bool,
    ) -> Result<Tail, ReadFailure> {
        let op = match strength {
            Strength::Quorum => Op::Read,
            Strength::Serial => Op::SerialRead,
        };
        let fault = self.begin(op).await?;
        let tail = {
            let mut state = self.lock();
            if strength == Strength::Serial {
                state.tables.touch(id);
            }
            let partition = state.tables.partitions.entry(id).or_default();
            let events = choose(partition);
            let seen = shows_static_row || !events.is_empty();
            Tail { fence: partition.fence.filter(|_| seen), events }
        };
        Ok(self.end(op, fault, tail).await?)
    }
}

#[async_trait]
impl Ledger for Fake {
    async fn newest(&self, id: Uuid, limit: i32, strength: Strength) -> Result<Tail, ReadFailure> {
        let newest = |partition: &Partition| {
            let newest = partition.rows.values().rev().take(limit as usize).cloned();
            newest.collect::<Vec<_>>().into_iter().rev().collect()
        };
        self.read(id, strength, newest, true).await
    }

    async fn from(
        &self,
        id: Uuid,
        version: Version,
        limit: i32,
        strength: Strength,
    ) -> Result<Tail, ReadFailure> {
        let from = |partition: &Partition| {
            partition.rows.range(version..).take(limit as usize).map(|(_, e)| e.clone()).collect()
        };
        self.read(id, strength, from, false).await
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitAnswer, LedgerError> {
        let fault = self.begin(Op::Commit).await?;
        let answer = {
            let mut state = self.lock();
            state.tables.touch(commit.aggregate_id);
            if let Fault::Late(touches) = fault {
                state.tables.late.push((touches, Late::Commit(commit.clone())));
                let (fence, event_id, command_id) = (None, None, None);
                CommitAnswer { applied: false, fence, event_id, command_id }
            } else {
                state.tables.commit(commit)
            }
        };
        self.end(Op::Commit, fault, answer).await
    }

    async fn move_fence(
        &self,
        id: Uuid,
        from: Option<Fence>,
        to: Fence,
    ) -> Result<FenceAnswer, LedgerError> {
        let fault = self.begin(Op::MoveFence).await?;
        let answer = {
            let mut state = self.lock();
            state.tables.touch(id);
            if let Fault::Late(touches) = fault {
                state.tables.late.push((touches, Late::Fence(id, from, to)));
                FenceAnswer { applied: false, fence: None }
            } else {
                state.tables.move_fence(id, from, to)
            }
        };
        self.end(Op::MoveFence, fault, answer).await
    }

    async fn write_intent(&self, intent: &Intent) -> Result<(), LedgerError> {
        let fault = self.begin(Op::Intent).await?;
        self.lock().tables.intents.push(intent.clone());
        self.end(Op::Intent, fault, ()).await
    }

    async fn announce(&self, events: &[RecordedEvent], topic: &str) -> Result<(), LedgerError> {
        let fault = self.begin(Op::Announce).await?;
        self.lock().tables.outbox.push((events.to_vec(), topic.to_owned()));
        self.end(Op::Announce, fault, ()).await
    }

    async fn heartbeat(&self, beat: &Heartbeat) -> Result<WriterAnswer, LedgerError> {
        let fault = self.begin(Op::Heartbeat).await?;
        let answer = self.lock().tables.beat(beat);
        self.end(Op::Heartbeat, fault, answer).await
    }

    async fn certify(&self, certificate: &Certificate) -> Result<WriterAnswer, LedgerError> {
        let fault = self.begin(Op::Certify).await?;
        let answer = self.lock().tables.certify(certificate);
        self.end(Op::Certify, fault, answer).await
    }

    async fn writers(&self, page: Option<NextPage>) -> Result<Page<StoredWriter>, LedgerError> {
        let fault = self.begin(Op::Writers).await?;
        let rows = self.lock().tables.writers.values().copied().collect();
        self.end(Op::Writers, fault, paged(rows, page)).await
    }

    async fn intents(
        &self,
        writer: WriterId,
        bucket: Bucket,
        spread: Spread,
        page: Option<NextPage>,
    ) -> Result<Page<StoredIntent>, LedgerError> {
        let fault = self.begin(Op::Intents).await?;
        let rows = {
            let state = self.lock();
            let all = state.tables.intents.iter();
            let here = all.filter(|i| (i.writer, i.bucket, i.spread) == (writer, bucket, spread));
            let rows = here.map(|intent| StoredIntent {
                aggregate_id: intent.aggregate_id,
                after: intent.after,
                aggregate_type: intent.aggregate_type.to_owned(),
                topic: intent.topic.to_owned(),
            });
            // One row per aggregate, as it was written last.
            let by_key: BTreeMap<_, _> = rows.map(|row| (row.aggregate_id, row)).collect();
            by_key.into_values().collect()
        };
        self.end(Op::Intents, fault, paged(rows, page)).await
    }

    async fn remove_writer(
        &self,
        writer: WriterId,
        state: WriterState,
        counter: Counter,
        attempt: AttemptId,
    ) -> Result<bool, LedgerError> {
        let fault = self.begin(Op::RemoveWriter).await?;
        let gone = self.lock().tables.remove_writer(writer, state, counter, attempt);
        self.end(Op::RemoveWriter, fault, gone).await
    }
}

/// The page that begins where the last one ended.
fn paged<T>(rows: Vec<T>, page: Option<NextPage>) -> Page<T> {
    let from = page.map_or(0, |next| usize::from(next.0[0]));
    let more = rows.len() > from + PAGE_ROWS;
    let next = u8::try_from(from + PAGE_ROWS).expect("few rows");
    Page {
        rows: rows.into_iter().skip(from).take(PAGE_ROWS).collect(),
        next: more.then(|| NextPage([next].into())),
    }
}
