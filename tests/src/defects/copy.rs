//! A copy of the workspace's sources in which some files are different.
//!
//! Cargo names what it builds by the path in the workspace and looks at the times of files, so with one
//! build folder a crate that is the same in both is built once. For that a copied file has the time
//! of its original, and a changed one the time of its change.

use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Which files and folders of the workspace a build reads, as its lines with `!`.
const READ_BY_A_BUILD: &str = ".dockerignore";

/// Makes `copy` hold what a build of the workspace reads, with the texts of `changed` in the place of
/// the files at these paths. Files that are gone from the workspace go from the copy too.
pub(super) fn copy(
    workspace: &Path,
    changed: &BTreeMap<String, String>,
    copy: &Path,
) -> anyhow::Result<()> {
    let mut files = BTreeSet::new();
    for name in read_by_a_build(workspace)? {
        list(workspace, Path::new(&name), &mut files)?;
    }
    for file in changed.keys() {
        ensure!(files.contains(Path::new(file)), "{file} is changed, but no build reads it");
    }
    fs::create_dir_all(copy)?;
    let beside = copy.parent().context("the copy has no folder")?;
    for file in &files {
        let changed = file.to_str().and_then(|file| changed.get(file));
        bring(&workspace.join(file), changed.map(String::as_bytes), &copy.join(file), beside)
            .with_context(|| format!("copy {}", file.display()))?;
    }
    let mut there = BTreeSet::new();
    list(copy, Path::new(""), &mut there)?;
    for gone in there.difference(&files) {
        fs::remove_file(copy.join(gone)).with_context(|| format!("remove {}", gone.display()))?;
    }
    Ok(())
}

/// Cargo's own configuration is not among them: it finds that of the workspace, which is above.
fn read_by_a_build(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(workspace.join(READ_BY_A_BUILD)).context(READ_BY_A_BUILD)?;
    let names = text.lines().filter_map(|line| line.strip_prefix('!'));
    Ok(names.filter(|name| !name.starts_with('.')).map(str::to_owned).collect())
}

/// Adds the files at and below a path, by their paths below the root.
fn list(root: &Path, path: &Path, files: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let full = root.join(path);
    if full.is_file() {
        files.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(&full).with_context(|| format!("list {}", full.display()))? {
        list(root, &path.join(entry?.file_name()), files)?;
    }
    Ok(())
}

/// Makes `copy` what `original` is, or the changed content, unless it is already. What is unfinished is
/// in the folder `beside`.
fn bring(
    original: &Path,
    changed: Option<&[u8]>,
    copy: &Path,
    beside: &Path,
) -> anyhow::Result<()> {
    let read;
    let content = match changed {
        Some(changed) => changed,
        None => {
            read = fs::read(original)?;
            &read
        }
    };
    let before = match fs::read(copy) {
        Ok(before) if before == content => return Ok(()),
        Ok(_) => Some(fs::metadata(copy)?.modified()?),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    fs::create_dir_all(copy.parent().context("it has no folder")?)?;
    // In one step, since other tests may be building from the copy.
    let mut new = tempfile::NamedTempFile::new_in(beside)?;
    new.write_all(content)?;
    let from = fs::metadata(original)?.modified()?;
    // A time that is not later than before would hide the new content from Cargo.
    let keeps_its_time = changed.is_none() && before.is_none_or(|before| before < from);
    let modified = if keeps_its_time { from } else { SystemTime::now() };
    new.as_file().set_modified(modified)?;
    new.persist(copy)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A workspace of two files, and where its copy is.
    fn workspace() -> anyhow::Result<(tempfile::TempDir, PathBuf, PathBuf)> {
        let folder = tempfile::tempdir()?;
        let (workspace, copy) = (folder.path().join("workspace"), folder.path().join("copy"));
        fs::create_dir_all(workspace.join("shared/a"))?;
        fs::write(workspace.join(READ_BY_A_BUILD), "*\n!.cargo\n!shared\n")?;
        write(&workspace.join("shared/a/lib.rs"), "a", 100)?;
        write(&workspace.join("shared/b.rs"), "b", 100)?;
        write(&workspace.join("notes.md"), "no source", 100)?;
        Ok((folder, workspace, copy))
    }

    fn write(path: &Path, text: &str, modified_s: u64) -> anyhow::Result<()> {
        fs::write(path, text)?;
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified_s);
        Ok(fs::File::options().write(true).open(path)?.set_modified(modified)?)
    }

    /// The text of a file, and the second that it is from.
    fn read(path: PathBuf) -> anyhow::Result<(String, u64)> {
        let modified = fs::metadata(&path)?.modified()?;
        let since = modified.duration_since(SystemTime::UNIX_EPOCH)?;
        Ok((fs::read_to_string(path)?, since.as_secs()))
    }

    #[test]
    fn a_build_reads_every_member_of_the_workspace() -> anyhow::Result<()> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
        let manifest = fs::read_to_string(workspace.join("Cargo.toml"))?;
        let manifest: toml::Table = toml::from_str(&manifest)?;
        let members = manifest["workspace"]["members"].as_array().context("no members")?;
        assert!(members.len() > 10, "{members:?}");
        let read = read_by_a_build(workspace)?;
        for member in members {
            let member = Path::new(member.as_str().context("not a text")?);
            let is_read = read.iter().any(|name| member.starts_with(name));
            assert!(is_read, "{READ_BY_A_BUILD} leaves out {}", member.display());
        }
        Ok(())
    }

    #[test]
    fn a_file_keeps_its_time_unless_it_is_changed() -> anyhow::Result<()> {
        let (_folder, workspace, to) = workspace()?;
        let changed = BTreeMap::from([("shared/b.rs".to_owned(), "changed".to_owned())]);
        copy(&workspace, &changed, &to)?;
        assert_eq!(read(to.join("shared/a/lib.rs"))?, ("a".to_owned(), 100));
        let (text, at) = read(to.join("shared/b.rs"))?;
        assert_eq!(text, "changed");
        assert!(at > 100, "{at}");
        assert!(!to.join("notes.md").exists());

        let now = SystemTime::now();
        copy(&workspace, &changed, &to)?;
        assert!(fs::metadata(to.join("shared/b.rs"))?.modified()? < now, "it was the same");
        write(&workspace.join("shared/a/lib.rs"), "A", 200)?;
        copy(&workspace, &changed, &to)?;
        assert_eq!(read(to.join("shared/a/lib.rs"))?, ("A".to_owned(), 200));
        // As it was before the change, with a time that lies before what was built meanwhile.
        copy(&workspace, &BTreeMap::new(), &to)?;
        let (text, at) = read(to.join("shared/b.rs"))?;
        assert_eq!(text, "b");
        assert!(at > 100, "{at}");
        Ok(())
    }

    #[test]
    fn what_is_gone_from_the_workspace_goes_from_the_copy() -> anyhow::Result<()> {
        let (_folder, workspace, to) = workspace()?;
        copy(&workspace, &BTreeMap::new(), &to)?;
        fs::remove_file(workspace.join("shared/a/lib.rs"))?;
        copy(&workspace, &BTreeMap::new(), &to)?;
        assert!(!to.join("shared/a/lib.rs").exists());
        let unread = BTreeMap::from([("notes.md".to_owned(), "changed".to_owned())]);
        assert!(copy(&workspace, &unread, &to).is_err());
        Ok(())
    }
}
