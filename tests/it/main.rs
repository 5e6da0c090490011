//! The system under test is what a user runs: the real binaries, real sockets, real kills.

mod architecture;
mod bad_input;
mod chaos;
mod contention;
mod crash_sites;
mod demo;
mod faults;
mod hang_up;
mod kills;
mod letter_zoo;
mod official_reader;
mod outage;
mod outages;
mod poison;
mod proxies;
mod recovery;
mod rest;
mod scaling;
mod settling;
mod traces;
mod verify;
mod zoo;
mod zoo_scripts;
