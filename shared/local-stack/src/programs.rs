//! Where the programs of a stack are.

use crate::manifest::Manifest;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// The variables that cargo sets for one package's program, by their beginnings.
const ABOUT_THE_PACKAGE: [&str; 6] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "OUT_DIR"];

/// The command of the program that runs all the others by which it is the broker.
const BROKER: &str = "broker";

/// The programs of an application. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Programs {
    manifest: &'static Manifest,
    place: Place,
    config_dir: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum Place {
    /// A folder with a program per process, by its name.
    Folder(PathBuf),
    /// One program, whose first argument is the name of the process.
    One(PathBuf),
}

impl Programs {
    /// The programs beside the running one. When it runs through cargo they are built first, with
    /// the profile of the running one, so that they are never older than it.
    pub async fn find(manifest: &'static Manifest) -> anyhow::Result<Self> {
        let running = std::env::current_exe().context("find the running program")?;
        let mut folder = running.parent().context("the running program has no folder")?;
        // Tests run from a folder of their own below the programs.
        if folder.file_name().is_some_and(|name| name == "deps") {
            folder = folder.parent().context("the folder of tests has no parent")?;
        }
        if let Some(cargo) = std::env::var_os("CARGO") {
            build(Path::new(&cargo), folder, None).await?;
        }
        Self::in_folder(manifest, folder.to_owned())
    }

    /// The same programs with their test hooks, in a folder of their own beside the plain ones,
    /// which stay as they are. When the running program runs through cargo they are built first, from
    /// the sources that `lay_out` puts into the folder that it is given. What does not differ from the
    /// plain ones, dependencies above all, is not built again.
    pub async fn find_hooked(
        &self,
        lay_out: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let Place::Folder(folder) = &self.place else {
            bail!("a single program has no other one with test hooks beside it");
        };
        let profile = folder.file_name().context("the programs' folder has no name")?;
        let target = folder.parent().context("the programs' folder has no parent")?;
        let hooked = target.join("hooked");
        if let Some(cargo) = std::env::var_os("CARGO") {
            let features = self.manifest.iter().filter(|entry| entry.test_hooks);
            let features = features.map(|entry| format!("{}/test-hooks", entry.name));
            let features = features.collect::<Vec<_>>().join(",");
            let sources = hooked.join("sources");
            lay_out(&sources)?;
            let other = Hooked { sources: &sources, target, output: &hooked, features };
            build(Path::new(&cargo), folder, Some(other)).await?;
        }
        Self::in_folder(self.manifest, hooked.join(profile))
    }

    /// The running program: its first argument is the name of the process, `broker` for the broker.
    pub fn this(manifest: &'static Manifest) -> anyhow::Result<Self> {
        let running = std::env::current_exe().context("find the running program")?;
        Ok(Self::one(manifest, running))
    }

    /// The same with another program.
    pub fn one(manifest: &'static Manifest, program: PathBuf) -> Self {
        Self { manifest, place: Place::One(program), config_dir: None }
    }

    /// The processes read their configuration in this folder, not in `./config`.
    #[must_use]
    pub fn with_config(self, folder: impl Into<PathBuf>) -> Self {
        Self { config_dir: Some(folder.into()), ..self }
    }

    /// Errs when a program is missing.
    fn in_folder(manifest: &'static Manifest, folder: PathBuf) -> anyhow::Result<Self> {
        for entry in manifest.iter() {
            let path = in_folder(&folder, &entry.name);
            if !path.is_file() {
                bail!("{} is not there: build it first", path.display());
            }
        }
        Ok(Self { manifest, place: Place::Folder(folder), config_dir: None })
    }

    /// The processes that the programs are for.
    pub fn manifest(&self) -> &'static Manifest {
        self.manifest
    }

    /// A command that runs a process, its environment that of the running program.
    pub fn command(&self, name: &str) -> tokio::process::Command {
        let (program, args) = self.line(name);
        let mut command = tokio::process::Command::new(program);
        command.args(args);
        command
    }

    /// The program of a process, and its first arguments.
    pub(crate) fn line(&self, name: &str) -> (PathBuf, Vec<String>) {
        let (program, mut args) = match &self.place {
            Place::Folder(folder) => (in_folder(folder, name), Vec::new()),
            Place::One(program) => (program.clone(), vec![name.to_owned()]),
        };
        let mut configured = self.manifest.iter().filter(|entry| entry.is_configured());
        if let Some(folder) = &self.config_dir
            && configured.any(|entry| entry.name == name)
        {
            args.extend(["--config-dir".to_owned(), folder.display().to_string()]);
        }
        (program, args)
    }

    /// The same for the broker.
    pub(crate) fn broker(&self) -> (PathBuf, Vec<String>) {
        let program = match &self.place {
            Place::Folder(folder) => in_folder(folder, &self.manifest.dev().name),
            Place::One(program) => program.clone(),
        };
        (program, vec![BROKER.to_owned()])
    }
}

fn in_folder(folder: &Path, program: &str) -> PathBuf {
    folder.join(format!("{program}{}", std::env::consts::EXE_SUFFIX))
}

/// A build of the programs with their test hooks: what lies between sources and programs is shared by
/// way of `target`, and the programs do not displace the plain ones.
struct Hooked<'a> {
    sources: &'a Path,
    target: &'a Path,
    output: &'a Path,
    features: String,
}

/// Packages that are no part of the stack. The others have the same dependencies without them, which a test makes sure
/// of.
const WITHOUT_TESTS: [&str; 4] = ["--exclude", "system-tests", "--exclude", "protocol-models"];

/// Builds all programs with the profile that the folder is named after.
async fn build(cargo: &Path, folder: &Path, hooked: Option<Hooked<'_>>) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new(cargo);
    let plain = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = hooked.as_ref().map_or(plain, |hooked| hooked.sources);
    command.arg("build").arg("--workspace").current_dir(sources);
    // What cargo told this program about its own package would make build scripts of dependencies
    // run again, and with them everything that rests on them.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ABOUT_THE_PACKAGE.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    if let Some(Hooked { target, output, features, .. }) = hooked {
        command.env("CARGO_BUILD_BUILD_DIR", target).env("CARGO_TARGET_DIR", output);
        command.args(["--bins", "--features", &features]).args(WITHOUT_TESTS);
    } else if running_as_test() {
        // The same selection as the test run, so that dependencies have the same features and
        // nothing is built twice.
        command.arg("--all-targets");
    } else {
        command.arg("--bins").args(WITHOUT_TESTS);
    }
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("release") => drop(command.arg("--release")),
        Some("debug") | None => {}
        Some(profile) => drop(command.arg("--profile").arg(profile)),
    }
    let status = command.stdin(std::process::Stdio::null()).status().await.context("run cargo")?;
    if !status.success() {
        bail!("cargo could not build the programs of the stack: {status}");
    }
    Ok(())
}

fn running_as_test() -> bool {
    std::env::current_exe()
        .is_ok_and(|path| path.parent().is_some_and(|folder| folder.ends_with("deps")))
}
