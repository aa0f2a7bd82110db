//! Answers on a domain that has nothing to do with Python: a solution is a number that is added to
//! its input, and a check says what 1 must become.

use assistant::{Checker, Error, PolicyFirst, Proposer, Scorer, Settings, Status};
use critic::{Critic, Head, Question};
use generator::{Engine, Generator};
use problems::prompt::PromptTests;
use records::{Candidate, Check, Observation, ObservationKind, Outcome, Problem, Shown, TestResult, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use transformer::device::Device;
use transformer::{Config, Cpu, Model, Tokenizer};
use verify::{
    Ask, Domain, Failure, Guess, Inputs, Job, Pool, ProblemError, Reply, StartError, Verifier, Watch,
};

#[derive(Default)]
struct Sums {
    judged: Arc<AtomicUsize>,
    cancelled: Arc<AtomicBool>,
}

struct Adder {
    judged: Arc<AtomicUsize>,
    cancelled: Arc<AtomicBool>,
}

impl Verifier for Adder {
    fn run(&mut self, job: &Job, watch: &Watch) -> Result<Reply, Failure> {
        let started = Instant::now();
        if &*job.solution == "for ever" {
            while !watch.is_cancelled() {
                assert!(started.elapsed() < Duration::from_secs(60), "it was never cancelled");
                std::thread::sleep(Duration::from_millis(5));
            }
            self.cancelled.store(true, Ordering::SeqCst);
            return Err(Failure("cancelled".into()));
        }
        let added: Option<i64> = job.solution.parse().ok();
        if let Ask::Observe(inputs) = &job.ask {
            let observe = |input: &String| {
                let (Some(added), Ok(input)) = (added, input.parse::<i64>()) else {
                    return Observation::default();
                };
                let class = u128::from((added + input).unsigned_abs());
                let text = (added + input).to_string();
                Observation {
                    kind: ObservationKind::Value,
                    class,
                    text,
                    sort: "number".into(),
                    ..Observation::default()
                }
            };
            return Ok(Reply::Observations(inputs.iter().map(observe).collect()));
        }
        self.judged.fetch_add(1, Ordering::SeqCst);
        let expected: i64 = serde_json::from_str(job.problem.check.payload.get()).expect("a number");
        let result = match added {
            Some(added) if added + 1 == expected => TestResult::passed(),
            Some(added) => TestResult::failed(Outcome::Failed, "wrong sum", (added + 1).to_string()),
            None => TestResult::failed(Outcome::Invalid, "no number", ""),
        };
        let verdict = Verdict {
            outcome: result.outcome,
            reason: result.reason.clone(),
            tests: vec![result],
            ..Verdict::infrastructure("", 0, "")
        };
        Ok(Reply::Verdict(verdict))
    }
}

impl Domain for Sums {
    fn name(&self) -> &'static str {
        "sums"
    }
    fn fingerprint(&self) -> String {
        "1".to_owned()
    }
    fn prepare(&self, problem: &Problem) -> Result<(), ProblemError> {
        let wrong = |error: serde_json::Error| ProblemError {
            problem: problem.id.clone(),
            message: format!("check.payload: {error}"),
        };
        serde_json::from_str::<i64>(problem.check.payload.get()).map(|_| ()).map_err(wrong)
    }
    fn verifier(&self) -> Result<Box<dyn Verifier>, StartError> {
        Ok(Box::new(Adder { judged: self.judged.clone(), cancelled: self.cancelled.clone() }))
    }
    fn extract(&self, _: &Problem, completion: &str) -> String {
        completion.to_owned()
    }
    fn known_inputs(&self, _: &Problem, level: u8) -> Vec<String> {
        if level == 0 { Vec::new() } else { vec!["1".to_owned()] }
    }
    fn guesses(&self, _: &Problem, _: &[&str]) -> Vec<Guess> {
        vec![Guess { inputs: vec!["1".into(), "2".into(), "3".into()] }]
    }
    fn vary(&self, _: &Problem, _: &[&str], given: &[String], own: usize, _: u64) -> Inputs {
        let last = given.last().and_then(|input| input.parse::<i64>().ok()).unwrap_or(0);
        let own = if given.len() == 1 { own as i64 } else { 0 };
        let others = (last + 1..=last + own).map(|input| input.to_string());
        Inputs { inputs: given.iter().cloned().chain(others).collect(), given: given.len() }
    }
}

