//! What is registered incompletely is told by name.

use super::tallies::{TABLE, TALLY_MODELS, Tallies};
use crate::{FoldError, Folded, Projection, ReadModel, ReadModelError, ReadModels, Table};
use database::{Migration, MigrationSet};
use kernel::testing::tally::{TALLIES, TallyEvent};
use kernel::{Aggregates, EventEnvelope};

/// A projection that is there for what it says of itself.
macro_rules! says {
    ($name:ident, $called:literal, $of_type:literal, $tables:expr) => {
        #[derive(Default)]
        struct $name;

        impl Projection for $name {
            const NAME: &'static str = $called;
            const CODE_VERSION: u32 = 1;
            const TABLES: &'static [Table] = $tables;
            const AGGREGATE_TYPE: &'static str = $of_type;
            type Event = TallyEvent;
            type View = ();

            fn project(
                &self,
                _: Option<()>,
                _: &EventEnvelope<TallyEvent>,
            ) -> Result<Folded<()>, FoldError> {
                Ok(((), Vec::new()))
            }
        }
    };
}

const LISTED: Table =
    Table::new("tally_list", &["day", "spread"], &["created_at", "tally_id"], "tally_id");
const LIST: &str = "CREATE TABLE IF NOT EXISTS tally_list (day int, spread int, created_at timestamp,
    tally_id uuid, PRIMARY KEY ((day, spread), created_at, tally_id)) WITH CLUSTERING ORDER BY (created_at DESC);";

const ALONE: &str = "CREATE TABLE IF NOT EXISTS tally_days (day int, tally_id uuid, PRIMARY KEY ((day), tally_id));";
says!(Days, "days", "tally", &[Table::new("tally_days", &["day"], &["tally_id"], "tally_id")]);

says!(Lists, "lists", "tally", &[LISTED]);
says!(SameName, "tallies", "tally", &[LISTED]);
says!(SameTable, "others", "tally", Tallies::TABLES);
says!(OfParcels, "parcels", "parcel", &[LISTED]);
says!(Elsewhere, "lists", "tally", &[Table::new("nowhere", &["a"], &[], "a")]);
says!(ShortKey, "lists", "tally", &[Table { clustering: &["tally_id"], ..LISTED }]);
says!(Anonymous, "lists", "tally", &[Table { aggregate: "customer_id", ..LISTED }]);

fn migrations(with_list: bool) -> MigrationSet {
    const LIST_ALONE: &[Migration] = &[Migration { number: 1, name: "list", cql: LIST }];
    let tallies = TALLY_MODELS.migrations();
    if with_list { MigrationSet { migrations: LIST_ALONE, ..tallies } } else { tallies }
}

fn checked(models: &'static [ReadModel], with_list: bool) -> Result<(), ReadModelError> {
    ReadModels::new(models, migrations(with_list)).check(TALLIES)
}

#[test]
fn a_complete_registration_passes() {
    TALLY_MODELS.check(TALLIES).expect("complete");
    checked(const { &[ReadModel::of::<Lists>()] }, true).expect("complete");
    const DAYS: &[Migration] = &[Migration { number: 1, name: "days", cql: ALONE }];
    let migrations = MigrationSet { crate_name: "days", migrations: DAYS };
    let days = ReadModels::new(const { &[ReadModel::of::<Days>()] }, migrations);
    days.check(TALLIES).expect("brackets around one column change nothing");
}

#[test]
fn what_is_wrong_is_named() {
    let twice = |what, name| ReadModelError::Twice { what, name };
    let two = const { &[ReadModel::of::<Tallies>(), ReadModel::of::<SameName>()] };
    assert_eq!(checked(two, false), Err(twice("read model", "tallies")));
    let two = const { &[ReadModel::of::<Tallies>(), ReadModel::of::<SameTable>()] };
    assert_eq!(checked(two, false), Err(twice("table", TABLE)));
    let told = |models, expected: &str| {
        let error = checked(models, true).expect_err("must be refused").to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    };
    told(const { &[ReadModel::of::<OfParcels>()] }, "folds parcel, which is not registered");
    told(const { &[ReadModel::of::<Elsewhere>()] }, "writes nowhere, which no migration");
    told(const { &[ReadModel::of::<Anonymous>()] }, "customer_id, which names the aggregate");
    told(
        const { &[ReadModel::of::<ShortKey>()] },
        "PRIMARY KEY ((day,spread),created_at,tally_id), not ((day,spread),tally_id)",
    );
    told(const { &[] }, "creates tally_list, which no read model names");
    let unknown = TALLY_MODELS.check(Aggregates::new(&[])).expect_err("no aggregate");
    assert!(matches!(unknown, ReadModelError::NoAggregate { .. }));
}
