//! Why the bank refuses.

use kernel::{DomainError, RefusalKind};

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum BankError {
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("there is a {0} of this id already")]
    AlreadyThere(&'static str),
    #[error("the account has no more than {balance_minor}")]
    Overdrawn { balance_minor: i64 },
    #[error("a transfer needs two accounts")]
    SameAccount,
    #[error("must be between 1 and 10^12 minor units, is {0}")]
    Amount(i64),
    #[error("must be a name of 1 to 100 characters")]
    Owner,
}

impl DomainError for BankError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "no_such_thing",
            Self::AlreadyThere(_) => "already_there",
            Self::Overdrawn { .. } => "account_overdrawn",
            Self::SameAccount => "transfer_to_same_account",
            Self::Amount(_) => "amount_out_of_range",
            Self::Owner => "malformed_owner",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound(_) => RefusalKind::NotFound,
            Self::AlreadyThere(_) | Self::Overdrawn { .. } => RefusalKind::WrongState,
            Self::SameAccount | Self::Amount(_) | Self::Owner => RefusalKind::InvalidValue,
        }
    }
}
