//! Tasks that come one after another.

use super::*;

#[test]
fn what_is_added_runs_at_once_and_each_gets_its_verdict_in_order() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let (p, r) = (problem("p"), Problem { references: vec!["another".into()], ..problem("r") });
    let client = pool.client("a");
    let mut judging = client.judging();
    for (problem, index, solution) in [(&p, 3, "wrong"), (&p, 1, "right"), (&p, 2, "wrong"), (&r, 1, "wrong")]
    {
        judging.add(problem, index, solution);
    }
    // Nobody has said that these are all.
    wait_for("the first verdicts", || log.count("end") == 3);
    judging.add(&p, 9, "right");
    let verdicts = judging.finish();
    let found: Vec<_> =
        verdicts.iter().map(|verdict| (verdict.problem.as_str(), verdict.index, verdict.passed())).collect();
    assert_eq!(found, [("p", 3, false), ("p", 1, true), ("p", 2, false), ("r", 1, false), ("p", 9, true)]);
    assert_eq!((log.count("start wrong"), log.count("start right")), (2, 1), "equal ones run once");
    let task = crate::Task { problem: &p, index: 9, solution: "right" };
    assert_eq!(verdicts[4].fingerprint, pool.key(&task, &Ask::Judge));
}

#[test]
fn far_more_than_the_pool_holds_come_through() {
    let (pool, _) = start(settings(2, NO_SLICE));
    let p = problem("p");
    let client = pool.client("a");
    let mut judging = client.judging();
    (0..500).for_each(|number| judging.add(&p, number, &format!("right {number}")));
    judging.add(&p, 500, "fail");
    let verdicts = judging.finish();
    assert!(verdicts[..500].iter().enumerate().all(|(at, verdict)| verdict.index == at && verdict.passed()));
    assert_eq!(verdicts[500].outcome, Outcome::Infrastructure);
    assert!(client.judging().finish().is_empty());
}

#[test]
fn what_is_dropped_ends() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let p = problem("p");
    let client = pool.client("a");
    let mut judging = client.judging();
    judging.add(&p, 0, "loop");
    judging.add(&p, 1, "right");
    wait_for("the loop", || log.count("start loop") == 1);
    let started = Instant::now();
    drop(judging);
    wait_for("its end", || log.count("end loop") == 1);
    assert!(started.elapsed() < LONG / 2);
    assert_eq!(log.count("start right"), 0, "what waited is given up");
}
