//! Histories, as the event store has them.

use super::*;
use domain::value::Text;
use domain::value::{Amount, Currency, Item, Items, Quantity};
use domain::{Order, OrderCommand};
use event_store::{CommandRequest, EventStore, EventStoreConfig};

fn create() -> OrderCommand {
    let item = Item {
        product_id: Text::new("tea").expect("a text"),
        quantity: Quantity::new(1).expect("a quantity"),
        unit_price: Amount::from_minor(450).expect("an amount"),
    };
    OrderCommand::Create {
        customer_id: CUSTOMER,
        currency: Currency::new("EUR").expect("a currency"),
        items: Items::new(vec![item]).expect("items"),
    }
}

#[tokio::test]
async fn what_belongs_to_an_order_is_not_the_history_of_a_customer() {
    let api = Api::start().await;
    let session = Arc::clone(&api.session);
    let store = EventStore::open(session, EventStoreConfig::default(), &api.settings).await;
    let store = store.expect("open");
    let request = CommandRequest::<Order> {
        name: "test",
        aggregate_id: ORDER,
        command_id: Uuid::from_u128(1),
        fingerprint: "f".to_owned(),
        command: create(),
        expected_version: None,
        causation_id: None,
        correlation_id: Uuid::from_u128(77),
        actor: None,
        trace_parent: None,
    };
    store.execute(request).await.expect("created");
    store.close().await;

    let answer = api.ok(&format!("/v1/orders/{ORDER}/events")).await;
    assert_eq!(answer.body["events"][0]["type"], "OrderCreated");
    assert_eq!(answer.body["events"][0]["data"]["total_minor"], 450);
    let other = format!("/v1/customers/{ORDER}/events");
    api.get(&other).await.is_problem(404, "id_of_other_type");
    api.get(&format!("{other}?after=100")).await.is_problem(404, "id_of_other_type");
}
