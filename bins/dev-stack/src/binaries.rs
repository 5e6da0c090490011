//! Where the programs of the stack are.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// The programs that the stack starts, in the order of their folders.
const PROGRAMS: [&str; 8] = [
    "embedded-scylla",
    "dev-stack",
    "esctl",
    "command-api",
    "projection-worker",
    "outbox-relay",
    "dlq-retrier",
    "query-api",
];

/// The programs that have test hooks.
const HOOKED: [&str; 5] =
    ["command-api", "projection-worker", "outbox-relay", "dlq-retrier", "query-api"];

/// The variables that cargo sets for one package's program, by their beginnings.
const ABOUT_THE_PACKAGE: [&str; 6] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "OUT_DIR"];

/// A folder that holds all programs of the stack.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The programs beside the running one. When it runs through cargo they are built first, with
    /// the profile of the running one, so that they are never older than it.
    pub async fn find() -> anyhow::Result<Self> {
        let running = std::env::current_exe().context("find the running program")?;
        let mut folder = running.parent().context("the running program has no folder")?;
        // Tests run from a folder of their own below the programs.
        if folder.file_name().is_some_and(|name| name == "deps") {
            folder = folder.parent().context("the folder of tests has no parent")?;
        }
        let found = Self { folder: folder.to_owned() };
        if let Some(cargo) = std::env::var_os("CARGO") {
            build(Path::new(&cargo), folder, None).await?;
        }
        found.check()
    }

    /// The same programs with their test hooks, in a folder of their own beside the plain ones,
    /// which stay as they are. When the running program runs through cargo they are built first, from
    /// the sources that `lay_out` puts into the folder that it is given. What does not differ from the
    /// plain ones, dependencies above all, is not built again.
    pub async fn find_hooked(
        &self,
        lay_out: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let profile = self.folder.file_name().context("the programs' folder has no name")?;
        let target = self.folder.parent().context("the programs' folder has no parent")?;
        let hooked = target.join("hooked");
        if let Some(cargo) = std::env::var_os("CARGO") {
            let sources = hooked.join("sources");
            lay_out(&sources)?;
            let hooked = Hooked { sources: &sources, build: target, output: &hooked };
            build(Path::new(&cargo), &self.folder, Some(hooked)).await?;
        }
        Self { folder: hooked.join(profile) }.check()
    }

    /// Errs when a program is missing.
    fn check(self) -> anyhow::Result<Self> {
        for program in PROGRAMS {
            if !self.path(program).is_file() {
                bail!("{} is not there: build it first", self.path(program).display());
            }
        }
        Ok(self)
    }

    /// The path of a program.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(format!("{program}{}", std::env::consts::EXE_SUFFIX))
    }
}

/// Packages that are no part of the stack. The others have the same dependencies without them, which a test makes sure
/// of.
const WITHOUT_TESTS: [&str; 4] = ["--exclude", "system-tests", "--exclude", "protocol-models"];

/// The folders of a build with test hooks.
struct Hooked<'a> {
    sources: &'a Path,
    /// What lies between sources and programs; that of the plain build, so that both share it.
    build: &'a Path,
    /// Where the programs come, so that they do not displace the plain ones.
    output: &'a Path,
}

/// Builds all programs with the profile that the folder is named after; with their test hooks when
/// there are folders for that.
async fn build(cargo: &Path, folder: &Path, hooked: Option<Hooked<'_>>) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new(cargo);
    command.arg("build").arg("--workspace");
    let plain = Path::new(env!("CARGO_MANIFEST_DIR"));
    command.current_dir(hooked.as_ref().map_or(plain, |hooked| hooked.sources));
    // What cargo told this program about its own package would make build scripts of dependencies
    // run again, and with them everything that rests on them.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ABOUT_THE_PACKAGE.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    if let Some(Hooked { build, output, .. }) = hooked {
        command.env("CARGO_BUILD_BUILD_DIR", build).env("CARGO_TARGET_DIR", output);
        let features = HOOKED.map(|program| format!("{program}/test-hooks")).join(",");
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
