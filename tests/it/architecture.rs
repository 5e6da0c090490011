//! Which crate may depend on which. A new edge is a decision: it goes into this table.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crate, and what it may name of ours.
const ALLOWED: &[(&str, &[&str])] = &[
    ("kernel", &[]),
    ("domain", &["kernel"]),
    ("reloaded", &[]),
    ("runtime", &["reloaded"]),
    ("database", &["reloaded", "runtime"]),
    ("http-server", &["runtime"]),
    ("leases", &["database", "runtime"]),
    ("event-store", &["database", "kernel", "leases", "runtime"]),
    ("cdc", &["database", "event-store", "kernel", "leases", "runtime"]),
    ("dead-letter", &["cdc", "database", "event-store", "kernel", "leases", "runtime"]),
    ("projection", &["cdc", "database", "event-store", "kernel", "leases", "runtime"]),
    ("messaging", &["cdc", "kernel", "reloaded", "runtime"]),
    ("application", &["kernel", "projection"]),
    ("http-edge", &["event-store", "http-server", "kernel", "runtime"]),
    // Everything that a process is made of; nothing of the shop.
    (
        "processes",
        &[
            "application",
            "cdc",
            "database",
            "dead-letter",
            "event-store",
            "http-edge",
            "http-server",
            "kernel",
            "leases",
            "messaging",
            "projection",
            "runtime",
        ],
    ),
    // The shop beside its aggregates.
    ("read-models", &["application", "database", "domain", "kernel", "projection"]),
    ("command-api", &["domain", "http-edge", "kernel", "processes", "read-models"]),
    ("projection-worker", &["processes", "read-models"]),
    ("outbox-relay", &["processes", "read-models"]),
    ("dlq-retrier", &["processes", "read-models"]),
    (
        "query-api",
        &["database", "domain", "http-edge", "kernel", "processes", "projection", "read-models"],
    ),
    ("esctl", &["processes", "read-models"]),
    ("embedded-scylla", &["reloaded"]),
    // The workers are its children, not its crates.
    ("local-stack", &["database", "kernel", "messaging", "runtime"]),
    ("dev-stack", &["database", "domain", "local-stack", "messaging", "runtime"]),
    (
        "bank",
        &[
            "application",
            "database",
            "embedded-scylla",
            "http-edge",
            "kernel",
            "local-stack",
            "processes",
            "projection",
        ],
    ),
    ("system-tests", &["dev-stack", "domain", "event-store", "kernel", "local-stack", "messaging"]),
    // Models of the protocols, not of the code.
    ("protocol-models", &[]),
];

/// Tests may link the embedded engine into their own process, and fill its tables with what they look for.
fn may_in_tests(name: &str, on: &str) -> bool {
    let of_tables = ["cdc", "database", "domain", "event-store", "kernel", "leases", "runtime"];
    match name {
        _ if on == "embedded-scylla" => true,
        "esctl" | "read-models" => of_tables.contains(&on),
        "http-edge" => on == "database",
        "query-api" => ["event-store", "http-server", "runtime"].contains(&on),
        _ => false,
    }
}

/// Heavy dependencies and the only crates that may name them.
const HEAVY: &[(&str, &[&str])] = &[
    ("rdkafka", &["messaging"]),
    ("tansu-broker", &["local-stack"]),
    ("tansu-storage", &["local-stack"]),
    ("libsql", &["local-stack"]),
    ("fjall", &["embedded-scylla"]),
    ("scylla-cdc", &["cdc", "embedded-scylla", "system-tests"]),
    ("stateright", &["protocol-models"]),
    ("opentelemetry-otlp", &["runtime"]),
    // Both ends of an encrypted connection, and nobody in between.
    ("rustls", &["database", "embedded-scylla", "runtime"]),
    ("tokio-rustls", &["embedded-scylla", "runtime"]),
    ("rcgen", &["database", "embedded-scylla", "messaging", "runtime", "system-tests"]),
    ("axum", &["command-api", "embedded-scylla", "http-edge", "http-server", "query-api"]),
    ("tower-http", &["http-edge"]),
    ("governor", &["http-server"]),
];

