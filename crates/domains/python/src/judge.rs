//! One candidate after the other, each in a process of its own.

use crate::clock::Clock;
use crate::conclude::{compared, cut_short, not_loaded, overall, ran};
use crate::marshal::{Fields, encode};
use crate::observe;
use crate::plan::{Kind, Lowered, Plan};
use crate::plus_run;
use crate::prepare::Prepared;
use crate::talk::Talk;
use crate::wire::Message;
use crate::zygote::{Ended, Role, Silence, Zygote};
use crate::{Check, Shared};
use records::{Outcome, TestResult, Verdict};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value as Json, json};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, debug_span};
use verify::{Ask, Failure, Job, Reply, Verifier, Watch};

/// What a turn beside others gets of the CPU time of a candidate, so that what is slow is told from
/// what never ends; only the former is run again.
const GRACE: f64 = 1.5;
/// CPU time of the processes that hold tests, as a multiple of a candidate's.
const TESTER_SHARE: f64 = 4.0;
/// CPU time for a few answers to tests in another process, in seconds: what that takes is not the
/// candidate's doing.
const ANSWERING: f64 = 2.0;
/// What one answer takes at most, and what asking takes the test: so much a candidate is not charged
/// for.
const ANSWER: Duration = Duration::from_micros(100);
/// CPU time of the process that looks at a problem, in seconds: it runs the tests a few times, each time
/// as many steps as it counts. Beyond it the problem is refused.
const PLANNING: f64 = 30.0;
/// The same of wall time, for what sleeps.
const PLANNING_WALL: Duration = Duration::from_secs(20);
/// How many calls a reference may be asked for.
const MOST_CALLS: u32 = 100_000;
/// Tests' processes have what a candidate may have and this for what they hold besides.
const TESTER_MEMORY: u64 = 256 << 20;
/// The planner has more still: what it runs out of, a test's process would too.
const PLANNER_MEMORY: u64 = TESTER_MEMORY + (64 << 20);
/// CPU time of a reference that shows how its problem is judged, as a multiple of a candidate's.
const REFERENCE_SHARE: f64 = 5.0;

/// Whether a candidate may be run again if it took a little longer than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Of the problem's reference: what it does decides how the problem is judged, and no time may.
    Reference,
    /// Beside others, which slow it down.
    Beside,
    /// What this gives, counts.
    Last,
}

/// A worker's verifier: an interpreter, started when it is first needed.
pub struct Judge {
    pub(crate) shared: Arc<Shared>,
    zygote: Option<Zygote>,
    /// Wall time of a run, where it is not the settings'.
    patience: Option<Duration>,
    /// The problem of the last job, which most often is the next one's too.
    last: Option<(Arc<records::Problem>, bool, Arc<Prepared>)>,
}

/// A run's processes and what they said.
pub(crate) struct Run {
    /// One result a test, as far as it came; of a program that was never loaded, why.
    pub tests: Vec<TestResult>,
    /// How the candidate's process ended.
    pub ended: Ended,
    /// What a reference's objects were used for, and how often it was called.
    pub recorded: Option<(Vec<String>, u32)>,
}

impl Verifier for Judge {
    fn run(&mut self, job: &Job, watch: &Watch) -> Result<Reply, Failure> {
        let failed = |error: io::Error| Failure(error.to_string());
        let visible = job.ask == Ask::JudgeVisible;
        let prepared = match self.prepared(job, visible) {
            Ok(prepared) => prepared,
            Err(reason) => return Ok(refused(job, reason)),
        };
        match &job.ask {
            Ask::Observe(inputs) => {
                let observations = observe::observe(self, &prepared.check, &job.solution, inputs, watch);
                observations.map(Reply::Observations).map_err(failed)
            }
            Ask::Judge | Ask::JudgeVisible => match prepared.plan(self, watch).map_err(failed)? {
                Err(reason) => Ok(refused(job, reason)),
                Ok(plan) => {
                    let verdict =
                        self.verdict(&prepared.check, &plan, &job.solution, watch).map_err(failed)?;
                    Ok(Reply::Verdict(Verdict { problem: job.problem.id.clone(), ..verdict }))
                }
            },
        }
    }

