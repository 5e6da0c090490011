//! Looks at slots, cursors and dead letters while everything happens.

use crate::check::{Sample, ahead_of_work};
use crate::dump::{Progress, progress};
use crate::history::Recorder;
use scylla::client::session::Session;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(1_500);
/// How long a look may take; the engine may be down.
const LOOK: Duration = Duration::from_secs(5);

/// Looks until it is told to stop. A look that fails shows nothing and is left out.
pub(super) async fn sample(
    session: &Session,
    recorder: &Recorder,
    log_lied: &AtomicBool,
    stop: &AtomicBool,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let at_us = recorder.now_us();
        if let Ok(Ok(progress)) = timeout(LOOK, progress(session)).await {
            // Of a row that the log never showed, or showed late, no checkpoint can know.
            let honest = !log_lied.load(Ordering::Relaxed);
            let ahead = honest.then(|| ahead_of_work(&progress));
            let Progress { slots, letters, .. } = progress;
            samples.push(Sample { at_us, slots, ahead, letters });
        }
        sleep(PAUSE).await;
    }
    samples
}
