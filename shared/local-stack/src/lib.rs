//! An application's processes, the embedded database engine and the embedded broker as child
//! processes on one machine, and a look at every hop of an event.
//!
//! A [`Manifest`] names the processes, [`Programs`] finds or builds what to run, [`Stack`] starts all
//! of it as children and keeps it running. A [`Story`] sends commands through the front doors as any
//! client would, and follows each event to the ledger, the CDC log, the read model and the topic.
//! Nothing in the processes knows that they run here: only addresses differ.
//!
//! An application that wants to show itself needs [`run`], [`with_stack`] and a story:
//!
//! ```text
//! let folder = Folder::open(None, "bank-")?;
//! let options = folder.options(Addresses::free(&PLATFORM, &Replicas::default())?, false)?;
//! with_stack(&Programs::this(&PLATFORM)?, options, async |stack| {
//!     let mut story = Story::open(&Doors::of(stack, AGGREGATES), Narrator { speaks: true }).await?;
//!     let opened = story.step(Step { told: "Ada opens an account", … }).await?;
//!     story.refusal(Refusal { told: "she cannot take what she does not have", … }).await?;
//!     stack.verify().await?;
//!     story.finish();
//!     Ok(())
//! })
//! .await?
//! .context("interrupted")
//! ```
//!
//! With [`Programs::this`] the application is one program whose first argument is the name of the process:
//! those of the manifest, `broker` for [`broker::main`], and the engine's for `embedded_scylla::cli::main`.

pub mod broker;
mod child;
pub mod http;
mod manifest;
mod ports;
mod programs;
mod run;
mod stack;
mod story;
mod wait;

pub use child::Signal;
pub use manifest::{Kind, Manifest, ManifestError, PLATFORM, Ports, ProcessEntry, Store};
pub use ports::free_port;
pub use programs::Programs;
pub use run::{Folder, run, stop_signal, with_stack};
pub use stack::{
    Addresses, COMMAND_API, Detours, Listens, Output, Process, Program, QUERY_API, Replicas, Stack,
    StackOptions, Whom,
};
pub use story::{
    Arrival, Committed, Doors, Hops, Narrator, Refusal, Seen, Step, StepReport, Story, StoryReport,
    TopicFollower, Totals,
};
pub use wait::{WaitError, wait_for};