    fn processes(&self) -> Vec<u32> {
        self.zygote.iter().map(Zygote::pid).collect()
    }
}

/// The answer where the problem itself cannot be judged: nothing is known of the candidate.
fn refused(job: &Job, reason: String) -> Reply {
    match job.ask {
        Ask::Observe(ref inputs) => Reply::Observations(vec![Default::default(); inputs.len()]),
        _ => Reply::Verdict(Verdict::infrastructure(&job.problem.id, 0, reason)),
    }
}

impl Judge {
    /// With an interpreter that is started already, or none yet.
    pub(crate) fn new(shared: Arc<Shared>, zygote: Option<Zygote>) -> Self {
        Judge { shared, zygote, patience: None, last: None }
    }

    /// With this wall time for each run, whatever the settings say: for what is no candidate.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Its interpreter, if it has one; it starts another when it needs one.
    pub(crate) fn take_zygote(&mut self) -> Option<Zygote> {
        self.zygote.take().filter(|zygote| !zygote.is_worn())
    }

    /// The problem's check, read and looked at once.
    fn prepared(&mut self, job: &Job, visible: bool) -> Result<Arc<Prepared>, String> {
        if let Some((problem, of_visible, prepared)) = &self.last
            && Arc::ptr_eq(problem, &job.problem)
            && *of_visible == visible
        {
            return Ok(prepared.clone());
        }
        let prepared = self.shared.prepared.of(&job.problem, visible)?;
        self.last = Some((job.problem.clone(), visible, prepared.clone()));
        Ok(prepared)
    }

    /// The interpreter; a fresh one if there is none or it is worn.
    pub(crate) fn zygote(&mut self) -> io::Result<&mut Zygote> {
        let zygote = match self.zygote.take() {
            Some(zygote) if !zygote.is_worn() => zygote,
            _ => self.shared.zygote().map_err(io::Error::other)?,
        };
        Ok(self.zygote.insert(zygote))
    }

    /// Judges a candidate by a plan.
    fn verdict(&mut self, check: &Check, plan: &Plan, solution: &str, watch: &Watch) -> io::Result<Verdict> {
        let _span = debug_span!("verdict", separation = plan.separation().name()).entered();
        let started = Instant::now();
        let mut verdict = self.one_turn(check, plan, solution, Turn::Beside, watch)?;
        let limit = self.shared.settings.cpu_seconds.ceil();
        if verdict.passed() && verdict.cpu_milliseconds > limit * 1e3 && !matches!(plan.kind, Kind::Plus(_)) {
            debug!(cpu_milliseconds = verdict.cpu_milliseconds, "near its limit: runs again");
            verdict = self.one_turn(check, plan, solution, Turn::Last, watch)?;
            // The kernel's own limit leaves room for answers to another process.
            let is_proxied = matches!(plan.kind, Kind::Proxied { .. });
            if is_proxied && verdict.passed() && verdict.cpu_milliseconds > limit * 1e3 {
                verdict.outcome = Outcome::Limit(records::Resource::Time);
                "timeout".clone_into(&mut verdict.reason);
            }
        }
        verdict.wall_milliseconds = started.elapsed().as_secs_f64() * 1e3;
        Ok(verdict)
    }

