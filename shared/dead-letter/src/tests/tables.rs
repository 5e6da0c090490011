//! The statements against the embedded engine, with the outcomes that a cluster can have.

use super::database::{CONSUMER, Database, SLOTS, new_key, refusal};
use crate::change::{self, Change, Changed};
use crate::letter::{Key, Letter, Stamp, Stored};
use crate::operator::{Actor, Operator, Retried};
use crate::store::LetterStore;
use crate::{LetterBox, RetrierDeps, RetryConfig, run_retrier};
use async_trait::async_trait;
use cdc::{ChangeConsumer, ErrorClass, HandleError, LetterKey, LetterState, Letters, Replay};
use embedded_scylla::faults::{Answer, FaultKind};
use kernel::Version;
use leases::{LeaseConfig, Slot};
use runtime::{BackoffConfig, CancellationToken, Readiness};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use uuid::Uuid;

fn seen(key: &Key) -> LetterKey<'_> {
    LetterKey { consumer: &key.consumer, slot: key.slot, aggregate_id: key.aggregate_id }
}

#[tokio::test]
async fn what_is_written_is_read_again() {
    let database = Database::start().await;
    let key = new_key();
    let letters = LetterBox::open(database.session.clone(), 10).await.expect("open");
    assert_eq!(letters.read(seen(&key)).await.expect("read"), None);
    letters.block(seen(&key), &refusal(&key, 7)).await.expect("block");
    let letter = database.letter(&key).await;
    assert_eq!((letter.version.0, letter.attempts, letter.class), (7, 1, ErrorClass::Poison));
    assert_eq!(letter.event_type.as_deref(), Some("OrderCreated"));
    assert_eq!(letter.error, "decode: no such field");
    let known = letters.read(seen(&key)).await.expect("read").expect("a letter");
    assert_eq!((known.version.0, known.state), (7, LetterState::Blocked));
    assert_eq!(letters.load(CONSUMER, key.slot).await.expect("load"), [(key.aggregate_id, known)]);

    letters.block(seen(&key), &refusal(&key, 7)).await.expect("block again");
    assert_eq!(database.letter(&key).await, letter, "the same event changes nothing");
    letters.block(seen(&key), &refusal(&key, 9)).await.expect("another head");
    let other = database.letter(&key).await;
    assert_eq!((other.version.0, other.stamp.revision.0), (9, 2));

    letters.finish(seen(&key), letter.stamp.attempt).await.expect("finish");
    assert_eq!(database.letter(&key).await, other, "changed since");
    letters.finish(seen(&key), other.stamp.attempt).await.expect("finish");
    assert_eq!(database.stored(&key).await, None);
}

