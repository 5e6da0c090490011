//! What the recordings do not cover and the platform relies on: expiry, and reading a CDC log in
//! windows over many streams, page by page.

use crate::support::client::{Answer, Client, Page};
use crate::support::server::with_client;
use anyhow::{Context as _, bail, ensure};
use std::time::{Duration, Instant};

/// Consistency ONE.
const ONE: u16 = 1;

fn run(client: &mut Client, statements: &[&str]) -> anyhow::Result<()> {
    for statement in statements {
        match client.query(statement, ONE, None, None)? {
            Answer::Done => {}
            other => bail!("{statement}: {other:?}"),
        }
    }
    Ok(())
}

/// All rows in one page.
fn select(client: &mut Client, statement: &str) -> anyhow::Result<Page> {
    match client.query(statement, ONE, None, None)? {
        Answer::Rows(page) if page.paging_state.is_none() => Ok(page),
        other => bail!("{statement}: {other:?}"),
    }
}

fn error_of(client: &mut Client, statement: &str) -> anyhow::Result<(i32, String)> {
    match client.query(statement, ONE, None, None)? {
        Answer::Error(error) => Ok((error.code, error.message)),
        other => bail!("{statement}: {other:?}"),
    }
}

/// The numbers of a column of four- or eight-byte integers.
fn integers(page: &Page, column: usize) -> anyhow::Result<Vec<Option<i64>>> {
    let cells = page.rows.iter().map(|row| match row[column].as_deref() {
        None => Ok(None),
        Some(value) => match (<[u8; 4]>::try_from(value), <[u8; 8]>::try_from(value)) {
            (Ok(int), _) => Ok(Some(i32::from_be_bytes(int).into())),
            (_, Ok(bigint)) => Ok(Some(i64::from_be_bytes(bigint))),
            _ => bail!("{value:?} is no integer"),
        },
    });
    cells.collect()
}

