//! Three times as much as the system can do: what is accepted is fast, the rest is refused at once,
//! memory stays bounded, the admin port answers, and what was told is true.

use harness::{Load, Plan, World, survives_overload};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn three_times_the_capacity_is_refused_and_not_died_of() -> anyhow::Result<()> {
    let world = World::start(Plan { alone: true, ..Load::plan_of_few("command-api") }).await?;
    let commands = Load::slow_commands(&world).await?;
    survives_overload(&world, commands, 3.0, Duration::from_secs(12)).await?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_times_as_many_queries_are_refused_and_not_died_of() -> anyhow::Result<()> {
    let world = World::start(Plan { alone: true, ..Load::plan_of_few("query-api") }).await?;
    let queries = Load::slow_queries(&world).await?;
    survives_overload(&world, queries, 3.0, Duration::from_secs(8)).await?;
    world.finish().await
}
