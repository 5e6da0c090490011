//! Until there are dead letters: an event that cannot be handled stops its process, which says
//! which event it is, and the checkpoint stays before it.

use dev_stack::{Process, Signal};
use harness::{Plan, World};
use std::time::Duration;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_decoded_stops_the_projections_and_nobody_else()
-> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    let client = world.client(0);
    client.create().await?;
    let session = world.session().await?;
    let poisoned = Uuid::now_v7();
    let event_id = Uuid::now_v7();
    // An order whose first event says something that no release ever wrote.
    let metadata = serde_json::json!({
        "command_id": Uuid::nil(), "fingerprint": "", "causation_id": Uuid::nil(),
        "correlation_id": Uuid::nil(), "commit": {"index": 0, "count": 1},
    })
    .to_string();
    let columns = "aggregate_id, sequence_number, event_id, aggregate_type, event_type, \
        schema_version, event_data, metadata, recorded_at";
    let values = "?, 1, ?, 'order', 'OrderCreated', 1, '{\"colour\":\"green\"}', ?, \
        toTimestamp(now())";
    session
        .query_unpaged(
            format!("INSERT INTO event_store ({columns}) VALUES ({values}) IF NOT EXISTS"),
            (poisoned, event_id, &metadata),
        )
        .await?;
    session
        .query_unpaged(
            format!(
                "INSERT INTO outbox_messages ({columns}, topic, message_key) \
                 VALUES ({values}, 'orders.events', ?)"
            ),
            (poisoned, event_id, &metadata, poisoned.to_string()),
        )
        .await?;

    let log = world.logs().join("projection-worker.log");
    dev_stack::wait_for("the worker to name the event", Duration::from_secs(30), || async {
        let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let named = text.lines().any(|line| {
            line.contains(&event_id.to_string()) && line.contains(&poisoned.to_string())
        });
        if named { Ok(()) } else { Err(text.lines().last().unwrap_or_default().to_owned()) }
    })
    .await?;
    // It comes back, stumbles again, and never gets past the event.
    dev_stack::wait_for("the worker to stumble again", Duration::from_secs(30), || async {
        let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let stumbled = text.matches(&event_id.to_string()).count();
        if stumbled >= 2 { Ok(()) } else { Err(format!("{stumbled} times")) }
    })
    .await?;
    world.stack.stop(Process::ProjectionWorker(0), Signal::Kill).await?;
    let cursors = session
        .query_unpaged("SELECT consumer FROM consumer_cursors WHERE aggregate_id = ?", (poisoned,))
        .await?
        .into_rows_result()?;
    let consumers: Vec<String> = cursors
        .rows::<(String,)>()?
        .map(|row| row.map(|(name,)| name))
        .collect::<Result<_, _>>()?;
    assert!(!consumers.iter().any(|name| name.starts_with("orders")), "{consumers:?}");

    // The relay passes it on as it is, and commands go on.
    client.create().await?;
    assert!(world.stack.pid(Process::OutboxRelay(0)).is_some());
    world.finish_after(|_| true).await
}
