use super::*;
use crate::aggregate::{Decision, DecisionContext, DomainError, RefusalKind};
use crate::event::Upcaster;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("never")]
pub(crate) struct Never;

impl DomainError for Never {
    const CODES: &'static [ErrorCode] = &[];

    fn code(&self) -> &'static str {
        "never"
    }

    fn kind(&self) -> RefusalKind {
        RefusalKind::WrongState
    }
}

/// An aggregate that is there for its events.
macro_rules! aggregate {
    ($name:ident, $event:ident, $of_type:literal, $topic:literal) => {
        #[derive(Debug, Clone, Default)]
        struct $name;

        impl Aggregate for $name {
            const TYPE: &'static str = $of_type;
            const TOPIC: &'static str = $topic;
            type Command = ();
            type Event = $event;
            type Error = Never;

            fn decide(&self, (): (), _: &DecisionContext) -> Decision<Self> {
                Ok($event::samples())
            }

            fn apply(&mut self, _: &$event) {}
        }
    };
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum DoorEvent {
    #[serde(rename = "DoorOpened")]
    Opened { by: String },
    #[serde(rename = "DoorClosed")]
    Closed,
}

impl DomainEvent for DoorEvent {
    const KINDS: &'static [EventKind] =
        &[EventKind::new("DoorOpened", 2), EventKind::new("DoorClosed", 1)];
    const UPCASTERS: &'static [Upcaster] = &[Upcaster {
        event_type: "DoorOpened",
        from: 1,
        upcast: |_| serde_json::json!({"by": "somebody"}),
    }];

    fn kind(&self) -> EventKind {
        Self::KINDS[usize::from(*self == Self::Closed)]
    }

    fn samples() -> Vec<Self> {
        vec![Self::Opened { by: "ada".into() }, Self::Closed]
    }
}

aggregate!(Door, DoorEvent, "door", "doors.events");
aggregate!(Gate, DoorEvent, "gate", "doors.events");
aggregate!(Spaced, DoorEvent, "a door", "spaced.events");

/// Defines an event enum whose serde attributes, listed kinds and samples are as told.
macro_rules! window_event {
    ($name:ident, [$($attribute:meta),*], $kinds:expr, $samples:expr) => {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])*
        enum $name {
            Opened { width: u8 },
            Closed {},
        }

        impl DomainEvent for $name {
            const KINDS: &'static [EventKind] = &$kinds;

            fn kind(&self) -> EventKind {
                match self {
                    Self::Opened { .. } => EventKind::new("Opened", 1),
                    Self::Closed {} => EventKind::new("Closed", 1),
                }
            }

            fn samples() -> Vec<Self> {
                $samples
            }
        }
    };
}

const BOTH: [EventKind; 2] = [EventKind::new("Opened", 1), EventKind::new("Closed", 1)];

window_event!(Untagged, [], BOTH, vec![Self::Opened { width: 1 }, Self::Closed {}]);
window_event!(
    Inside,
    [serde(tag = "type")],
    BOTH,
    vec![Self::Opened { width: 1 }, Self::Closed {}]
);
window_event!(
    Lower,
    [serde(tag = "type", content = "data", rename_all = "snake_case")],
    BOTH,
    vec![Self::Opened { width: 1 }, Self::Closed {}]
);
window_event!(
    NotListed,
    [serde(tag = "type", content = "data")],
    [EventKind::new("Opened", 1)],
    vec![Self::Opened { width: 1 }]
);
window_event!(
    NoSample,
    [serde(tag = "type", content = "data")],
    BOTH,
    vec![Self::Opened { width: 1 }]
);
window_event!(
    NoVariant,
    [serde(tag = "type", content = "data")],
    [EventKind::new("Opened", 1), EventKind::new("Closed", 1), EventKind::new("Painted", 1)],
    vec![Self::Opened { width: 1 }, Self::Closed {}]
);

