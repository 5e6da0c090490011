//! Tables that hold no rows: what they show is made when it is asked for.
//!
//! | file | subject |
//! | --- | --- |
//! | `definitions` | their names and columns |
//! | `node` | `system.*`, `system_distributed.*` |
//! | `tablets` | `system.cdc_*` |
//! | `schema` | `system_schema.*` |
//! | `traces` | `system_traces.*` |
//! | `rows` | from values by name to rows |
//!
//! They are not part of the stored catalog, so a newer server shows newer definitions.

mod definitions;
mod node;
mod rows;
mod schema;
mod tablets;
mod traces;

pub(crate) use definitions::{keyspaces, placeholder};

use crate::cdc::Streams;
use crate::error::Result;
use crate::execute::slices;
use crate::mutation::{Cell, PartitionKey, Row, Slice, compare_clustering};
use crate::release::Release;
use crate::schema::{Catalog, ColumnId, Keyspace, Table};
use crate::storage::{KeyIterator, PartitionPosition, ReadRows, RowIterator};
use crate::trace::Traces;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

/// What a client is told of the node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Host id, tokens, streams.
    pub(crate) streams: Arc<Streams>,
    /// The name of the one-node cluster.
    pub(crate) cluster_name: String,
    /// Where clients shall connect; for each client where it connected to unless configured.
    pub(crate) rpc_address: IpAddr,
    /// What clients asked to be traced.
    pub(crate) traces: Arc<Traces>,
    /// Which release it is like.
    pub(crate) release: Release,
    /// The release of Cassandra that clients shall take it for.
    pub(crate) cassandra_version: String,
}

/// Virtual tables as one request sees them.
pub(crate) struct VirtualReader {
    /// The schema of that moment.
    pub(crate) catalog: Arc<Catalog>,
    /// The node.
    pub(crate) node: Node,
    /// The server's clock in seconds.
    pub(crate) now_seconds: i64,
}

impl VirtualReader {
    /// All keyspaces, those of the system included.
    pub(crate) fn keyspaces(&self) -> impl Iterator<Item = &Keyspace> {
        keyspaces().values().chain(self.catalog.keyspaces.values())
    }

    fn keyspace(&self, name: &[u8]) -> Option<&Keyspace> {
        let name = std::str::from_utf8(name).ok()?;
        keyspaces().get(name).or_else(|| self.catalog.keyspaces.get(name))
    }

    /// The partitions that a table shows, as components.
    fn partition_keys(&self, table: &Table) -> Vec<Vec<Bytes>> {
        match table.keyspace.as_str() {
            "system_schema" => self
                .keyspaces()
                .map(|keyspace| vec![Bytes::copy_from_slice(keyspace.name.as_bytes())])
                .collect(),
            _ => node::partition_keys(self, &table.name),
        }
    }

    fn rows_of(&self, table: &Table, key: &PartitionKey) -> Vec<Row> {
        let mut rows = match (table.keyspace.as_str(), key.components.as_slice()) {
            ("system_schema", [name]) => match self.keyspace(name) {
                Some(keyspace) => schema::rows(table, keyspace),
                None => Vec::new(),
            },
            (_, components) => node::rows(self, table, components),
        };
        let columns = table.clustering();
        rows.sort_by(|a, b| compare_clustering(columns, &a.clustering, &b.clustering));
        rows
    }
}

impl ReadRows for VirtualReader {
    fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    fn now_seconds(&self) -> i64 {
        self.now_seconds
    }

    fn statics(&self, _table: &Table, _key: &PartitionKey) -> Result<BTreeMap<ColumnId, Cell>> {
        Ok(BTreeMap::new())
    }

    fn rows<'a>(
        &'a self,
        table: &'a Table,
        key: &PartitionKey,
        slice: &Slice,
    ) -> Result<RowIterator<'a>> {
        let mut rows = self.rows_of(table, key);
        rows.retain(|row| slices::contains(table, slice, &row.clustering));
        if slice.reversed {
            rows.reverse();
        }
        Ok(Box::new(rows.into_iter().map(Ok)))
    }

    fn partitions<'a>(
        &'a self,
        table: &'a Table,
        start: Bound<PartitionPosition>,
        end: Bound<PartitionPosition>,
    ) -> Result<KeyIterator<'a>> {
        let mut keys: Vec<PartitionKey> = self
            .partition_keys(table)
            .into_iter()
            .map(|components| PartitionKey {
                token: crate::plan::terms::token(table.partitioner, &components),
                components,
            })
            .filter(|key| is_within(key, &start, &end))
            .collect();
        keys.sort_by(crate::execute::keys::order);
        Ok(Box::new(keys.into_iter().map(Ok)))
    }
}

fn is_within(
    key: &PartitionKey,
    start: &Bound<PartitionPosition>,
    end: &Bound<PartitionPosition>,
) -> bool {
    let order = |position: &PartitionPosition| match position {
        PartitionPosition::Token(token) => key.token.cmp(token),
        PartitionPosition::Key(other) => crate::execute::keys::order(key, other),
    };
    let after_start = match start {
        Bound::Unbounded => true,
        Bound::Included(position) => order(position).is_ge(),
        Bound::Excluded(position) => order(position).is_gt(),
    };
    let before_end = match end {
        Bound::Unbounded => true,
        Bound::Included(position) => order(position).is_le(),
        Bound::Excluded(position) => order(position).is_lt(),
    };
    after_start && before_end
}
