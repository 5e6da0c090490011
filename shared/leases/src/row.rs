//! A row of `slots`, and reads of it.

use scylla::DeserializeRow;
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::error::{SlotError, While};

/// The columns in the order of [`Row`].
pub(crate) const COLUMNS: &str =
    "group, slot, owner, epoch, revision, attempt, renewals, crashes, checkpoint_us, generation";

/// One slot of one group, as it was when it was read or last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// The group of consumers.
    pub group: String,
    /// 0 to the number of slots - 1.
    pub slot: u32,
    /// Who works on it; `None` when it was released or never taken.
    pub owner: Option<Uuid>,
    /// Raised by every change of owner.
    pub epoch: i64,
    /// Raised by every change.
    pub revision: i64,
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
    pub(crate) attempt: Option<Uuid>,
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
                .when(|| format!("read slot {} of {}", row.slot, row.group))?,
            group: row.group,
            owner: row.owner,
            epoch: row.epoch,
            revision: row.revision,
            renewals: row.renewals,
            crashes: row.crashes,
            checkpoint_us: row.checkpoint_us,
            generation_ms: row.generation.map(|generation| generation.0),
            attempt: row.attempt,
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
