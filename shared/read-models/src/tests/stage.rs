//! Projectors against the embedded engine.

use super::database::Database;
use super::samples::*;
use crate::READ_MODELS;
use crate::customers::Customers;
use crate::orders::Orders;
use crate::queries::Queries;
use cdc::{ChangeConsumer, ErrorClass};
use domain::OrderStatus;
use kernel::{EventEnvelope, Version};
use projection::Projection;
use projection::Projector;
use projection::listing::ListRequest;
use scylla::value::CqlTimestamp;
use std::sync::Arc;
use uuid::Uuid;

/// Handles events as the sequencer does: in order, each with the view that the one before left.
/// Returns the views.
async fn handle_all<P: Projection>(
    projector: &Projector<P>,
    events: &[EventEnvelope<P::Event>],
) -> Vec<Option<String>> {
    let mut views = vec![None];
    for event in events {
        let before = views.last().expect("one at least").as_deref();
        let after = projector.handle(&change(event), before).await;
        views.push(after.unwrap_or_else(|error| panic!("{:?}: {error:?}", event.payload)));
    }
    views
}

fn page(limit: usize) -> ListRequest {
    ListRequest { limit, after: None, days_max: 30 }
}

#[tokio::test]
async fn a_life_of_an_order_and_of_a_customer_stands_in_the_rows() {
    let database = Database::start().await;
    let queries = Queries::open(Arc::clone(&database.session)).await.expect("prepare");
    assert!(queries.order(ORDER).await.expect("read").is_none());

    let orders = Projector::<Orders>::new(Arc::clone(&database.session));
    handle_all(&orders, &order_life(ORDER)).await;
    let order = queries.order(ORDER).await.expect("read").expect("the order is there");
    assert_eq!((order.version, order.status.as_str()), (5, "delivered"));
    assert_eq!(order.items().expect("items"), [item(3)]);
    assert_eq!((order.customer_id, order.total_minor), (CUSTOMER, 1_350));
    assert_eq!(order.tracking_number.as_deref(), Some("JD01"));
    assert_eq!(order.signature.as_deref(), Some("Zoë"));
    assert_eq!((order.cancel_reason.as_deref(), order.cancelled_at), (None, None));
    let time = |version| CqlTimestamp(at(version).0);
    assert_eq!((order.created_at, order.updated_at), (time(1), time(5)));
    assert_eq!(order.confirmed_at, Some(time(3)));

    for status in OrderStatus::ALL {
        let listed = queries.orders_by_status(status, at(9), &page(10)).await.expect("read");
        let expected: &[Uuid] = if status == OrderStatus::Delivered { &[ORDER] } else { &[] };
        let listed: Vec<_> = listed.rows.iter().map(|order| order.order_id).collect();
        assert_eq!(listed, expected, "{status}");
    }
    let of_customer = queries.orders_of_customer(CUSTOMER, at(9), &page(10)).await.expect("read");
    assert_eq!(of_customer.rows.len(), 1);
    let listed = &of_customer.rows[0];
    assert_eq!(
        (listed.version, listed.status.as_str(), listed.total_minor),
        (5, "delivered", 1_350)
    );

    let customers = Projector::<Customers>::new(Arc::clone(&database.session));
    handle_all(&customers, &customer_life(CUSTOMER)).await;
    let customer = queries.customer(CUSTOMER).await.expect("read").expect("the customer is there");
    assert_eq!((customer.version, customer.status.as_str()), (9, "deactivated"));
    assert_eq!((customer.name.as_str(), customer.phone.as_deref()), ("Ada King", None));
    assert_eq!(customer.email, "king@example.com");
    assert_eq!(customer.status_reason.as_deref(), Some("asked to"));
    let addresses = customer.addresses().expect("addresses");
    let addresses: Vec<_> = addresses.into_iter().map(|a| (a.address_id, a.address)).collect();
    assert_eq!(addresses, [(WORK, address("Square 2"))]);
}

#[tokio::test]
async fn a_zombie_changes_nothing() {
    let database = Database::start().await;
    let orders = Projector::<Orders>::new(Arc::clone(&database.session));
    let customers = Projector::<Customers>::new(Arc::clone(&database.session));
    let (order, customer) = (order_life(ORDER), customer_life(CUSTOMER));
    let order_views = handle_all(&orders, &order).await;
    let customer_views = handle_all(&customers, &customer).await;
    let rows = database.dump_all().await;
    assert_eq!(rows.len(), 4, "{rows:#?}");

    // Backwards, from every place on, and each event twice: with the views of then.
    let zombie = Projector::<Orders>::new(Arc::clone(&database.session));
    for (event, view) in order.iter().zip(&order_views).rev() {
        for _ in 0..2 {
            zombie.handle(&change(event), view.as_deref()).await.expect("handled again");
            assert_eq!(database.dump_all().await, rows, "after {:?} again", event.payload);
        }
    }
    for (event, view) in customer.iter().zip(&customer_views).rev() {
        customers.handle(&change(event), view.as_deref()).await.expect("handled again");
        assert_eq!(database.dump_all().await, rows, "after {:?} again", event.payload);
    }
}