    fn one_turn(
        &mut self,
        check: &Check,
        plan: &Plan,
        solution: &str,
        turn: Turn,
        watch: &Watch,
    ) -> io::Result<Verdict> {
        if let Kind::Plus(expected) = &plan.kind {
            return plus_run::verdict(self, check, expected, solution, watch);
        }
        let run = self.run_plan(check, &plan.kind, solution, turn, watch)?;
        let (outcome, reason) = overall(&run.tests, plan.tests);
        Ok(Verdict {
            outcome,
            reason,
            // Of a program that cannot be loaded one result says why.
            tests: run.tests,
            separation: Some(plan.separation()),
            cpu_milliseconds: run.ended.cpu.as_secs_f64() * 1e3,
            peak_memory_kib: run.ended.peak_memory_kib,
            isolation: self.shared.tier.name().to_owned(),
            ..Verdict::infrastructure("", 0, "")
        })
    }

    fn run_plan(
        &mut self,
        check: &Check,
        kind: &Kind,
        solution: &str,
        turn: Turn,
        watch: &Watch,
    ) -> io::Result<Run> {
        let cpu = match turn {
            Turn::Reference => self.reference_cpu(),
            Turn::Beside => (self.shared.settings.cpu_seconds * GRACE).ceil(),
            Turn::Last => self.shared.settings.cpu_seconds.ceil(),
        };
        match kind {
            Kind::Compared { tests, calls } => {
                let job = self.candidate_job(check, solution, cpu).with_calls("calls", calls);
                let job = job.with_text("entry_point", &check.entry_point);
                self.run_candidate(job, cpu, Answers::Together, watch, |channel, clock, limit| {
                    let mut results = Vec::new();
                    for test in tests {
                        let mut result = TestResult::passed();
                        for expectation in test {
                            let answered = match channel(limit, clock) {
                                Ok(message) => compared(expectation, &message),
                                Err(silence) => return (results, Some(silence)),
                            };
                            if result.outcome == Outcome::Passed {
                                result = answered;
                            }
                        }
                        results.push(result);
                    }
                    (results, None)
                })
            }
            Kind::Shared => {
                let job = self.candidate_job(check, solution, cpu);
                let job = job.with("tests", &json!(check.tests)).with_text("test_setup", &check.test_setup);
                self.run_candidate(job, cpu, Answers::Together, watch, |channel, clock, limit| {
                    let mut results = Vec::new();
                    for _ in &check.tests {
                        match channel(limit, clock) {
                            Ok(message) => results.push(ran(&message)),
                            Err(silence) => return (results, Some(silence)),
                        }
                    }
                    (results, None)
                })
            }
            Kind::Proxied { names, allowed, calls } => {
                self.run_proxied(check, solution, names, Some((allowed, *calls)), cpu, watch)
            }
            // Runs elsewhere.
            Kind::Plus(_) => Err(io::Error::other("a plan of plus tests has no turn")),
        }
    }

    /// What every candidate's job says.
    pub(crate) fn candidate_job(&self, check: &Check, solution: &str, cpu: f64) -> Fields {
        let settings = &self.shared.settings;
        Fields::new()
            .with_text("setup", self.shared.setup_of(check))
            .with_text("program", solution)
            .with("cpu_limits", &cpu_limits(cpu))
            .with("memory_limits", &memory_limits(settings.memory_bytes))
            .with("output_limit", &json!(settings.output_limit))
    }

    /// Runs a candidate that is talked to on one socket alone.
    pub(crate) fn run_candidate(
        &mut self,
        job: Fields,
        cpu: f64,
        answers: Answers,
        watch: &Watch,
        talk: impl FnOnce(&mut Next, &mut Clock, usize) -> (Vec<TestResult>, Option<Silence>),
    ) -> io::Result<Run> {
        let (limit, wall) = (self.shared.settings.output_limit, self.wall());
        let zygote = self.zygote()?;
        let mut clock = Clock::start(wall, watch, zygote.pid());
        let mut candidate = zygote.fork(Role::Candidate, &job.finish(), None)?;
        if answers == Answers::Together {
            candidate.channel.await_together();
        }
        let loaded = candidate.channel.next(limit, &mut clock);
        let is_loaded = matches!(&loaded, Ok(message) if not_loaded(message).is_none());
        let (mut tests, silence) = match loaded {
            Ok(_) if is_loaded => {
                talk(&mut |limit, clock| candidate.channel.next(limit, clock), &mut clock, limit)
            }
            Ok(message) => (not_loaded(&message).into_iter().collect(), None),
            Err(silence) => (Vec::new(), Some(silence)),
        };
        let ended = zygote.end(candidate)?;
        if let Some(silence) = silence {
            cancelled(silence)?;
            tests.push(cut_short(silence, &ended, cpu));
        }
        Ok(Run { tests, ended, recorded: None })
    }

