//! WHERE clauses against a model: whatever restricts the clustering key, the rows are those that a
//! plain comparison of values would leave, in clustering order.

use super::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::cmp::Ordering;

/// The values of the three clustering columns.
const VALUES: std::ops::Range<i32> = 0..4;

const COLUMNS: [&str; 3] = ["c", "d", "e"];

/// `(c ASC, d DESC, e ASC)`
const DESCENDING: [bool; 3] = [false, true, false];

type Row = [i32; 3];

/// One condition, as text and as a test.
struct Condition {
    text: String,
    test: Box<dyn Fn(&Row) -> bool>,
}

fn fits(operator: &str, order: Ordering) -> bool {
    match operator {
        "=" => order.is_eq(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

const SLICES: [&str; 4] = ["<", "<=", ">", ">="];

/// `c = 1`, `c IN (1, 2)` or slices of one column; whether it fixes the column.
fn single(random: &mut StdRng, at: usize) -> (Vec<Condition>, bool) {
    let name = COLUMNS[at];
    match random.random_range(0..4) {
        0 => {
            let value = random.random_range(VALUES);
            let test = Box::new(move |row: &Row| row[at] == value);
            (vec![Condition { text: format!("{name} = {value}"), test }], true)
        }
        1 => {
            let values: Vec<i32> =
                (0..random.random_range(1..4)).map(|_| random.random_range(VALUES)).collect();
            let list: Vec<String> = values.iter().map(ToString::to_string).collect();
            let text = format!("{name} IN ({})", list.join(", "));
            let test = Box::new(move |row: &Row| values.contains(&row[at]));
            (vec![Condition { text, test }], true)
        }
        count => {
            let slices = (0..count - 1).map(|_| {
                let (operator, value) = slice(random);
                let test = Box::new(move |row: &Row| fits(operator, row[at].cmp(&value)));
                Condition { text: format!("{name} {operator} {value}"), test }
            });
            (slices.collect(), false)
        }
    }
}

fn slice(random: &mut StdRng) -> (&'static str, i32) {
    let operator = SLICES.choose(random).copied().unwrap_or(">");
    (operator, random.random_range(-1..VALUES.end + 1))
}

/// `(c, d) > (1, 2)`, or two of them.
fn tuples(random: &mut StdRng) -> Vec<Condition> {
    let count = random.random_range(1..3);
    (0..count)
        .map(|_| {
            let width = random.random_range(1..=COLUMNS.len());
            let operator = match random.random_range(0..5) {
                0 => "=",
                other => SLICES[other - 1],
            };
            let values: Vec<i32> = (0..width).map(|_| random.random_range(VALUES)).collect();
            let list: Vec<String> = values.iter().map(ToString::to_string).collect();
            let text =
                format!("({}) {operator} ({})", COLUMNS[..width].join(", "), list.join(", "));
            // Tuples are compared by value, whatever the clustering order.
            let test =
                Box::new(move |row: &Row| fits(operator, row[..width].cmp(values.as_slice())));
            Condition { text, test }
        })
        .collect()
}

fn conditions(random: &mut StdRng) -> Vec<Condition> {
    if random.random_bool(0.4) {
        return tuples(random);
    }
    let mut found = Vec::new();
    for at in 0..random.random_range(1..=COLUMNS.len()) {
        let (mut conditions, fixed) = single(random, at);
        found.append(&mut conditions);
        if !fixed {
            break;
        }
    }
    found
}

fn clustering_order(a: &Row, b: &Row) -> Ordering {
    (0..COLUMNS.len())
        .map(|at| if DESCENDING[at] { b[at].cmp(&a[at]) } else { a[at].cmp(&b[at]) })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn all_rows() -> Vec<Row> {
    VALUES.flat_map(|c| VALUES.flat_map(move |d| VALUES.map(move |e| [c, d, e]))).collect()
}

async fn filled(name: &str) -> Fixture {
    let fixture = Fixture::new().await;
    fill(&fixture, name).await;
    fixture
}

async fn fill(fixture: &Fixture, name: &str) {
    fixture
        .ok(&format!(
            "CREATE TABLE {name} (p int, c int, d int, e int, PRIMARY KEY (p, c, d, e)) \
             WITH CLUSTERING ORDER BY (c ASC, d DESC, e ASC)"
        ))
        .await;
    let inserts: Vec<String> = all_rows()
        .iter()
        .map(|[c, d, e]| format!("INSERT INTO {name} (p, c, d, e) VALUES (1, {c}, {d}, {e});"))
        .collect();
    fixture.ok(&format!("BEGIN UNLOGGED BATCH {} APPLY BATCH", inserts.join(" "))).await;
}

/// The rows of a SELECT of `c, d, e`.
async fn rows(fixture: &Fixture, text: &str) -> Vec<Row> {
    let shown = fixture.ok(text).await;
    let row = |line: &str| {
        let values: Vec<i32> =
            line.split(' ').map(|value| value.parse().expect("an int")).collect();
        [values[0], values[1], values[2]]
    };
    shown.lines().skip(1).map(row).collect()
}

fn seed() -> u64 {
    let seed = rand::rng().random();
    println!("seed {seed}");
    seed
}

#[tokio::test]
async fn restrictions_select_what_comparing_values_selects() {
    let fixture = filled("t").await;
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..400 {
        let conditions = conditions(&mut random);
        let texts: Vec<&str> = conditions.iter().map(|condition| condition.text.as_str()).collect();
        let reversed = random.random_bool(0.3);
        let order = if reversed { " ORDER BY c DESC, d ASC, e DESC" } else { "" };
        let text = format!("SELECT c, d, e FROM t WHERE p = 1 AND {}{order}", texts.join(" AND "));
        let mut expected = all_rows();
        expected.retain(|row| conditions.iter().all(|condition| (condition.test)(row)));
        expected.sort_by(clustering_order);
        if reversed {
            expected.reverse();
        }
        assert_eq!(rows(&fixture, &text).await, expected, "{text}");
    }
}

#[tokio::test]
async fn deletes_hit_exactly_the_rows_that_a_select_shows() {
    let fixture = Fixture::new().await;
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..40 {
        let table = format!("t{round}");
        fill(&fixture, &table).await;
        let conditions = conditions(&mut random);
        let texts: Vec<&str> = conditions.iter().map(|condition| condition.text.as_str()).collect();
        let text = format!("DELETE FROM {table} WHERE p = 1 AND {}", texts.join(" AND "));
        fixture.ok(&text).await;
        let mut expected = all_rows();
        expected.retain(|row| !conditions.iter().all(|condition| (condition.test)(row)));
        expected.sort_by(clustering_order);
        let left = rows(&fixture, &format!("SELECT c, d, e FROM {table}")).await;
        assert_eq!(left, expected, "{text}");
    }
}

#[tokio::test]
async fn several_partitions_are_merged_in_clustering_order_when_asked() {
    let fixture = Fixture::new().await;
    fixture.ok("CREATE TABLE t (p int, c int, PRIMARY KEY (p, c))").await;
    for (p, c) in [(1, 1), (1, 4), (2, 2), (2, 3), (3, 0)] {
        fixture.ok(&format!("INSERT INTO t (p, c) VALUES ({p}, {c})")).await;
    }
    let answer =
        fixture.ok("SELECT p, c FROM t WHERE p IN (3, 2, 1) ORDER BY c DESC LIMIT 4").await;
    assert_eq!(answer, "p c\n1 4\n2 3\n2 2\n1 1");
}

#[tokio::test]
async fn aggregates_and_functions_give_what_their_names_say() {
    let fixture = Fixture::new().await;
    fixture
        .ok("CREATE TABLE t (p int PRIMARY KEY, i int, b bigint, d double, x text, u timeuuid)")
        .await;
    let empty = fixture.ok("SELECT COUNT(*), MIN(i), SUM(b), AVG(d) FROM t").await;
    assert_eq!(empty, "count system.min(i) system.sum(b) system.avg(d)\n0 null 0 0");
    fixture
        .ok("INSERT INTO t (p, i, b, d, x, u) VALUES (1, 5, 10, 1.5, 'a', minTimeuuid(1700000000123))")
        .await;
    fixture.ok("INSERT INTO t (p, i, b, d) VALUES (2, 8, 20, 2.5)").await;
    for (selected, expected) in [
        ("COUNT(x)", "1"),
        ("MAX(i) AS m", "8"),
        ("SUM(i)", "13"),
        ("AVG(i)", "6"),
        ("AVG(d)", "2"),
        ("blobAsBigint(bigintAsBlob(MAX(b)))", "20"),
    ] {
        let answer = fixture.ok(&format!("SELECT {selected} FROM t")).await;
        assert_eq!(answer.lines().nth(1), Some(expected), "{selected}");
    }
    for (selected, expected) in [
        ("toUnixTimestamp(u)", "1700000000123"),
        ("unixTimestampOf(u)", "1700000000123"),
        ("toDate(u)", "2023-11-14"),
        ("CAST(i AS text)", "5"),
        ("CAST(d AS int)", "1"),
        ("token(p)", "-4069959284402364209"),
        ("u", "04c284b0-833b-11ee-8080-808080808080"),
    ] {
        let answer = fixture.ok(&format!("SELECT {selected} FROM t WHERE p = 1")).await;
        assert_eq!(answer.lines().nth(1), Some(expected), "{selected}");
    }
    let json = fixture.ok("SELECT JSON p, x, i AS \"I\" FROM t WHERE p = 2").await;
    assert_eq!(json, "[json]\n{\"p\": 2, \"x\": null, \"\\\"I\\\"\": 8}");
}

#[tokio::test]
async fn a_sum_that_is_no_value_of_its_type_is_refused() {
    let fixture = Fixture::new().await;
    fixture.ok("CREATE TABLE t (p int PRIMARY KEY, v tinyint)").await;
    for (p, v) in [(1, 100), (2, 100)] {
        fixture.ok(&format!("INSERT INTO t (p, v) VALUES ({p}, {v})")).await;
    }
    assert_eq!(fixture.ok("SELECT AVG(v) FROM t").await, "system.avg(v)\n100");
    let message = fixture.refused("SELECT SUM(v) FROM t").await;
    assert_eq!(message, "Sum overflow. Values should be casted to a wider type.");
    assert_eq!(fixture.ok("SELECT SUM(CAST(v AS int)) AS s FROM t").await, "s\n200");
}
