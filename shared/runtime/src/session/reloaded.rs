//! Something that is made of files, and made again when they change.
//!
//! Files are looked at whenever a connection needs them. While they cannot be read, or make no sense (a
//! certificate is there already and its key is not yet), the last good one stays. Reading is done in place: it
//! is a page or two, and rustls asks where it cannot wait.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::{info, warn};

use crate::telemetry::chain;

/// Makes the thing of its files, which it knows.
type Make<T> = Box<dyn Fn() -> anyhow::Result<T> + Send + Sync>;

/// A `T` as its files have it now.
pub(super) struct Reloaded<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    /// Of the files when they were last read, also in vain.
    stamps: Vec<Option<Stamp>>,
    value: Arc<T>,
}

/// By what a changed file is told: one that was replaced has another inode.
#[derive(PartialEq, Eq)]
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

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reloaded").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> Reloaded<T> {
    /// Makes the first one, which must succeed.
    pub(super) fn open(
        files: &[&str],
        make: impl Fn() -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let files: Vec<_> = files.iter().map(PathBuf::from).collect();
        let stamps = files.iter().map(|file| Stamp::of(file)).collect();
        let current = Mutex::new(Current { stamps, value: Arc::new(make()?) });
        Ok(Self { files, make: Box::new(make), current })
    }

    /// The one that the files make now, or else the last good one.
    pub(super) fn get(&self) -> Arc<T> {
        // Before they are read, so that a change in between is seen the next time.
        let stamps = self.files.iter().map(|file| Stamp::of(file)).collect();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.stamps != stamps {
            current.stamps = stamps;
            match (self.make)() {
                Ok(value) => {
                    current.value = Arc::new(value);
                    info!(files = ?self.files, "certificates read again");
                }
                Err(error) => warn!(
                    error = %chain(error.as_ref()),
                    "certificates cannot be read again, the last good ones stay"
                ),
            }
        }
        Arc::clone(&current.value)
    }
}
