//! Many tasks at once.

use super::*;
use crate::Task;
use std::ops::ControlFlow;

fn task<'a>(problem: &'a Problem, index: usize, solution: &'a str) -> Task<'a> {
    Task { problem, index, solution }
}

fn judge(pool: &Pool, tasks: &[Task]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    pool.client("a").judge_all(tasks, &mut |verdict| {
        verdicts.push(verdict);
        ControlFlow::Continue(())
    });
    verdicts.sort_by_key(|verdict| verdict.index);
    verdicts
}

#[test]
fn equal_tasks_run_once_and_each_gets_its_verdict() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let (p, q) = (problem("p"), problem("q"));
    let r = Problem { references: vec!["another".into()], ..problem("r") };
    let tasks = [
        task(&p, 10, "right"),
        task(&p, 11, "wrong"),
        task(&p, 12, "right"),
        task(&q, 13, "right"),
        task(&r, 14, "right"),
    ];
    let verdicts = judge(&pool, &tasks);
    let ids: Vec<_> = verdicts.iter().map(|verdict| (verdict.index, verdict.problem.as_str())).collect();
    assert_eq!(ids, [(10, "p"), (11, "p"), (12, "p"), (13, "q"), (14, "r")]);
    for (verdict, task) in verdicts.iter().zip(&tasks) {
        assert_eq!(verdict.passed(), task.solution == "right");
        assert_eq!(verdict.fingerprint, pool.key(task, &Ask::Judge));
    }
    // q asks what p asks, under another name; r has another reference.
    assert_eq!((log.count("start right"), log.count("start wrong")), (2, 1));
}

#[test]
fn many_tasks_all_come_back() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let problem = problem("p");
    let solutions: Vec<String> = (0..300).map(|number| format!("right {}", number % 100)).collect();
    let tasks: Vec<Task> =
        solutions.iter().enumerate().map(|(index, solution)| task(&problem, index, solution)).collect();
    let verdicts = judge(&pool, &tasks);
    assert!(verdicts.iter().enumerate().all(|(index, verdict)| verdict.index == index && verdict.passed()));
    assert_eq!((verdicts.len(), log.count("start")), (300, 100));
    assert!(judge(&pool, &[]).is_empty());
}

#[test]
fn what_the_verifier_fails_on_is_infrastructure() {
    let (pool, _) = start(settings(2, NO_SLICE));
    let p = problem("p");
    let other = Problem { check: Check { domain: "magic".into(), ..Check::default() }, ..problem("other") };
    let tasks =
        [task(&p, 0, "fail 9"), task(&other, 1, "right"), task(&p, 2, "right"), task(&p, 3, "fail 9")];
    let verdicts = judge(&pool, &tasks);
    let reasons: Vec<_> = verdicts.iter().map(|verdict| (verdict.outcome, verdict.reason.as_str())).collect();
    let missing = "check.domain: nothing here verifies \"magic\"; expected one of: fake";
    assert_eq!(
        reasons,
        [
            (Outcome::Infrastructure, "told to fail"),
            (Outcome::Infrastructure, missing),
            (Outcome::Passed, ""),
            (Outcome::Infrastructure, "told to fail")
        ]
    );
    assert_eq!(verdicts[0].fingerprint, pool.key(&tasks[0], &Ask::Judge));
}

#[test]
fn breaking_off_cancels_the_rest() {
    let (pool, log) = start(settings(1, NO_SLICE));
    let problem = problem("p");
    let solutions = ["right", "loop", "right never"];
    let tasks = solutions.map(|solution| task(&problem, 0, solution));
    let mut verdicts = 0;
    let client = pool.client("a");
    client.judge_all(&tasks, &mut |_| {
        verdicts += 1;
        ControlFlow::Break(())
    });
    assert_eq!(outcomes(submit(&client, &["wrong"])), ["failed"]);
    assert_eq!((verdicts, log.count("start right never")), (1, 0));
    assert_eq!(log.count("start loop"), log.count("end loop"));
}

#[test]
fn visible_verdicts_have_keys_of_their_own() {
    let (pool, _) = start(settings(1, NO_SLICE));
    let problem = problem("p");
    let tasks = [task(&problem, 5, "right")];
    let mut verdicts = Vec::new();
    pool.client("a").judge_visible(&tasks, &mut |verdict| {
        verdicts.push(verdict);
        ControlFlow::Continue(())
    });
    assert_eq!((verdicts.len(), verdicts[0].index, verdicts[0].passed()), (1, 5, true));
    assert_eq!(verdicts[0].fingerprint, pool.key(&tasks[0], &Ask::JudgeVisible));
    assert_ne!(verdicts[0].fingerprint, pool.key(&tasks[0], &Ask::Judge));
}

#[test]
fn observations_come_for_every_task_and_inputs_are_asked_for_once_a_problem() {
    let (pool, log) = start(settings(2, NO_SLICE));
    let (p, q) = (problem("p"), problem("q"));
    let tasks = [task(&p, 0, "right"), task(&q, 0, "right"), task(&p, 1, "right"), task(&p, 2, "fail 9")];
    let asked = AtomicUsize::new(0);
    let inputs = |problem: &Problem| -> Arc<[String]> {
        asked.fetch_add(1, Ordering::SeqCst);
        [format!("{} a", problem.id), format!("{} b", problem.id)].into()
    };
    let mut seen = Vec::new();
    pool.client("a").observe_all(&tasks, &inputs, &mut |place, observations| {
        let texts = observations.map(|all| all.iter().map(|one| one.text.clone()).collect::<Vec<_>>());
        seen.push((place, texts));
        ControlFlow::Continue(())
    });
    seen.sort();
    let texts = |id: &str| Some(vec![format!("{id} A"), format!("{id} B")]);
    assert_eq!(seen, [(0, texts("P")), (1, texts("Q")), (2, texts("P")), (3, None)]);
    assert_eq!((asked.into_inner(), log.count("start right")), (2, 2));
}
