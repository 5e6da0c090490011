//! The slots of one group, held by one process.

use std::sync::Arc;

use futures::future::try_join_all;
use runtime::chain;
use runtime::session::{serial_read, was_applied};
use runtime::{Backoff, BackoffConfig};
use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::error::{SlotError, While};
use crate::row::{COLUMNS, Row, SlotState};

/// How often a change with an unknown outcome is sent; then the caller learns of it.
const ATTEMPTS_MAX: u32 = 5;

/// Pauses between those.
const BACKOFF: BackoffConfig = BackoffConfig { initial_ms: 20, max_ms: 1000 };

/// Takes the slots of a group and moves their checkpoints, as one owner.
#[derive(Debug, Clone)]
pub struct Slots {
    session: Arc<Session>,
    group: String,
    count: u32,
    owner: Uuid,
    statements: Statements,
}

#[derive(Debug, Clone)]
struct Statements {
    read: PreparedStatement,
    create: PreparedStatement,
    take: PreparedStatement,
    save: PreparedStatement,
    release: PreparedStatement,
}

impl Slots {
    /// Prepares to work on the slots of `group` as a new owner. `slot_count` is what the settings
    /// say. Takes nothing yet.
    pub async fn open(
        session: Arc<Session>,
        group: impl Into<String>,
        slot_count: u32,
    ) -> Result<Self, SlotError> {
        let group = group.into();
        let statements = Statements::prepare(&session, &group).await?;
        Ok(Self { session, group, count: slot_count, owner: Uuid::new_v4(), statements })
    }

    /// The group of consumers.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// How many slots there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Takes every slot from whoever had it and gives its state, ordered by slot. Rows that are
    /// missing are made.
    pub async fn load_all(&self) -> Result<Vec<SlotState>, SlotError> {
        let states = try_join_all((0..self.count).map(|slot| self.take(slot))).await?;
        let crashed = states.iter().filter(|state| state.crashes > 0).count();
        info!(group = self.group, slots = self.count, crashed, "slots taken");
        Ok(states)
    }

    /// Moves the checkpoint of a slot that [`Slots::load_all`] or this method returned, and notes the
    /// newest generation accounted for. Neither is ever moved back; when nothing would move, nothing
    /// is written. Gives the row as it is stored then: when the call repeats one that ended in an
    /// error and yet took effect, that is the earlier one's checkpoint.
    pub async fn save_checkpoint(
        &self,
        state: &SlotState,
        checkpoint_us: i64,
        generation_ms: Option<i64>,
    ) -> Result<SlotState, SlotError> {
        let next = SlotState {
            revision: state.revision + 1,
            renewals: state.renewals + 1,
            crashes: 0,
            checkpoint_us: state.checkpoint_us.max(Some(checkpoint_us)),
            generation_ms: state.generation_ms.max(generation_ms),
            attempt: Some(self.attempt("save", state)),
            ..state.clone()
        };
        let settled = |state: &SlotState| (state.checkpoint_us, state.generation_ms);
        if settled(&next) == settled(state) {
            return Ok(state.clone());
        }
        let values = (
            next.revision,
            next.attempt,
            next.renewals,
            next.checkpoint_us,
            next.generation_ms.map(CqlTimestamp),
            &self.group,
            slot_column(next.slot),
            state.revision,
        );
        self.change(&self.statements.save, &values, state, next).await
    }

    /// Gives up every slot that is still this owner's, so that who takes it next knows that nobody
    /// crashed.
    pub async fn release(&self) -> Result<(), SlotError> {
        try_join_all((0..self.count).map(|slot| self.release_one(slot))).await?;
        Ok(())
    }

