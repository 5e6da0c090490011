//! Data that stays: a second start on the same folder goes on where the first one stopped.

use dev_stack::demo::{Narrator, run};
use dev_stack::{Addresses, Detours, Output, Replicas, Stack, StackOptions};
use harness::{Machine, binaries};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_continues_where_the_first_stopped() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let options = || -> anyhow::Result<StackOptions> {
        Ok(StackOptions {
            data_dir: folder.path().to_owned(),
            addresses: Addresses::free(Replicas::default())?,
            output: Output::new(&folder.path().join("logs"), false)?,
            env: Vec::new(),
            env_of: Vec::new(),
            engine: Vec::new(),
            detours: Detours::default(),
            broker: None,
        })
    };
    let silent = Narrator { speaks: false };
    let programs = binaries().await?;
    let _machine = Machine::shared().await;
    let first = Stack::start(programs, options()?).await?;
    let report = run(&first.addresses().into(), &silent).await?;
    assert_eq!(report.topic_events, 8);
    first.shutdown().await?;

    let second = Stack::start(programs, options()?).await?;
    let report = run(&second.addresses().into(), &silent).await?;
    assert_eq!(report.topic_events, 16, "the topics hold what both runs published, each once");
    second.shutdown().await?;
    Ok(())
}
