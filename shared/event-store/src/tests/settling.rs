//! Dead writers are settled: whatever a process dies at, and whatever the settlement meets.

use crate::config::EventStoreConfig;
use crate::testing::{
    Answer, Fake, Fault, ID, Op, Rig, TallyCommand, When, Wire, accepted, event, request, wired,
};
use futures::FutureExt;
use futures::future::{join_all, select_all};
use runtime::chain;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use TallyCommand::{Add, AddEach};
use When::{After, Before};

/// Within this time of a crash everything stored is announced: the grace period and five seconds.
const BOUND: Duration = Duration::from_secs(15);

const GRACE: Duration = Duration::from_secs(10);

async fn process(fake: &Arc<Fake>) -> (Arc<Wire>, Rig) {
    wired(fake, EventStoreConfig::default()).await
}

/// The versions of an aggregate that are stored, and those that are announced.
fn versions(fake: &Fake, id: Uuid) -> (Vec<u64>, Vec<u64>) {
    let stored = fake.events(id).iter().map(|event| event.version.0).collect();
    (stored, fake.announced_versions(id))
}

/// What is stored is announced, and the other way round, and only the living have a row.
#[track_caller]
fn check(fake: &Fake, ids: &[Uuid], living: usize, case: &str) {
    for id in ids {
        let (stored, announced) = versions(fake, *id);
        assert_eq!(stored, announced, "{case}: stored and announced of {id}");
        let gapless: Vec<u64> = (1..=stored.len() as u64).collect();
        assert_eq!(stored, gapless, "{case}");
    }
    let writers = fake.writers();
    assert_eq!(writers.len(), living, "{case}: {writers:?}");
    for (events, topic) in fake.outbox() {
        assert_eq!(topic, "tallies.events", "{case}");
        assert!(events.iter().all(|event| fake.events(event.aggregate_id).contains(event)));
    }
}

