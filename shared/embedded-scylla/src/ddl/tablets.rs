//! Tables on tablets: each one with CDC has streams of its own, one per tablet.

use super::{Editor, Rules};
use crate::cdc::{self, Generation};
use crate::error::{CqlError, Result};
use crate::schema::{Keyspace, Table};
use crate::storage::WriteContext;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How long before its creation a table's streams begin: as long as a write may be late.
const BEGUN_BEFORE_MS: i64 = 5_000;

/// The most tablets that a keyspace may ask for.
const INITIAL_MAX: u32 = 1024;

/// What a `tablets` clause asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    /// `{'enabled': false}`
    Off,
    /// `{'enabled': true}`, `{'initial': n}`; how many tables begin with, 0 if it is not said.
    On(u32),
}

/// Reads a `tablets` clause; an empty one asks for nothing.
pub(super) fn clause(options: &[(String, String)]) -> Result<Option<Clause>> {
    let (mut enabled, mut initial) = (None, None);
    for (name, value) in options {
        match (name.as_str(), value.to_ascii_lowercase().as_str()) {
            ("enabled", "true") => enabled = Some(true),
            ("enabled", "false") => enabled = Some(false),
            ("initial", count) => {
                let count = count.parse().ok().filter(|count| *count <= INITIAL_MAX);
                initial = Some(count.ok_or_else(|| {
                    CqlError::config(format!(
                        "Initial number of tablets must be from 0 to {INITIAL_MAX} (got {value})"
                    ))
                })?);
            }
            _ => {
                return Err(CqlError::config(format!(
                    "Invalid option {name} or value {value} for tablets"
                )));
            }
        }
    }
    match (enabled, initial) {
        (Some(false), Some(_)) => {
            Err(CqlError::config("Cannot set initial tablets when tablets are disabled"))
        }
        (Some(false), None) => Ok(Some(Clause::Off)),
        (None, None) => Ok(None),
        (Some(true), initial) | (None, initial) => Ok(Some(Clause::On(initial.unwrap_or(0)))),
    }
}

/// What a new keyspace with this clause has for [`Keyspace::tablets`].
pub(super) fn of_new_keyspace(
    editor: &Editor,
    name: &str,
    replication: &BTreeMap<String, String>,
    clause: Option<Clause>,
) -> Result<Option<u32>> {
    let Rules { release, tablets_enforced, .. } = editor.rules;
    let class = replication.get("class").map_or("", String::as_str);
    let class = class.rsplit('.').next().unwrap_or_default();
    let can = class == super::keyspace::NETWORK_TOPOLOGY;
    let unsuited = || CqlError::config(format!("{class} doesn't support tablet replication"));
    match clause {
        Some(Clause::On(_)) if !release.has_tablets() => Err(CqlError::config(format!(
            "Cannot create keyspace {name} with tablets: CDC and LWT do not work with them (see issue #16317); use tablets = {{'enabled': false}}"
        ))),
        Some(Clause::On(initial)) if can => Ok(Some(initial)),
        Some(Clause::On(_)) => Err(unsuited()),
        Some(Clause::Off) if release.has_tablets() && tablets_enforced => {
            Err(CqlError::config(format!(
                "Cannot create keyspace {name} without tablets: tablets_mode_for_new_keyspaces is enforced"
            )))
        }
        Some(Clause::Off) => Ok(None),
        None if release.has_tablets() && can => Ok(Some(0)),
        None if release.prefers_tablets_always() => Err(unsuited()),
        None => Ok(None),
    }
}

/// Refuses CDC on tablets where the release cannot do it.
pub(super) fn check_cdc(editor: &Editor, table: &Table) -> Result<()> {
    let keyspace = editor.catalog.keyspaces.get(&table.keyspace);
    let on_tablets = keyspace.is_some_and(|keyspace| keyspace.tablets.is_some());
    if on_tablets && editor.rules.release.refuses_cdc_and_lwt_on_tablets() {
        return Err(CqlError::invalid(format!(
            "Cannot create CDC log for a table {}.{}, because keyspace uses tablets. See issue #16317.",
            table.keyspace, table.name
        )));
    }
    Ok(())
}

/// A keyspace stays what it is.
pub(super) fn check_altered(keyspace: &Keyspace, clause: Option<Clause>) -> Result<()> {
    match (clause, keyspace.tablets) {
        (None, _) | (Some(Clause::Off), None) | (Some(Clause::On(_)), Some(_)) => Ok(()),
        (Some(Clause::Off), Some(_)) | (Some(Clause::On(_)), None) => {
            Err(CqlError::invalid("Cannot alter replication strategy vnode/tablets flavor"))
        }
    }
}

/// Gives tables that are new to CDC on tablets their first streams, and forgets those of tables that
/// are gone.
pub(super) fn follow(context: &mut WriteContext<'_>, editor: &Editor) -> Result<()> {
    let streams = context.streams().clone();
    for (gone, _) in
        streams.tablet_tables().filter(|(id, _)| !editor.tables().any(|table| table.id == *id))
    {
        context.forget_streams(gone);
    }
    let begun = context.now_micros().div_euclid(1000).saturating_sub(BEGUN_BEFORE_MS);
    let host_id = streams.vnodes().first().host_id;
    for (table, count) in on_tablets(editor) {
        if streams.tablets(table).is_none() {
            context.open_streams(Some(table), Generation::of_tablets(host_id, count, begun))?;
        }
    }
    Ok(())
}

/// The tables with CDC on tablets, and how many a new one has.
fn on_tablets(editor: &Editor) -> Vec<(Uuid, usize)> {
    let keyspaces = editor.catalog.keyspaces.values();
    let with_count = keyspaces.filter_map(|keyspace| {
        let initial = keyspace.tablets?;
        let asked = if initial > 0 { initial } else { editor.rules.tablets_per_table };
        Some((keyspace, asked as usize))
    });
    let tables = with_count.flat_map(|(keyspace, count)| {
        let logged = keyspace.tables.values().filter(|table| cdc::is_logged(table));
        logged.map(move |table| (table.id, count))
    });
    tables.collect()
}
