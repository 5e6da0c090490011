//! The server as clients see it: the unmodified driver, the official CDC reader, recorded frames of
//! a real server, and the process itself.

mod cdc_reader;
mod cluster_state;
mod disk_errors;
mod disk_full;
mod driver;
mod errors;
mod faults;
mod lwt;
mod process;
mod replay;
mod support;
mod tablets;
mod types;
