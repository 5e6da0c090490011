//! The real tables: statements on `slots` and `members`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use database::session::{serial_read, was_applied};
use futures::future::try_join_all;
use runtime::test_hooks::defect;
use runtime::{Backoff, BackoffConfig, chain};
use scylla::client::session::Session;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use tracing::warn;
use uuid::Uuid;

use crate::error::{SlotError, While};
use crate::row::{COLUMNS, Row, SlotState};
use crate::store::{LeaseStore, Member};

/// How often a change with an unknown outcome is sent; then the caller learns of it.
const ATTEMPTS_MAX: u32 = 5;

/// Pauses between those.
const BACKOFF: BackoffConfig = BackoffConfig { initial_ms: 20, max_ms: 1000 };

/// ScyllaDB's bound on the keys of one `IN`.
const SLOTS_PER_QUERY_MAX: u32 = 100;

/// The rows of one group.
#[derive(Debug, Clone)]
pub struct Table {
    session: Arc<Session>,
    group: String,
    count: u32,
    statements: Statements,
}

#[derive(Debug, Clone)]
struct Statements {
    look: PreparedStatement,
    read: PreparedStatement,
    create: PreparedStatement,
    change: PreparedStatement,
    members: PreparedStatement,
    member: PreparedStatement,
    announce: PreparedStatement,
    beat: PreparedStatement,
    remove: PreparedStatement,
}

impl Table {
    /// Prepares to work on the slots of `group`. `slot_count` is what the settings say; no request
    /// takes longer than `request_timeout`.
    pub async fn open(
        session: Arc<Session>,
        group: impl Into<String>,
        slot_count: u32,
        request_timeout: Duration,
    ) -> Result<Self, SlotError> {
        let group = group.into();
        let statements = Statements::prepare(&session, &group, request_timeout).await?;
        Ok(Self { session, group, count: slot_count, statements })
    }

    async fn run(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        what: impl Fn() -> String,
    ) -> Result<QueryResult, SlotError> {
        self.session.execute_unpaged(statement, values).await.when(what)
    }

    /// The row at SERIAL, so that every decided change is seen.
    async fn find(&self, slot: u32) -> Result<Option<SlotState>, SlotError> {
        let what = || format!("read slot {slot} of {}", self.group);
        let values = (&self.group, slot_column(slot));
        let answer = self.run(&self.statements.read, values, what).await?;
        let rows = answer.into_rows_result().when(what)?;
        rows.maybe_first_row::<Row>().when(what)?.map(SlotState::try_from).transpose()
    }

    async fn send(&self, from: &SlotState, to: &SlotState) -> Result<QueryResult, SlotError> {
        let what = || format!("change slot {} of {}", from.slot, self.group);
        let condition = if defect("no-lease-fence") {
            self.find(from.slot).await?.map_or((0, 0), |now| (now.epoch, now.revision))
        } else {
            (from.epoch, from.revision)
        };
        let values = (
            to.owner,
            to.epoch,
            to.revision,
            to.attempt,
            to.renewals,
            to.crashes,
            to.checkpoint_us,
            to.generation_ms.map(CqlTimestamp),
            &self.group,
            slot_column(from.slot),
            condition.0,
            condition.1,
        );
        self.run(&self.statements.change, values, what).await
    }

    async fn beat_from(&self, member: Uuid, known: Option<i64>) -> Result<Option<i64>, SlotError> {
        let what = || format!("show that {member} is a member of {}", self.group);
        let next = known.map_or(1, |revision| revision + 1);
        let attempt = Uuid::new_v4();
        let answer = match known {
            None => {
                let values = (&self.group, member, next, attempt);
                self.run(&self.statements.announce, values, what).await?
            }
            Some(revision) => {
                let values = (next, attempt, &self.group, member, revision);
                self.run(&self.statements.beat, values, what).await?
            }
        };
        Ok(was_applied(answer).when(what)?.then_some(next))
    }
}

#[async_trait]
impl LeaseStore for Table {
    async fn slots(&self) -> Result<Vec<SlotState>, SlotError> {
        let what = || format!("look at the slots of {}", self.group);
        let starts = (0..self.count).step_by(SLOTS_PER_QUERY_MAX as usize);
        let queries = starts.map(|start| async move {
            let end = self.count.min(start + SLOTS_PER_QUERY_MAX);
            let slots: Vec<i32> = (start..end).map(slot_column).collect();
            let answer = self.run(&self.statements.look, (&self.group, slots), what).await?;
            let rows = answer.into_rows_result().when(what)?;
            let states = rows.rows::<Row>().when(what)?;
            states.map(|row| SlotState::try_from(row.when(what)?)).collect::<Result<Vec<_>, _>>()
        });
        Ok(try_join_all(queries).await?.concat())
    }

