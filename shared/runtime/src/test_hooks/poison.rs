//! Events that cannot be handled while a file says so.
//!
//! The file that `TEST_POISON` names is read before each event; a missing one says nothing. A line is
//!
//! ```text
//! <consumer> every=<n> | type=<event type> | event=<event id> refuse | unreachable | abort
//! ```
//!
//! `every=<n>` means one event in so many, by its id.

/// What becomes of a poisoned event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// Its handler refuses it.
    Refuse,
    /// Its target does not answer.
    Unreachable,
}

/// What a test wants of this event; `None`: nothing. Ends the process when it is asked for that.
#[cfg(not(feature = "test-hooks"))]
#[must_use]
#[inline(always)]
pub const fn poison(_consumer: &str, _event_id: u128, _event_type: &str) -> Option<Poison> {
    None
}

/// What a test wants of this event; `None`: nothing. Ends the process when it is asked for that.
#[cfg(feature = "test-hooks")]
#[must_use]
pub fn poison(consumer: &str, event_id: u128, event_type: &str) -> Option<Poison> {
    let file = std::env::var_os("TEST_POISON")?;
    let lines = std::fs::read_to_string(file).ok()?;
    match lines.lines().find_map(|line| effect(line, consumer, event_id, event_type))? {
        "refuse" => Some(Poison::Refuse),
        "unreachable" => Some(Poison::Unreachable),
        "abort" => {
            tracing::warn!(consumer, event_type, "ending at a poisoned event as the test asked");
            std::process::abort();
        }
        other => panic!("TEST_POISON asks for {other:?}"),
    }
}

/// What a line wants of this event.
#[cfg(feature = "test-hooks")]
fn effect<'a>(line: &'a str, consumer: &str, event_id: u128, event_type: &str) -> Option<&'a str> {
    let mut words = line.split_whitespace();
    let is_consumer = words.next()? == consumer;
    let is_event = match words.next()?.split_once('=')? {
        ("every", number) => event_id.is_multiple_of(number.parse().ok()?),
        ("type", name) => name == event_type,
        ("event", id) => u128::from_str_radix(&id.replace('-', ""), 16) == Ok(event_id),
        _ => false,
    };
    words.next().filter(|_| is_consumer && is_event)
}
