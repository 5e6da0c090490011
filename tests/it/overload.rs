//! Three times as much as the system can do: what is accepted is fast, the rest is refused at once,
//! memory stays bounded, the admin port answers, and what was told is true.

use harness::{Plan, World, alone, survives_overload};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn three_times_the_capacity_is_refused_and_not_died_of() -> anyhow::Result<()> {
    let _alone = alone().await;
    let world = World::start(Plan::default()).await?;
    survives_overload(&world, 3.0, Duration::from_secs(12)).await?;
    world.finish().await
}
