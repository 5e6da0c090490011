//! After the last fault: every outcome settled, everything where it belongs, and how long it took.

use super::clients::Doors;
use super::scene::Scene;
use crate::check::{Evidence, Heal, Verdict, judge};
use crate::dump::{Dump, Topics};
use crate::history::{History, Reply};
use crate::names::COMMAND_API;
use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Commands that are settled at the same time.
const AT_ONCE: usize = 48;
/// Pause before a command is sent again, or the stores are looked at again.
const PAUSE: Duration = Duration::from_millis(250);
/// Who sends in the end.
const SETTLER: u32 = u32::MAX;
/// How many keys are used again with another body.
const REUSES: usize = 40;
/// How long a dump waits for the next record of the topics.
const TOPICS: Duration = Duration::from_secs(2);

/// The promises that hold only when everything has come to rest.
const AT_REST: [&str; 5] = ["P7", "P8", "P9", "P11", "P14"];

/// Heals, settles and waits for quiescence, all within the limit; then gives the last dump.
pub(super) async fn settle(
    scene: &Scene<'_>,
    doors: &Doors,
    limit: Duration,
) -> anyhow::Result<(Heal, Dump)> {
    let begun = Instant::now();
    let deadline = begun + limit;
    let broker = &scene.world.stack.addresses().broker;
    let mut topics = None;
    let healed = async {
        scene.nemesis.heal().await.context("heal")?;
        eprintln!("all processes are ready again after {:.1} s", begun.elapsed().as_secs_f64());
        // Topics are long, and all of it has to be read.
        let topics = topics.insert(Topics::open(broker).await.context("read the topics")?);
        topics.follow(settle_open(doors)).await?;
        eprintln!("all outcomes are settled after {:.1} s", begun.elapsed().as_secs_f64());
        anyhow::Ok(())
    };
    let mut missing = match timeout_at(deadline, healed).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some("commands are still unsettled, or processes not ready".to_owned()),
    };
    let writers = scene.world.stack.addresses().replicas(COMMAND_API);
    let mut topics = match topics {
        Some(topics) => topics,
        None => Topics::open(broker).await.context("read the topics")?,
    };
    let dump = loop {
        let looked = Instant::now();
        let dump = Dump::take_what_is_there(scene.session, &mut topics, TOPICS).await;
        let restless = match &dump {
            Ok(dump) => restless(dump, writers),
            Err(error) => Some(format!("no dump: {error:#}")),
        };
        let Some(restless) = restless else { break dump };
        eprintln!("after {:.1} s: {restless}", begun.elapsed().as_secs_f64());
        if Instant::now() >= deadline {
            missing = missing.or(Some(restless));
            break dump;
        }
        // Looking costs the database something; at most half of the time goes to it.
        sleep(looked.elapsed().max(PAUSE)).await;
    };
    let took = begun.elapsed();
    Ok((Heal { took, limit, missing }, dump.context("the last dump")?))
}

/// What is not where it belongs yet.
fn restless(dump: &Dump, writers: usize) -> Option<String> {
    let (history, heal) =
        (History::default(), Heal { took: Duration::ZERO, limit: Duration::ZERO, missing: None });
    let evidence = Evidence {
        history: &history,
        dump,
        disagreements: None,
        samples: &[],
        heal: &heal,
        writers: Some(writers),
    };
    let broken = judge(&evidence)
        .into_iter()
        .filter(|(promise, verdict)| AT_REST.contains(promise) && verdict.is_violated());
    let broken: Vec<String> = broken
        .filter_map(|(promise, verdict)| match verdict {
            Verdict::Violated(list) => Some(format!("{promise} {} times, {}", list.len(), list[0])),
            Verdict::Ok | Verdict::NotChecked(_) => None,
        })
        .collect();
    (!broken.is_empty()).then(|| broken.join("; "))
}

/// Sends every command of unknown outcome again, with its own key, until the outcome is known.
async fn settle_open(doors: &Doors) {
    let open = doors.recorder.open_commands();
    let settled = stream::iter(open.into_iter().enumerate()).map(|(turn, index)| async move {
        let replica = turn % doors.commands.len();
        loop {
            let reply = doors.send(index, SETTLER, replica).await;
            if !reply.leaves_open() {
                return;
            }
            sleep(PAUSE).await;
        }
    });
    settled.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Asks for things that must have a certain answer: some keys again with another body, and what became
/// of each command that ever was of unknown outcome.
pub(super) async fn question(doors: &Doors) -> anyhow::Result<()> {
    let history = doors.recorder.snapshot();
    let accepted = history.sendings.iter().filter_map(|sending| match &sending.reply {
        Reply::Ok { events, .. } if !events.is_empty() => Some(sending.command),
        _ => None,
    });
    for (turn, index) in accepted.step_by(7).take(REUSES).enumerate() {
        doors.reuse(index, turn % doors.commands.len()).await.context("use a key again")?;
    }
    let mut asked: Vec<usize> = history
        .sendings
        .iter()
        .filter(|sending| matches!(sending.reply, Reply::Info { .. }))
        .map(|sending| sending.command)
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let looked = asked.into_iter().enumerate().map(|(turn, index)| async move {
        let replica = turn % doors.commands.len();
        doors.look_up(index, replica).await.with_context(|| format!("look up {index}"))
    });
    stream::iter(looked).buffer_unordered(AT_ONCE).try_collect::<()>().await
}
