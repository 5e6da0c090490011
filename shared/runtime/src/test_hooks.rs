//! Defects and crashes on demand, for the tests that show that the checks bite.
//!
//! Without the feature `test-hooks` these functions are constants that the compiler removes; no
//! release is built with it. With it one build holds all seeded defects and crash sites, and the
//! environment of a process chooses among them:
//!
//! | variable | effect |
//! | --- | --- |
//! | `TEST_DEFECT` | names of the defects that are on, separated by commas |
//! | `TEST_CRASH_AT` | `site` or `site:n`: the process aborts when it passes the site for the nth time |
//! | `TEST_PANIC_CHILD` | a path: the child of the process whose name is written there removes the file and panics |
//! | `TEST_CRASH_MARK` | a path that is made by the crash; while it exists nothing crashes any more |
//! | `TEST_POISON` | a file that says which events cannot be handled, see [`poison`] |

mod poison;

pub use poison::{Poison, poison};

/// Whether the defect of this name is on.
#[cfg(not(feature = "test-hooks"))]
#[must_use]
#[inline(always)]
pub const fn defect(_name: &'static str) -> bool {
    false
}

/// Resolves when a test wants a child of the process to fall; never without the feature.
#[cfg(not(feature = "test-hooks"))]
pub(crate) fn child_falls(_name: &'static str) -> std::future::Pending<()> {
    std::future::pending()
}

/// A place between two steps where a test may end the process.
#[cfg(not(feature = "test-hooks"))]
#[inline(always)]
pub const fn crash_point(_site: &'static str) {}

#[cfg(feature = "test-hooks")]
pub(crate) use switched_on::child_falls;
#[cfg(feature = "test-hooks")]
pub use switched_on::{crash_point, defect};

#[cfg(feature = "test-hooks")]
mod switched_on {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    static DEFECTS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let names = std::env::var("TEST_DEFECT").unwrap_or_default();
        names.split(',').map(|name| name.trim().to_owned()).collect()
    });

    static CRASH_AT: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wanted = std::env::var("TEST_CRASH_AT").ok()?;
        Some(match wanted.split_once(':') {
            Some((site, pass)) => (site.to_owned(), pass.parse().unwrap_or(1)),
            None => (wanted, 1),
        })
    });

    static PASSES: AtomicU64 = AtomicU64::new(0);

    /// Whether the defect of this name is on.
    #[must_use]
    pub fn defect(name: &'static str) -> bool {
        DEFECTS.iter().any(|on| on == name)
    }

    /// How often the file is looked at.
    const LOOK: Duration = Duration::from_millis(20);

    /// Resolves when the child of this name is to fall.
    pub(crate) async fn child_falls(name: &'static str) {
        let Some(path) = std::env::var_os("TEST_PANIC_CHILD") else {
            return std::future::pending().await;
        };
        loop {
            let wanted = std::fs::read_to_string(&path).unwrap_or_default();
            if wanted.trim() == name && std::fs::remove_file(&path).is_ok() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Aborts the process when its environment says so.
    pub fn crash_point(site: &'static str) {
        let Some((wanted, pass)) = &*CRASH_AT else { return };
        if wanted != site || PASSES.fetch_add(1, Ordering::SeqCst) + 1 != *pass {
            return;
        }
        if let Some(mark) = std::env::var_os("TEST_CRASH_MARK") {
            let made = std::fs::OpenOptions::new().write(true).create_new(true).open(mark);
            if made.is_err() {
                return;
            }
        }
        tracing::warn!(site, "crashing as the test asked");
        std::process::abort();
    }
}
