//! Events that a consumer cannot handle for a while, and how a process is told of them.
//!
//! Workers with test hooks read the file that `TEST_POISON` names before each event; a line of it is
//! one [`Poison`]. Without the file nothing is poisoned: it is taken away like a release that
//! cannot handle an event, replaced by one that can.

use crate::history::Fault;
use std::fmt;
use std::path::Path;
use uuid::Uuid;

/// What is poisoned, for one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// The consumer's stored name.
    pub consumer: String,
    /// Which events.
    pub events: Poisoned,
    /// What becomes of whoever handles one.
    pub effect: PoisonEffect,
}

/// Which events are poisoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poisoned {
    /// One in so many, by its id.
    Every(u32),
    /// All of a type.
    OfType(String),
    /// This one.
    One(Uuid),
}

/// What becomes of whoever handles a poisoned event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoisonEffect {
    /// The handler refuses it.
    Refuse,
    /// The target does not answer for it.
    Unreachable,
    /// The process ends.
    Abort,
}

/// The kind of the fault.
const KIND: &str = "poison";

impl Poison {
    /// Whether the event is meant.
    pub(crate) fn hits(&self, consumer: &str, event_id: Uuid, event_type: &str) -> bool {
        let is_event = match &self.events {
            Poisoned::Every(number) => event_id.as_u128() % u128::from(*number) == 0,
            Poisoned::OfType(name) => name == event_type,
            Poisoned::One(id) => *id == event_id,
        };
        self.consumer == consumer && is_event
    }

    /// The poison that a fault of a history brought, if it did.
    pub(crate) fn of_fault(fault: &Fault) -> Option<Self> {
        (fault.kind == KIND).then(|| Self::read(&fault.target)).flatten()
    }

    /// What [`fmt::Display`] wrote.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let consumer = words.next()?.to_owned();
        let events = match words.next()?.split_once('=')? {
            ("every", number) => Poisoned::Every(number.parse().ok()?),
            ("type", name) => Poisoned::OfType(name.to_owned()),
            ("event", id) => Poisoned::One(id.parse().ok()?),
            _ => return None,
        };
        let effect = match words.next()? {
            "refuse" => PoisonEffect::Refuse,
            "unreachable" => PoisonEffect::Unreachable,
            "abort" => PoisonEffect::Abort,
            _ => return None,
        };
        Some(Self { consumer, events, effect })
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.consumer)?;
        match &self.events {
            Poisoned::Every(number) => write!(f, "every={number}")?,
            Poisoned::OfType(name) => write!(f, "type={name}")?,
            Poisoned::One(id) => write!(f, "event={id}")?,
        }
        let effect = match self.effect {
            PoisonEffect::Refuse => "refuse",
            PoisonEffect::Unreachable => "unreachable",
            PoisonEffect::Abort => "abort",
        };
        write!(f, " {effect}")
    }
}

/// Poisons these events, and no others any more. The change is seen at once: the file appears whole.
pub fn set_poison(file: &Path, poison: &[Poison]) -> std::io::Result<()> {
    let lines: Vec<String> = poison.iter().map(|poison| format!("{poison}\n")).collect();
    let beside = file.with_extension("new");
    std::fs::write(&beside, lines.concat())?;
    std::fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for events in [
            Poisoned::Every(7),
            Poisoned::OfType("OrderCreated".into()),
            Poisoned::One(Uuid::nil()),
        ] {
            for effect in [PoisonEffect::Refuse, PoisonEffect::Unreachable, PoisonEffect::Abort] {
                let consumer = "orders@1".to_owned();
                let poison = Poison { consumer, events: events.clone(), effect };
                assert_eq!(Poison::read(&poison.to_string()), Some(poison));
            }
        }
        assert_eq!(Poison::read("orders@1 every=7"), None);
    }
}
