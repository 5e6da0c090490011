//! What tasks and processes do, and what may happen to them.

use super::{
    Answer, Append, BUCKETS, Hold, LIVES, Phase, Request, RowState, State, Step, VERSIONS,
};
use crate::Defect;
use stateright::{Model, Property};

impl Model for Append {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        self.steps(state, steps);
        self.faults(state, steps);
        // What nobody waits for may land at any time or never.
        let requests = state.requests.iter().enumerate();
        steps.extend(requests.map(|(number, _)| Step::Land(number)));
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Begin(task) => self.begin(&mut state, task),
            Step::MakeIntent(task) => self.make_intent(&mut state, task),
            Step::Send(task) | Step::SendAgain(task) => self.send(&mut state, task),
            Step::GiveUp(task) => self.give_up(&mut state, task),
            Step::Timeout(task) => self.timeout(&mut state, task),
            Step::Look(task) => self.look(&mut state, task),
            Step::MoveFence(task) => self.move_fence(&mut state, task),
            Step::Refresh(task) => self.refresh(&mut state, task),
            Step::Announce(task) => self.announce(&mut state, task),
            Step::Land(request) => self.land(&mut state, request),
            Step::Beat(process) => beat(&mut state, process),
            Step::Crash(process) => self.crash(&mut state, process),
            Step::Stall(process) => {
                state.left.stalls -= 1;
                state.processes[process].is_fresh = false;
            }
            Step::Rotate(process) => {
                state.left.rotations -= 1;
                let writer = state.processes[process].writer;
                state.rows[writer].bucket += 1;
            }
            Step::HangUp(task) => {
                state.forget(task);
                state.tasks[task].hold = None;
            }
            settling => self.settle(&mut state, &settling),
        }
        self.forget_what_cannot_matter(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::properties::all(self)
    }
}