    /// Runs a candidate and, in another process, the tests that call it. `allowed` is what the reference
    /// showed: what its objects were used for, and how often it was called. Without it the candidate is
    /// the reference, and that is recorded.
    pub(crate) fn run_proxied(
        &mut self,
        check: &Check,
        solution: &str,
        names: &[String],
        allowed: Option<(&[String], u32)>,
        cpu: f64,
        watch: &Watch,
    ) -> io::Result<Run> {
        let calls = ANSWER.as_secs_f64() * f64::from(allowed.map_or(MOST_CALLS, |(_, calls)| calls));
        let cpu = cpu + ANSWERING + calls;
        let job = self.candidate_job(check, solution, cpu).finish();
        let tester_cpu = (self.shared.settings.cpu_seconds * TESTER_SHARE + calls).ceil();
        let test_job = json!({
            "setup": self.shared.setup_of(check),
            "prompt": check.prompt,
            "test_setup": check.test_setup,
            "tests": check.tests,
            "names": names,
            "entry_point": check.entry_point,
            "allowed": allowed.map(|(uses, _)| uses),
            "cpu_limits": cpu_limits(tester_cpu),
            "memory_limits": memory_limits(self.shared.settings.memory_bytes.saturating_add(TESTER_MEMORY)),
        });
        let (limit, wall) = (self.shared.settings.output_limit, self.wall());
        let zygote = self.zygote()?;
        let mut clock = Clock::start(wall, watch, zygote.pid());
        let (calls, theirs) = UnixStream::pair()?;
        let mut candidate = zygote.fork(Role::Candidate, &job, Some(calls))?;
        let loaded = candidate.channel.next(limit, &mut clock);
        let failed = loaded.map(|message| not_loaded(&message));
        if !matches!(failed, Ok(None)) {
            let ended = zygote.end(candidate)?;
            let tests = match failed {
                Ok(result) => result.into_iter().collect(),
                Err(silence) => {
                    cancelled(silence)?;
                    vec![cut_short(silence, &ended, cpu)]
                }
            };
            return Ok(Run { tests, ended, recorded: None });
        }
        let mut tester = zygote.fork(Role::Tester, &encode(&test_job), Some(theirs))?;
        tester.channel.await_together();
        let mut talk = Talk::default();
        talk.listen(&mut tester, check.tests.len(), allowed.is_none(), &mut clock);
        let tester_ended = zygote.end(tester)?;
        let mut ended = zygote.end(candidate)?;
        if let Some(silence) = talk.silence {
            cancelled(silence)?;
            talk.tests.push(match silence {
                // The candidate's own limit shows as its own end.
                Silence::Closed if tester_ended.signal.is_some() => {
                    let mut result = cut_short(silence, &tester_ended, tester_cpu);
                    result.detail = "the test itself took too long or too much".to_owned();
                    result
                }
                _ => cut_short(silence, &ended, cpu),
            });
        } else if talk.gone {
            talk.tests.push(cut_short(Silence::Closed, &ended, cpu));
        }
        ended.cpu = ended.cpu.saturating_sub(ANSWER * talk.calls);
        Ok(Run { tests: talk.tests, ended, recorded: talk.recorded.map(|uses| (uses, talk.calls)) })
    }

