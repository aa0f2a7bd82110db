//! What a caller hands in: the device, where models are found, who hears of progress, and when to stop.

use hub::Hub;
use std::ops::ControlFlow;
use std::path::PathBuf;
use transformer::device::Device;

/// Hears of long work. Rates, times left and how they are shown are the listener's.
pub trait Progress {
    /// Work of `total` parts begins, of which `done` were finished before.
    fn begin(&self, label: &str, total: usize, done: usize) -> Box<dyn Task>;

    /// Something that is no reason to stop, but that a person should know.
    fn note(&self, note: &Note);
}

/// One piece of work that is counted. Dropped before [`finish`](Task::finish), it was interrupted.
pub trait Task {
    /// So many more parts are finished.
    fn advance(&mut self, parts: usize);

    /// So many parts are finished in all; `measure` names a number that says how it goes.
    fn reach(&mut self, done: usize, measure: (&str, f64));

    /// All parts are finished.
    fn finish(self: Box<Self>);
}

/// Something that is no reason to stop.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// Verdicts of an earlier version are taken as they are.
    OldVerdicts {
        /// Their file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// Verdicts are made anew, since an earlier version made them.
    OldVerdictsRenewed {
        /// The stage's label.
        label: String,
        /// Their file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// Verdicts are made anew, since they are on other programs, tests, interpreters or limits.
    StaleVerdictsRenewed {
        /// The stage's label.
        label: String,
        /// Their file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// Samples that are not as expected.
    Samples(problems::samples::Note),
    /// Problems whose tests tell no input at the level that was asked for: their candidates are compared
    /// on guessed inputs, as where nothing but the text is known.
    NoKnownInputs {
        /// How many.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// A further set to learn from adds nothing: all its problems are the source's, or like those that are
    /// reported on, or of no split to learn from.
    NothingToLearn {
        /// The set.
        source: String,
    },
    /// The model that will be trained from nothing.
    Pretraining {
        /// Its weights.
        parameters: usize,
        /// Programs that it learns from.
        programs: usize,
    },
}

/// Who watches long work.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Hears of progress.
    pub progress: &'a dyn Progress,
    /// Asked again and again; true stops the work where it can be resumed.
    pub interrupted: &'a dyn Fn() -> bool,
}

/// What a run works with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where models run.
    pub device: &'a dyn Device,
    /// Where models and problem sets are found that are named by `owner/name`.
    pub hub: &'a Hub,
    /// Who watches.
    pub watch: Watch<'a>,
}

impl Watch<'_> {
    /// Nobody watches, and nothing stops the work.
    pub fn nobody() -> Watch<'static> {
        Watch { progress: &Silence, interrupted: &|| false }
    }

    /// Whether to stop.
    pub fn interrupted(&self) -> bool {
        (self.interrupted)()
    }

    /// Work begins.
    pub(crate) fn begin(&self, label: &str, total: usize, done: usize) -> Box<dyn Task> {
        self.progress.begin(label, total, done)
    }

    pub(crate) fn note(&self, note: &Note) {
        self.progress.note(note);
    }

    /// Breaks off after a failure, or where the caller wants to stop.
    pub(crate) fn flow(&self, failed: bool) -> ControlFlow<()> {
        if failed || self.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Whether a stage came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// All is there.
    Whole,
    /// The caller stopped it; the next call resumes.
    Interrupted,
}

impl Done {
    pub(crate) fn now(watch: Watch) -> Self {
        if watch.interrupted() { Done::Interrupted } else { Done::Whole }
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence;

impl Progress for Silence {
    fn begin(&self, _: &str, _: usize, _: usize) -> Box<dyn Task> {
        Box::new(Silence)
    }

    fn note(&self, _: &Note) {}
}

impl Task for Silence {
    fn advance(&mut self, _: usize) {}

    fn reach(&mut self, _: usize, _: (&str, f64)) {}

    fn finish(self: Box<Self>) {}
}
