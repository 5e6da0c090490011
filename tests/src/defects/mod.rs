//! Seeded defects: each is a file of `tests/zoo/` that says what it breaks, and which changes to the
//! sources make it.
//!
//! The changes are made in a copy of the workspace, never in the workspace itself: all of them in one
//! copy, so that one build has every defect. Each stays off until `TEST_DEFECT` in the environment of
//! a process names it (several names are separated by commas).

mod change;
mod copy;

use self::change::Change;
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What a change asks whether its defect is on.
const ASKED: &str = "runtime::defects::is_on(";

/// The code that answers, and the file that it is added to.
const SWITCH: (&str, &str) = ("shared/runtime/src/lib.rs", include_str!("../../zoo/switch.rs"));

/// A seeded defect.
#[derive(Debug)]
pub struct Defect {
    /// As `TEST_DEFECT` names it; also the name of its file.
    pub name: String,
    /// What the code does wrongly.
    pub broken: String,
    /// The promise of `docs/guarantees.md` that it breaks, for example `P6`.
    pub promise: String,
    changes: Vec<Change>,
}

/// A file of `tests/zoo/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    broken: String,
    promise: String,
    changes: Vec<Change>,
}

impl Defect {
    /// All of them, by name.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo");
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&folder).context("list the seeded defects")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let read = Self::read(&path);
                all.push(read.with_context(|| format!("the defect in {}", path.display()))?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The one of this name.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let all = Self::all()?;
        let found = all.into_iter().find(|defect| defect.name == name);
        found.with_context(|| format!("tests/zoo has no {name}.toml"))
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("no name")?;
        let Sheet { broken, promise, changes } = toml::from_str(&std::fs::read_to_string(path)?)?;
        let asks = changes.iter().flat_map(|change| change.put.split(ASKED).skip(1));
        let own = format!("{name:?})");
        ensure!(asks.clone().count() > 0, "no change asks {ASKED}{own}");
        for ask in asks {
            ensure!(ask.starts_with(&own), "a change asks for another defect: {ASKED}{ask}");
        }
        Ok(Self { name: name.to_owned(), broken, promise, changes })
    }
}

/// Fills a folder with a copy of the sources that has every defect. What was copied before and is still
/// the same is left alone, so that Cargo builds only what changed.
pub(crate) fn plant(folder: &Path) -> anyhow::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let changed = changed(workspace, &Defect::all()?)?;
    copy::copy(workspace, &changed, folder).context("copy the sources")
}

/// The files that the defects change, as they are then, by their paths in the workspace. Errs with every
/// change that cannot be made.
fn changed(workspace: &Path, defects: &[Defect]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut by_file: BTreeMap<&str, Vec<(&str, &Change)>> = BTreeMap::new();
    for defect in defects {
        for change in &defect.changes {
            by_file.entry(&change.file).or_default().push((&defect.name, change));
        }
    }
    by_file.entry(SWITCH.0).or_default();
    let (mut texts, mut wrong) = (BTreeMap::new(), Vec::new());
    for (file, changes) in by_file {
        let names: Vec<_> = changes.iter().map(|(name, _)| *name).collect();
        let text = std::fs::read_to_string(workspace.join(file))
            .with_context(|| format!("read {file}, which {names:?} change"))?;
        match change::make(file, &text, &changes) {
            Ok(mut text) => {
                if file == SWITCH.0 {
                    text.push_str(SWITCH.1);
                }
                texts.insert(file.to_owned(), text);
            }
            Err(problems) => wrong.extend(problems),
        }
    }
    ensure!(wrong.is_empty(), "seeded defects do not fit the sources:\n{}", wrong.join("\n"));
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_can_be_made_in_the_sources_as_they_are() -> anyhow::Result<()> {
        let defects = Defect::all()?;
        assert!(defects.len() > 10, "{defects:?}");
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let texts = changed(&workspace, &defects)?;
        for Defect { name, changes, .. } in &defects {
            let asks = format!("{ASKED}{name:?})");
            let is_in = |change: &Change| texts[&change.file].contains(&asks);
            assert!(changes.iter().any(is_in), "{name} is in none of its files");
        }
        Ok(())
    }
}
