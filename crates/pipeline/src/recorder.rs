//! What all training records while it runs: metrics, progress, and whether to go on.

use crate::context::{Task, Watch};
use crate::error::learning;
use crate::{Error, Result};
use learning::StepReport;
use learning::metrics::MetricsWriter;
use std::ops::ControlFlow;
use std::path::Path;

pub(crate) struct Recorder<'a> {
    metrics: MetricsWriter,
    progress: Box<dyn Task>,
    /// The measure that progress shows.
    shown: &'static str,
    failed: Option<Error>,
    watch: Watch<'a>,
}

impl<'a> Recorder<'a> {
    /// Of steps `done..total`, with the metrics called `name` in a directory; progress shows one measure
    /// of them beside its label.
    pub(crate) fn open(
        watch: Watch<'a>,
        (directory, name): (&Path, &str),
        (label, shown): (&str, &'static str),
        (done, total): (usize, usize),
    ) -> Result<Self> {
        let metrics = MetricsWriter::open(directory, name, done).map_err(learning)?;
        Ok(Recorder { metrics, progress: watch.begin(label, total, done), shown, failed: None, watch })
    }

    /// Records a step. Breaks off where that fails, or where the caller wants to stop.
    pub(crate) fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.failed = self.metrics.write(report).map_err(learning).err();
        let measured = report.metrics.iter().find(|metric| metric.0 == self.shown);
        self.progress.reach(report.step, (self.shown, measured.map_or(f64::NAN, |metric| metric.1)));
        self.watch.flow(self.failed.is_some())
    }

    /// The end of the training, whole or not.
    ///
    /// # Errors
    /// Where a step could not be recorded.
    pub(crate) fn finish(self) -> Result<()> {
        self.progress.finish();
        self.failed.map_or(Ok(()), Err)
    }
}
