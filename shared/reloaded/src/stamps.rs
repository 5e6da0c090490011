//! By what changed files are told.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

/// Of some files, at one time. They changed in between if two of these differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// As they are now. Take it before the files are read: a change in between then shows the next time.
    pub fn of<P: AsRef<Path>>(files: &[P]) -> Self {
        Self(files.iter().map(|file| Stamp::of(file.as_ref())).collect())
    }
}

/// One that was replaced has another inode.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Stamp {
    /// `None` if the file is not there, which then is its state.
    fn of(file: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(file).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            len: metadata.len(),
            inode: metadata.ino(),
        })
    }
}
