use super::properties::{DONE, NOT_DONE, STORED};
use super::{Append, Faults};
use crate::Defect;
use crate::search::{breaks, holds};

const ONE_OF_EACH: Faults = Faults { crashes: 1, stalls: 1, settler_crashes: 0, rotations: 0 };

/// Two processes with a command each.
fn two_processes() -> Append {
    Append {
        tasks: vec![(0, 1), (1, 2)],
        settlers: 1,
        sends_max: 2,
        faults: ONE_OF_EACH,
        defect: None,
        clock_stands_still: false,
    }
}

/// Two commands of one process: the second may be committed before the first is announced.
fn one_process() -> Append {
    let faults = Faults { rotations: 1, ..ONE_OF_EACH };
    Append { tasks: vec![(0, 1), (0, 2)], faults, ..two_processes() }
}

#[test]
fn two_processes_append_to_one_aggregate() {
    holds(two_processes());
}

#[test]
fn one_process_appends_while_its_last_event_waits_for_announcement() {
    holds(one_process());
}

#[test]
fn a_command_that_was_sent_to_two_processes_takes_effect_once() {
    holds(Append { tasks: vec![(0, 1), (1, 1)], ..two_processes() });
}

#[test]
fn two_settlers_get_in_each_others_way_and_one_dies() {
    let faults = Faults { settler_crashes: 1, ..ONE_OF_EACH };
    holds(Append { tasks: vec![(0, 1)], settlers: 2, faults, ..two_processes() });
}

#[test]
fn three_commands_in_two_processes() {
    holds(Append { tasks: vec![(0, 1), (0, 2), (1, 3)], sends_max: 1, ..two_processes() });
}

fn check(defect: Defect, broken: &str) {
    println!("{defect}:");
    breaks(Append { defect: Some(defect), ..two_processes() }, broken);
}

#[test]
fn every_rule_is_needed() {
    check(Defect::TimeoutIsFailure, NOT_DONE);
    check(Defect::TimeoutIsSuccess, DONE);
    check(Defect::NoFence, NOT_DONE);
    check(Defect::IntentNotWritten, STORED);
    check(Defect::DeadWriterNeverSettled, STORED);
    check(Defect::SettlerDoesNotFence, STORED);
    check(Defect::NoDeathCertificate, STORED);
    check(Defect::AppendCancelledWithRequest, STORED);
}

/// What the rule of time rests on. Linux does not count the time that a machine is suspended.
#[test]
fn a_writer_whose_clock_stands_still_while_it_is_suspended_is_not_safe() {
    breaks(Append { clock_stands_still: true, ..two_processes() }, STORED);
}
