//! Crashes, pauses and poison on demand, for tests.
//!
//! Without the feature `test-hooks` these functions are constants that the compiler removes; no
//! release is built with it. With it one build holds all crash sites, and the environment of a process
//! chooses among them:
//!
//! | variable | effect |
//! | --- | --- |
//! | `TEST_CRASH_AT` | `site` or `site:n`, several separated by commas: the process aborts when it passes the site for the nth time |
//! | `TEST_PAUSE_AT` | the same, but the process gets SIGSTOP; after SIGCONT it passes the site as soon as the file `<marks>.<site>.go` is there |
//! | `TEST_MARKS` | a path, needed for pauses; what happens at a site makes the file `<path>.<site>`, and while that exists nothing happens there any more |
//! | `TEST_PANIC_CHILD` | a path: the child of the process whose name is written there removes the file and panics |
//! | `TEST_POISON` | a file that says which events cannot be handled, see [`poison`] |

mod poison;

pub use poison::{Poison, poison};

/// Resolves when a test wants a child of the process to fall; never without the feature.
#[cfg(not(feature = "test-hooks"))]
pub(crate) fn child_falls(_name: &'static str) -> std::future::Pending<()> {
    std::future::pending()
}

/// A place between two steps where a test may end the process, or make it stand still.
#[cfg(not(feature = "test-hooks"))]
#[inline(always)]
pub const fn crash_point(_site: &'static str) {}

#[cfg(feature = "test-hooks")]
pub(crate) use switched_on::child_falls;
#[cfg(feature = "test-hooks")]
pub use switched_on::crash_point;

#[cfg(feature = "test-hooks")]
mod switched_on {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    static CRASHES: LazyLock<Vec<Site>> = LazyLock::new(|| sites("TEST_CRASH_AT"));
    static PAUSES: LazyLock<Vec<Site>> = LazyLock::new(|| sites("TEST_PAUSE_AT"));

    /// Where something is to happen, and when.
    struct Site {
        name: String,
        pass: u64,
        passes: AtomicU64,
    }

    fn sites(variable: &str) -> Vec<Site> {
        let wanted = std::env::var(variable).unwrap_or_default();
        let wanted = wanted.split(',').map(str::trim).filter(|site| !site.is_empty());
        let site = |text: &str| {
            let (name, pass) = text.split_once(':').unwrap_or((text, "1"));
            let pass = pass.parse().expect("the number of a pass is a number");
            Site { name: name.to_owned(), pass, passes: AtomicU64::new(0) }
        };
        wanted.map(site).collect()
    }

    fn mark(site: &str) -> Option<String> {
        std::env::var("TEST_MARKS").ok().map(|marks| format!("{marks}.{site}"))
    }

    /// Whether it is to happen now. With marks it happens once, whichever process comes first.
    fn is_due(sites: &[Site], name: &str) -> bool {
        let Some(site) = sites.iter().find(|site| site.name == name) else { return false };
        if site.passes.fetch_add(1, Ordering::SeqCst) + 1 != site.pass {
            return false;
        }
        let make = |mark| std::fs::OpenOptions::new().write(true).create_new(true).open(mark);
        mark(name).is_none_or(|mark| make(mark).is_ok())
    }

    /// Stops the process. The signal may take a moment to reach every thread, and this one must not get
    /// past the site meanwhile: it waits to be let go.
    fn stand_still(site: &str) {
        let go = format!("{}.go", mark(site).expect("TEST_MARKS says who lets it go"));
        let (this, stop) = (rustix::process::getpid(), rustix::process::Signal::STOP);
        rustix::process::kill_process(this, stop).expect("a process may stop itself");
        while !std::fs::exists(&go).unwrap_or(false) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
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

    /// Aborts the process, or stops it, when its environment says so.
    pub fn crash_point(site: &'static str) {
        if is_due(&PAUSES, site) {
            stand_still(site);
        }
        if is_due(&CRASHES, site) {
            tracing::warn!(site, "crashing as the test asked");
            std::process::abort();
        }
    }
}
