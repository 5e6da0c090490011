//! The process shell as its operator sees it: arguments, exit codes, signals, ports.
//!
//! This binary is both the tests and, started with `SAMPLE_MODE`, the process under test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use runtime::config::Configuration;
use runtime::{CancellationToken, Process, Secret, Stopped};
use rustix::process::{Pid, Signal, kill_process};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const MODE: &str = "SAMPLE_MODE";
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    if std::env::var_os(MODE).is_some() {
        return runtime::main("sample", DEFAULTS, run);
    }
    let tests: [(&str, fn()); 13] = [
        ("check_config_prints_and_ends", check_config_prints_and_ends),
        (
            "the_log_is_quiet_from_the_moment_a_file_says_so",
            the_log_is_quiet_from_the_moment_a_file_says_so,
        ),
        ("a_bad_configuration_is_exit_code_64", a_bad_configuration_is_exit_code_64),
        ("a_signal_drains_and_ends_with_0", a_signal_drains_and_ends_with_0),
        ("the_end_of_the_parent_is_like_a_signal", the_end_of_the_parent_is_like_a_signal),
        ("without_the_switch_stdin_means_nothing", without_the_switch_stdin_means_nothing),
        ("a_failing_worker_is_exit_code_1", a_failing_worker_is_exit_code_1),
        ("a_panicking_worker_is_exit_code_1", a_panicking_worker_is_exit_code_1),
        ("a_child_that_panics_is_started_again", a_child_that_panics_is_started_again),
        (
            "a_child_that_keeps_panicking_is_exit_code_1",
            a_child_that_keeps_panicking_is_exit_code_1,
        ),
        ("asked_twice_it_still_drains", asked_twice_it_still_drains),
        ("a_deaf_worker_is_named", a_deaf_worker_is_named),
        (
            "who_waits_says_for_what_and_may_be_asked_to_end",
            who_waits_says_for_what_and_may_be_asked_to_end,
        ),
    ];
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, test) in tests {
        if !filter.is_empty() && !filter.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(test));
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        if outcome.is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// The process under test.

const DEFAULTS: &str =
    "[admin]\nlisten = '127.0.0.1:0'\n[shutdown]\ngrace_ms = 300\n[work]\nitems_max = 3\n";

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    scylla: Scylla,
    work: Work,
}

/// What these tests look at of a section that all processes have.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Scylla {
    password: Secret,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Work {
    items_max: u32,
}

impl Configuration for Config {}

async fn run(mut process: Process<Config>) -> anyhow::Result<()> {
    let shutdown = process.shutdown();
    let mode = std::env::var(MODE)?;
    process.worker("steady", steady(shutdown.clone()));
    let falls = mode == "falling";
    match mode.as_str() {
        "steady" => {}
        "failing" => process.worker("failing", async {
            Err(anyhow::anyhow!("disk full").context("write checkpoint"))
        }),
        "panicking" => process.worker("panicking", async { panic!("out of range") }),
        "shaky" | "falling" => {
            let mut start = 0;
            process.child("shaky", move |shutdown| {
                start += 1;
                async move {
                    assert!(start > 2 && !falls, "start {start} falls");
                    shutdown.cancelled().await;
                    Ok(())
                }
            });
        }
        "deaf" => process.worker("deaf", std::future::pending()),
        "waiting" => {
            process.readiness().set("harbour", false, "no ship yet");
            shutdown.cancelled().await;
            return Err(Stopped { awaited: "a ship".to_owned() }.into());
        }
        other => anyhow::bail!("unknown mode {other}"),
    }
    process.run_until_shutdown().await
}

/// Works until it is told to stop, then takes a moment to finish.
async fn steady(shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    println!("drained");
    Ok(())
}

// The tests.

fn check_config_prints_and_ends() {
    let output = sample("steady")
        .arg("--check-config")
        .env("APP__WORK__ITEMS_MAX", "9")
        .env("APP__SCYLLA__PASSWORD", "s3cr3t")
        .output()
        .expect("run");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout.contains("items_max = 9"), "{stdout}");
    assert!(stdout.contains("[admin]") && !stdout.contains("s3cr3t"), "{stdout}");
}

fn the_log_is_quiet_from_the_moment_a_file_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write =
        |text: &str| std::fs::write(folder.path().join("sample.toml"), text).expect("write");
    write("[log]\nfilter = 'info'\n");
    let running = Running::start(sample("steady").arg("--config-dir").arg(folder.path()));
    write("[log]\nfilter = 7\n");
    running.signal(Signal::HUP);
    running.wait_for_log("the filter of the log stays as it is");
    write("[log]\nfilter = 'warn'\n[work]\nitems_max = 4\n");
    running.signal(Signal::HUP);
    running.wait_for_log("reading the filter of the log again");
    running.signal(Signal::TERM);
    let (code, stdout, stderr) = running.end();
    assert_eq!((code, stdout.as_str()), (Some(0), "drained\n"), "{stderr}");
    assert!(!stderr.contains("shutting down"), "{stderr}");
}

fn a_bad_configuration_is_exit_code_64() {
    let output = sample("steady").env("APP__WORK__ITEMS", "9").output().expect("run");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "sample: configuration key work.items (APP__WORK__ITEMS): unknown field `items`, \
         expected `items_max`\n"
    );
}

fn a_signal_drains_and_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let running = Running::start(&mut sample("steady"));
        assert!(running.get("/readyz").starts_with("HTTP/1.1 200"), "not ready");
        assert!(running.get("/metrics").contains("build_info{process=\"sample\""), "no build_info");
        running.signal(signal);
        let (code, stdout, stderr) = running.end();
        assert_eq!(code, Some(0), "{signal:?}: {stderr}");
        assert_eq!(stdout, "drained\n", "{signal:?}: {stderr}");
    }
}

