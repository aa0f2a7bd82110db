//! Python programs: how they are found in what a generator wrote, run and judged.

mod calls;
pub mod check;
mod clock;
mod conclude;
mod discovery;
pub mod extract;
pub mod guess;
pub mod inputs;
mod judge;
mod marshal;
mod mined;
mod observe;
mod plan;
pub mod plus;
mod plus_run;
mod prepare;
pub mod static_features;
mod talk;
pub mod wire;
mod zygote;

pub use check::{Check, Plus};
pub use sandbox::Tier;

use discovery::Interpreter;
use judge::Judge;
use records::Problem;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use verify::{Ask, Domain, Guess, Inputs, Job, ProblemError, Reply, StartError, Verifier, Watch};
use zygote::Zygote;

/// The name that checks of this domain carry.
pub const NAME: &str = "python";

/// Imports that the published protocol sets before every candidate.
pub const PROTOCOL_IMPORTS: &str = "import math\nimport heapq\nimport itertools\nimport re\nimport collections\nfrom collections import *\nfrom typing import *\n";

/// Changes whenever a verdict could: verdicts of other versions hold no longer.
const VERSION: u32 = 7;

/// Wall time for the attack on oneself.
const PROBE_PATIENCE: Duration = Duration::from_secs(20);

/// How programs are run, and the limits on each.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interpreter.
    pub python: PathBuf,
    /// CPU time of a candidate with all its tests, in seconds.
    pub cpu_seconds: f64,
    /// Wall time after which a candidate is stopped though it used less CPU time, in seconds; time
    /// spent waiting for a processor does not count.
    pub wall_seconds: f64,
    /// Address space of a candidate.
    pub memory_bytes: u64,
    /// Size of one returned value, in bytes.
    pub output_limit: usize,
    /// The strongest isolation to try.
    pub strongest_tier: Tier,
    /// The weakest isolation to accept.
    pub weakest_tier: Tier,
    /// Packages of the interpreter that candidates and tests may import, besides its standard
    /// library; they are loaded before the fork.
    pub packages: Vec<String>,
    /// Whether a problem's setup begins with the protocol's imports ([`PROTOCOL_IMPORTS`]) where its
    /// set has them. EvalPlus and plain execution have not: a program that forgets `import math` fails
    /// there.
    pub protocol_imports: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            python: "python3".into(),
            cpu_seconds: 2.0,
            wall_seconds: 6.0,
            memory_bytes: 1 << 30,
            output_limit: 16 << 20,
            strongest_tier: Tier::A,
            weakest_tier: Tier::C,
            packages: Vec::new(),
            protocol_imports: true,
        }
    }
}

/// What keeps Python programs from being judged here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no Python to run.
    #[error("cannot run '{}' as Python: {}", python.display(), why_not_run(python, source))]
    NoPython {
        /// What was tried.
        python: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The interpreter does not speak as it should.
    #[error("'{}' is not a Python interpreter of version 3.9 or newer that works here: {message}", python.display())]
    BadPython {
        /// What was tried.
        python: PathBuf,
        /// What was seen.
        message: String,
    },
    /// An isolation tier is unavailable.
    #[error("isolation tier {} is unavailable on this machine: {message}", tier.name())]
    Isolation {
        /// Which.
        tier: Tier,
        /// What the system said, or which attacks got through.
        message: String,
    },
    /// No tier that is strong enough is available.
    #[error("candidates cannot be isolated well enough: {reasons}")]
    TooWeak {
        /// Why each tier is unavailable.
        reasons: String,
    },
    /// A package is missing.
    #[error("package {name} cannot be imported by '{}': {message}; install it there, or leave it out of the packages", python.display())]
    Package {
        /// The interpreter.
        python: PathBuf,
        /// The package.
        name: String,
        /// What Python said.
        message: String,
    },
    /// A setting makes no sense.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// Which.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it was.
        found: String,
    },
}

/// The system's word on a program that does not run, in terms of the file.
fn why_not_run(python: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound if python.components().count() == 1 => {
            "there is no such program in PATH".to_owned()
        }
        // A script whose interpreter is missing is not found either.
        ErrorKind::NotFound if python.exists() => {
            "the interpreter that its first line names is missing".to_owned()
        }
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied if python.is_dir() => "it is a directory".to_owned(),
        ErrorKind::PermissionDenied => "it is not executable".to_owned(),
        // ENOEXEC has no kind of its own.
        _ if error.raw_os_error() == Some(8) => "it is no program for this machine".to_owned(),
        _ => error.to_string(),
    }
}

