//! Histories, as the event store has them.

use super::*;
use event_store::{CommandRequest, EventStore, EventStoreConfig};
use kernel::Aggregate;
use kernel::testing::tally::TallyCommand;

async fn store(api: &Api) -> EventStore {
    let session = Arc::clone(&api.session);
    EventStore::open(session, EventStoreConfig::default(), &api.settings).await.expect("open")
}

fn request_of<A: Aggregate>(id: Uuid, number: u128, command: A::Command) -> CommandRequest<A> {
    CommandRequest {
        name: "test",
        aggregate_id: id,
        command_id: Uuid::from_u128(number),
        fingerprint: "f".to_owned(),
        command,
        expected_version: None,
        causation_id: None,
        correlation_id: Uuid::from_u128(77),
        actor: None,
        trace_parent: None,
    }
}

/// A tally with `versions` versions.
async fn fill(store: &EventStore, versions: u32) {
    for number in 1..=versions {
        let command = TallyCommand::Add(number.into());
        let request = request_of::<Tally>(TALLY, number.into(), command);
        store.execute(request).await.expect("added");
    }
}

fn versions(answer: &Answer) -> Vec<u64> {
    let events = answer.body["events"].as_array().expect("events");
    events.iter().map(|event| event["version"].as_u64().expect("a version")).collect()
}

#[tokio::test]
async fn a_history_is_read_page_by_page() {
    let api = Api::start().await;
    let path = format!("/v1/tallies/{TALLY}/events");
    api.get(&path).await.is_problem(404, "not_found");
    api.get(&format!("{path}?after=1")).await.is_problem(404, "not_found");

    let store = store(&api).await;
    fill(&store, 6).await;
    store.close().await;

    let first = api.ok(&path).await;
    assert_eq!((versions(&first), &first.body["next"]), (vec![1, 2, 3, 4], &json!(4)));
    let created = &first.body["events"][0];
    assert_eq!(created["type"], "TallyAdded");
    assert_eq!(created["data"], json!({"number": 1}));
    assert_eq!(created["correlation_id"], Uuid::from_u128(77).to_string());
    assert_eq!(created["command_id"], Uuid::from_u128(1).to_string());
    assert_eq!(created["schema_version"], 1);
    let second = api.ok(&format!("{path}?after=4")).await;
    assert_eq!((versions(&second), second.body.get("next")), (vec![5, 6], None));
    let single = api.ok(&format!("{path}?after=2&limit=1")).await;
    assert_eq!((versions(&single), &single.body["next"]), (vec![3], &json!(3)));
    for behind in [6, 7, i64::MAX - 1] {
        let end = api.ok(&format!("{path}?after={behind}")).await;
        assert_eq!((versions(&end), end.body.get("next")), (vec![], None), "after {behind}");
    }
}
