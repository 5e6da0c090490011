//! The comparison itself: every aggregate of the ledger with its announcements, rows and messages; then
//! every row and every message that no aggregate explains; then once more what differed.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use anyhow::Context;
use event_store::audit::{AuditReader, Difference, NextPage, compare_outbox, events_of};
use kernel::{Aggregates, RecordedEvent, Version};
use messaging::{Digest, TopicAudit};
use projection::audit::{Audit, RowKey};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::place::Place;
use super::{Line, VerifyConfig};

pub(super) struct Comparison {
    aggregates: Aggregates,
    config: VerifyConfig,
    safety_interval: Duration,
    place: Place,
    reader: AuditReader,
    audit: Audit,
    topics: Option<TopicAudit>,
    started: Instant,
    /// The database's clock at the start.
    started_us: i64,
    looked_at: u64,
    /// Not before then is the next aggregate looked at.
    next_look: Instant,
    next_report: Instant,
    /// What differed at the first look, and the version then.
    suspects: BTreeMap<Uuid, Version>,
    strangers: Vec<(&'static str, Uuid, RowKey)>,
}

impl Comparison {
    pub(super) async fn new(
        aggregates: Aggregates,
        config: VerifyConfig,
        safety_interval: Duration,
        place: Place,
        reader: AuditReader,
        audit: Audit,
        topics: Option<TopicAudit>,
    ) -> anyhow::Result<Self> {
        let (started, started_us) = (Instant::now(), reader.now_us().await?);
        Ok(Self {
            aggregates,
            config,
            safety_interval,
            place,
            reader,
            audit,
            topics,
            started,
            started_us,
            looked_at: 0,
            next_look: started,
            next_report: started,
            suspects: BTreeMap::new(),
            strangers: Vec::new(),
        })
    }

    /// Compares everything; gives what differs, at most `differences_max` of it.
    pub(super) async fn run(mut self) -> anyhow::Result<Vec<Line>> {
        self.read_topics().await?;
        let seen = self.first_looks().await?;
        self.find_strangers().await?;
        self.find_unknown(&seen);
        let mut lines = self.second_looks().await?;
        lines.extend(self.misplaced());
        eprintln!("verify: {} aggregates, {} differences", self.looked_at, lines.len());
        lines.truncate(self.config.differences_max);
        Ok(lines)
    }

    async fn read_topics(&mut self) -> anyhow::Result<()> {
        if let Some(topics) = &mut self.topics {
            let read = topics.read_on().await.context("read the topics (or say --no-topics)")?;
            eprintln!("verify: {read} messages on the topics");
        }
        Ok(())
    }

    /// Every aggregate of the ledger. Gives those that topics have to be compared with.
    async fn first_looks(&mut self) -> anyhow::Result<HashSet<Uuid>> {
        let mut seen = HashSet::new();
        for (slot, tokens) in self.place.ranges() {
            let mut page: Option<NextPage> = None;
            loop {
                let (tails, next) = self.reader.tails(tokens.clone(), page).await?;
                for tail in tails {
                    self.pace(&format!("slot {slot}")).await;
                    let (version, lines) = self.look(tail.aggregate_id, None).await?;
                    if !lines.is_empty() {
                        self.suspect(tail.aggregate_id, version);
                    }
                    if self.topics.is_some() {
                        seen.insert(tail.aggregate_id);
                    }
                }
                page = next;
                if page.is_none() || self.is_full() {
                    break;
                }
            }
        }
        Ok(seen)
    }

