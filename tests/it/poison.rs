//! An event that a consumer cannot handle waits in a dead letter with its aggregate, and nothing
//! else does.

use harness::{Dump, Expectations, Plan, World, verify};
use local_stack::wait_for;
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;

const CONSUMER: &str = "orders@1";
/// 2026-11-24T10:00:00Z
const BEGAN_MS: i64 = 1_795_514_400_000;
const SOON: Duration = Duration::from_secs(30);

/// An order that no command made.
pub(crate) struct Order<'a> {
    world: &'a World,
    session: &'a Session,
    pub(crate) id: Uuid,
}

impl<'a> Order<'a> {
    pub(crate) fn new(world: &'a World, session: &'a Session) -> Self {
        Self { world, session, id: Uuid::now_v7() }
    }

    /// Commits and announces an event.
    pub(crate) async fn append(
        &self,
        version: i64,
        event_type: &str,
        data: &Value,
    ) -> anyhow::Result<()> {
        self.insert("event_store", "", version, event_type, data, "IF NOT EXISTS").await?;
        self.insert("outbox_messages", ", topic", version, event_type, data, "").await
    }

    /// Puts other data into a stored event, as nobody but a repair does, and announces it again.
    async fn repair(&self, version: i64, event_type: &str, data: &Value) -> anyhow::Result<()> {
        let cql = "UPDATE event_store SET event_data = ? WHERE aggregate_id = ? AND \
            sequence_number = ? IF EXISTS";
        self.session.query_unpaged(cql, (data.to_string(), self.id, version)).await?;
        self.insert("outbox_messages", ", topic", version, event_type, data, "").await
    }

    async fn insert(
        &self,
        table: &str,
        topic: &str,
        version: i64,
        event_type: &str,
        data: &Value,
        condition: &str,
    ) -> anyhow::Result<()> {
        let metadata = json!({
            "command_id": Uuid::nil(), "fingerprint": "", "causation_id": Uuid::nil(),
            "correlation_id": Uuid::nil(), "commit": {"index": 0, "count": 1},
        });
        let columns = "aggregate_id, sequence_number, event_id, event_type, event_data, metadata, \
            aggregate_type, schema_version, recorded_at";
        let topic_value = if topic.is_empty() { "" } else { ", 'orders.events'" };
        let cql = format!(
            "INSERT INTO {table} ({columns}{topic}) VALUES (?, ?, ?, ?, ?, ?, 'order', 1, \
             ?{topic_value}) {condition}"
        );
        let event_id = Uuid::new_v5(&self.id, &version.to_be_bytes());
        let (data, metadata) = (data.to_string(), metadata.to_string());
        let recorded_at = CqlTimestamp(BEGAN_MS + version);
        let row = (self.id, version, event_id, event_type, data, metadata, recorded_at);
        self.session.query_unpaged(cql, row).await?;
        Ok(())
    }

