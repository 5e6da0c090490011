//! Answers of DESCRIBE, and that they can be given back.

use crate::engine::{Engine, EngineConfig};
use crate::error::{CqlError, ErrorKind};
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::protocol::{QueryParams, Response, Rows, Values, consistency};
use crate::release::Release;
use crate::server::ConnectionContext;
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;

struct Fixture {
    engine: Engine,
    keyspace: Option<String>,
    _dir: TempDir,
}

impl Fixture {
    fn new(release: Release) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config =
            EngineConfig { release, token_ranges: 2, ..EngineConfig::new(dir.path().join("data")) };
        let metrics = Metrics::new().expect("metrics have different names");
        let engine = Engine::open(config, metrics, Faults::new(0)).expect("opens");
        Self { engine, keyspace: None, _dir: dir }
    }

    async fn run(&self, text: &str) -> Result<Response, CqlError> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connection = ConnectionContext {
            keyspace: self.keyspace.clone(),
            local_address: local(9042),
            peer: local(50_000),
        };
        let params = QueryParams {
            consistency: consistency::LOCAL_ONE,
            values: Values::Positional(Vec::new()),
            skip_metadata: false,
            page_size: Some(100),
            paging_state: None,
            serial_consistency: None,
            timestamp: None,
        };
        self.engine.query(&connection, text, params).await
    }

    async fn ok(&self, text: &str) {
        if let Err(error) = self.run(text).await {
            panic!("{text}\n{error:?}");
        }
    }

    async fn rows(&self, text: &str) -> Rows {
        match self.run(text).await {
            Ok(Response::Rows(rows)) => rows,
            other => panic!("{text}\n{other:?}"),
        }
    }

    /// The last column, row by row.
    async fn last(&self, text: &str) -> Vec<String> {
        let rows = self.rows(text).await.rows.into_iter();
        rows.map(|mut row| {
            let cell = row.pop().flatten().expect("no cell is null");
            String::from_utf8(cell.to_vec()).expect("text")
        })
        .collect()
    }

    async fn refused(&self, text: &str) -> String {
        let error = self.run(text).await.expect_err(text);
        assert_eq!(error.kind, ErrorKind::Invalid, "{text}: {error}");
        error.message
    }
}

const KEYSPACE: &str = "CREATE KEYSPACE ks WITH replication = \
    {'class': 'NetworkTopologyStrategy', 'replication_factor': 3}";

const TABLE: &str = r#"CREATE TABLE ks.t (p int, "Q" text, c bigint, "order" timeuuid, s inet static,
    l frozen<map<text, frozen<list<int>>>>, u tuple<int, text>, PRIMARY KEY ((p, "Q"), c, "order"))
    WITH CLUSTERING ORDER BY (c DESC, "order" ASC) AND comment = 'it''s' AND gc_grace_seconds = 7
    AND default_time_to_live = 60 AND cdc = {'enabled': true, 'preimage': 'full', 'ttl': 3600}
    AND compaction = {'class': 'LeveledCompactionStrategy', 'sstable_size_in_mb': '80'}"#;

#[tokio::test]
async fn a_table_is_described_with_all_its_options() {
    let fixture = Fixture::new(Release::Lenient);
    fixture.ok(KEYSPACE).await;
    fixture.ok(TABLE).await;
    let described = fixture.last("DESCRIBE TABLE ks.t").await;
    let expected = r#"CREATE TABLE ks.t (
    p int,
    "Q" text,
    c bigint,
    "order" timeuuid,
    s inet static,
    l frozen<map<text, frozen<list<int>>>>,
    u frozen<tuple<int, text>>,
    PRIMARY KEY ((p, "Q"), c, "order")
) WITH CLUSTERING ORDER BY (c DESC, "order" ASC)
    AND bloom_filter_fp_chance = 0.01
    AND caching = {'keys': 'ALL', 'rows_per_partition': 'ALL'}
    AND comment = 'it''s'
    AND compaction = {'class': 'LeveledCompactionStrategy', 'sstable_size_in_mb': '80'}
    AND compression = {'sstable_compression': 'org.apache.cassandra.io.compress.LZ4Compressor'}
    AND crc_check_chance = 1
    AND dclocal_read_repair_chance = 0
    AND default_time_to_live = 60
    AND gc_grace_seconds = 7
    AND max_index_interval = 2048
    AND memtable_flush_period_in_ms = 0
    AND min_index_interval = 128
    AND read_repair_chance = 0
    AND speculative_retry = '99.0PERCENTILE'
    AND cdc = {'delta': 'full', 'enabled': 'true', 'postimage': 'false', 'preimage': 'full', 'ttl': '3600'};"#;
    assert_eq!(described[0], expected);
    assert!(described[1].starts_with("ALTER TABLE ks.t_scylla_cdc_log WITH "), "{described:?}");
    assert_eq!(described.len(), 2);
    let log = fixture.last("DESC TABLE ks.t_scylla_cdc_log").await;
    assert!(log[0].starts_with("/* Not to be run"), "{log:?}");
    let internals = fixture.last("DESC TABLE ks.t WITH INTERNALS").await;
    assert!(internals[0].contains(") WITH ID = "), "{internals:?}");
}

