//! Many writers, one aggregate, several processes.

use anyhow::ensure;
use dev_stack::demo::items;
use futures::future::join_all;
use harness::{Dump, Expectations, Outcome, Plan, Told, World, verify};
use hyper::Method;
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

const PROCESSES: usize = 3;
const COMMANDS_EACH: u32 = 8;

/// All writers change the items of one order at once; each waits for its answer before it sends
/// its next command.
async fn contend(writers: usize) -> anyhow::Result<()> {
    let world = World::start(Plan::command_apis(PROCESSES)).await?;
    let order = world.client(0).create().await?;
    let path = format!("/v1/orders/{order}/items");
    let tasks = (0..writers).map(|writer| {
        let (client, path) = (world.client(writer % PROCESSES), path.clone());
        async move {
            let mut told = Vec::new();
            for turn in 0..COMMANDS_EACH {
                // Each command is another one, and none is the order as it was created (quantity
                // 1), so that none finds its own effect already there.
                let quantity = 2 + turn + COMMANDS_EACH * u32::try_from(writer).unwrap_or_default();
                let body = json!({"items": items(quantity)});
                let key = Uuid::now_v7().to_string();
                let mut outcome = client.send(Method::PUT, &path, &key, &body).await;
                // Its wait ran out with a commit on its way: sent again, it is settled.
                if matches!(outcome, Outcome::Unknown(_)) {
                    outcome = client.settle(Method::PUT, &path, &key, &body).await;
                }
                told.push(Told { aggregate_id: Some(order), key, outcome });
            }
            told
        }
    });
    let told: Vec<Told> = join_all(tasks).await.concat();
    let mut accepted = 0;
    for command in &told {
        match &command.outcome {
            Outcome::Accepted(events) => {
                ensure!(events.len() == 1, "{command:?}");
                accepted += 1;
            }
            // Lost too often, or too many were waiting: a definite no.
            Outcome::Refused(409 | 412 | 429 | 503, _) => {}
            other => anyhow::bail!("a writer was told {other:?}"),
        }
    }
    ensure!(accepted > told.len() / 4, "only {accepted} of {} were accepted", told.len());

    settle(&world, order, accepted as u64 + 1).await?;
    let (session, broker) = (world.session().await?, &world.stack.addresses().broker);
    let expected = Expectations { told, complete: false };
    let dump =
        local_stack::wait_for("every promise to be kept", Duration::from_secs(30), || async {
            let dump = Dump::take(&session, broker, Duration::from_secs(30)).await;
            let dump = dump.map_err(|error| format!("{error:#}"))?;
            let violations = verify(&dump, &expected);
            if violations.is_empty() { Ok(dump) } else { Err(format!("{violations:#?}")) }
        })
        .await?;
    assert_eq!(dump.version(order), accepted as u64 + 1, "the create and each accepted command");
    // Whom a busy machine told to come again is in the log as well; those outcomes are settled above.
    world.finish_after(is_told).await
}

fn is_told(line: &str) -> bool {
    [r#"code="unavailable""#, r#"code="outcome_unknown""#].iter().any(|code| line.contains(code))
}

/// Waits until the read model shows a version.
async fn settle(world: &World, order: Uuid, version: u64) -> anyhow::Result<()> {
    let client = world.client(0);
    let url = format!("{}/v1/orders/{order}", client.queries);
    local_stack::wait_for("the read model", Duration::from_secs(30), || async {
        let answer = client.http.get(&url).await.map_err(|error| format!("{error:#}"))?;
        match answer.version() {
            Some(shown) if shown >= version => Ok(()),
            shown => Err(format!("{shown:?} of {version}")),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_of_one_order_in_three_processes() -> anyhow::Result<()> {
    contend(16).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_of_one_order_in_three_processes() -> anyhow::Result<()> {
    contend(64).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_that_saw_the_same_version_one_wins_and_the_others_get_412() -> anyhow::Result<()>
{
    let world = World::start(Plan::command_apis(PROCESSES)).await?;
    let order = world.client(0).create().await?;
    let answers = join_all((0..16_u32).map(|writer| {
        let client = world.client(writer as usize % PROCESSES);
        async move {
            let url = format!("{}/v1/orders/{order}/items", client.commands);
            let key = Uuid::now_v7().to_string();
            let headers = [
                ("idempotency-key", key.as_str()),
                ("content-type", "application/json"),
                ("if-match", "\"1\""),
            ];
            let body = json!({"items": items(10 + writer)}).to_string();
            client.http.request(Method::PUT, &url, &headers, Some(body.into())).await
        }
    }))
    .await;
    let mut statuses = Vec::new();
    for answer in answers {
        statuses.push(answer?.status.as_u16());
    }
    statuses.sort_unstable();
    let mut expected = vec![412; 16];
    expected[0] = 200;
    assert_eq!(statuses, expected);
    world.finish().await
}
