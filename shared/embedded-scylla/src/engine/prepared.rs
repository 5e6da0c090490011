//! Prepared statements, by an id that depends on nothing but keyspace and text.

use crate::plan::Planned;
use crate::protocol::PreparedMetadata;
use crate::schema::Catalog;
use bytes::Bytes;
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::sync::Arc;

/// A prepared statement.
#[derive(Debug)]
pub struct Prepared {
    /// MD5 of keyspace and text.
    pub id: Bytes,
    /// Markers and result columns.
    pub metadata: PreparedMetadata,
    keyspace: Option<String>,
    text: String,
    planned: Planned,
}

/// The id of a statement.
pub(super) fn id(keyspace: Option<&str>, text: &str) -> Bytes {
    let mut hash = Md5::new();
    hash.update(keyspace.unwrap_or_default());
    hash.update(text);
    Bytes::copy_from_slice(&hash.finalize())
}

impl Prepared {
    pub(super) fn new(id: Bytes, keyspace: Option<&str>, text: &str, planned: Planned) -> Self {
        Self {
            id,
            metadata: planned.metadata.clone(),
            keyspace: keyspace.map(str::to_owned),
            text: text.to_owned(),
            planned,
        }
    }

    pub(super) fn planned(&self) -> &Planned {
        &self.planned
    }

    pub(super) fn keyspace(&self) -> Option<&str> {
        self.keyspace.as_deref()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it was made of this text; two texts might have one id.
    pub(super) fn is_of(&self, keyspace: Option<&str>, text: &str) -> bool {
        self.text == text && self.keyspace() == keyspace
    }

    /// Whether each of its tables is what it was, but for where its rows are stored.
    pub(super) fn differs_only_in_storage(&self, catalog: &Catalog) -> bool {
        self.planned.plan.tables().into_iter().all(|table| {
            table.is_virtual
                || catalog.table(&table.keyspace, &table.name).is_some_and(|current| {
                    current.id == table.id
                        && current.columns == table.columns
                        && current.cdc == table.cdc
                        && current.default_time_to_live == table.default_time_to_live
                        && current.options == table.options
                })
        })
    }
}

/// The statements that clients have prepared, bounded in number and size.
#[derive(Debug)]
pub(super) struct Cache {
    statements: HashMap<Bytes, Entry>,
    count_max: usize,
    bytes_max: usize,
    bytes: usize,
    /// Counts uses.
    tick: u64,
}

#[derive(Debug)]
struct Entry {
    prepared: Arc<Prepared>,
    used: u64,
}

impl Cache {
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self {
            statements: HashMap::new(),
            count_max: count_max.max(1),
            bytes_max,
            bytes: 0,
            tick: 0,
        }
    }

    pub(super) fn get(&mut self, id: &Bytes) -> Option<Arc<Prepared>> {
        self.tick += 1;
        let entry = self.statements.get_mut(id)?;
        entry.used = self.tick;
        Some(Arc::clone(&entry.prepared))
    }

    pub(super) fn insert(&mut self, prepared: Arc<Prepared>) {
        self.remove(&prepared.id);
        self.bytes += prepared.text.len();
        self.tick += 1;
        self.statements.insert(prepared.id.clone(), Entry { prepared, used: self.tick });
        while self.statements.len() > self.count_max
            || (self.bytes > self.bytes_max && self.statements.len() > 1)
        {
            let oldest = self.statements.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            self.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, id: &Bytes) {
        if let Some(entry) = self.statements.remove(id) {
            self.bytes -= entry.prepared.text.len();
        }
    }
}
