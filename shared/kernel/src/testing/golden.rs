//! The stored form of every event against files: one per event and schema version, added to, never
//! edited, for events of that form are in somebody's ledger.
//!
//! With the environment variable `BLESS` set, missing files are added. A sample that is not written as
//! before any more is a changed format: raise the schema version, and add an upcaster for the old one.

use crate::aggregates::{AggregateType, Aggregates, StoredSample};
use crate::event::EventKind;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Holds the samples of all aggregates to `folder`, which has one folder per aggregate type.
///
/// # Panics
///
/// If an event has no sample, is not written as before, or an old file cannot be read any more. The
/// message names it.
pub fn check(aggregates: Aggregates, folder: &Path) {
    if let Err(error) = aggregates.check() {
        panic!("the registration is incomplete: {}", whole(&error));
    }
    for known in aggregates {
        let folder = folder.join(known.name);
        let samples = known.samples().expect("a sample can be stored");
        let mut current = BTreeMap::new();
        for sample in &samples {
            let (name, now) = (file_name(sample.kind), file_of(sample));
            let path = folder.join(&name);
            hold(&path, &now);
            current.insert(name, sample);
        }
        old_files_are_read(known, &folder, &current);
    }
}

/// Holds a text to its file. With `BLESS` set, a missing file is added.
///
/// # Panics
///
/// If the file is missing or has another text. The message names it.
pub fn hold(path: &Path, now: &str) {
    if std::env::var_os("BLESS").is_some() && !path.exists() {
        let folder = path.parent().expect("a file in a folder");
        fs::create_dir_all(folder).expect("the folder of samples can be made");
        fs::write(path, now).expect("a sample can be written");
    }
    let before = fs::read_to_string(path).unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo bless` adds the sample", path.display())
    });
    assert_eq!(before, now, "{} is not written as before", path.display());
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn file_name(kind: EventKind) -> String {
    format!("{}.v{}.json", kind.name, kind.schema_version)
}

/// One line, written by hand so that the order of its fields does not depend on any map.
fn file_of(sample: &StoredSample) -> String {
    let StoredSample { kind: EventKind { name, schema_version }, data } = sample;
    format!("{{\"type\":\"{name}\",\"schema_version\":{schema_version},\"data\":{data}}}\n")
}

/// Every file must still be readable; that of a current schema version gives its sample back.
fn old_files_are_read(
    known: &AggregateType,
    folder: &Path,
    current: &BTreeMap<String, &StoredSample>,
) {
    for entry in fs::read_dir(folder).expect("the folder of samples can be listed") {
        let path = entry.expect("the folder of samples can be listed").path();
        let text = fs::read_to_string(&path).expect("a sample can be read");
        let file: serde_json::Value = serde_json::from_str(&text).expect("a sample is JSON");
        let event_type = file["type"].as_str().expect("a sample has a type");
        let version = file["schema_version"].as_u64().and_then(|v| u32::try_from(v).ok());
        let version = version.expect("a sample has a schema version");
        let again = known
            .read_again(event_type, version, &file["data"].to_string())
            .unwrap_or_else(|error| panic!("{} stopped decoding: {error:?}", path.display()));
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        assert_eq!(name, format!("{event_type}.v{version}.json"), "a sample has another name");
        if let Some(sample) = current.get(&name) {
            assert_eq!(again, sample.data, "{name} reads as something else");
        }
    }
}
