//! A row of `slots`, reads of it, and the changes that an owner makes.

use scylla::DeserializeRow;
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::error::{SlotError, While};
use crate::ids::{AttemptId, Epoch, MemberId, Revision, Slot};

/// The columns in the order of [`Row`].
pub(crate) const COLUMNS: &str =
    "group, slot, owner, epoch, revision, attempt, renewals, crashes, checkpoint_us, generation";

/// One slot of one group, as it was when it was read or last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// The group of consumers.
    pub group: String,
    /// Which one.
    pub slot: Slot,
    /// Who works on it; `None` when it was released or never taken.
    pub owner: Option<MemberId>,
    /// Raised by every change of owner.
    pub epoch: Epoch,
    /// Raised by every change.
    pub revision: Revision,
    /// Raised by every change that the owner makes.
    pub renewals: i64,
    /// How often the slot was taken from an owner that had not released it, since its checkpoint
    /// moved last.
    pub crashes: i32,
    /// Every log row before this many microseconds since 1970 is settled; `None` when the group has
    /// not settled anything yet.
    pub checkpoint_us: Option<i64>,
    /// The newest CDC generation accounted for, in milliseconds since 1970.
    pub generation_ms: Option<i64>,
    /// The id of the change that made the row what it is.
    pub attempt: Option<AttemptId>,
}

impl SlotState {
    /// A slot that nobody ever took.
    pub fn new(group: &str, slot: Slot) -> Self {
        Self {
            group: group.to_owned(),
            slot,
            owner: None,
            epoch: Epoch(0),
            revision: Revision(0),
            renewals: 0,
            crashes: 0,
            checkpoint_us: None,
            generation_ms: None,
            attempt: None,
        }
    }

    /// The row after `owner` took it. Taking it from another who had not released it counts as a
    /// crash of that one.
    pub(crate) fn taken(&self, owner: MemberId) -> Self {
        let is_crash = self.owner.is_some_and(|other| other != owner);
        Self {
            owner: Some(owner),
            epoch: Epoch(self.epoch.0 + 1),
            crashes: self.crashes.saturating_add(i32::from(is_crash)),
            ..self.renewed(owner)
        }
    }

    /// The row after its owner showed that it is there.
    pub(crate) fn renewed(&self, owner: MemberId) -> Self {
        Self { renewals: self.renewals + 1, ..self.changed(owner) }
    }

    /// The row with a checkpoint and the newest generation accounted for. Neither moves back; `None`
    /// when nothing would move.
    pub(crate) fn settled(
        &self,
        owner: MemberId,
        checkpoint_us: i64,
        generation_ms: Option<i64>,
    ) -> Option<Self> {
        let checkpoint_us = self.checkpoint_us.max(Some(checkpoint_us));
        let generation_ms = self.generation_ms.max(generation_ms);
        let moves = (checkpoint_us, generation_ms) != (self.checkpoint_us, self.generation_ms);
        moves.then(|| Self { crashes: 0, checkpoint_us, generation_ms, ..self.renewed(owner) })
    }

    /// The row after its owner gave it up: nobody crashed.
    pub(crate) fn released(&self, owner: MemberId) -> Self {
        Self { owner: None, crashes: 0, ..self.changed(owner) }
    }

    /// Each state is changed once, so a change is known by its author and the state it began from: a
    /// change whose answer was lost is recognised by what the same owner tries next.
    fn changed(&self, owner: MemberId) -> Self {
        let name = format!("{}/{}/{}", self.slot, self.epoch, self.revision);
        Self {
            revision: self.revision.next(),
            attempt: Some(AttemptId(Uuid::new_v5(&owner.0, name.as_bytes()))),
            ..self.clone()
        }
    }
}

#[derive(DeserializeRow)]
pub(crate) struct Row {
    group: String,
    slot: i32,
    owner: Option<Uuid>,
    epoch: i64,
    revision: i64,
    attempt: Option<Uuid>,
    renewals: i64,
    crashes: i32,
    checkpoint_us: Option<i64>,
    generation: Option<CqlTimestamp>,
}

impl TryFrom<Row> for SlotState {
    type Error = SlotError;

    fn try_from(row: Row) -> Result<Self, SlotError> {
        Ok(Self {
            slot: u32::try_from(row.slot)
                .map(Slot)
                .when(|| format!("read slot {} of {}", row.slot, row.group))?,
            group: row.group,
            owner: row.owner.map(MemberId),
            epoch: Epoch(row.epoch),
            revision: Revision(row.revision),
            renewals: row.renewals,
            crashes: row.crashes,
            checkpoint_us: row.checkpoint_us,
            generation_ms: row.generation.map(|generation| generation.0),
            attempt: row.attempt.map(AttemptId),
        })
    }
}

/// Every slot of every group, ordered by group and slot. For people: it takes nothing and may be a
/// moment old.
pub async fn list(session: &Session) -> Result<Vec<SlotState>, SlotError> {
    let what = || "list the slots".to_owned();
    let rows = session
        .query_unpaged(format!("SELECT {COLUMNS} FROM slots"), ())
        .await
        .when(what)?
        .into_rows_result()
        .when(what)?;
    let mut states = Vec::new();
    for row in rows.rows::<Row>().when(what)? {
        states.push(SlotState::try_from(row.when(what)?)?);
    }
    states.sort_by(|a, b| (&a.group, a.slot).cmp(&(&b.group, b.slot)));
    Ok(states)
}
