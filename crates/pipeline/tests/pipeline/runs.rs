//! A whole run, and the same one stopped and resumed.

use crate::support::{assert_same, contents, context, finished, recipe, until, whole};
use learning::grpo::GrpoSettings;
use pipeline::loop_run::{self, Stage};
use pipeline::recipe::Recipe;
use pipeline::{Context, Done, Note, Progress, Task};
use report::html::Report;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::rc::Rc;

fn rows(report: &Report) -> Vec<(String, f64)> {
    report.rows.iter().map(|row| (row.name.clone(), row.value)).collect()
}

#[test]
fn a_run_stopped_after_each_stage_gives_the_same_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let (recipe, at) = (recipe(&[]), |name: &str| directory.path().join(name));
    let report = whole(&recipe, &at("whole")).expect("a run");
    assert!(report.rows.iter().any(|row| row.name == "critic"), "{:?}", rows(&report));
    nobody_learns_from_what_is_held_out(&at("whole"));
    let expected = contents(&at("whole"));
    for stages in 1..=Stage::ALL.len() {
        until(&recipe, &at("stages"), stages);
    }
    let again = whole(&recipe, &at("stages")).expect("the same run");
    assert_eq!(rows(&report), rows(&again));
    assert_same(&expected, &contents(&at("stages")));

    // In the midst of stages: each call is stopped when it has asked so often, a little later every time.
    let mut stopped = 0;
    loop {
        let asked = Cell::new(0);
        let interrupted = || {
            asked.set(asked.get() + 1);
            asked.get() > 7 + 12 * stopped
        };
        match loop_run::run(&recipe, &at("midst"), context(&interrupted)).expect("a run") {
            Some(again) => break assert_eq!(rows(&report), rows(&again)),
            None => stopped += 1,
        }
        assert!(stopped < 100, "{} stages are finished", finished(&at("midst")));
    }
    assert!(stopped > 3, "stopped {stopped} times only");
    assert_same(&expected, &contents(&at("midst")));
}

/// Each step of GRPO is measured once, however often the run is stopped, and the best one's weights are kept.
#[test]
fn the_step_with_the_best_selected_answers_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let changes =
        [("steps = 2", "steps = 3\nchoose_every = 1\nchoose_samples = 3\nentropy_coefficient = 0.01")];
    let (recipe, at) = (recipe(&changes), |name: &str| directory.path().join(name));
    let whole = || loop_run::reinforce_only(&recipe, &at("whole"), context(&|| false)).expect("a run");
    assert_eq!(whole(), Done::Whole);
    let measured: Vec<Value> = fs::read_to_string(at("whole/metrics/grpo-choice.jsonl"))
        .expect("measures")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    assert_eq!(
        measured.iter().map(|step| step["step"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3)]
    );
    let held_out = problems_of(&at("whole/problems/held-out.jsonl"));
    for step in 1..=3 {
        assert_eq!(problems_of(&at(&format!("whole/generated/grpo-step-{step}.jsonl"))), held_out);
    }
    let mut calls = 0;
    loop {
        let asked = Cell::new(0);
        let interrupted = || {
            asked.set(asked.get() + 1);
            asked.get() > 7 + 12 * calls
        };
        let done = loop_run::reinforce_only(&recipe, &at("midst"), context(&interrupted)).expect("a run");
        calls += 1;
        if done == Done::Whole {
            break;
        }
        assert!(calls < 100, "it does not come to an end");
    }
    assert!(calls > 3, "stopped {calls} times only");
    for file in ["grpo/model.safetensors", "metrics/grpo-choice.jsonl"] {
        let read = |run: &str| fs::read(at(run).join(file)).expect(file);
        assert!(read("whole") == read("midst"), "{file} differs");
    }
    // The weights are those of the step that was best: its greedy answers come again from them.
    assert!(!at("whole/states/grpo-best.safetensors").exists());
    let mut best = 0;
    for (at, step) in measured.iter().enumerate() {
        if step["selected"].as_f64() > measured[best]["selected"].as_f64() {
            best = at;
        }
    }
    let last = Recipe { grpo: GrpoSettings { choose_every: 0, ..recipe.grpo.clone() }, ..recipe.clone() };
    loop_run::reinforce_only(&last, &at("last"), context(&|| false)).expect("a run");
    let model = |run: &str| fs::read(at(run).join("grpo/model.safetensors")).expect("a model");
    assert_eq!(model("whole") == model("last"), best == 2, "step {} was best", best + 1);
}

/// The problems of a file's records.
fn problems_of(path: &Path) -> HashSet<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let id = |line: &str| {
        let record: Value = serde_json::from_str(line).expect("a record");
        record.get("problem").or(record.get("id")).and_then(Value::as_str).expect("an id").to_owned()
    };
    text.lines().map(id).collect()
}

fn nobody_learns_from_what_is_held_out(run: &Path) {
    let held_out = problems_of(&run.join("problems/held-out.jsonl"));
    let rollouts = problems_of(&run.join("generated/rollouts.jsonl"));
    assert!(held_out.is_disjoint(&rollouts), "{held_out:?} {rollouts:?}");
    let measured = fs::read_to_string(run.join("metrics/critic-held-out.json")).expect("the critic's");
    let measured: HashSet<String> = serde_json::from_str(&measured).expect("ids");
    assert!(!measured.is_empty() && measured.is_subset(&held_out), "{measured:?} {held_out:?}");
    // What the rankers learned from is scored.
    let scored = problems_of(&run.join("scores/critic-data.jsonl"));
    assert_eq!(scored, measured);
}

/// Every label that began, of how many parts, how many of them were done, and whether it was finished.
type Begun = Rc<RefCell<Vec<(String, usize, usize, bool)>>>;

#[derive(Default)]
struct Log(Begun);

struct Entry(Begun, usize);

impl Progress for Log {
    fn begin(&self, label: &str, total: usize, done: usize) -> Box<dyn Task> {
        let mut log = self.0.borrow_mut();
        log.push((label.to_owned(), total, done, false));
        Box::new(Entry(self.0.clone(), log.len() - 1))
    }

    fn note(&self, note: &Note) {
        panic!("{note:?}");
    }
}

impl Task for Entry {
    fn advance(&mut self, parts: usize) {
        self.0.borrow_mut()[self.1].2 += parts;
    }

    fn reach(&mut self, done: usize, (name, value): (&str, f64)) {
        assert!(!name.is_empty() && value.is_finite(), "{name} {value}");
        self.0.borrow_mut()[self.1].2 = done;
    }

    fn finish(self: Box<Self>) {
        self.0.borrow_mut()[self.1].3 = true;
    }
}

/// All work of a small run is told from its first part to its last.
#[test]
fn progress_is_told_to_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let recipe = recipe(&[("steps = 2", "steps = 0"), ("base_samples = 1", "base_samples = 2")]);
    let log = Log::default();
    let mut context: Context = context(&|| false);
    context.watch.progress = &log;
    loop_run::run(&recipe, directory.path(), context).expect("a run").expect("a report");
    let log = log.0.borrow();
    for (label, total, done, finished) in log.iter() {
        assert!(*finished && total == done, "{label}: {done} of {total}, finished: {finished}");
    }
    for label in
        ["greedy answers before GRPO", "verdicts on pool", "critic", "critic's scores of pool", "behaviour"]
    {
        assert!(log.iter().any(|entry| entry.0 == label), "{label} is missing from {log:?}");
    }
}
