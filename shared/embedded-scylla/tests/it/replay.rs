//! Replays what the Rust driver and the official CDC reader once sent to a real server, and
//! compares the answers with what that server said. The first difference fails the test.
//!
//! Client frames go out as recorded, in the recorded order, and each answer is awaited where the
//! recording has it. Only what a server makes up itself is translated: CDC stream ids, the
//! generation's time, and the times of the windows that are read.

mod compare;
#[path = "../../src/wire/tests/decode.rs"]
mod decode;

use compare::{Comparison, LogRow};
use decode::{Body, decode};
use embedded_scylla::server::{Server, ServerConfig};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Frame {
    line: usize,
    connection: i64,
    from_client: bool,
    op: String,
    flags: u8,
    stream: i16,
    body: Vec<u8>,
}

fn recording() -> Vec<Frame> {
    let text = include_str!("../../testscripts/golden/wire_driver.jsonl");
    let frames = text.lines().enumerate().map(|(index, line)| {
        let frame: serde_json::Value = serde_json::from_str(line).expect("a JSON object per line");
        let number = |key: &str| frame[key].as_i64().expect("a number");
        let string = |key: &str| frame[key].as_str().expect("a string").to_owned();
        let hex = string("body");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
        Frame {
            line: index + 1,
            connection: number("conn"),
            from_client: string("frm") == "client",
            op: string("op"),
            flags: number("flags") as u8,
            stream: number("stream") as i16,
            body: (0..hex.len()).step_by(2).map(byte).collect(),
        }
    });
    frames.collect()
}

const OPCODES: [(&str, u8); 13] = [
    ("ERROR", 0x00),
    ("STARTUP", 0x01),
    ("READY", 0x02),
    ("OPTIONS", 0x05),
    ("SUPPORTED", 0x06),
    ("QUERY", 0x07),
    ("RESULT", 0x08),
    ("PREPARE", 0x09),
    ("EXECUTE", 0x0a),
    ("REGISTER", 0x0b),
    ("EVENT", 0x0c),
    ("BATCH", 0x0d),
    ("AUTH_RESPONSE", 0x0f),
];

