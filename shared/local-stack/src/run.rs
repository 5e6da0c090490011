//! A stack from its start to its end, around what is done with it.

use crate::programs::Programs;
use crate::stack::{Addresses, Stack, StackOptions};
use anyhow::Context;
use futures::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the work of a program to its end; the exit code is 0 if it went well. If not, 1 and a line with all
/// causes behind the program's name.
pub fn run(name: &str, work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.context("start the runtime").and_then(|runtime| {
        let result = runtime.block_on(work);
        // A thread that reads standard input may never return.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", runtime::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// A folder for a run's data: the one that was named, or a temporary one that ends with the run.
pub struct Folder {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// Makes the folder. A temporary one's name begins with `prefix`.
    pub fn open(named: Option<PathBuf>, prefix: &str) -> anyhow::Result<Self> {
        match named {
            Some(path) => {
                std::fs::create_dir_all(&path)
                    .with_context(|| format!("create {}", path.display()))?;
                Ok(Self { path: path.canonicalize()?, _temporary: None })
            }
            None => {
                let temporary = tempfile::Builder::new().prefix(prefix).tempdir()?;
                Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) })
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// A plain stack that keeps everything here.
    pub fn options(&self, addresses: Addresses, terminal: bool) -> anyhow::Result<StackOptions> {
        StackOptions::new(&self.path, addresses, terminal)
    }
}

/// Resolves at SIGINT or SIGTERM.
pub async fn stop_signal() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listen for signals")?;
    signals.next().await;
    Ok(())
}

/// Brings up a stack, does something with it, and takes it down again, whatever came of it. `None`:
/// a signal ended what was being done.
pub async fn with_stack<T>(
    programs: &Programs,
    options: StackOptions,
    work: impl AsyncFnOnce(&Stack) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let start = Stack::start(programs, options);
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
