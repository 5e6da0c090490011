//! Histories, as the event store has them.

use super::*;
use domain::Order;
use domain::order::OrderCommand;
use domain::value::{Amount, Currency, Item, Items, Quantity, Text};
use event_store::{CommandRequest, EventStore, EventStoreConfig};
use kernel::Aggregate;
use serde_json::json;

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

fn items(quantity: i64) -> Items {
    let item = Item {
        product_id: Text::new("tea").expect("a text"),
        quantity: Quantity::new(quantity).expect("a quantity"),
        unit_price: Amount::from_minor(450).expect("an amount"),
    };
    Items::new(vec![item]).expect("items")
}

/// An order with `versions` versions.
async fn fill(store: &EventStore, versions: u32) {
    let currency = Currency::new("EUR").expect("a currency");
    let create = OrderCommand::Create { customer_id: CUSTOMER, currency, items: items(1) };
    store.execute(request_of::<Order>(ORDER, 1, create)).await.expect("created");
    for version in 2..=versions {
        let update = OrderCommand::UpdateItems { items: items(version.into()) };
        let request = request_of::<Order>(ORDER, version.into(), update);
        store.execute(request).await.expect("updated");
    }
}

fn versions(answer: &Answer) -> Vec<u64> {
    let events = answer.body["events"].as_array().expect("events");
    events.iter().map(|event| event["version"].as_u64().expect("a version")).collect()
}

#[tokio::test]
async fn a_history_is_read_page_by_page() {
    let api = Api::start().await;
    let path = format!("/v1/orders/{ORDER}/events");
    api.get(&path).await.is_problem(404, "not_found");
    api.get(&format!("{path}?after=1")).await.is_problem(404, "not_found");

    let store = store(&api).await;
    fill(&store, 6).await;
    store.close().await;

    let first = api.ok(&path).await;
    assert_eq!((versions(&first), &first.body["next"]), (vec![1, 2, 3, 4], &json!(4)));
    let created = &first.body["events"][0];
    assert_eq!(created["type"], "OrderCreated");
    assert_eq!(created["data"]["total_minor"], 450);
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

    // What belongs to an order is not the history of a customer.
    let other = format!("/v1/customers/{ORDER}/events");
    api.get(&other).await.is_problem(404, "not_found");
    api.get(&format!("{other}?after=100")).await.is_problem(404, "not_found");
}
