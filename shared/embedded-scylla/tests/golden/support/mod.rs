//! A raw CQL client that shares no code with the server, and what runs scripts with it.

pub(crate) mod client;
pub(crate) mod model;
pub(crate) mod random;
pub(crate) mod script;
pub(crate) mod server;
pub(crate) mod values;
