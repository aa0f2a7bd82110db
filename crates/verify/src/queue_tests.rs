use super::*;
use crate::job::Ask;
use records::{Outcome, Verdict};

fn job(solution: &str) -> Job {
    Job { problem: Arc::default(), solution: solution.into(), ask: Ask::Judge }
}

fn verdict() -> Answer {
    let verdict = Verdict { outcome: Outcome::Passed, ..Verdict::infrastructure("", 0, "") };
    Ok(Reply::Verdict(verdict))
}

fn failure() -> Answer {
    Err(Failure("broken".into()))
}

/// A queue, and a client with a submission of `jobs` jobs named after it for each name.
fn queue(workers: usize, most_running: usize, clients: &[(&str, usize)]) -> (Queue, Vec<u64>) {
    let mut queue = Queue::new(workers, most_running);
    let submissions = clients.iter().map(|&(name, jobs)| add(&mut queue, name, jobs)).collect();
    (queue, submissions)
}

fn add(queue: &mut Queue, name: &str, jobs: usize) -> u64 {
    let client = queue.add_client(name);
    let submission = queue.open(client, None, Instant::now());
    for _ in 0..jobs {
        queue.push(submission, job(name), None, Instant::now());
    }
    submission
}

fn take(queue: &mut Queue) -> Option<Started> {
    queue.take(Instant::now())
}

/// Starts all that may start, each giving way at once; the clients' names in order.
fn start_long(queue: &mut Queue) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(started) = take(queue) {
        queue.give_way(started.run);
        names.push(started.client.to_string());
    }
    names
}

#[test]
fn the_client_with_the_fewest_running_jobs_is_next_and_of_equals_the_one_least_recently_served() {
    let (mut queue, _) = queue(1, 8, &[("a", 9), ("b", 9), ("c", 1)]);
    let mut names = Vec::new();
    for _ in 0..6 {
        let started = take(&mut queue).expect("a job");
        names.push(started.client.to_string());
        assert!(take(&mut queue).is_none(), "one worker, one hot job");
        queue.finish(started, verdict(), Instant::now());
    }
    assert_eq!(names, ["a", "b", "c", "a", "b", "a"]);
    let long = take(&mut queue).expect("a job");
    queue.give_way(long.run);
    let running = long.client.to_string();
    for _ in 0..3 {
        let started = take(&mut queue).expect("a job");
        assert_ne!(*started.client, *running, "the other has nothing running");
        queue.finish(started, verdict(), Instant::now());
    }
}

#[test]
fn clients_whose_jobs_run_long_leave_room_for_whoever_comes() {
    let (mut queue, _) = queue(2, 24, &[("alone", 50)]);
    assert_eq!(start_long(&mut queue).len(), 12, "one client alone has half");
    for name in ["b", "c", "d", "e", "f", "g", "h"] {
        add(&mut queue, name, 50);
        let started = start_long(&mut queue);
        assert!(
            (1..=2).contains(&started.len()) && started.iter().all(|of| of == name),
            "{name}: {started:?}"
        );
    }
    assert!(queue.runs.len() < 24, "{}", queue.runs.len());
    add(&mut queue, "easy", 1);
    assert_eq!(start_long(&mut queue), ["easy"]);
}

#[test]
fn most_running_holds_and_a_small_one_still_lets_every_client_run() {
    let (mut queue, _) = queue(2, 2, &[("a", 9), ("b", 9)]);
    assert_eq!(start_long(&mut queue), ["a", "b"]);
    let (mut queue, _) = self::queue(2, 4, &[("a", 9)]);
    assert_eq!(start_long(&mut queue), ["a", "a"]);
    for name in ["b", "c", "d"] {
        add(&mut queue, name, 9);
    }
    assert_eq!(start_long(&mut queue), ["b", "c"]);
}

#[test]
fn the_slice_shrinks_for_a_client_whose_jobs_run_long_already() {
    let (mut queue, _) = queue(1, 40, &[("a", 9)]);
    let haste: Vec<u32> = (0..6)
        .map(|_| {
            let started = take(&mut queue).expect("a job");
            queue.give_way(started.run);
            started.haste
        })
        .collect();
    assert_eq!(haste, [1, 2, 3, 4, 4, 4]);
}

#[test]
fn a_run_that_gives_way_after_its_end_changes_nothing() {
    let (mut queue, _) = queue(1, 8, &[("a", 2)]);
    let started = take(&mut queue).expect("a job");
    let run = started.run;
    queue.give_way(run);
    queue.give_way(run);
    assert_eq!(queue.hot, 0);
    queue.finish(started, verdict(), Instant::now());
    queue.give_way(run);
    let next = take(&mut queue).expect("a job");
    assert_eq!((queue.hot, next.haste), (1, 1));
}