    async fn release_one(&self, slot: u32) -> Result<(), SlotError> {
        let Some(state) = self.read(slot).await?.filter(|state| state.owner == Some(self.owner))
        else {
            return Ok(());
        };
        let next = SlotState {
            owner: None,
            revision: state.revision + 1,
            crashes: 0,
            attempt: Some(self.attempt("release", &state)),
            ..state.clone()
        };
        let values = (next.revision, next.attempt, &self.group, slot_column(slot), state.revision);
        match self.change(&self.statements.release, &values, &state, next).await {
            Ok(_) => Ok(()),
            Err(SlotError::Lost { slot, .. }) => {
                debug!(group = self.group, slot, "slot was taken before it was released");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The id of one change of one state. It is the same when the change is made again, so that a
    /// change whose answer was lost is recognised by the call that repeats it.
    fn attempt(&self, change: &str, from: &SlotState) -> Uuid {
        let name = format!("{change}/{}/{}", from.slot, from.revision);
        Uuid::new_v5(&self.owner, name.as_bytes())
    }

    /// Takes one slot: its row as it is, then a change to this owner if it still is so.
    async fn take(&self, slot: u32) -> Result<SlotState, SlotError> {
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            let state = self.read_or_create(slot).await?;
            if state.owner == Some(self.owner) {
                return Ok(state);
            }
            let next = SlotState {
                owner: Some(self.owner),
                epoch: state.epoch + 1,
                revision: state.revision + 1,
                renewals: state.renewals + 1,
                crashes: state.crashes.saturating_add(i32::from(state.owner.is_some())),
                attempt: Some(self.attempt("take", &state)),
                ..state.clone()
            };
            let values = (
                next.owner,
                next.epoch,
                next.revision,
                next.attempt,
                next.renewals,
                next.crashes,
                &self.group,
                slot_column(slot),
                state.revision,
            );
            match self.change(&self.statements.take, &values, &state, next).await {
                // Its owner is still at work: look again.
                Err(error @ SlotError::Lost { .. }) if backoff.attempts() < ATTEMPTS_MAX => {
                    debug!(group = self.group, slot, error = %error, "slot moved while it was taken");
                    tokio::time::sleep(backoff.next_pause()).await;
                }
                taken => return taken,
            }
        }
    }

    async fn read_or_create(&self, slot: u32) -> Result<SlotState, SlotError> {
        let what = || format!("create slot {slot} of {}", self.group);
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            if let Some(state) = self.read(slot).await? {
                return Ok(state);
            }
            let values = (&self.group, slot_column(slot));
            let created = self.session.execute_unpaged(&self.statements.create, values).await;
            // Whatever became of the request, and whoever made the row: new rows are the same.
            if let Some(state) = self.read(slot).await? {
                return Ok(state);
            }
            match created {
                Err(_) if backoff.attempts() + 1 < ATTEMPTS_MAX => {
                    tokio::time::sleep(backoff.next_pause()).await;
                }
                created => {
                    created.when(what)?;
                    let source = "the row is missing after it was inserted".into();
                    return Err(SlotError::Storage { what: what(), source });
                }
            }
        }
    }

    /// The row at SERIAL, so that every decided change is seen.
    async fn read(&self, slot: u32) -> Result<Option<SlotState>, SlotError> {
        let what = || format!("read slot {slot} of {}", self.group);
        let rows = self
            .session
            .execute_unpaged(&self.statements.read, (&self.group, slot_column(slot)))
            .await
            .when(what)?
            .into_rows_result()
            .when(what)?;
        rows.maybe_first_row::<Row>().when(what)?.map(SlotState::try_from).transpose()
    }

    /// Sends one change until its outcome is known. A repetition carries the same attempt id and
    /// condition, so only one of them can apply, however late the others arrive. Gives the row as it
    /// is stored then.
    async fn change(
        &self,
        statement: &PreparedStatement,
        values: &impl SerializeRow,
        from: &SlotState,
        to: SlotState,
    ) -> Result<SlotState, SlotError> {
        let what = || format!("change slot {} of {}", from.slot, self.group);
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            let failure = match self.session.execute_unpaged(statement, values).await {
                Ok(answer) => {
                    if was_applied(answer).when(what)? {
                        return Ok(to);
                    }
                    None
                }
                Err(error) => Some(error),
            };
            let now = self.read(from.slot).await?;
            let revision = now.as_ref().map_or(0, |now| now.revision);
            if let Some(now) = now.filter(|now| now.attempt == to.attempt) {
                return Ok(now);
            }
            match failure {
                // Nobody has changed the row, yet the request may still be on its way.
                Some(error) if revision == from.revision => {
                    if backoff.attempts() + 1 >= ATTEMPTS_MAX {
                        return Err(error).when(what);
                    }
                    let attempt = backoff.attempts() + 1;
                    let (group, slot) = (&self.group, from.slot);
                    warn!(group, slot, attempt, error = %chain(&error), "change of a slot is unknown");
                    tokio::time::sleep(backoff.next_pause()).await;
                }
                _ => {
                    return Err(SlotError::Lost {
                        group: self.group.clone(),
                        slot: from.slot,
                        expected: from.revision,
                        actual: revision,
                    });
                }
            }
        }
    }
}

impl Statements {
    async fn prepare(session: &Session, group: &str) -> Result<Self, SlotError> {
        let prepare = async |cql: &str| {
            session.prepare(cql).await.when(|| format!("prepare to work on the slots of {group}"))
        };
        let mut read =
            prepare(&format!("SELECT {COLUMNS} FROM slots WHERE group = ? AND slot = ?")).await?;
        read.set_consistency(serial_read(session));
        read.set_is_idempotent(true);
        Ok(Self {
            read,
            create: prepare(
                "INSERT INTO slots (group, slot, epoch, revision, renewals, crashes) \
                 VALUES (?, ?, 0, 0, 0, 0) IF NOT EXISTS",
            )
            .await?,
            take: prepare(
                "UPDATE slots SET owner = ?, epoch = ?, revision = ?, attempt = ?, renewals = ?, \
                 crashes = ? WHERE group = ? AND slot = ? IF revision = ?",
            )
            .await?,
            save: prepare(
                "UPDATE slots SET revision = ?, attempt = ?, renewals = ?, crashes = 0, \
                 checkpoint_us = ?, generation = ? WHERE group = ? AND slot = ? IF revision = ?",
            )
            .await?,
            release: prepare(
                "UPDATE slots SET owner = null, crashes = 0, revision = ?, attempt = ? \
                 WHERE group = ? AND slot = ? IF revision = ?",
            )
            .await?,
        })
    }
}

fn slot_column(slot: u32) -> i32 {
    i32::try_from(slot).expect("the settings allow only a few thousand slots")
}
