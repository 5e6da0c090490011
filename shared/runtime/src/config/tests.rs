use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use tempfile::TempDir;

use super::*;

const DEFAULTS: &str = r#"
[admin]
listen = "127.0.0.1:9999"

[kafka]
brokers = ["127.0.0.1:9092"]

[work]
parallel_max = 4
ratio = 0.5
verbose = false
label = "none"
slots = [1, 2]
"#;

/// What these tests look at of a section that all processes have.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Scylla {
    nodes: Vec<String>,
    consistency: String,
    password: Secret,
    password_file: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sample {
    scylla: Scylla,
    kafka: Kafka,
    work: Work,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Kafka {
    brokers: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Work {
    parallel_max: u32,
    ratio: f64,
    verbose: bool,
    label: String,
    slots: Vec<u32>,
}

impl Configuration for Sample {}

/// A process without anything of its own, but for what every process has.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {
    scylla: Scylla,
}

impl Configuration for Nothing {}

fn sources(directory: Option<&Path>, environment: &[(&str, &str)]) -> Sources {
    Sources {
        directory: directory.map(Path::to_owned),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn loaded(directory: Option<&Path>, environment: &[(&str, &str)]) -> Loaded<Sample> {
    load("sample", DEFAULTS, &sources(directory, environment)).expect("configuration is good")
}

/// Loads with the given environment and expects this refusal.
fn check_refused(environment: &[(&str, &str)], expected: &str) {
    let error = load::<Sample>("sample", DEFAULTS, &sources(None, environment))
        .expect_err("configuration is bad");
    assert_eq!(error.to_string(), expected, "for {environment:?}");
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("write a file");
    }
    directory
}

#[test]
fn defaults_are_complete() {
    let Loaded { shell, config, .. } = loaded(None, &[]);
    assert_eq!(shell.admin.listen.to_string(), "127.0.0.1:9999");
    assert_eq!(shell.log.format, LogFormat::Text);
    assert_eq!(config.scylla.nodes, ["127.0.0.1:9042"]);
    assert_eq!(config.scylla.consistency, "quorum");
    assert_eq!(config.work.parallel_max, 4);
}

#[test]
fn later_layers_win_key_by_key() {
    let files = directory(&[
        ("default.toml", "[shutdown]\ngrace_ms = 1\n[work]\nparallel_max = 5\nlabel = 'default'"),
        ("sample.toml", "[work]\nlabel = 'own'\nratio = 2"),
    ]);
    let environment = [("APP__WORK__RATIO", "0.25")];
    let Loaded { shell, config, .. } = loaded(Some(files.path()), &environment);
    assert_eq!(shell.shutdown.grace_ms, 1);
    assert_eq!(config.work.parallel_max, 5);
    assert_eq!(config.work.label, "own");
    assert_eq!(config.work.ratio, 0.25);
    assert!(!config.work.verbose);
}

#[test]
fn a_variable_takes_the_type_of_what_it_replaces() {
    let work = loaded(
        None,
        &[
            ("APP__WORK__PARALLEL_MAX", "7"),
            ("APP__WORK__VERBOSE", "true"),
            ("APP__WORK__LABEL", "12"),
            ("APP__WORK__SLOTS", "3, 4,5"),
            ("APP__SCYLLA__NODES", "a:1,b:2"),
            ("APP__LOG__FORMAT", "json"),
        ],
    );
    assert_eq!(work.config.work.parallel_max, 7);
    assert!(work.config.work.verbose);
    assert_eq!(work.config.work.label, "12");
    assert_eq!(work.config.work.slots, [3, 4, 5]);
    assert_eq!(work.config.scylla.nodes, ["a:1", "b:2"]);
    assert_eq!(work.shell.log.format, LogFormat::Json);
}

#[test]
fn aliases_stand_for_their_keys_and_yield_to_the_exact_names() {
    let environment = [
        ("SCYLLA_NODES", "a:1,b:2"),
        ("REDPANDA_BROKERS", "c:3"),
        ("METRICS_PORT", "9090"),
        ("RUST_LOG", "debug"),
        ("UNRELATED", "x"),
    ];
    let aliased = loaded(None, &environment);
    assert_eq!(aliased.config.scylla.nodes, ["a:1", "b:2"]);
    assert_eq!(aliased.config.kafka.brokers, ["c:3"]);
    assert_eq!(aliased.shell.admin.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(aliased.shell.log.filter, "debug");

    let exact = loaded(
        None,
        &[("METRICS_PORT", "9090"), ("APP__ADMIN__LISTEN", "0.0.0.0:1"), ("RUST_LOG", "")],
    );
    assert_eq!(exact.shell.admin.listen.to_string(), "0.0.0.0:1");
    assert!(exact.shell.log.filter.starts_with("info,"), "{}", exact.shell.log.filter);
}

#[test]
fn bad_variables_are_refused_with_their_name_and_the_reason() {
    check_refused(
        &[("APP__WORK__PARALLEL_MAX", "many")],
        "configuration key APP__WORK__PARALLEL_MAX (the environment): \"many\" is not a number",
    );
    check_refused(
        &[("APP__WORK__VERBOSE", "yes")],
        "configuration key APP__WORK__VERBOSE (the environment): \"yes\" is not true or false",
    );
    check_refused(
        &[("APP__WORK__SLOTS", "1,x")],
        "configuration key APP__WORK__SLOTS (the environment): \"x\" is not a number",
    );
    check_refused(
        &[("APP__WORK", "x")],
        "configuration key APP__WORK (the environment): names a section, not a key",
    );
    check_refused(
        &[("APP__", "x")],
        "configuration key APP__ (the environment): is not of the form APP__SECTION__KEY",
    );
    check_refused(
        &[("METRICS_PORT", "70000")],
        "configuration key METRICS_PORT (the environment): \"70000\" is not a port",
    );
}

#[test]
fn values_are_checked_against_the_process_own_types() {
    check_refused(
        &[("APP__WORK__PARALLEL_MAX", "-1")],
        "configuration key work.parallel_max (APP__WORK__PARALLEL_MAX): \
         invalid value: integer `-1`, expected u32",
    );
    check_refused(
        &[("APP__WORK__PARALLEL_MAX", "1.5")],
        "configuration key work.parallel_max (APP__WORK__PARALLEL_MAX): \
         invalid type: floating point `1.5`, expected u32",
    );
    check_refused(
        &[("APP__ADMIN__LISTEN", "here")],
        "configuration key admin.listen (APP__ADMIN__LISTEN): invalid socket address syntax",
    );
    check_refused(
        &[("APP__LOG__FORMAT", "xml")],
        "configuration key log.format (APP__LOG__FORMAT): \
         unknown variant `xml`, expected `text` or `json`",
    );
}

#[test]
fn a_pause_of_nothing_in_supervision_or_health_is_refused() {
    for (section, key) in [
        ("supervision", "window_ms"),
        ("supervision", "backoff_initial_ms"),
        ("supervision", "backoff_max_ms"),
        ("health", "interval_ms"),
        ("health", "timeout_ms"),
    ] {
        let variable = format!("APP__{}__{}", section.to_uppercase(), key.to_uppercase());
        check_refused(
            &[(&variable, "0")],
            &format!(
                "configuration key {section}.{key} ({variable}): \
                 invalid value: integer `0`, expected a nonzero u64"
            ),
        );
    }
}

#[test]
fn unknown_variables_are_refused() {
    check_refused(
        &[("APP__WORK__PARALEL_MAX", "5")],
        "configuration key work.paralel_max (APP__WORK__PARALEL_MAX): unknown field `paralel_max`, \
         expected one of `parallel_max`, `ratio`, `verbose`, `label`, `slots`",
    );
    check_refused(
        &[("APP__ADMIN__PORT", "5")],
        "configuration key admin.port (APP__ADMIN__PORT): unknown field `port`, \
         expected one of `listen`, `tls_cert_file`, `tls_key_file`, `connections_max`, \
         `client_timeout_ms`",
    );
    check_refused(
        &[("APP__NOTHING__KEY", "x")],
        "configuration key nothing (APP__NOTHING__KEY): unknown field `nothing`, \
         expected one of `scylla`, `kafka`, `work`",
    );
}

#[test]
fn a_bad_file_is_named() {
    for (text, expected) in [
        ("[work]\nparallel_max = '5'", "invalid type: string \"5\", expected u32"),
        ("[work]\nparalel_max = 5", "unknown field `paralel_max`"),
        ("[wrok]\nparallel_max = 5", "unknown field `wrok`"),
        ("[work\n", "line 1, column 6: unclosed table"),
    ] {
        let files = directory(&[("sample.toml", text)]);
        let error = load::<Sample>("sample", DEFAULTS, &sources(Some(files.path()), &[]))
            .expect_err("file is bad")
            .to_string();
        assert!(error.contains(expected), "{text:?}: {expected:?} is not in {error:?}");
        assert!(error.contains("sample.toml"), "{text:?}: the file is not named in {error:?}");
        assert!(!error.contains('\n'), "{text:?}: more than one line: {error:?}");
    }
}

#[test]
fn a_directory_that_was_named_must_exist() {
    let error = Sources::of_process(Some(Path::new("/nowhere/at/all"))).expect_err("not there");
    assert_eq!(error.to_string(), "configuration directory /nowhere/at/all does not exist");
}

#[test]
fn secrets_come_from_files_and_are_hidden() {
    let files = directory(&[("label", "s3cr3t\n")]);
    let path = files.path().join("label");
    let path = path.to_str().expect("temporary paths are UTF-8");
    let from_file = loaded(None, &[("APP__WORK__LABEL_FILE", path)]);
    assert_eq!(from_file.config.work.label, "s3cr3t");
    let loaded = loaded(None, &[("APP__SCYLLA__PASSWORD", "s3cr3t")]);
    assert_eq!(loaded.config.scylla.password.expose(), "s3cr3t");
    let printed = loaded.to_toml().expect("printable");
    assert!(printed.contains("password = \"********\""), "{printed}");
    for shown in [printed, format!("{loaded:?}")] {
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
    check_refused(
        &[("APP__WORK__LABEL_FILE", "/nowhere")],
        "configuration key APP__WORK__LABEL_FILE (the environment): \
         cannot read /nowhere: No such file or directory (os error 2)",
    );
}

#[test]
fn the_file_of_the_database_password_is_a_key_of_its_own() {
    let loaded = loaded(None, &[("APP__SCYLLA__PASSWORD_FILE", "/nowhere")]);
    assert_eq!(loaded.config.scylla.password_file, "/nowhere");
    assert!(loaded.config.scylla.password.is_empty());
}

#[test]
fn what_is_printed_can_be_read_again() {
    let printed = loaded(None, &[]).to_toml().expect("printable");
    let files = directory(&[("sample.toml", &printed)]);
    let again = loaded(Some(files.path()), &[]).to_toml().expect("printable");
    // But for the layer, which is the file now.
    let values = |text: &str| {
        let lines = text.lines().map(|line| line.split(" # ").next().unwrap_or_default());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&printed));
}
