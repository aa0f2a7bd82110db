//! A candidate and its tests in, a verdict out.
//!
//! Each candidate runs in a process of its own, forked from a warm Python interpreter (the zygote),
//! with limits on time, memory, files and output. Where a test is `assert call == literal`, the
//! candidate's process is only told the call: the value comes back as data and is compared here
//! by Python's rules, so the expected value is never where the candidate could read it. Other
//! tests run inside the candidate's process; the verdict says so ([`records::JudgeMode`]).
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

mod judge;
mod wire;
mod zygote;

pub use judge::{PreparedTest, prepare};

use judge::judge;
use records::{Problem, Verdict};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
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

/// A pool of warm interpreters.
pub struct Executor {
    settings: Settings,
    idle: Mutex<Vec<Zygote>>,
}

impl Executor {
    /// Starts one interpreter to see that it works; the others start when they are needed.
    ///
    /// # Errors
    /// Where there is no usable Python.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let first = Zygote::start(&settings)?;
        Ok(Executor { settings, idle: Mutex::new(vec![first]) })
    }

    /// The limits in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Judges every task; equal programs for the same problem are run once. `on_verdict` takes the
    /// verdicts as they come, in any order, and may break off.
    pub fn judge_all(&self, tasks: &[Task], on_verdict: &mut dyn FnMut(Verdict) -> ControlFlow<()>) {
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
        let (sender, verdicts) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.settings.workers.clamp(1, distinct.len().max(1)) {
                let (sender, next, stopped, distinct) = (sender.clone(), &next, &stopped, &distinct);
                scope.spawn(move || {
                    let mut zygote = self.take();
                    while !stopped.load(Ordering::Relaxed) {
                        let Some(group) = distinct.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                        let verdict = judge(&self.settings, &mut zygote, &tasks[group[0]]);
                        if sender.send((group, verdict)).is_err() {
                            break;
                        }
                    }
                    self.give_back(zygote);
                });
            }
            drop(sender);
            for (group, verdict) in verdicts {
                for &at in group {
                    let verdict = Verdict { index: tasks[at].index, ..verdict.clone() };
                    if !stopped.load(Ordering::Relaxed) && on_verdict(verdict).is_break() {
                        stopped.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
    }

    fn take(&self) -> Option<Zygote> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, zygote: Option<Zygote>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(zygote);
    }
}
