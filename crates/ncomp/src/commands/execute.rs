//! `ncomp execute`: verdicts on a file of candidates.

use crate::progress::interrupted;
use crate::recipe::ExecutorRecipe;
use crate::samples::{self, Note, Samples, problem_set};
use crate::stages::{self, Done};
use anyhow::Result;
use executor::{Executor, Task, Tier};
use records::{Candidate, Outcome, Problem, Verdict, jsonl};
use report::statistics::{mean, pass_at_k};
use report::table::align;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Limits on candidates, on the command line.
#[derive(clap::Args)]
pub(super) struct Limits {
    /// Candidates at the same time [default: one for each processor]
    #[arg(long)]
    workers: Option<usize>,
    /// CPU seconds of a candidate with all its tests
    #[arg(long, default_value_t = 2.0)]
    timeout: f64,
    /// Address space of a candidate in MiB
    #[arg(long, default_value_t = 1024)]
    memory: u64,
    /// The interpreter
    #[arg(long, default_value = "python3")]
    python: String,
    /// The weakest isolation to put up with: A, B, C or D (see `ncomp doctor`)
    #[arg(long, default_value = "C")]
    require_tier: Tier,
}

impl Limits {
    /// An executor with these limits.
    pub(super) fn start(&self) -> Result<Executor> {
        Ok(Executor::start(self.settings())?)
    }

    /// The limits as the executor has them.
    pub(super) fn settings(&self) -> executor::Settings {
        let recipe = ExecutorRecipe {
            python: self.python.clone(),
            workers: self.workers.unwrap_or(0),
            timeout: self.timeout,
            memory: self.memory,
            require_tier: self.require_tier,
        };
        recipe.settings()
    }
}

/// Judges candidates, each in a sandboxed process of its own; goes on where it stopped. Without
/// --samples it judges the problems' own reference solutions, and programs that must fail.
///
/// Beside the verdicts it writes EvalPlus's *_eval_results.json.
#[derive(clap::Args)]
pub struct Execute {
    /// Candidates: our records, or samples with task_id and solution or completion, plain or gzip; or a
    /// directory as EvalPlus has it (Mbpp_11/0.py)
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Problem set: mbpp, mbpp-sanitized, humaneval, or a file
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
    pub(super) fn run(self) -> Result<()> {
        let problems = problem_set(&self.problems)?;
        let Samples { candidates, notes } = match &self.samples {
            Some(path) => samples::read(path, &problems)?,
            None => Samples { candidates: references(&problems), ..Samples::default() },
        };
        let beside = self
            .samples
            .clone()
            .unwrap_or_else(|| "references.jsonl".into())
            .with_extension("verdicts.jsonl");
        let out = self.out.unwrap_or(beside);
        let executor = self.limits.start()?;
        let judged: HashSet<&str> = candidates.iter().map(|candidate| candidate.problem.as_str()).collect();
        executor.check_tests(problems.iter().filter(|problem| judged.contains(problem.id.as_str())))?;
        if stages::execute("verdicts", &executor, &problems, &candidates, &out)? == Done::Interrupted {
            eprintln!("stopped; the same command goes on from here ({})", out.display());
            return Ok(());
        }
        // The file may hold verdicts on candidates that these samples no longer have.
        let asked: HashSet<(&str, usize)> =
            candidates.iter().map(|candidate| (candidate.problem.as_str(), candidate.index)).collect();
        let mut verdicts: Vec<Verdict> = jsonl::read(&out)?;
        verdicts.retain(|verdict| asked.contains(&(verdict.problem.as_str(), verdict.index)));
        let results = eval_results_path(&out);
        write_eval_results(&results, &candidates, &verdicts)?;
        print_verdicts(&verdicts, &notes, self.samples.is_none(), self.json);
        if self.samples.is_none() {
            list_unqualified(&executor, &problems);
        }
        if !self.json {
            println!("{}\n{}", out.display(), results.display());
        }
        Ok(())
    }
}

/// `x.verdicts.jsonl` → `x_eval_results.json`.
fn eval_results_path(verdicts: &Path) -> PathBuf {
    let name = verdicts.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.trim_end_matches(".jsonl").trim_end_matches(".verdicts");
    verdicts.with_file_name(format!("{stem}_eval_results.json"))
}

/// EvalPlus's file of results, with our own word beside it. What the executor failed on has no
/// status: it is neither a pass nor a fail.
fn write_eval_results(path: &Path, candidates: &[Candidate], verdicts: &[Verdict]) -> Result<()> {
    let codes: HashMap<(&str, usize), &str> =
        candidates.iter().map(|c| ((c.problem.as_str(), c.index), c.code.as_str())).collect();
    let mut by_problem: BTreeMap<&str, Vec<(usize, Value)>> = BTreeMap::new();
    for verdict in verdicts {
        let status = match verdict.outcome {
            Outcome::Passed => json!("pass"),
            Outcome::Timeout => json!("timeout"),
            Outcome::Infrastructure => Value::Null,
            _ => json!("fail"),
        };
        let entry = json!({
            "task_id": verdict.problem,
            "solution": codes.get(&(verdict.problem.as_str(), verdict.index)),
            "base_status": status,
            "plus_status": null,
            "outcome": verdict.outcome,
            "tests": verdict.tests,
            "mode": verdict.mode,
            "isolation": verdict.isolation,
        });
        by_problem.entry(&verdict.problem).or_default().push((verdict.index, entry));
    }
    let eval = by_problem.into_iter().map(|(problem, mut entries)| {
        entries.sort_by_key(|(index, _)| *index);
        (problem.to_owned(), entries.into_iter().map(|(_, entry)| entry).collect())
    });
    let results = json!({ "eval": eval.collect::<serde_json::Map<String, Value>>() });
    Ok(jsonl::write_atomically(path, |file| file.write_all(results.to_string().as_bytes()))?)
}