    /// How a problem's reference does in its tests as this kind of plan runs them.
    pub(crate) fn outcome_of(
        &mut self,
        check: &Check,
        kind: &Kind,
        reference: &str,
        watch: &Watch,
    ) -> io::Result<Outcome> {
        let run = self.run_plan(check, kind, reference, Turn::Reference, watch)?;
        Ok(overall(&run.tests, check.tests.len()).0)
    }

    /// CPU time of a reference, in seconds.
    pub(crate) fn reference_cpu(&self) -> f64 {
        (self.shared.settings.cpu_seconds * REFERENCE_SHARE).ceil()
    }

    pub(crate) fn wall(&self) -> Duration {
        self.patience.unwrap_or(Duration::from_secs_f64(self.shared.settings.wall_seconds))
    }

    /// Looks at a problem's tests, in a process that ends afterwards.
    pub(crate) fn ask_planner(&mut self, job: &Json, watch: &Watch) -> io::Result<Result<Lowered, String>> {
        let mut job = job.clone();
        job["cpu_limits"] = cpu_limits(PLANNING);
        job["memory_limits"] =
            memory_limits(self.shared.settings.memory_bytes.max(1 << 30).saturating_add(PLANNER_MEMORY));
        let zygote = self.zygote()?;
        let mut clock = Clock::start(PLANNING_WALL, watch, zygote.pid());
        let mut planner = zygote.fork(Role::Planner, &encode(&job), None)?;
        planner.channel.await_together();
        let names = planner.channel.next(64 << 20, &mut clock);
        let ran = planner.channel.next(64 << 20, &mut clock);
        let ended = zygote.end(planner)?;
        match names {
            // What the tests assert is still unknown, and no time may decide how they are judged.
            Ok(_) if job["runs"] == true && is_out_of_time(&ran, &ended) => Ok(Err(format!(
                "the tests take more than {PLANNING} s of CPU time, or {PLANNING_WALL:?} of sleep, to be looked at: make them shorter"
            ))),
            Ok(names) => {
                let ran = ran.ok().map(|message| message.payload);
                Ok(Lowered::of_answer(&names.payload, ran.as_deref()))
            }
            Err(silence) => {
                cancelled(silence)?;
                Ok(Err(
                    "setup and tests cannot be looked at: reading them, or running the setup, takes too much time or memory, or ends the process".to_owned()
                ))
            }
        }
    }
}

/// When a candidate's answers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// All at once, where they do not take long.
    Together,
    /// Each as it comes: the time of each counts.
    AsTheyCome,
}

/// Whether a planner had no time left to say what the tests do.
fn is_out_of_time(ran: &Result<Message, Silence>, ended: &Ended) -> bool {
    match ran {
        Ok(_) => false,
        Err(Silence::OutOfTime) => true,
        Err(_) => ended.cpu.as_secs_f64() >= PLANNING,
    }
}

/// Soft and hard limit on CPU time, in seconds: at the first there is a signal that says why.
fn cpu_limits(seconds: f64) -> Json {
    let seconds = seconds.ceil() as u64;
    limits(Resource::Cpu, seconds, seconds + 1)
}

fn memory_limits(bytes: u64) -> Json {
    limits(Resource::As, bytes, bytes)
}

/// As far as this process, and so what it starts, may set them.
fn limits(resource: Resource, soft: u64, hard: u64) -> Json {
    let allowed = getrlimit(resource).maximum.unwrap_or(i64::MAX as u64);
    json!([soft.min(allowed), hard.min(allowed)])
}

/// Reads the next message of a candidate.
pub(crate) type Next<'a> = dyn FnMut(usize, &mut Clock) -> Result<Message, Silence> + 'a;

/// Nobody waits for the answer: there is none.
fn cancelled(silence: Silence) -> io::Result<()> {
    match silence {
        Silence::Cancelled => Err(io::Error::other("cancelled")),
        _ => Ok(()),
    }
}