aggregate!(UntaggedWindow, Untagged, "window", "windows.events");
aggregate!(InsideWindow, Inside, "window", "windows.events");
aggregate!(LowerWindow, Lower, "window", "windows.events");
aggregate!(NotListedWindow, NotListed, "window", "windows.events");
aggregate!(NoSampleWindow, NoSample, "window", "windows.events");
aggregate!(NoVariantWindow, NoVariant, "window", "windows.events");

/// Of these types; a constant, because a registration is.
macro_rules! registered {
    ($($of:ty),*) => {{
        const REGISTERED: Aggregates = Aggregates::new(&[$(AggregateType::of::<$of>()),*]);
        REGISTERED
    }};
}

#[track_caller]
fn refused(registered: Aggregates, expected: &str) {
    let error = registered.check().expect_err("must be refused");
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    let text = format!("{error}{}", cause.unwrap_or_default());
    assert!(text.contains(expected), "{text:?} does not say {expected:?}");
}

#[test]
fn a_complete_registration_gives_topics_and_kinds() {
    const DOORS: Aggregates = Aggregates::new(&[AggregateType::of::<Door>()]);
    DOORS.check().expect("complete");
    assert_eq!(DOORS.topics(), ["doors.events"]);
    assert_eq!(DOORS.topic_of("door"), Some("doors.events"));
    assert_eq!(DOORS.topic_of("window"), None);
    assert_eq!(DOORS.get("door").map(|door| door.kinds.len()), Some(2));
}

#[test]
fn names_and_topics_are_taken_once() {
    refused(registered!(Door, Door), "type door is registered twice");
    refused(registered!(Door, Gate), "topic doors.events is registered twice");
    refused(registered!(Spaced), "\"a door\" cannot be the type of an aggregate");
}

#[test]
fn an_enum_without_the_right_attributes_is_told_which() {
    let tagged = "needs #[serde(tag = \"type\", content = \"data\")]: Opened became {";
    refused(registered!(UntaggedWindow), tagged);
    refused(registered!(InsideWindow), tagged);
    refused(
        registered!(LowerWindow),
        "kind() calls an event Opened, serde calls it opened; add #[serde(rename = \"Opened\")]",
    );
}

#[test]
fn an_event_that_is_forgotten_somewhere_is_named() {
    refused(registered!(NotListedWindow), "aggregate window: KINDS does not list Closed");
    refused(registered!(NoSampleWindow), "aggregate window: samples() has no Closed");
    refused(registered!(NoVariantWindow), "KINDS lists Painted, which is no variant");
}

crate::events! {
    enum BellEvent, samples = bells, upcasters = [Upcaster {
        event_type: "BellRang",
        from: 1,
        upcast: |_| serde_json::json!({"loudly": true}),
    }];

    Rang = "BellRang" 2 {
        #[serde(default)]
        loudly: bool,
    }
    Fell = "BellFell" 1 {}
}

fn bells() -> Vec<BellEvent> {
    vec![BellEvent::Rang { loudly: false }, BellEvent::Fell {}]
}

aggregate!(Bell, BellEvent, "bell", "bells.events");

#[test]
fn events_of_one_list_are_complete() {
    registered!(Bell).check().expect("complete");
    assert_eq!(BellEvent::KINDS, [EventKind::new("BellRang", 2), EventKind::new("BellFell", 1)]);
    let read = codec::decode::<BellEvent>("BellRang", 1, "{}").expect("upcast");
    assert_eq!(read, BellEvent::Rang { loudly: true });
    let stored = codec::encode(&BellEvent::Fell {}).expect("encoded");
    assert_eq!(stored, "{}");
}

#[test]
fn older_data_goes_through_the_upcasters() {
    let read = |version| codec::decode::<DoorEvent>("DoorOpened", version, "{}");
    assert_eq!(read(1).expect("upcast"), DoorEvent::Opened { by: "somebody".into() });
    assert!(matches!(read(2), Err(CodecError::Decode { .. })));
    assert!(matches!(read(3), Err(CodecError::SchemaVersion { found: 3, known: 2, .. })));
}
