//! A candidate and its tests in, a verdict out.
//!
//! Each candidate runs in a process of its own, forked from a warm Python interpreter (the zygote),
//! with limits on time, memory, files and output. Where a test is `assert call == literal`, the
//! candidate's process is only told the call: the value comes back as data and is compared here
//! by Python's rules, so the expected value is never where the candidate could read it. Tests that
//! are more than a comparison run in an interpreter of their own, which calls the candidate by
//! messages; only those that need the candidate's own classes run inside its process. The verdict
//! says which ([`records::JudgeMode`]), and which isolation was in force ([`Tier`]).
//!
//! The design follows Zygo (Apache-2.0), which forks a warm sandboxed interpreter for each
//! request. `docs/threat-model.md` says what is defended and what is not.
//!
//! ```no_run
//! use executor::{Executor, Settings, Task};
//! use records::{Problem, Test};
//!
//! let problem = Problem {
//!     id: "add".into(),
//!     entry_point: "add".into(),
//!     tests: vec![Test::new("assert add(1, 2) == 3")],
//!     ..Problem::default()
//! };
//! let executor = Executor::start(Settings::default())?;
//! let task = Task { problem: &problem, index: 0, code: "def add(a, b): return a + b" };
//! let mut passed = false;
//! executor.judge_all(&[task], &mut |verdict| {
//!     passed = verdict.passed();
//!     std::ops::ControlFlow::Continue(())
//! });
//! assert!(passed);
//! # Ok::<(), executor::Error>(())
//! ```

mod backend;
mod interpreter;
mod judge;
mod plan;
mod processor;
mod sandbox;
mod test_judge;
pub mod wire;
mod zygote;

pub use judge::Observed;
pub use plan::{Plan, PreparedTest};
pub use sandbox::Tier;

use backend::Workplace;
use judge::{Slot, Turn, judge};
use processor::{Place, Processors};
use pydata::Value;
use records::{JudgeMode, Outcome, Problem, Test, Verdict};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use zygote::Zygote;

/// What can go wrong before any candidate runs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no Python to run.
    #[error("cannot start Python as '{}': {cause}; install Python 3.9 or newer, or name it with --python", python.display())]
    NoPython {
        /// What was tried.
        python: PathBuf,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The interpreter does not speak as it should.
    #[error("'{}' did not start as a Python 3.9 or newer interpreter: {message}", python.display())]
    BadPython {
        /// What was tried.
        python: PathBuf,
        /// What was seen.
        message: String,
    },
    /// A tier of isolation cannot be had.
    #[error("isolation of tier {} is not to be had here: {message}", tier.name())]
    Isolation {
        /// Which.
        tier: Tier,
        /// What the system said, or which attacks got through.
        message: String,
    },
    /// No tier that is strong enough can be had.
    #[error(
        "candidates cannot be isolated well enough: {reasons}; `ncomp doctor` says what is missing, \
         --require-tier D runs them with limits only, which keeps nothing from reading or deleting files"
    )]
    TooWeak {
        /// Why each tier cannot be had.
        reasons: String,
    },
    /// A problem's test is not Python.
    #[error("{0}; the problem cannot be judged: mend the test, or leave the problem out")]
    UnusableTest(String),
}

/// Limits on candidates.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interpreter.
    pub python: PathBuf,
    /// Candidates that run at the same time.
    pub workers: usize,
    /// CPU time of a candidate with all its tests, in seconds; rounded up to whole ones.
    pub cpu_seconds: f64,
    /// Wall time after which a candidate is stopped whatever it did with it, in seconds.
    pub wall_seconds: f64,
    /// Address space of a candidate.
    pub memory_bytes: u64,
    /// Size of one returned value.
    pub output_limit: usize,
    /// The strongest isolation to try.
    pub strongest_tier: Tier,
    /// The weakest isolation to put up with.
    pub weakest_tier: Tier,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            python: "python3".into(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_seconds: 2.0,
            wall_seconds: 6.0,
            memory_bytes: 1 << 30,
            output_limit: 1 << 20,
            strongest_tier: Tier::A,
            weakest_tier: Tier::C,
        }
    }
}

