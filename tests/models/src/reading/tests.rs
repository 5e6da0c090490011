use super::properties::{FORWARD, ORDER, SKIPPED, TRUTHFUL};
use super::{Faults, LAST_ANNOUNCEMENT, Reading, TO_CONFIRM};
use crate::Defect;
use crate::search::{breaks, holds};

const NO_FAULTS: Faults = Faults { crashes: 0, takeovers: 0, anomalies: 0, lost_answers: 0 };

fn reading(faults: Faults) -> Reading {
    Reading { faults, scans: true, end: LAST_ANNOUNCEMENT + TO_CONFIRM, defect: None }
}

#[test]
fn a_process_dies_and_answers_are_lost() {
    holds(reading(Faults { crashes: 1, lost_answers: 1, ..NO_FAULTS }));
}

#[test]
fn the_slot_is_taken_from_an_owner_that_goes_on() {
    holds(reading(Faults { takeovers: 1, lost_answers: 1, ..NO_FAULTS }));
}

#[test]
fn the_scanner_heals_what_the_log_brings_too_late_or_never() {
    // Time enough to confirm what was announced again.
    let end = LAST_ANNOUNCEMENT + 2 * TO_CONFIRM;
    holds(Reading { end, ..reading(Faults { crashes: 1, anomalies: 1, ..NO_FAULTS }) });
}

fn check(defect: Defect, faults: Faults, broken: &str) {
    println!("{defect}:");
    breaks(Reading { defect: Some(defect), ..reading(faults) }, broken);
}

#[test]
fn every_rule_is_needed() {
    let crash = Faults { crashes: 1, ..NO_FAULTS };
    let late_save = Faults { lost_answers: 1, ..NO_FAULTS };
    check(Defect::CheckpointBeforeApply, crash, TRUTHFUL);
    check(Defect::ConfirmPassOff, NO_FAULTS, TRUTHFUL);
    check(Defect::GapHealingOff, NO_FAULTS, ORDER);
    check(Defect::DelayedRenewalMovesCheckpointBack, late_save, FORWARD);
    check(Defect::OldStreamsDropped, NO_FAULTS, TRUTHFUL);
}

#[test]
fn without_the_scanner_a_row_that_never_comes_is_an_event_that_is_skipped() {
    let faults = Faults { anomalies: 1, ..NO_FAULTS };
    breaks(Reading { scans: false, ..reading(faults) }, SKIPPED);
}
