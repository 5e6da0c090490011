//! The engine's test port.

use anyhow::{Context, ensure};
use hyper::Method;
use local_stack::http::HttpClient;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the port may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Talks to the port. Cheap to clone.
#[derive(Clone)]
pub(crate) struct EnginePort {
    http: HttpClient,
    url: String,
}

impl EnginePort {
    /// For strikes: an engine that is down must not hold them up.
    pub(crate) fn new(address: &str) -> Self {
        Self::with_client(HttpClient::with_timeout(TIMEOUT), address)
    }

    /// Waits for its answers as long as the client does.
    pub(crate) fn with_client(http: HttpClient, address: &str) -> Self {
        Self { http, url: format!("http://{address}") }
    }

    /// Adds a rule.
    pub(crate) async fn add(&self, rule: &Value) -> anyhow::Result<()> {
        self.post("/faults", rule).await.map(drop)
    }

    /// Posts anything.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let headers = [("content-type", "application/json")];
        let body = Some(body.to_string().into());
        let answer = self.http.request(Method::POST, &url, &headers, body).await?;
        ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Drops all rules.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        let url = format!("{}/faults", self.url);
        let answer = self.http.request(Method::DELETE, &url, &[], None).await?;
        ensure!(answer.status.is_success(), "{} {}", answer.status, answer.body);
        Ok(())
    }

    /// How often each kind fired since the engine started.
    pub(crate) async fn fired(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let report = self.report().await?;
        let fired = report["fired"].as_object().context("the port names no faults")?;
        Ok(fired.iter().filter_map(|(kind, n)| Some((kind.clone(), n.as_u64()?))).collect())
    }

    /// How many LWTs were taken to run later, and have not run yet.
    pub(crate) async fn waiting(&self) -> anyhow::Result<u64> {
        self.report().await?["later"]["waiting"].as_u64().context("the port names no LWTs")
    }

    /// Lets them run now.
    pub(crate) async fn release(&self) -> anyhow::Result<()> {
        self.post("/later", &Value::Null).await.map(drop)
    }

    async fn report(&self) -> anyhow::Result<Value> {
        Ok(self.http.get(&format!("{}/faults", self.url)).await?.body)
    }
}