impl Settings {
    /// Whether every limit is one.
    fn check(&self) -> Result<(), Error> {
        let setting = |name, expected, found: String| Err(Error::Setting { name, expected, found });
        for (name, seconds) in [("cpu_seconds", self.cpu_seconds), ("wall_seconds", self.wall_seconds)] {
            if !(seconds > 0.0 && seconds <= 86_400.0) {
                return setting(name, "more than 0 and at most 86400 seconds", seconds.to_string());
            }
        }
        if self.memory_bytes < 64 << 20 {
            return setting(
                "memory_bytes",
                "at least 64 MiB, which an interpreter needs",
                self.memory_bytes.to_string(),
            );
        }
        if !(1..1 << 30).contains(&self.output_limit) {
            return setting("output_limit", "more than 0 and less than 1 GiB", self.output_limit.to_string());
        }
        Ok(())
    }
}

/// What all verifiers of the domain share.
pub(crate) struct Shared {
    settings: Settings,
    tier: Tier,
    interpreter: Interpreter,
    prepared: prepare::Cache,
    /// An interpreter that nobody uses: starting one takes as long as its packages take to import. The
    /// first is the one that the tier was tried with.
    idle: Mutex<Option<Zygote>>,
}

impl Shared {
    fn start_zygote(&self) -> Result<Zygote, Error> {
        Zygote::start(&self.interpreter, &self.settings, self.tier)
    }

    fn idle(&self) -> MutexGuard<'_, Option<Zygote>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The idle interpreter, or else a new one.
    pub(crate) fn zygote(&self) -> Result<Zygote, Error> {
        let idle = self.idle().take();
        match idle {
            Some(zygote) if !zygote.is_worn() => Ok(zygote),
            _ => self.start_zygote(),
        }
    }

    /// A problem's setup, with the protocol's imports or without.
    fn setup_of<'a>(&self, check: &'a Check) -> &'a str {
        match check.setup.strip_prefix(PROTOCOL_IMPORTS) {
            Some(rest) if !self.settings.protocol_imports => rest,
            _ => &check.setup,
        }
    }
}

/// A tier, and what became of trying it.
pub type Tried = (Tier, Result<Python, Error>);

/// The domain of Python programs.
pub struct Python {
    shared: Arc<Shared>,
    /// Looks at problems, with an interpreter that it leaves to verifiers in between.
    looker: Mutex<Judge>,
}

impl Python {
    /// Finds the interpreter and the strongest tier whose isolation withstands its own attacks.
    ///
    /// # Errors
    /// Where there is no usable Python, a setting makes no sense, a package is missing, or no tier is
    /// strong enough.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let interpreter = Interpreter::discover(&settings, &zygote::program())?;
        let (mut reasons, mut package) = (Vec::new(), None);
        for tier in Tier::ALL {
            if tier < settings.strongest_tier || tier > settings.weakest_tier {
                continue;
            }
            match Python::tried(settings.clone(), interpreter.clone(), tier) {
                Err(Error::Isolation { tier, message }) => {
                    reasons.push(format!("tier {}: {message}", tier.name()));
                }
                // What a package needs may be there at a weaker tier.
                Err(error @ Error::Package { .. }) => package = package.or(Some(error)),
                other => return other,
            }
        }
        Err(package.unwrap_or(Error::TooWeak { reasons: reasons.join("; ") }))
    }

    /// As [`start`](Self::start), at exactly this tier.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn at_tier(settings: Settings, tier: Tier) -> Result<Self, Error> {
        settings.check()?;
        let interpreter = Interpreter::discover(&settings, &zygote::program())?;
        Python::tried(settings, interpreter, tier)
    }

    /// Each tier by itself: which of them this machine has.
    ///
    /// # Errors
    /// Where there is no usable Python, a setting makes no sense, or a package is missing.
    pub fn at_each_tier(settings: &Settings) -> Result<Vec<Tried>, Error> {
        settings.check()?;
        let interpreter = Interpreter::discover(settings, &zygote::program())?;
        let at = |tier| (tier, Python::tried(settings.clone(), interpreter.clone(), tier));
        Ok(Tier::ALL.map(at).into())
    }

    fn tried(settings: Settings, interpreter: Interpreter, tier: Tier) -> Result<Self, Error> {
        let prepared = prepare::Cache::default();
        let shared = Arc::new(Shared { settings, tier, interpreter, prepared, idle: Mutex::default() });
        let judge = Judge::new(shared.clone(), Some(shared.start_zygote()?));
        let mut judge = judge.with_patience(PROBE_PATIENCE);
        if tier != Tier::D {
            // At tier D most of the probe's attacks would get through, and some would harm.
            let denied = |message| Error::Isolation { tier, message };
            match attacks_that_get_through(&mut judge) {
                Some(attacks) if attacks.is_empty() => {}
                Some(attacks) => return Err(denied(format!("attacks get through: {}", attacks.join(", ")))),
                None => return Err(denied("the probe itself did not run".to_owned())),
            }
        }
        *shared.idle() = judge.take_zygote();
        Ok(Python { looker: Mutex::new(Judge::new(shared.clone(), None)), shared })
    }

    /// The limits in force.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The isolation in force.
    pub fn tier(&self) -> Tier {
        self.shared.tier
    }

    /// The interpreter's version, as it says it.
    pub fn version(&self) -> &str {
        &self.shared.interpreter.version
    }
}