    async fn read(&self, slot: u32) -> Result<SlotState, SlotError> {
        let what = || format!("create slot {slot} of {}", self.group);
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            if let Some(state) = self.find(slot).await? {
                return Ok(state);
            }
            let values = (&self.group, slot_column(slot));
            let created = self.run(&self.statements.create, values, what).await;
            // Whatever became of the request, and whoever made the row: new rows are the same.
            if let Some(state) = self.find(slot).await? {
                return Ok(state);
            }
            match created {
                Err(_) if backoff.attempts() + 1 < ATTEMPTS_MAX => {
                    tokio::time::sleep(backoff.next_pause()).await;
                }
                created => {
                    created?;
                    let source = "the row is missing after it was inserted".into();
                    return Err(SlotError::Storage { what: what(), source });
                }
            }
        }
    }

    /// Sends one change until its outcome is known. A repetition carries the same attempt id and
    /// condition, so only one of them can apply, however late the others arrive.
    async fn change(&self, from: &SlotState, to: SlotState) -> Result<SlotState, SlotError> {
        let what = || format!("change slot {} of {}", from.slot, self.group);
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            let failure = match self.send(from, &to).await {
                Ok(answer) => {
                    if was_applied(answer).when(what)? {
                        return Ok(to);
                    }
                    None
                }
                Err(error) => Some(error),
            };
            let now = self.find(from.slot).await?;
            let (epoch, revision) = now.as_ref().map_or((0, 0), |now| (now.epoch, now.revision));
            if let Some(now) = now.filter(|now| now.attempt == to.attempt) {
                return Ok(now);
            }
            match failure {
                // Nobody has changed the row, yet the request may still be on its way.
                Some(error) if (epoch, revision) == (from.epoch, from.revision) => {
                    let attempt = backoff.attempts() + 1;
                    if attempt >= ATTEMPTS_MAX {
                        return Err(error);
                    }
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

    async fn members(&self) -> Result<Vec<Member>, SlotError> {
        members_of(&self.session, &self.statements.members, &self.group).await
    }

    async fn beat(&self, member: Uuid, known: Option<i64>) -> Result<i64, SlotError> {
        let what = || format!("show that {member} is a member of {}", self.group);
        if let Some(revision) = self.beat_from(member, known).await? {
            return Ok(revision);
        }
        // An earlier beat landed after all, or somebody removed a member that stood still.
        let answer = self.run(&self.statements.member, (&self.group, member), what).await?;
        let rows = answer.into_rows_result().when(what)?;
        let now = rows.maybe_first_row::<(i64,)>().when(what)?.map(|(revision,)| revision);
        match self.beat_from(member, now).await? {
            Some(revision) => Ok(revision),
            None => {
                let source = "its row changes under it".into();
                Err(SlotError::Storage { what: what(), source })
            }
        }
    }

    async fn remove(&self, member: Member) -> Result<(), SlotError> {
        let what = || format!("remove member {} of {}", member.id, self.group);
        let values = (&self.group, member.id, member.revision);
        // Not applied: it lives, or another was faster.
        self.run(&self.statements.remove, values, what).await.map(drop)
    }
}

/// Every member of every group, by group. For people.
pub async fn list_members(session: &Session) -> Result<Vec<(String, Member)>, SlotError> {
    let what = || "list the members".to_owned();
    let rows = session
        .query_unpaged("SELECT group, member, revision FROM members", ())
        .await
        .when(what)?
        .into_rows_result()
        .when(what)?;
    let mut members = Vec::new();
    for row in rows.rows::<(String, Uuid, i64)>().when(what)? {
        let (group, id, revision) = row.when(what)?;
        members.push((group, Member { id, revision }));
    }
    members.sort_by(|a, b| (&a.0, a.1.id).cmp(&(&b.0, b.1.id)));
    Ok(members)
}

async fn members_of(
    session: &Session,
    statement: &PreparedStatement,
    group: &str,
) -> Result<Vec<Member>, SlotError> {
    let what = || format!("look at the members of {group}");
    let rows = session
        .execute_unpaged(statement, (group,))
        .await
        .when(what)?
        .into_rows_result()
        .when(what)?;
    let members = rows.rows::<(Uuid, i64)>().when(what)?;
    members.map(|row| row.when(what).map(|(id, revision)| Member { id, revision })).collect()
}

impl Statements {
    async fn prepare(session: &Session, group: &str, timeout: Duration) -> Result<Self, SlotError> {
        let prepare = async |cql: &str| {
            let what = || format!("prepare to work on the slots of {group}");
            let mut statement = session.prepare(cql).await.when(what)?;
            statement.set_request_timeout(Some(timeout));
            Ok(statement)
        };
        let read_of = async |cql: &str| {
            let mut statement = prepare(cql).await?;
            statement.set_is_idempotent(true);
            Ok(statement)
        };
        let serial = async |cql: &str| {
            let mut statement = read_of(cql).await?;
            statement.set_consistency(serial_read(session));
            Ok(statement)
        };
        Ok(Self {
            look: read_of(&format!("SELECT {COLUMNS} FROM slots WHERE group = ? AND slot IN ?"))
                .await?,
            read: serial(&format!("SELECT {COLUMNS} FROM slots WHERE group = ? AND slot = ?"))
                .await?,
            create: prepare(
                "INSERT INTO slots (group, slot, epoch, revision, renewals, crashes) \
                 VALUES (?, ?, 0, 0, 0, 0) IF NOT EXISTS",
            )
            .await?,
            change: prepare(
                "UPDATE slots SET owner = ?, epoch = ?, revision = ?, attempt = ?, renewals = ?, \
                 crashes = ?, checkpoint_us = ?, generation = ? WHERE group = ? AND slot = ? \
                 IF epoch = ? AND revision = ?",
            )
            .await?,
            members: read_of("SELECT member, revision FROM members WHERE group = ?").await?,
            member: serial("SELECT revision FROM members WHERE group = ? AND member = ?").await?,
            announce: prepare(
                "INSERT INTO members (group, member, revision, attempt) VALUES (?, ?, ?, ?) \
                 IF NOT EXISTS",
            )
            .await?,
            beat: prepare(
                "UPDATE members SET revision = ?, attempt = ? WHERE group = ? AND member = ? \
                 IF revision = ?",
            )
            .await?,
            remove: prepare("DELETE FROM members WHERE group = ? AND member = ? IF revision = ?")
                .await?,
        })
    }
}

fn slot_column(slot: u32) -> i32 {
    i32::try_from(slot).expect("the settings allow only a few thousand slots")
}
