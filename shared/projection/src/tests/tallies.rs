//! A projection of tallies: one row each.

use crate::{FoldError, Folded, Projection, ReadModel, ReadModels, RowWrite, Table};
use cdc::Change;
use database::{Migration, MigrationSet};
use kernel::testing::tally::{Tally, TallyEvent, event};
use kernel::{Aggregate, EventEnvelope};
use uuid::Uuid;

pub(super) const TABLE: &str = "tally_read_model";

const CQL: &str = "CREATE TABLE IF NOT EXISTS tally_read_model (\n\
    tally_id uuid PRIMARY KEY,\n\
    version bigint,\n\
    total bigint\n\
);\n";

pub(super) const TALLY_MODELS: ReadModels = ReadModels::new(
    &[ReadModel::of::<Tallies>()],
    MigrationSet {
        crate_name: "tallies",
        migrations: &[Migration { number: 1, name: "tallies", cql: CQL }],
    },
);

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tallies;

impl Projection for Tallies {
    const NAME: &'static str = "tallies";
    const CODE_VERSION: u32 = 1;
    const TABLES: &'static [Table] = &[Table::new(TABLE, &["tally_id"], &[], "tally_id")];
    const AGGREGATE_TYPE: &'static str = Tally::TYPE;
    type Event = TallyEvent;
    type View = i64;

    fn project(
        &self,
        view: Option<i64>,
        event: &EventEnvelope<TallyEvent>,
    ) -> Result<Folded<i64>, FoldError> {
        let TallyEvent::Added { number } = event.payload;
        let total = view.unwrap_or_default() + i64::try_from(number).expect("a small number");
        let row = RowWrite::upsert(TABLE)
            .key("tally_id", event.aggregate_id)
            .set("version", event.version)
            .set("total", total);
        Ok((total, vec![row]))
    }
}

/// Events that add one each, as they are announced.
pub(super) fn life(id: Uuid, versions: u64) -> Vec<Change> {
    (1..=versions).map(|version| Change { event: event(id, version), topic: None }).collect()
}
