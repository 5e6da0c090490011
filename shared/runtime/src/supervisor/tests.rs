use super::*;

const GRACE: Duration = Duration::from_secs(10);

/// A worker that does what it should: returns after the token was cancelled.
async fn obedient(shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_obedient_workers_cleanly() {
    let shutdown = CancellationToken::new();
    let mut supervisor = Supervisor::default();
    supervisor.start("first", obedient(shutdown.clone()));
    supervisor.start("second", obedient(shutdown.clone()));
    shutdown.cancel();
    supervisor.run(&shutdown, GRACE).await.expect("a clean end");
}

#[tokio::test]
async fn a_worker_that_ends_faster_than_the_supervisor_looks_was_asked_to() {
    for _ in 0..200 {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::default();
        supervisor.start("quick", obedient(shutdown.clone()));
        shutdown.cancel();
        tokio::task::yield_now().await;
        supervisor.run(&shutdown, GRACE).await.expect("a clean end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_worker_ends_the_others_and_is_named() {
    let shutdown = CancellationToken::new();
    let (drained, was_drained) = tokio::sync::oneshot::channel();
    let mut supervisor = Supervisor::default();
    supervisor.start("failing", async { Err(anyhow!("broken pipe").context("read slot 3")) });
    let token = shutdown.clone();
    supervisor.start("other", async move {
        token.cancelled().await;
        tokio::time::sleep(GRACE / 2).await;
        drained.send(()).map_err(|()| anyhow!("nobody waits"))
    });
    let error = supervisor.run(&shutdown, GRACE).await.expect_err("a worker failed");
    assert_eq!(format!("{error:#}"), "worker failing: read slot 3: broken pipe");
    assert!(shutdown.is_cancelled());
    was_drained.await.expect("the other worker was given the time to finish");
}

#[tokio::test(start_paused = true)]
async fn a_panicking_worker_is_a_failing_one() {
    let mut supervisor = Supervisor::default();
    supervisor.start("panicking", async { panic!("index {} is out of reach", 7) });
    let error = supervisor.run(&CancellationToken::new(), GRACE).await.expect_err("it panicked");
    assert_eq!(format!("{error:#}"), "worker panicking: panicked: index 7 is out of reach");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_just_ends_is_a_failing_one() {
    let mut supervisor = Supervisor::default();
    supervisor.start("idle", async { Ok(()) });
    let error = supervisor.run(&CancellationToken::new(), GRACE).await.expect_err("it ended");
    assert_eq!(format!("{error:#}"), "worker idle ended without being asked to");
}

#[tokio::test(start_paused = true)]
async fn what_outlives_the_grace_period_is_named() {
    let shutdown = CancellationToken::new();
    let mut supervisor = Supervisor::default();
    supervisor.start("stubborn", std::future::pending());
    supervisor.start("obedient", obedient(shutdown.clone()));
    supervisor.start("deaf", std::future::pending());
    shutdown.cancel();
    let error = supervisor.run(&shutdown, GRACE).await.expect_err("two did not end");
    assert_eq!(format!("{error:#}"), "workers outlived the grace period: deaf, stubborn");
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_draining_counts() {
    let shutdown = CancellationToken::new();
    let mut supervisor = Supervisor::default();
    let token = shutdown.clone();
    supervisor.start("flushing", async move {
        token.cancelled().await;
        Err(anyhow!("checkpoint not written"))
    });
    shutdown.cancel();
    let error = supervisor.run(&shutdown, GRACE).await.expect_err("the flush failed");
    assert_eq!(format!("{error:#}"), "worker flushing: checkpoint not written");
}
