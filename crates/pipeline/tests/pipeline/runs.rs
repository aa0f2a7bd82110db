//! A whole run, and the same one stopped and resumed.

use crate::support::{assert_same, contents, context, finished, recipe, until, whole};
use pipeline::loop_run::{self, Stage};
use pipeline::{Context, Note, Progress, Task};
use report::html::Report;
use std::cell::{Cell, RefCell};
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
