//! Appending to one aggregate: processes that commit, requests that may land late, and settlers.
//!
//! | here | in the code |
//! | --- | --- |
//! | a [`Task`] | `event-store/src/execute.rs`, `append.rs`: one command from load to announcement |
//! | a [`Request`] | the commit's LWT, from being sent until it applied or never can |
//! | a [`Process`] and its [`Row`] | `writer.rs`, `intents.rs`: heartbeat, intent buckets, `writers` |
//! | a [`Settler`] | whoever finishes what a dead writer left |
//!
//! What is left out, and why that is no loss: every command makes one event, since those of one commit
//! land together or not at all. A plain write that was sent twice, or whose answer is lost, is the same
//! as one that is sent again later. Moving a fence is one step: a move that lands late stands for one
//! that is made late. Time is left out but for its one rule: a commit is sent only under a heartbeat
//! that is *fresh*, and who watches the heartbeat stand still for the grace period watches it go stale.
//! A process that is paused between the check and the sending is a request that lands late.

mod canonical;
mod properties;
mod settler;
mod steps;
#[cfg(test)]
mod tests;

use crate::Defect;

/// Versions of the aggregate that the tables have room for.
pub const VERSIONS: usize = 3;

/// Intent buckets per writer.
pub const BUCKETS: usize = 2;

/// Writer ids that one process may have, one after the other.
pub const LIVES: usize = 2;

/// A command, and with it the id of its event, which derives from it.
pub type Command = u8;

/// What is checked: who sends what, which faults may happen, and what is wrong with the protocol.
#[derive(Debug, Clone)]
pub struct Append {
    /// Process and command of each task, in the order in which a process gets them.
    pub tasks: Vec<(usize, Command)>,
    /// How many settlers work at the same time.
    pub settlers: usize,
    /// Commits that one task may send.
    pub sends_max: u8,
    /// How often what may go wrong does.
    pub faults: Faults,
    /// What is wrong with the protocol.
    pub defect: Option<Defect>,
    /// The writer's clock stands still while it is suspended, so that it takes its heartbeat for fresh
    /// although everybody else saw it go stale.
    pub clock_stands_still: bool,
}

/// How often each fault may still happen. Lost answers and late or lost commits are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A process dies.
    pub crashes: u8,
    /// A heartbeat goes stale, because the process or its way to the database is slow.
    pub stalls: u8,
    /// A settler dies.
    pub settler_crashes: u8,
    /// A process turns to its next intent bucket. No fault, but bounded like one.
    pub rotations: u8,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// `event_store`, by version - 1.
    ledger: [Option<Command>; VERSIONS],
    /// `outbox_messages`, by version - 1: what was announced in time.
    outbox: [Option<Command>; VERSIONS],
    /// Its value now; a fence never takes an earlier one.
    fence: u8,
    /// Commits that may still land.
    requests: Vec<Request>,
    /// `writers` and `append_intents`, by writer.
    rows: Vec<Row>,
    processes: Vec<Process>,
    tasks: Vec<Task>,
    settlers: Vec<Settler>,
    left: Faults,
}

/// A commit on its way: `UPDATE … IF event_id = null AND … AND fence = ?`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Request {
    task: usize,
    version: u8,
    fence: u8,
    /// The task still waits for its answer.
    awaited: bool,
}

/// What a writer has in the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Row {
    state: RowState,
    counter: u8,
    /// The bucket that appends enter now.
    bucket: u8,
    /// By bucket, the version that the durable intent is after.
    intents: [Option<u8>; BUCKETS],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum RowState {
    #[default]
    Absent,
    Alive,
    Dead,
}

/// A process that appends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    is_running: bool,
    /// Its writer id now.
    writer: usize,
    /// The last applied heartbeat was sent less than half the grace period ago.
    is_fresh: bool,
    /// Version and fence of the aggregate in the cache.
    cache: Option<(u8, u8)>,
}

/// One command at work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Task {
    phase: Phase,
    hold: Option<Hold>,
    sends: u8,
    answer: Option<Answer>,
}

