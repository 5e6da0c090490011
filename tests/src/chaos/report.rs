//! What came of a run, for people and for machines.

use crate::check::{Heal, Verdict};
use crate::history::{Fault, History};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A run that shows less than this is void, not green.
const FIRED_MIN: f64 = 0.8;
const ACCEPTED_MIN: f64 = 0.3;
const CONCURRENT_MIN: f64 = 0.05;
/// So many violations of a promise are shown; all are in the kept evidence.
const SHOWN_MAX: usize = 5;

/// The result of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether nothing is violated and the run is not void.
    pub ok: bool,
    /// Whether too little happened for a verdict.
    pub void: bool,
    /// Why it is void.
    pub void_because: Vec<String>,
    /// What chose everything.
    pub seed: u64,
    /// How many commands were sent; a command that was sent again counts once.
    pub commands: usize,
    /// The share of commands that were accepted.
    pub accepted_share: f64,
    /// The share of sendings that met another one at the same aggregate.
    pub concurrent_share: f64,
    /// Sendings of unknown outcome.
    pub unknown: usize,
    /// Faults that were planned.
    pub planned: usize,
    /// Faults that fired, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Processes that died without warning.
    pub kills: usize,
    /// How long it took after the last fault until everything was where it belongs.
    pub heal_seconds: f64,
    /// The verdict on each promise.
    pub promises: BTreeMap<&'static str, Verdict>,
    /// Where history, dump and logs are, when something is wrong.
    pub evidence: Option<PathBuf>,
}

impl Report {
    pub(super) fn new(
        history: &History,
        planned: usize,
        heal: &Heal,
        verdicts: Vec<(&'static str, Verdict)>,
    ) -> Self {
        let fired = || history.faults.iter().filter(|fault| fault.fired > 0);
        let mut faults = BTreeMap::new();
        for fault in fired() {
            *faults.entry(fault.kind.clone()).or_default() += 1;
        }
        let is_kill = |fault: &&Fault| fault.kind.starts_with("kill") || fault.kind == "power_cut";
        let unknown =
            |reply: &crate::history::Reply| matches!(reply, crate::history::Reply::Info { .. });
        let mut report = Self {
            ok: false,
            void: false,
            void_because: Vec::new(),
            seed: history.seed,
            commands: history.commands.len(),
            accepted_share: history.accepted_share(),
            concurrent_share: history.concurrent_share(),
            unknown: history.sendings.iter().filter(|sending| unknown(&sending.reply)).count(),
            planned,
            kills: fired().filter(is_kill).count(),
            faults,
            heal_seconds: heal.took.as_secs_f64(),
            promises: verdicts.into_iter().collect(),
            evidence: None,
        };
        report.void_because = report.too_little(fired().count());
        report.void = !report.void_because.is_empty();
        report.ok = !report.void && report.violated().is_empty();
        report
    }

    fn too_little(&self, fired: usize) -> Vec<String> {
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
        let fired = if self.planned == 0 { 1.0 } else { fired as f64 / self.planned as f64 };
        let mut reasons = Vec::new();
        for (share, least, what) in [
            (fired, FIRED_MIN, "of the planned faults fired"),
            (self.accepted_share, ACCEPTED_MIN, "of the commands were accepted"),
            (self.concurrent_share, CONCURRENT_MIN, "of the sendings met another one"),
        ] {
            if share < least {
                reasons.push(format!(
                    "{:.1} % {what}, at least {:.0} % must",
                    share * 100.0,
                    least * 100.0
                ));
            }
        }
        reasons
    }

    /// The promises that are broken.
    pub fn violated(&self) -> Vec<&'static str> {
        let broken = self.promises.iter().filter(|(_, verdict)| verdict.is_violated());
        broken.map(|(promise, _)| *promise).collect()
    }

    /// The last line for machines.
    pub fn json(&self) -> String {
        let mut value = serde_json::json!(self);
        let mut violations = serde_json::Map::new();
        for (promise, verdict) in &self.promises {
            value["promises"][promise] = verdict.name().into();
            if let Verdict::Violated(list) = verdict {
                let list: Vec<&String> = list.iter().take(SHOWN_MAX).collect();
                violations.insert((*promise).to_owned(), serde_json::json!(list));
            }
        }
        value["violations"] = violations.into();
        value.to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} commands, {:.0} % accepted, {:.0} % concurrent, {} answers unknown",
            self.seed,
            self.commands,
            self.accepted_share * 100.0,
            self.concurrent_share * 100.0,
            self.unknown
        )?;
        let fired: u64 = self.faults.values().sum();
        writeln!(f, "{fired} of {} planned faults fired, {} kills", self.planned, self.kills)?;
        for (kind, count) in &self.faults {
            writeln!(f, "    {count:>5}  {kind}")?;
        }
        writeln!(f, "everything in its place {:.1} s after the last fault", self.heal_seconds)?;
        let mut promises: Vec<_> = self.promises.iter().collect();
        promises.sort_by_key(|(promise, _)| promise[1..].parse::<u32>().unwrap_or_default());
        for (promise, verdict) in promises {
            match verdict {
                Verdict::Ok => writeln!(f, "    {promise:<4} ok")?,
                Verdict::NotChecked(why) => writeln!(f, "    {promise:<4} not checked: {why}")?,
                Verdict::Violated(list) => {
                    writeln!(f, "    {promise:<4} VIOLATED, {} times", list.len())?;
                    for violation in list.iter().take(SHOWN_MAX) {
                        writeln!(f, "         {violation}")?;
                    }
                }
            }
        }
        for reason in &self.void_because {
            writeln!(f, "void: {reason}")?;
        }
        if let Some(folder) = &self.evidence {
            writeln!(f, "history, dump and logs: {}", folder.display())?;
        }
        write!(f, "{}", if self.ok { "ok" } else { "NOT OK" })
    }
}
