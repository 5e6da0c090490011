//! A transfer between two accounts of one owner: asked for, then done. Commands to the accounts move the money; the
//! transfer remembers where it stands.

use crate::account::Amount;
use crate::error::BankError;
use kernel::{Aggregate, Decision, DecisionContext, events};
use uuid::Uuid;

#[derive(Debug, Clone, Default)]
pub(crate) enum Transfer {
    #[default]
    Unknown,
    Requested,
    Completed,
}

#[derive(Debug, Clone)]
pub(crate) enum TransferCommand {
    Request { from: Uuid, to: Uuid, amount: Amount },
    Complete,
}

events! {
    pub(crate) enum TransferEvent, samples = samples;

    Requested = "TransferRequested" 1 { from: Uuid, to: Uuid, amount_minor: i64 }
    Completed = "TransferCompleted" 1 {}
}

fn samples() -> Vec<TransferEvent> {
    let [from, to] = [1, 2].map(Uuid::from_u128);
    vec![TransferEvent::Requested { from, to, amount_minor: 2_500 }, TransferEvent::Completed {}]
}

impl Aggregate for Transfer {
    const TYPE: &'static str = "transfer";
    const TOPIC: &'static str = "transfers.events";
    type Command = TransferCommand;
    type Event = TransferEvent;
    type Error = BankError;

    fn decide(&self, command: TransferCommand, _: &DecisionContext) -> Decision<Self> {
        match (self, command) {
            (_, TransferCommand::Request { from, to, .. }) if from == to => {
                Err(BankError::SameAccount)
            }
            (
                Self::Unknown,
                TransferCommand::Request { from, to, amount: Amount(amount_minor) },
            ) => Ok(vec![TransferEvent::Requested { from, to, amount_minor }]),
            (_, TransferCommand::Request { .. }) => Err(BankError::AlreadyThere(Self::TYPE)),
            (Self::Unknown, TransferCommand::Complete) => Err(BankError::NotFound(Self::TYPE)),
            (Self::Requested, TransferCommand::Complete) => Ok(vec![TransferEvent::Completed {}]),
            (Self::Completed, TransferCommand::Complete) => Ok(Vec::new()),
        }
    }

    fn apply(&mut self, event: &TransferEvent) {
        *self = match event {
            TransferEvent::Requested { .. } => Self::Requested,
            TransferEvent::Completed {} => Self::Completed,
        };
    }
}