#[tokio::test]
async fn the_same_event_gives_the_same_view() {
    let database = Database::start().await;
    let orders = Projector::<Orders>::new(Arc::clone(&database.session));
    let first = handle_all(&orders, &order_life(ORDER)).await;
    assert_eq!(handle_all(&orders, &order_life(ORDER)).await, first);
}

#[tokio::test]
async fn what_cannot_be_handled_is_poison_and_writes_nothing() {
    let database = Database::start().await;
    let orders = Projector::<Orders>::new(Arc::clone(&database.session));
    let good = change(&envelope(ORDER, "order", 1, created()));
    let view = handle_all(&orders, &order_life(Uuid::from_u128(9))[..1]).await.pop().flatten();
    let view = view.as_deref();
    let rows = database.dump_all().await;

    let with = |edit: &dyn Fn(&mut cdc::Change)| {
        let mut change = good.clone();
        edit(&mut change);
        change
    };
    let confirmed = change(&envelope(ORDER, "order", 2, confirmed(2)));
    let cases = [
        ("not JSON", with(&|c| c.event.payload = "{".to_owned()), None),
        ("wrong type", with(&|c| c.event.payload = r#"{"customer_id":1}"#.to_owned()), None),
        ("unknown type", with(&|c| c.event.event_type = "OrderReturned".to_owned()), None),
        ("of a customer", change(&envelope(CUSTOMER, "customer", 1, registered())), None),
        ("from the future", with(&|c| c.event.schema_version = 2), None),
        ("too large a version", with(&|c| c.event.version = Version(1 << 62)), None),
        ("the first one twice", good.clone(), view),
        ("not begun", confirmed.clone(), None),
        ("a view of something else", confirmed, Some(r#"{"addresses":[]}"#)),
    ];
    for (what, change, view) in cases {
        let error = orders.handle(&change, view).await.expect_err(what);
        assert_eq!(error.class, ErrorClass::Poison, "{what}: {error:?}");
        let named = error.to_string();
        assert!(named.contains(&change.event.aggregate_id.to_string()), "{what}: {named}");
        assert!(named.contains("orders@1"), "{what}: {named}");
    }
    assert_eq!(database.dump_all().await, rows);
}

#[tokio::test]
async fn a_database_out_of_reach_is_a_matter_of_time() {
    let database = Database::start().await;
    let orders = Projector::<Orders>::new(Arc::clone(&database.session));
    let events = order_life(ORDER);
    let views = handle_all(&orders, &events[..2]).await;
    database.server.shutdown().await;
    // Statements that were prepared, and one that was not.
    for (event, view) in [(&events[1], &views[1]), (&events[2], &views[2])] {
        let error = orders.handle(&change(event), view.as_deref()).await.expect_err("no database");
        assert_eq!(error.class, ErrorClass::Transport, "{error:?}");
    }
}

#[tokio::test]
async fn a_table_that_is_not_there_is_fatal() {
    let database = Database::start().await;
    database.session.query_unpaged("DROP TABLE orders_by_customer", ()).await.expect("drop");
    let orders = Projector::<Orders>::new(Arc::clone(&database.session));
    let event = change(&envelope(ORDER, "order", 1, created()));
    let error = orders.handle(&event, None).await.expect_err("no table");
    assert_eq!(error.class, ErrorClass::Fatal, "{error:?}");
}

#[tokio::test]
async fn each_projection_is_one_consumer_of_its_own_aggregates() {
    let database = Database::start().await;
    let consumers = READ_MODELS.consumers(&database.session);
    assert_eq!(consumers.len(), READ_MODELS.iter().count());
    for (consumer, model) in consumers.iter().zip(READ_MODELS.iter()) {
        assert_eq!(consumer.name(), model.consumer_name());
        for aggregate in domain::AGGREGATES {
            let is_its_own = aggregate.name == model.aggregate_type;
            assert_eq!(consumer.wants(aggregate.name), is_its_own, "{}", consumer.name());
        }
    }
    let names: Vec<_> = consumers.iter().map(|consumer| consumer.name()).collect();
    assert_eq!(names[..2], ["orders@1", "customers@1"], "stored with every cursor");
    assert!(consumers.iter().all(|consumer| !consumer.wants("parcel")));
}
