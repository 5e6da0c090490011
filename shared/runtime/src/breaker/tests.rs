//! The breaker under a paused clock.

use super::*;

const CONFIG: BreakerConfig =
    BreakerConfig { failing_keys_min: 3, pause: BackoffConfig { initial_ms: 100, max_ms: 1_000 } };

const TARGET: Target = Target::new("target-of-tests");

fn key(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn breaker() -> Breaker {
    Breaker::new(TARGET, CONFIG, None)
}

/// A breaker that just opened.
async fn open() -> Breaker {
    let breaker = breaker();
    for number in 0..3 {
        breaker.pass().await.failed(key(number));
    }
    assert_eq!(breaker.machine().state.name(), "open");
    breaker
}

#[tokio::test(start_paused = true)]
async fn several_failing_keys_open_it_and_one_alone_does_not() {
    let breaker = breaker();
    for _ in 0..1_000 {
        breaker.pass().await.failed(key(1));
    }
    assert!(breaker.is_closed());
    breaker.pass().await.failed(key(2));
    assert!(breaker.is_closed());
    breaker.pass().await.failed(key(3));
    assert!(!breaker.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_success_between_clears_the_count() {
    let breaker = breaker();
    for number in 0..100 {
        breaker.pass().await.failed(key(number));
        breaker.pass().await.failed(key(number + 1));
        breaker.pass().await.succeeded();
    }
    assert!(breaker.is_closed());
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_a_single_probe_decides() {
    let breaker = open().await;
    let probe = breaker.pass().await;
    assert_eq!(breaker.machine().state.name(), "half_open");
    let other = breaker.clone();
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { other.pass().await.succeeded() });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(waiting.try_join_next().is_none(), "one probe at a time");
    assert_eq!(breaker.try_pass().err().map(|open| open.retry_after), Some(Duration::ZERO));
    probe.succeeded();
    waiting.join_next().await.expect("one task").expect("let through");
    assert!(breaker.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_it_again_and_pauses_grow_to_their_bound() {
    let breaker = open().await;
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    for probes in 0..100 {
        let before = Instant::now();
        breaker.pass().await.failed(key(probes));
        longest = longest.max(before.elapsed());
    }
    assert!(longest <= Duration::from_secs(1), "{longest:?}");
    // Half of a second on average, less in the beginning.
    assert!(begun.elapsed() > Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(breaker.machine().state.name(), "open");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_says_nothing_leaves_its_place_to_another() {
    let breaker = open().await;
    drop(breaker.pass().await);
    breaker.pass().await.succeeded();
    assert!(breaker.is_closed());
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_it_opened_decides_nothing() {
    let breaker = breaker();
    let (early, late) = (breaker.pass().await, breaker.pass().await);
    for number in 0..3 {
        breaker.pass().await.failed(key(number));
    }
    early.succeeded();
    assert!(!breaker.is_closed());
    let probe = breaker.pass().await;
    late.failed(key(9));
    assert_eq!(breaker.machine().state.name(), "half_open");
    probe.succeeded();
    assert!(breaker.is_closed());
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_send_one_request_per_pause() {
    let breaker = open().await;
    let sent = Arc::new(Mutex::new(0_u32));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (breaker, sent) = (breaker.clone(), sent.clone());
        tasks.spawn(async move {
            loop {
                let pass = breaker.pass().await;
                *sent.lock().expect("not poisoned") += 1;
                pass.failed(key(number));
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    let sent = *sent.lock().expect("not poisoned");
    assert!((100..400).contains(&sent), "{sent} requests in 100 s");
}

#[tokio::test(start_paused = true)]
async fn its_state_is_shown() {
    const SHOWN: Target = Target::new("shown");
    let readiness = Readiness::default();
    let breaker = Breaker::new(SHOWN, CONFIG, Some(readiness.clone()));
    assert!(readiness.report().contains("[+]breaker-shown closed"), "{}", readiness.report());
    for number in 0..3 {
        breaker.pass().await.failed(key(number));
    }
    assert!(readiness.report().contains("[+]breaker-shown open"), "{}", readiness.report());
    let of = |state| STATE.with_label_values(&["shown", state]).get();
    assert_eq!((of("closed"), of("open"), of("half_open")), (0.0, 1.0, 0.0));
    assert_eq!(OPENED.with_label_values(&["shown"]).get(), 1);
}

#[test]
fn a_bound_of_zero_is_named() {
    let config = BreakerConfig { failing_keys_min: 0, ..BreakerConfig::default() };
    let bad = crate::config::in_range(&config).expect_err("refused");
    assert_eq!(bad.to_string(), "failing_keys_min: must be between 1 and 4294967295, not 0");
}
