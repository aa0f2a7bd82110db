//! Candidates of one question, run as they come.

use crate::Settings;
use crate::answer::{Answer, Evidence, FailedTest, Judged, RunnerUp, Status};
use executor::{Executor, Observed, Task};
use pydata::{Call, parse_call};
use records::{Candidate, Outcome, Problem, Verdict};
use selection::guess::{best, guesses};
use selection::inputs::{Inputs, known_calls};
use selection::{Behaviour, Pool, Ranker, Selector};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Candidates after which inputs are guessed where no test tells any.
const GUESS_AFTER: usize = 8;
/// Candidates below which behaviour alone makes nothing certain.
const LEAST_CANDIDATES: usize = 8;
/// Longest value that evidence shows, in characters.
const SHOWN: usize = 200;

/// The candidates of a question, and what is known of them.
pub struct Checker {
    problem: Problem,
    ranker: Ranker,
    selector: Selector,
    candidates: Vec<Candidate>,
    /// Verdicts on the question's tests, by program.
    verdicts: HashMap<String, Verdict>,
    /// What each program gave on the inputs.
    observed: HashMap<String, Vec<Observed>>,
    /// None until they are known or guessed.
    inputs: Option<Inputs>,
    behaviour: Behaviour,
    pool: Pool,
    notes: Vec<String>,
}

impl Checker {
    /// Without candidates yet.
    pub fn new(problem: Problem, settings: &Settings) -> Self {
        let level = if problem.tests.is_empty() { 0 } else { 3 };
        let own = settings.rankers.iter().find(|ranker| ranker.level == level).cloned();
        let ranker = own.unwrap_or_else(|| Ranker::built_in(level));
        let known = known_calls(&problem, level);
        // The first test's call stands for the question, as it does where the ranker learned.
        let given = &known[..known.len().min(1)];
        let inputs = (!given.is_empty()).then(|| Inputs::around(given, ranker.own_inputs, 0));
        Checker {
            problem,
            ranker,
            selector: settings.selector,
            candidates: Vec::new(),
            verdicts: HashMap::new(),
            observed: HashMap::new(),
            inputs,
            behaviour: Behaviour::default(),
            pool: Pool::default(),
            notes: Vec::new(),
        }
    }

    /// Whether no candidate has come.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Takes a candidate; it is run by the next [`check`](Self::check).
    pub fn add(&mut self, candidate: Candidate) {
        self.candidates.push(candidate);
    }

    /// Notes what went wrong on the way.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Runs what has not been run, tests first, and weighs all candidates anew. `last` says that no
    /// more will come.
    pub fn check(&mut self, executor: &Executor, last: bool) {
        self.judge(executor);
        if self.inputs.is_none() && (last || self.candidates.len() >= GUESS_AFTER) {
            self.guess_inputs(executor, last);
        }
        self.observe(executor);
        self.weigh();
    }

    /// Programs that a map does not know yet.
    fn new_programs<T>(&self, known: &HashMap<String, T>) -> Vec<String> {
        let mut new: Vec<String> = Vec::new();
        for candidate in &self.candidates {
            if !known.contains_key(&candidate.code) && !new.contains(&candidate.code) {
                new.push(candidate.code.clone());
            }
        }
        new
    }

    fn judge(&mut self, executor: &Executor) {
        if self.problem.tests.is_empty() {
            return;
        }
        let programs = self.new_programs(&self.verdicts);
        let (problem, mut found) = (&self.problem, Vec::new());
        let tasks = programs.iter().enumerate().map(|(index, code)| Task { problem, index, code });
        executor.judge_all(&tasks.collect::<Vec<_>>(), &mut |verdict| {
            found.push((programs[verdict.index].clone(), verdict));
            ControlFlow::Continue(())
        });
        self.verdicts.extend(found);
    }

    /// Finds out what the function is called and what it takes, from the candidates so far. Where none
    /// of them takes anything it is left open, for those that come, unless none will.
    fn guess_inputs(&mut self, executor: &Executor, last: bool) {
        if self.problem.tests.is_empty() {
            self.problem.entry_point = usual_name(&self.candidates).unwrap_or_default();
        }
        let codes: Vec<String> = self.candidates.iter().map(|candidate| candidate.code.clone()).collect();
        let guesses = guesses(&self.problem.entry_point, &self.problem.text, &codes);
        let calls: Vec<String> = guesses.iter().flat_map(|guess| guess.calls.clone()).collect();
        let programs = self.new_programs::<()>(&HashMap::new());
        let rows: Vec<Vec<Observed>> = run(executor, &self.problem, &programs, &calls);
        let given: Vec<Call> =
            best(&guesses, &rows).iter().filter_map(|call| parse_call(call).ok()).collect();
        if last || !given.is_empty() {
            self.inputs = Some(Inputs::around(&given, self.ranker.own_inputs, 0));
        }
    }

