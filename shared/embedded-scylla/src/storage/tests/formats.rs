//! Records, keys and spans: what is written is read back, damage is noticed.

use crate::mutation::merge::{Version, newer};
use crate::mutation::{Cell, Expiry, Marker, PartitionKey, RowChange, Tombstone};
use crate::storage::key;
use crate::storage::ranges::{Edge, Span, Spans};
use crate::storage::record::{self, Header};
use crate::storage::testing::*;
use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..20).prop_map(Bytes::from)
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![Just(1_700_000_000_000_000), any::<i64>()]
}

fn expiry() -> impl Strategy<Value = Option<Expiry>> {
    let some = (any::<u32>(), any::<i64>()).prop_map(|(ttl, at)| Expiry { ttl, at });
    option::of(prop_oneof![Just(Expiry { ttl: 60, at: 1_700_000_060 }), some])
}

fn tombstones() -> impl Strategy<Value = Tombstone> {
    (timestamp(), any::<i64>())
        .prop_map(|(timestamp, deleted_at)| Tombstone { timestamp, deleted_at })
}

fn cell() -> impl Strategy<Value = Cell> {
    let live = (timestamp(), bytes(), expiry())
        .prop_map(|(timestamp, value, expiry)| Cell { expiry, ..Cell::live(timestamp, value) });
    let dead = (timestamp(), any::<i64>()).prop_map(|(timestamp, at)| Cell::dead(timestamp, at));
    prop_oneof![live, dead]
}

prop_compose! {
    fn row()(
        marker in option::of((timestamp(), expiry())),
        tombstone in option::of(tombstones()),
        cells in btree_map(any::<u16>(), cell(), 0..6),
    ) -> RowChange {
        let marker = marker.map(|(timestamp, expiry)| Marker { timestamp, expiry });
        RowChange { marker, tombstone, cells }
    }
}

prop_compose! {
    fn header()(
        tombstone in option::of(tombstones()),
        statics in btree_map(any::<u16>(), cell(), 0..4),
        ranges in vec((vec(any::<u8>(), 0..4), option::of(vec(any::<u8>(), 0..4)), tombstones()), 0..6),
    ) -> Header {
        let mut spans = Spans::default();
        for (start, end, tombstone) in ranges {
            let end = end.map_or(Edge::Open, Edge::At);
            spans.insert(Span { start: Edge::At(start), end, tombstone });
        }
        Header { tombstone, statics, ranges: spans }
    }
}

proptest! {
    #[test]
    fn rows_are_read_back(row in row(), clustering in vec(bytes(), 0..4)) {
        let record = record::encode_row(&clustering, &row);
        prop_assert_eq!(record::decode_row(&record), Ok((clustering, row)));
    }

    #[test]
    fn headers_are_read_back(header in header()) {
        let record = record::encode_header(&header);
        prop_assert_eq!(record::decode_header(&record), Ok(header));
    }

    #[test]
    fn damaged_records_are_errors_not_panics(
        row in row(),
        header in header(),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        noise in any::<u8>(),
    ) {
        let record = record::encode_row(&vec![int(1)], &row);
        prop_assert!(record::decode_row(&record[..cut.index(record.len())]).is_err());
        let mut damaged = record.clone();
        damaged[flip.index(record.len())] ^= noise;
        let _ = record::decode_row(&damaged);
        let record = record::encode_header(&header);
        prop_assert!(record::decode_header(&record[..cut.index(record.len())]).is_err());
        let mut damaged = record.clone();
        damaged[flip.index(record.len())] ^= noise;
        let _ = record::decode_header(&damaged);
    }

    #[test]
    fn noise_is_no_record(noise in vec(any::<u8>(), 0..100)) {
        let _ = record::decode_row(&noise);
        let _ = record::decode_header(&noise);
    }

    #[test]
    fn partition_keys_are_read_back_and_in_order(
        left in (any::<i64>(), vec(bytes(), 2)),
        right in (any::<i64>(), vec(bytes(), 2)),
        same_token in any::<bool>(),
    ) {
        let mut composite = table(3, None);
        composite.columns.insert(1, composite.columns[0].clone());
        composite.partition_key_len = 2;
        let left = PartitionKey { token: left.0, components: left.1 };
        let token = if same_token { left.token } else { right.0 };
        let right = PartitionKey { token, components: right.1 };
        let [left_prefix, right_prefix] =
            [&left, &right].map(|partition| key::partition_prefix(3, partition));
        for (partition, prefix) in [(&left, &left_prefix), (&right, &right_prefix)] {
            let stored = key::row_key(&composite, prefix, &[int(5)]);
            let (found, len) = key::decode_partition(&composite, &stored).expect("decodes");
            prop_assert_eq!((&found, len), (partition, prefix.len()));
        }
        let order = (left.token, &left.components).cmp(&(right.token, &right.components));
        prop_assert_eq!(left_prefix.cmp(&right_prefix), order);
        prop_assert!(left == right || !right_prefix.starts_with(&left_prefix));
    }

    #[test]
    fn damaged_keys_are_errors_not_panics(noise in vec(prop_oneof![Just(0u8), any::<u8>()], 0..40)) {
        let _ = key::decode_partition(&table(3, None), &noise);
    }

    #[test]
    fn spans_have_the_newest_tombstone_at_every_point_in_whatever_order_they_come(
        (ranges, shuffled) in vec((0u8..12, 0u8..12, 0i64..4, 0i64..2), 0..12)
            .prop_flat_map(|ranges| (Just(ranges.clone()), Just(ranges).prop_shuffle())),
    ) {
        let spans = |ranges: &[(u8, u8, i64, i64)]| {
            let mut spans = Spans::default();
            for (start, end, timestamp, deleted_at) in ranges {
                let tombstone = tombstone(*timestamp, *deleted_at);
                spans.insert(Span { start: Edge::At(vec![*start]), end: Edge::At(vec![*end]), tombstone });
            }
            spans
        };
        let built = spans(&ranges);
        for point in 0..13u8 {
            let mut expected: Option<Tombstone> = None;
            for (start, end, timestamp, deleted_at) in &ranges {
                if (*start..*end).contains(&point) {
                    newer(&mut expected, tombstone(*timestamp, *deleted_at));
                }
            }
            prop_assert_eq!(built.hiding(&[point]), expected, "at {}", point);
        }
        prop_assert_eq!(&built, &spans(&shuffled));
        prop_assert!(Spans::from_stored(built.as_slice().to_vec()).is_some());
    }

    #[test]
    fn versions_are_totally_ordered(a in cell(), b in cell(), c in cell()) {
        prop_assert_eq!(a.order(&b), b.order(&a).reverse());
        prop_assert!(a.order(&b).is_gt() || b.order(&c).is_gt() || a.order(&c).is_le());
        prop_assert!(a.order(&b).is_ne() || a == b);
    }
}

#[test]
fn spans_out_of_order_are_refused() {
    let span = |start: u8, end: u8| Span {
        start: Edge::At(vec![start]),
        end: Edge::At(vec![end]),
        tombstone: tombstone(1, 1),
    };
    for spans in [vec![span(3, 3)], vec![span(3, 2)], vec![span(1, 3), span(2, 4)]] {
        assert_eq!(Spans::from_stored(spans), None);
    }
}
