//! Candidates of one question, run as they come.

use crate::answer::{Answer, Evidence, FailedTest, Judged, RunnerUp, Status};
use crate::{Error, Scorer, Settings};
use records::{Candidate, Observation, ObservationKind, Outcome, Problem, Verdict};
use selection::guess::best;
use selection::{Behaviour, Pool, Ranker, Selector};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use verify::{Ask, Client, Domain, Failure, Inputs, Job, ProblemError, Reply};

/// Candidates after which inputs are guessed where no test tells any.
const GUESS_AFTER: usize = 8;
/// New programs for which a critic is asked: fewer are not worth the prompt that they share.
const SCORE_AFTER: usize = 8;
/// Candidates below which behaviour alone makes nothing certain.
const LEAST_CANDIDATES: usize = 8;
/// Time between two looks at whether the work is to stop.
const PATIENCE: Duration = Duration::from_millis(20);
/// Longest value that evidence shows, in characters.
const SHOWN: usize = 200;

/// The candidates of a question, and what is known of them.
pub struct Checker {
    client: Client,
    domain: Arc<dyn Domain>,
    problem: Problem,
    ranker: Ranker,
    selector: Selector,
    candidates: Vec<Candidate>,
    /// Verdicts on the question's tests, by program.
    verdicts: HashMap<String, Verdict>,
    /// What each program gave on the inputs.
    observed: HashMap<String, Vec<Observation>>,
    scorer: Option<Scorer>,
    /// What a critic says of each program.
    scores: HashMap<String, f64>,
    /// The probability that is sure enough.
    until: f64,
    /// None until they are known or guessed.
    inputs: Option<Inputs>,
    behaviour: Behaviour,
    pool: Pool,
    notes: Vec<String>,
    /// Why no candidate can be judged by the tests, once running them has shown that.
    unusable: Option<ProblemError>,
}

impl Checker {
    /// Without candidates yet. It submits to `client`.
    ///
    /// # Errors
    /// Where no solution can be judged by the problem's tests, or nothing here judges its domain.
    pub fn new(problem: Problem, client: &Client, settings: &Settings) -> Result<Self, Error> {
        let domain = client.pool().domain(&problem.check.domain).cloned();
        let domain = domain.ok_or_else(|| Error::NoVerifier(problem.check.domain.clone()))?;
        let has_tests = !problem.shown.examples.is_empty();
        if has_tests {
            domain.prepare(&problem).map_err(Error::Tests)?;
        }
        let level = if has_tests { 3 } else { 0 };
        let own = settings.rankers.iter().find(|ranker| ranker.level == level).cloned();
        let ranker = own.unwrap_or_else(|| Ranker::built_in(level));
        // The first test's call stands for the question, as it does where the ranker learned.
        let known = domain.known_inputs(&problem, level);
        let inputs = domain.vary(&problem, &[], &known, ranker.own_inputs, 0);
        Ok(Checker {
            client: client.clone(),
            domain,
            problem,
            ranker,
            selector: settings.selector,
            candidates: Vec::new(),
            verdicts: HashMap::new(),
            observed: HashMap::new(),
            scorer: settings.scorer.clone(),
            scores: HashMap::new(),
            until: settings.until,
            inputs: (inputs.given > 0).then_some(inputs),
            behaviour: Behaviour::default(),
            pool: Pool::default(),
            notes: Vec::new(),
            unusable: None,
        })
    }

    /// The domain of its problem.
    pub fn domain(&self) -> &Arc<dyn Domain> {
        &self.domain
    }

