//! An account: opened once, then money comes and goes. It is never overdrawn.

use crate::error::BankError;
use kernel::{Aggregate, Decision, DecisionContext, Timestamp, events};

/// `Default` is the state before the first event: no such account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    balance_minor: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) enum AccountCommand {
    Open { owner: String },
    Deposit(Amount),
    Withdraw(Amount),
}

/// Money that moves, in minor units. Code that holds one need not check it again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount(pub(crate) i64);

impl Amount {
    pub(crate) fn new(minor: i64) -> Result<Self, BankError> {
        if (1..=1_000_000_000_000).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(BankError::Amount(minor))
        }
    }
}

events! {
    pub(crate) enum AccountEvent, samples = samples;

    Opened = "AccountOpened" 1 { owner: String, opened_at: Timestamp }
    Deposited = "MoneyDeposited" 1 { amount_minor: i64 }
    Withdrawn = "MoneyWithdrawn" 1 { amount_minor: i64 }
}

fn samples() -> Vec<AccountEvent> {
    vec![
        AccountEvent::Opened { owner: "Ada".into(), opened_at: Timestamp(1_767_323_045_678) },
        AccountEvent::Deposited { amount_minor: 10_000 },
        AccountEvent::Withdrawn { amount_minor: 2_500 },
    ]
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    const TOPIC: &'static str = "accounts.events";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = BankError;

    fn decide(&self, command: AccountCommand, ctx: &DecisionContext) -> Decision<Self> {
        let event = match (self.balance_minor, command) {
            (None, AccountCommand::Open { owner }) => {
                AccountEvent::Opened { owner, opened_at: ctx.now }
            }
            (Some(_), AccountCommand::Open { .. }) => {
                return Err(BankError::AlreadyThere(Self::TYPE));
            }
            (None, _) => return Err(BankError::NotFound(Self::TYPE)),
            (Some(_), AccountCommand::Deposit(Amount(amount_minor))) => {
                AccountEvent::Deposited { amount_minor }
            }
            (Some(balance_minor), AccountCommand::Withdraw(Amount(amount_minor))) => {
                if balance_minor < amount_minor {
                    return Err(BankError::Overdrawn { balance_minor });
                }
                AccountEvent::Withdrawn { amount_minor }
            }
        };
        Ok(vec![event])
    }

    fn apply(&mut self, event: &AccountEvent) {
        let balance = self.balance_minor.get_or_insert_default();
        match event {
            AccountEvent::Opened { .. } => {}
            AccountEvent::Deposited { amount_minor } => *balance += amount_minor,
            AccountEvent::Withdrawn { amount_minor } => *balance -= amount_minor,
        }
    }
}
