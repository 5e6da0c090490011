//! Compares decoded answers, but for what each server makes up itself.

use super::decode::{Body, Column, RowsBody};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the recorded server offers and ours, with reason, does not.
const NOT_OFFERED: [&str; 2] = ["SCYLLA_RATE_LIMIT_ERROR", "SCYLLA_SHARD_AWARE_PORT"];

/// One row of a CDC log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogRow {
    time: Vec<u8>,
    /// All but stream and time.
    rest: Vec<Option<Vec<u8>>>,
}

impl LogRow {
    /// The rows of an answer, if it is about a log.
    pub(super) fn of(rows: &RowsBody) -> Vec<Self> {
        if rows.columns.first().is_none_or(|column| column.name != "cdc$stream_id") {
            return Vec::new();
        }
        let row = |cells: &Vec<Option<Vec<u8>>>| Self {
            time: cells[1].clone().expect("log rows have a time"),
            rest: cells[2..].to_vec(),
        };
        rows.rows.iter().map(row).collect()
    }

    /// A timeuuid's time in ms since 1970.
    pub(super) fn time_ms(&self) -> i64 {
        let uuid = uuid::Uuid::from_slice(&self.time).expect("16 bytes");
        let (seconds, nanos) = uuid.get_timestamp().expect("a time-based uuid").to_unix();
        seconds as i64 * 1000 + i64::from(nanos) / 1_000_000
    }
}

/// All that was learned on the way.
#[derive(Default)]
pub(super) struct Comparison {
    /// What the recorded server made up → what ours made up instead.
    made_up: HashMap<Vec<u8>, Vec<u8>>,
    /// Of these, what clients send back: stream ids and generation times.
    sent_back: Vec<Vec<u8>>,
    recorded_log: Vec<LogRow>,
    our_log: Vec<LogRow>,
}

impl Comparison {
    /// What is to be replaced in requests.
    pub(super) fn translations(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.sent_back.iter().map(|recorded| (&recorded[..], &self.made_up[recorded][..]))
    }

    /// SUPPORTED, as a map.
    pub(super) fn supported(&mut self, context: &str, recorded: &[u8], ours: &[u8]) {
        let mut recorded = multimap(recorded);
        recorded.retain(|key, _| !NOT_OFFERED.contains(&key.as_str()));
        assert_eq!(multimap(ours), recorded, "{context}");
    }

    pub(super) fn body(&mut self, context: &str, recorded: &Body, ours: &Body) {
        match (recorded, ours) {
            (Body::Rows(recorded), Body::Rows(ours)) => self.rows(context, recorded, ours),
            _ => assert_eq!(ours, recorded, "{context}"),
        }
    }

    fn rows(&mut self, context: &str, recorded: &RowsBody, ours: &RowsBody) {
        assert_eq!(ours.columns, recorded.columns, "{context}");
        assert_eq!(ours.flags, recorded.flags, "{context}");
        assert_eq!(ours.paging_state, recorded.paging_state, "{context}");
        let Some(Column { keyspace, table, .. }) = recorded.columns.first() else {
            panic!("{context}: no columns")
        };
        match (keyspace.as_str(), table.as_str()) {
            ("system_schema", _) => {
                let wire = |rows: &RowsBody| {
                    let wire = rows.rows.iter().filter(|row| row[0].as_deref() == Some(b"wire"));
                    wire.cloned().collect::<Vec<_>>()
                };
                assert_eq!(wire(ours), wire(recorded), "{context}");
                if table == "keyspaces" || table == "tables" || table == "columns" {
                    let names = ours.rows.iter().filter_map(|row| row[0].as_deref());
                    let names = names.collect::<HashSet<_>>();
                    for name in ["system", "system_schema", "system_distributed"] {
                        assert!(names.contains(name.as_bytes()), "{context}: no {name}");
                    }
                }
            }
            (_, table) if table.ends_with("_scylla_cdc_log") => {
                self.recorded_log.extend(LogRow::of(recorded));
                self.our_log.extend(LogRow::of(ours));
            }
            _ => {
                assert_eq!(ours.rows.len(), recorded.rows.len(), "{context}: {ours:?}");
                let sent_back = keyspace == "system_distributed";
                for (recorded_row, our_row) in recorded.rows.iter().zip(&ours.rows) {
                    for (index, column) in recorded.columns.iter().enumerate() {
                        let context = format!("{context}, column {}", column.name);
                        let cells = (&recorded_row[index], &our_row[index]);
                        self.cell(&context, &column.name, cells, sent_back);
                    }
                }
            }
        }
    }

