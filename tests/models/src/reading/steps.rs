//! What can happen in a state, and the outside world: the clock, the log, the scanner.

use super::{
    CHANGE, Keeps, LAST_ANNOUNCEMENT, LogRow, NEW, READERS, Reader, Reading, SAFETY_INTERVAL,
    State, Step, TO_CONFIRM, index, versions,
};
use stateright::{Model, Property};

impl Model for Reading {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        self.world_steps(state, steps);
        for reader in 0..READERS {
            self.reader_steps(state, reader, steps);
        }
        self.scanner_steps(state, steps);
        self.faults(state, steps);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Tick => state.tick(),
            Step::Announce(version, keeps) => state.announce(version, keeps),
            Step::Appear(version) => state.log[index(version)].is_visible = true,
            Step::Scan(version) => state.ring(version),
            Step::Take(reader) => self.take(&mut state, reader),
            Step::TakeOver(reader) => {
                state.left.takeovers -= 1;
                self.take(&mut state, reader);
            }
            Step::Follow(reader) => self.follow(&mut state, reader),
            Step::Read(reader) => state.read(reader),
            Step::Confirm(reader) => self.confirm(&mut state, reader),
            Step::Settle(reader) => self.settle(&mut state, reader),
            Step::SettleUnanswered(reader) => state.settle_unanswered(reader),
            Step::Handle(reader) => self.handle(&mut state, reader),
            Step::Flush(reader) => state.flush(reader),
            Step::Land(save) => self.land(&mut state, save),
            Step::Crash(reader) => {
                state.left.crashes -= 1;
                state.readers[reader] = Reader::default();
            }
        }
        self.forget_what_cannot_matter(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::properties::all(self)
    }
}

impl Reading {
    /// Nothing happens any more by itself, the scanner left out. What is on its way may never come.
    pub(super) fn is_read_through(&self, state: &State) -> bool {
        let mut steps = Vec::new();
        self.world_steps(state, &mut steps);
        for reader in 0..READERS {
            self.reader_steps(state, reader, &mut steps);
        }
        steps.is_empty()
    }

    pub(super) fn is_at_rest(&self, state: &State) -> bool {
        let mut steps = Vec::new();
        self.scanner_steps(state, &mut steps);
        steps.is_empty() && self.is_read_through(state)
    }

    /// What one process does by itself.
    fn reader_steps(&self, state: &State, number: usize, steps: &mut Vec<Step>) {
        let reader = &state.readers[number];
        if !reader.owns {
            // Only a slot that nobody works on is taken without being counted.
            let is_first = number == 0 || state.slot.owner.is_some();
            if is_first && !state.slot.owner.is_some_and(|owner| state.readers[owner].owns) {
                steps.push(Step::Take(number));
            }
            return;
        }
        if reader.streams[NEW].is_none() && state.now >= CHANGE {
            steps.push(Step::Follow(number));
        }
        if reader.streams.iter().flatten().any(|streams| streams.read_until < state.now) {
            steps.push(Step::Read(number));
        }
        match reader.settling {
            None if self.can_confirm(state, reader) => steps.push(Step::Confirm(number)),
            Some(settling) if self.is_settled(reader, settling.found) => {
                steps.push(Step::Settle(number));
            }
            None | Some(_) => {}
        }
        reader.lane_step(number, steps);
    }

    /// `design §4.8`: only what did not keep to the safety interval is left for the scanner here, so
    /// that it does not hide what the passes miss.
    fn scanner_steps(&self, state: &State, steps: &mut Vec<Step>) {
        if !self.scans || state.now + TO_CONFIRM > self.end {
            return;
        }
        for version in versions() {
            let row = &state.log[index(version)];
            let is_old = row.stamp.is_some_and(|stamp| state.now > stamp + SAFETY_INTERVAL);
            if !row.keeps_to_the_interval() && is_old && state.cursor < version {
                steps.push(Step::Scan(version));
            }
        }
    }

    /// The log and the clock.
    fn world_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for version in versions() {
            let row = &state.log[index(version)];
            match row.stamp {
                None if state.now <= LAST_ANNOUNCEMENT => {
                    steps.push(Step::Announce(version, Keeps::AtOnce));
                    steps.push(Step::Announce(version, Keeps::InTime));
                }
                Some(_) if !row.is_visible && row.keeps == Keeps::Late => {
                    steps.push(Step::Appear(version));
                }
                None | Some(_) => {}
            }
        }
        if self.may_tick(state) {
            steps.push(Step::Tick);
        }
    }

    /// The clock waits for the announcements, and for the scanner while there is time to read on.
    fn may_tick(&self, state: &State) -> bool {
        let now = state.now;
        let is_announced = state.log.iter().all(|row| row.stamp.is_some());
        let mut scans = Vec::new();
        self.scanner_steps(state, &mut scans);
        let is_scanned = now + TO_CONFIRM < self.end || scans.is_empty();
        now < self.end && (is_announced || now < LAST_ANNOUNCEMENT) && is_scanned
    }

    fn faults(&self, state: &State, steps: &mut Vec<Step>) {
        for version in versions() {
            let is_new = state.log[index(version)].stamp.is_none();
            if state.left.anomalies > 0 && is_new && state.now <= LAST_ANNOUNCEMENT {
                steps.push(Step::Announce(version, Keeps::Late));
                steps.push(Step::Announce(version, Keeps::Never));
            }
        }
        for (number, reader) in state.readers.iter().enumerate() {
            if reader.owns && state.left.crashes > 0 {
                steps.push(Step::Crash(number));
            }
            if state.slot.owner.is_some_and(|owner| owner != number) && state.left.takeovers > 0 {
                steps.push(Step::TakeOver(number));
            }
            let settling = reader.settling;
            let is_settled = settling.is_some_and(|work| self.is_settled(reader, work.found));
            if is_settled && state.left.lost_answers > 0 {
                steps.push(Step::SettleUnanswered(number));
            }
        }
        steps.extend((0..state.saves.len()).map(Step::Land));
    }
}

impl State {
    /// Time does not pass a row that keeps to the safety interval and cannot be seen.
    fn tick(&mut self) {
        self.now += 1;
        for row in &mut self.log {
            let is_due = row.stamp.is_some_and(|stamp| stamp + SAFETY_INTERVAL < self.now);
            row.is_visible |= is_due && row.keeps == Keeps::InTime;
        }
    }

    fn announce(&mut self, version: u8, keeps: Keeps) {
        let is_visible = keeps == Keeps::AtOnce;
        let row = LogRow { stamp: Some(self.now), is_visible, keeps };
        if !row.keeps_to_the_interval() {
            self.left.anomalies -= 1;
        }
        self.log[index(version)] = row;
    }

    /// The same row again, in time.
    fn ring(&mut self, version: u8) {
        let (stamp, keeps) = (Some(self.now), Keeps::InTime);
        self.log[index(version)] = LogRow { stamp, is_visible: false, keeps };
    }
}
