//! Problems, looked at once: what their checks say, and how they are judged.

use crate::judge::Judge;
use crate::plan::{Kind, Lowered, Plan, planner_job};
use crate::{Check, plus_run};
use records::{Outcome, Problem, Resource};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, debug_span};
use verify::Watch;

/// Problems that are remembered; when there are more, all are forgotten.
const MOST_PREPARED: usize = 1_024;
/// Of problems with plus inputs, whose expected values may take tens of megabytes.
const MOST_PLUS: usize = 12;

/// Why there is no plan where a reference runs out of time, whatever it would have shown.
const TOO_SLOW: &str = "the tests take too long with the reference, which has to show what they do with what it gives: make them or it faster, or raise the time limit";
/// The same of memory: no candidate is to answer for what the tests take.
const TOO_LARGE: &str =
    "the tests take too much memory with the reference: make them or it smaller, or raise the memory limit";

/// A problem's check and, once it is known, its plan.
pub struct Prepared {
    /// The check; its tests are those that are asked for.
    pub check: Check,
    reference: Option<String>,
    /// What looking at the tests showed: the names that are the candidate's, where that took a planner.
    looked: Mutex<Option<Result<Option<Vec<String>>, String>>>,
    plan: Mutex<Planning>,
    planned: Condvar,
}

/// How far a problem's plan is. Of several workers that need it one makes it, and the others wait: a slow
/// reference runs once.
#[derive(Default)]
enum Planning {
    #[default]
    Unknown,
    Making,
    Known(Result<Arc<Plan>, String>),
}

/// Lets others make the plan where this one did not, whatever ended it.
struct Maker<'a>(&'a Prepared);

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        let mut planning = self.0.planning();
        if matches!(*planning, Planning::Making) {
            *planning = Planning::Unknown;
        }
        self.0.planned.notify_all();
    }
}

/// How often one that waits for a plan sees whether anybody still waits for its own answer.
const LOOKING_UP: Duration = Duration::from_millis(20);

impl Prepared {
    fn of(problem: &Problem, visible: bool) -> Result<Self, String> {
        let mut check = Check::of(problem).map_err(|error| error.message)?;
        if visible {
            check.tests = problem.shown.visible().to_vec();
            check.plus = None;
            if check.tests.is_empty() {
                return Err("the problem shows no tests".to_owned());
            }
        }
        let reference = problem.references.first().cloned();
        Ok(Prepared {
            check,
            reference,
            looked: Mutex::default(),
            plan: Mutex::default(),
            planned: Condvar::new(),
        })
    }

