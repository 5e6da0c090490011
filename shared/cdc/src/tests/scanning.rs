//! The scanner against tables in memory, under a paused clock.

use crate::consumer::{Change, ChangeConsumer, ErrorClass, HandleError};
use crate::error::StoreError;
use crate::letters::LetterKey;
use crate::log_time::LogTime;
use crate::reading::generation::token_of;
use crate::scanner::scan::Scanner;
use crate::scanner::source::{Progress, ScanSource, Scanned};
use crate::scanner::{ScannerConfig, Watched};
use crate::source::{Announcement, NextPage, TailPage};
use async_trait::async_trait;
use kernel::Version;
use kernel::testing::tally::TALLIES;
use leases::Slot;
use runtime::CancellationToken;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

const SLOTS: u32 = 4;
const AGE: Duration = Duration::from_secs(15);
/// How far checkpoints are behind the clock.
const BEHIND: Duration = Duration::from_secs(12);

/// The tables; the clock and the checkpoints move with Tokio's.
struct Tables {
    began: Instant,
    state: Mutex<State>,
}

struct State {
    ledger: BTreeMap<Uuid, (String, u64)>,
    outbox: BTreeMap<Uuid, (String, u64)>,
    cursors: BTreeMap<(Uuid, String), u64>,
    caught_up: BTreeSet<(String, Slot)>,
    /// Groups whose checkpoints stand still since.
    stuck: BTreeMap<String, LogTime>,
    /// Consumers that handle what is announced.
    hearing: BTreeSet<String>,
    announced: Vec<(Uuid, u64, Instant)>,
    letters: BTreeSet<(Uuid, String)>,
    cursor_reads: usize,
    requests: usize,
    fails: Option<ErrorClass>,
}

