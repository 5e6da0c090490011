//! A wire-compatible stand-in for one ScyllaDB node, for development and tests.
//!
//! The life of a request: [`wire`] reads a frame and decodes it; [`engine`] turns its text into a
//! plan ([`parser`], [`plan`]), once per text; [`execute`] runs the plan: reads go to the last
//! durable snapshot of [`storage`], writes are jobs on the one commit thread, where timestamps are
//! assigned, conditions checked and CDC rows added ([`cdc`]); the answer leaves when the commit's
//! group is on disk.
//!
//! On demand it is as unkind as a cluster ([`faults`]), and makes of keyspaces what other releases of
//! ScyllaDB make of them ([`release`]).
//!
//! It answers as ScyllaDB 5.4 does, which recorded scripts and a recorded session hold it to;
//! `testscripts/README.md` lists what may differ. Deliberately absent, and refused with Invalid:
//! non-frozen collections in tables, user-defined types, counters, indexes, views, functions, roles,
//! `GROUP BY` and `INSERT … JSON`.

pub mod ast;
pub mod cdc;
pub mod cli;
mod ddl;
mod describe;
pub mod engine;
pub mod error;
mod execute;
pub mod faults;
pub mod metrics;
pub mod mutation;
pub mod parser;
mod plan;
pub mod protocol;
pub mod release;
pub mod schema;
pub mod server;
pub mod storage;
mod system_tables;
mod trace;
pub mod types;
mod wire;