    /// Whether a candidate can be judged by it at all, without running anything of the problem's: what
    /// running it has shown already is said too.
    pub(crate) fn look(&self, judge: &mut Judge, watch: &Watch) -> io::Result<Result<(), String>> {
        if let Planning::Known(Err(reason)) = &*self.planning() {
            return Ok(Err(reason.clone()));
        }
        if let Some(known) = &*self.looked.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(known.clone().map(|_| ()));
        }
        let looked = self.lowered(judge, false, None, watch)?.map(|lowered| match lowered {
            Lowered::Names(names) => Some(names),
            _ => None,
        });
        if !watch.is_cancelled() {
            *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked.clone());
        }
        Ok(looked.map(|_| ()))
    }

    /// What the tests are made of; where that does not show without, they run, without a candidate.
    fn lowered(
        &self,
        judge: &mut Judge,
        runs: bool,
        names: Option<&[String]>,
        watch: &Watch,
    ) -> io::Result<Result<Lowered, String>> {
        Ok(match Lowered::of_comparisons(&self.check) {
            Some(lowered) => Ok(lowered),
            None if self.check.tests.is_empty() => Err("there are no tests: give at least one".to_owned()),
            None => {
                let packages = &judge.shared.settings.packages;
                let job = planner_job(&self.check, self.reference.as_ref(), packages, runs, names);
                judge.ask_planner(&job, watch)?
            }
        })
    }

    fn planning(&self) -> MutexGuard<'_, Planning> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the problem is judged; an inner error says why it cannot be.
    ///
    /// # Errors
    /// Where the interpreter failed, which says nothing of the problem.
    pub(crate) fn plan(&self, judge: &mut Judge, watch: &Watch) -> io::Result<Result<Arc<Plan>, String>> {
        let started = Instant::now();
        let mut planning = self.planning();
        loop {
            match &*planning {
                Planning::Known(plan) => return Ok(plan.clone()),
                Planning::Unknown => break,
                Planning::Making => {}
            }
            if watch.is_cancelled() {
                return Ok(Err("nobody waits for the answer".to_owned()));
            }
            if started.elapsed() > watch.slice() {
                watch.long_running();
            }
            let waited = self.planned.wait_timeout(planning, LOOKING_UP);
            planning = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *planning = Planning::Making;
        drop(planning);
        let _maker = Maker(self);
        let plan = self.made(judge, watch)?.map(Arc::new);
        // What ran in a job that was broken off was ended early, and shows nothing.
        if !watch.is_cancelled() {
            *self.planning() = Planning::Known(plan.clone());
        }
        Ok(plan)
    }

    fn made(&self, judge: &mut Judge, watch: &Watch) -> io::Result<Result<Plan, String>> {
        let _span = debug_span!("plan", entry_point = %self.check.entry_point).entered();
        if let Some(plus) = &self.check.plus {
            let Some(reference) = &self.reference else {
                return Ok(Err("EvalPlus's inputs need a reference solution, and there is none".to_owned()));
            };
            let expected = plus_run::expected(judge, &self.check, plus, reference, watch)?;
            return Ok(expected.map(|expected| Plan { tests: 2, kind: Kind::Plus(expected) }));
        }
        let tests = self.check.tests.len();
        // A problem that was looked at before is not taken apart again.
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let names = match looked {
            Some(Err(reason)) => return Ok(Err(reason)),
            Some(Ok(names)) => names,
            None => None,
        };
        let kind = match self.lowered(judge, true, names.as_deref(), watch)? {
            Err(reason) => return Ok(Err(reason)),
            Ok(Lowered::Compared(expectations)) => Ok(Kind::compared(expectations)),
            Ok(Lowered::Names(names)) => self.proxied(judge, names, watch)?,
            Ok(Lowered::Recorded { tests, names }) => {
                let kind = Kind::compared(tests);
                let outcome = match &self.reference {
                    Some(reference) => judge.outcome_of(&self.check, &kind, reference, watch)?,
                    None => Outcome::Passed,
                };
                match outcome {
                    Outcome::Passed => Ok(kind),
                    Outcome::Limit(Resource::Time) => Err(TOO_SLOW.to_owned()),
                    _ => self.proxied(judge, names, watch)?,
                }
            }
        };
        Ok(kind.map(|kind| Plan { tests, kind }))
    }

    /// Has the reference show what tests in a process of their own do with its objects; whether they
    /// can run there at all shows too. One that runs out of time shows neither, and no time decides how
    /// a problem is judged: there is no plan then.
    fn proxied(
        &self,
        judge: &mut Judge,
        names: Vec<String>,
        watch: &Watch,
    ) -> io::Result<Result<Kind, String>> {
        let Some(reference) = &self.reference else {
            return Ok(Ok(Kind::Proxied { names, allowed: vec!["objects".to_owned()], calls: 0 }));
        };
        let cpu = judge.reference_cpu();
        let run = judge.run_proxied(&self.check, reference, &names, None, cpu, watch)?;
        let failed = run.tests.iter().find(|test| test.outcome != Outcome::Passed);
        let Some(failed) = failed else {
            let (allowed, calls) = run.recorded.unwrap_or_default();
            return Ok(Ok(Kind::Proxied { names, allowed, calls }));
        };
        debug!(reason = %failed.reason, detail = %failed.detail, "the reference fails in two processes");
        let beside = match failed.outcome {
            Outcome::Limit(_) => failed.outcome,
            _ => judge.outcome_of(&self.check, &Kind::Shared, reference, watch)?,
        };
        Ok(match beside {
            Outcome::Passed => Ok(Kind::Shared),
            Outcome::Limit(Resource::Time) => Err(TOO_SLOW.to_owned()),
            Outcome::Limit(Resource::Memory) => Err(TOO_LARGE.to_owned()),
            // Nothing is known of what objects the tests need: data only.
            _ => Ok(Kind::Proxied { names, allowed: Vec::new(), calls: 0 }),
        })
    }
}

/// The problems that were looked at last.
#[derive(Default)]
pub struct Cache {
    prepared: Mutex<HashMap<[u8; 32], Arc<Prepared>>>,
}

impl Cache {
    /// A problem, looked at once.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(&self, problem: &Problem, visible: bool) -> Result<Arc<Prepared>, String> {
        let key = key(problem, visible);
        if let Some(known) = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let prepared = Arc::new(Prepared::of(problem, visible)?);
        let mut all = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let is_plus = |prepared: &Arc<Prepared>| prepared.check.plus.is_some();
        if all.len() >= MOST_PREPARED {
            all.clear();
        } else if is_plus(&prepared) && all.values().filter(|prepared| is_plus(prepared)).count() >= MOST_PLUS
        {
            all.retain(|_, prepared| !is_plus(prepared));
        }
        Ok(all.entry(key).or_insert(prepared).clone())
    }
}

/// Names all that a plan depends on.
fn key(problem: &Problem, visible: bool) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let shown = if visible { problem.shown.visible() } else { &[] };
    let parts = [problem.check.domain.as_str(), problem.check.payload.get()];
    let references = problem.references.iter().take(1).map(String::as_str);
    hasher.update([u8::from(visible)]);
    for part in parts.into_iter().chain(references).chain(shown.iter().map(String::as_str)) {
        // Lengths keep two parts from being taken for two others of the same text.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}
