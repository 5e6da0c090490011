//! Commands over HTTP: their bodies, and their routes.

use crate::account::{Account, AccountCommand, Amount};
use crate::error::BankError;
use crate::transfer::{Transfer, TransferCommand};
use http_edge::commands::{At, CommandBody, CommandRoutes, Id, InvalidValue};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) fn routes() -> CommandRoutes {
    CommandRoutes::new()
        .aggregate("accounts", |account| {
            account.create::<OpenAccount>().post::<Deposit>("deposit").post::<Withdraw>("withdraw")
        })
        .aggregate("transfers", |transfer| {
            transfer.create::<RequestTransfer>().post::<CompleteTransfer>("complete")
        })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenAccount {
    owner: String,
}

impl CommandBody<Account> for OpenAccount {
    const NAME: &'static str = "open";

    fn into_command(self, _: Uuid) -> Result<AccountCommand, InvalidValue> {
        let fits = (1..=100).contains(&self.owner.trim().chars().count());
        let owner = if fits { Ok(self.owner) } else { Err(BankError::Owner) };
        Ok(AccountCommand::Open { owner: owner.at("owner")? })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deposit {
    amount_minor: i64,
}

impl CommandBody<Account> for Deposit {
    const NAME: &'static str = "deposit";

    fn into_command(self, _: Uuid) -> Result<AccountCommand, InvalidValue> {
        Ok(AccountCommand::Deposit(Amount::new(self.amount_minor).at("amount_minor")?))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdraw {
    amount_minor: i64,
}

impl CommandBody<Account> for Withdraw {
    const NAME: &'static str = "withdraw";

    fn into_command(self, _: Uuid) -> Result<AccountCommand, InvalidValue> {
        Ok(AccountCommand::Withdraw(Amount::new(self.amount_minor).at("amount_minor")?))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestTransfer {
    from: Id,
    to: Id,
    amount_minor: i64,
}

impl CommandBody<Transfer> for RequestTransfer {
    const NAME: &'static str = "request";

    fn into_command(self, _: Uuid) -> Result<TransferCommand, InvalidValue> {
        let amount = Amount::new(self.amount_minor).at("amount_minor")?;
        Ok(TransferCommand::Request { from: self.from.0, to: self.to.0, amount })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompleteTransfer {}

impl CommandBody<Transfer> for CompleteTransfer {
    const NAME: &'static str = "complete";
    const MAY_BE_ABSENT: bool = true;

    fn into_command(self, _: Uuid) -> Result<TransferCommand, InvalidValue> {
        Ok(TransferCommand::Complete)
    }
}