/// Workers, and what none of their dependencies may bring along.
const WITHOUT: &[(&str, &[&str])] = &[
    ("projection-worker", &["axum", "tower-http", "governor", "rdkafka"]),
    ("outbox-relay", &["axum", "tower-http", "governor"]),
    ("dlq-retrier", &["axum", "tower-http", "governor"]),
];

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    let packages = metadata["packages"].as_array().expect("packages");
    assert_eq!(packages.len(), ALLOWED.len(), "every package has a line in the table");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            let for_tests = dependency["kind"] == "dev";
            let ours = allowed.contains_key(on);
            let is_allowed = may.contains(&on) || for_tests && may_in_tests(name, on);
            if ours && !is_allowed {
                wrong.push(format!("{name} must not depend on {on}"));
            }
            if HEAVY.iter().any(|(heavy, by)| *heavy == on && !by.contains(&name)) {
                wrong.push(format!("{name} must not name {on}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_worker_builds_no_http_server_and_only_who_publishes_builds_a_producer() {
    let mut wrong = Vec::new();
    for (worker, without) in WITHOUT {
        let built = tree("{p}", &["--edges", "normal", "--package", worker]);
        let names: BTreeSet<_> = built.iter().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains("tokio"), "{worker}: {names:?}");
        let there = without.iter().filter(|name| names.contains(*name));
        wrong.extend(there.map(|name| format!("{worker} builds {name}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where what is shipped is made of.
const SHIPPED: [&str; 3] = ["shared", "bins", "examples"];

/// Seeded defects are changes to a copy of the sources (`tests/zoo/`): what is shipped has neither the
/// branch nor the word, in any sense.
#[test]
fn no_shipped_crate_knows_of_seeded_defects() -> std::io::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above");
    let mut files = Vec::new();
    for folder in SHIPPED.map(|name| workspace.join(name)) {
        if folder.exists() {
            list(&folder, &mut files)?;
        }
    }
    assert!(files.len() > 200, "{files:?}");
    let mut knowing = Vec::new();
    for file in files {
        let content = std::fs::read(&file)?;
        let text = String::from_utf8_lossy(&content).to_lowercase();
        if text.contains("defect") {
            knowing.push(file);
        }
    }
    assert!(knowing.is_empty(), "{knowing:#?}");
    Ok(())
}

/// A module that no file names is not compiled, and statements that none includes are not executed: without a word.
#[test]
fn every_source_file_is_named_by_another_of_its_crate() -> std::io::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above");
    let mut files = Vec::new();
    for folder in SHIPPED {
        list(&workspace.join(folder), &mut files)?;
    }
    let named_in = |sources: &[PathBuf], words: &str| {
        let mut texts = sources.iter().filter_map(|source| std::fs::read_to_string(source).ok());
        texts.any(|text| text.contains(words))
    };
    let mut left_out = Vec::new();
    for file in &files {
        let folder = file.parent().expect("a file is in a folder");
        let (Some(name), Some(extension)) = (file.file_stem(), file.extension()) else { continue };
        let in_src = file.components().any(|part| part.as_os_str() == "src");
        let is_named = match extension.to_str() {
            Some("rs") if in_src && name != "lib" && name != "main" => {
                // `order/mod.rs` is named where `order.rs` would be.
                let place = if name == "mod" { folder.to_owned() } else { folder.join(name) };
                let above = place.parent().expect("a module is in a folder");
                let name = place.file_name().expect("a module has a name").to_string_lossy();
                let sources = ["mod.rs", "lib.rs", "main.rs"].map(|source| above.join(source));
                let sources = [&sources[..], &[above.with_extension("rs")]].concat();
                let names = [format!("mod {name};"), format!("/{name}.rs\"]")];
                names.iter().any(|name| named_in(&sources, name))
            }
            Some("cql") if in_src || folder.ends_with("cql") => {
                let root = file.ancestors().find(|above| above.join("Cargo.toml").exists());
                let mut sources = Vec::new();
                list(&root.expect("a file is in a crate").join("src"), &mut sources)?;
                named_in(&sources, &format!("{}.cql\"", name.to_string_lossy()))
            }
            _ => true,
        };
        if !is_named {
            left_out.push(file);
        }
    }
    assert!(left_out.is_empty(), "nobody names {left_out:#?}");
    Ok(())
}

/// Adds every file below a folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The dependencies of a selection of packages, each with the features that it is built with. Some are
/// built twice: for programs, and for what runs while they are built.
fn built_with(selection: &[&str]) -> BTreeSet<String> {
    tree("{p} with {f}", &[&["--edges", "normal,build"], selection].concat())
}

/// What `cargo tree` prints, each line once.
fn tree(format: &str, selection: &[&str]) -> BTreeSet<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--offline", "--locked", "--prefix", "none", "--format", format])
        .args(selection)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// `cargo run` builds the stack, and the stack builds the others: what both need is built once.
#[test]
fn every_selection_of_packages_builds_dependencies_alike() {
    let all = built_with(&["--workspace"]);
    assert!(all.len() > 200, "{all:?}");
    for selection in [
        &["--package", "dev-stack"][..],
        &["--package", "system-tests"],
        &["--workspace", "--exclude", "system-tests", "--exclude", "protocol-models"],
    ] {
        let alone = built_with(selection);
        let twice: Vec<_> = alone.difference(&all).collect();
        assert!(twice.is_empty(), "built again for {selection:?}: {twice:#?}");
    }
}
