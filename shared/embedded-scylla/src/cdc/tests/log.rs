//! The rows of every kind of change, their times, and which times are taken.

use super::*;

#[tokio::test]
async fn every_kind_of_change_is_logged_as_scylladb_does() {
    let fixture = Fixture::new(OFF);
    fixture.run(|m, ts| inserted(m, 1, 5, ts)).await;
    fixture
        .run(|m, ts| {
            let row = m.row_mut(vec![int(1)]);
            set(row, V, None, ts);
            set(row, W, Some(7), ts);
        })
        .await;
    fixture
        .run(|m, ts| {
            m.set_static(S, Cell::live(ts, int(9)));
            inserted(m, 2, 5, ts);
        })
        .await;
    fixture.run(|m, ts| m.set_static(S, Cell::live(ts, int(10)))).await;
    fixture.run(|m, ts| delete_row(m, 1, ts)).await;
    fixture.run(|m, ts| set(m.row_mut(vec![int(2)]), V, None, ts)).await;
    fixture.run(|m, ts| delete_range(m, Bound::Included(2), Bound::Excluded(5), ts)).await;
    fixture.run(|m, ts| delete_range(m, Bound::Excluded(5), Bound::Unbounded, ts)).await;
    fixture.run(|m, ts| m.set_tombstone(tombstone(ts, 1))).await;
    fixture
        .run(|m, ts| {
            marked(m, 3, ts);
        })
        .await;
    fixture
        .run(|m, ts| {
            let expiry = Some(Expiry { ttl: 1000, at: i64::MAX });
            let row = m.row_mut(vec![int(4)]);
            row.set_marker(Marker { timestamp: ts, expiry });
            row.set_cell(V, Cell { expiry, ..Cell::live(ts, int(4)) });
        })
        .await;
    check(
        &fixture.log(),
        &[
            &["0: c=1 end op2 v=5"],
            &["0: c=1 deleted_v end op1 w=7"],
            &["0: op1 s=9", "1: c=2 end op2 v=5"],
            &["0: end op1 s=10"],
            &["0: c=1 end op3"],
            &["0: c=2 deleted_v end op1"],
            &["0: c=2 op5", "1: c=5 end op8"],
            &["0: c=5 op6", "1: end op7"],
            &["0: end op4"],
            &["0: c=3 end op2"],
            &["0: c=4 end op2 ttl=1000 v=4"],
        ],
    );
}

#[tokio::test]
async fn batches_are_logged_as_scylladb_does() {
    let fixture = Fixture::new(OFF);
    // Two inserts and an update of one of the rows: merged.
    fixture
        .run(|m, ts| {
            inserted(m, 1, 1, ts);
            inserted(m, 2, 2, ts);
            set(m.row_mut(vec![int(1)]), W, Some(3), ts);
        })
        .await;
    // Upserts before a delete: split.
    fixture
        .run(|m, ts| {
            delete_row(m, 3, ts);
            inserted(m, 2, 2, ts);
            inserted(m, 1, 1, ts);
        })
        .await;
    // A delete before an update: in clustering order.
    fixture
        .run(|m, ts| {
            set(m.row_mut(vec![int(2)]), W, Some(3), ts);
            delete_row(m, 1, ts);
        })
        .await;
    // Row and range; several ranges, which are joined where they overlap; an empty one.
    fixture
        .run(|m, ts| {
            delete_range(m, Bound::Included(5), Bound::Included(6), ts);
            inserted(m, 9, 1, ts);
        })
        .await;
    fixture
        .run(|m, ts| {
            delete_range(m, Bound::Included(7), Bound::Included(9), ts);
            delete_range(m, Bound::Included(1), Bound::Excluded(3), ts);
            delete_range(m, Bound::Excluded(2), Bound::Excluded(4), ts);
            delete_range(m, Bound::Included(6), Bound::Excluded(6), ts);
        })
        .await;
    check(
        &fixture.log(),
        &[
            &["0: c=1 op2 v=1 w=3", "1: c=2 end op2 v=2"],
            &["0: c=1 op2 v=1", "1: c=2 op2 v=2", "2: c=3 end op3"],
            &["0: c=1 op3", "1: c=2 end op1 w=3"],
            &["0: c=9 op2 v=1", "1: c=5 op5", "2: c=6 end op7"],
            &["0: c=1 op5", "1: c=4 op8", "2: c=7 op5", "3: c=9 end op7"],
        ],
    );
}

#[tokio::test]
async fn ttls_and_timestamps_split_a_change() {
    let fixture = Fixture::new(OFF);
    fixture
        .run(|m, ts| {
            let expiry = Some(Expiry { ttl: 60, at: i64::MAX });
            let row = m.row_mut(vec![int(1)]);
            row.set_cell(V, Cell { expiry, ..Cell::live(ts, int(4)) });
            set(row, W, None, ts);
        })
        .await;
    fixture
        .run(|m, ts| {
            inserted(m, 2, 20, ts);
            set(m.row_mut(vec![int(1)]), V, Some(10), ts - 10);
            set(m.row_mut(vec![int(2)]), W, Some(11), ts - 10);
        })
        .await;
    let log = fixture.log();
    check(
        &log,
        &[
            &["0: c=1 deleted_w op1", "1: c=1 end op1 ttl=60 v=4"],
            &["0: c=1 op1 v=10", "1: c=2 end op1 w=11"],
            &["0: c=2 end op2 v=20"],
        ],
    );
}

