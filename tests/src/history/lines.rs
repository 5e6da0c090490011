//! A history as JSON lines: one record per invocation and one per completion, in the order of time.

use super::{Command, Fault, History, Lookup, Read, Reply, Reuse, Sending};
use serde::Serialize;
use std::io::{BufWriter, Write};
use std::path::Path;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Seed {
        seed: u64,
    },
    Invoke {
        at_us: u64,
        sending: usize,
        client: u32,
        replica: usize,
        command: usize,
        #[serde(flatten)]
        what: &'a Command,
    },
    Complete {
        at_us: u64,
        sending: usize,
        client: u32,
        command: usize,
        #[serde(flatten)]
        reply: &'a Reply,
    },
    Read(&'a Read),
    Lookup(&'a Lookup),
    Reuse(&'a Reuse),
}

impl History {
    /// Writes `history.jsonl` and `nemesis.jsonl` into a folder.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let mut lines: Vec<(u64, Line<'_>)> = vec![(0, Line::Seed { seed: self.seed })];
        for (index, sending) in self.sendings.iter().enumerate() {
            lines.push((sending.invoked_us, self.invoke(index, sending)));
            lines.push((sending.completed_us, complete(index, sending)));
        }
        lines.extend(self.reads.iter().map(|read| (read.completed_us, Line::Read(read))));
        lines.extend(self.lookups.iter().map(|lookup| (u64::MAX, Line::Lookup(lookup))));
        lines.extend(self.reuses.iter().map(|reuse| (u64::MAX, Line::Reuse(reuse))));
        lines.sort_by_key(|(at, _)| *at);
        write_lines(&folder.join("history.jsonl"), lines.iter().map(|(_, line)| line))?;
        let mut faults: Vec<&Fault> = self.faults.iter().collect();
        faults.sort_by_key(|fault| fault.began_us);
        write_lines(&folder.join("nemesis.jsonl"), faults.iter())
    }

    fn invoke(&self, index: usize, sending: &Sending) -> Line<'_> {
        Line::Invoke {
            at_us: sending.invoked_us,
            sending: index,
            client: sending.client,
            replica: sending.replica,
            command: sending.command,
            what: &self.commands[sending.command],
        }
    }
}

fn complete(index: usize, sending: &Sending) -> Line<'_> {
    Line::Complete {
        at_us: sending.completed_us,
        sending: index,
        client: sending.client,
        command: sending.command,
        reply: &sending.reply,
    }
}

/// Writes values as JSON, one a line.
pub(crate) fn write_lines(
    path: &Path,
    lines: impl Iterator<Item = impl Serialize>,
) -> anyhow::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
