//! The world as reader and sequencer see it.

use super::state::Logged;
use super::{World, unreachable};
use crate::consumer::{Change, ErrorClass};
use crate::error::StoreError;
use crate::log_time::{LogTime, Window};
use crate::reading::checkpoints::checkpoint_of;
use crate::reading::generation::{StreamRange, token_of};
use crate::source::{
    Announcement, CatchUpRow, CatchUpStore, Cursor, CursorStore, Detail, EventSource,
    GenerationSource, LogPage, LogRow, LogSource, NextPage, NodeReading, TailPage,
};
use async_trait::async_trait;
use kernel::{RecordedEvent, Version};
use leases::{LeaseStore, Member, MemberId, Revision, Slot, SlotError, SlotState};
use scylla_cdc::cdc_types::StreamID;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use tokio::time::Instant;
use uuid::Uuid;

/// Rows per page: few, so that paging is always part of it.
const PAGE: usize = 3;

fn page_key(row: &Logged) -> Vec<u8> {
    let mut key = row.stream_bytes();
    key.extend(row.stamp.micros().to_be_bytes());
    key.extend(row.time.as_bytes());
    key.extend(row.sequence.to_be_bytes());
    key
}

impl Logged {
    fn stream_bytes(&self) -> Vec<u8> {
        // Its text is its bytes in hex, so it sorts alike.
        self.stream.to_string().into_bytes()
    }
}

#[async_trait]
impl LogSource for World {
    async fn read(
        &self,
        streams: &[StreamID],
        window: Window,
        detail: Detail,
        page: Option<NextPage>,
    ) -> Result<LogPage, StoreError> {
        self.latency().await;
        let mut state = self.state();
        state.counts.log_queries += 1;
        if state.faults.log_is_down {
            return Err(unreachable("the log is down"));
        }
        let now = state.now();
        let mut rows: Vec<&Logged> = state
            .log
            .iter()
            .filter(|row| streams.contains(&row.stream) && row.visible_at <= now)
            .filter(|row| row.stamp >= window.from && row.stamp < window.to)
            .filter(|row| page.as_ref().is_none_or(|page| page_key(row).as_slice() > &*page.0))
            .collect();
        rows.sort_by_key(|row| page_key(row));
        let next = (rows.len() > PAGE).then(|| NextPage(page_key(rows[PAGE - 1]).into()));
        let rows = rows.into_iter().take(PAGE).map(|row| LogRow {
            stream: row.stream.clone(),
            time: row.time,
            end_of_group: row.end_of_group,
            announcement: Announcement {
                aggregate_id: row.event.aggregate_id,
                aggregate_type: Some(row.event.aggregate_type.clone()),
                version: row.event.version,
            },
            change: (detail == Detail::Full)
                .then(|| Change { event: row.event.clone(), topic: Some("topic".to_owned()) }),
        });
        Ok(LogPage { rows: rows.collect(), next })
    }

    async fn clocks(&self) -> Result<Vec<NodeReading>, StoreError> {
        let sent = Instant::now();
        self.latency().await;
        let state = self.state();
        if state.faults.clocks_are_down {
            return Err(unreachable("the clocks cannot be read"));
        }
        let now = state.now().micros();
        let readings = state.clocks.iter().map(|offset| NodeReading {
            sent,
            received: Instant::now(),
            value: LogTime::from_millis((now + offset) / 1000),
        });
        Ok(readings.collect())
    }
}

#[async_trait]
impl GenerationSource for World {
    async fn starts(&self, after: Option<LogTime>) -> Result<Vec<LogTime>, StoreError> {
        let state = self.state();
        let now = state.now();
        let seen = state.generations.iter().filter(|(_, _, seen_at)| *seen_at <= now);
        let mut starts: Vec<_> = seen
            .map(|(start, ..)| *start)
            .filter(|start| after.is_none_or(|after| *start > after))
            .collect();
        starts.sort_unstable();
        Ok(starts)
    }

    async fn streams(&self, start: LogTime) -> Result<Vec<StreamRange>, StoreError> {
        let state = self.state();
        let found = state.generations.iter().find(|(found, ..)| *found == start);
        Ok(found.map(|(_, ranges, _)| ranges.clone()).unwrap_or_default())
    }
}

#[async_trait]
impl EventSource for World {
    async fn after(
        &self,
        aggregate_id: Uuid,
        version: Version,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.latency().await;
        let mut state = self.state();
        state.counts.ledger_reads += 1;
        let last = version.0.saturating_add(limit.into());
        let is_asked_for =
            |(of, bad): &(Uuid, u64)| *of == aggregate_id && (version.0 + 1..=last).contains(bad);
        if state.unreadable.iter().any(is_asked_for) {
            return Err(StoreError::new(ErrorClass::Poison, "read it", "the row makes no sense"));
        }
        let has_hole = state.faults.ledger_holes > 0;
        state.faults.ledger_holes = state.faults.ledger_holes.saturating_sub(1);
        let events = state.ledger.get(&aggregate_id).cloned().unwrap_or_default();
        let later = events.into_iter().filter(|event| event.version > version);
        let mut later: Vec<_> = later.take(limit as usize).collect();
        // A read at QUORUM shows the tail: what it may lack is in front of it.
        if has_hole && later.len() > 1 {
            later.remove(0);
        }
        Ok(later)
    }