    fn observe(&mut self, executor: &Executor) {
        let Some(inputs) = &self.inputs else { return };
        let programs = self.new_programs(&self.observed);
        let rows = run(executor, &self.problem, &programs, &inputs.calls);
        self.observed.extend(programs.into_iter().zip(rows));
    }

    fn weigh(&mut self) {
        let codes: Vec<String> = self.candidates.iter().map(|candidate| candidate.code.clone()).collect();
        let Inputs { calls, given } = self.inputs.clone().unwrap_or_default();
        let row = |code: &String| {
            let nothing = || vec![Observed::Nothing; calls.len()];
            self.observed.get(code).cloned().unwrap_or_else(nothing)
        };
        self.behaviour = Behaviour { observed: codes.iter().map(row).collect(), given, calls: calls.clone() };
        let passes = |code: &String| self.verdicts.get(code).is_some_and(Verdict::passed);
        let has_tests = !self.problem.tests.is_empty();
        let known = !calls.is_empty();
        let mut pool = Pool {
            problem: self.problem.id.clone(),
            text: self.problem.text.clone(),
            entry_point: self.problem.entry_point.clone(),
            passed: vec![false; codes.len()],
            passes_visible: has_tests.then(|| codes.iter().map(passes).collect()),
            agreement: known.then(|| self.behaviour.agreement()),
            conduct: known.then(|| self.behaviour.conduct()),
            agreement_level: self.ranker.level.min(1),
            mean_log_probability: self.candidates.iter().map(Candidate::mean_log_probability).collect(),
            codes,
            ..Pool::default()
        };
        pool.combined = Some(self.ranker.probabilities(&pool));
        self.pool = pool;
    }

    /// The candidate that would be the answer now, and whether it passes all tests. Tests decide:
    /// where some candidate passes all, only such are looked at.
    fn pick(&self) -> Option<(usize, bool)> {
        let passing = self.pool.passes_visible.as_ref().filter(|passes| passes.iter().any(|&p| p));
        let Some(passing) = passing else { return Some((self.chosen(&self.pool)?, false)) };
        let left: Vec<usize> = (0..passing.len()).filter(|&at| passing[at]).collect();
        Some((left[self.chosen(&self.pool.of(&left))?], true))
    }

    /// The selector's choice; where it lacks what it needs, the ranker's.
    fn chosen(&self, pool: &Pool) -> Option<usize> {
        self.selector.pick(pool).or_else(|| Selector::Combined.pick(pool))
    }

    /// Whether the answer is surer than this already.
    pub fn is_certain(&self, until: f64) -> bool {
        let Some((pick, passes)) = self.pick() else { return false };
        let probability = self.pool.combined.as_ref().map_or(0.0, |combined| combined[pick]);
        let enough = passes || self.candidates.len() >= LEAST_CANDIDATES;
        let tested = self.problem.tests.is_empty() || passes;
        probability >= until && tested && enough
    }

    /// Number of candidates so far.
    pub fn count(&self) -> usize {
        self.candidates.len()
    }

    /// Every candidate so far with what is known of it, best first.
    pub fn judged(&self) -> Vec<Judged> {
        let groups = self.behaviour.groups();
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        let judged = (0..self.pool.codes.len()).map(|at| {
            let next = numbers.len();
            let verdict = self.verdicts.get(&self.pool.codes[at]);
            Judged {
                index: at,
                code: self.pool.codes[at].clone(),
                probability: self.pool.combined.as_ref().map_or(0.0, |combined| combined[at]),
                behaviour: groups.get(at).map_or(0, |group| *numbers.entry(*group).or_insert(next)),
                tests_passed: verdict.map(tests_passed),
                failed: verdict.and_then(|verdict| self.failed(verdict)),
                gives: self.behaviour.observed[at].first().map(shown).unwrap_or_default(),
                candidate: self.candidates[at].clone(),
            }
        });
        let mut judged: Vec<Judged> = judged.collect();
        judged.sort_by(|a, b| {
            b.tests_passed.cmp(&a.tests_passed).then(b.probability.total_cmp(&a.probability))
        });
        judged
    }

    fn failed(&self, verdict: &Verdict) -> Option<FailedTest> {
        if verdict.passed() {
            return None;
        }
        let at = verdict.tests.iter().position(|result| result.outcome != Outcome::Passed);
        let at = at.unwrap_or(0);
        let detail = verdict.tests.get(at).map_or("", |result| result.detail.as_str());
        let how =
            verdict.tests.get(at).map_or(verdict.outcome, |result| result.outcome).name().replace('_', " ");
        Some(FailedTest {
            test: self.problem.tests.get(at)?.source.clone(),
            how: shortened(if detail.is_empty() { how } else { format!("{how}: {detail}") }),
        })
    }