/// What system tables say of a keyspace, apart from ids.
async fn facts(fixture: &Fixture) -> String {
    let mut facts = String::new();
    for query in [
        "SELECT * FROM system_schema.keyspaces WHERE keyspace_name = 'ks'",
        "SELECT table_name, caching, comment, compaction, compression, default_time_to_live, \
         gc_grace_seconds, speculative_retry FROM system_schema.tables WHERE keyspace_name = 'ks'",
        "SELECT * FROM system_schema.columns WHERE keyspace_name = 'ks'",
        "SELECT * FROM system_schema.scylla_keyspaces WHERE keyspace_name = 'ks'",
    ] {
        facts.push_str(&format!("{:?}\n", fixture.rows(query).await.rows));
    }
    facts
}

#[tokio::test]
async fn what_is_described_can_be_made_again_elsewhere() {
    for (release, clause) in [
        (Release::Lenient, ""),
        (Release::V5_4, ""),
        (Release::V2025_4, " AND tablets = {'enabled': false}"),
        (Release::V2025_4, " AND durable_writes = false"),
        (Release::V2025_4, " AND tablets = {'initial': 8}"),
    ] {
        let (from, to) = (Fixture::new(release), Fixture::new(release));
        from.ok(&format!("{KEYSPACE}{clause}")).await;
        from.ok(TABLE).await;
        from.ok("CREATE TABLE ks.plain (id uuid PRIMARY KEY)").await;
        from.ok("ALTER TABLE ks.t_scylla_cdc_log WITH comment = 'mine'").await;
        let statements = from.last("DESCRIBE KEYSPACE ks").await;
        assert_eq!(from.last("DESC SCHEMA").await, statements);
        for statement in &statements {
            to.ok(statement).await;
        }
        assert_eq!(facts(&from).await, facts(&to).await, "{release:?} {clause}");
        assert_eq!(to.last("DESCRIBE ks").await, statements);
    }
}

#[tokio::test]
async fn names_are_listed_and_found() {
    let mut fixture = Fixture::new(Release::Lenient);
    fixture.ok(KEYSPACE).await;
    fixture.ok("CREATE TABLE ks.b (p int PRIMARY KEY)").await;
    fixture.ok("CREATE TABLE ks.a (p int PRIMARY KEY)").await;
    let keyspaces = fixture.last("DESCRIBE KEYSPACES").await;
    let all = ["ks", "system", "system_distributed", "system_schema", "system_traces"];
    assert_eq!(keyspaces, all);
    assert!(fixture.last("DESC TABLES").await.contains(&"columns".to_owned()));
    assert!(fixture.refused("DESC TABLE a").await.contains("No keyspace specified"));
    assert_eq!(fixture.refused("DESC a").await, "'a' not found in keyspaces");
    assert_eq!(fixture.rows("DESC CLUSTER").await.columns.len(), 3);

    fixture.keyspace = Some("ks".to_owned());
    assert_eq!(fixture.last("DESC TABLES").await, ["a", "b"]);
    assert_eq!(fixture.last("DESCRIBE KEYSPACES").await, ["ks"]);
    assert_eq!(fixture.rows("DESCRIBE TYPES").await.rows.len(), 0);
    assert_eq!(fixture.last("DESC a").await, fixture.last("DESC COLUMNFAMILY ks.a").await);
    assert_eq!(fixture.last("DESC KEYSPACE").await.len(), 3);
    assert_eq!(fixture.last("DESC ONLY KEYSPACE").await.len(), 1);
    assert!(fixture.last("DESC FULL SCHEMA").await.len() > 20);
    for (text, message) in [
        ("DESC TABLE x", "Table 'x' not found in keyspace 'ks'"),
        ("DESC TYPE x", "Type 'x' not found in keyspace 'ks'"),
        ("DESC type", "'type' not found in keyspace 'ks'"),
        ("DESC MATERIALIZED VIEW x", "Materialized view 'x' not found in keyspace 'ks'"),
        ("DESC INDEX no.x", "'no' not found in keyspaces"),
        ("DESC x", "'x' not found in keyspace 'ks'"),
        ("DESC KEYSPACE x", "'x' not found in keyspaces"),
    ] {
        assert_eq!(fixture.refused(text).await, message, "{text}");
    }
    let cluster = fixture.rows("DESCRIBE CLUSTER").await;
    assert_eq!(cluster.columns[3].name, "range_ownership");
    let owners = cluster.rows[0][3].as_deref().expect("in a keyspace");
    let shown = cluster.columns[3].ty.to_text(owners);
    assert_eq!(shown.matches(r#"["127.0.0.1"]"#).count(), 2, "{shown}");
}

#[tokio::test]
async fn a_prepared_describe_says_what_columns_it_has() {
    let fixture = Fixture::new(Release::Lenient);
    let prepared = fixture.engine.prepare(None, "DESCRIBE KEYSPACES").expect("sound");
    let names: Vec<_> =
        prepared.metadata.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["keyspace_name", "type", "name"]);
}
