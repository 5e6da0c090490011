//! The life of a command in its own task: load, decide, append, answer, announce.
//!
//! The task is detached from its caller: whoever hangs up, or stops waiting, does not stop it. It
//! ends when its commit is announced, or when it is certain that there is none.

use crate::append::{Append, Hold, Landed, NotDone, pause};
use crate::call::Call;
use crate::command::{CommandRequest, Outcome};
use crate::decide::{Verdict, accepted, decide};
use crate::error::ExecuteError;
use crate::load::{LoadError, load, refresh};
use crate::metrics::METRICS;
use crate::queue::Turn;
use crate::sendings::Sending;
use crate::state::Loaded;
use crate::store::Shared;
use kernel::{Aggregate, RecordedEvent};
use runtime::test_hooks::crash_point;
use runtime::{Backoff, chain, traces};
use std::sync::Arc;
use tokio::sync::oneshot;
use tracing::{Instrument, debug};

/// What a caller gets.
pub(crate) type Answer<A> = Result<Outcome, ExecuteError<<A as Aggregate>::Error>>;

/// One command at work.
pub(crate) struct Execution<A: Aggregate> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) call: Arc<Call>,
    pub(crate) request: CommandRequest<A>,
    pub(crate) sending: Sending,
}

/// How deciding and committing ended.
enum Decided<A: Aggregate> {
    /// These events are facts.
    Committed(Arc<[RecordedEvent]>),
    /// Nothing was committed.
    Answered(Answer<A>),
}

impl<A: Aggregate> Execution<A> {
    /// Runs the command. The answer goes out as soon as it is certain; the announcement follows.
    pub(crate) async fn run(mut self, turn: Turn, answer: oneshot::Sender<Answer<A>>) {
        let mut hold = None;
        let append = traces::step("append", self.request.aggregate_id);
        let decided = self.decide_and_commit(&mut hold).instrument(append).await;
        // The outcome is certain: another sending of the command finds it.
        self.sending.end();
        match decided {
            Decided::Answered(result) => self.answer(answer, result),
            Decided::Committed(events) => {
                crash_point("append.committed");
                let aggregate_id = self.request.aggregate_id;
                debug!(%aggregate_id, events = events.len(), "committed");
                let announcer = &self.shared.announcer;
                let ticket = announcer.committed(self.request.aggregate_id);
                self.answer(answer, Ok(accepted(self.request.aggregate_id, &events)));
                crash_point("append.answered");
                // The next command of the aggregate need not wait for the announcement.
                drop(turn);
                let announce = traces::step("announce", self.request.aggregate_id);
                announcer.announce(ticket, &events, A::TOPIC).instrument(announce).await;
                crash_point("append.announced");
            }
        }
        // Only now may the intent's bucket close.
        drop(hold);
    }

    fn answer(&self, to: oneshot::Sender<Answer<A>>, answer: Answer<A>) {
        if to.send(answer).is_err() {
            let (aggregate_id, command_id) = (self.request.aggregate_id, self.request.command_id);
            debug!(%aggregate_id, %command_id, "nobody waits for the answer any more");
        }
    }

    async fn decide_and_commit(&self, hold: &mut Option<Hold>) -> Decided<A> {
        let cache = &self.shared.cache;
        let mut loaded = match cache.take::<A>(self.request.aggregate_id).await {
            Some(loaded) => loaded,
            None => match self.load().await {
                Ok(loaded) => loaded,
                Err(error) => return Decided::Answered(Err(error)),
            },
        };
        let decided = self.until_certain(&mut loaded, hold).await;
        // What cannot be read again is not kept either.
        if !matches!(decided, Decided::Answered(Err(ExecuteError::Corrupt { .. }))) {
            cache.put(loaded).await;
        }
        decided
    }

    /// Decides and commits, again after each lost race, until one outcome is certain.
    async fn until_certain(&self, loaded: &mut Loaded<A>, hold: &mut Option<Hold>) -> Decided<A> {
        let config = &self.shared.config;
        let mut conflicts = Backoff::new(config.backoff());
        // Only an applied commit may rest on what is cached.
        let mut confirmed = false;
        let mut gave_up = false;
        loop {
            let now = (self.shared.clock)();
            let (events, payloads) = match decide(loaded, &self.request, now, config) {
                Verdict::Replay(outcome) => return Decided::Answered(Ok(outcome)),
                Verdict::Events(..) if gave_up => {
                    let (attempts, version) = (conflicts.attempts(), loaded.version);
                    return Decided::Answered(Err(ExecuteError::Conflict { attempts, version }));
                }
                Verdict::Events(events, payloads) => (events, payloads),
                Verdict::Refused(error) if confirmed => return Decided::Answered(Err(error)),
                Verdict::Nothing if confirmed => {
                    return Decided::Answered(Ok(self.nothing(loaded)));
                }
                Verdict::Refused(_) | Verdict::Nothing => {
                    if let Err(error) = self.refresh(loaded).await {
                        return Decided::Answered(Err(error));
                    }
                    confirmed = true;
                    continue;
                }
            };
            match self.commit(loaded, hold, &events).await {
                Landed::Applied { fence } => {
                    loaded.fence = fence;
                    return self.committed(loaded, events, &payloads);
                }
                Landed::Found { events } => return self.found(loaded, events).await,
                Landed::NotDone { fence, why } => {
                    loaded.fence = fence;
                    return Decided::Answered(Err(self.not_done(loaded, why)));
                }
                Landed::Lost => METRICS.conflicts.inc(),
            }
            let in_time = pause(&mut conflicts, &self.call).await;
            // The winner may have been another sending of this very command, so it is decided once
            // more even when it will not be sent again.
            gave_up = !in_time || conflicts.attempts() > config.conflict_retries_max;
            if let Err(error) = self.refresh(loaded).await {
                return Decided::Answered(Err(error));
            }
            confirmed = true;
        }
    }

