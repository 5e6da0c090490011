//! Rules, draws, and what clients are told.

use super::*;

fn rule(json: &str) -> FaultRule {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[test]
fn a_rule_befalls_as_many_lwts_of_its_table_as_it_says() {
    let faults = Faults::new(1);
    assert_eq!(faults.take_lwt("shop", "event_store"), None);
    faults
        .add(rule(r#"{"kind":"lwt_applied_timeout","table":"event_store","count":2}"#))
        .expect("a sound rule");
    let fault = LwtFault::AppliedTimeout { answer: Answer::WriteTimeout, delay: Duration::ZERO };
    assert_eq!(faults.take_lwt("shop", "slots"), None);
    assert_eq!(faults.take_lwt("shop", "event_store"), Some(fault));
    assert_eq!(faults.report().pending[0].count, 1);
    assert_eq!(faults.take_lwt("shop", "event_store"), Some(fault));
    assert_eq!(faults.take_lwt("shop", "event_store"), None);
    assert_eq!(faults.report().fired.lwt_applied_timeout, 2);
}

#[test]
fn an_lwt_applied_later_waits_for_its_delay_or_for_a_touch() {
    for (fields, delay, on_touch) in [
        ("", None, true),
        (r#","delay_ms":50"#, Some(50), false),
        (r#","delay_ms":50,"on_touch":true"#, Some(50), true),
    ] {
        let faults = Faults::new(1);
        let text =
            format!(r#"{{"kind":"lwt_applied_later","table":"a.t","answer":"silence"{fields}}}"#);
        faults.add(rule(&text)).expect("a sound rule");
        assert_eq!(faults.take_lwt("b", "t"), None, "{text}");
        let expected = LwtFault::AppliedLater {
            answer: Answer::Silence,
            delay: delay.map(Duration::from_millis),
            on_touch,
        };
        assert_eq!(faults.take_lwt("a", "t"), Some(expected), "{text}");
        assert_eq!(faults.report().later, Later { waiting: 1, applied: 0, refused: 0 });
        faults.later_done(true);
        assert_eq!(faults.report().later, Later { waiting: 0, applied: 1, refused: 0 });
    }
}

#[test]
fn draws_follow_the_seed() {
    let pattern = |seed| {
        let faults = Faults::new(seed);
        faults
            .add(rule(r#"{"kind":"lwt_applied_late","count":1000,"probability":0.5}"#))
            .expect("a sound rule");
        (0..64).map(|_| faults.take_lwt("k", "t").is_some()).collect::<Vec<_>>()
    };
    assert_eq!(pattern(7), pattern(7));
    assert_ne!(pattern(7), pattern(8));
    assert!(pattern(7).contains(&true) && pattern(7).contains(&false));
}

#[test]
fn senseless_rules_are_refused() {
    let faults = Faults::new(1);
    for json in [
        r#"{"kind":"lwt_applied_late","count":0}"#,
        r#"{"kind":"lwt_applied_late","probability":0}"#,
        r#"{"kind":"lwt_applied_late","probability":1.5}"#,
        r#"{"kind":"lwt_applied_late","delay_ms":600001}"#,
        r#"{"kind":"lwt_applied_late","on_touch":true}"#,
        r#"{"kind":"lwt_applied_later","on_touch":false}"#,
    ] {
        assert!(faults.add(rule(json)).is_err(), "{json} was accepted");
    }
    assert!(serde_json::from_str::<FaultRule>(r#"{"kind":"x"}"#).is_err());
    assert!(serde_json::from_str::<FaultRule>(r#"{"kind":"lwt_applied_late","x":1}"#).is_err());
    assert_eq!(faults.report().pending, []);
}

#[tokio::test]
async fn timeouts_carry_the_serial_consistency() {
    let error = Answer::WriteTimeout.give(Some(consistency::LOCAL_SERIAL)).await;
    assert_eq!(
        error.kind,
        ErrorKind::WriteTimeout {
            consistency: consistency::LOCAL_SERIAL,
            received: 0,
            block_for: 1,
            write_type: "CAS"
        }
    );
    let error = Answer::CasUnknown.give(None).await;
    assert_eq!(
        error.kind,
        ErrorKind::CasUnknown { consistency: consistency::SERIAL, received: 0, block_for: 1 }
    );
}
