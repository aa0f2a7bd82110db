//! Verifiers that fail.

use super::*;

#[test]
fn a_failure_is_tried_again_at_once_on_a_fresh_verifier() {
    let (pool, log) = start(settings(1, NO_SLICE));
    assert_eq!(outcomes(submit(&pool.client("a"), &["fail 1", "right"])), ["passed", "passed"]);
    assert_eq!(log.events()[..4], ["start fail 1", "end fail 1", "start fail 1", "end fail 1"]);
    assert_eq!((log.made.load(Ordering::SeqCst), log.dropped.load(Ordering::SeqCst)), (2, 1));
}

#[test]
fn a_second_failure_is_tried_a_last_time_when_the_others_have_finished() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let solutions = ["fail 2", "sleep 20", "right", "sleep 30", "right"];
    assert_eq!(outcomes(submit(&pool.client("a"), &solutions)), ["passed"; 5]);
    let events = log.events();
    assert_eq!(events[events.len() - 2..], ["start fail 2", "end fail 2"], "{events:?}");
    assert_eq!(log.count("start fail"), 3);
}

#[test]
fn the_third_failure_is_the_answer() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let answers = outcomes(submit(&pool.client("a"), &["fail 9", "right", "fail 8"]));
    assert_eq!(answers, ["told to fail", "passed", "told to fail"]);
    assert_eq!((log.count("start fail 9"), log.count("start fail 8")), (3, 3));
}

#[test]
fn a_verifier_that_panics_is_a_failure_and_not_used_again() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let answers = outcomes(submit(&pool.client("a"), &["panic", "right"]));
    assert_eq!(answers, ["the verifier panicked: told to", "passed"]);
    assert_eq!(log.count("start panic"), 3);
    drop(pool);
    assert_eq!(log.made.load(Ordering::SeqCst), log.dropped.load(Ordering::SeqCst));
}

#[test]
fn a_verifier_that_cannot_be_started_again_tells_why() {
    let (pool, log) = start(settings(1, NO_SLICE));
    log.broken.store(true, Ordering::SeqCst);
    let answers = outcomes(submit(&pool.client("a"), &["right", "fail 1", "right"]));
    let failure = "the verifier of domain fake does not start: no interpreter";
    assert_eq!(answers, ["passed", failure, failure]);
    log.broken.store(false, Ordering::SeqCst);
    assert_eq!(outcomes(submit(&pool.client("a"), &["right"])), ["passed"]);
}

#[test]
fn answers_to_what_was_not_asked_are_failures() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let asks = [Ask::Judge, Ask::Observe(["x".to_owned()].into())];
    let jobs = asks.map(|ask| Job { ask, ..job("short") });
    let answers = outcomes(pool.client("a").submit(jobs.into_iter()));
    assert_eq!(answers, ["expected a verdict, found observations", "expected 1 observations, found 0"]);
    assert_eq!(log.count("start short"), 6);
}

#[test]
fn a_job_of_an_unknown_domain_fails_without_a_try() {
    let (pool, _) = start(settings(1, NO_SLICE));
    let problem = Problem { check: Check { domain: "magic".into(), ..Check::default() }, ..problem("p") };
    let job = Job { problem: Arc::new(problem), ..job("right") };
    let answers = outcomes(pool.client("a").submit(std::iter::once(job)));
    assert_eq!(answers, ["check.domain: nothing here verifies \"magic\"; expected one of: fake"]);
}

#[test]
fn an_iterator_may_wait_for_the_answer_to_a_failure() {
    let (pool, _) = start(settings(1, NO_SLICE));
    let (send, receive) = std::sync::mpsc::channel();
    let mut replies = pool.client("a").submit(receive.into_iter());
    send.send(job("fail 9")).expect("it is drawn");
    let answer = replies.next_timeout(LONG).expect("in time").expect("an answer");
    assert_eq!(outcome(&answer.1), "told to fail");
    drop(send);
    assert!(replies.next().is_none());
}