#[tokio::test]
async fn groups_with_one_timestamp_are_logged_in_the_order_of_their_commits() {
    let fixture = Fixture::new(OFF);
    let now = fixture.storage.write(|context| Ok(context.next_timestamp())).await.expect("it runs");
    for v in 0..300 {
        fixture.run(move |m, _| inserted(m, 1, v, now)).await;
    }
    let stream = fixture.storage.generation().stream(partition(1).token);
    let log = fixture.log_of(stream);
    assert_eq!(log.len(), 300);
    for (v, (time, rows)) in log.iter().enumerate() {
        assert_eq!(timeuuid::micros(time), now);
        assert_eq!(rows, &[format!("0: c=1 end op2 v={v}")]);
    }
}

#[tokio::test]
async fn write_timestamps_out_of_reach_are_refused() {
    let fixture = Fixture::new(OFF);
    let day = 86_400_000_000;
    for (timestamp, words) in [
        (
            100,
            "cdc: attempted to get a stream \"from the past\" (1970/01/01 00:00:00; current server time: ",
        ),
        (i64::MAX, "cdc: attempted to get a stream \"from the future\" ("),
    ] {
        let result = fixture.try_run(1, move |m, _| inserted(m, 1, 1, timestamp)).await;
        let error = result.expect_err("the timestamp is out of reach");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.starts_with(words), "{error}");
    }
    for offset in [-2 * day, 6_000_000] {
        let refused = fixture.try_run(1, move |m, now| inserted(m, 1, 1, now + offset)).await;
        assert!(refused.is_err(), "{offset}");
    }
    // The generation began a minute before the first boot.
    for offset in [-50_000_000, 4_000_000] {
        fixture.run(move |m, now| inserted(m, 1, 1, now + offset)).await;
    }
    assert_eq!(fixture.log().len(), 2);
}

#[tokio::test]
async fn log_rows_expire_with_the_log_and_carry_the_write_timestamp() {
    let fixture = Fixture::new(OFF);
    fixture.run(|m, ts| inserted(m, 1, 5, ts)).await;
    let stream = fixture.storage.generation().stream(partition(1).token);
    let key =
        PartitionKey { token: stream.token(), components: vec![Bytes::copy_from_slice(&stream.0)] };
    let view = fixture.storage.view();
    let row = view
        .rows(&fixture.log, &key, &Slice::all())
        .expect("readable")
        .next()
        .expect("a row")
        .expect("readable");
    let time = Uuid::from_slice(&row.clustering[0]).expect("a uuid");
    for cell in row.cells.values() {
        assert_eq!(cell.timestamp, timeuuid::micros(&time));
        let expiry = cell.expiry.expect("a TTL");
        assert_eq!(expiry.ttl, 86_400);
        assert!((expiry.at - view.now_seconds() - 86_400).abs() < 60, "{expiry:?}");
    }
}

#[tokio::test]
async fn a_log_read_from_any_time_gives_what_is_there() {
    let fixture = Fixture::new(OFF);
    let stream = fixture.storage.generation().stream(partition(1).token);
    for v in 0..5 {
        fixture.run(move |m, ts| inserted(m, 1, v, ts)).await;
    }
    let times: Vec<Uuid> = fixture.log_of(stream).into_iter().map(|(time, _)| time).collect();
    let key =
        PartitionKey { token: stream.token(), components: vec![Bytes::copy_from_slice(&stream.0)] };
    let count = |fixture: &Fixture, start: Bound<Vec<Bytes>>, reversed| {
        let slice = Slice { start, end: Bound::Unbounded, reversed };
        let view = fixture.storage.view();
        view.rows(&fixture.log, &key, &slice).expect("readable").count()
    };
    let check = |fixture: &Fixture| {
        for reversed in [false, true] {
            for (index, time) in times.iter().enumerate() {
                let at = || vec![Bytes::copy_from_slice(time.as_bytes())];
                assert_eq!(count(fixture, Bound::Included(at()), reversed), 5 - index);
                assert_eq!(count(fixture, Bound::Excluded(at()), reversed), 4 - index);
            }
        }
        let generation = fixture.storage.generation();
        let empty = generation.streams.iter().find(|other| **other != stream);
        assert_eq!(fixture.log_of(*empty.expect("several streams")), []);
    };
    check(&fixture);
    // After a restart, with a log that is there already.
    let fixture = fixture.reopened();
    check(&fixture);
    fixture.run(move |m, ts| inserted(m, 1, 5, ts)).await;
    let last = vec![Bytes::copy_from_slice(times[4].as_bytes())];
    assert_eq!(count(&fixture, Bound::Excluded(last), false), 1);
}
