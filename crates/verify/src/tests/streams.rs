//! Answers as they come: windows, cancellation, deadlines.

use super::*;
use crate::TimedOut;
use std::sync::mpsc;

#[test]
fn an_endless_iterator_is_drawn_only_as_far_as_answers_are_taken() {
    let (pool, _) = start(settings(2, NO_SLICE));
    let drawn = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&drawn);
    let endless = std::iter::repeat_with(move || {
        count.fetch_add(1, Ordering::SeqCst);
        job("right")
    });
    let mut replies = pool.client("a").submit(endless);
    let drawn = || drawn.load(Ordering::SeqCst);
    wait_for("the window is full", || drawn() == 8);
    sleep(Duration::from_millis(50));
    assert_eq!(drawn(), 8);
    for _ in 0..3 {
        assert_eq!(outcome(&replies.next().expect("an answer").1), "passed");
    }
    wait_for("what was taken makes room", || drawn() == 11);
    sleep(Duration::from_millis(50));
    assert_eq!(drawn(), 11);
}

#[test]
fn answers_come_though_the_iterator_waits() {
    let (pool, _) = start(settings(1, NO_SLICE));
    let (send, receive) = mpsc::channel();
    let mut replies = pool.client("a").submit(receive.into_iter());
    for place in 0..3 {
        assert_eq!(replies.next_timeout(Duration::from_millis(1)), Err(TimedOut));
        send.send(job("right")).expect("it is drawn");
        let answer = replies.next_timeout(LONG).expect("in time").expect("an answer");
        assert_eq!((answer.0, outcome(&answer.1).as_str()), (place, "passed"));
    }
    drop(send);
    assert_eq!(replies.next_timeout(LONG), Ok(None));
    assert_eq!(replies.next(), None);
}

#[test]
fn every_job_is_answered_once_in_its_place() {
    let (pool, _) = start(settings(3, NO_SLICE));
    let jobs = (0..500).map(|number| job(if number % 3 == 0 { "wrong" } else { "right" }));
    let answers = outcomes(pool.client("a").submit(jobs));
    let expected: Vec<&str> =
        (0..500).map(|number| if number % 3 == 0 { "failed" } else { "passed" }).collect();
    assert_eq!(answers, expected);
    assert_eq!(outcomes(submit(&pool.client("b"), &[])), [""; 0]);
}

#[test]
fn dropping_the_replies_cancels_what_runs_and_what_waits() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let client = pool.client("a");
    let mut replies = submit(&client, &["right", "loop", "right never"]);
    replies.next().expect("an answer").1.expect("a verdict");
    wait_for("the loop runs", || log.count("start loop") == 1);
    drop(replies);
    assert_eq!(outcomes(submit(&client, &["right"])), ["passed"]);
    assert_eq!((log.count("end loop"), log.count("start right never")), (1, 0));
}

#[test]
fn after_a_cancel_only_answers_that_were_there_come() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let client = pool.client("a");
    let replies = submit(&client, &["right", "wrong", "loop", "right never"]);
    wait_for("the loop runs", || log.count("start loop") == 1);
    replies.cancel();
    assert_eq!(outcomes(replies), ["passed", "failed"]);
    assert_eq!(outcomes(submit(&client, &["right"])), ["passed"]);
    assert_eq!(log.count("start right never"), 0);
}

#[test]
fn jobs_without_an_answer_at_the_deadline_fail_and_running_ones_end() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let client = pool.client("a");
    let jobs = ["right", "loop", "right never"].map(job);
    // Long enough for the first, on a busy machine too.
    let deadline = Instant::now() + Duration::from_secs(2);
    let replies = client.submit_until(jobs.into_iter(), Some(deadline));
    assert_eq!(outcomes(replies), ["passed", "deadline passed", "deadline passed"]);
    assert!(Instant::now() >= deadline);
    assert_eq!(outcomes(submit(&client, &["right"])), ["passed"]);
    assert_eq!((log.count("end loop"), log.count("start right never")), (1, 0));
}

#[test]
fn a_running_job_ends_at_the_deadline_though_nobody_takes_answers() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let client = pool.client("a");
    let replies =
        client.submit_until(std::iter::once(job("loop")), Some(Instant::now() + Duration::from_millis(20)));
    assert_eq!(outcomes(submit(&client, &["right"])), ["passed"]);
    assert_eq!(outcomes(replies), ["deadline passed"]);
    wait_for("it is told to end", || log.count("start loop") == log.count("end loop"));
}

#[test]
fn nothing_runs_after_the_deadline() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let jobs = (0..100).map(|_| job("right"));
    let replies = pool.client("a").submit_until(jobs, Some(Instant::now()));
    assert_eq!(outcomes(replies), ["deadline passed"; 100]);
    assert_eq!(log.count("start"), 0);
}