fn the_end_of_the_parent_is_like_a_signal() {
    let mut running = Running::start(sample("steady").env("APP_PARENT_PIPE", "1"));
    drop(running.child.stdin.take());
    let (code, stdout, stderr) = running.end();
    assert_eq!((code, stdout.as_str()), (Some(0), "drained\n"), "{stderr}");
}

fn without_the_switch_stdin_means_nothing() {
    let mut running = Running::start(&mut sample("steady"));
    drop(running.child.stdin.take());
    assert!(running.get("/readyz").starts_with("HTTP/1.1 200"), "not ready");
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

fn a_failing_worker_is_exit_code_1() {
    let output = sample("failing").env("APP__LOG__FORMAT", "json").output().expect("run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "drained\n", "{stderr}");
    let last: serde_json::Value =
        serde_json::from_str(stderr.lines().last().expect("a line")).expect("JSON lines");
    assert_eq!(last["error"], "child failing: write checkpoint: disk full", "{stderr}");
    assert_eq!(last["level"], "ERROR", "{stderr}");
}

fn a_panicking_worker_is_exit_code_1() {
    let output = sample("panicking").output().expect("run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("child panicking: panicked: out of range"), "{stderr}");
}

fn a_child_that_panics_is_started_again() {
    let running = Running::start(&mut sample("shaky"));
    running.wait_for("the third start", || {
        let readyz = running.get("/readyz?verbose");
        (readyz.starts_with("HTTP/1.1 200") && readyz.contains("[+]child shaky running"))
            .then_some(())
    });
    let metrics = running.get("/metrics");
    for line in [
        "child_restarts_total{child=\"shaky\",reason=\"panic\"} 2",
        "child_up{child=\"shaky\"} 1",
        "panics_total 2",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    running.signal(Signal::TERM);
    let (code, _, stderr) = running.end();
    assert_eq!(code, Some(0), "{stderr}");
    // Each panic is logged once, with its cause and the child.
    for start in [1, 2] {
        let text = format!("start {start} falls");
        assert_eq!(stderr.matches(&text).count(), 1, "{stderr}");
    }
    assert_eq!(stderr.matches("child=\"shaky\"").count(), 4, "two panics, two restarts: {stderr}");
}

fn a_child_that_keeps_panicking_is_exit_code_1() {
    let output =
        sample("falling").env("APP__SUPERVISION__RESTARTS_MAX", "2").output().expect("run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("child shaky: fell 3 times in 60000 ms: panicked: "), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "drained\n", "{stderr}");
}

fn asked_twice_it_still_drains() {
    let running = Running::start(&mut sample("steady"));
    running.signal(Signal::TERM);
    running.signal(Signal::TERM);
    let (code, stdout, stderr) = running.end();
    assert_eq!((code, stdout.as_str()), (Some(0), "drained\n"), "{stderr}");
}

fn a_deaf_worker_is_named() {
    let running = Running::start(&mut sample("deaf"));
    running.signal(Signal::TERM);
    let (code, _, stderr) = running.end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("children outlived the grace period: deaf"), "{stderr}");
}

fn who_waits_says_for_what_and_may_be_asked_to_end() {
    let running = Running::start(&mut sample("waiting"));
    let readyz = running.get("/readyz?verbose");
    assert!(readyz.starts_with("HTTP/1.1 503"), "{readyz}");
    assert!(readyz.contains("[-]harbour no ship yet"), "{readyz}");
    assert!(running.get("/livez").starts_with("HTTP/1.1 200"), "not alive");
    running.signal(Signal::TERM);
    let (code, _, stderr) = running.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("asked to end while waiting for a ship"), "{stderr}");
}

// What the tests need.

fn sample(mode: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.env(MODE, mode).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Variables of whoever runs the tests are not the sample's.
    for (name, _) in std::env::vars() {
        if name.starts_with("APP_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// A started process; it is killed when a test fails before its end.
struct Running {
    child: Child,
    admin: String,
    directory: TempDir,
}

impl Running {
    /// Starts it and waits until it is ready, or until it says on its log why it is not.
    fn start(command: &mut Command) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let ports = directory.path().join("ports.json");
        let log = std::fs::File::create(directory.path().join("log")).expect("log file");
        let child = command.env("APP_PORT_FILE", &ports).stderr(log).spawn().expect("start");
        let mut running = Self { child, admin: String::new(), directory };
        running.admin = running.wait_for("the admin port", || {
            let text = std::fs::read_to_string(&ports).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&text).expect("whole JSON");
            Some(ports["admin"].as_str().expect("an address").to_owned())
        });
        running.wait_for("a first state", || {
            let report = running.get("/readyz?verbose");
            (report.contains("[+]process running") || report.contains("[-]harbour")).then_some(())
        });
        running
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn wait_for_log(&self, text: &str) {
        self.wait_for(text, || {
            let log = std::fs::File::open(self.log()).ok()?;
            BufReader::new(log).lines().map_while(Result::ok).find(|line| line.contains(text))
        });
    }

    fn wait_for<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = condition() {
                return found;
            }
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            assert!(Instant::now() < deadline, "waited in vain for {what}; the log:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).expect("connect to the admin port");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
            .expect("send a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read the answer");
        answer
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for the end: exit code, standard output, log.
    fn end(mut self) -> (Option<i32>, String, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut stdout = String::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut stdout).expect("read its output");
        }
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        (status.code(), stdout, log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
