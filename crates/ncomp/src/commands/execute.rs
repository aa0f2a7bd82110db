//! `ncomp execute`: verdicts on a file of candidates.

use super::eval_results;
use super::limits::Limits;
use crate::context::{advised, watch};
use crate::progress::{Progress, interrupted};
use crate::samples::{self, problem_set};
use anyhow::{Result, bail, ensure};
use pipeline::verdicts::{outcomes, word};
use pipeline::{Done, stages};
use problems::samples::{Note, Samples};
use python::Check;
use records::{Candidate, Outcome, Problem, Separation, Verdict};
use report::statistics::{mean, pass_at_k};
use report::table::align;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use verify::{Client, ProblemError, Task};

/// Judges candidates, each in a sandboxed process of its own; resumes where it stopped. Without
/// --samples it judges the problems' own reference solutions, and programs that must fail.
///
/// Beside the verdicts it writes EvalPlus's *_eval_results.json.
#[derive(clap::Args)]
pub struct Execute {
    /// Candidates: our records, or samples with task_id and solution or completion, plain or gzip; or a
    /// directory as EvalPlus has it (Mbpp_11/0.py); - is standard input, and needs --out
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Problem set: basics, mbpp, mbpp-sanitized, humaneval, doctests:PACKAGE, or a file
    #[arg(long)]
    problems: String,
    /// File of verdicts to write [default: beside the samples]
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

impl Execute {
    pub(super) fn run(mut self) -> Result<()> {
        if self.samples.as_deref() == Some(Path::new("-")) {
            ensure!(
                self.out.is_some(),
                "--samples - reads standard input: name the file of verdicts with --out"
            );
            self.samples = Some("/dev/stdin".into());
        }
        let problems = problem_set(&self.problems)?;
        let Samples { candidates, notes } = match &self.samples {
            Some(path) => samples::read(path, &problems)?,
            None => Samples { candidates: references(&problems), ..Samples::default() },
        };
        ensure!(
            !candidates.is_empty() || self.samples.is_some(),
            "no problem of {} has a solution of its own; name candidates by --samples",
            self.problems
        );
        let out = self.out.clone().unwrap_or_else(|| match &self.samples {
            Some(samples) => samples.with_extension("verdicts.jsonl"),
            None => references_file(&self.problems),
        });
        let inputs = [self.samples.as_deref(), Some(Path::new(&self.problems))];
        samples::ensure_no_input(&out, &inputs.into_iter().flatten().collect::<Vec<_>>())?;
        let client = self.limits.start()?.client("execute");
        let judged: HashSet<&str> = candidates.iter().map(|candidate| candidate.problem.as_str()).collect();
        let asked = problems.iter().filter(|problem| judged.contains(problem.id.as_str()));
        let refused = refuse_unusable(&client, asked.collect())?;
        let done = stages::execute(watch(), "verdicts", &client, &problems, &candidates, &out);
        if done.map_err(advised)? == Done::Interrupted {
            errln!("stopped; the same command resumes from here ({})", out.display());
            return Ok(());
        }
        // The file may hold verdicts on candidates that these samples no longer have.
        let asked: HashSet<(&str, usize)> =
            candidates.iter().map(|candidate| (candidate.problem.as_str(), candidate.index)).collect();
        let mut verdicts = samples::read_verdicts(&out)?;
        verdicts.retain(|verdict| asked.contains(&(verdict.problem.as_str(), verdict.index)));
        let results = eval_results::path_beside(&out);
        eval_results::write(&results, &candidates, &verdicts)?;
        name_failures(&verdicts, &refused);
        if self.samples.is_some() {
            name_failing_references(&client, &problems, &verdicts);
        }
        let unasked = problems.len() - judged.len();
        if unasked > 0 {
            let whose = if self.samples.is_some() { "sample" } else { "solution of its own" };
            errln!("{unasked} of {} problems have no {whose} and are not counted", problems.len());
        }
        let unqualified = match self.samples {
            None => Some(unqualified(&client, &problems)),
            Some(_) => None,
        };
        print_verdicts(&verdicts, &notes, unqualified.as_ref(), unasked, self.json);
        if !self.json {
            outln!("{}\n{}", out.display(), results.display());
        }
        Ok(())
    }
}

/// Names the problems that no candidate can be judged by; the others go on, and the candidates of
/// these get `infrastructure`.
fn refuse_unusable(client: &Client, problems: Vec<&Problem>) -> Result<HashSet<String>> {
    let refused: Vec<ProblemError> =
        problems.iter().filter_map(|problem| client.pool().prepare([*problem]).err()).collect();
    if let [only] = &refused[..]
        && problems.len() == 1
    {
        bail!("{only}");
    }
    refused.iter().for_each(|error| errln!("not judged: {error}"));
    ensure!(
        refused.len() < problems.len() || problems.is_empty(),
        "none of the {} problems can be judged",
        problems.len()
    );
    Ok(refused.into_iter().map(|error| error.problem).collect())
}

/// Says what could not be judged, and why, once for each problem that was not named before: such candidates
/// are neither right nor wrong.
fn name_failures(verdicts: &[Verdict], named: &HashSet<String>) {
    let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let unjudged = |verdict: &&Verdict| verdict.outcome == Outcome::Infrastructure;
    for verdict in verdicts.iter().filter(unjudged).filter(|verdict| !named.contains(&verdict.problem)) {
        *reasons.entry((&verdict.problem, &verdict.reason)).or_default() += 1;
    }
    for ((problem, reason), count) in reasons.iter().take(MOST_NAMED) {
        errln!("not judged: {}: {problem}: {reason}", counted(*count, "candidate"));
    }
    if reasons.len() > MOST_NAMED {
        errln!("not judged: candidates of {} more problems", reasons.len() - MOST_NAMED);
    }
}

/// Reasons that are named one by one.
const MOST_NAMED: usize = 20;

/// A number of things.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Names the problems that no candidate passes and whose own solution does not either: the tests, or the
/// limits, may be what is wrong.
fn name_failing_references(client: &Client, problems: &[Problem], verdicts: &[Verdict]) {
    let passed: HashSet<&str> = verdicts.iter().filter(|v| v.passed()).map(|v| v.problem.as_str()).collect();
    let failed: HashSet<&str> = verdicts.iter().map(|v| v.problem.as_str()).collect();
    let doubtful = problems
        .iter()
        .filter(|problem| failed.contains(problem.id.as_str()) && !passed.contains(problem.id.as_str()));
    // EvalPlus's inputs are compared with what the reference gives: it passes.
    let has_plus = |problem: &&Problem| Check::of(problem).is_ok_and(|check| check.plus.is_some());
    let with_solution = doubtful
        .filter(|problem| !has_plus(problem))
        .filter_map(|problem| Some((problem, problem.references.first()?)));
    let tasks: Vec<Task> =
        with_solution.map(|(problem, solution)| Task { problem, index: 0, solution }).collect();
    client.judge_all(&tasks, &mut |verdict| {
        if !verdict.passed() && verdict.outcome != Outcome::Infrastructure {
            let how = word(verdict.outcome, &verdict.reason);
            errln!("{}: its own solution does not pass its tests either: {how}", verdict.problem);
        }
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

/// Problems whose tests let a program pass that answers nothing.
#[derive(Serialize)]
pub(super) struct Unqualified {
    /// Whether all problems were looked at.
    complete: bool,
    /// The problems looked at.
    looked_at: usize,
    /// Problem, and the program that passes its tests.
    pub(super) fooled: Vec<(String, &'static str)>,
}

const STUBS: [&str; 3] = ["an empty program", "a stub that returns None", "an object equal to everything"];

/// Has programs judged that answer nothing, and names the problems whose tests let one pass.
pub(super) fn unqualified(client: &Client, problems: &[Problem]) -> Unqualified {
    let mut tasks = Vec::new();
    let stubs: Vec<[String; 3]> = problems.iter().map(|problem| stubs(&problem.shown.name)).collect();
    for (problem, stubs) in problems.iter().zip(&stubs) {
        tasks.extend(stubs.iter().enumerate().map(|(index, solution)| Task { problem, index, solution }));
    }
    let mut progress = Progress::start("programs that answer nothing", tasks.len(), 0);
    let (mut passed, mut unjudged, mut looked_at) = (Vec::new(), BTreeMap::new(), HashSet::new());
    client.judge_all(&tasks, &mut |verdict| {
        progress.advance(1);
        if verdict.passed() {
            passed.push((verdict.problem.clone(), verdict.index));
        }
        if verdict.outcome == Outcome::Infrastructure {
            unjudged.insert(verdict.problem, verdict.reason);
        } else {
            looked_at.insert(verdict.problem);
        }
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    passed.sort();
    for (problem, stub) in &passed {
        errln!("{problem}: {} passes its tests; they say nothing about it", STUBS[*stub]);
    }
    for (problem, reason) in &unjudged {
        errln!("not judged: {problem}: {reason}");
        looked_at.remove(problem);
    }
    let complete = !interrupted();
    if complete {
        let fooled: HashSet<&String> = passed.iter().map(|(problem, _)| problem).collect();
        let good = looked_at.iter().filter(|problem| !fooled.contains(problem)).count();
        errln!("{good} of {} problems fail {}", problems.len(), STUBS.join(", "));
    } else {
        errln!("stopped: not all problems were tried with programs that answer nothing");
    }
    let fooled = passed.into_iter().map(|(problem, stub)| (problem, STUBS[stub])).collect();
    Unqualified { complete, looked_at: looked_at.len(), fooled }
}

/// Where the verdicts on a set's own solutions go: named after the set, in the current directory.
fn references_file(problems: &str) -> PathBuf {
    let name = Path::new(problems).file_name().map_or_else(|| problems.into(), |name| name.to_string_lossy());
    let stem = name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or("problems");
    format!("{stem}.references.verdicts.jsonl").into()
}

/// Programs that no tests worth the name let pass.
fn stubs(entry_point: &str) -> [String; 3] {
    let equal = "class Equal:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    def __getattr__(self, name): return self\n    def __call__(self, *a, **k): return self\n    def __bool__(self): return True\n    __hash__ = object.__hash__";
    [
        String::new(),
        format!("def {entry_point}(*a, **k): return None"),
        format!("{equal}\ndef {entry_point}(*a, **k): return Equal()"),
    ]
}

/// Each problem's own first solution, as a candidate.
pub(super) fn references(problems: &[Problem]) -> Vec<Candidate> {
    let with_reference = problems.iter().filter_map(|problem| Some((problem, problem.references.first()?)));
    let candidate = |(problem, code): (&Problem, &String)| Candidate {
        problem: problem.id.clone(),
        code: code.clone(),
        generator: "reference".into(),
        ..Candidate::default()
    };
    with_reference.map(candidate).collect()
}

/// How many candidates of each problem were judged, and how many of them passed.
type Counts<'a> = BTreeMap<&'a str, (usize, usize)>;

/// What the verifier itself failed on is neither a pass nor a fail: it is counted in the table alone.
fn counts<'a>(verdicts: &'a [Verdict], outcome: &dyn Fn(&Verdict) -> Option<Outcome>) -> Counts<'a> {
    let mut by_problem = Counts::new();
    for verdict in verdicts {
        let Some(outcome) = outcome(verdict).filter(|&outcome| outcome != Outcome::Infrastructure) else {
            continue;
        };
        let counts = by_problem.entry(&verdict.problem).or_default();
        counts.0 += 1;
        counts.1 += usize::from(outcome == Outcome::Passed);
    }
    by_problem
}

/// pass@1, 10 and 100, as far as there are candidates for it.
fn passes(counts: &Counts) -> Vec<(usize, f64)> {
    let smallest = counts.values().map(|counts| counts.0).min().unwrap_or(0);
    let at = |k: usize| mean(&counts.values().map(|&(n, c)| pass_at_k(n, c, k)).collect::<Vec<_>>());
    [1, 10, 100].into_iter().filter(|&k| k <= smallest).map(|k| (k, at(k))).collect()
}

fn print_verdicts(
    verdicts: &[Verdict],
    notes: &[Note],
    unqualified: Option<&Unqualified>,
    unasked: usize,
    as_json: bool,
) {
    let list_failures = unqualified.is_some();
    let all = counts(verdicts, &|verdict| Some(verdict.outcome));
    let base = counts(verdicts, &|verdict| {
        verdict.parts.iter().find(|(part, _)| part == "base").map(|(_, outcome)| *outcome)
    });
    let failures: Vec<&Verdict> =
        verdicts.iter().filter(|verdict| list_failures && !verdict.passed()).collect();
    let outcomes = outcomes(verdicts);
    let how = separations_and_tiers(verdicts);
    if as_json {
        let named = |counts: &Counts| -> BTreeMap<String, f64> {
            passes(counts).into_iter().map(|(k, share)| (format!("pass@{k}"), share)).collect()
        };
        let failures: Vec<Value> = failures
            .iter()
            .map(|v| json!({"problem": v.problem, "outcome": v.outcome, "reason": v.reason}))
            .collect();
        let how: Vec<Value> = how
            .into_iter()
            .map(
                |((separation, tier), count)| json!({"separation": separation, "tier": tier, "count": count}),
            )
            .collect();
        let mut found = json!({
            "candidates": verdicts.len(),
            "problems": all.len(),
            "pass": named(&all),
            "outcomes": outcomes.into_iter().collect::<BTreeMap<String, usize>>(),
            "failures": failures,
            "separations": how,
            "notes": notes,
            "problems_without_candidates": unasked,
        });
        if let Some(unqualified) = unqualified {
            found["answers_nothing"] = json!(unqualified);
        }
        if !base.is_empty() {
            found["base_pass"] = json!(named(&base));
        }
        outln!("{found}");
        return;
    }
    let mut lines = vec![["outcome".to_owned(), "candidates".into(), "share".into()]];
    for (name, count) in outcomes {
        let share = 100.0 * count as f64 / verdicts.len().max(1) as f64;
        lines.push([name.replace('_', " "), count.to_string(), format!("{share:.1} %")]);
    }
    out!("{}", align(&lines));
    for ((separation, tier), count) in how {
        outln!("{count} judged at isolation tier {tier}, separation {}", separation.name());
    }
    for (k, share) in passes(&base) {
        outln!("pass@{k}, base tests: {:.1} % of {}", 100.0 * share, counted(base.len(), "problem"));
    }
    let which = if base.is_empty() { "" } else { ", base and plus tests" };
    for (k, share) in passes(&all) {
        outln!("pass@{k}{which}: {:.1} % of {}", 100.0 * share, counted(all.len(), "problem"));
    }
    for verdict in failures {
        let detail = verdict.first_failure().map_or("", |(_, test)| &test.detail);
        let why = match verdict.outcome {
            Outcome::Infrastructure => &verdict.reason,
            _ => detail,
        };
        outln!("{}: {} {why}", verdict.problem, word(verdict.outcome, &verdict.reason));
    }
}

/// How many verdicts were made with each separation at each tier. What was not judged has neither.
fn separations_and_tiers(verdicts: &[Verdict]) -> BTreeMap<(Separation, &str), usize> {
    let mut counts = BTreeMap::new();
    for verdict in verdicts {
        if let Some(separation) = verdict.separation {
            *counts.entry((separation, verdict.isolation.as_str())).or_default() += 1;
        }
    }
    counts
}
