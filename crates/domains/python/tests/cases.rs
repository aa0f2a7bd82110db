//! The verdict cases of `../shared/data/verdicts`: programs that fooled the judge or failed though
//! they are right, each with the verdict it must get. At tiers A, B and C, with one, two and six
//! workers, in file order and reversed: no verdict differs. Tiers B and C run with six workers alone
//! unless `NCOMP_TEST_ALL` is set: that takes three minutes more.

mod support;

use python::{Python, Settings, Tier, extract};
use records::{Outcome, Problem, Verdict};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use verify::{Pool, Task};

#[derive(Deserialize)]
struct Case {
    name: String,
    problem: Value,
    solution: String,
    expected: String,
    #[serde(default)]
    siblings: Vec<String>,
}

/// A case's problem and the programs to judge, its own last.
struct Prepared {
    name: String,
    passes: bool,
    problem: Problem,
    programs: Vec<String>,
}

fn cases() -> Option<Vec<Prepared>> {
    let text = support::shared("verdicts/cases.jsonl")?;
    let cases = text.lines().map(|line| {
        let case: Case = serde_json::from_str(line).expect("a case");
        let problem = support::problem(&case.name, &case.problem);
        let program = |text: &String| match text.strip_prefix("(completion) ") {
            Some(completion) => extract::extract_code(completion, &problem.shown.name),
            None => text.clone(),
        };
        let programs = case.siblings.iter().chain([&case.solution]).map(program).collect();
        Prepared { passes: case.expected == "pass", name: case.name, problem, programs }
    });
    Some(cases.collect())
}

/// Outcomes by case, of the case's own program.
fn judged(cases: &[&Prepared], tier: Tier, workers: usize) -> Option<BTreeMap<String, Verdict>> {
    let python = match Python::at_tier(Settings::default(), tier) {
        Err(error @ python::Error::Isolation { .. }) => {
            eprintln!("SKIPPED: {error}");
            return None;
        }
        other => other.expect("Python"),
    };
    let settings = verify::Settings { workers, ..verify::Settings::default() };
    let pool = Pool::start(vec![Arc::new(python)], settings).expect("a pool");
    let client = pool.client("cases");
    let tasks: Vec<Task> = cases
        .iter()
        .enumerate()
        .flat_map(|(index, case)| {
            case.programs.iter().map(move |solution| Task { problem: &case.problem, index, solution })
        })
        .collect();
    let mut verdicts = BTreeMap::new();
    let mut add = |verdict: Verdict| {
        let case = cases[verdict.index];
        // Siblings share the index: the case's own program comes last among its tasks.
        let own = tasks.iter().rfind(|task| task.index == verdict.index).expect("a task");
        if pool.key(own, &verify::Ask::Judge) == verdict.fingerprint {
            verdicts.insert(case.name.clone(), verdict);
        }
        ControlFlow::Continue(())
    };
    client.judge_all(&tasks, &mut add);
    Some(verdicts)
}

fn check(tier: Tier) {
    let Some(cases) = cases() else { return };
    let mut wrong = Vec::new();
    let forward: Vec<&Prepared> = cases.iter().collect();
    let backward: Vec<&Prepared> = cases.iter().rev().collect();
    let mut first: Option<BTreeMap<String, bool>> = None;
    let is_whole = tier == Tier::A || std::env::var_os("NCOMP_TEST_ALL").is_some();
    let runs = [(&forward, 1), (&backward, 2), (&forward, 6)];
    for &(order, workers) in if is_whole { &runs[..] } else { &runs[2..] } {
        let started = std::time::Instant::now();
        let Some(verdicts) = judged(order, tier, workers) else { return };
        eprintln!("tier {}, {workers} workers: {:.1} s", tier.name(), started.elapsed().as_secs_f64());
        assert_eq!(verdicts.len(), cases.len());
        for case in &cases {
            let verdict = &verdicts[&case.name];
            let missing_package = case.name.contains("numpy") && !case.passes;
            let lost = verdict.outcome == Outcome::Infrastructure && !missing_package;
            if verdict.passed() != case.passes || lost {
                wrong.push(format!(
                    "{workers} workers, {}: {} {} {:?}",
                    case.name,
                    verdict.outcome.name(),
                    verdict.reason,
                    verdict.tests
                ));
            }
        }
        let passed: BTreeMap<String, bool> =
            verdicts.iter().map(|(name, verdict)| (name.clone(), verdict.passed())).collect();
        assert_eq!(first.get_or_insert_with(|| passed.clone()), &passed, "verdicts differ between runs");
    }
    assert!(wrong.is_empty(), "tier {}: {} wrong\n{}", tier.name(), wrong.len(), wrong.join("\n"));
}

#[test]
fn every_verdict_is_right_at_tier_a() {
    check(Tier::A);
}

#[test]
fn every_verdict_is_right_at_tier_b() {
    check(Tier::B);
}

#[test]
fn every_verdict_is_right_at_tier_c() {
    check(Tier::C);
}