/// Names of the probe's attacks that a tier does not hold off; none if it did not run.
fn attacks_that_get_through(judge: &mut Judge) -> Option<Vec<String>> {
    let check = Check { entry_point: "probe".to_owned(), ..Check::default() };
    let problem = Problem { check: check.into_record(), ..Problem::default() };
    let job = Job {
        problem: Arc::new(problem),
        solution: sandbox::PROBE.into(),
        ask: Ask::Observe(vec!["probe()".to_owned()].into()),
    };
    let Ok(Reply::Observations(observations)) = judge.run(&job, &Watch::detached()) else { return None };
    match pydata::parse_literal(&observations.first()?.text).ok()? {
        pydata::Value::List(names) => {
            Some(names.iter().map(|name| name.to_string().replace('\'', "")).collect())
        }
        _ => None,
    }
}

impl Domain for Python {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fingerprint(&self) -> String {
        let Settings {
            cpu_seconds,
            wall_seconds,
            memory_bytes,
            output_limit,
            packages,
            protocol_imports,
            ..
        } = &self.shared.settings;
        format!(
            "python {VERSION}; {}; {cpu_seconds} {wall_seconds} {memory_bytes} {output_limit}; {}; {protocol_imports}",
            self.shared.interpreter.version,
            packages.join(",")
        )
    }

    fn prepare(&self, problem: &Problem) -> Result<(), ProblemError> {
        let fail = |message: String| ProblemError { problem: problem.id.clone(), message };
        let prepared = self.shared.prepared.of(problem, false).map_err(fail)?;
        if prepared.check.plus.is_some() {
            return Ok(());
        }
        let mut looker = self.looker.lock().unwrap_or_else(PoisonError::into_inner);
        match prepared.look(&mut looker, &Watch::detached()) {
            Ok(looked) => {
                if let Some(zygote) = looker.take_zygote() {
                    self.shared.idle().get_or_insert(zygote);
                }
                looked.map_err(fail)
            }
            Err(error) => {
                *looker = Judge::new(self.shared.clone(), None);
                Err(fail(format!("its tests cannot be looked at: {error}")))
            }
        }
    }

    fn verifier(&self) -> Result<Box<dyn Verifier>, StartError> {
        // While one is idle it is known that they start, and whoever needs it first takes it.
        let is_idle = self.shared.idle().is_some();
        let zygote = match is_idle {
            true => None,
            false => Some(self.shared.start_zygote().map_err(|error| StartError(Box::new(error)))?),
        };
        Ok(Box::new(Judge::new(self.shared.clone(), zygote)))
    }

    fn extract(&self, problem: &Problem, completion: &str) -> String {
        match &problem.shown.opening {
            Some(opening) => extract::continue_opening(opening, completion, &problem.shown.name),
            None => extract::extract_code(completion, &problem.shown.name),
        }
    }
    fn known_inputs(&self, problem: &Problem, level: u8) -> Vec<String> {
        inputs::known_calls(problem, level)
    }
    fn guesses(&self, problem: &Problem, solutions: &[&str]) -> Vec<Guess> {
        guess::guesses(&problem.shown.name, &problem.shown.statement, solutions)
    }
    fn vary(&self, problem: &Problem, solutions: &[&str], given: &[String], own: usize, seed: u64) -> Inputs {
        let mined = mined::literals(&problem.shown.statement, solutions);
        inputs::vary(given, &mined, own, seed)
    }
    fn static_features(&self, problem: &Problem, solution: &str) -> Vec<(&'static str, f64)> {
        static_features::of(solution, &problem.shown.name)
    }
}
