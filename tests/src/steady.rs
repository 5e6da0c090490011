//! A steady load beside a test: patient clients that settle each command before the next.

use crate::client::{Client, Told};
use anyhow::Context;
use dev_stack::demo::{create_order, items};
use hyper::Method;
use serde_json::json;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How long the clients may take for what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The clients at work.
pub struct Steady {
    stop: watch::Sender<bool>,
    settled: watch::Receiver<usize>,
    clients: JoinSet<Vec<Told>>,
}

impl Steady {
    /// Starts so many clients of each of `targets`. Every order is created, then changed once.
    pub fn start(targets: &[Client], each: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (count, settled) = watch::channel(0);
        let mut clients = JoinSet::new();
        for target in targets {
            for _ in 0..each {
                clients.spawn(work(target.clone(), stopped.clone(), count.clone()));
            }
        }
        Self { stop, settled, clients }
    }

    /// Waits until so many more commands are settled.
    pub async fn more(&mut self, commands: usize) -> anyhow::Result<()> {
        let wanted = *self.settled.borrow() + commands;
        let reached = self.settled.wait_for(|settled| *settled >= wanted);
        tokio::time::timeout(PATIENCE, reached).await.context("the load stands still")??;
        Ok(())
    }

    /// Lets each client settle its last command; gives all of them.
    pub async fn end(self) -> Vec<Told> {
        self.stop.send_replace(true);
        self.clients.join_all().await.concat()
    }
}

async fn work(
    client: Client,
    stopped: watch::Receiver<bool>,
    count: watch::Sender<usize>,
) -> Vec<Told> {
    let mut told = Vec::new();
    while !*stopped.borrow() {
        let id = Uuid::now_v7();
        let mut body = create_order(Uuid::now_v7(), items(1));
        body["order_id"] = json!(id);
        let change = json!({"items": items(2)});
        let steps = [
            (Method::POST, "/v1/orders".to_owned(), body),
            (Method::PUT, format!("/v1/orders/{id}/items"), change),
        ];
        for (method, path, body) in steps {
            let key = Uuid::now_v7().to_string();
            let outcome = client.settle(method, &path, &key, &body).await;
            told.push(Told { aggregate_id: Some(id), key, outcome });
            count.send_modify(|settled| *settled += 1);
        }
    }
    told
}
