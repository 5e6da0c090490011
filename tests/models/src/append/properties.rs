//! What must hold in every state, and what must be possible so that holding means something.

use super::{Answer, Append, Command, LIVES, Phase, RowState, State};
use stateright::Property;

/// P3: the versions are 1, 2, 3, …
pub(super) const NO_HOLE: &str = "versions have no hole";
/// P5: sent once or twice, it has one effect.
pub(super) const ONCE: &str = "a command takes effect once";
/// P1: an acknowledged command is in the ledger.
pub(super) const DONE: &str = "done is stored";
/// P6: "not done" is never said of a command that is in the ledger.
pub(super) const NOT_DONE: &str = "not done is not stored";
/// P14: an announcement without its event never exists.
pub(super) const ANNOUNCED: &str = "announced is stored";
/// P14: at rest every event is announced.
pub(super) const STORED: &str = "stored is announced at rest";
/// P15: every task and every dead writer comes to an end.
pub(super) const ENDS: &str = "everything ends";

pub(super) fn all(model: &Append) -> Vec<Property<Append>> {
    let mut properties = always();
    properties.extend(sometimes());
    if (0..model.tasks.len()).any(|task| !model.is_sent_once(model.command_of(task))) {
        // Of a command that two processes have at once, each speaks of its own sending only.
        properties.push(Property::sometimes(
            "refused by one process and done by the other",
            |model: &Append, state: &State| {
                let mut refused = answered(model, state, Answer::NotDone);
                refused.any(|command| state.has_stored(command))
            },
        ));
    }
    properties
}

fn always() -> Vec<Property<Append>> {
    vec![
        Property::always(NO_HOLE, |_, state: &State| {
            let stored = state.ledger.iter().take_while(|event| event.is_some()).count();
            stored == state.ledger.iter().flatten().count()
        }),
        Property::always(ONCE, |_, state: &State| {
            let events = state.ledger.iter().flatten();
            events.clone().all(|event| events.clone().filter(|other| *other == event).count() == 1)
        }),
        Property::always(DONE, |model: &Append, state: &State| {
            answered(model, state, Answer::Done).all(|command| state.has_stored(command))
        }),
        Property::always(NOT_DONE, |model: &Append, state: &State| {
            let refused = answered(model, state, Answer::NotDone);
            let mut sent_once = refused.filter(|command| model.is_sent_once(*command));
            sent_once.all(|command| !state.has_stored(command))
        }),
        Property::always(ANNOUNCED, |_, state: &State| {
            let mut rows = state.outbox.iter().zip(&state.ledger);
            rows.all(|(announced, stored)| announced.is_none() || announced == stored)
        }),
        Property::always(STORED, |model: &Append, state: &State| {
            state.outbox == state.ledger || !model.is_at_rest(state)
        }),
        Property::always(ENDS, |model: &Append, state: &State| {
            state.has_ended() || !model.is_at_rest(state)
        }),
    ]
}

fn sometimes() -> [Property<Append>; 4] {
    [
        Property::sometimes("a dead writer's event is announced for it", |_, state: &State| {
            let is_gone = state.tasks.iter().any(|task| task.phase == Phase::Gone);
            is_gone && state.rows.iter().any(|row| row.state == RowState::Absent) && {
                let announced = state.outbox.iter().flatten().count();
                let by_tasks = state.tasks.iter().filter(|task| task.phase == Phase::Done).count();
                announced > by_tasks
            }
        }),
        Property::sometimes("a process starts anew as another writer", |_, state: &State| {
            state.processes.iter().any(|process| process.writer % LIVES > 0)
        }),
        Property::sometimes("not done is said after a commit was sent", |_, state: &State| {
            let mut tasks = state.tasks.iter();
            tasks.any(|task| task.sends > 0 && task.answer == Some(Answer::NotDone))
        }),
        Property::sometimes(
            "every command is stored and announced",
            |model: &Append, state: &State| {
                model.tasks.iter().all(|(_, command)| state.outbox.contains(&Some(*command)))
            },
        ),
    ]
}

fn answered<'a>(
    model: &'a Append,
    state: &'a State,
    answer: Answer,
) -> impl Iterator<Item = Command> + 'a {
    let tasks = state.tasks.iter().zip(&model.tasks);
    tasks.filter(move |(task, _)| task.answer == Some(answer)).map(|(_, (_, command))| *command)
}

impl Append {
    fn is_sent_once(&self, command: Command) -> bool {
        self.tasks.iter().filter(|(_, other)| *other == command).count() == 1
    }

    /// Nothing happens any more unless something new goes wrong.
    fn is_at_rest(&self, state: &State) -> bool {
        let mut steps = Vec::new();
        self.steps(state, &mut steps);
        steps.is_empty()
    }
}

impl State {
    fn has_ended(&self) -> bool {
        let mut tasks = self.tasks.iter();
        let is_over = tasks.all(|task| matches!(task.phase, Phase::Done | Phase::Gone));
        let is_needed = |writer: usize| {
            self.processes.iter().any(|process| process.is_running && process.writer == writer)
        };
        let mut rows = self.rows.iter().enumerate();
        is_over && rows.all(|(writer, row)| row.state == RowState::Absent || is_needed(writer))
    }
}
