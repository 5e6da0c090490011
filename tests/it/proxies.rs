//! The stack behind proxies: every request passes one, and one process can be cut off alone.

use anyhow::{Context, ensure};
use dev_stack::demo::{create_order, items};
use harness::names::{COMMAND_API, QUERY_API};
use harness::{Dump, Expectations, Hop, Mode, Plan, World, verify};
use hyper::{Method, StatusCode};
use local_stack::http::HttpClient;
use local_stack::{Process, Replicas};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

fn url(world: &World, process: Process) -> anyhow::Result<String> {
    let proxy = world.hops.get(Hop::FromClients(process)).context("a proxy")?;
    Ok(format!("http://{}", proxy.address()))
}

/// Creates an order and gives its id when it was accepted.
async fn create(http: &HttpClient, commands: &str) -> anyhow::Result<Option<Uuid>> {
    let id = Uuid::now_v7();
    let mut body = create_order(Uuid::now_v7(), items(1));
    body["order_id"] = json!(id);
    let url = format!("{commands}/v1/orders");
    let answer = http.command(Method::POST, &url, &Uuid::now_v7().to_string(), &body).await?;
    Ok((answer.status == StatusCode::CREATED).then_some(id))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hop_has_a_proxy_and_one_process_can_be_cut_off_alone() -> anyhow::Result<()> {
    let replicas = Replicas::of([(COMMAND_API, 2)]);
    let world = World::start(Plan { replicas, proxied: true, ..Plan::default() }).await?;
    let http = HttpClient::with_timeout(Duration::from_secs(15));
    let (first, second) = (Process::Worker(COMMAND_API, 0), Process::Worker(COMMAND_API, 1));
    let (queries, commands) = (url(&world, Process::Worker(QUERY_API, 0))?, url(&world, first)?);
    let order = create(&http, &commands).await?.context("an order through the proxy")?;
    let shown = format!("{queries}/v1/orders/{order}");
    local_stack::wait_for("the order at query-api", Duration::from_secs(30), || async {
        match http.get(&shown).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;

    // The engine is out of reach of one process; the other one does not notice.
    let cut = world.hops.get(Hop::ToEngine(second)).context("a proxy")?;
    cut.set(Mode::Blackhole);
    ensure!(create(&http, &url(&world, second)?).await?.is_none(), "done without a database");
    ensure!(create(&http, &commands).await?.is_some(), "cut off as well");
    ensure!(cut.affected() > 0);
    cut.set(Mode::Pass);
    local_stack::wait_for("the process to be back", Duration::from_secs(30), || async {
        match create(&http, &url(&world, second).map_err(|error| error.to_string())?).await {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;

    let broker = &world.stack.addresses().broker;
    let session = world.session().await?;
    local_stack::wait_for("every promise to be kept", Duration::from_secs(60), || async {
        let dump = Dump::take(&session, broker, Duration::from_secs(30)).await;
        let dump = dump.map_err(|error| format!("{error:#}"))?;
        let violations = verify(&dump, &Expectations::default());
        if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
    })
    .await?;
    for hop in world.hops.all() {
        let proxy = world.hops.get(hop).context("a proxy")?;
        ensure!(proxy.open() > 0, "nobody goes through the proxy of {hop:?}");
    }
    world.finish_after(|_| true).await
}
