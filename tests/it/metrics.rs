//! What every process counts is documented.

use dev_stack::Process;
use dev_stack::demo::{Narrator, run};
use harness::{Plan, World};
use std::collections::BTreeSet;

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

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_for_its_process() -> anyhow::Result<()> {
    let world = World::start(Plan::default()).await?;
    run(&world.stack.addresses().into(), &Narrator { speaks: false }).await?;
    let mut undocumented = Vec::new();
    for (process, name) in [
        (Process::CommandApi(0), "command-api"),
        (Process::ProjectionWorker(0), "projection-worker"),
        (Process::OutboxRelay(0), "outbox-relay"),
        (Process::DlqRetrier, "dlq-retrier"),
        (Process::QueryApi, "query-api"),
        (Process::Engine, "embedded-scylla"),
    ] {
        let at = world.stack.addresses().metrics(process).unwrap_or_default();
        let answer = world.client(0).http.get(&format!("http://{at}/metrics")).await?;
        let text = answer.body.as_str().unwrap_or_default();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let found: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
        assert!(found.len() > 5, "{name} counts next to nothing: {found:?}");
        let known = documented(name);
        undocumented.extend(
            found
                .iter()
                .filter(|metric| !known.contains(*metric))
                .map(|metric| format!("{name}: {metric}")),
        );
        let silent: Vec<_> = known.difference(&found).collect();
        println!("{name}: not there before their first increment: {silent:?}");
    }
    assert!(undocumented.is_empty(), "{undocumented:#?}");
    world.finish().await
}