    fn cell(
        &mut self,
        context: &str,
        column: &str,
        (recorded, ours): (&Option<Vec<u8>>, &Option<Vec<u8>>),
        sent_back: bool,
    ) {
        let (Some(recorded), Some(ours)) = (recorded, ours) else {
            return assert_eq!(ours, recorded, "{context}");
        };
        match column {
            "cluster_name" => {}
            // A set: the count, then items with their lengths.
            "tokens" => assert_eq!(ours[..4], recorded[..4], "{context}"),
            "streams" => {
                let header = [0, 0, 0, 1, 0, 0, 0, 16];
                assert_eq!((ours.len(), &ours[..8]), (24, &header[..]), "{context}");
                self.same_role(context, recorded[8..].to_vec(), ours[8..].to_vec(), true);
            }
            "host_id" | "schema_version" => {
                assert_eq!(ours.len(), 16, "{context}");
                self.same_role(context, recorded.clone(), ours.clone(), false);
            }
            "time" if sent_back => {
                assert_eq!(ours.len(), 8, "{context}");
                self.same_role(context, recorded.clone(), ours.clone(), true);
            }
            _ => assert_eq!(ours, recorded, "{context}"),
        }
    }

    /// What is the same in the recording has to be the same in our answers, and different else.
    fn same_role(&mut self, context: &str, recorded: Vec<u8>, ours: Vec<u8>, sent_back: bool) {
        match self.made_up.get(&recorded) {
            Some(known) => assert_eq!(&ours, known, "{context}: it was another before"),
            None => {
                let taken = self.made_up.values().any(|known| *known == ours);
                assert!(!taken, "{context}: {ours:02x?} stood for something else before");
                if sent_back {
                    self.sent_back.push(recorded.clone());
                }
                self.made_up.insert(recorded, ours);
            }
        }
    }

    /// The whole log, whatever windows its rows came in.
    pub(super) fn log(&mut self) {
        let ordered = |rows: &[LogRow]| {
            let mut rows = rows.to_vec();
            rows.sort_by_key(|row| (row.time_ms(), row.time.clone(), row.rest.clone()));
            let mut times = rows.iter().map(|row| row.time.clone()).collect::<Vec<_>>();
            times.dedup();
            // The time itself is made up; which rows share one is not.
            let place = |row: &LogRow| times.iter().position(|time| *time == row.time);
            rows.iter().map(|row| (place(row), row.rest.clone())).collect::<Vec<_>>()
        };
        assert!(!self.recorded_log.is_empty(), "the recording has log rows");
        assert_eq!(ordered(&self.our_log), ordered(&self.recorded_log), "rows of the log");
    }
}

fn multimap(mut bytes: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut map = BTreeMap::new();
    for _ in 0..short(&mut bytes) {
        let key = string(&mut bytes);
        let values = (0..short(&mut bytes)).map(|_| string(&mut bytes)).collect();
        map.insert(key, values);
    }
    map
}

fn short(bytes: &mut &[u8]) -> u16 {
    let (head, rest) = bytes.split_at(2);
    *bytes = rest;
    u16::from_be_bytes([head[0], head[1]])
}

fn string(bytes: &mut &[u8]) -> String {
    let len = usize::from(short(bytes));
    let (text, rest) = bytes.split_at(len);
    *bytes = rest;
    String::from_utf8(text.to_vec()).expect("UTF-8")
}
