//! Today's programs go on with the data of an earlier release.
//!
//! `tests/releases/record` made the folders: it paused the workers of a running stack, sent one more command, and killed
//! everything. When a test opens the folder, the CDC log has expired.

use anyhow::{Context, ensure};
use dev_stack::demo::{doors, run};
use harness::{Client, Machine, Outcome, binaries};
use hyper::Method;
use local_stack::{Addresses, Narrator, PLATFORM, Replicas, Stack, StackOptions};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(60);

/// What the release said before it was killed.
#[derive(Deserialize)]
struct Recorded {
    /// An order that may still be confirmed.
    open: Uuid,
    /// An order whose second event was announced, and handled by nobody.
    caught: Uuid,
    /// What `query-api` answered, by path.
    answers: BTreeMap<String, Value>,
}

fn recordings() -> anyhow::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("releases");
    let entries = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    let recordings: Vec<_> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    ensure!(!recordings.is_empty(), "nothing is recorded in {}", folder.display());
    Ok(recordings)
}

fn unpack(archive: &Path, into: &Path) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    let unpacked = tar.arg("-xzf").arg(archive).arg("-C").arg(into).status().context("run tar")?;
    ensure!(unpacked.success(), "tar cannot unpack {}", archive.display());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_of_every_release_before_goes_on_being_used() -> anyhow::Result<()> {
    let programs = binaries().await?;
    for recording in recordings()? {
        let folder = tempfile::tempdir()?;
        unpack(&recording.join("data.tar.gz"), folder.path())?;
        let recorded: Recorded =
            serde_json::from_slice(&std::fs::read(recording.join("answers.json"))?)?;
        let _machine = Machine::shared().await;
        let addresses = Addresses::free(&PLATFORM, &Replicas::default())?;
        let options = StackOptions::new(folder.path(), addresses, false)?;
        let stack = Stack::start(programs, options).await?;
        let went_on = goes_on(&stack, &recorded).await;
        went_on.with_context(|| format!("with the data of {}", recording.display()))?;
        stack.shutdown().await?;
    }
    Ok(())
}

async fn goes_on(stack: &Stack, recorded: &Recorded) -> anyhow::Result<()> {
    let client = Client::of(stack, 0);
    let caught = format!("/v1/orders/{}", recorded.caught);
    let shown = async |path: &str| {
        let answer = client.http.get(&format!("{}{path}", client.queries)).await?;
        ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
        Ok(answer.body)
    };
    for (path, before) in &recorded.answers {
        if !path.starts_with(&caught) {
            let now = shown(path).await?;
            ensure!(now == *before, "{path} was {before}, and is {now}");
        }
    }

    // What nobody had handled is handled, although its row of the log is gone.
    local_stack::wait_for("the event that nobody handled", SOON, || async {
        let order = shown(&caught).await.map_err(|error| format!("{error:#}"))?;
        if order["status"] == "confirmed" { Ok(()) } else { Err(order.to_string()) }
    })
    .await?;

    // Old aggregates take new commands.
    let confirm = format!("/v1/orders/{}/confirm", recorded.open);
    let key = Uuid::now_v7().to_string();
    let confirmed = client.settle(Method::POST, &confirm, &key, &json!({})).await;
    let Outcome::Accepted(events) = &confirmed else { anyhow::bail!("{confirm}: {confirmed:?}") };
    ensure!(matches!(events[..], [(2, _)]), "{confirm}: {events:?}");

    // Every hop works, and the stores agree with each other on the old and on the new.
    run(&doors(stack), &Narrator { speaks: false }).await?;
    stack.verify().await
}
