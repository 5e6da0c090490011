//! A bad configuration ends a real process soon, with one line that names the key and the reason and shows no
//! secret. Every key is tried in each program's own tests; here is a sample of all kinds, and what takes a
//! process: files and ports.

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use harness::{binaries, configured};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);
const CANARY: &str = "canary-5a1c";
const BAD_CONFIGURATION: i32 = 64;

/// Something wrong, and what the line about it must name.
struct Case {
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    code: i32,
    named: Vec<String>,
}

fn wrong(environment: &[(&'static str, &str)], named: &[&str]) -> Case {
    Case {
        arguments: Vec::new(),
        environment: environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        code: BAD_CONFIGURATION,
        named: named.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// A folder with a file of the program.
fn in_folder(folder: &Path, name: &str, text: &str, named: &[&str]) -> anyhow::Result<Case> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    for program in configured() {
        std::fs::write(folder.join(format!("{program}.toml")), text)?;
    }
    let arguments = vec!["--config-dir".to_owned(), folder.display().to_string()];
    Ok(Case { arguments, ..wrong(&[], named) })
}

/// Runs a program and errs unless it ends as the case says.
async fn refuses(program: &str, case: &Case) -> anyhow::Result<()> {
    let mut command = binaries().await?.command(program);
    command.args(&case.arguments).env_clear().envs(case.environment.iter().cloned());
    let started = Instant::now();
    let output = tokio::time::timeout(SOON, command.kill_on_drop(true).output()).await;
    let output = output.with_context(|| format!("{program} did not end: {:?}", case.named))??;
    let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let said = format!("{program} after {:?}: {}: {out}{err}", started.elapsed(), output.status);
    ensure!(output.status.code() == Some(case.code), "not {}: {said}", case.code);
    let lines: Vec<&str> = err.lines().filter(|line| !line.contains(" INFO ")).collect();
    ensure!(out.is_empty() && lines.len() == 1, "not one line: {said}");
    for named in &case.named {
        ensure!(lines[0].contains(named), "{named} is not named: {said}");
    }
    ensure!(!err.contains(CANARY) && !err.contains("7744221100"), "shows a secret: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_one_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let secret = path("secret");
    std::fs::write(&secret, CANARY)?;
    std::fs::write(path("empty"), "\n")?;
    let (file, user) = ("APP__SCYLLA__PASSWORD_FILE", ("APP__SCYLLA__USERNAME", "somebody"));
    let in_folder = |name, text: &str, named: &[&str]| in_folder(folder.path(), name, text, named);
    let cases = [
        wrong(&[("APP__SCYLLA__PASWORD", CANARY)], &["scylla.pasword", "unknown field"]),
        wrong(&[("APP__SCYLLA__TLS", "maybe")], &["APP__SCYLLA__TLS", "true or false"]),
        wrong(&[("APP__LOG__FILTER", "info,=loud=")], &["log.filter", "APP__LOG__FILTER"]),
        wrong(&[("SCYLLA_NODES", "here:there")], &["scylla.nodes", "host:port"]),
        wrong(&[("METRICS_PORT", "70000")], &["METRICS_PORT", "not a port"]),
        wrong(&[("APP__SCYLLA__REQUEST_TIMEOUT_MS", "0")], &["scylla.request_timeout_ms", "not 0"]),
        wrong(&[("APP__SCYLLA__PASSWORD", CANARY)], &["scylla.password", "scylla.username"]),
        wrong(&[("APP__SCYLLA__TLS", "true")], &["scylla.tls_ca_file"]),
        wrong(
            &[("APP__SCYLLA__TLS", "true"), ("APP__SCYLLA__TLS_CA_FILE", "/nowhere")],
            &["scylla.tls_ca_file", "No such file"],
        ),
        wrong(&[user, (file, "/nowhere")], &["scylla.password_file", "No such file"]),
        wrong(&[user, (file, path(".").as_str())], &["scylla.password_file", "Is a directory"]),
        wrong(&[user, (file, path("empty").as_str())], &["scylla.password_file", "is empty"]),
        wrong(
            &[user, (file, secret.as_str()), ("APP__SCYLLA__PASSWORD", CANARY)],
            &["scylla.password_file", "scylla.password"],
        ),
        wrong(&[("APP__SCYLLA__TLS_FILE", secret.as_str())], &["APP__SCYLLA__TLS_FILE"]),
        wrong(
            &[("APP__LOG__FORMAT_FILE", secret.as_str())],
            &["log.format", "APP__LOG__FORMAT_FILE"],
        ),
        wrong(&[("APP__LOG__FORMAT_FILE", "/nowhere")], &["APP__LOG__FORMAT_FILE", "No such file"]),
        in_folder("text", "[scylla]\npassword = 7744221100", &["scylla.password", ".toml"])?,
        in_folder("list", "[scylla]\npassword = [\"canary-5a1c\"]", &["scylla.password", ".toml"])?,
        in_folder("open", "[scylla]\npassword = \"canary-5a1c\n", &[".toml: line 2"])?,
        in_folder("twice", "[scylla]\npassword = \"canary-5a1c\"\npassword = 1\n", &["line 3"])?,
        Case { arguments: vec!["--config-dir=/nowhere".into()], ..wrong(&[], &["/nowhere"]) },
    ];
    for program in configured() {
        try_join_all(cases.iter().map(|case| refuses(program, case))).await?;
    }
    // What is in such a file is found when it is used, by who connects.
    let content = Case {
        code: 1,
        ..wrong(
            &[
                ("APP__SCYLLA__TLS", "true"),
                ("APP__SCYLLA__TLS_CA_FILE", secret.as_str()),
                ("APP__ADMIN__LISTEN", "127.0.0.1:0"),
                ("APP__HTTP__LISTEN", "127.0.0.1:0"),
            ],
            &["scylla.tls_ca_file", "holds no certificate"],
        )
    };
    refuses("command-api", &content).await?;
    refuses("query-api", &content).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_at_the_start() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let at = taken.local_addr()?.to_string();
    // Nothing answers there: what is told must not wait for the database.
    let nowhere = ("SCYLLA_NODES", format!("127.0.0.1:{}", local_stack::free_port()?));
    let admin = |listen: &str| ("APP__ADMIN__LISTEN", listen.to_owned());
    let in_use = |environment, key: &str| Case {
        arguments: Vec::new(),
        environment,
        code: 1,
        named: vec![key.to_owned(), at.clone(), "in use".to_owned()],
    };
    let opens_none = ["esctl", "dev-stack"];
    for program in configured().into_iter().filter(|program| !opens_none.contains(program)) {
        refuses(program, &in_use(vec![admin(&at), nowhere.clone()], "admin.listen")).await?;
    }
    for program in ["command-api", "query-api"] {
        let environment =
            vec![admin("127.0.0.1:0"), nowhere.clone(), ("APP__HTTP__LISTEN", at.clone())];
        refuses(program, &in_use(environment, "http.listen")).await?;
    }
    let data = tempfile::tempdir()?;
    for argument in ["--listen", "--metrics-listen", "--fault-listen"] {
        let mut listen = vec!["--data-dir".to_owned(), data.path().display().to_string()];
        for other in ["--listen", "--metrics-listen", "--fault-listen"] {
            let address = if other == argument { at.as_str() } else { "127.0.0.1:0" };
            listen.extend([other.to_owned(), address.to_owned()]);
        }
        let key = argument.trim_start_matches('-').replace('-', "_");
        let case = Case { arguments: listen, ..in_use(Vec::new(), &key) };
        refuses("embedded-scylla", &case).await?;
    }
    Ok(())
}
