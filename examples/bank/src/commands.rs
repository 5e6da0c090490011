//! Commands over HTTP: their bodies, and their routes.

use crate::account::{Account, AccountCommand, Amount};
use crate::error::BankError;
use crate::transfer::{Transfer, TransferCommand};
use http_edge::commands::{At, CommandRoutes, Id, InvalidValue};

pub(crate) fn routes() -> CommandRoutes {
    CommandRoutes::new()
        .aggregate("accounts", |account| {
            account.create::<OpenAccount>().post::<Deposit>("deposit").post::<Withdraw>("withdraw")
        })
        .aggregate("transfers", |transfer| {
            transfer.create::<RequestTransfer>().post::<CompleteTransfer>("complete")
        })
}

http_edge::bodies! {
    for Account;
    OpenAccount = "open" { owner: String } => AccountCommand::Open { owner: name(owner)? };
    Deposit = "deposit" { amount_minor: i64 } => AccountCommand::Deposit(amount(amount_minor)?);
    Withdraw = "withdraw" { amount_minor: i64 } => AccountCommand::Withdraw(amount(amount_minor)?);
}

http_edge::bodies! {
    for Transfer;
    RequestTransfer = "request" { from: Id, to: Id, amount_minor: i64 } =>
        TransferCommand::Request { from: from.0, to: to.0, amount: amount(amount_minor)? };
    CompleteTransfer = "complete" {} => TransferCommand::Complete;
}

fn amount(minor: i64) -> Result<Amount, InvalidValue> {
    Amount::new(minor).at("amount_minor")
}

fn name(owner: String) -> Result<String, InvalidValue> {
    let fits = (1..=100).contains(&owner.trim().chars().count());
    if fits { Ok(owner) } else { Err(BankError::Owner).at("owner") }
}