#[tokio::test]
async fn a_listing_has_all_slots_that_are_asked_for() {
    let database = Database::start().await;
    let mut expected = BTreeSet::new();
    for _ in 0..20 {
        let key = new_key();
        database.put(&key, 1).await;
        expected.insert(key);
    }
    let all: Vec<Slot> = Slot::all(SLOTS).collect();
    let listed = database.table.list(CONSUMER, &all, 100).await.expect("list").letters;
    assert_eq!(listed.into_iter().map(|letter| letter.key).collect::<BTreeSet<_>>(), expected);
    let some = database.table.list(CONSUMER, &[1, 3].map(Slot), 100).await.expect("list").letters;
    assert!(some.iter().all(|letter| [1, 3].contains(&letter.key.slot.0)));
    assert_eq!(database.table.list(CONSUMER, &all, 7).await.expect("list").letters.len(), 7);
    assert!(database.table.list("relay", &all, 7).await.expect("list").letters.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_of_one_letter_one_is_made() {
    let database = Database::start().await;
    let key = new_key();
    for round in 0..5 {
        let from = match database.stored(&key).await {
            Some(stored) => stored,
            None => Stored::Letter(database.put(&key, 1).await),
        };
        let Stored::Letter(letter) = &from else { panic!("readable") };
        let mut racing = JoinSet::new();
        for _ in 0..8 {
            let (table, from, to) =
                (database.table.clone(), from.clone(), letter.begun(Version::NONE, 1));
            racing.spawn(async move {
                let changed = change::make(&table, Change::Replace(&from, &to)).await;
                changed.expect("an outcome") == Changed::Applied
            });
        }
        let won = racing.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "round {round}");
        assert_eq!(database.letter(&key).await.attempts, letter.attempts + 1);
    }
}

#[tokio::test]
async fn a_late_request_does_not_touch_a_letter_that_was_made_anew() {
    let database = Database::start().await;
    let key = new_key();
    let old = database.put(&key, 1).await;
    let late = old.parked("late");
    let removed = change::make(&database.table, Change::Remove(&Stored::Letter(old.clone()))).await;
    assert_eq!(removed.expect("an outcome"), Changed::Applied);
    let new = database.put(&key, 5).await;
    assert_eq!(new.stamp.revision, old.stamp.revision, "revisions begin anew");
    let from = Stored::Letter(old.clone());
    assert!(!database.table.replace(&from, &late).await.expect("an answer"));
    assert!(!database.table.remove(&from).await.expect("an answer"));
    assert_eq!(database.letter(&key).await, new);
}

/// Every kind of change comes about exactly once under a fault.
async fn check(database: &Database, kind: FaultKind, count: u64, answer: Answer) {
    let key = new_key();
    let letter = Letter::new(key.clone(), &refusal(&key, 1), Stamp::after(None));
    let make = async |change: Change<'_>| {
        database.befall(kind, count, answer);
        let made = change::make(&database.table, change).await;
        assert_eq!(made.expect("an outcome"), Changed::Applied, "{kind:?} {answer:?} {change:?}");
        assert!(!database.is_pending(), "the fault never struck {change:?}");
    };
    make(Change::Insert(&letter)).await;
    assert_eq!(database.letter(&key).await, letter);
    let released = letter.released();
    make(Change::Replace(&Stored::Letter(letter), &released)).await;
    assert_eq!(database.letter(&key).await, released);
    make(Change::Remove(&Stored::Letter(released))).await;
    assert_eq!(database.stored(&key).await, None);
}

#[tokio::test]
async fn a_change_of_unknown_outcome_is_looked_up_and_made_once() {
    let database = Database::start().await;
    for answer in [Answer::WriteTimeout, Answer::CasUnknown] {
        check(&database, FaultKind::LwtAppliedTimeout, 1, answer).await;
        check(&database, FaultKind::LwtNotAppliedTimeout, 2, answer).await;
        check(&database, FaultKind::LwtAppliedLater, 1, answer).await;
    }
}

