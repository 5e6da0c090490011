//! Properties of order, encodings and normal forms, over random types and values.

use super::ordered::encode_ordered;
use super::{collection, duration, timeuuid};
use crate::schema::CqlType;
use proptest::prelude::*;

/// Types that may stand in a key, nested a little.
fn any_type() -> impl Strategy<Value = CqlType> {
    use CqlType::*;
    let leaf = prop::sample::select(vec![
        Ascii, Bigint, Blob, Boolean, Date, Decimal, Double, Float, Inet, Int, Smallint, Text,
        Time, Timestamp, Timeuuid, Tinyint, Uuid, Varint,
    ]);
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| List(Box::new(item), true)),
            inner.clone().prop_map(|item| Set(Box::new(item), true)),
            (inner.clone(), inner.clone()).prop_map(|(key, item)| Map(
                Box::new(key),
                Box::new(item),
                true
            )),
            prop::collection::vec(inner, 1..3).prop_map(Tuple),
        ]
    })
}

/// A valid value of `ty`; close ones are likely, so that equality and prefixes occur.
fn value_of(ty: &CqlType) -> BoxedStrategy<Vec<u8>> {
    use CqlType::*;
    let small = prop_oneof![Just(0u8), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
    let bytes = |sizes: std::ops::Range<usize>| prop::collection::vec(small.clone(), sizes);
    let sized = |size: usize| prop_oneof![1 => Just(vec![]), 9 => bytes(size..size + 1)].boxed();
    let item = |ty: &CqlType| value_of(ty);
    match ty {
        Blob => bytes(0..5).boxed(),
        Text => "[\u{0}ab\u{ff}]{0,4}".prop_map(String::into_bytes).boxed(),
        Ascii => "[\u{0}ab]{0,4}".prop_map(String::into_bytes).boxed(),
        Boolean | Tinyint => sized(1),
        Smallint => sized(2),
        Int | Float | Date => sized(4),
        Bigint | Double | Timestamp => sized(8),
        Time => (0..86_400_000_000_000i64).prop_map(|nanos| nanos.to_be_bytes().to_vec()).boxed(),
        Uuid => sized(16),
        Timeuuid => (any::<u8>(), small.clone(), small)
            .prop_map(|(time, high, low)| {
                timeuuid::from_micros(
                    time.into(),
                    u64::from_be_bytes([high, low, 0, 0, 0, 0, 0, high]),
                )
                .into_bytes()
                .to_vec()
            })
            .boxed(),
        Inet => prop_oneof![sized(4), sized(16)].boxed(),
        Varint => bytes(0..4).boxed(),
        Decimal => (-3i32..4, bytes(1..4))
            .prop_map(|(scale, unscaled)| [scale.to_be_bytes().to_vec(), unscaled].concat())
            .boxed(),
        List(inner, _) | Set(inner, _) => prop::collection::vec(item(inner), 0..3)
            .prop_map(|items| collection::encode_list(&items).to_vec())
            .boxed(),
        Map(key, inner, _) => prop::collection::vec((item(key), item(inner)), 0..3)
            .prop_map(|entries| collection::encode_map(&entries).to_vec())
            .boxed(),
        Tuple(types) => {
            let components: Vec<_> = types.iter().map(|ty| prop::option::of(item(ty))).collect();
            (components, any::<bool>())
                .prop_map(|(mut components, short)| {
                    if short {
                        components.pop();
                    }
                    collection::encode_tuple(&components).to_vec()
                })
                .boxed()
        }
        Counter | Duration => unreachable!("not in any_type"),
    }
}

fn type_and_values() -> impl Strategy<Value = (CqlType, Vec<u8>, Vec<u8>, Vec<u8>)> {
    any_type().prop_flat_map(|ty| {
        let value = value_of(&ty);
        let again = prop_oneof![value.clone(), value.clone()];
        (Just(ty), value.clone(), again, value)
    })
}

fn encoded(ty: &CqlType, value: &[u8], descending: bool) -> Vec<u8> {
    let mut out = Vec::new();
    encode_ordered(ty, value, descending, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn encodings_order_as_values((ty, a, b, c) in type_and_values()) {
        ty.validate(&a).unwrap_or_else(|error| panic!("{ty} {a:?}: {error}"));
        let order = ty.compare(&a, &b);
        prop_assert_eq!(ty.compare(&b, &a), order.reverse());
        let (up_a, up_b) = (encoded(&ty, &a, false), encoded(&ty, &b, false));
        prop_assert_eq!(up_a.cmp(&up_b), order, "{} {:?} {:?}", ty, a, b);
        let (down_a, down_b) = (encoded(&ty, &a, true), encoded(&ty, &b, true));
        prop_assert_eq!(down_a.cmp(&down_b), order.reverse());
        // No encoding is a prefix of another: a component that follows does not disturb.
        let next = encoded(&ty, &c, false);
        let order_of_pairs = [up_a, next].concat().cmp(&up_b);
        if order.is_ne() {
            prop_assert_eq!(order_of_pairs, order);
        }
        // Transitive.
        if order.is_le() && ty.compare(&b, &c).is_le() {
            prop_assert!(ty.compare(&a, &c).is_le());
        }
    }

    #[test]
    fn normal_forms_are_stable((ty, a, _b, _c) in type_and_values()) {
        let once = ty.normalize(a.into()).unwrap_or_else(|error| panic!("{ty}: {error}"));
        let twice = ty.normalize(once.clone()).unwrap_or_else(|error| panic!("{ty}: {error}"));
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn no_bytes_make_it_panic(ty in any_type(), a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
        let _ = ty.validate(&a);
        let _ = ty.normalize(a.clone().into());
        let order = ty.compare(&a, &b);
        prop_assert_eq!(encoded(&ty, &a, false).cmp(&encoded(&ty, &b, false)), order);
        let _ = (ty.to_text(&a), ty.to_json(&a), ty.from_text(&String::from_utf8_lossy(&b)));
    }

    #[test]
    fn no_text_makes_it_panic(ty in any_type(), text in "[-+0-9.:eETZP ymodhs]{0,30}", name in any::<String>()) {
        let _ = ty.from_text(&text);
        let _ = duration::parse(&text);
        let _ = CqlType::parse(&name, "ks");
    }

    #[test]
    fn durations_read_back(months: i32, days: i32, nanos: i64) {
        let same_sign = duration::Duration {
            months: months.saturating_abs(),
            days: days.saturating_abs(),
            nanos: nanos.saturating_abs(),
        };
        prop_assert_eq!(duration::decode(&same_sign.encode()), Some(same_sign));
        prop_assert_eq!(duration::parse(&same_sign.to_string()).unwrap_or_default(), same_sign);
    }

    #[test]
    fn dates_read_back(days: u32, ms in -60_000_000_000_000i64..250_000_000_000_000) {
        for (ty, value) in [
            (CqlType::Date, days.to_be_bytes().to_vec()),
            (CqlType::Timestamp, ms.to_be_bytes().to_vec()),
        ] {
            let text = ty.to_text(&value);
            prop_assert_eq!(ty.from_text(&text), Ok(value.into()), "{}", text);
        }
    }
}
