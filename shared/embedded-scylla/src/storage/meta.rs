//! What is stored besides rows: schema, generation, the last timestamp, what is to be removed.

use super::catalog;
use crate::cdc::Generation;
use crate::error::{CqlError, Result};
use crate::schema::Catalog;
use anyhow::{Context, bail};
use fjall::Keyspace;

/// The layout of a data directory as a whole.
const FORMAT: &[u8] = b"format";
const FORMAT_VERSION: &[u8] = b"1";
/// JSON of the schema.
pub(super) const CATALOG: &[u8] = b"catalog";
/// JSON of the generation.
pub(super) const GENERATION: &[u8] = b"generation";
/// The last timestamp given, 8 bytes.
pub(super) const TIMESTAMP: &[u8] = b"timestamp";
/// Followed by a storage id: its rows are to be removed.
const DROPPED: &[u8] = b"dropped/";

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
    pub(super) generation: Generation,
    pub(super) last_timestamp: i64,
    pub(super) dropped: Vec<u32>,
}

/// Reads what is remembered; `None` if this is a new directory.
pub(super) fn load(meta: &Keyspace) -> anyhow::Result<Option<Meta>> {
    let Some(format) = meta.get(FORMAT)? else { return Ok(None) };
    if &*format != FORMAT_VERSION {
        bail!(
            "the data directory has format {}, this server knows {}",
            String::from_utf8_lossy(&format),
            String::from_utf8_lossy(FORMAT_VERSION)
        );
    }
    let need = |key: &[u8]| {
        meta.get(key)?.with_context(|| format!("{} is missing", String::from_utf8_lossy(key)))
    };
    let catalog = serde_json::from_slice(&need(CATALOG)?).context("the stored schema")?;
    let generation: Generation =
        serde_json::from_slice(&need(GENERATION)?).context("the stored generation")?;
    generation.check().context("the stored generation")?;
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
    Ok(Some(Meta { catalog, generation, last_timestamp, dropped }))
}

/// Writes what a new directory begins with, durably.
pub(super) fn create(
    database: &fjall::Database,
    meta: &Keyspace,
    catalog: &Catalog,
    generation: &Generation,
) -> anyhow::Result<()> {
    let mut batch = database.batch();
    batch.insert(meta, FORMAT, FORMAT_VERSION);
    batch.insert(meta, GENERATION, serde_json::to_vec(generation)?);
    batch.insert(meta, CATALOG, encode_catalog(catalog)?);
    batch.commit()?;
    database.persist(fjall::PersistMode::SyncAll)?;
    Ok(())
}
