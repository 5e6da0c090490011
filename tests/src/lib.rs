//! The harness of the system tests: a whole stack of real processes per test, clients that
//! remember what they were told, and a checker that works on what the stores hold.

mod chaos;
mod check;
mod client;
mod crowd;
mod defects;
mod dump;
mod history;
mod hops;
mod kafka;
mod machine;
mod metrics;
pub mod names;
pub mod outages;
mod overload;
mod processor;
mod proxy;
mod rare_poison;
mod reference;
mod steady;
mod world;

pub use chaos::{
    ChaosOptions, Poison, PoisonEffect, Poisoned, Report, Scene, Strike, Timed, run as chaos,
    run_script, schedule, set_poison,
};
pub use check::{
    Evidence, Expectations, Heal, Sample, Verdict, ahead_of_work, disagreements, judge, verify,
};
pub use client::{Client, Outcome, Told};
pub use crowd::{Crowd, serves_beside, survives_crowd};
pub use defects::Defect;
pub use dump::{
    Announced, Cursors, Dump, Events, LetterRow, Progress, ReadModels, Row, SlotRow, StoredEvent,
    Topics, WriterRow, letters, progress, slot_of,
};
pub use history::{
    Command, Fault, History, Kind, Lookup, Place, Read, Recorder, Reply, Reuse, Sending,
};
pub use hops::{Hop, Hops};
pub use kafka::{Guard, Kafka};
pub use machine::Machine;
pub use metrics::{holds_all, series};
pub use overload::{Load, survives_overload};
pub use processor::ProcessorTime;
pub use proxy::{Mode, Proxy, Rewrite};
pub use rare_poison::survives_rare_poison;
pub use reference::{Key, all_references, configured, reference};
pub use steady::Steady;
pub use world::{Plan, World, binaries, hooked_binaries, seed};
