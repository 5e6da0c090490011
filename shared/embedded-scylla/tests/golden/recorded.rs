//! Runs the scripts of `testscripts/` against a server and compares its answers with the recorded
//! ones, statement by statement. A failure shows the first difference.

use crate::support::script::{self, Entry};
use crate::support::server::with_client;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts/golden")
}

/// A script and its recording.
fn read(name: &str) -> anyhow::Result<(String, String)> {
    let read = |extension: &str| {
        let path = folder().join(format!("{name}.{extension}"));
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    Ok((read("cql")?, read("out")?))
}

/// Compares with what ScyllaDB answered.
fn check(name: &str) -> anyhow::Result<()> {
    let (script, recording) = read(name)?;
    let recorded = script::parse_recording(&recording, &script)?;
    let answered = with_client(|client| script::run(client, &script))?;
    let differences = script::differences(&recorded, &answered);
    if let Some(first) = differences.first() {
        anyhow::bail!("{name}: {} answers differ, the first:\n{first}", differences.len());
    }
    Ok(())
}

macro_rules! golden {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                check($name)
            }
        )*

        const SCRIPTS: &[&str] = &[$($name),*];

        /// A script without a test would never run.
        #[test]
        fn every_script_has_its_test() -> anyhow::Result<()> {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(folder())? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "cql") {
                    found.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
                }
            }
            found.sort();
            assert_eq!(found, SCRIPTS);
            Ok(())
        }
    };
}

golden! {
    lwt "01_lwt"
    append "02_append"
    batch "03_batch"
    time "04_time"
    select "05_select"
    types "06_types"
    refusals "07_refusals"
    cdc "08_cdc"
    schema "09_schema"
}

/// What compares answers must not lose any on the way, nor take two that differ for one.
#[test]
fn recordings_are_understood_completely() -> anyhow::Result<()> {
    for name in SCRIPTS {
        let (script, recording) = read(name)?;
        let entries = script::parse_recording(&recording, &script)?;
        assert_eq!(script::render(&entries), recording, "{name} is not written as it was read");
        assert_eq!(script::differences(&entries, &entries), Vec::<String>::new());
        let changed: Vec<Entry> = entries.iter().map(with_another_last_line).collect();
        let statements = entries.iter().filter(|entry| !entry.answer.is_empty()).count();
        let found = script::differences(&entries, &changed).len();
        assert_eq!(found, statements, "{name}: every changed answer is a difference");
    }
    Ok(())
}

fn with_another_last_line(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let Some(last) = entry.answer.last_mut() {
        *last = "changed".to_owned();
    }
    entry
}
