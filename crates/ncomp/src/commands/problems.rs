//! `ncomp problems`: a problem set as a file of our records.

use super::execute::{references, unqualified};
use super::limits::Limits;
use crate::progress::{Progress, interrupted};
use crate::samples::problem_set;
use ::problems::doctests::{self, Dropped};
use ::problems::sets::DOCTESTS;
use anyhow::{Result, bail};
use pipeline::verdicts::word;
use records::{Candidate, Outcome, Problem, jsonl};
use report::table::align;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;
use verify::{Client, Task};

/// Keeps the problems whose own solution passes their tests, and whose tests no program passes that
/// answers nothing, and writes them as our records.
#[derive(clap::Args)]
pub struct Problems {
    /// Problem set: doctests:PACKAGE or doctests:PATH for the documented functions of Python code, whose
    /// docstrings have examples; or any other that --problems takes
    source: String,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    limits: Limits,
    /// Print the counts as JSON, with each problem that was dropped
    #[arg(long)]
    json: bool,
}

impl Problems {
    pub(super) fn run(self) -> Result<()> {
        let (problems, mut dropped) = match self.source.strip_prefix(DOCTESTS) {
            Some(target) => {
                let collected = doctests::collect(self.limits.python(), target)?;
                (collected.problems, collected.dropped)
            }
            None => (problem_set(&self.source)?, Vec::new()),
        };
        let client = self.limits.start()?.client("problems");
        let mut reasons = failures(&client, &problems);
        let sound: Vec<Problem> =
            problems.iter().filter(|problem| !reasons.contains_key(&problem.id)).cloned().collect();
        if !interrupted() {
            let fooled = unqualified(&client, &sound).fooled;
            reasons.extend(fooled.into_iter().map(|(id, stub)| (id, format!("{stub} passes its tests"))));
        }
        if interrupted() {
            bail!("stopped before all problems were judged; nothing was written");
        }
        let kept: Vec<&Problem> =
            problems.iter().filter(|problem| !reasons.contains_key(&problem.id)).collect();
        let failed = problems.iter().filter_map(|problem| {
            let reason = reasons.get(&problem.id)?.clone();
            Some(Dropped { function: problem.id.clone(), reason })
        });
        dropped.extend(failed);
        jsonl::write(&self.out, kept.iter().copied())?;
        self.print(kept.len(), &dropped);
        Ok(())
    }

    fn print(&self, kept: usize, dropped: &[Dropped]) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        dropped.iter().for_each(|dropped| *counts.entry(&dropped.reason).or_default() += 1);
        if self.json {
            let names: Vec<_> = dropped
                .iter()
                .map(|dropped| json!({"problem": dropped.function, "reason": dropped.reason}))
                .collect();
            outln!("{}", json!({"kept": kept, "dropped": names, "out": self.out}));
            return;
        }
        let mut lines = vec![["problems".to_owned(), String::new()], [kept.to_string(), "kept".to_owned()]];
        lines.extend(
            counts.into_iter().map(|(reason, count)| [count.to_string(), format!("dropped: {reason}")]),
        );
        out!("{}", align(&lines));
        outln!("{}", self.out.display());
    }
}

/// Problems that their own solution does not pass, or that have none, each with why.
fn failures(client: &Client, problems: &[Problem]) -> HashMap<String, String> {
    let candidates = references(problems);
    let by_id: HashMap<&str, &Candidate> =
        candidates.iter().map(|candidate| (candidate.problem.as_str(), candidate)).collect();
    let mut tasks = Vec::new();
    let mut reasons = HashMap::new();
    for problem in problems {
        match by_id.get(problem.id.as_str()) {
            Some(candidate) => tasks.push(Task { problem, index: 0, solution: &candidate.code }),
            None => drop(reasons.insert(problem.id.clone(), "it has no solution of its own".to_owned())),
        }
    }
    let mut progress = Progress::start("solutions of the set", tasks.len(), 0);
    client.judge_all(&tasks, &mut |verdict| {
        progress.advance(1);
        if !verdict.passed() {
            let why = match verdict.outcome {
                Outcome::Infrastructure => "it cannot be judged".to_owned(),
                outcome => format!("its own solution does not pass: {}", word(outcome, &verdict.reason)),
            };
            errln!("{}: {why}{}", verdict.problem, detail(&verdict));
            reasons.insert(verdict.problem, why);
        }
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.finish();
    reasons
}

/// What a verdict says beyond its outcome.
fn detail(verdict: &records::Verdict) -> String {
    let detail = verdict.first_failure().map_or("", |(_, test)| test.detail.as_str());
    let detail = if detail.is_empty() { verdict.reason.as_str() } else { detail };
    format!(" ({})", detail.lines().next().unwrap_or_default())
}
