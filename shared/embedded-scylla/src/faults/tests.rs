//! Rules, draws, and what clients are told.

use super::*;
use crate::error::ErrorKind;
use crate::protocol::consistency;

fn touched<'a>(keyspace: &'a str, table: &'a str) -> Touched<'a> {
    Touched { keyspace, table, is_logged: false, is_system: false }
}

fn take(faults: &Faults, statement: StatementKind, table: Touched<'_>) -> Option<Fault> {
    faults.take(statement, std::iter::once(table))
}

fn take_lwt(faults: &Faults, keyspace: &str, table: &str) -> Option<Fault> {
    take(faults, StatementKind::Lwt, touched(keyspace, table))
}

fn rule(json: &str) -> FaultRule {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[test]
fn a_rule_befalls_as_many_lwts_of_its_table_as_it_says() {
    let faults = Faults::new(1);
    assert_eq!(take_lwt(&faults, "shop", "event_store"), None);
    faults
        .add(rule(r#"{"kind":"lwt_applied_timeout","table":"event_store","count":2}"#))
        .expect("a sound rule");
    let fault = Fault::Applied { answer: Answer::WriteTimeout, delay: Duration::ZERO };
    assert_eq!(take_lwt(&faults, "shop", "slots"), None);
    assert_eq!(take_lwt(&faults, "shop", "event_store"), Some(fault));
    assert_eq!(faults.report().pending[0].count, 1);
    assert_eq!(take_lwt(&faults, "shop", "event_store"), Some(fault));
    assert_eq!(take_lwt(&faults, "shop", "event_store"), None);
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
        assert_eq!(take_lwt(&faults, "b", "t"), None, "{text}");
        let expected = Fault::Later {
            answer: Answer::Silence,
            delay: delay.map(Duration::from_millis),
            on_touch,
        };
        assert_eq!(take_lwt(&faults, "a", "t"), Some(expected), "{text}");
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
        (0..64).map(|_| take_lwt(&faults, "k", "t").is_some()).collect::<Vec<_>>()
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
        r#"{"kind":"lwt_applied_timeout","statement":"write"}"#,
        r#"{"kind":"lwt_applied_timeout","answer":"read_timeout"}"#,
        r#"{"kind":"write_applied_timeout","answer":"cas_unknown"}"#,
        r#"{"kind":"write_applied_timeout","statement":"read"}"#,
        r#"{"kind":"read_timeout","answer":"write_timeout"}"#,
        r#"{"kind":"slow"}"#,
        r#"{"kind":"slow","delay_ms":1,"answer":"silence"}"#,
        r#"{"kind":"overloaded","answer":"silence"}"#,
        r#"{"kind":"log_rows_delayed"}"#,
        r#"{"kind":"log_rows_permuted"}"#,
        r#"{"kind":"log_rows_dropped","delay_ms":1}"#,
        r#"{"kind":"log_rows_doubled","statement":"write"}"#,
    ] {
        assert!(faults.add(rule(json)).is_err(), "{json} was accepted");
    }
    assert!(serde_json::from_str::<FaultRule>(r#"{"kind":"x"}"#).is_err());
    for answer in ["overloaded", "unavailable"] {
        let text = format!(r#"{{"kind":"read_timeout","answer":"{answer}"}}"#);
        assert!(serde_json::from_str::<FaultRule>(&text).is_err(), "{text} was read");
    }
    assert!(serde_json::from_str::<FaultRule>(r#"{"kind":"lwt_applied_late","x":1}"#).is_err());
    assert_eq!(faults.report().pending, []);
}

#[tokio::test]
async fn timeouts_carry_the_serial_consistency() {
    let asked = |consistency| Asked { consistency, write_type: "CAS" };
    let error = Answer::WriteTimeout.give(asked(consistency::LOCAL_SERIAL)).await;
    assert_eq!(
        error.kind,
        ErrorKind::WriteTimeout {
            consistency: consistency::LOCAL_SERIAL,
            received: 0,
            block_for: 1,
            write_type: "CAS"
        }
    );
    let error = Answer::CasUnknown.give(asked(consistency::SERIAL)).await;
    assert_eq!(
        error.kind,
        ErrorKind::CasUnknown { consistency: consistency::SERIAL, received: 0, block_for: 1 }
    );
}

#[test]
fn a_rule_befalls_the_kinds_of_statements_that_it_names() {
    use StatementKind::{Any, Batch, Lwt, Read, Write};
    let all = [Lwt, Write, Batch, Read];
    for (text, expected) in [
        (r#"{"kind":"slow","delay_ms":1}"#, &all[..]),
        (r#"{"kind":"slow","delay_ms":1,"statement":"any"}"#, &all),
        (r#"{"kind":"slow","delay_ms":1,"statement":"batch"}"#, &[Batch]),
        (r#"{"kind":"overloaded","statement":"read"}"#, &[Read]),
        (r#"{"kind":"unavailable","statement":"lwt"}"#, &[Lwt]),
        (r#"{"kind":"write_applied_timeout"}"#, &[Write, Batch]),
        (r#"{"kind":"write_not_applied_timeout","statement":"batch"}"#, &[Batch]),
        (r#"{"kind":"read_timeout"}"#, &[Read]),
        (r#"{"kind":"lwt_applied_timeout"}"#, &[Lwt]),
        (r#"{"kind":"log_rows_dropped"}"#, &[]),
    ] {
        let faults = Faults::new(1);
        faults
            .add(FaultRule { count: 100, ..rule(text) })
            .unwrap_or_else(|e| panic!("{text}: {e}"));
        let befallen: Vec<_> = all
            .into_iter()
            .filter(|statement| take(&faults, *statement, touched("k", "t")).is_some())
            .collect();
        assert_eq!(befallen, expected, "{text}");
        assert!(!befallen.contains(&Any));
    }
}

#[test]
fn tables_of_the_system_and_logs_have_to_be_named() {
    let log = touched("k", "t_scylla_cdc_log");
    let system = Touched { is_system: true, ..touched("system", "local") };
    let read = |faults: &Faults, table| take(faults, StatementKind::Read, table).is_some();
    for (name, of_base, of_log, of_system) in [
        (None, true, true, false),
        (Some("t"), true, false, false),
        (Some("k.t"), true, false, false),
        (Some("other.t"), false, false, false),
        (Some("t_scylla_cdc_log"), false, true, false),
        (Some("system.local"), false, false, true),
    ] {
        let faults = Faults::new(1);
        let table = name.map(str::to_owned);
        let rule = FaultRule { table, count: 9, ..FaultRule::new(FaultKind::ReadTimeout) };
        faults.add(rule).expect("a sound rule");
        let befallen =
            (read(&faults, touched("k", "t")), read(&faults, log), read(&faults, system));
        assert_eq!(befallen, (of_base, of_log, of_system), "{name:?}");
    }
}

#[test]
fn a_failure_of_the_log_needs_a_log() {
    let faults = Faults::new(1);
    faults
        .add(rule(r#"{"kind":"write_applied_timeout","answer":"cdc_write_failure"}"#))
        .expect("a sound rule");
    assert_eq!(take(&faults, StatementKind::Write, touched("k", "t")), None);
    let logged = Touched { is_logged: true, ..touched("k", "t") };
    let fault = Fault::Applied { answer: Answer::CdcWriteFailure, delay: Duration::ZERO };
    // A batch is befallen by what befalls one of its tables.
    let tables = [touched("k", "u"), logged];
    assert_eq!(faults.take(StatementKind::Batch, tables.into_iter()), Some(fault));
    assert_eq!(faults.report().fired.write_applied_timeout, 1);
}

#[test]
fn hidden_groups_come_out_by_themselves() {
    let hidden = Hidden::default();
    assert!(hidden.of(1, b"stream").is_none());
    assert!(hidden.hide(1, b"stream", b"late", Duration::from_secs(3600)));
    assert!(hidden.hide(1, b"stream", b"soon", Duration::ZERO));
    let unseen = hidden.of(1, b"stream").expect("something is hidden");
    assert!(unseen.hides(b"late") && !unseen.hides(b"soon") && !unseen.hides(b"other"));
    assert!(hidden.of(2, b"stream").is_none() && hidden.of(1, b"other").is_none());
    assert_eq!(hidden.count(), 1);
}
