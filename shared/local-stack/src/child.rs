//! One program of the stack as a supervised child process.
//!
//! A child that ends without having been told to is started again after a second, at most five
//! times a minute. Its standard input is a pipe that nobody writes to: when this process dies, by
//! whatever cause, the pipe closes and the child ends itself.

use crate::stack::Output;
use anyhow::{Context, bail};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Pause before a child is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// So many starts within [`RESTART_WINDOW`] and the child is given up.
const RESTARTS_MAX: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// What can be sent to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Dies at once (SIGKILL).
    Kill,
    /// Finishes and ends (SIGTERM).
    Terminate,
    /// Stands still (SIGSTOP).
    Pause,
    /// Goes on (SIGCONT).
    Resume,
}

/// How a child is started.
#[derive(Debug, Clone)]
pub(crate) struct ChildSpec {
    /// Shown before each line of its log; also the log file's name.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// What a child is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Down,
    Running { pid: u32 },
    GaveUp(String),
}

/// A child and the task that keeps it running.
pub(crate) struct Supervised {
    pub(crate) name: String,
    wanted: watch::Sender<bool>,
    state: watch::Receiver<State>,
    /// Dropping it kills the child (`kill_on_drop`).
    _task: JoinSet<()>,
}

impl Supervised {
    /// Starts the child and keeps it running.
    pub(crate) fn start(spec: ChildSpec, output: Output) -> Self {
        Self::new(spec, output, true)
    }

    /// A child that is started by [`Supervised::resume`].
    pub(crate) fn down(spec: ChildSpec, output: Output) -> Self {
        Self::new(spec, output, false)
    }

    fn new(spec: ChildSpec, output: Output, wanted: bool) -> Self {
        let (wanted, wanted_receiver) = watch::channel(wanted);
        let (state_sender, state) = watch::channel(State::Down);
        let name = spec.name.clone();
        let mut task = JoinSet::new();
        task.spawn(supervise(spec, output, wanted_receiver, state_sender));
        Self { name, wanted, state, _task: task }
    }

    /// Sends a signal to the running process.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let State::Running { pid } = *self.state.borrow() else {
            bail!("{} is not running", self.name);
        };
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("a process id out of range")?;
        let signal = match signal {
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Pause => rustix::process::Signal::STOP,
            Signal::Resume => rustix::process::Signal::CONT,
        };
        rustix::process::kill_process(pid, signal)
            .with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// Ends the child by a signal and leaves it down; returns when it is gone.
    pub(crate) async fn stop(&self, signal: Signal) -> anyhow::Result<()> {
        self.wanted.send_replace(false);
        let mut state = self.state.clone();
        if matches!(*state.borrow_and_update(), State::Running { .. }) {
            self.signal(signal)?;
        }
        state.wait_for(|state| !matches!(state, State::Running { .. })).await?;
        Ok(())
    }

    /// From now on the child may end by itself, and stays down then.
    pub(crate) fn may_end(&self) {
        self.wanted.send_replace(false);
    }

    /// Starts a child that was stopped; returns when the process is there.
    pub(crate) async fn resume(&self) -> anyhow::Result<()> {
        self.wanted.send_replace(true);
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| *state != State::Down).await?;
        match &*reached {
            State::GaveUp(why) => bail!("{}: {why}", self.name),
            _ => Ok(()),
        }
    }

    /// The process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        match *self.state.borrow() {
            State::Running { pid } => Some(pid),
            _ => None,
        }
    }

    /// Resolves when the child is given up, with the reason.
    pub(crate) async fn given_up(&self) -> String {
        let mut state = self.state.clone();
        match state.wait_for(|state| matches!(state, State::GaveUp(_))).await {
            Ok(state) => match &*state {
                State::GaveUp(why) => format!("{}: {why}", self.name),
                _ => unreachable!("waited for GaveUp"),
            },
            // The supervising task ended because the child was told to end.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn supervise(
    spec: ChildSpec,
    output: Output,
    mut wanted: watch::Receiver<bool>,
    state: watch::Sender<State>,
) {
    let mut starts: VecDeque<Instant> = VecDeque::new();
    loop {
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        while starts.front().is_some_and(|at| at.elapsed() > RESTART_WINDOW) {
            starts.pop_front();
        }
        if starts.len() > RESTARTS_MAX {
            state.send_replace(State::GaveUp(format!(
                "ended {} times within {} s",
                starts.len(),
                RESTART_WINDOW.as_secs()
            )));
            return;
        }
        starts.push_back(Instant::now());
        let (ended, orderly) = match spawn(&spec, &output) {
            Ok((mut child, logs)) => {
                state.send_replace(State::Running { pid: child.id().unwrap_or_default() });
                // Held until the child is gone: waiting would close it.
                let _pipe = child.stdin.take();
                let status = child.wait().await;
                logs.join_all().await;
                let orderly = !*wanted.borrow();
                (status.map_or_else(|e| e.to_string(), |status| status.to_string()), orderly)
            }
            Err(error) => (format!("{error:#}"), false),
        };
        state.send_replace(State::Down);
        if orderly {
            starts.clear();
            continue;
        }
        output.note(&spec.name, &format!("ended ({ended}); starting it again"));
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            _ = wanted.wait_for(|wanted| !*wanted) => {}
        }
    }
}

/// Starts a process, and tasks that log what it writes until it is gone.
fn spawn(spec: &ChildSpec, output: &Output) -> anyhow::Result<(Child, JoinSet<()>)> {
    let mut child = command(spec)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", spec.program.display()))?;
    let mut logs = JoinSet::new();
    if let Some(stream) = child.stdout.take() {
        logs.spawn(follow(spec.name.clone(), stream, output.clone()));
    }
    if let Some(stream) = child.stderr.take() {
        logs.spawn(follow(spec.name.clone(), stream, output.clone()));
    }
    Ok((child, logs))
}

fn command(spec: &ChildSpec) -> Command {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).envs(spec.env.iter().map(|(key, value)| (key, value)));
    // Ctrl-C reaches the whole group of the terminal. The children are ended in order, by the stack.
    command.process_group(0);
    command
}

/// Runs a program to its end, its output logged like a child's.
pub(crate) async fn run_to_end(spec: &ChildSpec, output: &Output) -> anyhow::Result<()> {
    let (mut child, logs) = spawn(spec, output)?;
    let status = child.wait().await?;
    logs.join_all().await;
    if !status.success() {
        bail!("{} ended with {status}; its log: {}", spec.name, output.describe(&spec.name));
    }
    Ok(())
}

/// Logs a stream line by line until its end.
async fn follow(name: String, stream: impl AsyncRead + Unpin, output: Output) {
    let mut file = append_to(&output.file(&name)).await;
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        output.show(&name, &line);
        if let Some(file) = &mut file
            && let Err(error) = file.write_all(format!("{line}\n").as_bytes()).await
        {
            output.note(&name, &format!("its log file: {error}"));
        }
    }
    if let Some(file) = &mut file
        && let Err(error) = file.flush().await
    {
        output.note(&name, &format!("its log file: {error}"));
    }
}

async fn append_to(path: &Path) -> Option<tokio::fs::File> {
    tokio::fs::OpenOptions::new().create(true).append(true).open(path).await.ok()
}
