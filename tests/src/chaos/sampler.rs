//! Looks at slots, cursors, dead letters and memory while everything happens.

use super::scene::Scene;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(1_500);
/// How long a look may take; the engine may be down.
const LOOK: Duration = Duration::from_secs(5);

/// Looks until it is told to stop. A look that fails shows nothing and is left out; how many failed is
/// told in the end, with the last reason.
pub(super) async fn sample(scene: &Scene<'_>, stop: &AtomicBool) {
    let (mut failed, mut last) = (0_usize, None);
    while !stop.load(Ordering::Relaxed) {
        if let Ok(Err(error)) = timeout(LOOK, scene.look()).await {
            failed += 1;
            last = Some(error);
        }
        scene.weigh();
        sleep(PAUSE).await;
    }
    if let Some(error) = last {
        eprintln!("{failed} looks at slots and cursors failed, the last one with {error:#}");
    }
}