impl Tables {
    fn new() -> Arc<Self> {
        let names = ["orders@1", "relay"];
        let caught_up =
            names.iter().flat_map(|name| Slot::all(SLOTS).map(|s| ((*name).to_owned(), s)));
        let state = State {
            ledger: BTreeMap::new(),
            outbox: BTreeMap::new(),
            cursors: BTreeMap::new(),
            caught_up: caught_up.collect(),
            stuck: BTreeMap::new(),
            hearing: names.iter().map(|name| (*name).to_owned()).collect(),
            announced: Vec::new(),
            letters: BTreeSet::new(),
            cursor_reads: 0,
            requests: 0,
            fails: None,
        };
        Arc::new(Self { began: Instant::now(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn time(&self) -> LogTime {
        LogTime::from_micros(1_000_000_000).plus(self.began.elapsed())
    }

    fn request(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.requests += 1;
        match state.fails {
            None => Ok(()),
            Some(class) => Err(StoreError { class, what: "scripted".to_owned(), source: None }),
        }
    }

    fn store(&self, id: Uuid, aggregate_type: &str, version: u64) {
        self.lock().ledger.insert(id, (aggregate_type.to_owned(), version));
    }

    fn announce(&self, id: Uuid, version: u64) {
        let mut state = self.lock();
        let aggregate_type = state.ledger[&id].0.clone();
        state.outbox.insert(id, (aggregate_type, version));
    }

    fn handle(&self, id: Uuid, consumer: &str, version: u64) {
        self.lock().cursors.insert((id, consumer.to_owned()), version);
    }

    /// Announced in time and handled by everyone.
    fn settle(&self, id: Uuid, version: u64) {
        self.store(id, "tally", version);
        self.announce(id, version);
        self.handle(id, "orders@1", version);
        self.handle(id, "relay", version);
    }

    /// Versions that were announced from, with how long after the start.
    fn announced(&self, id: Uuid) -> Vec<(u64, u64)> {
        let of = |(at, after, when): &(Uuid, u64, Instant)| {
            (*at == id).then(|| (*after, (*when - self.began).as_secs()))
        };
        self.lock().announced.iter().filter_map(of).collect()
    }
}

#[async_trait]
impl ScanSource for Tables {
    async fn now(&self) -> Result<LogTime, StoreError> {
        self.request()?;
        Ok(self.time())
    }

    async fn progress(&self, consumers: &[String]) -> Result<Progress, StoreError> {
        self.request()?;
        let state = self.lock();
        let at = self.time().minus(BEHIND);
        let mut checkpoints = BTreeMap::new();
        for group in ["projections", "relay"] {
            for slot in Slot::all(SLOTS) {
                let stuck = state.stuck.get(group).copied();
                checkpoints.insert((group.to_owned(), slot), stuck.unwrap_or(at));
            }
        }
        let asked = |(consumer, _): &&(String, Slot)| consumers.contains(consumer);
        Ok(Progress {
            checkpoints,
            caught_up: state.caught_up.iter().filter(asked).cloned().collect(),
        })
    }

    async fn tails(
        &self,
        of: Scanned,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<TailPage, StoreError> {
        self.request()?;
        let state = self.lock();
        let table = match of {
            Scanned::Outbox => &state.outbox,
            Scanned::Ledger => &state.ledger,
        };
        let from = page.map_or(0, |page| usize::from(page.0[0]));
        let rows: Vec<_> =
            table.iter().filter(|(id, _)| tokens.contains(&token_of(**id))).collect();
        let tails = rows.iter().skip(from).take(2).map(|(id, (aggregate_type, version))| {
            let aggregate_type = Some(aggregate_type.clone());
            let announcement =
                Announcement { aggregate_id: **id, aggregate_type, version: Version(*version) };
            (token_of(**id), announcement)
        });
        let next = u8::try_from(from + 2).expect("few");
        let next = (rows.len() > from + 2).then(|| NextPage(Arc::new([next])));
        Ok(TailPage { tails: tails.collect(), next })
    }

    async fn cursors(&self, aggregate_id: Uuid) -> Result<BTreeMap<String, Version>, StoreError> {
        self.request()?;
        let mut state = self.lock();
        state.cursor_reads += 1;
        let of = state.cursors.iter().filter(|((id, _), _)| *id == aggregate_id);
        Ok(of.map(|((_, consumer), version)| (consumer.clone(), Version(*version))).collect())
    }

    async fn has_letter(&self, key: LetterKey<'_>) -> Result<bool, StoreError> {
        self.request()?;
        Ok(self.lock().letters.contains(&(key.aggregate_id, key.consumer.to_owned())))
    }

    async fn is_announced(&self, aggregate_id: Uuid, version: Version) -> Result<bool, StoreError> {
        self.request()?;
        Ok(self.lock().outbox.get(&aggregate_id).is_some_and(|(_, newest)| *newest >= version.0))
    }

    async fn announce_after(
        &self,
        aggregate_id: Uuid,
        version: Version,
        topic: &str,
    ) -> Result<u64, StoreError> {
        self.request()?;
        assert_eq!(topic, "tallies.events");
        let mut state = self.lock();
        state.announced.push((aggregate_id, version.0, Instant::now()));
        let (aggregate_type, newest) = state.ledger[&aggregate_id].clone();
        state.outbox.insert(aggregate_id, (aggregate_type, newest));
        for consumer in state.hearing.clone() {
            state.cursors.insert((aggregate_id, consumer), newest);
        }
        Ok(newest - version.0)
    }
}

struct Orders;

#[async_trait]
impl ChangeConsumer for Orders {
    fn name(&self) -> &str {
        "orders@1"
    }

    fn wants(&self, aggregate_type: &str) -> bool {
        aggregate_type == "tally"
    }

    async fn handle(&self, _: &Change, _: Option<&str>) -> Result<Option<String>, HandleError> {
        panic!("a scanner hands nothing to a consumer")
    }
}

fn config() -> ScannerConfig {
    ScannerConfig { ledger_interval_ms: 60_000, ..ScannerConfig::default() }
}

/// Scans for so long.
async fn scan_with(tables: &Arc<Tables>, config: ScannerConfig, owned: &[u32], seconds: u64) {
    let owned: BTreeSet<Slot> = owned.iter().copied().map(Slot).collect();
    let watched = vec![
        Watched {
            group: "projections".to_owned(),
            name: "orders@1".to_owned(),
            consumer: Some(Arc::new(Orders)),
        },
        Watched { group: "relay".to_owned(), name: "relay".to_owned(), consumer: None },
    ];
    let scanner = Scanner::new(
        tables.clone(),
        watched,
        TALLIES,
        Arc::new(move || owned.clone()),
        SLOTS,
        config,
    );
    let stop = CancellationToken::new();
    let end = async {
        sleep(Duration::from_secs(seconds)).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(scanner.run(&stop), end);
    ended.expect("a clean end");
}

async fn scan(tables: &Arc<Tables>, seconds: u64) {
    scan_with(tables, config(), &[0, 1, 2, 3], seconds).await;
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_a_letter_is_left_alone() {
    let tables = Tables::new();
    tables.settle(id(7), 3);
    tables.handle(id(7), "orders@1", 1);
    tables.lock().letters.insert((id(7), "orders@1".to_owned()));
    // Another one, of which the relay lacks what no letter has.
    tables.settle(id(8), 3);
    tables.handle(id(8), "orders@1", 1);
    tables.handle(id(8), "relay", 2);
    tables.lock().letters.insert((id(8), "orders@1".to_owned()));
    scan(&tables, 120).await;
    assert_eq!(tables.announced(id(7)), []);
    let announced: Vec<u64> = tables.announced(id(8)).into_iter().map(|(after, _)| after).collect();
    assert_eq!(announced, [2]);
}

#[tokio::test(start_paused = true)]
async fn what_was_announced_and_not_heard_is_announced_again_within_a_minute() {
    let tables = Tables::new();
    for number in 0..20 {
        tables.settle(id(number), 3);
    }
    // Everyone heard up to 2; the relay heard the tail too.
    tables.handle(id(7), "orders@1", 2);
    scan(&tables, 60).await;
    let announced = tables.announced(id(7));
    assert_eq!(announced.len(), 1, "{announced:?}");
    let (after, seconds) = announced[0];
    assert_eq!(after, 2);
    assert!(seconds >= (AGE + BEHIND).as_secs(), "after the checkpoint has passed it: {seconds} s");
    assert_eq!(tables.lock().announced.len(), 1, "nothing else");
}

#[tokio::test(start_paused = true)]
async fn what_was_never_announced_is_found_in_the_ledger() {
    let tables = Tables::new();
    for number in 0..20 {
        tables.settle(id(number), 3);
    }
    tables.store(id(7), "tally", 5);
    tables.store(id(99), "tally", 1);
    scan(&tables, 60 + 60).await;
    assert_eq!(
        tables.announced(id(7)).iter().map(|announced| announced.0).collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(
        tables.announced(id(99)).iter().map(|announced| announced.0).collect::<Vec<_>>(),
        [0]
    );
    assert_eq!(tables.lock().announced.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_late_catching_up_or_absent_is_left_alone() {
    // Its checkpoint stands still: it is going to come by.
    let tables = Tables::new();
    tables.settle(id(1), 1);
    tables.handle(id(1), "relay", 0);
    let stuck = tables.time();
    tables.lock().stuck.insert("relay".to_owned(), stuck);
    scan(&tables, 600).await;
    assert_eq!(tables.announced(id(1)), []);
    tables.lock().stuck.clear();
    scan(&tables, 60).await;
    assert_eq!(tables.announced(id(1)).len(), 1, "now it should have been handled");

    // It is catching up, or there is no such consumer.
    let tables = Tables::new();
    tables.settle(id(1), 1);
    tables.lock().cursors.remove(&(id(1), "relay".to_owned()));
    tables.lock().caught_up.retain(|(consumer, _)| consumer != "relay");
    scan(&tables, 600).await;
    assert_eq!(tables.announced(id(1)), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_handled_in_the_end_is_no_anomaly() {
    let tables = Tables::new();
    tables.store(id(1), "tally", 1);
    tables.announce(id(1), 1);
    tables.handle(id(1), "relay", 1);
    let handled = async {
        sleep(AGE).await;
        tables.handle(id(1), "orders@1", 1);
    };
    tokio::join!(scan(&tables, 300), handled);
    assert_eq!(tables.announced(id(1)), []);
}

#[tokio::test(start_paused = true)]
async fn only_wanted_types_and_owned_slots_count() {
    let tables = Tables::new();
    for number in 0..100 {
        // Only the relay wants it.
        tables.store(id(number), "customer", 1);
        tables.announce(id(number), 1);
        tables.handle(id(number), "relay", 1);
    }
    for number in 0..100 {
        tables.store(id(1_000 + number), "tally", 1);
        tables.announce(id(1_000 + number), 1);
    }
    scan_with(&tables, config(), &[2], 300).await;
    let announced: BTreeSet<_> = tables.lock().announced.iter().map(|(id, ..)| *id).collect();
    let slots: BTreeSet<_> =
        announced.iter().map(|id| leases::slot_of(token_of(*id), SLOTS)).collect();
    assert_eq!(slots, BTreeSet::from([Slot(2)]));
    assert!(
        announced.iter().all(|announced| announced.as_u128() >= 1_000) && announced.len() > 10,
        "{announced:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_never_hears_is_rung_more_and_more_seldom() {
    let tables = Tables::new();
    tables.settle(id(1), 1);
    tables.handle(id(1), "orders@1", 0);
    tables.lock().hearing.clear();
    scan(&tables, 600).await;
    let at: Vec<u64> = tables.announced(id(1)).iter().map(|announced| announced.1).collect();
    assert!((3..=5).contains(&at.len()), "{at:?}");
    let gaps: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.windows(2).all(|pair| pair[1] > pair[0] + 10), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn looking_again_at_what_is_handled_costs_a_page_and_no_cursor() {
    let tables = Tables::new();
    for number in 0..20 {
        tables.settle(id(number), 3);
    }
    scan(&tables, 59).await;
    assert_eq!(tables.lock().cursor_reads, 20);
    tables.lock().cursor_reads = 0;
    let one_more = async {
        sleep(Duration::from_secs(30)).await;
        tables.settle(id(3), 4);
    };
    tokio::join!(scan(&tables, 59), one_more);
    assert_eq!(tables.lock().cursor_reads, 20 + 1, "a new process, then one news");
}

#[tokio::test(start_paused = true)]
async fn requests_stay_within_the_budget_and_an_outage_is_waited_for() {
    let tables = Tables::new();
    for number in 0..200 {
        tables.settle(id(number), 1);
        tables.handle(id(number), "relay", 0);
    }
    tables.lock().hearing.clear();
    let slow = ScannerConfig { requests_per_second: 10, ..config() };
    scan_with(&tables, slow, &[0, 1, 2, 3], 120).await;
    let requests = tables.lock().requests;
    assert!((600..=1_250).contains(&requests), "{requests} within 120 s");

    tables.lock().fails = Some(ErrorClass::Transport);
    let heals = async {
        sleep(Duration::from_secs(60)).await;
        let mut state = tables.lock();
        state.fails = None;
        state.hearing.insert("relay".to_owned());
    };
    tokio::join!(scan(&tables, 200), heals);
    assert_eq!(
        tables.lock().announced.iter().map(|announced| announced.0).collect::<BTreeSet<_>>().len(),
        200
    );
}

#[tokio::test(start_paused = true)]
async fn suspects_are_bounded_and_come_again() {
    let tables = Tables::new();
    for number in 0..30 {
        tables.settle(id(number), 1);
        tables.handle(id(number), "relay", 0);
    }
    let few = ScannerConfig { suspects_max: 4, ..config() };
    scan_with(&tables, few.clone(), &[0, 1, 2, 3], 60).await;
    assert_eq!(tables.lock().announced.len(), 4);
    scan_with(&tables, few, &[0, 1, 2, 3], 600).await;
    assert_eq!(tables.lock().announced.len(), 30);
}
