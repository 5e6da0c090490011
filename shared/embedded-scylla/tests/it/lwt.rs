//! Lightweight transactions: what the driver gets back, and that exactly one of many wins.

use crate::support::Stand;
use futures::future::join_all;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};

type Cells = Vec<Option<CqlValue>>;

fn int(value: i32) -> Option<CqlValue> {
    Some(CqlValue::Int(value))
}

fn applied(value: bool) -> Option<CqlValue> {
    Some(CqlValue::Boolean(value))
}

async fn check(stand: &Stand, statement: &str, columns: &[&str], expected: &[Cells]) {
    let result = stand.session.query_unpaged(statement, ()).await;
    let result = result.unwrap_or_else(|error| panic!("{statement}: {error}"));
    let rows = result.into_rows_result().expect("rows");
    let names = rows.column_specs().iter().map(|spec| spec.name().to_owned());
    assert_eq!(names.collect::<Vec<_>>(), columns, "{statement}");
    let rows = rows.rows::<Row>().expect("rows").map(|row| row.expect("sound").columns);
    assert_eq!(rows.collect::<Vec<_>>(), expected, "{statement}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_show_the_row_before() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int, c int, s int static, v int, PRIMARY KEY (p, c))").await;
    let all = ["[applied]", "p", "c", "s", "v"];
    let nothing = || vec![applied(true), None, None, None, None];
    let insert = "INSERT INTO t (p, c, v) VALUES (1, 1, 5) IF NOT EXISTS";
    check(&stand, insert, &all, &[nothing()]).await;
    check(&stand, insert, &all, &[vec![applied(false), int(1), int(1), None, int(5)]]).await;
    let update = "UPDATE t SET v = 6 WHERE p = 1 AND c = 1 IF v = 5";
    check(&stand, update, &["[applied]", "v"], &[vec![applied(true), int(5)]]).await;
    check(&stand, update, &["[applied]", "v"], &[vec![applied(false), int(6)]]).await;
    let missing = "UPDATE t SET v = 7 WHERE p = 1 AND c = 2 IF EXISTS";
    check(&stand, missing, &all, &[vec![applied(false), None, None, None, None]]).await;
    let batch = "BEGIN BATCH UPDATE t SET v = 7 WHERE p = 1 AND c = 1 IF v = 6; \
                 INSERT INTO t (p, c, v) VALUES (1, 2, 8); APPLY BATCH";
    let columns = ["[applied]", "p", "c", "v"];
    let rows =
        [vec![applied(true), int(1), int(1), int(6)], vec![applied(true), int(1), None, None]];
    check(&stand, batch, &columns, &rows).await;
    let delete = "DELETE FROM t WHERE p = 1 AND c = 1 IF EXISTS";
    check(&stand, delete, &all, &[vec![applied(true), int(1), int(1), None, int(7)]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_wins_and_a_serial_read_sees_it() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int, c int, winner int, PRIMARY KEY (p, c))").await;
    let text = "UPDATE t SET winner = ? WHERE p = ? AND c = ? IF winner = null";
    let mut claim = stand.session.prepare(text).await.expect("sound");
    claim.set_consistency(Consistency::Quorum);
    claim.set_serial_consistency(Some(SerialConsistency::Serial));
    let mut read = stand.session.prepare("SELECT winner FROM t WHERE p = ? AND c = ?").await;
    let read = read.as_mut().expect("sound");
    read.set_consistency(Consistency::Serial);
    for round in 0..20 {
        let attempts = (0..16).map(async |writer| {
            let result = stand.session.execute_unpaged(&claim, (writer, 1, round)).await;
            let rows = result.expect("answered").into_rows_result().expect("rows");
            let (applied, before) = rows.single_row::<(bool, Option<i32>)>().expect("one row");
            (writer, applied, before)
        });
        let outcomes = join_all(attempts).await;
        let winners = outcomes.iter().filter(|(_, applied, _)| *applied).collect::<Vec<_>>();
        let [(winner, _, None)] = winners[..] else { panic!("round {round}: {outcomes:?}") };
        let losers = outcomes.iter().filter(|(_, applied, _)| !applied);
        assert!(losers.into_iter().all(|(.., before)| *before == Some(*winner)), "{outcomes:?}");
        let result = stand.session.execute_unpaged(read, (1, round)).await;
        let rows = result.expect("answered").into_rows_result().expect("rows");
        assert_eq!(rows.single_row::<(i32,)>().expect("one row").0, *winner);
    }
}
