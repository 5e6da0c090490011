//! Test vectors, taken from ScyllaDB's answers, and the words of refusals.

use super::murmur3::{cdc_token, token};
use super::{duration, timeuuid};
use crate::ast::{Literal, Term};
use crate::schema::CqlType;
use bytes::Bytes;
use std::cmp::Ordering;
use uuid::Uuid;

fn ty(text: &str) -> CqlType {
    CqlType::parse(text, "ks").unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn integer(text: &str) -> Term {
    Term::Literal(Literal::Integer(text.to_owned()))
}

fn string(text: &str) -> Term {
    Term::Literal(Literal::String(text.to_owned()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a text, as hex, or the error.
fn from_text(type_name: &str, text: &str) -> String {
    match ty(type_name).from_text(text) {
        Ok(value) => hex(&value),
        Err(error) => error.message,
    }
}

#[test]
fn tokens_are_those_that_scylladb_gives() {
    let text = |text: &'static str| vec![Bytes::from_static(text.as_bytes())];
    let int = |value: i32| Bytes::copy_from_slice(&value.to_be_bytes());
    let uuid: Uuid = "11111111-2222-3333-4444-555555555555".parse().expect("a uuid");
    for (key, expected) in [
        (vec![int(0)], -3485513579396041028),
        (vec![int(1)], -4069959284402364209),
        (vec![int(2)], -3248873570005575792),
        (vec![Bytes::copy_from_slice(&1i64.to_be_bytes())], 6292367497774912474),
        (text("a"), -8839064797231613815),
        (text("test"), -6017608668500074083),
        (text("kremówki"), 4354931215268080151),
        (vec![Bytes::from_static(&[0xff; 17])], -4128212798341382003),
        (vec![int(1), Bytes::from_static(b"a")], 6516349416904725244),
        (vec![Bytes::copy_from_slice(uuid.as_bytes())], -3194464110090069327),
    ] {
        assert_eq!(token(&key), expected, "{key:?}");
    }
}

#[test]
fn the_token_of_a_stream_id_is_its_first_half() {
    let id = [0xc0, 0, 0, 0, 0, 0, 0, 0, 0xa9, 0x69, 0x69, 0x69, 0x68, 0, 0, 0x51];
    assert_eq!(cdc_token(&id), -4611686018427387904);
    assert_eq!(cdc_token(&id[..15]), i64::MIN);
    assert_eq!(cdc_token(&[]), i64::MIN);
}

#[test]
fn timeuuids_are_those_that_scylladb_gives() {
    let micros = 1_700_000_000_123_456;
    let uuid = timeuuid::from_micros(micros, 0x8123_4567_89ab_cdef);
    assert_eq!(uuid.to_string(), "04c29680-833b-11ee-8123-456789abcdef");
    assert_eq!(timeuuid::micros(&uuid), micros);
    let ms = 1_700_000_000_123;
    assert_eq!(timeuuid::min_timeuuid(ms).to_string(), "04c284b0-833b-11ee-8080-808080808080");
    assert_eq!(timeuuid::max_timeuuid(ms).to_string(), "04c2abbf-833b-11ee-7f7f-7f7f7f7f7f7f");
    for extreme in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(timeuuid::from_micros(extreme, 0).get_version_num(), 1);
        timeuuid::min_timeuuid(extreme);
        timeuuid::max_timeuuid(extreme);
    }
}

#[test]
fn type_names_come_out_as_scylladb_writes_them() {
    for (text, shown) in [
        ("varchar", "text"),
        ("MAP<Text,int>", "map<text, int>"),
        ("frozen<list<int>>", "frozen<list<int>>"),
        ("tuple<int, text>", "frozen<tuple<int, text>>"),
        ("frozen<tuple<int,frozen<set<blob>>>>", "frozen<tuple<int, frozen<set<blob>>>>"),
        ("frozen<map<text, list<int>>>", "frozen<map<text, frozen<list<int>>>>"),
        ("set<text>", "set<text>"),
    ] {
        assert_eq!(ty(text).to_string(), shown);
        assert_eq!(ty(shown), ty(text), "what is shown reads back");
    }
    for (text, message) in [
        ("nosuchtype", "Unknown type ks.nosuchtype"),
        ("other.thing", "Unknown type other.thing"),
        (
            "frozen<int>",
            "frozen<> is only allowed on collections, tuples, and user-defined types (got int)",
        ),
        (
            "list<list<int>>",
            "Non-frozen collections are not allowed inside collections: list<list<int>>",
        ),
        ("list<int", "line 1:0 malformed type 'list<int'"),
        ("", "line 1:0 malformed type ''"),
    ] {
        assert_eq!(CqlType::parse(text, "ks").map_err(|error| error.message), Err(message.into()));
    }
    assert!(CqlType::parse(&"frozen<list<".repeat(10_000), "ks").is_err());
}

#[test]
fn texts_become_bytes() {
    for (type_name, text, bytes) in [
        ("bigint", "9223372036854775807", "7fffffffffffffff"),
        ("tinyint", "-128", "80"),
        ("date", "2026-11-23", "8000512c"),
        ("date", "2147483648", "80000000"),
        ("date", "-0001-01-01", "7ff503eb"),
        ("time", "12:34:56.789", "000029327b048f40"),
        ("timestamp", "2026-11-23 12:34:56.789+0000", "000001a20866fc95"),
        ("timestamp", "2026-11-23T14:34:56.789+02:00", "000001a20866fc95"),
        ("timestamp", "2026-11-23 07:34:56.789-05", "000001a20866fc95"),
        ("timestamp", "2026-11-23T12:34:56.789Z", "000001a20866fc95"),
        ("timestamp", "1700000000123", "0000018bcfe5687b"),
        ("timestamp", "1970-01-01", "0000000000000000"),
        ("timestamp", "1970-01-01+0100", "ffffffffffc91180"),
        ("inet", "127.0.0.1", "7f000001"),
        ("inet", "::1", "00000000000000000000000000000001"),
        ("varint", "-129", "ff7f"),
        ("varint", "128", "0080"),
        ("decimal", "-12.50", "00000002fb1e"),
        ("decimal", "1e3", "fffffffd01"),
        ("float", "-2.5", "c0200000"),
    ] {
        assert_eq!(from_text(type_name, text), bytes, "{text} as {type_name}");
    }
}

#[test]
fn durations_are_read_in_three_forms() {
    let duration = |months, days, nanos| Some(duration::Duration { months, days, nanos });
    let hour = 3_600_000_000_000;
    for (text, expected) in [
        ("1h30m", duration(0, 0, hour + hour / 2)),
        ("30000ms", duration(0, 0, 30_000_000_000)),
        ("-2mo3d", duration(-2, -3, 0)),
        ("P1Y2M3DT4H5M6S", duration(14, 3, 4 * hour + 306_000_000_000)),
        ("P0001-02-03T04:05:06", duration(14, 3, 4 * hour + 306_000_000_000)),
        ("P4W", duration(0, 28, 0)),
        ("5", None),
        ("5x", None),
        ("P", None),
        ("-", None),
        ("9999999999y", None),
    ] {
        assert_eq!(duration::parse(text), expected, "{text}");
    }
    // -1 month, the smallest vints, and the longest one.
    assert_eq!(duration(-1, 0, 0).map(|duration| hex(&duration.encode())), Some("010000".into()));
    let longest = duration(0, 0, i64::MAX).map(|duration| hex(&duration.encode()));
    assert_eq!(longest.as_deref(), Some("0000fffffffffffffffffe"));
}

#[test]
fn wrong_texts_are_refused_in_scylladbs_words() {
    for (type_name, text, message) in [
        (
            "bigint",
            "9223372036854775808",
            "marshaling error: Invalid number format '9223372036854775808'",
        ),
        (
            "smallint",
            "32768",
            "marshaling error: Value out of range for type org.apache.cassandra.db.marshal.ShortType: '32768'",
        ),
        (
            "timestamp",
            "yesterday",
            "marshaling error: unable to parse date 'yesterday': marshaling error: Unable to parse timestamp from 'yesterday'",
        ),
        (
            "ascii",
            "ü",
            "marshaling error: Value not compatible with type org.apache.cassandra.db.marshal.AsciiType: 'ü'",
        ),
        ("inet", "256.1.1.1", "marshaling error: Failed to parse inet_addr from '256.1.1.1'"),
        ("blob", "0x0", "An hex string representing bytes must have an even length"),
        (
            "timeuuid",
            "11111111-2222-3333-4444-555555555555",
            "marshaling error: Unsupported UUID version (3)",
        ),
        ("time", "24:00:00", "marshaling error: Timestamp format must be hh:mm:ss[.fffffffff]"),
        (
            "date",
            "2026-02-30",
            "marshaling error: Unable to coerce '2026-02-30' to a formatted date (long)",
        ),
    ] {
        assert_eq!(from_text(type_name, text), message);
    }
    for (type_name, literal, message) in [
        (
            "bigint",
            Literal::String("text".into()),
            "Invalid STRING constant (text) for \"c\" of type bigint",
        ),
        (
            "text",
            Literal::Integer("1".into()),
            "Invalid INTEGER constant (1) for \"c\" of type text",
        ),
        (
            "boolean",
            Literal::Integer("1".into()),
            "Invalid INTEGER constant (1) for \"c\" of type boolean",
        ),
        (
            "uuid",
            Literal::String("not a uuid".into()),
            "Invalid STRING constant (not a uuid) for \"c\" of type uuid",
        ),
    ] {
        assert_eq!(
            ty(type_name).literal(&literal, "c").map_err(|error| error.message),
            Err(message.into())
        );
    }
}

#[test]
fn collections_of_constants_are_normalised() {
    let text = |ty: &CqlType, term: &Term| {
        let value = ty.constant(term, "c").unwrap_or_else(|error| panic!("{term}: {error}"));
        ty.to_json(&value.expect("not null"))
    };
    let set = Term::Set(vec![string("b"), string("a"), string("b")]);
    assert_eq!(text(&ty("frozen<set<text>>"), &set), r#"["a", "b"]"#);
    let map = Term::Map(vec![(string("y"), integer("2")), (string("x"), integer("1"))]);
    assert_eq!(text(&ty("frozen<map<text, int>>"), &map), r#"{"x": 1, "y": 2}"#);
    assert_eq!(text(&ty("frozen<map<text, int>>"), &Term::Set(Vec::new())), "{}");
    let tuple = Term::Tuple(vec![integer("7"), Term::Null]);
    assert_eq!(text(&ty("tuple<int, text>"), &tuple), "[7, null]");
    let nested = Term::List(vec![Term::Set(vec![integer("2"), integer("-1")])]);
    assert_eq!(text(&ty("frozen<list<frozen<set<int>>>>"), &nested), "[[-1, 2]]");

    for (type_name, term, message) in [
        (
            "frozen<list<int>>",
            Term::List(vec![integer("1"), Term::Null]),
            "Cannot store NULL in list or set",
        ),
        (
            "frozen<list<int>>",
            Term::List(vec![string("x")]),
            "Invalid list literal for c: value 'x' is not of type int",
        ),
        ("int", Term::List(vec![integer("1")]), "Invalid list literal for c of type int"),
        (
            "frozen<set<int>>",
            Term::Map(vec![(integer("1"), integer("1"))]),
            "Invalid map literal for c of type frozen<set<int>>",
        ),
    ] {
        assert_eq!(
            ty(type_name).constant(&term, "c").map_err(|error| error.message),
            Err(message.into())
        );
    }
}

#[test]
fn malformed_values_are_refused() {
    let list_of = |count: i32| count.to_be_bytes().to_vec();
    for (type_name, value) in [
        ("int", vec![1, 2, 3]),
        ("text", vec![0xff]),
        ("ascii", vec![0x80]),
        ("boolean", vec![1, 1]),
        ("timeuuid", vec![0x44; 16]),
        ("inet", vec![1; 5]),
        ("time", vec![0xff; 8]),
        ("decimal", vec![0; 4]),
        ("duration", vec![]),
        ("duration", vec![2, 1, 0]),
        ("frozen<list<int>>", vec![]),
        ("frozen<list<int>>", list_of(i32::MAX)),
        ("frozen<list<int>>", list_of(-1)),
        ("frozen<map<int, int>>", list_of(1)),
        ("frozen<set<int>>", [list_of(1), vec![0xff; 4]].concat()),
        ("tuple<int>", [vec![0xff; 4], vec![0xff; 4]].concat()),
    ] {
        assert!(ty(type_name).validate(&value).is_err(), "{value:?} as {type_name}");
    }
    for type_name in ["int", "text", "uuid", "timestamp", "varint", "inet", "tuple<int>"] {
        ty(type_name).validate(&[]).unwrap_or_else(|error| panic!("{type_name}: {error}"));
    }
}

#[test]
fn values_come_out_as_text() {
    for (type_name, text, shown) in [
        ("int", "21", "21"),
        ("timestamp", "2026-11-23 12:34:56.789+0000", "2026-11-23T12:34:56.789Z"),
        ("timestamp", "-62198755200001", "-0002-12-31T23:59:59.999Z"),
        ("date", "2026-11-23", "2026-11-23"),
        ("time", "12:34:56.7", "12:34:56.700000000"),
        ("decimal", "-0.05", "-0.05"),
        ("decimal", "1e3", "1E3"),
        (
            "varint",
            "-170141183460469231731687303715884105729",
            "-170141183460469231731687303715884105729",
        ),
        ("duration", "1h30m", "1h30m"),
        ("duration", "-14mo", "-1y2mo"),
        ("blob", "0x00ff", "0x00ff"),
        ("inet", "::1", "::1"),
    ] {
        let ty = ty(type_name);
        let value = ty.from_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(ty.to_text(&value), shown, "{text} as {type_name}");
    }
    assert_eq!(CqlType::Text.to_json("a\"b".as_bytes()), r#""a\"b""#);
    assert_eq!(CqlType::Double.to_json(&f64::NAN.to_be_bytes()), "null");
}

#[test]
fn order_has_its_corners() {
    let le = |type_name: &str, texts: &[&str]| {
        let ty = ty(type_name);
        let values: Vec<Bytes> =
            texts.iter().map(|text| ty.from_text(text).expect("a value")).collect();
        for (a, b) in values.iter().zip(&values[1..]) {
            assert_eq!(ty.compare(a, b), Ordering::Less, "{type_name}: {texts:?}");
        }
    };
    le("double", &["-Infinity", "-1", "-0.0", "0.0", "1", "Infinity", "NaN"]);
    le("decimal", &["-100", "-1.5", "-1.05", "0", "1e-5", "1.05", "1.5", "1e9"]);
    le("varint", &["-32769", "-32768", "-129", "-128", "-1", "0", "127", "128", "32768"]);
    le("timestamp", &["-5", "0", "5"]);
    le("inet", &["1.2.3.4", "1.2.3.4", "2.0.0.0"][1..]);
    assert_eq!(
        CqlType::Decimal.compare(
            &CqlType::Decimal.from_text("1.0").expect("a decimal"),
            &CqlType::Decimal.from_text("1.000").expect("a decimal")
        ),
        Ordering::Equal
    );
    // Under the signed-byte order, 0x80 is the smallest and 0x7f the largest byte.
    let at = |low: u64| timeuuid::from_micros(1, low).into_bytes();
    let mid = at(0x8123_4567_89ab_cdef);
    assert_eq!(CqlType::Timeuuid.compare(&at(0x8080_8080_8080_8080), &mid), Ordering::Less);
    assert_eq!(CqlType::Timeuuid.compare(&mid, &at(0x7f7f_7f7f_7f7f_7f7f)), Ordering::Less);
}
