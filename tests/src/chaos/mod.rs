//! A run of chaos: clients at work, a nemesis that strikes as a seed told it to, then healing,
//! settling, and the judgement on every promise.
//!
//! Lease terms, grace and safety interval are short in these runs, so that a minute holds many of
//! them. The load is bounded in number and time, and everything listens on loopback.

mod api;
mod board;
mod clients;
pub(crate) mod engine_port;
mod nemesis;
mod options;
mod patience;
mod poison;
mod report;
mod requests;
mod sampler;
mod scene;
mod schedule;
mod settle;

pub use options::ChaosOptions;
pub use poison::{Poison, PoisonEffect, Poisoned, set_poison};
pub use report::Report;
pub use scene::Scene;
pub use schedule::{Strike, Timed, schedule};

use crate::check::{Evidence, Heal, Sample, judge};
use crate::dump::Dump;
use crate::history::{History, Recorder};
use crate::hops::Hop;
use crate::names::{COMMAND_API, QUERY_API};
use crate::world::World;
use anyhow::{Context, anyhow};
use board::Board;
use clients::{Client, Doors};
use futures::future::join_all;
use local_stack::http::HttpClient;
use local_stack::{Process, Programs};
use nemesis::Nemesis;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How long a client waits for an answer: a little longer than the server does.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(4);
/// The same when everything is whole again and nobody should have to give up.
const PATIENT_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs, and judges. Errs when the run could not be made; what it found wrong is in the report.
pub async fn run(programs: &Programs, options: &ChaosOptions) -> anyhow::Result<Report> {
    let torture = async |scene: &Scene<'_>| {
        torture(&scene.nemesis, &scene.doors, options).await;
        Ok(())
    };
    perform(programs, options, torture).await
}

/// The same with a script in the place of clients and nemesis: what happens is written down step by
/// step, and nothing is left to chance. Errs also when a step cannot be made.
pub async fn run_script(
    programs: &Programs,
    options: &ChaosOptions,
    script: impl AsyncFnOnce(&Scene<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Report> {
    let script = async |scene: &Scene<'_>| {
        script(scene).await.context("the script")?;
        scene.note_rules().await
    };
    perform(programs, options, script).await
}

async fn perform(
    programs: &Programs,
    options: &ChaosOptions,
    act: impl AsyncFnOnce(&Scene<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Report> {
    let world = World::start_with(programs, options.plan()).await?;
    let recorder = Recorder::new(options.seed);
    let session = world.session().await?;
    let nemesis = Nemesis::new(&world, &session, recorder.clone())?;
    let doors = doors(&world, recorder.clone(), CLIENT_TIMEOUT)?;
    let scene = Scene::new(&world, nemesis, doors, &session, options.seed);
    let over = AtomicBool::new(false);
    let looking = sampler::sample(&scene, &over);
    let running = async {
        let acted = tokio::select! {
            acted = act(&scene) => acted,
            why = world.stack.given_up() => Err(anyhow!("a process does not stay up: {why}")),
        };
        let found = async {
            acted?;
            let patient =
                Doors { http: HttpClient::with_timeout(PATIENT_TIMEOUT), ..scene.doors.clone() };
            let settled = settle::settle(&scene, &patient, options.heal_limit).await;
            over.store(true, Ordering::Relaxed);
            let (heal, dump) = settled?;
            settle::question(&patient).await?;
            let disagreements = api::compare(&patient.http, &patient.queries, &dump).await?;
            anyhow::Ok((heal, dump, disagreements))
        };
        let found = found.await;
        over.store(true, Ordering::Relaxed);
        found
    };
    let (found, ()) = tokio::join!(running, looking);
    let (history, samples) = (recorder.snapshot(), scene.samples().await);
    let (heal, dump, disagreements) = match found {
        Ok(found) => found,
        Err(error) => {
            let folder = keep(&world, &history, None, &samples)?;
            return Err(error.context(format!("seed {}, evidence in {folder}", options.seed)));
        }
    };
    let report = conclude(&world, options, (&history, &dump, &disagreements, &samples, &heal))?;
    if report.violated().is_empty() {
        drop(scene);
        world.finish_after(is_expected).await?;
    }
    Ok(report)
}

/// Faults lead to warnings and errors, but not to panics; those of the embedded broker's own crates are
/// crashes like any other.
fn is_expected(line: &str) -> bool {
    !line.contains("panicked at") || line.contains("/tansu-")
}

type Found<'a> = (&'a History, &'a Dump, &'a [String], &'a [Sample], &'a Heal);

/// Judges, and keeps the evidence when something is wrong.
fn conclude(world: &World, options: &ChaosOptions, found: Found<'_>) -> anyhow::Result<Report> {
    let (history, dump, disagreements, samples, heal) = found;
    let evidence = Evidence {
        history,
        dump,
        disagreements: Some(disagreements),
        samples,
        heal,
        writers: Some(options.replicas.count(COMMAND_API)),
    };
    let verdicts = judge(&evidence);
    let mut report = Report::new(history, options.schedule.len(), heal, verdicts);
    if !report.violated().is_empty() {
        report.evidence = Some(keep(world, history, Some(dump), samples)?.into());
    }
    Ok(report)
}

/// Writes everything down beside the logs; gives the folder.
fn keep(
    world: &World,
    history: &History,
    dump: Option<&Dump>,
    samples: &[Sample],
) -> anyhow::Result<String> {
    let folder: &Path = world.logs();
    history.write(folder).context("keep the history")?;
    crate::history::write_lines(&folder.join("samples.jsonl"), samples.iter())?;
    if let Some(dump) = dump {
        std::fs::write(folder.join("dump.txt"), format!("{dump:#?}"))?;
    }
    Ok(folder.display().to_string())
}

/// Clients and nemesis side by side, until the schedule is through and the time is over, or the
/// clients have sent all they may.
async fn torture(nemesis: &Nemesis<'_>, doors: &Doors, options: &ChaosOptions) {
    let (board, stop) = (Board::default(), AtomicBool::new(false));
    let clients: Vec<Client<'_>> = (0..options.clients)
        .map(|number| Client { doors: doors.clone(), board: &board, number, pause: options.pause })
        .collect();
    let work = clients.iter().map(|client| client.work(options.seed, &stop, options.commands_max));
    let strikes = async {
        tokio::join!(nemesis.run(&options.schedule), sleep(options.duration));
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all(work), strikes);
}

fn doors(world: &World, recorder: Recorder, timeout: Duration) -> anyhow::Result<Doors> {
    let url = |process| {
        let proxy = world.hops.get(Hop::FromClients(process));
        proxy.map(|proxy| format!("http://{}", proxy.address())).context("a proxy for clients")
    };
    let replicas = world.stack.addresses().replicas(COMMAND_API);
    Ok(Doors {
        http: HttpClient::with_timeout(timeout),
        commands: (0..replicas)
            .map(|replica| url(Process::Worker(COMMAND_API, replica)))
            .collect::<anyhow::Result<_>>()?,
        queries: url(Process::Worker(QUERY_API, 0))?,
        recorder,
    })
}
