//! What is stored besides rows: schema, generation, the last timestamp, what is to be removed.

use super::catalog;
use crate::cdc::{Generation, Streams};
use crate::error::{CqlError, Result};
use crate::schema::Catalog;
use anyhow::{Context, bail};
use fjall::Keyspace;
use uuid::Uuid;

/// The layout of a data directory as a whole.
pub(super) const FORMAT: &[u8] = b"format";
/// One CDC generation, vnodes.
const FORMAT_FIRST: &[u8] = b"1";
/// The same, and [`STREAMS`]: written with the first of them.
pub(super) const FORMAT_WITH_STREAMS: &[u8] = b"2";
/// JSON of the schema.
pub(super) const CATALOG: &[u8] = b"catalog";
/// JSON of the first generation.
pub(super) const GENERATION: &[u8] = b"generation";
/// The last timestamp given, 8 bytes.
pub(super) const TIMESTAMP: &[u8] = b"timestamp";
/// Followed by a storage id: its rows are to be removed.
const DROPPED: &[u8] = b"dropped/";

/// Followed by the base table's id (zeros: vnodes) and the time in ms, 8 bytes: JSON of a further
/// generation.
const STREAMS: &[u8] = b"streams/";

/// Where a generation but the first is stored.
pub(super) fn streams_key(table: Option<Uuid>, time_millis: i64) -> Vec<u8> {
    let mut key = STREAMS.to_vec();
    key.extend(table.unwrap_or_default().as_bytes());
    key.extend((time_millis ^ i64::MIN).to_be_bytes());
    key
}

/// A generation as it is stored.
pub(super) fn encode_generation(generation: &Generation) -> Result<Vec<u8>> {
    serde_json::to_vec(generation)
        .map_err(|error| CqlError::server(format!("the generation cannot be stored: {error}")))
}

/// The mark that a table's rows are to be removed.
pub(super) fn dropped_key(storage_id: u32) -> Vec<u8> {
    let mut key = DROPPED.to_vec();
    key.extend(storage_id.to_be_bytes());
    key
}

/// The schema as it is stored.
pub(super) fn encode_catalog(catalog: &Catalog) -> Result<Vec<u8>> {
    serde_json::to_vec(&catalog::to_record(catalog))
        .map_err(|error| CqlError::server(format!("the schema cannot be stored: {error}")))
}

/// Everything that a data directory remembers.
pub(super) struct Meta {
    pub(super) catalog: Catalog,
    pub(super) streams: Streams,
    pub(super) last_timestamp: i64,
    pub(super) dropped: Vec<u32>,
}

/// Reads what is remembered; `None` if this is a new directory.
pub(super) fn load(meta: &Keyspace) -> anyhow::Result<Option<Meta>> {
    let Some(format) = meta.get(FORMAT)? else { return Ok(None) };
    if ![FORMAT_FIRST, FORMAT_WITH_STREAMS].contains(&&*format) {
        bail!(
            "the data directory has format {}, this server knows 1 and 2",
            String::from_utf8_lossy(&format),
        );
    }
    let need = |key: &[u8]| {
        meta.get(key)?.with_context(|| format!("{} is missing", String::from_utf8_lossy(key)))
    };
    let catalog = serde_json::from_slice(&need(CATALOG)?).context("the stored schema")?;
    let first = decode_generation(&need(GENERATION)?)?;
    let mut streams = Streams::new(first);
    for entry in meta.prefix(STREAMS) {
        let (key, record) = entry.into_inner()?;
        let table = key.get(STREAMS.len()..STREAMS.len() + 16).context("a stored generation")?;
        let table = Some(Uuid::from_slice(table)?).filter(|table| !table.is_nil());
        let generation = decode_generation(&record)?;
        if !streams.push(table, generation) {
            bail!("the stored generations are not in order");
        }
    }
    let last_timestamp = match meta.get(TIMESTAMP)? {
        Some(bytes) => i64::from_be_bytes(bytes[..].try_into().context("the last timestamp")?),
        None => i64::MIN,
    };
    let mut dropped = Vec::new();
    for entry in meta.prefix(DROPPED) {
        let key = entry.key()?;
        let id = key[DROPPED.len()..].try_into().context("a dropped table")?;
        dropped.push(u32::from_be_bytes(id));
    }
    let catalog = catalog::from_record(catalog).context("the stored schema")?;
    Ok(Some(Meta { catalog, streams, last_timestamp, dropped }))
}

fn decode_generation(record: &[u8]) -> anyhow::Result<Generation> {
    let generation: Generation = serde_json::from_slice(record).context("a stored generation")?;
    generation.check().context("a stored generation")?;
    Ok(generation)
}

/// Writes what a new directory begins with, durably.
pub(super) fn create(
    database: &fjall::Database,
    meta: &Keyspace,
    catalog: &Catalog,
    generation: &Generation,
) -> anyhow::Result<()> {
    let mut batch = database.batch();
    batch.insert(meta, FORMAT, FORMAT_FIRST);
    batch.insert(meta, GENERATION, serde_json::to_vec(generation)?);
    batch.insert(meta, CATALOG, encode_catalog(catalog)?);
    batch.commit()?;
    database.persist(fjall::PersistMode::SyncAll)?;
    Ok(())
}
