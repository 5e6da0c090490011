//! What a failure means to the code that met it.

/// How a failure is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The target is out of reach or overloaded: try again.
    Transport,
    /// This event cannot be handled, however often it is tried by this code. It goes into a letter.
    Poison,
    /// A bug or a wrong configuration: fail fast.
    Fatal,
}

impl ErrorClass {
    /// Its stored name, and its label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Poison => "poison",
            Self::Fatal => "fatal",
        }
    }
}
