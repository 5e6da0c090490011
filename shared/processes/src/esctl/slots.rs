//! `esctl slots` and `esctl members`: who works on which part of the ring, how far behind it is, and
//! who shares the work.

use anyhow::{Context, anyhow};
use leases::SlotState;
use scylla::client::session::Session;
use scylla::value::CqlTimeuuid;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::esctl::connection;
use crate::esctl::output::{self, Column, Format};
use crate::esctl::settings::Settings;

#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// List every slot of every group
    List,
}

#[derive(Serialize)]
struct Line {
    group: String,
    slot: u32,
    owner: Option<Uuid>,
    epoch: i64,
    crashes: i32,
    checkpoint: Option<String>,
    /// From the checkpoint to the database's now.
    lag_seconds: Option<f64>,
    generation: Option<String>,
}

const COLUMNS: [Column<Line>; 8] = [
    ("group", |line| line.group.clone()),
    ("slot", |line| line.slot.to_string()),
    ("owner", |line| line.owner.map_or_else(none, |owner| owner.to_string())),
    ("epoch", |line| line.epoch.to_string()),
    ("crashes", |line| line.crashes.to_string()),
    ("checkpoint", |line| line.checkpoint.clone().unwrap_or_else(none)),
    ("lag_seconds", |line| line.lag_seconds.map_or_else(none, |lag| format!("{lag:.1}"))),
    ("generation", |line| line.generation.clone().unwrap_or_else(none)),
];

fn none() -> String {
    "-".to_owned()
}

#[derive(clap::Subcommand)]
pub(crate) enum MembersVerb {
    /// List the processes of every group, with the slots that each owns
    List,
}

#[derive(Serialize)]
struct MemberLine {
    group: String,
    member: Uuid,
    /// How often it showed that it is there: a member whose number stands still is dead.
    beats: i64,
    slots: Vec<u32>,
}

const MEMBER_COLUMNS: [Column<MemberLine>; 4] = [
    ("group", |line| line.group.clone()),
    ("member", |line| line.member.to_string()),
    ("beats", |line| line.beats.to_string()),
    ("slots", |line| {
        let slots: Vec<String> = line.slots.iter().map(u32::to_string).collect();
        if slots.is_empty() { none() } else { slots.join(",") }
    }),
];

/// Does what the verb says.
pub(crate) async fn members(
    verb: &MembersVerb,
    settings: &Settings,
    format: Format,
) -> anyhow::Result<()> {
    let MembersVerb::List = verb;
    let session = connection::open(&settings.scylla).await?;
    let slots = leases::list(&session).await?;
    let members = leases::list_members(&session).await?;
    let owned = |group: &str, member: Uuid| {
        let of = slots.iter().filter(|slot| slot.group == group && slot.owner == Some(member));
        of.map(|slot| slot.slot).collect()
    };
    let lines: Vec<MemberLine> = members
        .into_iter()
        .map(|(group, member)| MemberLine {
            slots: owned(&group, member.id),
            group,
            member: member.id,
            beats: member.revision,
        })
        .collect();
    output::rows(format, &lines, &MEMBER_COLUMNS)
}

/// Does what the verb says.
pub(crate) async fn run(verb: &Verb, settings: &Settings, format: Format) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(settings, format).await,
    }
}

async fn list(settings: &Settings, format: Format) -> anyhow::Result<()> {
    let session = connection::open(&settings.scylla).await?;
    let states = leases::list(&session).await?;
    let now_us = database_now_us(&session).await?;
    let lines: Vec<Line> =
        states.into_iter().map(|state| line(state, now_us)).collect::<anyhow::Result<_>>()?;
    output::rows(format, &lines, &COLUMNS)
}

fn line(state: SlotState, now_us: i64) -> anyhow::Result<Line> {
    Ok(Line {
        owner: state.owner,
        epoch: state.epoch,
        crashes: state.crashes,
        checkpoint: state.checkpoint_us.map(rfc3339).transpose()?,
        lag_seconds: state.checkpoint_us.map(|at_us| now_us.saturating_sub(at_us) as f64 / 1e6),
        generation: state
            .generation_ms
            .map(|at_ms| rfc3339(at_ms.saturating_mul(1000)))
            .transpose()?,
        group: state.group,
        slot: state.slot,
    })
}

fn rfc3339(at_us: i64) -> anyhow::Result<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_us) * 1000)
        .with_context(|| format!("{at_us} microseconds since 1970 are out of range"))?;
    Ok(at.format(&Rfc3339)?)
}

/// The database's clock, against which a checkpoint is to be compared; ours may differ.
async fn database_now_us(session: &Session) -> anyhow::Result<i64> {
    let rows = session
        .query_unpaged("SELECT now() FROM system.local", ())
        .await
        .context("ask the database for its time")?
        .into_rows_result()?;
    let (now,) = rows.first_row::<(CqlTimeuuid,)>()?;
    let timestamp = Uuid::from(now)
        .get_timestamp()
        .ok_or_else(|| anyhow!("the database's now {now} holds no time"))?;
    let (seconds, nanoseconds) = timestamp.to_unix();
    Ok(i64::try_from(seconds)? * 1_000_000 + i64::from(nanoseconds / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        assert_eq!(
            rfc3339(1_700_000_000_123_456).expect("in range"),
            "2023-11-14T22:13:20.123456Z"
        );
        assert!(rfc3339(i64::MAX).is_err());
    }
}
