//! Ask, check, answer.
//!
//! A [`Proposer`] suggests programs for a [`Question`]; each is run while others are still being
//! written; the one that is likeliest to be right is the [`Answer`], with the evidence for it.
//! Tests that come with the question are run first and decide: without them an answer is never
//! called verified.
//!
//! ```no_run
//! use assistant::{Question, Settings, solve};
//! use generator::{Engine, Generator};
//! use python::Python;
//! use std::sync::{Arc, atomic::AtomicBool};
//! use transformer::Cpu;
//!
//! let model = Generator::open("models/basics".as_ref(), &Cpu::default())?;
//! let engine = Engine::start(model, 64, 64);
//! let python = Python::start(python::Settings::default())?;
//! let pool = verify::Pool::start(vec![Arc::new(python)], verify::Settings::default())?;
//! let question = Question {
//!     text: "Write a function to double a number.".into(),
//!     tests: vec!["assert double(2) == 4".into()],
//! };
//! let stop = AtomicBool::new(false);
//! let client = pool.client("double");
//! let answer = solve(&question, &engine, &client, &Settings::default(), &stop, &mut |_| {})?;
//! println!("{}", answer.code.unwrap_or_default());
//! # Ok::<(), anyhow::Error>(())
//! ```

mod answer;
mod checker;
mod proposer;
mod question;
mod remote;
mod scorer;

pub use answer::{Answer, Evidence, FailedTest, Judged, RunnerUp, Status};
pub use checker::Checker;
pub use proposer::{PolicyFirst, Proposer, TooLong};
pub use question::Question;
pub use remote::{Remote, RemoteError};
pub use scorer::Scorer;

use generator::{Adjustments, Sampling};
use problems::prompt::Message;
use records::{Candidate, Problem};
use selection::{Ranker, Selector};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use verify::{Client, ProblemError};

/// Time for a last look at candidates that came just before the work was to stop.
const LAST_CHECK: Duration = Duration::from_secs(1);

/// Why a question has no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no text.
    #[error("expected what the program shall do, found nothing")]
    Empty,
    /// A test is not Python, or checks nothing.
    #[error("{}", .0.message)]
    Tests(ProblemError),
    /// Nothing here judges such problems.
    #[error("no verifier for problems of the domain '{0}'")]
    NoVerifier(String),
    /// The proposer failed before it had given anything.
    #[error(transparent)]
    Proposer(#[from] anyhow::Error),
}

/// How hard to try.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most candidates.
    pub candidates: usize,
    /// Probability of being right from which no more candidates are asked for.
    pub until: f64,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// What changes their logits before.
    pub adjustments: Option<Arc<Adjustments>>,
    /// Longest completion, in tokens.
    pub max_new_tokens: usize,
    /// Seed.
    pub seed: u64,
    /// Whether candidates are run while others are still being written; otherwise after the last.
    pub streaming: bool,
    /// How one is chosen among those that tests leave.
    pub selector: Selector,
    /// The conversation of which the question is the last part, where there is one: a model that can
    /// chat then answers all of it.
    pub conversation: Vec<Message>,
    /// Rankers in place of the built-in ones of their levels: 0 where there are no tests, 3 where there
    /// are.
    pub rankers: Vec<Ranker>,
    /// A critic whose word counts too, as long as the answer is not sure without it.
    pub scorer: Option<Scorer>,
}

/// Selectors that a question can be answered with: what they need is there.
pub const SELECTORS: [Selector; 8] = [
    Selector::Combined,
    Selector::Consensus,
    Selector::ConsensusSoft,
    Selector::Runs,
    Selector::Likelihood,
    Selector::LikelihoodSum,
    Selector::Shortest,
    Selector::Random,
];

/// The selector of a name, of those that a question can be answered with.
///
/// # Errors
/// Says which there are.
pub fn selector(name: &str) -> Result<Selector, String> {
    let found = SELECTORS.into_iter().find(|selector| selector.name() == name);
    found.ok_or_else(|| format!("expected {}, found '{name}'", SELECTORS.map(Selector::name).join(", ")))
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            candidates: 50,
            until: 0.95,
            sampling: Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN },
            adjustments: None,
            max_new_tokens: 512,
            seed: 0,
            streaming: true,
            selector: Selector::Combined,
            conversation: Vec::new(),
            rankers: Vec::new(),
            scorer: None,
        }
    }
}

/// Asks, checks and answers. `stop` may be set from outside: then what is known is the answer, and
/// what still runs is cancelled. `on_progress` is told whenever candidates have been checked.
///
/// # Errors
/// Where the question is empty, a test is not Python or checks nothing, or the proposer fails before
/// it has given anything.
pub fn solve(
    question: &Question,
    proposer: &dyn Proposer,
    client: &Client,
    settings: &Settings,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(&Checker),
) -> Result<Answer, Error> {
    let started = Instant::now();
    let problem = question.problem()?;
    let mut checker = Checker::new(problem.clone(), client, settings)?;
    let domain = checker.domain().clone();
    let enough = AtomicBool::new(false);
    let failure = std::thread::scope(|scope| {
        let (sender, candidates) = mpsc::channel::<Candidate>();
        let stops = || enough.load(Ordering::Relaxed) || stop.load(Ordering::Relaxed);
        let proposing = scope.spawn(move || {
            let extract = |problem: &Problem, text: &str| domain.extract(problem, text);
            proposer.propose(&problem, settings, &extract, &stops, &mut |candidate| {
                // The receiver has gone when there is enough.
                let _ = sender.send(candidate);
            })
        });
        while let Ok(first) = candidates.recv() {
            checker.add(first);
            candidates.try_iter().for_each(|candidate| checker.add(candidate));
            if !settings.streaming {
                continue;
            }
            checker.check(false, &|| stop.load(Ordering::Relaxed));
            on_progress(&checker);
            if checker.usable().is_err() || checker.is_certain(settings.until) || stop.load(Ordering::Relaxed)
            {
                enough.store(true, Ordering::Relaxed);
                break;
            }
        }
        drop(candidates);
        proposing.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the proposer's thread panicked")))
    });
    let early = enough.load(Ordering::Relaxed) && checker.count() < settings.candidates;
    match failure {
        Err(error) if checker.is_empty() => return Err(error.into()),
        // What came before it failed is still worth an answer.
        Err(error) => checker.note(format!("{error:#}")),
        Ok(()) => {}
    }
    let last = Instant::now() + LAST_CHECK;
    checker.check(true, &|| stop.load(Ordering::Relaxed) && Instant::now() > last);
    checker.usable()?;
    on_progress(&checker);
    Ok(checker.answer(early, started.elapsed().as_secs_f64()))
}
