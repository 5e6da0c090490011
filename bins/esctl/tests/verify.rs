//! `esctl verify` on a small system that is made by hand: all is well at first, and each kind of damage
//! is found and named.

use std::sync::Arc;

use cdc::{Change, ChangeConsumer};
use database::ScyllaConfig;
use domain::value::{Amount, Currency, Item, Items, Quantity, Text};
use domain::{Customer, CustomerCommand, Order, OrderCommand};
use embedded_scylla::server::{Server, ServerConfig};
use event_store::{CommandRequest, EventReader, EventStore, EventStoreConfig};
use kernel::{Aggregate, RecordedEvent, Version};
use scylla::client::session::Session;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u128(0x11);
const OTHER_ORDER: Uuid = Uuid::from_u128(0x12);
const CUSTOMER: Uuid = Uuid::from_u128(0x7);

/// Two orders and a customer, stored, announced and projected.
struct World {
    server: Server,
    session: Arc<Session>,
    _directory: TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let server = Server::start(ServerConfig::ephemeral(directory.path())).await;
        let server = server.expect("the engine starts");
        let config = ScyllaConfig::at(server.address().to_string());
        let session = Arc::new(config.connect().await.expect("connect"));
        let world = Self { server, session, _directory: directory };
        let migrated = world.esctl(&["migrate"]).await;
        assert_eq!(migrated.0, Some(0), "{migrated:?}");
        let used = database::session::use_keyspace(&world.session, &config.keyspace).await;
        assert!(used.expect("look for the keyspace"));
        world.fill().await;
        world
    }

    async fn fill(&self) {
        let settings = database::schema::settings(&self.session).await.expect("settings");
        let session = Arc::clone(&self.session);
        let store = EventStore::open(session, EventStoreConfig::default(), &settings).await;
        let store = store.expect("open the event store");
        for id in [ORDER, OTHER_ORDER] {
            let currency = Currency::new("EUR").expect("a currency");
            let create = OrderCommand::Create { customer_id: CUSTOMER, currency, items: items() };
            execute::<Order>(&store, id, create).await;
            execute::<Order>(&store, id, OrderCommand::Confirm).await;
        }
        let (carrier, tracking_number) = (text("DHL"), text("JD01"));
        execute::<Order>(&store, ORDER, OrderCommand::Ship { carrier, tracking_number }).await;
        let (name, phone) = (text("Ada"), None);
        let profile = domain::customer::Profile { name, phone };
        let email = domain::value::Email::new("ada@example.com").expect("an address");
        execute::<Customer>(&store, CUSTOMER, CustomerCommand::Register { profile, email }).await;
        let reason = text("unpaid");
        execute::<Customer>(&store, CUSTOMER, CustomerCommand::Suspend { reason }).await;
        store.close().await;
        let reader = store.reader();
        for id in [ORDER, OTHER_ORDER, CUSTOMER] {
            self.project(&reader, id).await;
        }
    }

    async fn project(&self, reader: &EventReader, id: Uuid) {
        let events = reader.after(id, Version::NONE, 100).await.expect("read");
        for consumer in read_models::READ_MODELS.consumers(&self.session) {
            project(consumer.as_ref(), &events).await;
        }
    }

    /// Damages something.
    async fn run(&self, cql: &str) {
        self.session.query_unpaged(cql, ()).await.unwrap_or_else(|error| panic!("{cql}: {error}"));
    }

    async fn esctl(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_esctl"));
        for (name, _) in std::env::vars() {
            if name.starts_with("APP_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(directory.path());
        command.env("SCYLLA_NODES", self.server.address().to_string());
        // Everything is there already: nothing has to be waited for.
        command.env("APP__SETTINGS__SAFETY_INTERVAL_MS", "200");
        command.env("APP__VERIFY__RECHECK_MS", "0").env("APP__VERIFY__GRACE_MS", "0");
        let output = command.output().await.expect("run esctl");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Verifies with further arguments; `(check, place, aggregate, what)` of what differs.
    async fn verify(&self, more: &[&str]) -> Vec<(String, String, String, String)> {
        let arguments = [&["verify", "--no-topics", "-o", "json"], more].concat();
        let (code, stdout, stderr) = self.esctl(&arguments).await;
        let lines: Vec<Value> =
            serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        assert_eq!(code, Some(if lines.is_empty() { 0 } else { 5 }), "{stdout}\n{stderr}");
        let text = |line: &Value, name| line[name].as_str().expect("text").to_owned();
        let of = |line| {
            (
                text(line, "check"),
                text(line, "place"),
                text(line, "aggregate_id"),
                text(line, "what"),
            )
        };
        lines.iter().map(of).collect()
    }

    /// Expects exactly one difference, of this place and aggregate, that says this.
    #[track_caller]
    fn expect(
        found: &[(String, String, String, String)],
        check: &str,
        place: &str,
        id: Uuid,
        says: &str,
    ) {
        let [(found_check, found_place, found_id, what)] = found else {
            panic!("not one difference in {place}, but {found:#?}");
        };
        let found = (found_check.as_str(), found_place.as_str(), found_id.as_str());
        assert_eq!(found, (check, place, id.to_string().as_str()), "{what}");
        assert!(what.contains(says), "{what:?} does not say {says:?}");
    }
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).expect("a short text")
}

fn items() -> Items {
    let quantity = Quantity::new(2).expect("a quantity");
    let unit_price = Amount::from_minor(450).expect("an amount");
    let item = Item { product_id: text("A-1"), quantity, unit_price };
    Items::new(vec![item]).expect("items")
}

async fn execute<A: Aggregate>(store: &EventStore, aggregate_id: Uuid, command: A::Command) {
    let command_id = Uuid::now_v7();
    let request = CommandRequest::<A> {
        name: "test",
        aggregate_id,
        command_id,
        fingerprint: "f".to_owned(),
        command,
        expected_version: None,
        causation_id: None,
        correlation_id: command_id,
        actor: None,
        trace_parent: None,
    };
    store.execute(request).await.expect("accepted");
}

async fn project(consumer: &dyn ChangeConsumer, events: &[RecordedEvent]) {
    let mut view = None;
    for event in events.iter().filter(|event| consumer.wants(&event.aggregate_type)) {
        let change = Change { event: event.clone(), topic: None };
        view = consumer.handle(&change, view.as_deref()).await.expect("handled");
    }
}

#[tokio::test]
async fn a_clean_system_has_no_differences() {
    let world = World::start().await;
    assert_eq!(world.verify(&[]).await, []);
    assert_eq!(world.verify(&["--slots", "0-15", "--rate", "1000"]).await, []);
    let (code, stdout, stderr) = world.esctl(&["verify", "--no-topics"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("CHECK") && stdout.lines().count() == 1, "{stdout}");
    assert!(stderr.contains("0 differences"), "{stderr}");
    let (code, _, stderr) = world.esctl(&["verify", "--slots", "99"]).await;
    assert_eq!(code, Some(2), "{stderr}");
    let (code, _, stderr) = world.esctl(&["verify"]).await;
    assert_eq!(code, Some(1), "no broker: {stderr}");
    assert!(stderr.contains("--no-topics"), "{stderr}");
}

#[tokio::test]
async fn damage_of_the_outbox_is_found() {
    let world = World::start().await;
    let place = "outbox_messages";
    world
        .run(&format!("DELETE FROM {place} WHERE aggregate_id = {ORDER} AND sequence_number = 2"))
        .await;
    World::expect(&world.verify(&[]).await, "outbox", place, ORDER, "not announced");

    let world = World::start().await;
    world.run(&format!("UPDATE {place} SET event_data = '{{}}' WHERE aggregate_id = {ORDER} AND sequence_number = 2")).await;
    World::expect(&world.verify(&[]).await, "outbox", place, ORDER, "another event_data");

    let world = World::start().await;
    world.run(&format!("UPDATE {place} SET topic = 'orders.event' WHERE aggregate_id = {ORDER} AND sequence_number = 2")).await;
    World::expect(&world.verify(&[]).await, "outbox", place, ORDER, "for topic");
}

#[tokio::test]
async fn damage_of_the_ledger_is_found() {
    let world = World::start().await;
    world
        .run(&format!(
            "DELETE FROM event_store WHERE aggregate_id = {ORDER} AND sequence_number = 2"
        ))
        .await;
    let found = world.verify(&[]).await;
    let says = |check: &str, what: &str| {
        found
            .iter()
            .any(|line| line.0 == check && line.3.contains(what) && line.2 == ORDER.to_string())
    };
    assert!(says("ledger", "version 2 should come before it"), "{found:#?}");
    assert!(says("outbox", "announced, but not stored"), "{found:#?}");

    let world = World::start().await;
    world.run(&format!("UPDATE event_store SET event_data = 'x' WHERE aggregate_id = {ORDER} AND sequence_number = 2")).await;
    let found = world.verify(&[]).await;
    assert!(
        found.iter().any(|line| line.0 == "read_model" && line.3.contains("cannot be folded")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|line| line.0 == "outbox" && line.3.contains("another event_data")),
        "{found:#?}"
    );
}

#[tokio::test]
async fn damage_of_the_read_models_is_found() {
    let world = World::start().await;
    // A row with an old version.
    let old = "UPDATE order_read_model USING TIMESTAMP 1000 SET version = 2, status = 'confirmed'";
    world.run(&format!("{old} WHERE order_id = {ORDER}")).await;
    let found = world.verify(&[]).await;
    World::expect(&found, "read_model", "order_read_model", ORDER, "version is 2, not 3");
    World::expect(
        &found,
        "read_model",
        "order_read_model",
        ORDER,
        "status is confirmed, not shipped",
    );

    // A row that is gone.
    let world = World::start().await;
    world.run(&format!("DELETE FROM customer_read_model WHERE customer_id = {CUSTOMER}")).await;
    let found = world.verify(&[]).await;
    World::expect(&found, "read_model", "customer_read_model", CUSTOMER, "is missing");
}

#[tokio::test]
async fn rows_that_no_aggregate_has_are_found() {
    // Doubled in a list: under a status that the order had before.
    let world = World::start().await;
    let columns = "status, day, spread, created_at, order_id, version, customer_id";
    let rows = world
        .session
        .query_unpaged("SELECT status, day, spread, created_at, order_id FROM orders_by_status", ())
        .await;
    let rows = rows.expect("read").into_rows_result().expect("rows");
    type Key = (String, i32, i32, scylla::value::CqlTimestamp, Uuid);
    let keys: Vec<Key> = rows.rows().expect("rows").map(|row| row.expect("a row")).collect();
    let key = keys.iter().find(|key| key.4 == ORDER).expect("listed").clone();
    let insert = format!(
        "INSERT INTO orders_by_status ({columns}) VALUES (?, ?, ?, ?, ?, 2, ?) USING TIMESTAMP 1000"
    );
    let doubled = ("confirmed", key.1, key.2, key.3, ORDER, CUSTOMER);
    world.session.query_unpaged(insert.as_str(), doubled).await.expect("insert");
    let found = world.verify(&[]).await;
    World::expect(&found, "read_model", "orders_by_status", ORDER, "should be gone");

    // Under one that it never had.
    let world = World::start().await;
    let doubled = ("cancelled", key.1, key.2, key.3, ORDER, CUSTOMER);
    world.session.query_unpaged(insert.as_str(), doubled).await.expect("insert");
    let found = world.verify(&[]).await;
    World::expect(&found, "read_model", "orders_by_status", ORDER, "never had such a row");

    // A foreign row, and only in its own slot.
    let stranger = Uuid::from_u128(0x99);
    let world = World::start().await;
    world
        .run(&format!("INSERT INTO order_read_model (order_id, version) VALUES ({stranger}, 1)"))
        .await;
    let found = world.verify(&[]).await;
    World::expect(&found, "read_model", "order_read_model", stranger, "no event of its aggregate");
    let mut in_slots = 0;
    for slot in 0..16 {
        in_slots += world.verify(&["--slots", &slot.to_string()]).await.len();
    }
    assert_eq!(in_slots, 1, "each row belongs to one slot");
}
