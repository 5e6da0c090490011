//! A proxy on every way that a request takes.

use crate::proxy::{Proxy, Rewrite};
use anyhow::Context;
use local_stack::{Addresses, Detours, PLATFORM, Process, Store, free_port};
use std::collections::HashMap;
use std::net::SocketAddr;

/// One way, by the process at its one end; the other end is the engine, the broker or a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hop {
    /// A worker to the engine.
    ToEngine(Process),
    /// A process that publishes, to the broker.
    ToBroker(Process),
    /// Clients to a process that speaks HTTP.
    FromClients(Process),
}

/// The proxies of a world.
#[derive(Debug, Default)]
pub struct Hops {
    proxies: HashMap<Hop, Proxy>,
}

impl Hops {
    /// A proxy for each way between the processes with these addresses.
    pub async fn before(addresses: &Addresses) -> anyhow::Result<Self> {
        let mut hops = Self::default();
        let broker: SocketAddr = addresses.broker.parse()?;
        for process in addresses.workers() {
            hops.add(Hop::ToEngine(process), &addresses.engine, None).await?;
            if PLATFORM.entry_of(process).is_some_and(|entry| entry.needs(Store::Kafka)) {
                hops.add(Hop::ToBroker(process), &addresses.broker, Some(broker)).await?;
            }
            if let Some(http) = addresses.http(process) {
                hops.add(Hop::FromClients(process), http, None).await?;
            }
        }
        Ok(hops)
    }

    /// Adds a proxy; `rewritten` is an address that the target names in its answers, and that has to
    /// lead back to the proxy.
    async fn add(
        &mut self,
        hop: Hop,
        target: &str,
        rewritten: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let rewrite = rewritten.map(|from| Rewrite::address(from, at)).transpose()?;
        let target = target.parse().with_context(|| format!("the target {target}"))?;
        self.proxies.insert(hop, Proxy::start(at, target, rewrite).await?);
        Ok(())
    }

    /// The proxy of a way; absent in a world without proxies.
    pub fn get(&self, hop: Hop) -> Option<&Proxy> {
        self.proxies.get(&hop)
    }

    /// All ways, in a fixed order.
    pub fn all(&self) -> Vec<Hop> {
        let mut hops: Vec<Hop> = self.proxies.keys().copied().collect();
        hops.sort_by_key(|hop| format!("{hop:?}"));
        hops
    }

    /// What the processes are to be told.
    pub(crate) fn detours(&self) -> Detours {
        let mut detours = Detours::default();
        for (hop, proxy) in &self.proxies {
            let address = proxy.address().to_string();
            match hop {
                Hop::ToEngine(process) => detours.engine.insert(*process, address),
                Hop::ToBroker(process) => detours.broker.insert(*process, address),
                Hop::FromClients(_) => continue,
            };
        }
        detours
    }
}
