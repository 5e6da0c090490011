//! Something that is made of files, and made again when they change: certificates, authorities, passwords.
//!
//! Files are looked at whenever somebody asks ([`Reloaded::get`]), which is once per connection. While they
//! cannot be read, or make no sense (a certificate is there already and its key is not yet), the last good
//! one stays. Reading is done in place: it is a page or two, and rustls asks where it cannot wait.
//!
//! Who cannot make the thing in place compares [`Stamps`] and decides when.

mod stamps;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use stamps::Stamps;

/// Makes the thing of its files, which it knows.
type Make<T> = Box<dyn Fn() -> anyhow::Result<T> + Send + Sync>;

/// A `T` as its files have it now.
pub struct Reloaded<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    make: Make<T>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    /// Of the files when they were last read, also in vain.
    stamps: Stamps,
    value: Arc<T>,
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct(self.what).field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> Reloaded<T> {
    /// Makes the first one, which must succeed. `what` names it in the log.
    pub fn open(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let stamps = Stamps::of(&files);
        let current = Mutex::new(Current { stamps, value: Arc::new(make()?) });
        Ok(Self { what, files, make: Box::new(make), current })
    }

    /// The one that the files make now, or else the last good one.
    pub fn get(&self) -> Arc<T> {
        // Before they are read, so that a change in between is seen the next time.
        let stamps = Stamps::of(&self.files);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.stamps != stamps {
            current.stamps = stamps;
            match (self.make)() {
                Ok(value) => {
                    current.value = Arc::new(value);
                    tracing::info!(files = ?self.files, "{} read again", self.what);
                }
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    files = ?self.files,
                    "{} cannot be read again, the last good one stays",
                    self.what
                ),
            }
        }
        Arc::clone(&current.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_is_not_taken() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("number");
        let write = |text: &str| {
            let new = dir.path().join("new");
            std::fs::write(&new, text).expect("written");
            std::fs::rename(&new, &file).expect("renamed");
        };
        let make = {
            let file = file.clone();
            move || Ok(std::fs::read_to_string(&file)?.parse::<u32>()?)
        };
        Reloaded::open("number", vec![file.clone()], make.clone()).expect_err("no file");
        write("1");
        let number = Reloaded::open("number", vec![file.clone()], make).expect("a number");
        assert_eq!(*number.get(), 1);
        write("2");
        assert_eq!(*number.get(), 2);
        write("many");
        assert_eq!(*number.get(), 2);
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(*number.get(), 2);
        write("3");
        assert_eq!(*number.get(), 3);
    }
}
