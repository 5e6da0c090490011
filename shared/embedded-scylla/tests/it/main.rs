//! The server as clients see it: the unmodified driver, the official CDC reader, recorded frames of
//! a real server, the process itself, and those who shall not come in.

mod cdc_reader;
mod certificates;
mod cluster_state;
mod compression;
mod disk_errors;
mod disk_full;
mod driver;
mod errors;
mod faults;
mod lwt;
mod process;
mod python;
mod replay;
mod security;
mod support;
mod tablets;
mod types;
