//! A process's own connection to the ledger in memory, so that one process among several can die or
//! stand still at a chosen request.

use crate::ids::{AttemptId, Bucket, Counter, Fence, Spread, WriterId};
use crate::ledger::{
    Certificate, Commit, CommitAnswer, FenceAnswer, Heartbeat, Intent, Ledger, LedgerError,
    NextPage, Page, ReadFailure, StoredIntent, StoredWriter, Strength, Tail, WriterAnswer,
    WriterState,
};
use crate::testing::fake::{Fake, Op};
use async_trait::async_trait;
use kernel::{RecordedEvent, Version};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use uuid::Uuid;

/// When something happens to the process, relative to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The request is not sent.
    Before,
    /// The request is carried out; its answer does not arrive.
    After,
}

/// What a process is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Everything waits, as after SIGSTOP.
    Stopped,
    /// Nothing is ever sent or received again.
    Dead,
}

/// The connection of one process.
pub(crate) struct Wire {
    fake: Arc<Fake>,
    life: watch::Sender<Life>,
    /// At the n-th next request of this kind the process takes this course.
    fate: Mutex<Option<(Op, usize, When, Life)>>,
}

impl Wire {
    pub(crate) fn new(fake: &Arc<Fake>) -> Arc<Self> {
        let life = watch::channel(Life::Running).0;
        Arc::new(Self { fake: Arc::clone(fake), life, fate: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Op, usize, When, Life)>> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn dies_at(&self, op: Op, nth: usize, when: When) {
        *self.lock() = Some((op, nth, when, Life::Dead));
    }

    pub(crate) fn stops_at(&self, op: Op, when: When) {
        *self.lock() = Some((op, 1, when, Life::Stopped));
    }

    pub(crate) fn die(&self) {
        self.life.send_replace(Life::Dead);
    }

    pub(crate) fn stop(&self) {
        self.life.send_replace(Life::Stopped);
    }

    pub(crate) fn resume(&self) {
        self.life.send_if_modified(|life| {
            let stopped = *life == Life::Stopped;
            *life = if stopped { Life::Running } else { *life };
            stopped
        });
    }

    pub(crate) fn is_running(&self) -> bool {
        *self.life.borrow() == Life::Running
    }

    async fn running(&self) {
        let mut life = self.life.subscribe();
        let running = life.wait_for(|life| *life == Life::Running).await;
        running.expect("the sender is in self");
    }

    /// Meets the process's fate when this is the request and the moment for it.
    fn meet(&self, op: Op, when: When) {
        let mut fate = self.lock();
        let Some((at, nth, moment, life)) = &mut *fate else { return };
        if *at != op || *moment != when {
            return;
        }
        *nth -= 1;
        if *nth == 0 {
            self.life.send_replace(*life);
            *fate = None;
        }
    }

    async fn send<T>(&self, op: Op, request: impl Future<Output = T>) -> T {
        self.meet(op, When::Before);
        self.running().await;
        let answer = request.await;
        self.meet(op, When::After);
        self.running().await;
        answer
    }
}

fn read(strength: Strength) -> Op {
    match strength {
        Strength::Quorum => Op::Read,
        Strength::Serial => Op::SerialRead,
    }
}

#[async_trait]
impl Ledger for Wire {
    async fn newest(&self, id: Uuid, limit: i32, strength: Strength) -> Result<Tail, ReadFailure> {
        self.send(read(strength), self.fake.newest(id, limit, strength)).await
    }

    async fn from(
        &self,
        id: Uuid,
        version: Version,
        limit: i32,
        strength: Strength,
    ) -> Result<Tail, ReadFailure> {
        self.send(read(strength), self.fake.from(id, version, limit, strength)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitAnswer, LedgerError> {
        self.send(Op::Commit, self.fake.commit(commit)).await
    }

    async fn move_fence(
        &self,
        id: Uuid,
        from: Option<Fence>,
        to: Fence,
    ) -> Result<FenceAnswer, LedgerError> {
        self.send(Op::MoveFence, self.fake.move_fence(id, from, to)).await
    }

    async fn write_intent(&self, intent: &Intent) -> Result<(), LedgerError> {
        self.send(Op::Intent, self.fake.write_intent(intent)).await
    }

    async fn announce(&self, events: &[RecordedEvent], topic: &str) -> Result<(), LedgerError> {
        self.send(Op::Announce, self.fake.announce(events, topic)).await
    }

    async fn heartbeat(&self, beat: &Heartbeat) -> Result<WriterAnswer, LedgerError> {
        self.send(Op::Heartbeat, self.fake.heartbeat(beat)).await
    }

    async fn certify(&self, certificate: &Certificate) -> Result<WriterAnswer, LedgerError> {
        self.send(Op::Certify, self.fake.certify(certificate)).await
    }

    async fn writers(&self, page: Option<NextPage>) -> Result<Page<StoredWriter>, LedgerError> {
        self.send(Op::Writers, Ledger::writers(&*self.fake, page)).await
    }

    async fn intents(
        &self,
        writer: WriterId,
        bucket: Bucket,
        spread: Spread,
        page: Option<NextPage>,
    ) -> Result<Page<StoredIntent>, LedgerError> {
        self.send(Op::Intents, Ledger::intents(&*self.fake, writer, bucket, spread, page)).await
    }

    async fn remove_writer(
        &self,
        writer: WriterId,
        state: WriterState,
        counter: Counter,
        attempt: AttemptId,
    ) -> Result<bool, LedgerError> {
        let removal = self.fake.remove_writer(writer, state, counter, attempt);
        self.send(Op::RemoveWriter, removal).await
    }
}
