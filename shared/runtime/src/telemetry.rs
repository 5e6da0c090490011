//! Logs to stderr, as text for people or JSON lines for machines, beside [`crate::traces`].

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;

use opentelemetry_sdk::trace::Tracer;
use tracing::error;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Log, LogFormat};
use crate::traces;

/// Starts logging for the whole process. Errs when the filter cannot be read or logging was started
/// before.
pub fn init(log: &Log) -> anyhow::Result<()> {
    init_with(log, None)
}

/// Starts logging, and traces if there is somebody to send them to.
pub(crate) fn init_with(log: &Log, tracer: Option<Tracer>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| anyhow::anyhow!("log.filter {:?}: {error}", log.filter))?;
    let filter = filter.and(filter_fn(|metadata| metadata.target() != traces::TARGET));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).boxed(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colours).boxed()
        }
    };
    let spans = tracer.map(|tracer| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        layer.with_filter(filter_fn(|metadata| metadata.target() == traces::TARGET))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// Sends panics through the log, so that they keep its format.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        error!(panic = panic_text(panic.payload()), place, thread, "thread panicked");
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