fn problem(expected: Option<&str>) -> Problem {
    let examples: Vec<String> = expected.iter().map(|expected| format!("1 becomes {expected}")).collect();
    let check = Check::new("sums", &expected.and_then(|text| text.parse::<i64>().ok())).expect("JSON");
    let shown = Shown { statement: "Add.".into(), examples, default_examples: 1, ..Shown::default() };
    Problem { id: "question".into(), shown, check, ..Problem::default() }
}

fn candidate(code: &str) -> Candidate {
    Candidate { code: code.into(), text: code.into(), ..Candidate::default() }
}

fn pool(sums: Sums) -> Pool {
    let settings = verify::Settings { workers: 2, ..verify::Settings::default() };
    Pool::start(vec![Arc::new(sums)], settings).expect("a pool")
}

#[test]
fn tests_decide_and_every_program_is_judged_once() {
    let sums = Sums::default();
    let judged = sums.judged.clone();
    let client = pool(sums).client("test");
    let mut checker = Checker::new(problem(Some("3")), &client, &Settings::default()).expect("a checker");
    // The majority is wrong.
    ["5", "5", "5", "2", "none"].into_iter().for_each(|code| checker.add(candidate(code)));
    checker.check(false, &|| false);
    checker.add(candidate("2"));
    checker.check(true, &|| false);
    let answer = checker.answer(false, 0.0);
    assert_eq!((answer.status, answer.code.as_deref()), (Status::Verified, Some("2")));
    assert_eq!((answer.evidence.passing, answer.evidence.tests_passed), (2, 1));
    assert_eq!(judged.load(Ordering::SeqCst), 3, "programs: 5, 2, none");
    let how = |code: &str| {
        let found = answer.candidates.iter().find(|judged| judged.code == code).expect("a candidate");
        found.failed.clone().map(|failed| (failed.test, failed.how))
    };
    assert_eq!(how("5"), Some(("1 becomes 3".to_owned(), "wrong sum: 6".to_owned())));
    assert_eq!(how("none"), Some(("1 becomes 3".to_owned(), "no number".to_owned())));
    assert_eq!(how("2"), None);
}

#[test]
fn without_tests_the_likeliest_is_unverified() {
    let client = pool(Sums::default()).client("test");
    let mut checker = Checker::new(problem(None), &client, &Settings::default()).expect("a checker");
    ["7", "7", "7", "4", "none"].into_iter().for_each(|code| checker.add(candidate(code)));
    checker.check(true, &|| false);
    let answer = checker.answer(false, 0.0);
    assert_eq!((answer.status, answer.code.as_deref()), (Status::Unverified, Some("7")));
    let runner_up = answer.evidence.runner_up.clone().expect("a runner-up");
    assert_eq!((runner_up.chosen_gives.as_str(), runner_up.runner_up_gives.as_str()), ("8", "5"));
    assert!(
        answer.explanation().contains("disagrees: 1 returns 8, runner-up returns 5"),
        "{}",
        answer.explanation()
    );
}

/// A model with random weights.
fn model(name: &str, seed: u64) -> Generator {
    let texts = ["def f(a, b):\n    return a + b\n", "# Add two numbers.\n"];
    let tokenizer = Tokenizer::train(texts.into_iter(), 300, &["<|endoftext|>"]).expect("a tokenizer");
    let config = Config { vocab_size: tokenizer.vocab_size(), eos_token_ids: vec![], ..Config::tiny() };
    let reader = Cpu::default().reader(Model::random(config, seed)).expect("a reader");
    Generator::new(reader, tokenizer, name)
}