    async fn tails(
        &self,
        tokens: RangeInclusive<i64>,
        page: Option<NextPage>,
    ) -> Result<TailPage, StoreError> {
        self.latency().await;
        let mut state = self.state();
        state.counts.scan_pages += 1;
        let mut tails: Vec<(i64, Announcement)> = state
            .ledger
            .iter()
            .map(|(id, events)| {
                let announcement = Announcement {
                    aggregate_id: *id,
                    aggregate_type: Some("tally".to_owned()),
                    version: Version(events.len() as u64),
                };
                (token_of(*id), announcement)
            })
            .filter(|(token, _)| tokens.contains(token))
            .collect();
        tails.sort_by_key(|(token, _)| *token);
        let from = page.map_or(0, |page| usize::from(page.0[0]));
        let next = (tails.len() > from + PAGE)
            .then(|| NextPage(vec![u8::try_from(from + PAGE).expect("few")].into()));
        Ok(TailPage { tails: tails.into_iter().skip(from).take(PAGE).collect(), next })
    }
}

#[async_trait]
impl CursorStore for World {
    async fn read(&self, aggregate_id: Uuid, consumer: &str) -> Result<Cursor, StoreError> {
        self.latency().await;
        let mut state = self.state();
        state.counts.cursor_reads += 1;
        Ok(state.cursors.get(&(aggregate_id, consumer.to_owned())).cloned().unwrap_or_default())
    }

    async fn write(
        &self,
        aggregate_id: Uuid,
        consumer: &str,
        cursor: &Cursor,
    ) -> Result<(), StoreError> {
        self.latency().await;
        let mut state = self.state();
        state.counts.cursor_writes += 1;
        let fails = state.faults.cursor_failures > 0;
        state.faults.cursor_failures = state.faults.cursor_failures.saturating_sub(1);
        if fails && state.draw().is_multiple_of(2) {
            return Err(unreachable("the cursor was not written"));
        }
        let has_effect = state.effects.iter().any(|(by, of, version, _)| {
            by == consumer && *of == aggregate_id && *version == cursor.version.0
        });
        assert!(has_effect, "{consumer} stored {} of {aggregate_id} before it", cursor.version);
        // USING TIMESTAMP version: a later one stays.
        let stored = state.cursors.entry((aggregate_id, consumer.to_owned())).or_default();
        if stored.version < cursor.version {
            assert_eq!(stored.version.next(), cursor.version, "{consumer} skips in {aggregate_id}");
            *stored = cursor.clone();
        }
        if fails { Err(unreachable("whether the cursor was written is unknown")) } else { Ok(()) }
    }
}

#[async_trait]
impl LeaseStore for World {
    async fn slots(&self) -> Result<Vec<SlotState>, SlotError> {
        self.latency().await;
        Ok(self.state().slots.values().cloned().collect())
    }

    async fn read(&self, slot: Slot) -> Result<SlotState, SlotError> {
        self.latency().await;
        let mut state = self.state();
        Ok(state.slots.entry(slot).or_insert_with(|| SlotState::new("g", slot)).clone())
    }

    async fn change(&self, from: &SlotState, to: SlotState) -> Result<SlotState, SlotError> {
        self.latency().await;
        let changed = {
            let mut state = self.state();
            let now = state.slots.get(&from.slot).cloned().expect("read before");
            if (now.epoch, now.revision) == (from.epoch, from.revision) {
                if to.checkpoint_us != now.checkpoint_us {
                    let checkpoint = checkpoint_of(&to).expect("moved");
                    state.check_checkpoint(to.slot, checkpoint);
                }
                assert!(to.checkpoint_us >= now.checkpoint_us, "{to:?} moves back from {now:?}");
                state.slots.insert(to.slot, to.clone());
                Ok(to)
            } else {
                Err(SlotError::Lost {
                    group: "g".to_owned(),
                    slot: from.slot,
                    expected: from.revision,
                    actual: now.revision,
                })
            }
        };
        self.latency().await;
        changed
    }

    async fn members(&self) -> Result<Vec<Member>, SlotError> {
        self.latency().await;
        let state = self.state();
        let members = state.members.iter();
        Ok(members.map(|(id, revision)| Member { id: *id, revision: *revision }).collect())
    }

    async fn beat(
        &self,
        member: MemberId,
        _known: Option<Revision>,
    ) -> Result<Revision, SlotError> {
        self.latency().await;
        let revision = {
            let mut state = self.state();
            let revision = state.members.entry(member).or_insert(Revision(0));
            *revision = revision.next();
            *revision
        };
        self.latency().await;
        Ok(revision)
    }

    async fn remove(&self, member: Member) -> Result<(), SlotError> {
        self.latency().await;
        let mut state = self.state();
        if state.members.get(&member.id) == Some(&member.revision) {
            state.members.remove(&member.id);
        }
        Ok(())
    }
}

#[async_trait]
impl CatchUpStore for World {
    async fn load(&self, consumer: &str) -> Result<BTreeMap<Slot, CatchUpRow>, StoreError> {
        Ok(self.state().catch_ups.get(consumer).cloned().unwrap_or_default())
    }

    async fn save(&self, consumer: &str, slot: Slot, row: CatchUpRow) -> Result<(), StoreError> {
        self.latency().await;
        self.state().catch_ups.entry(consumer.to_owned()).or_default().insert(slot, row);
        Ok(())
    }
}
