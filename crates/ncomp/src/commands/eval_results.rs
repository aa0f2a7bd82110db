//! EvalPlus's file of results (`evalplus.evaluate`), with our own words beside it.

use anyhow::Result;
use records::{Candidate, Outcome, Resource, Verdict, jsonl};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// `x.verdicts.jsonl` → `x_eval_results.json`.
pub(super) fn path_beside(verdicts: &Path) -> PathBuf {
    let name = verdicts.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.trim_end_matches(".jsonl").trim_end_matches(".verdicts");
    verdicts.with_file_name(format!("{stem}_eval_results.json"))
}

/// Writes the file.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn write(path: &Path, candidates: &[Candidate], verdicts: &[Verdict]) -> Result<()> {
    let codes: HashMap<(&str, usize), &str> =
        candidates.iter().map(|c| ((c.problem.as_str(), c.index), c.code.as_str())).collect();
    let mut by_problem: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
    for verdict in verdicts {
        by_problem.entry(&verdict.problem).or_default().push(verdict);
    }
    let mut eval = Map::new();
    for (id, mut verdicts) in by_problem {
        verdicts.sort_by_key(|verdict| verdict.index);
        let of =
            |verdict: &&Verdict| entry(verdict, codes.get(&(id, verdict.index)).copied().unwrap_or_default());
        eval.insert(id.to_owned(), verdicts.iter().map(of).collect());
    }
    let results = json!({ "eval": eval });
    Ok(jsonl::write_atomically(path, |file| file.write_all(results.to_string().as_bytes()))?)
}

fn entry(verdict: &Verdict, solution: &str) -> Value {
    let part = |name: &str| verdict.parts.iter().position(|(part, _)| part == name);
    let outcome = |name: &str| part(name).map(|at| verdict.parts[at].1);
    let mut entry = json!({
        "task_id": verdict.problem,
        "solution": solution,
        "base_status": status(outcome("base").unwrap_or(verdict.outcome)),
        "plus_status": outcome("plus").map_or(Value::Null, status),
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "tests": verdict.tests,
        "separation": verdict.separation,
        "isolation": verdict.isolation,
    });
    // A part has one result, which names the first input that fails and what came instead.
    for (name, field) in [("base", "base_fail_tests"), ("plus", "plus_fail_tests")] {
        let Some(result) = part(name).and_then(|at| verdict.tests.get(at)) else { continue };
        let fails = (result.outcome != Outcome::Passed).then_some(&result.detail);
        entry[field] = fails.into_iter().cloned().collect();
    }
    entry
}

/// EvalPlus's word. What the verifier failed on has none: it is neither a pass nor a fail.
fn status(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Passed => json!("pass"),
        Outcome::Limit(Resource::Time) => json!("timeout"),
        Outcome::Infrastructure => Value::Null,
        _ => json!("fail"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::TestResult;

    #[test]
    fn statuses_are_those_of_the_parts_where_there_are_parts() {
        let wrong = TestResult::failed(Outcome::Failed, "wrong answer", "f(3): 7");
        let verdict = Verdict {
            outcome: Outcome::Failed,
            tests: vec![TestResult::passed(), wrong],
            parts: vec![("base".into(), Outcome::Passed), ("plus".into(), Outcome::Failed)],
            ..Verdict::infrastructure("Mbpp/2", 0, "wrong answer")
        };
        let found = entry(&verdict, "x");
        assert_eq!((&found["base_status"], &found["plus_status"]), (&"pass".into(), &"fail".into()));
        assert_eq!((&found["base_fail_tests"], &found["plus_fail_tests"]), (&json!([]), &json!(["f(3): 7"])));
        // A check without such parts has base tests only.
        let late = Verdict { outcome: Outcome::Limit(Resource::Time), parts: Vec::new(), ..verdict };
        let found = entry(&late, "x");
        assert_eq!((&found["base_status"], &found["plus_status"]), (&"timeout".into(), &Value::Null));
        assert!(found.get("base_fail_tests").is_none());
    }

    #[test]
    fn what_the_verifier_failed_on_has_no_status() {
        let found = entry(&Verdict::infrastructure("p", 0, "no Python"), "x");
        assert_eq!((&found["base_status"], &found["reason"]), (&Value::Null, &"no Python".into()));
    }

    #[test]
    fn the_file_stands_beside_the_verdicts() {
        assert_eq!(path_beside("a/x.verdicts.jsonl".as_ref()), Path::new("a/x_eval_results.json"));
    }
}
