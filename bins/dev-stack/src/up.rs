//! The commands of the program: bring the stack up, use it, take it down.

use anyhow::Context;
use dev_stack::{bench as benchmark, demo};
use local_stack::{
    Addresses, Folder, Narrator, PLATFORM, Process, Programs, Replicas, Stack, StackOptions,
    with_stack,
};
use std::path::PathBuf;

/// What the commands have in common: where data is kept, and in which keyspace.
pub(crate) struct Place {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) keyspace: String,
}

impl Place {
    fn folder(&self) -> anyhow::Result<Folder> {
        Folder::open(self.data_dir.clone(), "dev-stack-")
    }

    fn options(
        &self,
        folder: &Folder,
        addresses: Addresses,
        terminal: bool,
    ) -> anyhow::Result<StackOptions> {
        let options = folder.options(addresses, terminal)?;
        Ok(StackOptions { keyspace: self.keyspace.clone(), ..options })
    }

    /// Does something with a stack on free ports.
    async fn on_free_ports<T>(
        &self,
        work: impl AsyncFnOnce(&Stack) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let folder = self.folder()?;
        let addresses = Addresses::free(&PLATFORM, &Replicas::default())?;
        let options = self.options(&folder, addresses, false)?;
        with_stack(&Programs::find(&PLATFORM).await?, options, work).await
    }
}

/// The stack on the default ports, the demo, and then it stays.
pub(crate) async fn up(place: &Place) -> anyhow::Result<()> {
    let folder = place.folder()?;
    println!("starting the stack; data and logs in {}", folder.path().display());
    let options = place.options(&folder, Addresses::default_ports(&PLATFORM), true)?;
    with_stack(&Programs::find(&PLATFORM).await?, options, async |stack| {
        demo::run(&demo::doors(stack), &Narrator { speaks: true }).await?;
        print!("{}", what_next(stack.addresses()));
        std::future::pending::<anyhow::Result<()>>().await
    })
    .await?;
    println!("stopped");
    Ok(())
}

fn what_next(addresses: &Addresses) -> String {
    let (commands, queries) = (addresses.command_url(), addresses.query_url());
    let admin =
        |process: Process| Some(format!("{} {}", process.name(), addresses.admin(process)?));
    let admins: Vec<_> = addresses.workers().into_iter().filter_map(admin).collect();
    format!(
        "\nThe stack stays up; Ctrl-C ends it. Try:\n\n\
         \x20 curl -si {commands}/v1/orders -H 'content-type: application/json' -H \"idempotency-key: $RANDOM\" \\\n\
         \x20   -d '{{\"customer_id\":\"018f4e9a-0000-7000-8000-000000000001\",\"currency\":\"EUR\",\
         \"items\":[{{\"product_id\":\"tea\",\"quantity\":2,\"unit_price_minor\":450}}]}}'\n\
         \x20 curl -s '{queries}/v1/orders?status=created'\n\
         \x20 curl -s {queries}/v1/orders/ID/events\n\n\
         CQL {}   Kafka {}   engine metrics http://{}/metrics\n\
         admin ports (/readyz?verbose, /metrics): {}\n",
        addresses.engine,
        addresses.broker,
        addresses.engine_metrics,
        admins.join(", "),
    )
}

/// The demo on free ports.
pub(crate) async fn demo(place: &Place, json: bool) -> anyhow::Result<()> {
    let narrator = Narrator { speaks: !json };
    let report = place
        .on_free_ports(async |stack| demo::run(&demo::doors(stack), &narrator).await)
        .await?
        .context("interrupted before the demo was through")?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

/// The benchmark on free ports.
pub(crate) async fn bench(
    place: &Place,
    json: bool,
    seconds: u64,
    idle_seconds: u64,
) -> anyhow::Result<()> {
    let plan = benchmark::Plan { seconds, idle_seconds, ..benchmark::Plan::default() };
    let report = place
        .on_free_ports(async |stack| benchmark::run(stack, plan).await)
        .await?
        .context("interrupted before the benchmark was through")?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
