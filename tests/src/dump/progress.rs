//! How far everybody is: cursors, slots, writers.

use super::letters::{LetterRow, letters};
use anyhow::Context;
use futures::TryStreamExt;
use scylla::client::session::Session;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Last version handled, by aggregate and consumer.
pub type Cursors = HashMap<Uuid, BTreeMap<String, u64>>;

/// One row of `slots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct SlotRow {
    pub group: String,
    pub slot: u32,
    pub owner: Option<Uuid>,
    pub epoch: i64,
    pub revision: i64,
    pub checkpoint_us: Option<i64>,
}

/// One row of `writers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct WriterRow {
    pub writer: Uuid,
    pub state: String,
    pub counter: i64,
}

/// One announced event, with the time that its row in the log carries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in the outbox")]
pub struct Announced {
    pub aggregate_id: Uuid,
    pub aggregate_type: String,
    pub version: u64,
    pub token: i64,
    /// Microseconds since 1970.
    pub written_us: i64,
}

/// The slot of a token, of so many equal parts of the ring. Worked out here a second time, so that
/// the checker does not share a mistake with what it checks.
pub fn slot_of(token: i64, slots: u32) -> u32 {
    let place = i128::from(token) - i128::from(i64::MIN);
    u32::try_from((place * i128::from(slots)) >> 64).unwrap_or_default()
}

/// How far everybody was at one time.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the names are those of the tables")]
pub struct Progress {
    pub slots: Vec<SlotRow>,
    /// Consumers and slots whose ledger is still being scanned, and from when on their log is
    /// followed, in microseconds since 1970.
    pub catching_up: HashMap<(String, u32), i64>,
    pub letters: Vec<LetterRow>,
    pub announced: Vec<Announced>,
    pub cursors: Cursors,
}

/// Slots first, then dead letters, then what was announced, then the cursors. In this order nothing can
/// be seen that was not so: a cursor that is behind now was behind when the checkpoint was read, and
/// an aggregate whose letter is gone since had its cursor moved before.
pub async fn progress(session: &Session) -> anyhow::Result<Progress> {
    let slots = slots(session).await?;
    let catching_up = catching_up(session).await?;
    let letters = letters(session).await?;
    let announced = announced(session).await?;
    let cursors = cursors(session).await?;
    Ok(Progress { slots, catching_up, letters, announced, cursors })
}

async fn catching_up(session: &Session) -> anyhow::Result<HashMap<(String, u32), i64>> {
    let text = "SELECT consumer, slot, log_from_us, done FROM catch_ups";
    type Columns = (String, i32, Option<i64>, Option<bool>);
    let mut found = HashMap::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<Columns>()?;
    while let Some((consumer, slot, log_from_us, done)) = rows.try_next().await? {
        if done != Some(true) {
            let log_from_us = log_from_us.context("a scan without a place in the log")?;
            found.insert((consumer, u32::try_from(slot)?), log_from_us);
        }
    }
    Ok(found)
}

async fn slots(session: &Session) -> anyhow::Result<Vec<SlotRow>> {
    let text = "SELECT \"group\", slot, owner, epoch, revision, checkpoint_us FROM slots";
    type Columns = (String, i32, Option<Uuid>, Option<i64>, Option<i64>, Option<i64>);
    let mut found = Vec::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<Columns>()?;
    while let Some((group, slot, owner, epoch, revision, checkpoint_us)) = rows.try_next().await? {
        found.push(SlotRow {
            group,
            slot: u32::try_from(slot)?,
            owner,
            epoch: epoch.unwrap_or_default(),
            revision: revision.unwrap_or_default(),
            checkpoint_us,
        });
    }
    Ok(found)
}

async fn announced(session: &Session) -> anyhow::Result<Vec<Announced>> {
    let text = "SELECT aggregate_id, sequence_number, aggregate_type, token(aggregate_id), \
                writetime(event_id) FROM outbox_messages";
    type Columns = (Uuid, i64, Option<String>, i64, Option<i64>);
    let mut found = Vec::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<Columns>()?;
    while let Some((aggregate_id, version, kind, token, written)) = rows.try_next().await? {
        let what = || format!("outbox_messages {aggregate_id}/{version} is not whole");
        found.push(Announced {
            aggregate_id,
            aggregate_type: kind.with_context(what)?,
            version: u64::try_from(version)?,
            token,
            written_us: written.with_context(what)?,
        });
    }
    Ok(found)
}

pub(super) async fn cursors(session: &Session) -> anyhow::Result<Cursors> {
    let text = "SELECT aggregate_id, consumer, last_version FROM consumer_cursors";
    let mut found = Cursors::new();
    let mut rows =
        session.query_iter(text, ()).await?.rows_stream::<(Uuid, String, Option<i64>)>()?;
    while let Some((aggregate_id, consumer, version)) = rows.try_next().await? {
        let version = u64::try_from(version.unwrap_or_default())?;
        found.entry(aggregate_id).or_default().insert(consumer, version);
    }
    Ok(found)
}

pub(crate) async fn writers(session: &Session) -> anyhow::Result<Vec<WriterRow>> {
    let text = "SELECT writer, state, counter FROM writers";
    let mut found = Vec::new();
    let mut rows =
        session.query_iter(text, ()).await?.rows_stream::<(Uuid, Option<String>, Option<i64>)>()?;
    while let Some((writer, state, counter)) = rows.try_next().await? {
        found.push(WriterRow {
            writer,
            state: state.unwrap_or_default(),
            counter: counter.unwrap_or_default(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_cut_into_equal_parts() {
        assert_eq!(slot_of(i64::MIN, 16), 0);
        assert_eq!(slot_of(-1, 16), 7);
        assert_eq!(slot_of(0, 16), 8);
        assert_eq!(slot_of(i64::MAX, 16), 15);
        assert_eq!(slot_of(0, 1), 0);
    }
}