/// Names the problems whose tests let a program pass that answers nothing.
fn list_unqualified(executor: &Executor, problems: &[Problem]) {
    let mut tasks = Vec::new();
    let stubs: Vec<[String; 3]> = problems.iter().map(|problem| stubs(&problem.entry_point)).collect();
    for (problem, stubs) in problems.iter().zip(&stubs) {
        tasks.extend(stubs.iter().enumerate().map(|(index, code)| Task { problem, index, code }));
    }
    let mut passed = Vec::new();
    executor.judge_all(&tasks, &mut |verdict| {
        if verdict.passed() {
            passed.push((verdict.problem, verdict.index));
        }
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let names = ["an empty program", "a stub that returns None", "an object equal to everything"];
    passed.sort();
    for (problem, stub) in &passed {
        eprintln!("{problem}: {} passes its tests; they say nothing about it", names[*stub]);
    }
    let count = problems.len();
    eprintln!("{} of {count} problems fail {}", count - passed.len().min(count), names.join(", "));
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
fn references(problems: &[Problem]) -> Vec<Candidate> {
    let with_reference = problems.iter().filter_map(|problem| Some((problem, problem.references.first()?)));
    let candidate = |(problem, code): (&Problem, &String)| Candidate {
        problem: problem.id.clone(),
        code: code.clone(),
        generator: "reference".into(),
        ..Candidate::default()
    };
    with_reference.map(candidate).collect()
}

fn print_verdicts(verdicts: &[Verdict], notes: &[Note], list_failures: bool, as_json: bool) {
    let mut by_problem: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    // What the executor itself failed on is neither a pass nor a fail: it is counted in the table.
    for verdict in verdicts.iter().filter(|verdict| verdict.outcome != Outcome::Infrastructure) {
        let counts = by_problem.entry(&verdict.problem).or_default();
        counts.0 += 1;
        counts.1 += usize::from(verdict.passed());
    }
    let smallest = by_problem.values().map(|counts| counts.0).min().unwrap_or(0);
    let at = |k: usize| mean(&by_problem.values().map(|&(n, c)| pass_at_k(n, c, k)).collect::<Vec<_>>());
    let ks: Vec<usize> = [1, 10, 100].into_iter().filter(|&k| k <= smallest).collect();
    let outcomes = crate::loop_run::outcomes(verdicts);
    let how = modes_and_tiers(verdicts);
    let failures: Vec<&Verdict> =
        verdicts.iter().filter(|verdict| list_failures && !verdict.passed()).collect();
    if as_json {
        let passes: BTreeMap<String, f64> = ks.iter().map(|&k| (format!("pass@{k}"), at(k))).collect();
        let outcomes: BTreeMap<String, usize> = outcomes.into_iter().collect();
        let how: Vec<Value> = how
            .into_iter()
            .map(|(mode, tier, count)| json!({"mode": mode, "tier": tier, "count": count}))
            .collect();
        let failures: Vec<_> =
            failures.iter().map(|v| json!({"problem": v.problem, "outcome": v.outcome})).collect();
        println!(
            "{}",
            json!({"candidates": verdicts.len(), "problems": by_problem.len(), "pass": passes, "outcomes": outcomes, "failures": failures, "modes": how, "notes": notes})
        );
        return;
    }
    let mut lines = vec![["outcome".to_owned(), "candidates".into(), "share".into()]];
    for (name, count) in outcomes {
        lines.push([
            name.replace('_', " "),
            count.to_string(),
            format!("{:.1} %", 100.0 * count as f64 / verdicts.len().max(1) as f64),
        ]);
    }
    print!("{}", align(&lines));
    for (mode, tier, count) in how {
        println!("{count} judged by mode {mode}, isolation tier {tier}");
    }
    for k in ks {
        println!("pass@{k}: {:.1} % of {} problems", 100.0 * at(k), by_problem.len());
    }
    for verdict in failures {
        let why = verdict.tests.iter().find(|test| test.outcome != Outcome::Passed);
        println!("{}: {} {}", verdict.problem, verdict.outcome.name(), why.map_or("", |test| &test.detail));
    }
}

/// How many verdicts were made by each mode at each tier.
fn modes_and_tiers(verdicts: &[Verdict]) -> Vec<(String, String, usize)> {
    let mut counts: BTreeMap<(records::JudgeMode, &str), usize> = BTreeMap::new();
    for verdict in verdicts {
        *counts.entry((verdict.mode, &verdict.isolation)).or_default() += 1;
    }
    let named = |((mode, tier), count): ((records::JudgeMode, &str), usize)| {
        (mode.name().to_owned(), tier.to_owned(), count)
    };
    counts.into_iter().map(named).collect()
}
