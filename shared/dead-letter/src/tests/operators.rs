//! What a person may do, on the real tables.

use super::database::{CONSUMER, Database, new_key};
use crate::change::{self, Change};
use crate::letter::{Key, Letter, Stored};
use crate::operator::{Actor, Filter, Operator, OperatorError, Retried};
use cdc::{LetterState, Replay};
use kernel::Version;
use std::time::Duration;
use uuid::Uuid;

struct Desk {
    database: Database,
    operator: Operator,
    replay: Replay,
}

impl Desk {
    async fn open() -> Self {
        let database = Database::start().await;
        let replay = async || {
            let opened = Replay::open(database.session.clone(), Duration::from_secs(5), 10).await;
            opened.expect("open")
        };
        let operator = Operator::open(database.session.clone(), replay().await).await;
        let (operator, replay) = (operator.expect("open"), replay().await);
        Self { database, operator, replay }
    }

    /// A parked letter of an aggregate whose cursor is right before it.
    async fn parked(&self, version: u64) -> Key {
        let key = new_key();
        let letter = self.database.put(&key, version).await;
        self.change(&letter, &letter.parked("its attempts are used up")).await;
        let cursor = i64::try_from(version - 1).expect("small");
        let cql = "INSERT INTO consumer_cursors (aggregate_id, consumer, last_version, folded) \
                   VALUES (?, ?, ?, 'seen') USING TIMESTAMP ?";
        self.database.run(cql, (key.aggregate_id, CONSUMER, cursor, cursor)).await;
        key
    }

    async fn change(&self, from: &Letter, to: &Letter) {
        let from = Stored::Letter(from.clone());
        change::make(&self.database.table, Change::Replace(&from, to)).await.expect("changed");
    }

    async fn cursor(&self, key: &Key) -> u64 {
        self.replay.cursor(CONSUMER, key.aggregate_id).await.expect("cursor").0
    }

    async fn rows<T>(&self, cql: &str) -> Vec<T>
    where
        T: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
    {
        let answer = self.database.session.query_unpaged(cql, ()).await.expect(cql);
        let rows = answer.into_rows_result().expect("rows");
        rows.rows::<T>().expect("columns").map(|row| row.expect("a row")).collect()
    }
}

fn actor() -> Actor {
    Actor { operator: "someone".to_owned(), reason: "the order was a test".to_owned() }
}

#[tokio::test]
async fn a_discarded_event_is_recorded_passed_and_released() {
    let desk = Desk::open().await;
    let key = desk.parked(3).await;
    let action = desk.operator.discard(&key, &actor()).await.expect("discarded");
    assert_eq!(desk.cursor(&key).await, 3);
    let letter = desk.database.letter(&key).await;
    assert_eq!((letter.state, letter.discard), (LetterState::Released, None));
    let actions = desk
        .rows::<(Uuid, String, String, String, String)>(
            "SELECT action, verb, subject, reason, operator FROM operator_actions",
        )
        .await;
    let subject = format!("{CONSUMER} {}", key.aggregate_id);
    let recorded = (
        action,
        "dlq discard".to_owned(),
        subject,
        "the order was a test".to_owned(),
        "someone".to_owned(),
    );
    assert_eq!(actions, [recorded]);
    let discards =
        desk.rows::<(Uuid, i64, Uuid)>("SELECT aggregate_id, version, action FROM discards").await;
    assert_eq!(discards, [(key.aggregate_id, 3, action)]);
    let views = desk.rows::<(String,)>("SELECT folded FROM consumer_cursors").await;
    assert_eq!(views, [("seen".to_owned(),)], "what was remembered stays");
}

#[tokio::test]
async fn only_parked_events_are_discarded() {
    let desk = Desk::open().await;
    let key = new_key();
    match desk.operator.discard(&key, &actor()).await {
        Err(OperatorError::NotFound { .. }) => {}
        other => panic!("{other:?}"),
    }
    desk.database.put(&key, 1).await;
    match desk.operator.discard(&key, &actor()).await {
        Err(OperatorError::NotParked { state: "blocked" }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.cursor(&key).await, 0);
    let discards = desk.rows::<(Uuid,)>("SELECT aggregate_id FROM discards").await;
    assert_eq!(discards, []);
}

#[tokio::test]
async fn an_interrupted_discard_keeps_others_away_and_is_finished_by_the_same_command() {
    let desk = Desk::open().await;
    let key = desk.parked(2).await;
    let action = Uuid::now_v7();
    let letter = desk.database.letter(&key).await;
    // Whoever began it got no further than the claim.
    desk.change(&letter, &letter.given_up(action)).await;
    match desk.operator.retry(&key, &actor()).await {
        Err(OperatorError::BeingDiscarded { action: found }) => assert_eq!(found, action),
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.operator.discard(&key, &actor()).await.expect("finished"), action);
    assert_eq!(desk.cursor(&key).await, 2);
    assert_eq!(desk.database.letter(&key).await.state, LetterState::Released);
}

#[tokio::test]
async fn an_event_whose_predecessors_are_missing_is_not_passed() {
    let desk = Desk::open().await;
    let key = new_key();
    let letter = desk.database.put(&key, 5).await;
    desk.change(&letter, &letter.parked("used up")).await;
    match desk.operator.discard(&key, &actor()).await {
        Err(OperatorError::NotNext { version: Version(5) }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.cursor(&key).await, 0);
}

#[tokio::test]
async fn a_retry_gives_a_parked_letter_all_its_attempts_back() {
    let desk = Desk::open().await;
    let key = desk.parked(1).await;
    assert_eq!(desk.operator.retry(&key, &actor()).await.expect("due"), Retried::Due);
    let letter = desk.database.letter(&key).await;
    assert_eq!((letter.state, letter.attempts), (LetterState::Blocked, 0));
    desk.change(&letter, &letter.released()).await;
    assert_eq!(desk.operator.retry(&key, &actor()).await.expect("fine"), Retried::Released);
}

#[tokio::test]
async fn a_filter_asks_for_consumer_state_and_type() {
    let desk = Desk::open().await;
    let parked = desk.parked(1).await;
    let blocked = new_key();
    desk.database.put(&blocked, 1).await;
    let relay = Key { consumer: "relay".to_owned(), ..new_key() };
    desk.database.put(&relay, 1).await;
    let found = async |filter: Filter, limit| -> Vec<Key> {
        let found = desk.operator.list(&filter, limit).await.expect("list");
        found.iter().map(|stored| stored.key().clone()).collect()
    };
    assert_eq!(found(Filter::default(), 10).await.len(), 3);
    assert_eq!(found(Filter::default(), 2).await.len(), 2);
    let state = Some(LetterState::Parked);
    assert_eq!(found(Filter { state, ..Filter::default() }, 10).await, [parked]);
    let consumer = Some("relay".to_owned());
    assert_eq!(found(Filter { consumer, ..Filter::default() }, 10).await, [relay]);
    let event_type = Some("OrderShipped".to_owned());
    assert_eq!(found(Filter { event_type, ..Filter::default() }, 10).await, []);
}
