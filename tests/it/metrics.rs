//! What every process counts is documented, and what is documented is there after the demo.

use dev_stack::demo::{doors, run};
use harness::{Plan, World};
use local_stack::{Narrator, Process};
use std::collections::BTreeSet;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

const DOCS: &str = include_str!("../../docs/metrics.md");

/// The names in the first column of the tables under the headings that speak of a process.
fn documented(process: &str) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    let mut concerns = false;
    for line in DOCS.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            concerns = heading == "Every process" || heading.contains(process);
        } else if let Some(alone) = line.strip_suffix("alone:") {
            concerns = alone.contains(process);
        } else if let Some(name) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next())
            && concerns
        {
            names.insert(name);
        }
    }
    names
}

/// What is wrong with a process's metrics now.
async fn wrong(world: &World, process: Process, name: &str) -> anyhow::Result<Vec<String>> {
    let at = world.stack.addresses().metrics(process).unwrap_or_default();
    let answer = world.client(0).http.get(&format!("http://{at}/metrics")).await?;
    let text = answer.body.as_str().unwrap_or_default();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let found: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    anyhow::ensure!(found.len() > 5, "{name} counts next to nothing: {found:?}");
    let known = documented(name);
    let undocumented = found.difference(&known);
    let mut wrong: Vec<_> =
        undocumented.map(|metric| format!("{metric} is not documented")).collect();
    // The engine has a registry of its own, without what the processes have in common.
    if process != Process::Engine {
        let absent = known.difference(&found);
        wrong.extend(absent.map(|metric| format!("{metric} is documented, but not there")));
    }
    Ok(wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_for_its_process() -> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    run(&doors(&world.stack), &Narrator { speaks: false }).await?;
    for process in world.stack.processes().filter(|process| *process != Process::Broker) {
        let (name, _) = process.program();
        // Some are of slots, and come with the first window that is confirmed.
        local_stack::wait_for(&format!("the metrics of {name}"), SOON, || async {
            let wrong = wrong(&world, process, name).await.map_err(|error| format!("{error:#}"))?;
            if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?}")) }
        })
        .await?;
    }
    world.finish().await
}