/// A durable intent that covers the task's append, and the bucket that is open for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Hold {
    writer: usize,
    bucket: u8,
    after: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// Its turn has not come.
    Waiting,
    /// Decided; nothing is on its way.
    Ready {
        after: u8,
        fence: u8,
    },
    /// A commit was sent, and its answer is awaited.
    Sent {
        after: u8,
        fence: u8,
    },
    /// No answer came. `looked`: the ledger was looked at and showed nothing.
    Unknown {
        after: u8,
        fence: u8,
        looked: bool,
    },
    /// Another's event has the version.
    Lost,
    /// The event is a fact, to be announced.
    Committed {
        version: u8,
    },
    Done,
    /// It ended with its process.
    Gone,
}

/// What the caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Done,
    NotDone,
}

/// Who finishes what a dead writer left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Settler {
    Idle,
    /// The counter stood still for the grace period.
    Observed {
        writer: usize,
        counter: u8,
    },
    /// The writer is dead.
    Certain {
        writer: usize,
    },
    /// Read the intents, and the fence as it is.
    Fencing {
        writer: usize,
        after: u8,
        fence: u8,
    },
    /// What is not in the ledger now will not be.
    Fenced {
        writer: usize,
        after: u8,
    },
    /// Nothing is left but the row.
    Settled {
        writer: usize,
    },
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// A task's turn comes: the aggregate is in the cache or loaded, the command decided.
    Begin(usize),
    /// The intent becomes durable, unless the bucket has it.
    MakeIntent(usize),
    /// The first commit of a round is sent.
    Send(usize),
    /// The deadline passes while nothing is on its way: "not done".
    GiveUp(usize),
    /// The answer of a commit does not come.
    Timeout(usize),
    /// The tail is read at SERIAL to see what became of a commit.
    Look(usize),
    /// The same commit again.
    SendAgain(usize),
    /// The fence is moved away from the one that the commit rests on.
    MoveFence(usize),
    /// After a lost race the tail is read at SERIAL and the command decided again.
    Refresh(usize),
    /// The event goes into the outbox, in time.
    Announce(usize),
    /// A commit reaches the ledger, whoever waits for it or not.
    Land(usize),
    /// A stale heartbeat is sent again; a process that finds itself dead starts anew.
    Beat(usize),
    /// A settler has seen a writer stand still: settler, writer.
    Observe(usize, usize),
    /// A settler finds a writer that was declared dead: settler, writer.
    FindDead(usize, usize),
    /// The death certificate.
    Certify(usize),
    /// The dead writer's intents and the fence are read.
    ReadIntents(usize),
    /// The fence is moved, if it still is the one that was read.
    FenceOff(usize),
    /// The tail is read at SERIAL and announced.
    AnnounceTail(usize),
    /// The dead writer's row goes.
    RemoveRow(usize),
    /// A process dies.
    Crash(usize),
    /// A heartbeat goes stale.
    Stall(usize),
    /// A process turns to its next intent bucket.
    Rotate(usize),
    /// A settler dies.
    SettlerCrash(usize),
    /// The caller goes away and, wrongly, the task with it.
    HangUp(usize),
}

impl Append {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn process_of(&self, task: usize) -> usize {
        self.tasks[task].0
    }

    fn command_of(&self, task: usize) -> Command {
        self.tasks[task].1
    }

    fn first_state(&self) -> State {
        let count = self.tasks.iter().map(|(process, _)| process + 1).max().unwrap_or(0);
        let mut rows = vec![Row::default(); count * LIVES];
        let processes = (0..count).map(|process| {
            let writer = process * LIVES;
            rows[writer].state = RowState::Alive;
            Process { is_running: true, writer, is_fresh: true, cache: None }
        });
        let processes = processes.collect();
        let task = Task { phase: Phase::Waiting, hold: None, sends: 0, answer: None };
        State {
            ledger: [None; VERSIONS],
            outbox: [None; VERSIONS],
            fence: 0,
            requests: Vec::new(),
            rows,
            processes,
            tasks: vec![task; self.tasks.len()],
            settlers: vec![Settler::Idle; self.settlers],
            left: self.faults,
        }
    }
}

impl State {
    /// The event of a version.
    fn stored(&self, version: u8) -> Option<Command> {
        self.ledger[usize::from(version) - 1]
    }

    /// The newest version; 0 when there is none.
    fn tail(&self) -> u8 {
        let newest = self.ledger.iter().rposition(Option::is_some);
        newest.map_or(0, |index| u8::try_from(index + 1).unwrap_or(u8::MAX))
    }

    fn has_stored(&self, command: Command) -> bool {
        self.ledger.contains(&Some(command))
    }
}
