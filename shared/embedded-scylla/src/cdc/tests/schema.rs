//! The log table and the streams.

use super::*;

#[test]
fn the_log_table_has_the_columns_and_options_of_scylladb() {
    let mut base = testing::table(1, Some(OFF));
    let log = log_table(&base, None, Uuid::from_u128(2), 2);
    assert_eq!(log.name, log_name("t"));
    let names: Vec<_> = log.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "cdc$stream_id",
            "cdc$time",
            "cdc$batch_seq_no",
            "c",
            "cdc$deleted_s",
            "cdc$deleted_v",
            "cdc$deleted_w",
            "cdc$end_of_batch",
            "cdc$operation",
            "cdc$ttl",
            "p",
            "s",
            "v",
            "w"
        ]
    );
    let option = |name: &str| log.options.get(name).map(String::as_str);
    assert_eq!(option("comment"), Some("\"CDC log for ks.t\""));
    assert_eq!(option("gc_grace_seconds"), Some("0"));
    let compaction: serde_json::Value =
        serde_json::from_str(option("compaction").expect("there is one")).expect("JSON");
    assert_eq!(
        compaction,
        serde_json::json!({
            "class": "TimeWindowCompactionStrategy",
            "compaction_window_size": "60",
            "compaction_window_unit": "MINUTES",
            "expired_sstable_check_frequency_seconds": "1800",
        })
    );

    // ALTER TABLE t DROP v, ADD x: what stays keeps its place in storage.
    base.columns.retain(|column| column.name != "v");
    let mut added = base.columns.last().cloned().expect("columns");
    added.name = "x".into();
    added.id = 9;
    base.columns.push(added);
    let altered = log_table(&base, Some(&log), Uuid::from_u128(3), 3);
    assert_eq!((altered.id, altered.storage_id), (log.id, log.storage_id));
    assert!(altered.column("v").is_none() && altered.column("cdc$deleted_v").is_none());
    assert_eq!(altered.column("w").map(|c| c.id), log.column("w").map(|c| c.id));
    let new = altered.column("x").map(|column| column.id).expect("it was added");
    assert!(log.columns.iter().all(|column| column.id != new));
    assert_eq!(altered.options, log.options);
}

#[test]
fn generations_follow_the_test_vectors() {
    let generation = Generation::first(4, 1_000_000);
    assert_eq!(generation.tokens, [-4611686018427387905, -1, 4611686018427387903, i64::MAX]);
    assert_eq!(generation.time_millis, 940_000);
    for (index, stream) in generation.streams.iter().enumerate() {
        assert_eq!(stream.token(), generation.tokens[index]);
        let low = u64::from_be_bytes(stream.0[8..].try_into().expect("eight bytes"));
        assert_eq!((low >> 4 & ((1 << 22) - 1)) as usize, index);
        assert_eq!(low & 0xf, 1);
    }
    let index =
        |components: &[Bytes]| generation.range_index(crate::types::murmur3::token(components));
    assert_eq!(index(&[int(1)]), 1);
    assert_eq!(index(&[Bytes::from_static(b"a")]), 0);
    assert_eq!(index(&[Bytes::copy_from_slice(&1i64.to_be_bytes())]), 3);
    // Above the highest end the ring begins again.
    let small = Generation { tokens: vec![-10, 10], ..Generation::first(2, 0) };
    for (token, index) in [(i64::MIN, 0), (-10, 0), (-9, 1), (10, 1), (11, 0), (i64::MAX, 0)] {
        assert_eq!(small.range_index(token), index, "{token}");
    }
    assert_eq!(Generation::first(0, 0).tokens.len(), 1);
}

#[test]
fn stream_ids_follow_the_test_vector() {
    let id = StreamId::new(-4611686018427387904, 5, 0x2A_5A5A_5A5A);
    let hex: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "c000000000000000a969696968000051");
}
