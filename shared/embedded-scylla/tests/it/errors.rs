//! Refusals by the code that the driver makes of them.

use crate::support::Stand;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};

fn db_error(error: ExecutionError) -> (DbError, String) {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, message)) => {
            (error, message)
        }
        other => panic!("not the server's refusal: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_are_refused_with_the_code_that_fits() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int, c int, v int, PRIMARY KEY (p, c))").await;
    for (statement, error, part) in [
        ("SELEC * FROM t", DbError::SyntaxError, "line 1:0"),
        ("SELECT * FROM nosuch", DbError::Invalid, "unconfigured table nosuch"),
        ("SELECT x FROM t", DbError::Invalid, "Unrecognized name x"),
        ("SELECT * FROM nosuch.t", DbError::Invalid, "Keyspace nosuch does not exist"),
        ("SELECT * FROM t WHERE v = 1", DbError::Invalid, "ALLOW FILTERING"),
        ("SELECT * FROM t LIMIT 0", DbError::Invalid, "LIMIT must be strictly positive"),
        (
            "INSERT INTO t (p, v) VALUES (1, 1)",
            DbError::Invalid,
            "Missing mandatory PRIMARY KEY part c",
        ),
        ("INSERT INTO t (p, c) VALUES (1, 'x')", DbError::Invalid, ""),
        (
            "UPDATE t SET c = 1 WHERE p = 1",
            DbError::Invalid,
            "PRIMARY KEY part c found in SET part",
        ),
        ("CREATE INDEX ON t (v)", DbError::Invalid, ""),
        (
            "CREATE TABLE t (p int PRIMARY KEY)",
            DbError::AlreadyExists { keyspace: "ks".into(), table: "t".into() },
            "Cannot add already existing table",
        ),
        (
            "CREATE KEYSPACE x WITH replication = {'class': 'NoSuchStrategy'}",
            DbError::ConfigError,
            "",
        ),
    ] {
        let refusal = stand.session.query_unpaged(statement, ()).await;
        let (code, message) = db_error(refusal.expect_err(statement));
        assert_eq!(code, error, "{statement}: {message}");
        assert!(message.contains(part), "{statement}: {message:?} does not say {part:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bindings_are_refused() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let refusal = stand.session.prepare("SELECT * FROM t WHERE q = ?").await;
    match refusal.expect_err("there is no q") {
        PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(DbError::Invalid, message),
        } => assert!(message.contains('q'), "{message}"),
        other => panic!("{other}"),
    }
    let insert = stand.session.prepare("INSERT INTO t (p, v) VALUES (?, ?)").await.expect("sound");
    let refusal = stand.session.execute_unpaged(&insert, (None::<i32>, 1)).await;
    let (code, message) = db_error(refusal.expect_err("a key is never null"));
    assert_eq!(code, DbError::Invalid, "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_none_of_their_type_are_refused() {
    let stand = Stand::new().await;
    stand.run("CREATE TABLE t (p int PRIMARY KEY, v text, a ascii, n frozen<list<int>>)").await;
    for (column, literal) in [
        ("v", "0xff"),
        ("v", "blobAsText(0xff)"),
        ("a", "blobAsAscii(0x80)"),
        ("a", "'é'"),
        ("p", "99999999999"),
        ("n", "[1, null]"),
    ] {
        let statement = match column {
            "p" => format!("INSERT INTO t (p) VALUES ({literal})"),
            _ => format!("INSERT INTO t (p, {column}) VALUES (1, {literal})"),
        };
        let refusal = stand.session.query_unpaged(statement.as_str(), ()).await;
        let (code, message) = db_error(refusal.expect_err(&statement));
        assert_eq!(code, DbError::Invalid, "{statement}: {message}");
    }
    assert_eq!(stand.rows("SELECT * FROM t").await, []);
}
