//! Logs to stderr, as text for people or JSON lines for machines, which tell whose work it was ([`about`], and the
//! spans of [`crate::traces`]).

mod about;
mod json;
mod one_line;
#[cfg(test)]
mod testing;

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;
use std::sync::{LazyLock, OnceLock};

use anyhow::Context;
use opentelemetry_sdk::trace::Tracer;
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, error};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

pub use self::about::about;
use self::json::{JsonLines, SpanIds};
use self::one_line::OneLine;
use crate::config::{Log, LogFormat};
use crate::process_metrics::PANICS;
use crate::traces;

/// What is logged, changeable while the process runs.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging for the whole process. Errs when the filter cannot be read or logging was started
/// before.
pub fn init(log: &Log) -> anyhow::Result<()> {
    init_with(log, None)
}

/// Starts logging, and traces if there is somebody to send them to.
pub(crate) fn init_with(log: &Log, tracer: Option<Tracer>) -> anyhow::Result<()> {
    let (filter, changeable) = reload::Layer::new(directives(&log.filter)?);
    let lines = match log.format {
        LogFormat::Json => json_layer(std::io::stderr).with_filter(json_filter(filter)).boxed(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let writer = OneLine { writer: std::io::stderr, colours };
            let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
            // A person sees what a line says of itself.
            let records = filter_fn(|metadata| !metadata.is_span());
            lines.with_filter(filter.and(records)).boxed()
        }
    };
    let spans = tracer.map(|tracer| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        layer.with_filter(filter_fn(|metadata| metadata.target() == traces::TARGET))
    });
    tracing_subscriber::registry()
        .with(lines)
        .with(spans)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    FILTER.set(changeable).map_err(|_| anyhow::anyhow!("logging was started before"))
}

/// Records as JSON.
fn json_layer<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    lines.event_format(JsonLines).fmt_fields(SpanIds)
}

/// What `records` lets pass, and of spans those that say whose work it is.
fn json_filter<S: Subscriber>(records: impl Filter<S>) -> impl Filter<S> {
    let ids = filter_fn(|metadata| {
        metadata.is_span() && [traces::TARGET, about::TARGET].contains(&metadata.target())
    });
    let no_span = filter_fn(|metadata| !metadata.is_span());
    ids.with_max_level_hint(LevelFilter::INFO).or(records.and(no_span))
}

/// Logs by other directives from now on.
pub(crate) fn set_filter(filter: &str) -> anyhow::Result<()> {
    let changeable = FILTER.get().context("logging was not started")?;
    changeable.reload(directives(filter)?).context("change the filter of the log")
}

fn directives(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("log.filter {filter:?}: {error}"))
}

tokio::task_local! {
    /// The child of the process that the code runs in.
    static CHILD: &'static str;
}

/// Runs `work` as a child of the process, under whose name its panics are logged.
pub(crate) fn in_child<F: Future>(name: &'static str, work: F) -> impl Future<Output = F::Output> {
    CHILD.scope(name, work)
}

/// Sends panics through the log, so that they keep its format, and counts them. Each is logged here,
/// with its cause, and nowhere else.
pub(crate) fn log_panics() {
    LazyLock::force(&PANICS);
    std::panic::set_hook(Box::new(|panic| {
        PANICS.inc();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let child = CHILD.try_with(|child| *child).ok();
        error!(panic = panic_text(panic.payload()), place, thread, child, "panicked");
    }));
}

/// The text of a panic, as far as it has one.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without text")
}

/// Displays an error with all its causes: `append 2 events to 7: connection broken: broken pipe`.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        formatter.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Transparent errors, and drivers that repeat their cause, would say it twice.
            if !said.ends_with(&text) {
                write!(formatter, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read slot 3")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("connection lost: broken pipe")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("broken pipe")]
    struct Inner;

    #[test]
    fn a_chain_says_each_cause_once() {
        let error = Outer(Middle(Inner));
        assert_eq!(chain(&error).to_string(), "read slot 3: connection lost: broken pipe");
    }
}
