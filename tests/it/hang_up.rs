//! A client that hangs up stops nothing half-way.

use anyhow::Context;
use dev_stack::demo::{create_order, items};
use harness::names::COMMAND_API;
use harness::{Dump, Expectations, Plan, World, seed, verify};
use local_stack::Process;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

const APPENDS: usize = 500;

/// Sends a create and closes the connection after `pause`, whatever has happened by then.
async fn create_and_hang_up(address: &str, id: Uuid, pause: Duration) -> anyhow::Result<()> {
    let mut body = create_order(Uuid::now_v7(), items(1));
    body["order_id"] = json!(id);
    let body = body.to_string();
    let request = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         idempotency-key: {id}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    tokio::time::sleep(pause).await;
    // The peer sees a reset, not an orderly end.
    let _ = stream.set_zero_linger();
    drop(stream);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vanished_client_began_is_either_absent_or_announced() -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed());
    let world = World::start(Plan::default()).await?;
    let addresses = world.stack.addresses();
    let address = addresses.http(Process::Worker(COMMAND_API, 0)).context("command-api")?;
    let mut sent = BTreeSet::new();
    for _ in 0..APPENDS {
        let id = Uuid::now_v7();
        sent.insert(id);
        let pause = Duration::from_micros(random.random_range(0..8_000));
        create_and_hang_up(address, id, pause).await?;
    }
    // A command that is answered now was accepted after all of them.
    world.client(0).create().await?;
    let session = world.session().await?;
    let broker = &world.stack.addresses().broker;
    let stored =
        local_stack::wait_for("stored events to be announced", Duration::from_secs(60), || async {
            let dump = Dump::take(&session, broker, Duration::from_secs(30)).await;
            let dump = dump.map_err(|error| format!("{error:#}"))?;
            let violations = verify(&dump, &Expectations::default());
            if violations.is_empty() { Ok(dump.events) } else { Err(format!("{violations:#?}")) }
        })
        .await?;
    let begun = stored.keys().filter(|id| sent.contains(id)).count();
    println!("{begun} of {APPENDS} were stored");
    assert!(begun > APPENDS / 10, "only {begun} of {APPENDS} got far enough to mean anything");
    world.finish().await
}
