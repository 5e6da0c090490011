use super::*;
use crate::event::{CommitPlace, EventKind, EventMetadata, Timestamp, Version};
use crate::testing::tally::TallyEvent;
use crate::testing::{AGGREGATE_ID, NOW};
use uuid::Uuid;

fn added() -> TallyEvent {
    TallyEvent::Added { number: 7 }
}

const ADDED: &str = r#"{"number":7}"#;

#[test]
fn the_stored_text_is_the_content_without_the_tag() {
    assert_eq!(encode(&added()).unwrap(), ADDED);
    assert_eq!(decode::<TallyEvent>("TallyAdded", 1, ADDED).unwrap(), added());
}

#[test]
fn a_field_that_a_later_release_added_is_passed_over() {
    let text = r#"{"number":7,"by":"ada"}"#;
    assert_eq!(decode::<TallyEvent>("TallyAdded", 1, text).unwrap(), added());
}

#[test]
fn what_is_not_known_is_an_error_and_never_a_guess() {
    let refusal = |event_type, version, data| {
        decode::<TallyEvent>(event_type, version, data).expect_err("must not decode").to_string()
    };
    assert_eq!(refusal("TallyLost", 1, ADDED), "decode TallyLost schema version 1");
    assert_eq!(refusal("TallyAdded", 1, "{}"), "decode TallyAdded schema version 1");
    assert_eq!(refusal("TallyAdded", 1, "{"), "decode TallyAdded schema version 1");
    assert_eq!(refusal("TallyAdded", 1, ""), "decode TallyAdded schema version 1");
    for version in [0, 2] {
        assert_eq!(
            refusal("TallyAdded", version, ADDED),
            format!("TallyAdded has schema version {version}, this release reads up to 1")
        );
    }
}

#[test]
fn an_event_without_fields_is_stored_as_null() {
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Signal {
        Silent,
        Loud(),
    }
    impl DomainEvent for Signal {
        const KINDS: &'static [EventKind] =
            &[EventKind::new("Silent", 1), EventKind::new("Loud", 1)];

        fn kind(&self) -> EventKind {
            Self::KINDS[usize::from(*self == Self::Loud())]
        }

        fn samples() -> Vec<Self> {
            vec![Self::Silent, Self::Loud()]
        }
    }
    assert_eq!(encode(&Signal::Silent).unwrap(), "null");
    assert_eq!(decode::<Signal>("Silent", 1, "null").unwrap(), Signal::Silent);
    assert_eq!(encode(&Signal::Loud()).unwrap(), "[]");
}

#[test]
fn a_recorded_event_keeps_its_envelope() {
    let recorded = RecordedEvent {
        event_id: Uuid::from_u128(1),
        aggregate_id: AGGREGATE_ID,
        aggregate_type: "tally".into(),
        version: Version(3),
        event_type: "TallyAdded".into(),
        schema_version: 1,
        recorded_at: NOW,
        metadata: metadata(),
        payload: ADDED.into(),
    };
    let decoded: EventEnvelope<TallyEvent> = decode_recorded(&recorded).unwrap();
    assert_eq!(decoded.payload, added());
    assert_eq!(decoded.with_payload(ADDED.to_owned()), recorded);
}

fn metadata() -> EventMetadata {
    EventMetadata {
        command_id: Uuid::from_u128(2),
        fingerprint: "ab".repeat(32),
        causation_id: Uuid::from_u128(3),
        correlation_id: Uuid::from_u128(4),
        actor: None,
        trace_parent: None,
        commit: CommitPlace { index: 0, count: 1 },
    }
}

#[test]
fn metadata_is_stored_as_it_always_was() {
    let text = concat!(
        r#"{"command_id":"00000000-0000-0000-0000-000000000002","fingerprint":"#,
        r#""abababababababababababababababababababababababababababababababab","#,
        r#""causation_id":"00000000-0000-0000-0000-000000000003","#,
        r#""correlation_id":"00000000-0000-0000-0000-000000000004","#,
        r#""commit":{"index":0,"count":1}}"#,
    );
    assert_eq!(serde_json::to_string(&metadata()).unwrap(), text);
    assert_eq!(serde_json::from_str::<EventMetadata>(text).unwrap(), metadata());
}

#[test]
fn a_timestamp_has_three_digits_after_the_second_in_utc() {
    for (milliseconds, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_767_323_045_600, "2026-01-02T03:04:05.600Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(Timestamp(milliseconds).to_string(), text);
        assert_eq!(Timestamp::parse_rfc3339(text), Some(Timestamp(milliseconds)));
    }
}

#[test]
fn a_timestamp_is_read_from_any_offset_and_cut_to_milliseconds() {
    let read = Timestamp::parse_rfc3339;
    assert_eq!(read("2026-01-02T04:04:05.678999+01:00"), Some(NOW));
    assert_eq!(read("1969-12-31T23:59:59.9999Z"), Some(Timestamp(-1)));
    for text in ["", "2026-01-02", "2026-01-02 03:04", "2026-13-02T03:04:05Z", "1767323045678"] {
        assert_eq!(read(text), None, "{text:?}");
    }
}

#[test]
fn a_timestamp_outside_four_digit_years_is_not_written() {
    for milliseconds in [253_402_300_800_000, -62_167_219_200_001, i64::MAX, i64::MIN] {
        assert!(serde_json::to_string(&Timestamp(milliseconds)).is_err(), "{milliseconds}");
        assert_eq!(Timestamp(milliseconds).to_string(), format!("{milliseconds}ms"));
    }
}