    /// Whether the tests can be used, as far as running them has shown.
    ///
    /// # Errors
    /// Where no candidate can be judged by them.
    pub fn usable(&self) -> Result<(), Error> {
        self.unusable.clone().map_or(Ok(()), |error| Err(Error::Tests(error)))
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
    /// more will come. Once `stops` is true it runs no more, and what was not run counts as unknown.
    pub fn check(&mut self, last: bool, stops: &dyn Fn() -> bool) {
        self.judge(stops);
        if self.inputs.is_none() && (last || self.candidates.len() >= GUESS_AFTER) {
            self.guess_inputs(last, stops);
        }
        self.observe(stops);
        self.weigh();
        if self.score(last, stops) {
            self.weigh();
        }
    }

    fn has_tests(&self) -> bool {
        !self.problem.shown.examples.is_empty()
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

    fn judge(&mut self, stops: &dyn Fn() -> bool) {
        let programs = self.new_programs(&self.verdicts);
        if !self.has_tests() || programs.is_empty() {
            return;
        }
        let mut found: Vec<(usize, Verdict)> = Vec::new();
        self.submit(&programs, &Ask::Judge, stops, &mut |at, answer| {
            let verdict = match answer {
                Ok(Reply::Verdict(verdict)) => verdict,
                Ok(Reply::Observations(_)) => Verdict::infrastructure("", at, "expected a verdict"),
                Err(failure) => Verdict::infrastructure("", at, failure.to_string()),
            };
            found.push((at, verdict));
        });
        let failed = found.iter().find(|(_, verdict)| verdict.outcome == Outcome::Infrastructure);
        if let Some((_, verdict)) = failed {
            self.unusable = self.domain.prepare(&self.problem).err();
            self.notes.push(format!("the verifier failed on a candidate: {}", verdict.reason));
        }
        self.verdicts.extend(found.into_iter().map(|(at, verdict)| (programs[at].clone(), verdict)));
    }

    /// Finds out what the function is called and what it takes, from the candidates so far. Where none
    /// of them takes anything it is left open, for those that come, unless none will.
    fn guess_inputs(&mut self, last: bool, stops: &dyn Fn() -> bool) {
        if !self.has_tests() {
            self.problem.shown.name = usual_name(&self.candidates).unwrap_or_default();
        }
        let solutions: Vec<&str> = self.candidates.iter().map(|candidate| candidate.code.as_str()).collect();
        let guesses = self.domain.guesses(&self.problem, &solutions);
        let inputs: Vec<String> = guesses.iter().flat_map(|guess| guess.inputs.clone()).collect();
        let programs = self.new_programs::<()>(&HashMap::new());
        let rows = self.run(&programs, &inputs, stops);
        let nothing = || vec![Observation::default(); inputs.len()];
        let rows: Vec<Vec<Observation>> = rows.into_iter().map(|row| row.unwrap_or_else(nothing)).collect();
        let given = best(&guesses, &rows);
        if last || !given.is_empty() {
            let own = self.ranker.own_inputs;
            self.inputs = Some(self.domain.vary(&self.problem, &solutions, &given, own, 0));
        }
    }

    fn observe(&mut self, stops: &dyn Fn() -> bool) {
        let Some(inputs) = &self.inputs else { return };
        let programs = self.new_programs(&self.observed);
        let rows = self.run(&programs, &inputs.inputs, stops);
        let seen = programs.into_iter().zip(rows).filter_map(|(program, row)| Some((program, row?)));
        self.observed.extend(seen);
    }

    /// Asks the critic about new programs, unless the answer is sure without it; says whether it answered.
    fn score(&mut self, last: bool, stops: &dyn Fn() -> bool) -> bool {
        let Some(scorer) = &self.scorer else { return false };
        let programs = self.new_programs(&self.scores);
        let enough = if last { 1 } else { SCORE_AFTER };
        if programs.len() < enough || self.is_certain(self.until) {
            return false;
        }
        match scorer.score(&self.problem, &programs, stops) {
            Ok(scores) => self.scores.extend(programs.into_iter().zip(scores)),
            // Stopped while the prompt was made.
            Err(_) if stops() => {}
            Err(error) => {
                self.notes.push(format!("the critic failed and is not asked again: {error:#}"));
                self.scorer = None;
            }
        }
        true
    }

    /// What each program gives on each input; none for those that were not run.
    fn run(
        &self,
        programs: &[String],
        inputs: &[String],
        stops: &dyn Fn() -> bool,
    ) -> Vec<Option<Vec<Observation>>> {
        let mut rows = vec![None; programs.len()];
        if inputs.is_empty() || programs.is_empty() {
            return rows;
        }
        self.submit(programs, &Ask::Observe(inputs.into()), stops, &mut |at, answer| {
            rows[at] = Some(match answer {
                Ok(Reply::Observations(seen)) => seen,
                // The verifier failed, again and again: nothing is known.
                _ => vec![Observation::default(); inputs.len()],
            });
        });
        rows
    }

    /// Asks the same of some programs and hands over each answer with its program's place, until
    /// `stops`: then what is not answered is cancelled.
    fn submit(
        &self,
        programs: &[String],
        ask: &Ask,
        stops: &dyn Fn() -> bool,
        on_answer: &mut dyn FnMut(usize, Result<Reply, Failure>),
    ) {
        let problem = Arc::new(self.problem.clone());
        let job = |program: &String| Job {
            problem: problem.clone(),
            solution: program.as_str().into(),
            ask: ask.clone(),
        };
        let jobs: Vec<Job> = programs.iter().map(job).collect();
        let mut replies = self.client.submit(jobs.into_iter());
        while !stops() {
            match replies.next_timeout(PATIENCE) {
                Ok(Some((at, answer))) => on_answer(at, answer),
                Ok(None) => break,
                Err(_) => {}
            }
        }
    }

    fn weigh(&mut self) {
        let codes: Vec<String> = self.candidates.iter().map(|candidate| candidate.code.clone()).collect();
        let Inputs { inputs, given } = self.inputs.clone().unwrap_or_default();
        let row = |code: &String| {
            let nothing = || vec![Observation::default(); inputs.len()];
            self.observed.get(code).cloned().unwrap_or_else(nothing)
        };
        let observed = codes.iter().map(row).collect();
        let known = !inputs.is_empty();
        self.behaviour = Behaviour { observed, given, inputs };
        let passes = |code: &String| self.verdicts.get(code).is_some_and(Verdict::passed);
        let features = codes.iter().map(|code| self.domain.static_features(&self.problem, code)).collect();
        // Where some have no score the others' say nothing.
        let critic: Option<Vec<f64>> = codes.iter().map(|code| self.scores.get(code).copied()).collect();
        let mut pool = Pool {
            critic: critic.filter(|scores| !scores.is_empty()),
            problem: self.problem.id.clone(),
            indices: (0..codes.len()).collect(),
            statement: self.problem.shown.statement.clone(),
            static_features: Some(features),
            passed: vec![false; codes.len()],
            passes_visible: self.has_tests().then(|| codes.iter().map(passes).collect()),
            agreement: known.then(|| self.behaviour.agreement()),
            answers: known.then(|| self.behaviour.answer_classes()),
            answer_profiles: known.then(|| self.behaviour.answer_profiles()),
            agreement_level: self.ranker.level.min(1),
            log_likelihood: self.candidates.iter().map(Candidate::log_likelihood).collect(),
            mean_log_probability: self.candidates.iter().map(Candidate::mean_log_probability).collect(),
            codes,
            ..Pool::default()
        };
        pool.combined = Some(self.ranker.probabilities(&pool));
        self.pool = pool;
    }

    /// The candidate that would be the answer now, and whether it passes all tests. Tests decide:
    /// where some candidate passes all, only such are looked at; otherwise those that give something when
    /// they are called, if there are any.
    fn pick(&self) -> Option<(usize, bool)> {
        let count = self.pool.codes.len();
        let passing = self.pool.passes_visible.as_ref();
        let mut left: Vec<usize> =
            (0..count).filter(|&at| passing.is_some_and(|passing| passing[at])).collect();
        let passes = !left.is_empty();
        if !passes {
            let runs = self.pool.agreement.as_ref().map(|agreement| &agreement.runs);
            left = (0..count).filter(|&at| runs.is_some_and(|runs| runs[at] > 0.0)).collect();
        }
        if left.is_empty() {
            return Some((self.chosen(&self.pool)?, false));
        }
        Some((left[self.chosen(&self.pool.of(&left))?], passes))
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
        let tested = !self.has_tests() || passes;
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
        let (at, how) = match verdict.first_failure() {
            Some((at, test)) if test.detail.is_empty() => (at, word(test.outcome, &test.reason)),
            Some((at, test)) => (at, format!("{}: {}", word(test.outcome, &test.reason), test.detail)),
            // It never got to its tests.
            None => (0, word(verdict.outcome, &verdict.reason)),
        };
        let test = self.problem.shown.examples.get(at)?.clone();
        Some(FailedTest { test, how: shortened(how) })
    }

    /// The answer as things are.
    pub fn answer(&self, stopped_early: bool, seconds: f64) -> Answer {
        let groups = self.behaviour.groups();
        let distinct = self.new_programs::<()>(&HashMap::new()).len();
        let mut evidence = Evidence {
            candidates: self.candidates.len(),
            distinct,
            behaviours: groups.iter().collect::<HashSet<_>>().len(),
            inputs: self.behaviour.inputs.len(),
            tests: self.problem.shown.examples.len(),
            passing: self.pool.passes_visible.iter().flatten().filter(|&&passes| passes).count(),
            level: self.ranker.level,
            calibrated: self.candidates.iter().all(|c| self.ranker.is_calibrated_for(&c.generator)),
            generator: self.candidates.first().map(|c| c.generator.clone()).unwrap_or_default(),
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
        evidence.critic = self.pool.critic.as_ref().map(|scores| scores[pick]);
        evidence.agreeing = groups.iter().filter(|&&group| group == groups[pick]).count();
        evidence.runner_up = self.runner_up(pick, &groups);
        let gives_something =
            self.pool.agreement.as_ref().is_some_and(|agreement| agreement.runs[pick] > 0.0);
        let status = match self.has_tests() {
            true if passes => Status::Verified,
            false if gives_something => Status::Unverified,
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
            input: shortened(self.behaviour.inputs[input].clone()),
            chosen_gives: shown(&self.behaviour.observed[pick][input]),
            runner_up_gives: shown(&self.behaviour.observed[other][input]),
        })
    }
}

fn tests_passed(verdict: &Verdict) -> usize {
    verdict.tests.iter().filter(|result| result.outcome == Outcome::Passed).count()
}

/// What became of a test, in a word or two: the domain's reason, where it gives one.
fn word(outcome: Outcome, reason: &str) -> String {
    if reason.is_empty() { outcome.name().replace('_', " ") } else { reason.to_owned() }
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

fn shown(seen: &Observation) -> String {
    match seen.kind {
        ObservationKind::Value => shortened(seen.text.clone()),
        ObservationKind::Raised => format!("raises {}", seen.text),
        ObservationKind::Nothing => "gives nothing that can be compared".to_owned(),
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