#[tokio::test]
async fn a_change_whose_outcome_stays_unknown_is_an_error_and_may_be_made_again() {
    let database = Database::start().await;
    let key = new_key();
    database.befall(FaultKind::LwtNotAppliedTimeout, 5, Answer::WriteTimeout);
    let letter = Letter::new(key.clone(), &refusal(&key, 1), Stamp::after(None));
    change::make(&database.table, Change::Insert(&letter)).await.expect_err("never applied");
    let made = change::make(&database.table, Change::Insert(&letter)).await;
    assert_eq!(made.expect("an outcome"), Changed::Applied);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_hinders_no_other_and_can_be_replaced() {
    let database = Database::start().await;
    let (bad, good) = (new_key(), new_key());
    database.put(&bad, 2).await;
    let cql = "UPDATE dead_letter_queue SET state = 'colourless' \
               WHERE consumer = ? AND slot = ? AND aggregate_id = ? IF EXISTS";
    let slot = bad.slot.column();
    database.run(cql, (CONSUMER, slot, bad.aggregate_id)).await;
    database.put(&good, 1).await;
    let all: Vec<Slot> = Slot::all(SLOTS).collect();
    let listing = database.table.list(CONSUMER, &all, 100).await.expect("list");
    assert_eq!(listing.letters.len(), 1);
    assert_eq!(listing.unreadable[0].reason, "its state makes no sense");
    let letters = LetterBox::open(database.session.clone(), 10).await.expect("open");
    assert_eq!(letters.read(seen(&bad)).await.expect("read"), None, "it blocks nothing");

    let replay = Replay::open(database.session.clone(), Duration::from_secs(5), 10).await;
    let operator = Operator::open(database.session.clone(), replay.expect("open")).await;
    let actor = Actor { operator: "test".to_owned(), reason: String::new() };
    let retried = operator.expect("open").retry(&bad, &actor).await.expect("retried");
    assert_eq!(retried, Retried::Due);
    let letter = database.letter(&bad).await;
    assert_eq!((letter.version.0, letter.attempts), (1, 0));
}

#[tokio::test]
async fn attempts_count_for_one_version() {
    let database = Database::start().await;
    let key = new_key();
    let letters = LetterBox::open(database.session.clone(), 10).await.expect("open");
    for before in 0..3 {
        assert_eq!(letters.begin_attempt(seen(&key), Version(4)).await.expect("recorded"), before);
    }
    assert_eq!(letters.begin_attempt(seen(&key), Version(5)).await.expect("recorded"), 0);
    assert_eq!(letters.begin_attempt(seen(&new_key()), Version(4)).await.expect("recorded"), 0);
}

/// Refuses everything while it is told to.
#[derive(Default)]
struct Consumer {
    is_broken: AtomicBool,
    handled: Mutex<Vec<(Uuid, u64)>>,
}

#[async_trait]
impl ChangeConsumer for Consumer {
    fn name(&self) -> &str {
        CONSUMER
    }

    fn wants(&self, _: &str) -> bool {
        true
    }

    async fn handle(
        &self,
        change: &cdc::Change,
        _: Option<&str>,
    ) -> Result<Option<String>, HandleError> {
        if self.is_broken.load(Ordering::SeqCst) {
            let what = "broken".to_owned();
            return Err(HandleError { class: ErrorClass::Poison, what, source: None });
        }
        let place = (change.event.aggregate_id, change.event.version.0);
        self.handled.lock().expect("no panic").push(place);
        Ok(Some(format!("after {}", place.1)))
    }
}

#[tokio::test]
async fn the_retrier_works_on_the_real_tables() {
    let database = Database::start().await;
    let key = new_key();
    database.commit(key.aggregate_id, 1..=5).await;
    database.put(&key, 1).await;
    let consumer = Arc::new(Consumer::default());
    consumer.is_broken.store(true, Ordering::SeqCst);
    let replay = Replay::open(database.session.clone(), Duration::from_secs(5), 2).await;
    let replay = replay.expect("open");
    let config = RetryConfig {
        scan_interval_ms: 20,
        attempts_max: 1_000,
        backoff: BackoffConfig { initial_ms: 10, max_ms: 20 },
        ..RetryConfig::default()
    };
    let deps = RetrierDeps {
        session: database.session.clone(),
        consumers: vec![consumer.clone()],
        settings: database.settings,
        config,
        leases: LeaseConfig::default(),
        readiness: Readiness::default(),
    };
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(run_retrier(deps, stop.clone()));
    until("it is tried again", async || database.letter(&key).await.attempts >= 3).await;
    consumer.is_broken.store(false, Ordering::SeqCst);
    until("the letter is gone", async || database.stored(&key).await.is_none()).await;
    let expected: Vec<_> = (1..=5).map(|version| (key.aggregate_id, version)).collect();
    assert_eq!(*consumer.handled.lock().expect("no panic"), expected);
    assert_eq!(replay.cursor(CONSUMER, key.aggregate_id).await.expect("cursor"), Version(5));
    stop.cancel();
    running.join_next().await.expect("one task").expect("no panic").expect("a clean end");
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(waited.is_ok(), "waited in vain until {what}");
}
