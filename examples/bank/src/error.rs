//! Why the bank refuses.

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

kernel::error_codes! {
    BankError {
        NotFound: NotFound "no_such_thing",
        AlreadyThere: WrongState "already_there",
        Overdrawn: WrongState "account_overdrawn",
        SameAccount: InvalidValue "transfer_to_same_account",
        Amount: InvalidValue "amount_out_of_range",
        Owner: InvalidValue "malformed_owner",
    }
}
