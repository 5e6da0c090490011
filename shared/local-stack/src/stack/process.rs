//! One process of a running stack.

/// The API that takes commands: where a story begins.
pub const COMMAND_API: &str = "command-api";
/// The API that shows read models: where it is looked at.
pub const QUERY_API: &str = "query-api";

/// A process of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// The embedded database engine.
    Engine,
    /// The embedded broker, or what is in its place.
    Broker,
    /// A process of the application: its name in the manifest, and the replica, from 0.
    Worker(&'static str, usize),
}

impl Process {
    /// The name that its log has; replicas after the first carry a number.
    pub fn name(self) -> String {
        match self.program() {
            (program, 0) => program.to_owned(),
            (program, replica) => format!("{program}-{}", replica + 1),
        }
    }

    /// The name that all its replicas have, and which of them it is.
    pub fn program(self) -> (&'static str, usize) {
        match self {
            Self::Engine => ("embedded-scylla", 0),
            Self::Broker => ("broker", 0),
            Self::Worker(name, replica) => (name, replica),
        }
    }
}