/// Sends a command and waits for the process to stop or die on its way, or for the answer.
async fn send_until_cut(wire: &Wire, rig: &Rig, id: u128, command: TallyCommand) -> Option<Answer> {
    let cut = rig.fake.until(|_| !wire.is_running());
    tokio::select! {
        biased;
        answer = rig.send(id, command) => Some(answer),
        () = cut => None,
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_writer_dies_at_its_events_are_announced_in_time() {
    for op in [Op::Intent, Op::Commit, Op::Announce] {
        for when in [Before, After] {
            for command in [Add(1), AddEach(vec![1, 2, 3])] {
                let case = format!("{command:?}, dies {when:?} {op:?}");
                let fake = Fake::new();
                let (dying, first) = process(&fake).await;
                accepted(&first.send(1, Add(1)).await, &[1]);
                first.announced().await;
                let (_, _second) = process(&fake).await;
                // A bucket of its own, so that there is an intent to be written.
                sleep(Duration::from_secs(1)).await;
                dying.dies_at(op, 1, when);
                send_until_cut(&dying, &first, 2, command.clone()).await;
                fake.until(|_| !dying.is_running()).await;
                sleep(BOUND).await;
                check(&fake, &[ID], 1, &case);
                let committed = op == Op::Announce || (op, when) == (Op::Commit, After);
                let count = if matches!(command, Add(_)) { 1 } else { 3 };
                let events = 1 + if committed { count } else { 0 };
                assert_eq!(fake.events(ID).len(), events, "{case}");
                // What one command led to is announced by one write.
                let sizes: BTreeSet<_> =
                    fake.outbox().iter().map(|(events, _)| events.len()).collect();
                assert!(sizes.iter().all(|size| [1, count].contains(size)), "{case}: {sizes:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_settler_dies_at_another_one_settles_from_the_start() {
    let steps = [
        (Op::Certify, 1),
        (Op::Intents, 1),
        (Op::Intents, 200),
        (Op::SerialRead, 1),
        (Op::SerialRead, 2),
        (Op::MoveFence, 1),
        (Op::Announce, 1),
        (Op::RemoveWriter, 1),
    ];
    for (op, nth) in steps {
        for when in [Before, After] {
            let case = format!("the settler dies {when:?} {op:?} {nth}");
            let fake = Fake::new();
            let (dead, first) = process(&fake).await;
            dead.dies_at(Op::Announce, 1, Before);
            accepted(&first.send(1, AddEach(vec![1, 2])).await, &[1, 2]);
            let (settler, _second) = process(&fake).await;
            settler.dies_at(op, nth, when);
            fake.until(|_| !settler.is_running()).await;
            let (_, _third) = process(&fake).await;
            // Both are dead now, one of them maybe in state dead for somebody else to take over.
            sleep(BOUND + GRACE).await;
            check(&fake, &[ID], 1, &case);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_writer_that_wakes_with_a_commit_in_its_hands_starts_anew() {
    for stopped_for in [5, 20, 100] {
        let fake = Fake::new();
        let (sleeper, first) = process(&fake).await;
        let old = *fake.writers().keys().next().expect("a writer");
        let (_, second) = process(&fake).await;
        accepted(&second.send(9, Add(1)).await, &[1]);
        sleeper.stops_at(Op::Commit, Before);
        let wakes = async {
            fake.until(|_| !sleeper.is_running()).await;
            sleep(Duration::from_secs(stopped_for)).await;
            sleeper.resume();
        };
        let (answer, ()) = tokio::join!(first.send(1, Add(1)), wakes);
        sleep(BOUND).await;
        let case = format!("stopped for {stopped_for} s: {answer:?}");
        check(&fake, &[ID], 2, &case);
        let done = fake.events(ID).iter().filter(|e| e.metadata.fingerprint == "Add(1)").count();
        let settled = stopped_for >= 20;
        assert_eq!(!fake.writers().contains_key(&old), settled, "{case}");
        if answer.is_ok() {
            assert_eq!(done, 2, "{case}");
        }
        // Whatever it was told, the same command settles it.
        first.send(1, Add(1)).await.expect("accepted, or accepted again");
        assert_eq!(fake.events(ID).len(), 2, "{case}");
        assert_eq!(fake.count(Op::MoveFence) > 0, settled, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_lands_late_is_announced_or_does_not_land() {
    let mut landed = BTreeSet::new();
    for touches in 1..=6 {
        for events in [1, 2] {
            let case = format!("{events} events, before touch {touches}");
            let fake = Fake::new();
            let (dying, first) = process(&fake).await;
            let (_, second) = process(&fake).await;
            fake.script(Op::Commit, [Fault::Late(touches)]);
            dying.dies_at(Op::Commit, 1, After);
            send_until_cut(&dying, &first, 1, AddEach(vec![1; events])).await;
            sleep(BOUND).await;
            fake.land_everything();
            check(&fake, &[ID], 1, &case);
            landed.insert(fake.events(ID).len() == events);
            // The client turns to another process, which tells what became of it.
            let again = second.send(1, AddEach(vec![1; events])).await.expect("settled");
            assert_eq!(again.version.0, events as u64, "{case}");
            second.announced().await;
            check(&fake, &[ID], 1, &case);
        }
    }
    assert_eq!(landed.len(), 2, "some land before the fence moves, some never do");
}

#[tokio::test(start_paused = true)]
async fn two_settlers_at_once_do_no_harm() {
    for op in [Op::Certify, Op::SerialRead, Op::MoveFence, Op::Announce, Op::RemoveWriter] {
        for fault in [Fault::SlowAnswer(2 * GRACE), Fault::Slow(2 * GRACE), Fault::Unanswered] {
            let case = format!("{fault:?} of {op:?}");
            let fake = Fake::new();
            let (dead, first) = process(&fake).await;
            dead.dies_at(Op::Announce, 1, Before);
            accepted(&first.send(1, AddEach(vec![1, 2])).await, &[1, 2]);
            let (_, _second) = process(&fake).await;
            let (_, _third) = process(&fake).await;
            // The first settler is held up for so long that the other one takes over.
            fake.script(op, [fault]);
            sleep(BOUND + 3 * GRACE).await;
            check(&fake, &[ID], 2, &case);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_comes_first_beats_the_certificate() {
    let fake = Fake::new();
    let (late, _first) = process(&fake).await;
    let writer = *fake.writers().keys().next().expect("a writer");
    let (_, _second) = process(&fake).await;
    late.stop();
    fake.script(Op::Certify, [Fault::Slow(Duration::from_millis(500))]);
    fake.until(|fake| fake.count(Op::Certify) == 1).await;
    late.resume();
    sleep(BOUND).await;
    assert_eq!(fake.count(Op::Certify), 1);
    assert_eq!((fake.count(Op::Intents), fake.count(Op::RemoveWriter)), (0, 0), "untouched");
    let writers = fake.writers();
    assert!(writers.contains_key(&writer) && writers.len() == 2, "{writers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_unknown_fate_is_recognised() {
    for fault in [Fault::Unanswered, Fault::Dropped, Fault::Refused] {
        let fake = Fake::new();
        let (dead, first) = process(&fake).await;
        dead.dies_at(Op::Announce, 1, Before);
        accepted(&first.send(1, Add(1)).await, &[1]);
        let (_, _second) = process(&fake).await;
        fake.script(Op::Certify, [fault]);
        sleep(BOUND).await;
        assert_eq!(fake.count(Op::Certify), 2, "{fault:?}");
        check(&fake, &[ID], 1, &format!("{fault:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_nobody_stands_behind_are_removed() {
    let fake = Fake::new();
    // A registration of unknown fate: the process goes on under another id.
    fake.script(Op::Heartbeat, [Fault::Unanswered]);
    let (_, _first) = process(&fake).await;
    assert_eq!(fake.writers().len(), 2);
    // A process that dies before it ever did anything.
    let (dead, _second) = process(&fake).await;
    dead.die();
    sleep(BOUND).await;
    check(&fake, &[], 1, "only the first process is left");
}

#[tokio::test(start_paused = true)]
async fn a_dead_row_is_taken_over_from_whoever_left_it() {
    let fake = Fake::new();
    let (dead, first) = process(&fake).await;
    dead.dies_at(Op::Announce, 1, Before);
    accepted(&first.send(1, Add(1)).await, &[1]);
    let writer = *fake.writers().keys().next().expect("a writer");
    fake.declare_dead(writer);
    let (_, _second) = process(&fake).await;
    sleep(BOUND).await;
    assert_eq!(fake.count(Op::Certify), 0, "it has its certificate");
    check(&fake, &[ID], 1, "taken over");
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_make_everyone_settle_everyone() {
    let heartbeats: &[Op] = &[Op::Heartbeat];
    let all: &[Op] = &[];
    for (ops, seconds) in [(all, 60), (all, 9), (heartbeats, 60), (heartbeats, 9)] {
        let fake = Fake::new();
        let processes = join_all((0..4).map(|_| process(&fake))).await;
        sleep(Duration::from_secs(20)).await;
        let fault = |fault| ops.iter().for_each(|op| fake.always(*op, fault));
        if ops.is_empty() {
            fake.dark(true)
        } else {
            fault(Fault::Dropped)
        }
        sleep(Duration::from_secs(seconds)).await;
        if ops.is_empty() {
            fake.dark(false)
        } else {
            fault(Fault::None)
        }
        sleep(Duration::from_secs(40)).await;
        let case = format!("{ops:?} away for {seconds} s");
        assert_eq!(fake.count(Op::Certify), 0, "{case}");
        check(&fake, &[], processes.len(), &case);
        for (number, (_, rig)) in (1..).zip(&processes) {
            rig.send(number, Add(1)).await.unwrap_or_else(|e| panic!("{case}: {}", chain(&e)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_settled_is_left_and_tried_again_more_and_more_seldom() {
    let fake = Fake::new();
    let (dead, first) = process(&fake).await;
    dead.dies_at(Op::Announce, 1, Before);
    accepted(&first.send(1, Add(1)).await, &[1]);
    let (_, second) = process(&fake).await;
    fake.always(Op::Announce, Fault::Refused);
    sleep(Duration::from_secs(3_600)).await;
    let attempts = EventStoreConfig::default().settle.attempts_max as usize + 1;
    let tries = fake.count(Op::Announce) / attempts;
    assert!((5..=20).contains(&tries), "{tries} tries within an hour");
    assert_eq!(fake.writers().len(), 2, "its row stays");
    fake.always(Op::Announce, Fault::None);
    // The waits have grown up to ten minutes.
    sleep(Duration::from_secs(700)).await;
    check(&fake, &[ID], 1, "settled at last");
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn unreadable_events_hold_up_their_own_aggregate_only() {
    let fake = Fake::new();
    let other = Uuid::from_u128(0xB);
    let (dead, first) = process(&fake).await;
    fake.always(Op::Announce, Fault::Dropped);
    accepted(&first.send(1, Add(1)).await, &[1]);
    let mut elsewhere = request(2, Add(1));
    elsewhere.aggregate_id = other;
    first.store.execute(elsewhere).await.expect("accepted");
    dead.die();
    fake.always(Op::Announce, Fault::None);
    // A hole: version 3 without version 2.
    fake.store([event(ID, 3)]);
    let (_, _second) = process(&fake).await;
    sleep(BOUND).await;
    assert_eq!(fake.announced_versions(other), [1]);
    assert_eq!(fake.writers().len(), 2, "the row stays for as long as something is left");
    fake.store([event(ID, 2)]);
    sleep(3 * BOUND).await;
    check(&fake, &[ID, other], 1, "once it can be read");
}

#[tokio::test(start_paused = true)]
async fn a_long_tail_is_announced_commit_by_commit() {
    let fake = Fake::new();
    let (dead, first) = process(&fake).await;
    dead.dies_at(Op::Announce, 1, Before);
    accepted(&first.send(1, AddEach(vec![1; 3])).await, &[1, 2, 3]);
    // Others go on with the aggregate meanwhile; their announcements are not the dead one's matter.
    let config = EventStoreConfig { load_page_events: 2, ..Default::default() };
    let (_, second) = wired(&fake, config).await;
    for id in 2..=6 {
        second.send(id, AddEach(vec![1; 3])).await.expect("accepted");
    }
    second.announced().await;
    sleep(BOUND).await;
    check(&fake, &[ID], 1, "all of it");
    assert_eq!(fake.events(ID).len(), 18);
    let sizes: BTreeSet<_> = fake.outbox().iter().map(|(events, _)| events.len()).collect();
    assert_eq!(sizes, BTreeSet::from([3]), "a commit is announced whole");
}

/// Processes that die, stop and lose messages at random; when all is over, every promise holds.
#[tokio::test(start_paused = true)]
async fn nothing_is_left_behind_in_a_random_world() {
    let seed: u64 = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => u64::from(Uuid::new_v4().as_fields().0),
    };
    println!("SEED={seed}");
    for round in 0..40 {
        let case = format!("SEED={seed} round {round}");
        World::new(seed.wrapping_add(round)).run(&case).await;
    }
}

struct World {
    fake: Arc<Fake>,
    random: u64,
    sent: u128,
    answers: Vec<(u128, Answer)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { fake: Fake::new(), random, sent: 0, answers: Vec::new() }
    }

    /// xorshift64
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn fault(&mut self) -> Fault {
        match self.draw(8) {
            0 => Fault::Dropped,
            1 => Fault::Unanswered,
            2 => Fault::Slow(Duration::from_secs(self.draw(6))),
            3 => Fault::SlowAnswer(Duration::from_secs(self.draw(6))),
            4 => Fault::Late(1 + self.draw(6) as usize),
            _ => Fault::None,
        }
    }

    async fn run(mut self, case: &str) {
        const OPS: [Op; 6] =
            [Op::Intent, Op::Commit, Op::MoveFence, Op::Announce, Op::Certify, Op::RemoveWriter];
        let mut processes = vec![process(&self.fake).await, process(&self.fake).await];
        for _ in 0..12 {
            for op in OPS {
                let faults: Vec<_> = (0..2).map(|_| self.fault()).collect();
                self.fake.script(op, faults);
            }
            let at = self.draw(processes.len() as u64) as usize;
            let op = OPS[self.draw(OPS.len() as u64) as usize];
            let when = if self.draw(2) == 0 { Before } else { After };
            match self.draw(4) {
                0 => processes[at].0.dies_at(op, 1, when),
                1 => processes[at].0.stops_at(op, when),
                2 => processes[at].0.die(),
                _ => {}
            }
            self.commands(&processes).await;
            sleep(Duration::from_secs(self.draw(25))).await;
            processes.iter().for_each(|(wire, _)| wire.resume());
            processes.push(process(&self.fake).await);
        }
        self.heal(processes, case).await;
    }

    /// A command to each process, until it answers or a while has passed.
    async fn commands(&mut self, processes: &[(Arc<Wire>, Rig)]) {
        let first = self.sent + 1;
        self.sent += processes.len() as u128;
        let sent = processes
            .iter()
            .zip(first..)
            .map(|((_, rig), id)| async move { (id, rig.send(id, Add(1)).await) }.boxed_local());
        let mut open: Vec<_> = sent.collect();
        let deadline = Instant::now() + Duration::from_secs(self.draw(12));
        while !open.is_empty() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => break,
                (answer, _, rest) = select_all(open) => {
                    self.answers.push(answer);
                    open = rest;
                }
            }
        }
    }

    /// No more faults; the dead are settled by the living. Then the promises are checked.
    async fn heal(self, processes: Vec<(Arc<Wire>, Rig)>, case: &str) {
        self.fake.forget_scripts();
        self.fake.land_everything();
        // Also those whose rows are dead already because their settler died.
        sleep(BOUND + 3 * GRACE).await;
        self.fake.land_everything();
        let living = processes.iter().filter(|(wire, _)| wire.is_running()).count();
        check(&self.fake, &[ID], living, case);
        let stored = self.fake.events(ID);
        for (id, answer) in self.answers {
            let command_id = Uuid::from_u128(id);
            let of = stored.iter().filter(|event| event.metadata.command_id == command_id);
            let versions: Vec<_> = of.map(|event| event.version).collect();
            match answer {
                Ok(outcome) => assert_eq!(versions, [outcome.version], "{case}: command {id}"),
                Err(error) if error.effect() == crate::error::Effect::NotDone => {
                    assert!(versions.is_empty(), "{case}: command {id} was not done: {error:?}");
                }
                Err(_) => assert!(versions.len() <= 1, "{case}: command {id}"),
            }
        }
        println!("{case}: {} events, {} commands", stored.len(), self.sent);
    }
}
