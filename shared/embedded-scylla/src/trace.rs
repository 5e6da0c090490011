//! Traces of requests whose clients asked for one (`TRACING ON`), as `system_traces` shows them.
//!
//! A traced request runs in the scope of its [`Trace`], to which [`event`] adds what the engine says
//! on the way; without a trace that costs one look. The last traces are kept in memory: they are gone
//! with the process, which no client can tell from their expiry on a cluster.

use crate::protocol::{QueryParams, consistency};
use crate::server::ConnectionContext;
use crate::types::timeuuid;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Texts are cut at this many bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Events of one trace; what follows is not told.
const EVENTS_MAX: usize = 64;

tokio::task_local! {
    static CURRENT: Arc<Trace>;
}

/// The last traces.
#[derive(Debug)]
pub(crate) struct Traces {
    kept_max: usize,
    kept: Mutex<VecDeque<Arc<Trace>>>,
}

/// What is traced.
#[derive(Debug)]
pub(crate) struct Request {
    /// As `sessions.request` has it.
    pub(crate) title: &'static str,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) bytes: usize,
}

/// One traced request.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) id: Uuid,
    pub(crate) title: &'static str,
    pub(crate) client: IpAddr,
    pub(crate) coordinator: IpAddr,
    pub(crate) request_bytes: usize,
    /// µs since 1970.
    pub(crate) started_micros: i64,
    started: Instant,
    told: Mutex<Told>,
    ended: OnceLock<Ended>,
}

#[derive(Debug, Default)]
struct Told {
    parameters: BTreeMap<String, String>,
    events: Vec<Event>,
}

/// How a traced request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) duration: Duration,
    pub(crate) response_bytes: usize,
}

/// One step of a traced request.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: Uuid,
    pub(crate) activity: String,
    pub(crate) elapsed: Duration,
}

impl Traces {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { kept_max, kept: Mutex::default() }
    }

    /// A trace that begins now; it may be read at once.
    pub(crate) fn begin(
        &self,
        connection: &ConnectionContext,
        now_micros: i64,
        request: Request,
    ) -> Arc<Trace> {
        let told = Told { parameters: request.parameters, events: Vec::new() };
        let trace = Arc::new(Trace {
            id: time_id(now_micros),
            title: request.title,
            client: connection.peer.ip(),
            coordinator: connection.local_address.ip(),
            request_bytes: request.bytes,
            started_micros: now_micros,
            started: Instant::now(),
            told: Mutex::new(told),
            ended: OnceLock::new(),
        });
        let mut kept = lock(&self.kept);
        kept.push_back(Arc::clone(&trace));
        while kept.len() > self.kept_max {
            kept.pop_front();
        }
        trace
    }

    /// All that are kept, the oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Trace>> {
        lock(&self.kept).iter().map(Arc::clone).collect()
    }
}

impl Trace {
    /// Runs a request, whose events go to this trace.
    pub(crate) async fn scope<T>(self: &Arc<Self>, request: impl Future<Output = T>) -> T {
        CURRENT.scope(Arc::clone(self), request).await
    }

    /// The answer is there; only the first end counts.
    pub(crate) fn end(&self, response_bytes: usize) {
        self.ended.get_or_init(|| Ended { duration: self.started.elapsed(), response_bytes });
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended.get().copied()
    }

    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        lock(&self.told).parameters.clone()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        lock(&self.told).events.clone()
    }

    fn tell(&self, activity: String) {
        let elapsed = self.started.elapsed();
        let mut told = lock(&self.told);
        if told.events.len() == EVENTS_MAX {
            return;
        }
        // Clients show events in the order of their ids, so that no two may be of one time.
        let micros = self.started_micros.saturating_add(micros(elapsed));
        let last = told.events.last().map_or(i64::MIN, |event| timeuuid::micros(&event.id));
        let id = time_id(micros.max(last.saturating_add(1)));
        told.events.push(Event { id, activity: cut(&activity), elapsed });
    }
}

/// Says in the trace of the running request, if it has one, what happens now.
pub(crate) fn event(activity: impl FnOnce() -> String) {
    // Without a trace nobody wants to know.
    let _ = CURRENT.try_with(|trace| trace.tell(activity()));
}

/// Says in the trace, if there is one, which text is run.
pub(crate) fn statement(text: &str) {
    let _ = CURRENT.try_with(|trace| {
        lock(&trace.told).parameters.entry("query".to_owned()).or_insert_with(|| cut(text));
    });
}

/// What a trace shows of the parameters of a statement.
pub(crate) fn parameters(text: Option<&str>, params: &QueryParams) -> BTreeMap<String, String> {
    let mut shown = levels(params.consistency, params.serial_consistency, params.timestamp);
    shown.extend(text.map(|text| ("query".to_owned(), cut(text))));
    shown.extend(params.page_size.map(|size| ("page_size".to_owned(), size.to_string())));
    shown
}

/// What a trace shows of the levels and the timestamp of a request.
pub(crate) fn levels(
    level: u16,
    serial: Option<u16>,
    timestamp: Option<i64>,
) -> BTreeMap<String, String> {
    let serial = consistency::name(serial.unwrap_or(consistency::SERIAL)).to_owned();
    let mut shown = BTreeMap::from([
        ("consistency_level".to_owned(), consistency::name(level).to_owned()),
        ("serial_consistency_level".to_owned(), serial),
    ]);
    shown.extend(timestamp.map(|micros| ("user_timestamp".to_owned(), micros.to_string())));
    shown
}

/// A version-1 uuid of this time.
fn time_id(micros: i64) -> Uuid {
    let variant = 1 << 63;
    timeuuid::from_micros(micros, rand::random::<u64>() >> 2 | variant)
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn cut(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
