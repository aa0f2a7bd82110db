//! Candidates that are run to be compared: what is known is not run again, and what shows no call is
//! looked at as if nothing but its text were known.

use pipeline::behaviour::{Effort, Knowledge, observe};
use pipeline::observations::Observations;
use pipeline::recipe::ExecutorRecipe;
use pipeline::verifier::Verifier;
use pipeline::{Note, Progress, Silence, Task, Watch};
use problems::sets::problem_of_tests;
use records::{Candidate, Problem};
use selection::{Pool, Selector, pools};
use std::cell::RefCell;
use std::path::Path;

/// Keeps what it is told.
#[derive(Default)]
struct Notes(RefCell<Vec<Note>>);

impl Progress for Notes {
    fn begin(&self, label: &str, total: usize, done: usize) -> Box<dyn Task> {
        Silence.begin(label, total, done)
    }

    fn note(&self, note: &Note) {
        self.0.borrow_mut().push(note.clone());
    }
}

/// Halves a number: most round down, two of them only where the number is odd and small.
fn problems_and_candidates() -> (Vec<Problem>, Vec<Candidate>) {
    let tests = |test: &str| vec![test.to_owned()];
    let problems = vec![
        problem_of_tests("near", "Halve a number.", tests("assert abs(half(8) - 4) < 0.1")),
        problem_of_tests("silent", "Halve a number.", tests("assert [half(n) for n in [8]] == [4]")),
    ];
    let programs = [
        "return n // 2",
        "return n / 2",
        "return int(n / 2)",
        "return n // 2 if n > 9 else 0",
        "return n // 2",
    ];
    let of = |problem: &Problem| {
        let problem = problem.id.clone();
        programs.iter().enumerate().map(move |(index, body)| Candidate {
            problem: problem.clone(),
            index,
            code: format!("def half(n):\n    {body}\n"),
            ..Candidate::default()
        })
    };
    let candidates = problems.iter().flat_map(of).collect();
    (problems, candidates)
}

fn observed(file: &Path, level: u8, notes: &Notes) -> (Vec<Pool>, Effort) {
    let (problems, candidates) = problems_and_candidates();
    let client = Verifier::start(&ExecutorRecipe::default()).expect("a verifier").client("test");
    let mut known = Observations::open(file).expect("a file");
    let mut pools = pools(&problems, &candidates, &[], &[]);
    let knowledge = Knowledge { level, own_inputs: 8, seed: 0 };
    let watch = Watch { progress: notes, interrupted: &|| false };
    let effort = observe(watch, &client, &mut known, &problems, &candidates, knowledge, &mut pools);
    (pools, effort.expect("a file that can be written").expect("nobody stopped it"))
}

#[test]
fn what_was_run_is_not_run_again_and_a_problem_without_calls_falls_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("observations.jsonl");
    let notes = Notes::default();
    let (first, effort) = observed(&file, 1, &notes);
    // Four different programs of each problem; of `near` the call within `abs` and eight like it.
    assert!(effort.known == 0 && effort.calls > 4 * 9, "{effort:?}");
    assert_eq!((first[0].agreement_level, first[1].agreement_level), (1, 0));
    let told = notes.0.borrow().clone();
    assert_eq!(told, [Note::NoKnownInputs { count: 1, first: "silent".into() }]);
    for pool in &first {
        let right = pool.agreement.as_ref().expect("agreement");
        assert!(right.soft[0] > right.soft[3], "{}: {right:?}", pool.problem);
    }
    let (second, again) = observed(&file, 1, &notes);
    // Some guesses are among the inputs that they lead to, and count twice when they are known.
    assert!(again.calls == 0 && again.known >= effort.calls, "{effort:?} {again:?}");
    for (one, other) in first.iter().zip(&second) {
        assert_eq!((&one.agreement, &one.answers), (&other.agreement, &other.answers));
    }
    // Level 3 makes the same calls, and asks for the visible tests once.
    let (third, more) = observed(&file, 3, &notes);
    assert_eq!((more.known, more.calls), (again.known, 8));
    assert_eq!(third[0].passes_visible, Some(vec![true, true, true, false, true]));
    assert_eq!(Selector::VisibleTest.pick(&third[0]), Some(0));
    assert_eq!(observed(&file, 3, &notes).1.calls, 0);
}