#[test]
fn failures_wait_until_nothing_else_of_the_submission_is_left_and_are_tried_one_by_one() {
    let (mut queue, submissions) = queue(2, 8, &[("a", 4)]);
    for _ in 0..2 {
        let started = take(&mut queue).expect("a job");
        queue.finish(started, failure(), Instant::now());
    }
    let (third, fourth) = (take(&mut queue).expect("a job"), take(&mut queue).expect("a job"));
    queue.finish(third, verdict(), Instant::now());
    assert!(take(&mut queue).is_none(), "the fourth runs");
    queue.finish(fourth, verdict(), Instant::now());
    assert!(take(&mut queue).is_none(), "more may come");
    queue.end_of_jobs(submissions[0], None);
    let first = take(&mut queue).expect("a last try");
    assert!(first.last_try && take(&mut queue).is_none(), "alone");
    queue.finish(first, failure(), Instant::now());
    let second = take(&mut queue).expect("a last try");
    queue.finish(second, verdict(), Instant::now());
    let mut answers = Vec::new();
    while let Poll::Answer(place, answer) = queue.poll(submissions[0], Instant::now()) {
        answers.push((place, answer.is_ok()));
    }
    assert_eq!(answers, [(2, true), (3, true), (0, false), (1, true)]);
    assert!(matches!(queue.poll(submissions[0], Instant::now()), Poll::Ended));
}

#[test]
fn who_waits_for_the_answer_to_a_failure_gets_it_though_more_may_come() {
    let (mut queue, submissions) = queue(1, 8, &[("a", 1)]);
    let now = Instant::now();
    let started = queue.take(now).expect("a job");
    queue.finish(started, failure(), now);
    let Poll::Wait(_, Some(at)) = queue.poll(submissions[0], now) else { panic!("nothing to wait for") };
    assert!(queue.take(now).is_none() && at > now);
    assert!(matches!(queue.poll(submissions[0], at), Poll::Wait(_, None)));
    let again = queue.take(at).expect("a last try");
    queue.finish(again, failure(), at);
    assert!(matches!(queue.poll(submissions[0], at), Poll::Answer(0, Err(_))));
}

#[test]
fn failures_alone_never_fill_the_window_for_good() {
    let mut queue = Queue::new(1, 8);
    let submission = add(&mut queue, "a", 0);
    let mut answers = 0;
    for _ in 0..100 {
        while matches!(queue.room(submission), Room::Free) {
            queue.push(submission, job("a"), None, Instant::now());
        }
        if let Some(started) = take(&mut queue) {
            queue.finish(started, failure(), Instant::now());
        }
        if let Poll::Answer(_, answer) = queue.poll(submission, Instant::now()) {
            assert!(answer.is_err());
            answers += 1;
        }
    }
    assert!(answers > 20, "{answers}");
}

#[test]
fn after_the_deadline_everything_is_answered_and_nothing_starts() {
    let now = Instant::now();
    let deadline = now + Duration::from_secs(5);
    let mut queue = Queue::new(1, 8);
    let client = queue.add_client("a");
    let submission = queue.open(client, Some(deadline), now);
    for _ in 0..3 {
        queue.push(submission, job("a"), None, now);
    }
    let running = queue.take(now).expect("a job");
    assert!(matches!(queue.poll(submission, now), Poll::Wait(_, Some(at)) if at == deadline));
    queue.push(submission, job("late"), None, deadline);
    let mut places = Vec::new();
    while let Poll::Answer(place, answer) = queue.poll(submission, deadline) {
        assert_eq!(answer, Err(deadline_passed()));
        places.push(place);
    }
    assert_eq!(places, [3, 0, 1, 2]);
    assert!(running.cancelled.load(Ordering::Relaxed));
    queue.finish(running, verdict(), deadline);
    assert!(queue.take(deadline).is_none());
    assert!(matches!(queue.poll(submission, deadline), Poll::Wait(_, None)), "more may be pushed");
    queue.end_of_jobs(submission, None);
    assert!(matches!(queue.poll(submission, deadline), Poll::Ended));
}

#[test]
fn nothing_is_left_of_a_client_that_went() {
    let (mut queue, submissions) = queue(1, 8, &[("a", 3)]);
    let started = take(&mut queue).expect("a job");
    queue.release_client(1);
    queue.close(submissions[0]);
    assert!(started.cancelled.load(Ordering::Relaxed));
    assert_eq!(queue.clients.len(), 1, "something of it runs");
    queue.finish(started, verdict(), Instant::now());
    assert!(queue.clients.is_empty() && queue.submissions.is_empty() && queue.runs.is_empty());
    assert_eq!(queue.hot, 0);
}
