//! One client beside others.

use super::*;
use crate::Task;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn an_easy_job_is_answered_while_eight_clients_jobs_loop() {
    let (pool, log) = start(settings(1, Duration::from_millis(5)));
    let loops: Vec<Replies> = (0..8)
        .map(|number| {
            let solution = format!("loop client {number}");
            pool.client(&solution).submit(std::iter::repeat_with(move || job(&solution)))
        })
        .collect();
    let all_loop = || (0..8).all(|number| log.count(&format!("start loop client {number}")) > 0);
    wait_for("every client has a job running", all_loop);
    for _ in 0..20 {
        let mut easy = submit(&pool.client("easy"), &["right"]);
        let answer = easy.next_timeout(LONG / 2).expect("in time").expect("an answer");
        assert_eq!(outcome(&answer.1), "passed");
        assert!(easy.next().is_none());
    }
    assert_eq!(log.count("end loop"), 0, "none of them had to end for it");
    drop(loops);
    wait_for("the loops are told to end", || log.count("end loop") == log.count("start loop"));
}

#[test]
fn clients_of_one_worker_take_turns() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let mut held = submit(&pool.client("first"), &["sleep 100"]);
    wait_for("the worker is busy", || log.count("start sleep") == 1);
    let many = submit(&pool.client("many"), &["right many"; 4]);
    let other = submit(&pool.client("other"), &["right other"; 2]);
    // Both wait before the worker is free.
    held.next().expect("an answer").1.expect("a verdict");
    outcomes(many);
    outcomes(other);
    let order: Vec<String> =
        log.events().into_iter().filter(|event| event.starts_with("start right")).collect();
    let last_other = order.iter().rposition(|event| event == "start right other").expect("it ran");
    assert!(last_other <= 3, "{order:?}");
}

#[test]
fn no_more_jobs_run_at_once_than_workers_unless_they_run_long() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let loops = submit(&pool.client("a"), &["loop"; 6]);
    wait_for("two run", || log.count("start loop") == 2);
    sleep(Duration::from_millis(50));
    assert_eq!((log.count("start loop"), pool.threads()), (2, 2));
    drop(loops);
    assert_eq!(outcomes(submit(&pool.client("b"), &["right"])), ["passed"]);
}

#[test]
fn a_burst_of_short_jobs_starts_no_more_threads_than_workers() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let client = pool.client("a");
    let replies: Vec<Replies> = (0..50).map(|_| submit(&client, &["right"; 3])).collect();
    assert!(replies.into_iter().all(|replies| outcomes(replies) == ["passed"; 3]));
    assert!(pool.threads() <= 2 && log.made.load(Ordering::SeqCst) <= 2);
}

#[test]
fn what_panics_in_one_client_harms_no_other() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let client = pool.client("careless");
    let jobs = ["right", "oh"]
        .into_iter()
        .map(|word| if word == "oh" { panic!("its own fault") } else { job(word) });
    let failure = "drawing the next job panicked: its own fault";
    assert_eq!(outcomes(client.submit(jobs)), ["passed", failure]);
    let problem = problem("p");
    let tasks = ["right", "loop"].map(|solution| Task { problem: &problem, index: 0, solution });
    let callback = |_| -> ControlFlow<()> { panic!("in the callback") };
    let mut callback = callback;
    catch_unwind(AssertUnwindSafe(|| client.judge_all(&tasks, &mut callback))).expect_err("it panics");
    wait_for("its jobs are cancelled", || log.count("start") == log.count("end"));
    assert_eq!(outcomes(submit(&pool.client("other"), &["right"])), ["passed"]);
    assert_eq!(outcomes(submit(&client, &["right"])), ["passed"]);
}
