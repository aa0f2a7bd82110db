//! How pools start and end.

use super::*;

fn left(log: &Log) -> usize {
    log.made.load(Ordering::SeqCst) - log.dropped.load(Ordering::SeqCst)
}

#[test]
fn a_pool_that_cannot_work_does_not_start() {
    let log = Arc::new(Log::default());
    log.broken.store(true, Ordering::SeqCst);
    let fake = |name| -> Arc<dyn Domain> { Arc::new(Fake { log: Arc::clone(&log), name }) };
    let error = Pool::start(vec![fake("fake")], Settings::default()).expect_err("it is broken");
    assert_eq!(error.to_string(), "the verifier of domain fake does not start: no interpreter");
    log.broken.store(false, Ordering::SeqCst);
    let error = Pool::start(vec![fake("one"), fake("one")], Settings::default()).expect_err("one name");
    assert_eq!(error.to_string(), "two domains are named one");
    let pool = Pool::start(vec![fake("one"), fake("two")], settings(0, NO_SLICE)).expect("a worker at least");
    assert_eq!(left(&log), 2, "one verifier of each");
    assert!(pool.domain("two").is_some() && pool.domain("fake").is_none());
    drop(pool);
    assert_eq!(left(&log), 0);
}

#[test]
fn problems_are_prepared_by_their_domains() {
    let (pool, _) = start(settings(1, NO_SLICE));
    let good = problem("good");
    let bad = Problem { check: Check::new("fake", &1).expect("JSON"), ..problem("bad") };
    let foreign = Problem { check: Check::new("magic", &1).expect("JSON"), ..problem("foreign") };
    assert_eq!(pool.prepare([&good, &good]), Ok(()));
    let error = pool.prepare([&good, &bad, &foreign]).expect_err("bad");
    assert_eq!(error.to_string(), "bad: check.payload: expected null");
    let error = pool.prepare([&foreign]).expect_err("foreign");
    assert!(error.to_string().starts_with("foreign: check.domain: nothing here verifies \"magic\""));
}

#[test]
fn the_last_handle_ends_all_verifiers() {
    let (pool, log) = start(settings(3, NO_SLICE));
    let client = pool.client("a");
    drop(pool);
    let same = client.clone();
    drop(client);
    assert_eq!(outcomes(submit(&same, &["sleep 5"; 9])), ["passed"; 9]);
    assert!(left(&log) > 0);
    let replies = submit(&same, &["loop"; 3]);
    wait_for("they run", || log.count("start loop") == 3);
    drop(replies);
    drop(same);
    assert_eq!(left(&log), 0);
}

#[test]
fn answers_can_be_taken_after_pool_and_client_went() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let client = pool.client("a");
    let replies = submit(&client, &["sleep 5"; 30]);
    let unread = submit(&client, &["right", "loop"]);
    drop((client, pool));
    assert_eq!(outcomes(replies), ["passed"; 30]);
    drop(unread);
    wait_for("all verifiers end", || left(&log) == 0);
}

#[test]
fn an_iterator_may_hold_the_last_client() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let client = pool.client("a");
    let held = client.clone();
    let jobs = (0..20).map(move |_| {
        assert!(held.pool().domain("fake").is_some());
        job("right")
    });
    let replies = client.submit(jobs);
    drop((client, pool));
    assert_eq!(outcomes(replies), ["passed"; 20]);
    wait_for("all verifiers end", || left(&log) == 0);
}

#[test]
fn surplus_workers_end_after_a_while() {
    let log = Arc::new(Log::default());
    let fake = Fake { log: Arc::clone(&log), name: "fake" };
    let settings = settings(1, Duration::from_millis(1));
    let pool =
        Pool::start_with(vec![Arc::new(fake)], settings, Duration::from_millis(20)).expect("fakes start");
    let loops = submit(&pool.client("a"), &["loop"; 4]);
    wait_for("all run", || log.count("start loop") == 4);
    assert!(pool.threads() >= 4);
    drop(loops);
    wait_for("one is left", || pool.threads() == 1 && left(&log) == 1);
    sleep(Duration::from_millis(60));
    assert_eq!(left(&log), 1, "the last stays");
    assert_eq!(outcomes(submit(&pool.client("a"), &["right"])), ["passed"]);
}