#[test]
fn a_critic_is_asked_where_the_answer_is_not_sure_without_it() {
    let generator = Arc::new(model("tiny", 1));
    let backbone = Cpu::default().reader(generator.model().expect("weights")).expect("a reader");
    let head = Head::random(generator.config().hidden_size, 8, 1, 5);
    let critic = Arc::new(Critic::new(backbone, head, generator.tokenizer.clone()));
    let scorer = Some(Scorer::new(critic.clone(), generator.clone()));
    let client = pool(Sums::default()).client("test");
    let answer = |expected: Option<&str>, until: f64| {
        let settings = Settings { until, scorer: scorer.clone(), ..Settings::default() };
        let mut checker = Checker::new(problem(expected), &client, &settings).expect("a checker");
        ["7", "7", "2", "none"].into_iter().for_each(|code| checker.add(candidate(code)));
        checker.check(true, &|| false);
        checker.answer(false, 0.0)
    };
    let unsure = answer(None, 1.0);
    let score = unsure.evidence.critic.expect("it was asked");
    let prompt = generator.prompt(&problem(None).shown, PromptTests::Visible).expect("a prompt");
    let question = Question { prompt, programs: vec![unsure.code.expect("an answer")] };
    assert!((score - critic.score(&[question]).expect("a score")[0][0]).abs() < 1e-6);
    let sure = answer(Some("3"), 0.0);
    assert_eq!((sure.status, sure.evidence.critic), (Status::Verified, None));
}

#[test]
fn the_policy_writes_the_first_candidates_and_the_base_the_others() {
    let [policy, base] =
        [model("tiny+learned", 1), model("tiny", 2)].map(|model| Arc::new(Engine::start(model, 16, 64)));
    let proposer = PolicyFirst { policy, base, candidates: 20, candidates_with_tests: 2 };
    let authors = |expected: Option<&str>| {
        let settings = Settings { candidates: 25, max_new_tokens: 4, ..Settings::default() };
        let mut found = Vec::new();
        let extract = |_: &Problem, text: &str| text.to_owned();
        let mut take = |candidate: Candidate| found.push((candidate.index, candidate.generator));
        proposer.propose(&problem(expected), &settings, &extract, &|| false, &mut take).expect("candidates");
        found.sort();
        assert_eq!(found.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (0..25).collect::<Vec<_>>());
        found.iter().filter(|(_, generator)| generator == "tiny+learned").count()
    };
    assert_eq!((authors(None), authors(Some("3"))), (20, 2));
    assert_eq!(proposer.name(), "tiny+learned");
}

#[test]
fn what_still_runs_is_cancelled_and_what_is_known_is_the_answer() {
    let sums = Sums::default();
    let cancelled = sums.cancelled.clone();
    let client = pool(sums).client("test");
    let mut checker = Checker::new(problem(Some("3")), &client, &Settings::default()).expect("a checker");
    ["2", "for ever"].into_iter().for_each(|code| checker.add(candidate(code)));
    let started = Instant::now();
    checker.check(true, &|| started.elapsed() > Duration::from_millis(500));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(checker.answer(false, 0.0).status, Status::Verified);
    while !cancelled.load(Ordering::SeqCst) {
        assert!(started.elapsed() < Duration::from_secs(30), "the verifier was not told");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_test_that_cannot_be_judged_by_is_an_error() {
    let client = pool(Sums::default()).client("test");
    let error = Checker::new(problem(Some("three")), &client, &Settings::default()).err();
    assert!(matches!(error, Some(Error::Tests(_))), "{error:?}");
    let other = Problem { check: Check::new("songs", &1).expect("JSON"), ..problem(Some("3")) };
    let error = Checker::new(other, &client, &Settings::default()).err();
    assert!(matches!(&error, Some(Error::NoVerifier(name)) if name == "songs"), "{error:?}");
}
