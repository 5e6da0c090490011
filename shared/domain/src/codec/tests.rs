use super::*;
use crate::event::{CommitPlace, EventMetadata, Timestamp, Version};
use crate::order::OrderEvent;
use crate::testing::{AGGREGATE_ID, NOW};
use uuid::Uuid;

fn confirmed() -> OrderEvent {
    OrderEvent::Confirmed { confirmed_at: NOW }
}

const CONFIRMED: &str = r#"{"confirmed_at":"2026-01-02T03:04:05.678Z"}"#;

#[test]
fn the_stored_text_is_the_content_without_the_tag() {
    assert_eq!(encode(&confirmed()).unwrap(), CONFIRMED);
    assert_eq!(decode::<OrderEvent>("OrderConfirmed", 1, CONFIRMED).unwrap(), confirmed());
}

#[test]
fn a_field_that_a_later_release_added_is_passed_over() {
    let text = r#"{"confirmed_at":"2026-01-02T03:04:05.678Z","confirmed_by":"ada"}"#;
    assert_eq!(decode::<OrderEvent>("OrderConfirmed", 1, text).unwrap(), confirmed());
}

#[test]
fn what_is_not_known_is_an_error_and_never_a_guess() {
    let refusal = |event_type, version, data| {
        decode::<OrderEvent>(event_type, version, data).expect_err("must not decode").to_string()
    };
    assert_eq!(refusal("OrderLost", 1, CONFIRMED), "decode OrderLost schema version 1");
    assert_eq!(refusal("OrderConfirmed", 1, "{}"), "decode OrderConfirmed schema version 1");
    assert_eq!(refusal("OrderConfirmed", 1, "{"), "decode OrderConfirmed schema version 1");
    assert_eq!(refusal("OrderConfirmed", 1, ""), "decode OrderConfirmed schema version 1");
    assert_eq!(
        refusal("OrderConfirmed", 2, CONFIRMED),
        "OrderConfirmed has schema version 2, this release reads up to 1"
    );
    assert_eq!(
        refusal("OrderConfirmed", 0, CONFIRMED),
        "OrderConfirmed has schema version 0, this release reads up to 1"
    );
}

#[test]
fn an_enum_that_is_not_tagged_as_stored_cannot_be_encoded() {
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Misnamed {
        Happened,
        Silent,
    }
    impl DomainEvent for Misnamed {
        fn kind(&self) -> crate::EventKind {
            match self {
                Self::Happened => crate::EventKind::new("SomethingHappened", 1),
                Self::Silent => crate::EventKind::new("Silent", 1),
            }
        }
    }
    assert!(encode(&Misnamed::Happened).is_err());
    assert_eq!(encode(&Misnamed::Silent).unwrap(), "null");
    assert_eq!(decode::<Misnamed>("Silent", 1, "null").unwrap(), Misnamed::Silent);
}

#[test]
fn a_recorded_event_keeps_its_envelope() {
    let recorded = RecordedEvent {
        event_id: Uuid::from_u128(1),
        aggregate_id: AGGREGATE_ID,
        aggregate_type: "order".into(),
        version: Version(3),
        event_type: "OrderConfirmed".into(),
        schema_version: 1,
        recorded_at: NOW,
        metadata: metadata(),
        payload: CONFIRMED.into(),
    };
    let decoded: EventEnvelope<OrderEvent> = decode_recorded(&recorded).unwrap();
    assert_eq!(decoded.payload, confirmed());
    assert_eq!(decoded.with_payload(CONFIRMED.to_owned()), recorded);
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
