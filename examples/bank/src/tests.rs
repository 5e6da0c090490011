use crate::BANK;
use crate::account::{Account, AccountCommand, AccountEvent, Amount};
use crate::error::BankError;
use crate::transfer::{Transfer, TransferCommand, TransferEvent};
use kernel::testing::{NOW, given};
use std::path::Path;
use uuid::Uuid;

fn opened() -> AccountEvent {
    AccountEvent::Opened { owner: "Ada".into(), opened_at: NOW }
}

fn deposited(amount_minor: i64) -> AccountEvent {
    AccountEvent::Deposited { amount_minor }
}

fn request(from: u128, to: u128) -> TransferCommand {
    let [from, to] = [from, to].map(Uuid::from_u128);
    TransferCommand::Request { from, to, amount: Amount(5) }
}

#[test]
fn the_registration_is_complete() {
    BANK.check().expect("complete");
    crate::commands::routes().check(BANK.aggregates).expect("a route for each");
}

#[test]
fn golden_events_are_stored_as_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    kernel::testing::golden::check(BANK.aggregates, &folder);
}

#[test]
fn an_account_is_opened_once_and_never_overdrawn() {
    let open = || AccountCommand::Open { owner: "Ada".into() };
    given::<Account>([]).when(open()).then([opened()]);
    given::<Account>([opened()]).when(open()).then_refused(BankError::AlreadyThere("account"));
    given::<Account>([])
        .when(AccountCommand::Deposit(Amount(1)))
        .then_refused(BankError::NotFound("account"));
    given::<Account>([opened(), deposited(100)])
        .when(AccountCommand::Withdraw(Amount(100)))
        .then([AccountEvent::Withdrawn { amount_minor: 100 }]);
    given::<Account>([opened(), deposited(100)])
        .when(AccountCommand::Withdraw(Amount(101)))
        .then_refused(BankError::Overdrawn { balance_minor: 100 });
}

#[test]
fn money_moves_in_whole_positive_amounts() {
    for wrong in [0, -1, i64::MIN, i64::MAX] {
        assert!(Amount::new(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_transfer_is_requested_once_and_completed_once() {
    let [from, to] = [1, 2].map(Uuid::from_u128);
    let requested = || TransferEvent::Requested { from, to, amount_minor: 5 };
    given::<Transfer>([]).when(request(1, 2)).then([requested()]);
    given::<Transfer>([]).when(request(1, 1)).then_refused(BankError::SameAccount);
    given::<Transfer>([requested()])
        .when(TransferCommand::Complete)
        .then([TransferEvent::Completed {}]);
    given::<Transfer>([requested(), TransferEvent::Completed {}])
        .when(TransferCommand::Complete)
        .then_nothing();
}
