//! Queries over HTTP.

use crate::account::Account;
use crate::accounts::{AccountRow, AllAccounts, COLUMNS, ONE};
use crate::transfer::Transfer;
use http_edge::Problem;
use http_edge::queries::{NoParameters, Page, PageRequest, QueryLimits, QueryRoutes};
use processes::query_api::{Queries, failed, list_request, now, page_of};
use projection::ById;
use projection::listing::Listing;
use scylla::client::session::Session;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Clone)]
pub(crate) struct Bank {
    by_id: Arc<ById<AccountRow>>,
    all: Arc<Listing<AllAccounts>>,
}

impl Queries for Bank {
    type Config = QueryLimits;

    async fn open(session: Arc<Session>, _: &QueryLimits) -> anyhow::Result<Self> {
        let by_id = ById::open(Arc::clone(&session), &ONE, COLUMNS).await?;
        Ok(Self { by_id: Arc::new(by_id), all: Arc::new(Listing::open(session).await?) })
    }

    fn routes() -> QueryRoutes<Self> {
        QueryRoutes::new()
            .get("account", "/v1/accounts/{id}", account)
            .list("accounts", "/v1/accounts", accounts)
            .history::<Account>("accounts")
            .history::<Transfer>("transfers")
    }
}

async fn account(bank: Bank, id: Uuid) -> Result<Option<AccountRow>, Problem> {
    bank.by_id.read(id).await.map_err(failed)
}

async fn accounts(
    bank: Bank,
    page: PageRequest<NoParameters>,
) -> Result<Page<AccountRow>, Problem> {
    let page = bank.all.page(&AllAccounts, now(), &list_request(&page, 3_650)?).await;
    Ok(page_of("accounts", page.map_err(failed)?, std::convert::identity))
}
