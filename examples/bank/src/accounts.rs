//! The read model of accounts: one row each, and a list of all.

use crate::account::{Account, AccountEvent};
use http_edge::queries::Representation;
use kernel::{Aggregate, EventEnvelope, Timestamp, Version};
use projection::listing::{List, Listed, Timeline};
use projection::{FoldError, Folded, Projection, RowWrite, Table, beginning, begun};
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) const TABLES_CQL: &str = include_str!("accounts.cql");

pub(crate) const ONE: Table = Table::new("account_read_model", &["account_id"], &[], "account_id");
const BY_AGE: Table =
    Table::new("accounts_by_age", &["bucket"], &["opened_at", "account_id"], "account_id");

/// Folds the events of one account.
#[derive(Debug, Default)]
pub(crate) struct Accounts;

/// What is remembered of an account between its events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccountsView {
    owner: String,
    balance_minor: i64,
    opened_at: Timestamp,
}

impl Projection for Accounts {
    const NAME: &'static str = "accounts";
    const CODE_VERSION: u32 = 1;
    const TABLES: &'static [Table] = &[ONE, BY_AGE];
    const AGGREGATE_TYPE: &'static str = Account::TYPE;
    type Event = AccountEvent;
    type View = AccountsView;

    fn project(
        &self,
        view: Option<AccountsView>,
        event: &EventEnvelope<AccountEvent>,
    ) -> Result<Folded<AccountsView>, FoldError> {
        let view = match &event.payload {
            AccountEvent::Opened { owner, opened_at } => {
                let (owner, opened_at) = (owner.clone(), *opened_at);
                beginning(view, AccountsView { owner, balance_minor: 0, opened_at })?
            }
            AccountEvent::Deposited { amount_minor } => moved(begun(view)?, *amount_minor),
            AccountEvent::Withdrawn { amount_minor } => moved(begun(view)?, -amount_minor),
        };
        let id = event.aggregate_id;
        let one = RowWrite::upsert(ONE.name).key("account_id", id).set("opened_at", view.opened_at);
        let by_age = RowWrite::upsert(BY_AGE.name)
            .key("bucket", <AllAccounts as List>::bucket(view.opened_at))
            .key("opened_at", view.opened_at)
            .key("account_id", id);
        let shown = |row: RowWrite| {
            row.set("version", event.version)
                .set("owner", view.owner.as_str())
                .set("balance_minor", view.balance_minor)
        };
        Ok((view.clone(), vec![shown(one), shown(by_age)]))
    }
}

fn moved(view: AccountsView, by_minor: i64) -> AccountsView {
    AccountsView { balance_minor: view.balance_minor + by_minor, ..view }
}

pub(crate) const COLUMNS: &str = "account_id, version, owner, balance_minor, opened_at";

/// A row of either table, as answers show it.
#[derive(Debug, DeserializeRow, Serialize)]
pub(crate) struct AccountRow {
    account_id: Uuid,
    version: i64,
    owner: String,
    balance_minor: i64,
    #[serde(serialize_with = "projection::as_rfc3339")]
    opened_at: CqlTimestamp,
}

impl Listed for AccountRow {
    fn created_at(&self) -> Timestamp {
        Timestamp(self.opened_at.0)
    }

    fn id(&self) -> Uuid {
        self.account_id
    }
}

impl Representation for AccountRow {
    fn version(&self) -> Version {
        Version(self.version.cast_unsigned())
    }
}

/// The list of all accounts, newest first.
pub(crate) struct AllAccounts;

impl Timeline for AllAccounts {
    type Row = AccountRow;
    const TABLE: Table = BY_AGE;
    const COLUMNS: &'static str = COLUMNS;
    const BUCKET_DAYS: i32 = 30;
}
