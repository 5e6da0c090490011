use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const GRACE: Duration = Duration::from_secs(10);
const CONFIG: Supervision = Supervision {
    restarts_max: 3,
    window_ms: NonZeroU64::new(60_000).unwrap(),
    backoff_initial_ms: NonZeroU64::new(100).unwrap(),
    backoff_max_ms: NonZeroU64::new(1_000).unwrap(),
};

fn supervisor(shutdown: &CancellationToken) -> Supervisor {
    Supervisor::new(CONFIG, shutdown.clone(), Readiness::default())
}

/// A child that does what it should: returns after the token was cancelled.
async fn obedient(shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_obedient_workers_cleanly() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    supervisor.start("first", obedient(shutdown.clone()));
    supervisor.start("second", obedient(shutdown.clone()));
    shutdown.cancel();
    supervisor.run(GRACE).await.expect("a clean end");
}

#[tokio::test]
async fn a_worker_that_ends_faster_than_the_supervisor_looks_was_asked_to() {
    for _ in 0..200 {
        let shutdown = CancellationToken::new();
        let mut supervisor = supervisor(&shutdown);
        supervisor.start("quick", obedient(shutdown.clone()));
        shutdown.cancel();
        tokio::task::yield_now().await;
        supervisor.run(GRACE).await.expect("a clean end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_worker_ends_the_others_and_is_named() {
    let shutdown = CancellationToken::new();
    let (drained, was_drained) = tokio::sync::oneshot::channel();
    let mut supervisor = supervisor(&shutdown);
    supervisor.start("failing", async { Err(anyhow!("broken pipe").context("read slot 3")) });
    let token = shutdown.clone();
    supervisor.start("other", async move {
        token.cancelled().await;
        tokio::time::sleep(GRACE / 2).await;
        drained.send(()).map_err(|()| anyhow!("nobody waits"))
    });
    let error = supervisor.run(GRACE).await.expect_err("a worker failed");
    assert_eq!(format!("{error:#}"), "child failing: read slot 3: broken pipe");
    assert!(shutdown.is_cancelled());
    was_drained.await.expect("the other worker was given the time to finish");
}

#[tokio::test(start_paused = true)]
async fn a_panicking_worker_is_a_failing_one() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    supervisor.start("panicking", async { panic!("index {} is out of reach", 7) });
    let error = supervisor.run(GRACE).await.expect_err("it panicked");
    assert_eq!(format!("{error:#}"), "child panicking: panicked: index 7 is out of reach");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_just_ends_is_a_failing_one() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    supervisor.start("idle", async { Ok(()) });
    let error = supervisor.run(GRACE).await.expect_err("it ended");
    assert_eq!(format!("{error:#}"), "child idle: ended without being asked to");
}

#[tokio::test(start_paused = true)]
async fn what_outlives_the_grace_period_is_named() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    supervisor.start("stubborn", std::future::pending());
    supervisor.start("obedient", obedient(shutdown.clone()));
    supervisor.start("deaf", std::future::pending());
    shutdown.cancel();
    let error = supervisor.run(GRACE).await.expect_err("two did not end");
    assert_eq!(format!("{error:#}"), "children outlived the grace period: deaf, stubborn");
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_draining_counts() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    let token = shutdown.clone();
    supervisor.start("flushing", async move {
        token.cancelled().await;
        Err(anyhow!("checkpoint not written"))
    });
    shutdown.cancel();
    let error = supervisor.run(GRACE).await.expect_err("the flush failed");
    assert_eq!(format!("{error:#}"), "child flushing: checkpoint not written");
}

/// A child that falls `times` times and is obedient then; counts its starts.
fn shaky(
    supervisor: &mut Supervisor,
    shutdown: &CancellationToken,
    times: usize,
) -> Arc<AtomicUsize> {
    let (starts, shutdown) = (Arc::new(AtomicUsize::new(0)), shutdown.clone());
    let counted = starts.clone();
    supervisor.start_again("shaky", move || {
        let (start, shutdown) = (counted.fetch_add(1, Ordering::SeqCst), shutdown.clone());
        async move {
            match start {
                start if start >= times => obedient(shutdown).await,
                start if start % 2 == 0 => panic!("start {start}"),
                _ => Ok(()),
            }
        }
    });
    starts
}

#[tokio::test(start_paused = true)]
async fn a_child_that_falls_is_started_again_and_the_others_go_on() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    let readiness = supervisor.readiness.clone();
    let starts = shaky(&mut supervisor, &shutdown, 3);
    supervisor.start("steady", obedient(shutdown.clone()));
    let end = async {
        while starts.load(Ordering::SeqCst) < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let report = readiness.report();
        assert!(report.contains("[+]child shaky running"), "{report}");
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(supervisor.run(GRACE), end);
    ended.expect("a clean end");
    assert_eq!(CHILD_RESTARTS.with_label_values(&["shaky", "ended"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_keeps_falling_ends_the_process() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    let readiness = supervisor.readiness.clone();
    let starts = shaky(&mut supervisor, &shutdown, usize::MAX);
    let error = supervisor.run(GRACE).await.expect_err("it kept falling");
    let expected = "child shaky: fell 4 times in 60000 ms: ended without being asked to";
    assert_eq!(format!("{error:#}"), expected);
    assert_eq!(starts.load(Ordering::SeqCst), 4, "restarts_max and the first start");
    let report = readiness.report();
    assert!(report.contains("[-]child shaky ended without being asked to"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn who_falls_now_and_then_is_started_for_ever() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    let (starts, token) = (Arc::new(AtomicUsize::new(0)), shutdown.clone());
    supervisor.start_again("seldom", move || {
        let (start, token) = (starts.fetch_add(1, Ordering::SeqCst), token.clone());
        async move {
            tokio::time::sleep(Duration::from_secs(30)).await;
            if start == 20 {
                token.cancel();
                return Ok(());
            }
            panic!("once more")
        }
    });
    supervisor.run(GRACE).await.expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn a_child_is_not_started_again_while_the_process_ends() {
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(&shutdown);
    let token = shutdown.clone();
    supervisor.start_again("flushing", move || {
        let token = token.clone();
        async move {
            token.cancelled().await;
            panic!("checkpoint out of reach")
        }
    });
    shutdown.cancel();
    let error = supervisor.run(GRACE).await.expect_err("it fell");
    assert_eq!(format!("{error:#}"), "child flushing: panicked: checkpoint out of reach");
}
