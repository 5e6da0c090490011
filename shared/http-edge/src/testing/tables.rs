//! The tables of problem codes in an application's documentation.

use crate::codes::{Api, CODES};
use kernel::{Aggregates, ErrorCode, RefusalKind};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Every code that a client of the application may meet: those of the edge, those of its aggregates' refusals, and
/// `values`, those of values that break a rule.
///
/// # Panics
///
/// If two facts have the same code.
#[must_use]
pub fn problem_tables(aggregates: Aggregates, values: &[ErrorCode]) -> String {
    let mut text =
        String::from("| status | code | told by | meaning |\n| --- | --- | --- | --- |\n");
    let mut taken = BTreeSet::new();
    for code in CODES {
        let by = match code.api {
            Api::Commands => "commands",
            Api::Queries => "queries",
            Api::Both => "both",
        };
        taken.insert(code.code);
        let _ = writeln!(text, "| {} | `{}` | {by} | {} |", code.status, code.code, code.meaning);
    }
    text.push_str("\nWhat the domain refuses, told by commands:\n\n");
    text.push_str("| status | code | meaning |\n| --- | --- | --- |\n");
    let mut row = |status: u16, codes: Vec<&'static str>, meaning: String| {
        for code in &codes {
            assert!(taken.insert(code), "{code} means two things");
        }
        if !codes.is_empty() {
            let _ = writeln!(text, "| {status} | `{}` | {meaning} |", codes.join("`, `"));
        }
    };
    let of_kind = |codes: &[ErrorCode], kind| -> Vec<&'static str> {
        codes.iter().filter(|code| code.kind == kind).map(|code| code.code).collect()
    };
    for known in aggregates {
        let (name, refusals) = (known.name, known.refusals);
        let missing = of_kind(refusals, RefusalKind::NotFound);
        row(404, missing, format!("there is no such {name}, or nothing in it as the path names"));
        let state = of_kind(refusals, RefusalKind::WrongState);
        row(409, state, format!("the state of the {name} forbids it; with `current_version`"));
        let invalid = of_kind(refusals, RefusalKind::InvalidValue);
        row(422, invalid, format!("a value breaks a rule of the {name}"));
    }
    let values = values.iter().map(|code| code.code).collect();
    row(422, values, "a value breaks a rule; with `field`".to_owned());
    text
}