fn wait_for(mut condition: impl FnMut() -> anyhow::Result<bool>, what: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    while !condition()? {
        ensure!(start.elapsed() < Duration::from_secs(10), "still not so after 10 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

const KEYSPACE: &str = "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";

#[test]
fn what_has_a_time_to_live_goes_when_it_is_over() -> anyhow::Result<()> {
    with_client(|client| {
        run(
            client,
            &[
                KEYSPACE,
                "CREATE TABLE k.t (p int, c int, s int static, v int, w int, PRIMARY KEY (p, c)) WITH cdc = {'enabled': true}",
                "CREATE TABLE k.d (p int PRIMARY KEY, v int) WITH default_time_to_live = 1",
                // The row of c = 1 goes, that of c = 2 loses v, that of c = 3 stays by its w only.
                "INSERT INTO k.t (p, c, v) VALUES (1, 1, 1) USING TTL 1",
                "INSERT INTO k.t (p, c, v) VALUES (1, 2, 1)",
                "UPDATE k.t USING TTL 1 SET v = 2 WHERE p = 1 AND c = 2",
                "UPDATE k.t USING TTL 1 SET v = 3 WHERE p = 1 AND c = 3",
                "UPDATE k.t SET w = 3 WHERE p = 1 AND c = 3",
                "UPDATE k.t USING TTL 1 SET s = 1 WHERE p = 2",
                "INSERT INTO k.d (p, v) VALUES (1, 1)",
                "INSERT INTO k.d (p, v) VALUES (2, 2) USING TTL 1000",
                "INSERT INTO k.d (p, v) VALUES (3, 3) USING TTL 0",
            ],
        )?;
        let logged = select(client, "SELECT COUNT(*) FROM k.t_scylla_cdc_log")?;
        let remaining = select(client, "SELECT p, TTL(v) FROM k.d")?;
        for (p, ttl) in integers(&remaining, 0)?.into_iter().zip(integers(&remaining, 1)?) {
            let range = match p.context("p is the key")? {
                1 => Some(0..=1),
                2 => Some(995..=1000),
                _ => None,
            };
            match (ttl, range) {
                (None, None) => {}
                (Some(ttl), Some(range)) => ensure!(range.contains(&ttl), "TTL(v) of {p:?}: {ttl}"),
                (ttl, range) => bail!("TTL(v) of {p:?}: {ttl:?}, expected {range:?}"),
            }
        }

        wait_for(
            || {
                Ok(integers(&select(client, "SELECT c FROM k.t WHERE p = 1")?, 0)?
                    == [Some(2), Some(3)])
            },
            "the inserted row is gone",
        )?;
        let left = select(client, "SELECT c, v, w FROM k.t WHERE p = 1")?;
        assert_eq!(integers(&left, 1)?, [None, None], "v was older than the TTL of its row");
        assert_eq!(integers(&left, 2)?, [None, Some(3)]);
        assert!(select(client, "SELECT s FROM k.t WHERE p = 2")?.rows.is_empty());
        wait_for(
            || Ok(select(client, "SELECT p FROM k.d WHERE p = 1")?.rows.is_empty()),
            "the row with the table's TTL is gone",
        )?;
        let mut others = integers(&select(client, "SELECT p FROM k.d")?, 0)?;
        others.sort();
        assert_eq!(others, [Some(2), Some(3)]);
        assert_eq!(
            select(client, "SELECT COUNT(*) FROM k.t_scylla_cdc_log")?,
            logged,
            "expiry is not logged"
        );

        // An expired row is no row to a condition either.
        let applied = select(client, "INSERT INTO k.t (p, c, v) VALUES (1, 1, 7) IF NOT EXISTS")?;
        assert_eq!(applied.rows[0][0].as_deref(), Some(&[1][..]));
        Ok(())
    })
}

/// The ids of all streams.
fn streams(client: &mut Client) -> anyhow::Result<Vec<Vec<u8>>> {
    let times = select(
        client,
        "SELECT time FROM system_distributed.cdc_generation_timestamps WHERE key = 'timestamps'",
    )?;
    let time = integers(&times, 0)?[0].context("a generation has a time")?;
    let rows = select(
        client,
        &format!(
            "SELECT streams FROM system_distributed.cdc_streams_descriptions_v2 WHERE time = {time}"
        ),
    )?;
    let mut ids = Vec::new();
    for row in &rows.rows {
        let mut set = crate::support::client::Body(row[0].as_deref().context("streams")?);
        for _ in 0..set.int()? {
            ids.push(set.bytes()?.context("a stream id")?.to_vec());
        }
    }
    Ok(ids)
}

/// All pages of `page_size` rows; no page may be larger.
fn pages(
    client: &mut Client,
    statement: &str,
    page_size: i32,
) -> anyhow::Result<Vec<Vec<Vec<u8>>>> {
    let mut rows = Vec::new();
    let mut state: Option<Vec<u8>> = None;
    loop {
        let page = match client.query(statement, ONE, Some(page_size), state.as_deref())? {
            Answer::Rows(page) => page,
            other => bail!("{statement}: {other:?}"),
        };
        ensure!(page.rows.len() <= page_size as usize, "a page of {} rows", page.rows.len());
        for row in page.rows {
            rows.push(row.into_iter().map(Option::unwrap_or_default).collect());
        }
        match page.paging_state {
            Some(next) => state = Some(next),
            None => return Ok(rows),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// The milliseconds of a version-1 uuid.
fn millis(uuid: &[u8]) -> anyhow::Result<i64> {
    let (seconds, nanos) =
        uuid::Uuid::from_slice(uuid)?.get_timestamp().context("cdc$time is a timeuuid")?.to_unix();
    Ok(seconds as i64 * 1000 + i64::from(nanos) / 1_000_000)
}

#[test]
fn a_log_is_read_in_windows_over_a_hundred_streams_page_by_page() -> anyhow::Result<()> {
    with_client(|client| {
        run(
            client,
            &[
                KEYSPACE,
                "CREATE TABLE k.t (p int, c int, v int, PRIMARY KEY (p, c)) WITH cdc = {'enabled': true}",
            ],
        )?;
        for p in 0..40 {
            let rows: String = (0..3)
                .map(|c| format!("INSERT INTO k.t (p, c, v) VALUES ({p}, {c}, {c}); "))
                .collect();
            run(client, &[&format!("BEGIN UNLOGGED BATCH {rows} APPLY BATCH")])?;
        }

        // The real streams among ids that nobody has, in no order: what a reader of many
        // generations asks for.
        let mut ids = streams(client)?;
        ensure!(!ids.is_empty() && ids.len() <= 100, "{} streams", ids.len());
        for filler in (0..).take(100 - ids.len()) {
            let mut id = (i64::MIN / 100 * filler).to_be_bytes().to_vec();
            id.extend([0xee; 8]);
            ids.insert(filler as usize % 7, id);
        }
        let list = |ids: &[Vec<u8>]| ids.iter().map(|id| hex(id)).collect::<Vec<_>>().join(", ");
        let window = |from: i64, to: i64| {
            format!(
                "SELECT \"cdc$stream_id\", \"cdc$time\", \"cdc$batch_seq_no\", p, c FROM k.t_scylla_cdc_log \
                 WHERE \"cdc$stream_id\" IN ({}) AND \"cdc$time\" >= minTimeuuid({from}) \
                 AND \"cdc$time\" < minTimeuuid({to})  BYPASS CACHE",
                list(&ids)
            )
        };

        let far = 4_000_000_000_000;
        let all = pages(client, &window(0, far), 7)?;
        assert_eq!(all.len(), 120, "every change once");
        let mut changed: Vec<_> = all.iter().map(|row| (row[3].clone(), row[4].clone())).collect();
        changed.sort();
        changed.dedup();
        assert_eq!(changed.len(), 120, "every change is another one");
        let order: Vec<_> = all
            .iter()
            .map(|row| {
                let token = i64::from_be_bytes(row[0][..8].try_into()?);
                let ticks = uuid::Uuid::from_slice(&row[1])?.get_timestamp().context("time")?;
                Ok((token, ticks.to_gregorian().0, row[2].clone()))
            })
            .collect::<anyhow::Result<_>>()?;
        assert!(order.is_sorted(), "streams in token order, each by time and number: {order:?}");

        // Two windows are the whole, whatever the page size.
        let mut times =
            all.iter().map(|row| millis(&row[1])).collect::<anyhow::Result<Vec<_>>>()?;
        times.sort();
        let middle = times[times.len() / 2];
        let mut both = pages(client, &window(0, middle), 5000)?;
        ensure!(both.len() < 120, "the middle {middle} is no middle of {times:?}");
        both.extend(pages(client, &window(middle, far), 1)?);
        let sorted = |mut rows: Vec<Vec<Vec<u8>>>| {
            rows.sort();
            rows
        };
        assert_eq!(sorted(both), sorted(all));

        ids.push(vec![1; 16]);
        let too_many =
            format!("SELECT * FROM k.t_scylla_cdc_log WHERE \"cdc$stream_id\" IN ({})", list(&ids));
        let (code, message) = error_of(client, &too_many)?;
        assert_eq!(code, 0x2200, "{message}");
        Ok(())
    })
}