    /// Waits until its letter says so; gives its slot.
    async fn letter(&self, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<i64> {
        let slot = AtomicI64::new(-1);
        wait_for("the dead letter", SOON, || async {
            let listed = self.world.esctl(&["dlq", "list"]).await;
            let listed = listed.map_err(|error| format!("{error:#}"))?;
            let id = self.id.to_string();
            let found = listed.as_array().into_iter().flatten();
            let found = found.filter(|line| line["aggregate_id"] == id.as_str());
            let found: Vec<&Value> = found.collect();
            if found.len() != 1 || !wanted(found[0]) {
                return Err(listed.to_string());
            }
            slot.store(found[0]["slot"].as_i64().unwrap_or(-1), Ordering::SeqCst);
            Ok(())
        })
        .await?;
        Ok(slot.into_inner())
    }

    /// Waits until there is no letter and the read model has reached the version.
    async fn applied(&self, version: i64) -> anyhow::Result<()> {
        wait_for("the order to be applied", SOON, || async {
            let listed = self.world.esctl(&["dlq", "list"]).await;
            let listed = listed.map_err(|error| format!("{error:#}"))?.to_string();
            let found = self.version().await.map_err(|error| format!("{error:#}"))?;
            let is_gone = !listed.contains(&self.id.to_string());
            if is_gone && found == Some(version) {
                Ok(())
            } else {
                Err(format!("{found:?} {listed}"))
            }
        })
        .await?;
        Ok(())
    }

    /// What the read model shows.
    async fn version(&self) -> anyhow::Result<Option<i64>> {
        let cql = "SELECT version FROM order_read_model WHERE order_id = ?";
        let rows = self.session.query_unpaged(cql, (self.id,)).await?.into_rows_result()?;
        Ok(rows.maybe_first_row::<(i64,)>()?.map(|(version,)| version))
    }
}

/// A new order is in the read model within the time that it has without any letters.
async fn others_go_on(world: &World, session: &Session) -> anyhow::Result<()> {
    for _ in 0..5 {
        let id = world.client(0).create().await?;
        let other = Order { world, session, id };
        wait_for("another order to be applied", Duration::from_secs(5), || async {
            match other.version().await {
                Ok(Some(1)) => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
        .await?;
    }
    Ok(())
}

fn created() -> Value {
    json!({
        "customer_id": Uuid::now_v7(), "currency": "EUR",
        "items": [{"product_id": "tea", "quantity": 2, "unit_price_minor": 450}],
        "total_minor": 900, "created_at": "2026-11-24T10:00:00.000Z",
    })
}

fn shipped() -> Value {
    json!({
        "carrier": "DHL", "tracking_number": "JD014600006281230701",
        "shipped_at": "2026-11-24T10:02:00.000Z",
    })
}

/// What became of a letter, as a process logs it.
fn announced(line: &str) -> bool {
    line.contains("dead letter")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_decoded_parks_its_own_aggregate_and_nothing_else()
-> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    let session = world.session().await?;
    // An order whose first event says something that no release ever wrote.
    let order = Order::new(&world, &session);
    order.append(1, "OrderCreated", &json!({"colour": "green"})).await?;
    order.letter(|line| line["consumer"] == CONSUMER && line["version"] == 1).await?;
    order.append(2, "OrderConfirmed", &json!({"confirmed_at": "2026-11-24T10:01:00.000Z"})).await?;
    others_go_on(&world, &session).await?;
    order.letter(|line| line["state"] == "blocked" && line["class"] == "poison").await?;
    assert_eq!(order.version().await?, None, "what comes later waits");

    order.repair(1, "OrderCreated", &created()).await?;
    world.esctl(&["dlq", "retry", CONSUMER, &order.id.to_string()]).await?;
    order.applied(2).await?;
    order.append(3, "OrderShipped", &shipped()).await?;
    order.applied(3).await?;

    // The relay passed everything on, in order; every read model is the fold of the events.
    let broker = &world.stack.addresses().broker;
    let dump = Dump::take(&session, broker, SOON).await?;
    let mut violations = verify(&dump, &Expectations::default());
    // The topic has what was published before the repair, as it must.
    let before = format!("P3 {}/1 has other bytes on its topic", order.id);
    violations.retain(|violation| *violation != before);
    anyhow::ensure!(violations.is_empty(), "{violations:#?}");
    world.finish_after(announced).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_event_is_left_out_and_the_rest_goes_on() -> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    let session = world.session().await?;
    let order = Order::new(&world, &session);
    order.append(1, "OrderCreated", &created()).await?;
    order.applied(1).await?;
    order.append(2, "OrderConfirmed", &json!({"colour": "green"})).await?;
    let slot = i32::try_from(order.letter(|line| line["version"] == 2).await?)?;
    order.append(3, "OrderShipped", &shipped()).await?;
    let id = order.id.to_string();
    let discard = ["dlq", "discard", CONSUMER, &id, "--reason", "nobody can tell"];
    world.esctl(&discard).await.expect_err("only parked letters are discarded");
    // As after the last of its attempts, which would take minutes.
    let park = "UPDATE dead_letter_queue SET state = 'parked', revision = 1000, attempt = uuid() \
        WHERE consumer = ? AND slot = ? AND aggregate_id = ? IF EXISTS";
    session.query_unpaged(park, (CONSUMER, slot, order.id)).await?;
    order.letter(|line| line["state"] == "parked").await?;

    let discarded = world.esctl(&discard).await?;
    assert_eq!(discarded[0]["outcome"], "discarded");
    order.applied(3).await?;
    let cql = "SELECT version, reason FROM discards WHERE consumer = ? AND slot = ?";
    let rows = session.query_unpaged(cql, (CONSUMER, slot)).await?.into_rows_result()?;
    let (version, reason) = rows.single_row::<(i64, String)>()?;
    assert_eq!((version, reason.as_str()), (2, "nobody can tell"));
    others_go_on(&world, &session).await?;
    world.finish_after(announced).await
}
