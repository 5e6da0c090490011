//! The server against what a real ScyllaDB answered, and against what no client should send. The
//! client is raw and shares no code with the server.

mod beyond;
mod frames;
mod model;
mod recorded;
mod statements;
mod support;
mod values;
