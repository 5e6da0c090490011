//! Every type of the first priority, bound and as literals, there and back.

use crate::support::Stand;
use scylla::value::{CqlDate, CqlTime, CqlTimestamp, CqlTimeuuid, CqlValue, Row};
use uuid::Uuid;

/// Type, value, the same value as a literal.
fn samples() -> Vec<(&'static str, CqlValue, &'static str)> {
    let uuid = Uuid::from_u128(0x1111_1111_2222_3333_4444_5555_5555_5555);
    let timeuuid = Uuid::from_u128(0x04c2_9680_833b_11ee_8123_4567_89ab_cdef);
    let text = |text: &str| CqlValue::Text(text.into());
    let int = CqlValue::Int;
    vec![
        ("ascii", CqlValue::Ascii("it's".into()), "'it''s'"),
        ("text", text("kremówki"), "$$kremówki$$"),
        ("text", text(""), "''"),
        ("int", int(-2_147_483_648), "-2147483648"),
        ("bigint", CqlValue::BigInt(i64::MAX), "9223372036854775807"),
        ("smallint", CqlValue::SmallInt(-300), "-300"),
        ("tinyint", CqlValue::TinyInt(-128), "-128"),
        ("boolean", CqlValue::Boolean(true), "true"),
        ("float", CqlValue::Float(-1.5), "-1.5"),
        ("double", CqlValue::Double(6.02e23), "6.02E+23"),
        ("uuid", CqlValue::Uuid(uuid), "11111111-2222-3333-4444-555555555555"),
        (
            "timeuuid",
            CqlValue::Timeuuid(CqlTimeuuid::from(timeuuid)),
            "04c29680-833b-11ee-8123-456789abcdef",
        ),
        (
            "timestamp",
            CqlValue::Timestamp(CqlTimestamp(1_706_702_400_123)),
            "'2024-01-31 12:00:00.123+0000'",
        ),
        ("date", CqlValue::Date(CqlDate((1 << 31) + 19_753)), "'2024-01-31'"),
        ("time", CqlValue::Time(CqlTime(45_296_000_000_007)), "'12:34:56.000000007'"),
        ("blob", CqlValue::Blob(vec![0xca, 0xfe, 0x00]), "0xcafe00"),
        ("inet", CqlValue::Inet([127, 0, 0, 1].into()), "'127.0.0.1'"),
        ("inet", CqlValue::Inet("::1".parse().expect("an address")), "'::1'"),
        ("frozen<list<int>>", CqlValue::List(vec![int(3), int(1), int(3)]), "[3, 1, 3]"),
        ("frozen<set<text>>", CqlValue::Set(vec![text("a"), text("b")]), "{'b', 'a', 'b'}"),
        (
            "frozen<map<text, frozen<list<int>>>>",
            CqlValue::Map(vec![(text("a"), CqlValue::List(vec![int(1)]))]),
            "{'a': [1]}",
        ),
        (
            "frozen<tuple<int, text, boolean>>",
            CqlValue::Tuple(vec![Some(int(1)), None, Some(CqlValue::Boolean(false))]),
            "(1, null, false)",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_come_back_as_they_went() {
    let stand = Stand::new().await;
    for (index, (ty, value, literal)) in samples().into_iter().enumerate() {
        stand
            .run(&format!("CREATE TABLE t{index} (k {ty}, c {ty}, v {ty}, PRIMARY KEY (k, c))"))
            .await;
        let insert = format!("INSERT INTO t{index} (k, c, v) VALUES (?, ?, ?)");
        let insert = stand.session.prepare(insert).await.unwrap_or_else(|e| panic!("{ty}: {e}"));
        let keys = (value.clone(), value.clone(), value.clone());
        let stored = stand.session.execute_unpaged(&insert, keys).await;
        if matches!(&value, CqlValue::Text(text) if text.is_empty()) {
            let error = stored.expect_err("a partition key must not be empty").to_string();
            assert!(error.contains("Key may not be empty"), "{error}");
            continue;
        }
        stored.unwrap_or_else(|error| panic!("{ty}: {error}"));
        let expected = [Row { columns: vec![Some(value.clone()); 3] }];
        let by_literal = format!("SELECT * FROM t{index} WHERE k = {literal} AND c = {literal}");
        assert_eq!(stand.rows(&by_literal).await, expected, "{ty} {literal}");
        stand.run(&format!("DELETE FROM t{index} WHERE k = {literal} AND c = {literal}")).await;
        assert_eq!(stand.rows(&by_literal).await, [], "{ty} {literal}");
        stand
            .run(&format!(
                "INSERT INTO t{index} (k, c, v) VALUES ({literal}, {literal}, {literal})"
            ))
            .await;
        let select = format!("SELECT * FROM t{index} WHERE k = ? AND c = ?");
        let result = stand.session.query_unpaged(select, (value.clone(), value)).await;
        let result = result.unwrap_or_else(|error| panic!("{ty}: {error}"));
        let rows = result.into_rows_result().expect("rows");
        let rows = rows.rows::<Row>().expect("rows").map(|row| row.expect("sound"));
        assert_eq!(rows.collect::<Vec<_>>(), expected, "{ty} {literal}");
    }
}
