//! A finished run as the page shows it.

use crate::verdicts::{self, tests_of, word};
use crate::{Error, Result, Watch};
use records::{Candidate, Outcome, Problem, Score, Verdict, jsonl};
use report::html::Report;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// The run's table, and every problem with its candidates, those that the critic likes first.
///
/// # Errors
/// Where a file of the run is missing or damaged.
pub fn run_json(run: &Path, watch: Watch) -> Result<String> {
    let path = run.join("report.json");
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable {
        path: path.clone(),
        expected: Some("the directory of a finished run"),
        source,
    })?;
    let report: Report = serde_json::from_str(&text).map_err(|source| Error::Damaged {
        path,
        advice: "delete it, and the run makes it again",
        source,
    })?;
    // In the shape of any version.
    let problems = problems::sets::read_file(&run.join("problems/test.jsonl"))?;
    let candidates: Vec<Candidate> = jsonl::read(&run.join("generated/pool.jsonl"))?;
    let verdicts = verdicts::read(&run.join("verdicts/pool.jsonl"), watch)?;
    let scores: Vec<Score> = jsonl::read(&run.join("scores/pool.jsonl"))?;
    let verdicts: HashMap<(&str, usize), &Verdict> =
        verdicts.iter().map(|verdict| ((verdict.problem.as_str(), verdict.index), verdict)).collect();
    let scores: HashMap<(&str, usize), f64> =
        scores.iter().map(|score| ((score.problem.as_str(), score.index), score.critic)).collect();
    let tests: HashMap<&str, Vec<String>> =
        problems.iter().map(|problem| (problem.id.as_str(), tests_of(problem))).collect();
    let mut by_problem: HashMap<&str, Vec<Value>> = HashMap::new();
    for candidate in &candidates {
        let key = (candidate.problem.as_str(), candidate.index);
        let tests = tests.get(key.0).map(Vec::as_slice).unwrap_or_default();
        let verdict = verdicts.get(&key).copied();
        by_problem.entry(key.0).or_default().push(shown(
            candidate,
            tests,
            verdict,
            scores.get(&key).copied(),
        ));
    }
    let problem = |problem: &Problem| {
        let mut candidates = by_problem.remove(problem.id.as_str()).unwrap_or_default();
        let score = |candidate: &Value| candidate["score"].as_f64().unwrap_or(-1.0);
        candidates.sort_by(|a, b| score(b).total_cmp(&score(a)));
        json!({
            "id": problem.id,
            "text": problem.shown.statement,
            "tests": tests.get(problem.id.as_str()),
            "candidates": candidates,
        })
    };
    let problems: Vec<Value> = problems.iter().map(problem).collect();
    Ok(json!({
        "title": report.title,
        "summary": report.summary,
        "rows": report.rows,
        "problems": problems,
    })
    .to_string())
}

fn shown(candidate: &Candidate, tests: &[String], verdict: Option<&Verdict>, score: Option<f64>) -> Value {
    let outcome = verdict.map_or(Outcome::Infrastructure, |verdict| verdict.outcome);
    let reason = verdict.map_or("", |verdict| verdict.reason.as_str());
    let failed = verdict.and_then(|verdict| {
        let results = verdict.tests.iter().zip(tests);
        results.into_iter().find(|(result, _)| result.outcome != Outcome::Passed)
    });
    json!({
        "code": candidate.code,
        "passed": outcome == Outcome::Passed,
        "outcome": word(outcome, reason),
        "failed_test": failed.map(|(_, test)| test),
        "came_instead": failed.map(|(result, _)| &result.detail),
        "score": score,
    })
}