impl Append {
    /// What happens by itself, sooner or later. A state without such a step is at rest.
    pub(super) fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        for task in 0..state.tasks.len() {
            self.task_steps(state, task, steps);
        }
        for (number, process) in state.processes.iter().enumerate() {
            let is_alive = state.rows[process.writer].state == RowState::Alive;
            let may_start_anew = process.writer % LIVES + 1 < LIVES;
            if process.is_running && !process.is_fresh && (is_alive || may_start_anew) {
                steps.push(Step::Beat(number));
            }
        }
        if !self.has(Defect::DeadWriterNeverSettled) {
            self.settler_steps(state, steps);
        }
    }

    fn task_steps(&self, state: &State, task: usize, steps: &mut Vec<Step>) {
        let Some(is_first) = self.has_turn(state, task) else { return };
        let process = &state.processes[self.process_of(task)];
        let may_send = process.is_fresh && state.tasks[task].sends < self.sends_max;
        match state.tasks[task].phase {
            Phase::Waiting if is_first => steps.push(Step::Begin(task)),
            Phase::Ready { after, .. } => {
                // `Appender::clear_to_send`
                let is_held = state.tasks[task]
                    .hold
                    .is_some_and(|hold| hold.writer == process.writer && hold.after <= after);
                if may_send && usize::from(after) < VERSIONS {
                    steps.push(if is_held { Step::Send(task) } else { Step::MakeIntent(task) });
                }
                steps.push(Step::GiveUp(task));
            }
            Phase::Sent { .. } => steps.push(Step::Timeout(task)),
            Phase::Unknown { looked: false, .. } => steps.push(Step::Look(task)),
            Phase::Unknown { looked: true, .. } => {
                // `Appender::look_up`
                if may_send {
                    steps.push(Step::SendAgain(task));
                }
                steps.push(Step::MoveFence(task));
            }
            Phase::Lost => steps.push(Step::Refresh(task)),
            Phase::Committed { .. } => steps.push(Step::Announce(task)),
            Phase::Waiting | Phase::Done | Phase::Gone => {}
        }
    }

    /// Whether the task is the next one of its process (`event-store/src/queue.rs`); `None` when its
    /// process is not there.
    fn has_turn(&self, state: &State, task: usize) -> Option<bool> {
        let process = self.process_of(task);
        let mut earlier = (0..task).filter(|earlier| self.process_of(*earlier) == process);
        let is_past = |phase| matches!(phase, Phase::Committed { .. } | Phase::Done | Phase::Gone);
        let is_first = earlier.all(|earlier| is_past(state.tasks[earlier].phase));
        state.processes[process].is_running.then_some(is_first)
    }

    fn faults(&self, state: &State, steps: &mut Vec<Step>) {
        for (number, process) in state.processes.iter().enumerate() {
            if !process.is_running {
                continue;
            }
            if state.left.crashes > 0 {
                steps.push(Step::Crash(number));
            }
            if state.left.stalls > 0 && process.is_fresh {
                steps.push(Step::Stall(number));
            }
            let next_bucket = usize::from(state.rows[process.writer].bucket) + 1;
            if state.left.rotations > 0 && next_bucket < BUCKETS {
                steps.push(Step::Rotate(number));
            }
        }
        for (number, task) in state.tasks.iter().enumerate() {
            let is_at_work = !matches!(task.phase, Phase::Waiting | Phase::Done | Phase::Gone);
            if self.has(Defect::AppendCancelledWithRequest) && is_at_work {
                steps.push(Step::HangUp(number));
            }
        }
        if state.left.settler_crashes > 0 {
            self.settler_faults(state, steps);
        }
    }

    /// `execute.rs`, `decide_and_commit`: the aggregate from the cache, else from the ledger.
    fn begin(&self, state: &mut State, task: usize) {
        let cached = state.processes[self.process_of(task)].cache.take();
        let (after, fence) = cached.unwrap_or((state.tail(), state.fence));
        self.decide(state, task, after, fence);
    }

    /// After a lost race: only what is in the ledger counts.
    fn refresh(&self, state: &mut State, task: usize) {
        let (after, fence) = (state.tail(), state.fence);
        self.decide(state, task, after, fence);
    }

    /// A command that the aggregate has seen gets its first answer again (`seen_commands.rs`).
    fn decide(&self, state: &mut State, task: usize, after: u8, fence: u8) {
        let known = &state.ledger[..usize::from(after)];
        if known.contains(&Some(self.command_of(task))) {
            state.answer(task, Answer::Done);
            state.finish(task);
            state.processes[self.process_of(task)].cache = Some((after, fence));
        } else {
            state.tasks[task].phase = Phase::Ready { after, fence };
        }
    }

    /// `append.rs`, `make_intent`, and `intents.rs`, `covers`.
    fn make_intent(&self, state: &mut State, task: usize) {
        let Phase::Ready { after, .. } = state.tasks[task].phase else { return };
        let writer = state.processes[self.process_of(task)].writer;
        let row = &mut state.rows[writer];
        let bucket = row.bucket;
        let intent = &mut row.intents[usize::from(bucket)];
        let covered = intent.filter(|covered| *covered <= after);
        if !self.has(Defect::IntentNotWritten) {
            *intent = Some(covered.unwrap_or(after));
        }
        state.tasks[task].hold = Some(Hold { writer, bucket, after: covered.unwrap_or(after) });
    }

    fn send(&self, state: &mut State, task: usize) {
        let (Phase::Ready { after, fence } | Phase::Unknown { after, fence, .. }) =
            state.tasks[task].phase
        else {
            return;
        };
        state.tasks[task].sends += 1;
        state.tasks[task].phase = Phase::Sent { after, fence };
        state.requests.push(Request { task, version: after + 1, fence, awaited: true });
    }

    /// `call.rs`: "not done" only while nothing is on its way, and then nothing will be.
    fn give_up(&self, state: &mut State, task: usize) {
        let Phase::Ready { after, fence } = state.tasks[task].phase else { return };
        state.processes[self.process_of(task)].cache = Some((after, fence));
        state.answer(task, Answer::NotDone);
        state.finish(task);
    }

    /// A commit reaches the ledger, whoever waits for it or not.
    fn land(&self, state: &mut State, request: usize) {
        let Request { task, version, fence, awaited } = state.requests.remove(request);
        let command = self.command_of(task);
        let stored = state.stored(version);
        let is_fenced_off = fence != state.fence && !self.has(Defect::NoFence);
        let is_applied = stored.is_none() && !is_fenced_off;
        if is_applied {
            state.ledger[usize::from(version) - 1] = Some(command);
        }
        if !awaited {
            return;
        }
        // `Appender::send`
        let after = version - 1;
        if is_applied {
            self.committed(state, task, version, fence);
        } else {
            state.tasks[task].phase = match stored {
                Some(found) if found == command => Phase::Unknown { after, fence, looked: false },
                Some(_) => Phase::Lost,
                None => Phase::Ready { after, fence: state.fence },
            };
        }
    }

    fn committed(&self, state: &mut State, task: usize, version: u8, fence: u8) {
        state.processes[self.process_of(task)].cache = Some((version, fence));
        state.tasks[task].phase = Phase::Committed { version };
        state.answer(task, Answer::Done);
    }

    fn timeout(&self, state: &mut State, task: usize) {
        let Phase::Sent { after, fence } = state.tasks[task].phase else { return };
        state.nobody_waits(task);
        match self.defect {
            Some(Defect::TimeoutIsFailure) => {
                state.answer(task, Answer::NotDone);
                state.finish(task);
            }
            Some(Defect::TimeoutIsSuccess) => self.committed(state, task, after + 1, fence),
            _ => state.tasks[task].phase = Phase::Unknown { after, fence, looked: false },
        }
    }

    /// `Appender::look`
    fn look(&self, state: &mut State, task: usize) {
        let Phase::Unknown { after, fence, .. } = state.tasks[task].phase else { return };
        match state.stored(after + 1) {
            Some(found) if found == self.command_of(task) => {
                self.committed(state, task, after + 1, fence);
            }
            Some(_) => state.tasks[task].phase = Phase::Lost,
            None if state.fence != fence => {
                state.tasks[task].phase = Phase::Ready { after, fence: state.fence };
            }
            None => state.tasks[task].phase = Phase::Unknown { after, fence, looked: true },
        }
    }

    fn move_fence(&self, state: &mut State, task: usize) {
        let Phase::Unknown { after, fence, .. } = state.tasks[task].phase else { return };
        if self.has(Defect::NoFence) {
            state.tasks[task].phase = Phase::Ready { after, fence };
            return;
        }
        if state.fence == fence {
            state.fence += 1;
        }
        state.tasks[task].phase = Phase::Unknown { after, fence, looked: false };
    }

    fn announce(&self, state: &mut State, task: usize) {
        let Phase::Committed { version } = state.tasks[task].phase else { return };
        state.outbox[usize::from(version) - 1] = Some(self.command_of(task));
        state.finish(task);
    }

    fn crash(&self, state: &mut State, process: usize) {
        state.left.crashes -= 1;
        let crashed = &mut state.processes[process];
        crashed.is_running = false;
        crashed.is_fresh = false;
        crashed.cache = None;
        for task in 0..state.tasks.len() {
            if self.process_of(task) == process && state.tasks[task].phase != Phase::Done {
                state.forget(task);
            }
        }
    }
}

impl State {
    fn answer(&mut self, task: usize, answer: Answer) {
        self.tasks[task].answer.get_or_insert(answer);
    }

    /// The task is done, and its bucket may close.
    fn finish(&mut self, task: usize) {
        self.tasks[task].phase = Phase::Done;
        self.tasks[task].hold = None;
    }

    /// Nobody works on the task any more; the writer's row still names its bucket.
    fn forget(&mut self, task: usize) {
        self.tasks[task].phase = Phase::Gone;
        self.nobody_waits(task);
    }

    fn nobody_waits(&mut self, task: usize) {
        for request in self.requests.iter_mut().filter(|request| request.task == task) {
            request.awaited = false;
        }
    }
}

/// `Keeper::beat_or_start_anew`
fn beat(state: &mut State, process: usize) {
    let process = &mut state.processes[process];
    if state.rows[process.writer].state == RowState::Alive {
        state.rows[process.writer].counter += 1;
    } else {
        process.writer += 1;
        state.rows[process.writer].state = RowState::Alive;
    }
    process.is_fresh = true;
}