    async fn commit(
        &self,
        loaded: &Loaded<A>,
        hold: &mut Option<Hold>,
        events: &Arc<[RecordedEvent]>,
    ) -> Landed {
        let append = Append {
            aggregate_id: loaded.aggregate_id,
            aggregate_type: A::TYPE,
            topic: A::TOPIC,
            after: loaded.version,
            fence: loaded.fence,
            events: Arc::clone(events),
        };
        self.shared.appender.append(&self.call, hold, &append).await
    }

    /// The events as they were sent are facts.
    fn committed(
        &self,
        loaded: &mut Loaded<A>,
        events: Arc<[RecordedEvent]>,
        payloads: &[A::Event],
    ) -> Decided<A> {
        for (event, payload) in events.iter().zip(payloads) {
            // Invariant: they were recorded as the versions after the one that was decided upon.
            if loaded.apply(event, payload).is_err() {
                debug_assert!(false, "recorded events follow on the loaded version");
            }
        }
        Decided::Committed(events)
    }

    /// An earlier sending landed: what is stored counts, and is to be announced, whoever sent it.
    async fn found(&self, loaded: &mut Loaded<A>, events: Vec<RecordedEvent>) -> Decided<A> {
        if loaded.fold(&events).is_err() {
            // They are facts that this process cannot fold; the next command says so.
            *loaded = Loaded::new(loaded.aggregate_id);
        }
        Decided::Committed(events.into())
    }

    fn nothing(&self, loaded: &Loaded<A>) -> Outcome {
        Outcome {
            aggregate_id: loaded.aggregate_id,
            version: loaded.version,
            events: Vec::new(),
            replayed: false,
        }
    }

    async fn load(&self) -> Result<Loaded<A>, ExecuteError<A::Error>> {
        let (ledger, page) = (&*self.shared.ledger, self.shared.config.load_page_events);
        let mut backoff = Backoff::new(self.shared.config.backoff());
        loop {
            match load(ledger, self.request.aggregate_id, page).await {
                Ok(loaded) => return Ok(loaded),
                Err(error) => self.pause_or_fail(error, &mut backoff, "load the aggregate").await?,
            }
        }
    }

    async fn refresh(&self, loaded: &mut Loaded<A>) -> Result<(), ExecuteError<A::Error>> {
        let (ledger, page) = (&*self.shared.ledger, self.shared.config.load_page_events);
        let mut backoff = Backoff::new(self.shared.config.backoff());
        loop {
            match refresh(ledger, loaded, page).await {
                Ok(()) => return Ok(()),
                Err(error) => self.pause_or_fail(error, &mut backoff, "read the tail").await?,
            }
        }
    }

    /// After a failed read: a pause before the next try, or the error for the caller.
    async fn pause_or_fail(
        &self,
        error: LoadError,
        backoff: &mut Backoff,
        doing: &'static str,
    ) -> Result<(), ExecuteError<A::Error>> {
        let aggregate_id = self.request.aggregate_id;
        match error {
            LoadError::Database(error) => {
                debug!(%aggregate_id, error = %chain(&error), "read failed");
                if pause(backoff, &self.call).await {
                    return Ok(());
                }
                Err(ExecuteError::Unavailable { doing, source: Some(error) })
            }
            LoadError::OtherType(found) => Err(ExecuteError::OtherType { found }),
            LoadError::Corrupt(source) => Err(ExecuteError::Corrupt { aggregate_id, source }),
        }
    }

    fn not_done(&self, loaded: &Loaded<A>, why: NotDone) -> ExecuteError<A::Error> {
        match why {
            NotDone::Unavailable { doing, source } => ExecuteError::Unavailable { doing, source },
            NotDone::FenceKeepsMoving { attempts } => {
                ExecuteError::Conflict { attempts, version: loaded.version }
            }
        }
    }
}
