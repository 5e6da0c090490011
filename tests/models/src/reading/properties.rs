//! What must hold in every state, and what must be possible so that holding means something.

use super::{EVENTS, Faults, Keeps, LogRow, Reading, State, index, versions};
use stateright::Property;

/// P7: every event is handled.
pub(super) const SKIPPED: &str = "nothing is skipped at rest";
/// P7: what keeps to the safety interval is handled without the scanner.
const IN_TIME: &str = "what comes in time needs no scanner";
/// P9: an event takes effect after every earlier one of its aggregate.
pub(super) const ORDER: &str = "events take effect in order";
/// P10: before the checkpoint nothing is unhandled.
pub(super) const TRUTHFUL: &str = "the checkpoint is truthful";
/// P10: it never moves back.
pub(super) const FORWARD: &str = "the checkpoint never moves back";

pub(super) fn all(model: &Reading) -> Vec<Property<Reading>> {
    let mut properties = vec![
        Property::always(SKIPPED, |model: &Reading, state: &State| {
            usize::from(state.cursor) == EVENTS || !model.is_at_rest(state)
        }),
        Property::always(IN_TIME, |model: &Reading, state: &State| {
            state.unhandled().next().is_none() || !model.is_read_through(state)
        }),
        Property::always(ORDER, |_, state: &State| !state.is_out_of_order),
        Property::always(TRUTHFUL, |_, state: &State| {
            let checkpoint = state.slot.checkpoint;
            !state.unhandled().any(|stamp| {
                stamp < checkpoint.time && LogRow::generation(stamp) <= checkpoint.generation
            })
        }),
        Property::always(FORWARD, |_, state: &State| !state.slot.has_moved_back),
    ];
    properties.extend(sometimes(model.faults));
    properties
}

/// What the faults make possible.
fn sometimes(faults: Faults) -> Vec<Property<Reading>> {
    type Condition = fn(&Reading, &State) -> bool;
    let of = |count: u8, name, condition: Condition| {
        (count > 0).then(|| Property::sometimes(name, condition))
    };
    let possible = [
        of(1, "the checkpoint passes every event", |_, state| {
            state.log.iter().all(|row| passed(row, state))
        }),
        of(faults.takeovers, "two processes work on the slot", |_, state| {
            state.readers.iter().all(|reader| reader.owns && reader.lane.is_unflushed)
        }),
        of(faults.lost_answers, "a change of the slot lands late", |_, state| {
            state.saves.iter().any(|save| save.is_current && state.readers[save.reader].owns)
        }),
        of(faults.anomalies, "the checkpoint passes an event whose row never came", |_, state| {
            state.log.iter().any(|row| row.keeps == Keeps::Never && passed(row, state))
        }),
    ];
    possible.into_iter().flatten().collect()
}

fn passed(row: &LogRow, state: &State) -> bool {
    row.stamp.is_some_and(|stamp| stamp < state.slot.checkpoint.time)
}

impl State {
    /// Stamps of the rows that keep to the safety interval and whose event has no cursor.
    fn unhandled(&self) -> impl Iterator<Item = u8> + '_ {
        let rows = versions().filter(|version| *version > self.cursor);
        let rows = rows.map(|version| self.log[index(version)]);
        rows.filter(|row| row.keeps_to_the_interval()).filter_map(|row| row.stamp)
    }
}
