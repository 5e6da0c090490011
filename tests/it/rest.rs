//! Data that stays: a second start on the same folder goes on where the first one stopped.

use dev_stack::demo::{doors, run};
use harness::{Machine, binaries};
use local_stack::{Addresses, Narrator, PLATFORM, Replicas, Stack, StackOptions};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_continues_where_the_first_stopped() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let options = || -> anyhow::Result<StackOptions> {
        let addresses = Addresses::free(&PLATFORM, &Replicas::default())?;
        StackOptions::new(folder.path(), addresses, false)
    };
    let silent = Narrator { speaks: false };
    let programs = binaries().await?;
    let _machine = Machine::shared().await;
    let first = Stack::start(programs, options()?).await?;
    let report = run(&doors(&first), &silent).await?;
    assert_eq!(report.story.topic_events, 8);
    first.shutdown().await?;

    let second = Stack::start(programs, options()?).await?;
    let report = run(&doors(&second), &silent).await?;
    assert_eq!(
        report.story.topic_events, 16,
        "the topics hold what both runs published, each once"
    );
    second.shutdown().await?;
    Ok(())
}
