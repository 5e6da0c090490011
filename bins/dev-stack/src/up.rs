//! The commands of the program: bring the stack up, use it, take it down.

use anyhow::Context;
use dev_stack::demo::{self, Narrator};
use dev_stack::{
    Addresses, Binaries, Detours, Output, Replicas, Stack, StackOptions, bench as benchmark,
};
use futures::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A folder for a run's data: the one that was named, or a temporary one that ends with the run.
struct Folder {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn open(named: Option<PathBuf>) -> anyhow::Result<Self> {
        match named {
            Some(path) => {
                std::fs::create_dir_all(&path)
                    .with_context(|| format!("create {}", path.display()))?;
                Ok(Self { path: path.canonicalize()?, _temporary: None })
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("dev-stack-").tempdir()?;
                Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) })
            }
        }
    }

    fn options(&self, addresses: Addresses, terminal: bool) -> anyhow::Result<StackOptions> {
        Ok(StackOptions {
            data_dir: self.path.clone(),
            addresses,
            output: Output::new(&self.path.join("logs"), terminal)?,
            env: Vec::new(),
            env_of: Vec::new(),
            engine: Vec::new(),
            detours: Detours::default(),
            broker: None,
        })
    }
}

/// Resolves at SIGINT or SIGTERM.
async fn stop_signal() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listen for signals")?;
    signals.next().await;
    Ok(())
}

/// Brings up a stack, does something with it, and takes it down again, whatever came of it. `None`:
/// a signal ended what was being done.
async fn with_stack<T>(
    options: StackOptions,
    work: impl AsyncFnOnce(&Stack) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let binaries = Binaries::find().await?;
    let start = Stack::start(&binaries, options);
    let stack = tokio::select! {
        stack = start => stack?,
        signal = stop_signal() => return signal.map(|()| None),
    };
    let result = tokio::select! {
        result = work(&stack) => result.map(Some),
        why = stack.given_up() => Err(anyhow::anyhow!("{why}")),
        signal = stop_signal() => signal.map(|()| None),
    };
    let ended = stack.shutdown().await;
    let result = result?;
    ended?;
    Ok(result)
}

/// The stack on the default ports, the demo, and then it stays.
pub(crate) async fn up(data_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let folder = Folder::open(data_dir)?;
    println!("starting the stack; data and logs in {}", folder.path.display());
    let options = folder.options(Addresses::default_ports(), true)?;
    with_stack(options, async |stack| {
        demo::run(&stack.addresses().into(), &Narrator { speaks: true }).await?;
        print!("{}", what_next(stack.addresses()));
        std::future::pending::<anyhow::Result<()>>().await
    })
    .await?;
    println!("stopped");
    Ok(())
}

fn what_next(addresses: &Addresses) -> String {
    let (commands, queries) = (addresses.command_url(), addresses.query_url());
    format!(
        "\nThe stack stays up; Ctrl-C ends it. Try:\n\n\
         \x20 curl -si {commands}/v1/orders -H 'content-type: application/json' -H \"idempotency-key: $RANDOM\" \\\n\
         \x20   -d '{{\"customer_id\":\"018f4e9a-0000-7000-8000-000000000001\",\"currency\":\"EUR\",\
         \"items\":[{{\"product_id\":\"tea\",\"quantity\":2,\"unit_price_minor\":450}}]}}'\n\
         \x20 curl -s '{queries}/v1/orders?status=created'\n\
         \x20 curl -s {queries}/v1/orders/ID/events\n\n\
         CQL {}   Kafka {}   engine metrics http://{}/metrics\n\
         admin ports (/readyz?verbose, /metrics): command-api {}, projection-worker {}, \
         outbox-relay {}, dlq-retrier {}, query-api {}\n",
        addresses.engine,
        addresses.broker,
        addresses.engine_metrics,
        addresses.command_apis.first().map(|(_, admin)| admin.as_str()).unwrap_or_default(),
        addresses.projection_workers.join(" "),
        addresses.outbox_relays.join(" "),
        addresses.dlq_retrier,
        addresses.query_api_admin,
    )
}

/// The demo on free ports.
pub(crate) async fn demo(data_dir: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let folder = Folder::open(data_dir)?;
    let options = folder.options(Addresses::free(Replicas::default())?, false)?;
    let narrator = Narrator { speaks: !json };
    let report =
        with_stack(options, async |stack| demo::run(&stack.addresses().into(), &narrator).await)
            .await?
            .context("interrupted before the demo was through")?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

/// The benchmark on free ports.
pub(crate) async fn bench(
    data_dir: Option<PathBuf>,
    json: bool,
    seconds: u64,
    idle_seconds: u64,
) -> anyhow::Result<()> {
    let folder = Folder::open(data_dir)?;
    let options = folder.options(Addresses::free(Replicas::default())?, false)?;
    let plan = benchmark::Plan { seconds, idle_seconds, ..benchmark::Plan::default() };
    let report = with_stack(options, async |stack| benchmark::run(stack, plan).await)
        .await?
        .context("interrupted before the benchmark was through")?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// The broker alone, until a signal comes or the process that started it is gone: its end of the
/// standard input closes then, however it died.
pub(crate) async fn broker(listen: SocketAddr, database: &std::path::Path) -> anyhow::Result<()> {
    // A panic would end the one task that serves the storage, and every request after it would wait
    // for ever; whoever keeps the process running starts it again instead.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    let orphaned = async {
        let mut nothing = tokio::io::sink();
        tokio::io::copy(&mut tokio::io::stdin(), &mut nothing).await.map(drop)
    };
    tokio::select! {
        served = dev_stack::broker::serve(listen, database) => served,
        signal = stop_signal() => signal,
        read = orphaned => read.context("wait for the end of standard input"),
    }
}
