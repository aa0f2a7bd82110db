//! What the pipeline is handed: the device and the Hub of this process, bars on stderr, and Ctrl-C.

use crate::device::device;
use crate::progress::{Progress, interrupted};
use anyhow::{Result, anyhow};
use hub::Hub;
use pipeline::{Context, Error, Note, Watch};
use records::jsonl;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shows progress and notes on stderr.
struct Stderr;

/// Bars on stderr, and Ctrl-C.
pub fn watch() -> Watch<'static> {
    Watch { progress: &Stderr, interrupted: &interrupted }
}

/// The Hub that the environment says.
pub fn hub() -> &'static Hub {
    static HUB: OnceLock<Hub> = OnceLock::new();
    HUB.get_or_init(Hub::from_env)
}

/// All that a run works with.
///
/// # Errors
/// Where the device that was asked for by name cannot be used.
pub fn context() -> Result<Context<'static>> {
    Ok(Context { device: device()?, hub: hub(), watch: watch() })
}

/// As [`pipeline::models::find`], on the Hub that the environment says.
///
/// # Errors
/// Where there is no such model.
pub fn model_path(name: &str) -> Result<PathBuf> {
    pipeline::models::find(name, hub()).map_err(advised)
}

impl pipeline::Progress for Stderr {
    fn begin(&self, label: &str, total: usize, done: usize) -> Box<dyn pipeline::Task> {
        Box::new(Progress::start(label, total, done))
    }

    fn note(&self, note: &Note) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        match note {
            // One file of them is read several times.
            Note::OldVerdicts { path, count } if !TOLD.swap(true, Ordering::Relaxed) => errln!(
                "{}: {count} verdicts are by an earlier version and are taken as they are; `ncomp execute` \
                 judges the candidates anew",
                path.display()
            ),
            Note::OldVerdictsRenewed { label, path, count } => {
                errln!(
                    "{label}: {count} verdicts in {} are by an earlier version: judged anew",
                    path.display()
                );
            }
            Note::StaleVerdictsRenewed { label, path, count } => errln!(
                "{label}: {count} verdicts in {} are on other programs, tests, interpreters or limits: judged \
                 anew",
                path.display()
            ),
            Note::Samples(note) => errln!("{}: {}; the first is {}", note.what, note.count, note.first),
            Note::NoKnownInputs { count, first } => errln!(
                "{count} {} at this level; the first is {first}. Their candidates are compared on guessed inputs, as \
                 at level 0",
                if *count == 1 { "problem shows no call" } else { "problems show no call" }
            ),
            Note::NothingToLearn { source } => errln!(
                "problems.also_train: {source} adds no problem: all of its training problems are in the source, or like \
                 those that are reported on"
            ),
            Note::Pretraining { parameters, programs } => {
                errln!("{parameters} parameters, {programs} programs");
            }
            _ => {}
        }
    }
}

impl pipeline::Task for Progress {
    fn advance(&mut self, parts: usize) {
        Progress::advance(self, parts);
    }

    fn reach(&mut self, done: usize, (name, value): (&str, f64)) {
        self.set(done, &format!("{name} {value:.3}"));
    }

    fn finish(self: Box<Self>) {
        Progress::finish(*self);
    }
}

/// Adds what a library cannot say: the flags and verbs that help.
pub fn advised(error: Error) -> anyhow::Error {
    match error {
        Error::Stage { stage, source } => advised(*source).context(format!("in the stage {stage}")),
        Error::Resume(error @ jsonl::Error::Io { .. }) => {
            anyhow!("{error}; another file can be named with --out")
        }
        Error::Resume(error @ jsonl::Error::Malformed { .. }) => anyhow!(
            "{error}; delete the line, and the same command makes again what it held; or name another file \
             with --out"
        ),
        Error::Verdicts(error @ jsonl::Error::Malformed { .. }) => anyhow!(
            "{error}; expected verdicts as `ncomp execute` writes them: delete the line, or name another file"
        ),
        Error::Python(error) => advised_python(error),
        error @ (Error::OtherRecipe { .. }
        | Error::OtherModel { .. }
        | Error::ModelChanged { .. }
        | Error::ProblemsChanged { .. }
        | Error::RecipeMissing { .. }
        | Error::OtherVerifier { .. }) => {
            anyhow!("{error}; give another directory with --out, or delete this one")
        }
        error @ Error::OtherWeights { .. } => {
            anyhow!("{error}; --weights and --device choose the form; --out names another directory")
        }
        error => error.into(),
    }
}

fn advised_python(error: python::Error) -> anyhow::Error {
    let advice = match &error {
        python::Error::TooWeak { .. } => {
            "`ncomp doctor` says what each tier lacks; --require-tier D accepts limits alone, which keep no \
             candidate from reading or deleting your files"
        }
        python::Error::NoPython { .. } | python::Error::BadPython { .. } => {
            "install Python 3.9 or newer (Debian, Ubuntu: apt install python3), or name one with --python"
        }
        python::Error::Package { .. } => "see --packages, and --python for another interpreter",
        _ => return error.into(),
    };
    anyhow!("{error}; {advice}")
}