    /// Rows of the read models that their aggregate does not explain.
    async fn find_strangers(&mut self) -> anyhow::Result<()> {
        for (projection, table) in self.audit.tables() {
            for tokens in self.place.ranges_of(table) {
                let mut page = None;
                loop {
                    let scanned = self.audit.scan(table, tokens.clone(), page).await?;
                    for (id, key) in scanned.rows {
                        if !self.place.has(id) || self.is_full() {
                            continue;
                        }
                        self.pace(table.name).await;
                        if self.audit.stranger(projection, id, &key).await?.is_some() {
                            self.strangers.push((projection, id, key));
                        }
                    }
                    page = scanned.next;
                    if page.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Aggregates that only the topics know.
    fn find_unknown(&mut self, seen: &HashSet<Uuid>) {
        let Some(topics) = &self.topics else { return };
        let unknown = topics.aggregates().filter(|id| !seen.contains(id) && self.place.has(*id));
        for id in unknown.collect::<Vec<_>>() {
            self.suspect(id, Version::NONE);
        }
    }

    /// What still differs after everything that was on its way had time to arrive.
    async fn second_looks(&mut self) -> anyhow::Result<Vec<Line>> {
        let suspects = std::mem::take(&mut self.suspects);
        let strangers = std::mem::take(&mut self.strangers);
        let mut lines = Vec::new();
        if suspects.is_empty() && strangers.is_empty() {
            return Ok(lines);
        }
        let pause = self.safety_interval + Duration::from_millis(self.config.recheck_ms);
        let count = suspects.len() + strangers.len();
        eprintln!("verify: {count} differ at the first look, looking again in {pause:?}");
        sleep(pause).await;
        self.read_topics().await?;
        for (id, version) in suspects {
            self.pace("again").await;
            lines.extend(self.look(id, Some(version)).await?.1);
        }
        for (projection, id, key) in strangers {
            self.pace("again").await;
            if let Some(what) = self.audit.stranger(projection, id, &key).await? {
                let place = key.table.to_owned();
                lines.push(line("read_model", place, id, None, format!("{key}: {what}")));
            }
        }
        Ok(lines)
    }

    /// What is wrong with an aggregate, and its newest version. With `at_least` readers of the ledger
    /// need only have come to that version.
    async fn look(
        &self,
        id: Uuid,
        at_least: Option<Version>,
    ) -> anyhow::Result<(Version, Vec<Line>)> {
        // Before the events: what is announced is stored.
        let announced = self.reader.announced(id).await?;
        let stored = self.reader.stored(id).await?;
        let of = |check| {
            move |Difference { table, version, what }| {
                line(check, table.to_owned(), id, Some(version), what)
            }
        };
        let outbox = compare_outbox(self.aggregates, &announced, &stored, &self.due());
        let mut lines: Vec<_> = outbox.into_iter().map(of("outbox")).collect();
        match events_of(&stored) {
            Ok(events) => {
                let version = events.last().map_or(Version::NONE, |event| event.version);
                let look = self.audit.look_with(id, &events, at_least).await?;
                lines.extend(look.drifts.into_iter().map(|drift| {
                    let what = format!("{}: {}", drift.key, drift.what);
                    line("read_model", drift.table.to_owned(), id, None, what)
                }));
                lines.extend(self.compare_topic(id, &events, at_least.unwrap_or(version)));
                Ok((version, lines))
            }
            Err(differences) => {
                lines.extend(differences.into_iter().map(of("ledger")));
                Ok((Version::NONE, lines))
            }
        }
    }

    fn compare_topic(&self, id: Uuid, events: &[RecordedEvent], at_least: Version) -> Option<Line> {
        let topics = self.topics.as_ref()?;
        let last = events.last().map_or(0, |event| event.version.0);
        let expected =
            events.last().and_then(|event| self.aggregates.topic_of(&event.aggregate_type));
        let wrong = |topic: &str, version: u64, what: String| {
            Some(line("topic", topic.to_owned(), id, i64::try_from(version).ok(), what))
        };
        let Some(published) = topics.published(id) else {
            let what = "stored, but not on the topic".to_owned();
            return expected.filter(|_| at_least.0 > 0).and_then(|topic| wrong(topic, last, what));
        };
        let (topic, version) = (published.topic.as_str(), published.version);
        if version > last {
            return wrong(topic, version, "on the topic, but not stored".to_owned());
        }
        if version < at_least.0 {
            let what = format!("the topic ends with version {version}");
            return wrong(topic, at_least.0, what);
        }
        if expected.is_some_and(|expected| expected != topic) {
            return wrong(topic, version, "on another topic than its own".to_owned());
        }
        let upto = events.iter().take_while(|event| event.version.0 <= version);
        let digest = upto.fold(Digest::default(), |digest, event| {
            digest.with(&event.event_id.to_string(), &event.event_type, &event.payload)
        });
        if published.digest.is_some_and(|published| published != digest) {
            let what = format!("the messages up to version {version} are not the stored events");
            return wrong(topic, version, what);
        }
        None
    }

    fn misplaced(&self) -> Vec<Line> {
        let misplaced = self.topics.iter().flat_map(TopicAudit::misplaced);
        let mine = misplaced
            .filter(|message| message.key.parse::<Uuid>().map_or(true, |id| self.place.has(id)));
        mine.map(|message| Line {
            check: "topic",
            place: message.topic.clone(),
            aggregate_id: message.key.clone(),
            version: message.version.and_then(|version| i64::try_from(version).ok()),
            what: message.what.clone(),
        })
        .collect()
    }

    /// When an event must have been stored to be among the announcements: not so long ago that these
    /// expire, and long enough before the start that whoever stored it, or settles that, is done.
    fn due(&self) -> Range<i64> {
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let kept = self.config.outbox_ttl_s.saturating_sub(self.config.outbox_margin_s);
        let now = self.started_us + us(self.started.elapsed());
        let grace = us(Duration::from_millis(self.config.grace_ms));
        now.saturating_sub(us(Duration::from_secs(kept)))..self.started_us - grace
    }

    fn suspect(&mut self, id: Uuid, version: Version) {
        if !self.is_full() {
            self.suspects.insert(id, version);
        }
    }

    /// More would not be listed anyway.
    fn is_full(&self) -> bool {
        self.suspects.len() + self.strangers.len() >= self.config.differences_max
    }

    /// Keeps to the rate, and says how far it is now and then.
    async fn pace(&mut self, at: &str) {
        sleep_until(self.next_look).await;
        let every = Duration::from_secs(1) / self.config.aggregates_per_second.max(1);
        self.next_look = self.next_look.max(Instant::now() - every) + every;
        self.looked_at += 1;
        if self.next_report <= Instant::now() {
            let (looked_at, suspects) = (self.looked_at, self.suspects.len());
            eprintln!("verify: at {at}, {looked_at} looks, {suspects} to be looked at again");
            self.next_report = Instant::now() + Duration::from_millis(self.config.progress_ms);
        }
    }
}

fn line(check: &'static str, place: String, id: Uuid, version: Option<i64>, what: String) -> Line {
    Line { check, place, aggregate_id: id.to_string(), version, what }
}