/// Opcode name, flags and body of an answer.
type Answer = (&'static str, u8, Vec<u8>);

struct Wire {
    socket: TcpStream,
    answers: HashMap<i16, VecDeque<Answer>>,
}

impl Wire {
    async fn send(&mut self, frame: &Frame, body: &[u8]) {
        let (_, opcode) = OPCODES.iter().find(|(op, _)| *op == frame.op).expect("a known opcode");
        let mut bytes = vec![4, frame.flags];
        bytes.extend(frame.stream.to_be_bytes());
        bytes.push(*opcode);
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        self.socket.write_all(&bytes).await.expect("the server reads");
    }

    /// The next answer on a stream; others wait for their turn.
    async fn answer(&mut self, stream: i16) -> Answer {
        loop {
            if let Some(answer) = self.answers.entry(stream).or_default().pop_front() {
                return answer;
            }
            let mut header = [0; 9];
            self.socket.read_exact(&mut header).await.expect("a frame");
            let [_, flags, s0, s1, opcode, len @ ..] = header;
            let mut body = vec![0; u32::from_be_bytes(len) as usize];
            self.socket.read_exact(&mut body).await.expect("a whole frame");
            let (op, _) = OPCODES.iter().find(|(_, code)| *code == opcode).expect("an opcode");
            let stream = i16::from_be_bytes([s0, s1]);
            self.answers.entry(stream).or_default().push_back((op, flags, body));
        }
    }
}

/// What is known of one request while its answer is awaited.
#[derive(Clone, Default)]
struct Asked {
    text: String,
}

#[derive(Default)]
struct Replay {
    comparison: Comparison,
    /// Prepared id → text.
    texts: HashMap<Vec<u8>, String>,
    asked: HashMap<(i64, i16), Asked>,
    /// Added to recorded window times, in ms.
    shift: Option<i64>,
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

impl Replay {
    /// Notes what a client frame asks, and gives the body to send.
    fn ask(&mut self, frame: &Frame, first_log_time_ms: i64) -> Vec<u8> {
        let long_string = || String::from_utf8(frame.body[4..].to_vec());
        let text = match frame.op.as_str() {
            "PREPARE" => long_string().expect("UTF-8"),
            "QUERY" => String::from_utf8_lossy(&frame.body[4..]).into_owned(),
            "EXECUTE" => self.texts.get(&frame.body[2..18]).expect("prepared before").clone(),
            _ => String::new(),
        };
        if frame.op == "EXECUTE" && text.contains("outbox_messages ") && self.shift.is_none() {
            self.shift = Some(now_ms() - first_log_time_ms);
        }
        let body = match frame.op.as_str() {
            "EXECUTE" if text.contains("cdc") => self.translate(&frame.body, &text),
            _ => frame.body.clone(),
        };
        self.asked.insert((frame.connection, frame.stream), Asked { text });
        body
    }

    /// Puts our stream ids and times where the recorded ones are.
    fn translate(&self, body: &[u8], text: &str) -> Vec<u8> {
        let mut body = body.to_vec();
        for (recorded, ours) in self.comparison.translations() {
            let found = body.windows(recorded.len()).position(|window| window == recorded);
            if let Some(at) = found {
                body[at..at + ours.len()].copy_from_slice(ours);
            }
        }
        // id, consistency, flags, count, then values with their lengths.
        let first = 2 + 16 + 2 + 1 + 2;
        if text.contains("time <= ?") {
            body[first + 4..first + 12].copy_from_slice(&(now_ms() + 60_000).to_be_bytes());
        }
        if text.contains("_scylla_cdc_log") {
            let list_len = i32::from_be_bytes(body[first..first + 4].try_into().expect("four"));
            let from = first + 4 + list_len as usize;
            for at in [from + 4, from + 16] {
                let recorded = i64::from_be_bytes(body[at..at + 8].try_into().expect("eight"));
                let shifted = recorded + self.shift.expect("rows were written before");
                body[at..at + 8].copy_from_slice(&shifted.to_be_bytes());
            }
        }
        body
    }

    /// Compares one answer with the recorded one.
    fn check(&mut self, frame: &Frame, ours: &Answer) {
        let asked = self.asked.get(&(frame.connection, frame.stream)).cloned().unwrap_or_default();
        let (op, flags, body) = ours;
        let context = format!("line {}, {} of {:?}", frame.line, frame.op, asked.text.trim());
        if asked.text.contains("initial_tablets") && frame.op == "ERROR" {
            // Newer servers know the column; clients take either.
            return;
        }
        match frame.op.as_str() {
            "READY" => assert_eq!((*op, body.len()), ("READY", 0), "{context}"),
            "SUPPORTED" => self.comparison.supported(&context, &frame.body, body),
            _ => {
                assert_eq!(*op, frame.op, "{context}: {}", String::from_utf8_lossy(body));
                let (_, recorded) = decode(&frame.op, frame.flags, &frame.body);
                let (_, ours) = decode(op, *flags, body);
                if let Body::Prepared { id, .. } = &recorded {
                    self.texts.insert(id.clone(), asked.text);
                }
                self.comparison.body(&context, &recorded, &ours);
            }
        }
    }
}

/// When the first row of the recorded log was written, in ms.
fn first_log_time(frames: &[Frame]) -> i64 {
    let rows =
        frames.iter().filter(|frame| frame.op == "RESULT").filter_map(|frame| {
            match decode(&frame.op, frame.flags, &frame.body).1 {
                Body::Rows(rows) => Some(LogRow::of(&rows)),
                _ => None,
            }
        });
    rows.flatten().map(|row| row.time_ms()).min().expect("the recording has log rows")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_session_gets_the_answers_of_a_real_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = ServerConfig::ephemeral(dir.path());
    config.engine.token_ranges = 16;
    let server = Server::start(config).await.expect("starts");
    let frames = recording();
    let first_log_time_ms = first_log_time(&frames);
    let mut replay = Replay::default();
    let mut wires = BTreeMap::new();
    for frame in &frames {
        let wire = match wires.entry(frame.connection) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let socket = TcpStream::connect(server.address()).await.expect("connects");
                entry.insert(Wire { socket, answers: HashMap::new() })
            }
        };
        if frame.from_client {
            let body = replay.ask(frame, first_log_time_ms);
            wire.send(frame, &body).await;
        } else {
            let answer = tokio::time::timeout(crate::support::PATIENCE, wire.answer(frame.stream));
            let answer = answer.await.unwrap_or_else(|_| {
                panic!("line {}: no {} on stream {}", frame.line, frame.op, frame.stream)
            });
            replay.check(frame, &answer);
        }
    }
    replay.comparison.log();
    server.shutdown().await;
}