/// One candidate to judge.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// What it answers.
    pub problem: &'a Problem,
    /// Its index, for the verdict.
    pub index: usize,
    /// The program.
    pub code: &'a str,
}

impl Task<'_> {
    /// Tells this program, problem and limits from others: a verdict with another fingerprint is on
    /// something else. It is the same from run to run of one build; another build's may differ,
    /// which costs a run of the candidates and nothing else.
    pub fn fingerprint(&self, settings: &Settings) -> String {
        let mut hasher = DefaultHasher::new();
        let Problem { setup, completion_prefix, test_setup, entry_point, tests, .. } = self.problem;
        (setup, completion_prefix, self.code, test_setup, entry_point).hash(&mut hasher);
        for test in tests {
            test.source.hash(&mut hasher);
        }
        (settings.cpu_seconds.to_bits(), settings.wall_seconds.to_bits()).hash(&mut hasher);
        (settings.memory_bytes, settings.output_limit).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// Takes a task's place and what each of its calls gave; none if the executor itself failed.
pub type OnObserved<'a> = dyn FnMut(usize, Option<&[Observed]>) -> ControlFlow<()> + 'a;

/// A problem's id and tests: what a plan depends on.
type ProblemKey = (String, Vec<Test>);

/// A pool of warm interpreters.
pub struct Executor {
    at: Workplace,
    idle: Mutex<Vec<Slot>>,
    /// Plans of problems with tests that are more than comparisons, by id and tests.
    plans: Mutex<HashMap<ProblemKey, Arc<Plan>>>,
    /// Held for reading by every run, for writing by one that must be alone.
    alone: RwLock<()>,
}

impl Executor {
    /// Starts one interpreter, at the strongest tier whose isolation withstands a dozen attacks;
    /// the others start when they are needed.
    ///
    /// # Errors
    /// Where there is no usable Python, or no tier that is strong enough.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let mut reasons = Vec::new();
        for tier in Tier::ALL {
            if tier < settings.strongest_tier || tier > settings.weakest_tier {
                continue;
            }
            match Executor::at_tier(settings.clone(), tier) {
                Err(Error::Isolation { tier, message }) => {
                    reasons.push(format!("tier {}: {message}", tier.name()));
                }
                other => return other,
            }
        }
        Err(Error::TooWeak { reasons: reasons.join("; ") })
    }

    /// Starts at exactly this tier.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn at_tier(settings: Settings, tier: Tier) -> Result<Self, Error> {
        let at = Workplace { settings, tier, start: Zygote::launch };
        let slot = Slot { backend: Some((at.start)(&at.settings, tier)?), test_judge: None };
        let executor =
            Executor { at, idle: Mutex::new(vec![slot]), plans: Mutex::default(), alone: RwLock::default() };
        if tier == Tier::D {
            // Most of the probe's attacks would get through, and some would harm.
            return Ok(executor);
        }
        match executor.attacks_that_get_through() {
            Some(attacks) if attacks.is_empty() => Ok(executor),
            Some(attacks) => {
                Err(Error::Isolation { tier, message: format!("not held off: {}", attacks.join(", ")) })
            }
            None => Err(Error::Isolation { tier, message: "the probe itself did not run".to_owned() }),
        }
    }

    /// Names of the probe's attacks that this tier does not hold off.
    pub fn attacks_that_get_through(&self) -> Option<Vec<String>> {
        let mut slot = self.take();
        let problem = Problem::default();
        let task = Task { problem: &problem, index: 0, code: sandbox::PROBE };
        // What is expected is never returned, so that the verdict shows what was.
        let plan = Plan {
            tests: vec![PreparedTest::Compared { call: "probe()".to_owned(), expected: Value::None }],
        };
        let judged = judge(&self.at, &mut slot, &task, &plan, Turn::Last);
        self.give_back(slot);
        match pydata::parse_literal(&judged.verdict.tests.first()?.detail).ok()? {
            Value::List(names) => Some(names.iter().map(|name| name.to_string().replace('\'', "")).collect()),
            _ => None,
        }
    }

    /// The limits in force.
    pub fn settings(&self) -> &Settings {
        &self.at.settings
    }

    /// The isolation in force.
    pub fn tier(&self) -> Tier {
        self.at.tier
    }

    /// Looks at the tests of problems before any candidate runs.
    ///
    /// # Errors
    /// Names the first test that is not Python, its problem and the line.
    pub fn check_tests<'a>(&self, problems: impl IntoIterator<Item = &'a Problem>) -> Result<(), Error> {
        let mut slot = self.take();
        let checked = problems.into_iter().try_for_each(|problem| match Plan::of_comparisons(problem) {
            Some(_) => Ok(()),
            None => match slot.test_judge(&self.at) {
                Ok(judge) => match Plan::lowered(problem, judge) {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(message)) => Err(Error::UnusableTest(message)),
                    Err(error) => Err(Error::UnusableTest(format!("{}: {error}", problem.id))),
                },
                Err(error) => Err(Error::UnusableTest(error.to_string())),
            },
        });
        self.give_back(slot);
        checked
    }

    /// Judges every task; equal programs for the same problem are run once. `on_verdict` takes the
    /// verdicts as they come, in any order, and may break off.
    ///
    /// What the executor itself failed on is tried again at the end by one worker alone: where
    /// descriptors or processes had run out, there are enough then.
    pub fn judge_all(&self, tasks: &[Task], on_verdict: &mut dyn FnMut(Verdict) -> ControlFlow<()>) {
        let (mut again, mut stopped) = (Vec::new(), false);
        let judge = |slot: &mut Slot, task: &Task| self.judge_task(slot, task);
        self.each_distinct(self.at.settings.workers, tasks, &judge, &mut |at, verdict| {
            if verdict.outcome == Outcome::Infrastructure {
                again.push(tasks[at]);
                return ControlFlow::Continue(());
            }
            let flow = on_verdict(Verdict { index: tasks[at].index, ..verdict.clone() });
            stopped = flow.is_break();
            flow
        });
        if again.is_empty() || stopped {
            return;
        }
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|slot| slot.backend.is_some());
            idle.truncate(1);
        }
        self.each_distinct(1, &again, &judge, &mut |at, verdict| {
            on_verdict(Verdict { index: again[at].index, ..verdict.clone() })
        });
    }

    /// Makes calls of every task's program: `calls` gives those of a problem. Otherwise as
    /// [`judge_all`](Self::judge_all).
    pub fn observe_all<'c>(
        &self,
        tasks: &[Task],
        calls: &(dyn Fn(&Problem) -> &'c [String] + Sync),
        on_observed: &mut OnObserved,
    ) {
        let observe = |slot: &mut Slot, task: &Task| {
            let _together = self.alone.read().unwrap_or_else(PoisonError::into_inner);
            judge::observe(&self.at, slot, task, calls(task.problem))
        };
        let workers = self.at.settings.workers;
        self.each_distinct(workers, tasks, &observe, &mut |at, observed| {
            on_observed(at, observed.as_deref())
        });
    }

    /// Does some work for every distinct program of a problem, on so many workers, and hands its
    /// result to each task that holds it.
    fn each_distinct<T: Send>(
        &self,
        workers: usize,
        tasks: &[Task],
        work: &(dyn Fn(&mut Slot, &Task) -> T + Sync),
        on_result: &mut dyn FnMut(usize, &T) -> ControlFlow<()>,
    ) {
        let mut first_of: HashMap<(&str, &str), usize> = HashMap::new();
        let mut distinct: Vec<Vec<usize>> = Vec::new();
        for (at, task) in tasks.iter().enumerate() {
            let key = (task.problem.id.as_str(), task.code);
            let group = *first_of.entry(key).or_insert_with(|| {
                distinct.push(Vec::new());
                distinct.len() - 1
            });
            distinct[group].push(at);
        }
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, results) = mpsc::channel();
        let processors = &Processors::of_this_process();
        std::thread::scope(|scope| {
            for _ in 0..workers.clamp(1, distinct.len().max(1)) {
                let (sender, next, stopped, distinct) = (sender.clone(), &next, &stopped, &distinct);
                scope.spawn(move || {
                    let mut slot = self.take();
                    let mut place = processors.as_ref().map(Place::among);
                    while !stopped.load(Ordering::Relaxed) {
                        if let Some(place) = &mut place {
                            place.settle(&mut slot);
                        }
                        let Some(group) = distinct.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                        let result = work(&mut slot, &tasks[group[0]]);
                        if sender.send((group, result)).is_err() {
                            break;
                        }
                    }
                    self.give_back(slot);
                });
            }
            drop(sender);
            for (group, result) in results {
                for &at in group {
                    if !stopped.load(Ordering::Relaxed) && on_result(at, &result).is_break() {
                        stopped.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
    }

    /// One task's verdict. A candidate that ran out of wall time before it had its CPU time, or took
    /// a little more CPU time than it may, may have been held up by others: it is run again, alone,
    /// before that counts.
    fn judge_task(&self, slot: &mut Slot, task: &Task) -> Verdict {
        let Some(plan) = self.plan(slot, task.problem) else {
            return judge(&self.at, slot, task, &Plan { tests: Vec::new() }, Turn::Last).verdict;
        };
        let judged = {
            let _together = self.alone.read().unwrap_or_else(PoisonError::into_inner);
            judge(&self.at, slot, task, &plan, Turn::Beside)
        };
        if judged.unfit {
            let plan = Arc::new(Plan::in_process(task.problem));
            self.remember(task.problem, plan.clone());
            return judge(&self.at, slot, task, &plan, Turn::Last).verdict;
        }
        if judged.near_miss {
            let _alone = self.alone.write().unwrap_or_else(PoisonError::into_inner);
            return judge(&self.at, slot, task, &plan, Turn::Last).verdict;
        }
        judged.verdict
    }

    /// How a problem's tests are judged; none where its tests are not Python or the judge's
    /// interpreter does not start.
    fn plan(&self, slot: &mut Slot, problem: &Problem) -> Option<Arc<Plan>> {
        if let Some(plan) = Plan::of_comparisons(problem) {
            return Some(Arc::new(plan));
        }
        let key = (problem.id.clone(), problem.tests.clone());
        if let Some(plan) = self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(plan.clone());
        }
        let judge = slot.test_judge(&self.at).ok()?;
        let mut plan = Plan::lowered(problem, judge).ok()?.ok()?;
        // The reference says whether the tests can be kept apart from the candidate.
        if plan.mode() == JudgeMode::Proxied
            && let Some(reference) = problem.references.first()
        {
            let weak = Plan::in_process(problem);
            let passes = |slot: &mut Slot, plan: &Plan| {
                let task = Task { problem, index: 0, code: reference };
                let judged = judge::judge(&self.at, slot, &task, plan, Turn::Last);
                judged.verdict.outcome == Outcome::Passed
            };
            if !passes(slot, &plan) && passes(slot, &weak) {
                plan = weak;
            }
        }
        let plan = Arc::new(plan);
        self.remember(problem, plan.clone());
        Some(plan)
    }

    fn remember(&self, problem: &Problem, plan: Arc<Plan>) {
        let key = (problem.id.clone(), problem.tests.clone());
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).insert(key, plan);
    }

    fn take(&self) -> Slot {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, slot: Slot) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }
}
