//! Takes down what many clients do at the same time.

use super::{Command, Fault, History, Lookup, Read, Reply, Reuse, Sending};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A history in the making. Cheap to clone; all clones write into the same.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Instant,
    history: Arc<Mutex<History>>,
}

impl Recorder {
    /// An empty history; its clock starts now.
    pub fn new(seed: u64) -> Self {
        let history = History { seed, ..History::default() };
        Self { began: Instant::now(), history: Arc::new(Mutex::new(history)) }
    }

    /// Microseconds since the beginning.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes a command before it is first sent, and gives its index.
    pub fn command(&self, command: Command) -> usize {
        let mut history = self.lock();
        history.commands.push(command);
        history.commands.len() - 1
    }

    /// Notes an answered sending.
    pub fn sending(&self, sending: Sending) {
        self.lock().sendings.push(sending);
    }

    /// Notes a refusal that does not say what it must.
    pub fn evasion(&self, evasion: String) {
        self.lock().evasions.push(evasion);
    }

    /// Notes how much memory a process has now.
    pub fn memory(&self, process: String, mib: f64) {
        let mut history = self.lock();
        let peak = history.memory_mib.entry(process).or_default();
        *peak = peak.max(mib);
    }

    /// Notes a look.
    pub fn read(&self, read: Read) {
        self.lock().reads.push(read);
    }

    /// Notes a look-up.
    pub fn lookup(&self, lookup: Lookup) {
        self.lock().lookups.push(lookup);
    }

    /// Notes a reuse of a key.
    pub fn reuse(&self, reuse: Reuse) {
        self.lock().reuses.push(reuse);
    }

    /// Notes a fault when it is over.
    pub fn fault(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// How many commands there are so far.
    pub fn commands(&self) -> usize {
        self.lock().commands.len()
    }

    /// Indices of the commands whose outcome nobody knows: some sending is unanswered, and none was
    /// accepted or refused for a reason of the aggregate afterwards.
    pub fn open_commands(&self) -> Vec<usize> {
        let history = self.lock();
        let mut open = vec![false; history.commands.len()];
        for sending in &history.sendings {
            match &sending.reply {
                Reply::Info { .. } => open[sending.command] = true,
                reply if reply.is_passing() => {}
                Reply::Ok { .. } | Reply::Fail { .. } => open[sending.command] = false,
            }
        }
        (0..open.len()).filter(|index| open[*index]).collect()
    }

    /// One command.
    pub fn get(&self, command: usize) -> Command {
        self.lock().commands[command].clone()
    }

    /// The history so far.
    pub fn snapshot(&self) -> History {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
