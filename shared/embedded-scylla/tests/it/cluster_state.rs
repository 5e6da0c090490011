//! What the driver makes of the system tables. When its first look at them fails it still connects,
//! with a made-up node and no schema, so each fact is asserted.

use crate::support::Stand;
use std::collections::HashSet;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_sees_one_node_with_its_ranges_and_keyspaces() {
    let stand = Stand::new().await;
    stand
        .run(
            "CREATE TABLE outbox (p uuid, c bigint, v text, PRIMARY KEY (p, c)) \
             WITH CLUSTERING ORDER BY (c DESC) AND cdc = {'enabled': true, 'ttl': 86400} \
             AND default_time_to_live = 86400",
        )
        .await;
    stand.session.await_schema_agreement().await.expect("one node agrees with itself");
    stand.session.refresh_metadata().await.expect("the system tables are sound");
    let state = stand.session.get_cluster_state();

    let [node] = state.get_nodes_info() else { panic!("{:?}", state.get_nodes_info()) };
    let local = stand.session.query_unpaged("SELECT host_id FROM system.local", ()).await;
    let local = local.expect("system.local is there").into_rows_result().expect("rows");
    let (host_id,) = local.single_row::<(Uuid,)>().expect("one row");
    assert_eq!(node.host_id, host_id);
    assert_eq!(node.address.ip(), stand.server.address().ip());
    assert_eq!(node.address.port(), stand.server.address().port());
    assert_eq!(node.datacenter.as_deref(), Some("datacenter1"));
    assert_eq!(node.rack.as_deref(), Some("rack1"));
    assert!(node.is_connected());
    assert_eq!(node.sharder().map(|sharder| sharder.nr_shards.get()), Some(1));
    assert_eq!(state.replica_locator().ring().len(), 16);

    let names = state.keyspaces_iter().map(|(name, _)| name).collect::<HashSet<_>>();
    for name in ["system", "system_schema", "system_distributed", "ks"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    let keyspace = state.get_keyspace("ks").expect("it was made");
    let table = &keyspace.tables["outbox"];
    assert_eq!(
        (&table.partition_key[..], &table.clustering_key[..]),
        (&["p".to_owned()][..], &["c".to_owned()][..])
    );
    assert_eq!(table.partitioner, None);
    let log = &keyspace.tables["outbox_scylla_cdc_log"];
    assert_eq!(log.partitioner.as_deref(), Some("com.scylladb.dht.CDCPartitioner"));
    assert_eq!(log.partition_key, ["cdc$stream_id"]);
    assert_eq!(log.clustering_key, ["cdc$time", "cdc$batch_seq_no"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_id_tokens_and_schema_survive_a_restart() {
    use crate::support::connect;
    use embedded_scylla::server::{Server, ServerConfig};
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    stand.run("INSERT INTO t (p, v) VALUES (1, 2)").await;
    let facts = "SELECT host_id, tokens, schema_version FROM system.local WHERE key = 'local'";
    let before = stand.rows(facts).await;
    let Stand { session, server, _dir: dir } = stand;
    drop(session);
    server.shutdown().await;
    let server = Server::start(ServerConfig::ephemeral(dir.path())).await.expect("starts again");
    let session = connect(server.address()).await;
    session.use_keyspace("ks", false).await.expect("the keyspace is still there");
    let stand = Stand { session, server, _dir: dir };
    assert_eq!(stand.rows(facts).await, before);
    let rows = stand.rows("SELECT v FROM t WHERE p = 1").await;
    assert_eq!(format!("{rows:?}"), "[Row { columns: [Some(Int(2))] }]");
}
