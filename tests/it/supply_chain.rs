//! What others wrote of the product: where it comes from, and on which terms. `deny.toml` says what is allowed, to `cargo deny`
//! and to this.

use anyhow::{Context, ensure};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, Licensee, ParseMode};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    /// `None`: a folder of ours.
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above")
}

/// All that Cargo.lock names, which must be as it is.
fn packages() -> anyhow::Result<Vec<Package>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let Metadata { packages } = serde_json::from_slice(&output.stdout)?;
    ensure!(packages.len() > 200, "only {} packages", packages.len());
    Ok(packages)
}

fn licensees(names: &[String]) -> anyhow::Result<Vec<Licensee>> {
    names.iter().map(|name| Licensee::parse(name).with_context(|| name.clone())).collect()
}

fn is_allowed(by: &[Licensee], required: &LicenseReq) -> bool {
    by.iter().any(|licensee| licensee.satisfies(required))
}

#[test]
fn everything_is_licensed_on_terms_that_we_keep() -> anyhow::Result<()> {
    let deny = std::fs::read_to_string(root().join("deny.toml"))?;
    let Deny { licenses } = toml::from_str(&deny)?;
    let allowed = licensees(&licenses.allow)?;
    let mut excused = BTreeSet::new();
    for Package { name, license, .. } in packages()? {
        let license = license.with_context(|| format!("{name} has no licence"))?;
        let terms = Expression::parse_mode(&license, ParseMode::LAX)
            .with_context(|| format!("{name}: {license}"))?;
        if terms.evaluate(|required| is_allowed(&allowed, required)) {
            continue;
        }
        let exception = licenses.exceptions.iter().find(|exception| exception.name == name);
        let exception = exception.with_context(|| format!("{name} is licensed as {license}"))?;
        let also = licensees(&exception.allow)?;
        let is_excused =
            |required: &LicenseReq| is_allowed(&allowed, required) || is_allowed(&also, required);
        ensure!(terms.evaluate(is_excused), "{name} is licensed as {license}");
        excused.insert(name);
    }
    for Exception { name, .. } in &licenses.exceptions {
        ensure!(excused.contains(name), "{name} needs no exception in deny.toml any more");
    }
    Ok(())
}

#[test]
fn everything_comes_from_the_registry_or_from_here() -> anyhow::Result<()> {
    let mut sources = BTreeSet::new();
    for Package { name, source, manifest_path, .. } in packages()? {
        match source {
            Some(source) => {
                ensure!(source.starts_with("registry+"), "{name} comes from {source}");
                sources.insert(source);
            }
            None => ensure!(manifest_path.starts_with(root()), "{name} is elsewhere"),
        }
    }
    ensure!(sources.len() == 1, "more than one registry: {sources:?}");
    Ok(())
}

/// Of our own code.
#[test]
fn nothing_is_unsafe() -> anyhow::Result<()> {
    let mut folders: Vec<_> = ["bins", "shared", "tests"].map(|name| root().join(name)).into();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                seen += 1;
                let text = std::fs::read_to_string(&path)?;
                let words = [concat!("un", "safe {"), concat!("un", "safe_code)")];
                let found = words.iter().find(|word| text.contains(**word));
                ensure!(found.is_none(), "{}: {found:?}", path.display());
            }
        }
    }
    ensure!(seen > 300, "only {seen} files were looked at");
    Ok(())
}

/// Whoever builds for others takes the versions that were tested.
#[test]
fn builds_keep_to_the_lock_file() -> anyhow::Result<()> {
    let mut asked = 0;
    for file in [".ci/run", "deploy/Dockerfile"] {
        let text = std::fs::read_to_string(root().join(file))?;
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let builds =
                ["cargo test", "cargo run", "cargo auditable build", "cargo install", "chef cook"];
            if builds.iter().any(|command| line.contains(command)) {
                asked += 1;
                ensure!(line.contains("--locked"), "{file}: {line}");
            }
        }
    }
    ensure!(asked >= 6, "only {asked} lines were looked at");
    Ok(())
}
