//! What happens in the bank, over every hop.

use crate::BANK;
use anyhow::Context;
use hyper::{Method, StatusCode};
use local_stack::{
    Addresses, Doors, Folder, Narrator, PLATFORM, Programs, Refusal, Replicas, Step, Story,
    with_stack,
};
use serde_json::{Value, json};

/// Its own queries have a configuration of their own.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");

/// Starts everything, tells the story, verifies the stores, and ends everything.
pub(crate) async fn tell() -> anyhow::Result<()> {
    let folder = Folder::open(None, "bank-")?;
    let options = folder.options(Addresses::free(&PLATFORM, &Replicas::default())?, false)?;
    let programs = Programs::this(&PLATFORM)?.with_config(CONFIG);
    let told = with_stack(&programs, options, async |stack| {
        let doors = Doors::of(stack, BANK.aggregates);
        let mut story = Story::open(&doors, Narrator { speaks: true }).await?;
        let open = post("Ada opens an account", "OpenAccount", "", json!({"owner": "Ada"}));
        let id = story.step(open).await?.aggregate_id;
        let (deposit, withdraw) = (format!("/{id}/deposit"), format!("/{id}/withdraw"));
        let amount = |minor: i64| json!({ "amount_minor": minor });
        story.step(post("and brings 100.00", "Deposit", &deposit, amount(10_000))).await?;
        story.step(post("she takes 25.00", "Withdraw", &withdraw, amount(2_500))).await?;
        let Step { method, path, body, told, .. } =
            post("she cannot take 75.01", "Withdraw", &withdraw, amount(7_501));
        let (status, code) = (StatusCode::CONFLICT, "account_overdrawn");
        let refusal = Refusal { told, method, path, body, if_match: None, status, code };
        story.refusal(refusal).await?;
        stack.verify().await?;
        story.finish();
        Ok(())
    });
    told.await?.context("interrupted")
}

fn post<'a>(told: &'a str, command: &'static str, path: &str, body: Value) -> Step<'a> {
    let (path, method) = (format!("/v1/accounts{path}"), Method::POST);
    Step { told, command, method, path, body, read_model: "/v1/accounts", shown: "balance_minor" }
}