    /// The answer as things are.
    pub fn answer(&self, stopped_early: bool, seconds: f64) -> Answer {
        let groups = self.behaviour.groups();
        let distinct = self.new_programs::<()>(&HashMap::new()).len();
        let mut evidence = Evidence {
            candidates: self.candidates.len(),
            distinct,
            behaviours: groups.iter().collect::<std::collections::HashSet<_>>().len(),
            inputs: self.behaviour.calls.len(),
            tests: self.problem.tests.len(),
            passing: self.pool.passes_visible.iter().flatten().filter(|&&passes| passes).count(),
            level: self.ranker.level,
            stopped_early,
            tokens: self.candidates.iter().map(|c| c.tokens.len().max(c.log_probabilities.len())).sum(),
            notes: self.notes.clone(),
            seconds,
            ..Evidence::default()
        };
        let Some((pick, passes)) = self.pick() else {
            return Answer { status: Status::NoneFound, code: None, evidence, candidates: self.judged() };
        };
        let code = &self.pool.codes[pick];
        let verdict = self.verdicts.get(code);
        evidence.tests_passed = verdict.map_or(0, tests_passed);
        evidence.failed = verdict.and_then(|verdict| self.failed(verdict));
        evidence.probability = self.pool.combined.as_ref().map_or(0.0, |combined| combined[pick]);
        evidence.agreeing = groups.iter().filter(|&&group| group == groups[pick]).count();
        evidence.runner_up = self.runner_up(pick, &groups);
        let gives_something =
            self.pool.agreement.as_ref().is_some_and(|agreement| agreement.runs[pick] > 0.0);
        let status = match self.problem.tests.is_empty() {
            false if passes => Status::Verified,
            true if gives_something => Status::Unverified,
            _ => Status::NoneFound,
        };
        let code = (status != Status::NoneFound).then(|| code.clone());
        Answer { status, code, evidence, candidates: self.judged() }
    }

    /// The likeliest candidate that behaves otherwise; where tests decide, among those that pass.
    fn runner_up(&self, pick: usize, groups: &[usize]) -> Option<RunnerUp> {
        let combined = self.pool.combined.as_ref()?;
        let passes = |at: usize| self.pool.passes_visible.as_ref().is_none_or(|passes| passes[at]);
        let gives =
            |at: usize| self.pool.agreement.as_ref().is_some_and(|agreement| agreement.runs[at] > 0.0);
        let others = (0..combined.len()).filter(|&at| groups[at] != groups[pick] && passes(at) && gives(at));
        let other = others.max_by(|&a, &b| combined[a].total_cmp(&combined[b]))?;
        let input = self.behaviour.difference(pick, other)?;
        Some(RunnerUp {
            code: self.pool.codes[other].clone(),
            probability: combined[other],
            input: shortened(self.behaviour.calls[input].clone()),
            chosen_gives: shown(&self.behaviour.observed[pick][input]),
            runner_up_gives: shown(&self.behaviour.observed[other][input]),
        })
    }
}

fn tests_passed(verdict: &Verdict) -> usize {
    verdict.tests.iter().filter(|result| result.outcome == Outcome::Passed).count()
}

/// What each program gives on each call.
fn run(executor: &Executor, problem: &Problem, programs: &[String], calls: &[String]) -> Vec<Vec<Observed>> {
    let mut rows = vec![vec![Observed::Nothing; calls.len()]; programs.len()];
    if calls.is_empty() {
        return rows;
    }
    let tasks = programs.iter().enumerate().map(|(index, code)| Task { problem, index, code });
    executor.observe_all(&tasks.collect::<Vec<_>>(), &|_| calls, &mut |at, seen| {
        if let Some(seen) = seen {
            rows[at] = seen.to_vec();
        }
        ControlFlow::Continue(())
    });
    rows
}

/// The function that most candidates define; of several equally common ones the last.
fn usual_name(candidates: &[Candidate]) -> Option<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for candidate in candidates {
        let definitions = candidate.code.lines().filter_map(|line| line.strip_prefix("def "));
        for name in definitions.filter_map(|rest| rest.split_once('(')).map(|(name, _)| name.trim()) {
            match counts.iter_mut().find(|(known, _)| known == name) {
                Some((_, count)) => *count += 1,
                None => counts.push((name.to_owned(), 1)),
            }
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name)
}

fn shown(observed: &Observed) -> String {
    match observed {
        Observed::Value(value) => shortened(value.to_string()),
        Observed::Raised(name) => format!("raises {name}"),
        Observed::Nothing => "gives nothing that can be compared".to_owned(),
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
