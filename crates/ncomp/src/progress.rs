//! Progress of long work: a bar on a terminal, plain lines otherwise; and Ctrl-C.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets the first Ctrl-C ask for a clean stop, and the second end the process.
pub fn watch_for_interrupt() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            // SAFETY: ends the process and nothing else. What runs at an ordinary exit would wait for other
            // threads, which may wait for a GPU or for a process that is gone.
            unsafe { libc::_exit(130) };
        }
        errln!("\nstopping after the work at hand; press Ctrl-C again to stop at once");
    };
    // Only fails if a handler is installed already: then that one serves.
    let _ = ctrlc::set_handler(handler);
}

/// Whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Becomes true when Ctrl-C is pressed.
pub fn interruption() -> &'static AtomicBool {
    &INTERRUPTED
}

/// One piece of work that is counted.
pub struct Progress {
    label: String,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    at_start: u64,
    started: Instant,
    last_line: Instant,
}

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Begins work of `total` parts of which `done` were finished before.
    pub fn start(label: &str, total: usize, done: usize) -> Self {
        let (total, done) = (total as u64, done as u64);
        if crate::device::rank() > 0 {
            // Of several processes that do the same the first one tells.
            let bar = Some(ProgressBar::hidden());
            let now = Instant::now();
            return Progress {
                label: label.to_owned(),
                bar,
                total,
                done,
                at_start: done,
                started: now,
                last_line: now,
            };
        }
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{prefix:<34} {bar:24} {pos}/{len}  {per_sec}  {eta} left  {msg}",
            );
            // The template is a constant that parses.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(label.to_owned());
            bar.set_position(done);
            bar.reset_eta();
            bar
        });
        if bar.is_none() {
            errln!(
                "{label}: {total} to do{}",
                if done > 0 { format!(", {done} done before") } else { String::new() }
            );
        }
        let now = Instant::now();
        Progress { label: label.to_owned(), bar, total, done, at_start: done, started: now, last_line: now }
    }

    /// Counts some parts.
    pub fn advance(&mut self, parts: usize) {
        self.done += parts as u64;
        self.show("");
    }

    /// Sets the number of finished parts, with a word on how it goes.
    pub fn set(&mut self, done: usize, message: &str) {
        self.done = done as u64;
        self.show(message);
    }

    fn show(&mut self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            if !message.is_empty() {
                bar.set_message(message.to_owned());
            }
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let rate = (self.done - self.at_start) as f64 / self.started.elapsed().as_secs_f64();
            let left = (self.total.saturating_sub(self.done)) as f64 / rate.max(1e-9);
            let space = if message.is_empty() { "" } else { ", " };
            errln!(
                "{}: {}/{}, {rate:.1}/s, {left:.0} s left{space}{message}",
                self.label,
                self.done,
                self.total
            );
        }
    }

    /// Ends the work and says how long it took.
    pub fn finish(self) -> Duration {
        let elapsed = self.started.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if crate::device::rank() == 0 {
            errln!("{:<34} {}/{} in {:.1} s", self.label, self.done, self.total, elapsed.as_secs_f64());
        }
        elapsed
    }
}
