//! How long a candidate may take on the wall.
//!
//! Beside CPU time there is a limit on wall time, for what sleeps. Time in which the candidate ran, or
//! could have run but had no processor, does not count: the kernel's scheduler tells how much that was.
//! So a verdict does not depend on what else the machine does, and nothing has to be run again alone.

use rustix::process::Pid;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use verify::Watch;

/// Priority of what has outrun its slice: the lowest.
const LONG_RUNNING: i32 = 19;
/// How often a waiting judge looks whether anybody still waits for it.
const LOOK: Duration = Duration::from_millis(100);
/// So many times in a row no thread must be seen to run before time is up. One look does not tell: threads
/// are read one by one, and while this process waits for a processor itself their turn passes on.
const LOOKS_AT_REST: u32 = 3;

/// Why there is no more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The wall time is used up.
    OutOfTime,
    /// Nobody waits for the answer any more.
    Cancelled,
}

/// The wall time of one run.
pub struct Clock<'a> {
    started: Instant,
    limit: Duration,
    watch: &'a Watch,
    /// The process whose children run.
    parent: u32,
    /// Wall time at which the limit is checked again.
    due: Duration,
    is_long: bool,
    /// How often in a row nothing was seen to run.
    at_rest: u32,
}

impl<'a> Clock<'a> {
    /// Starts to count.
    pub fn start(limit: Duration, watch: &'a Watch, parent: u32) -> Self {
        Clock { started: Instant::now(), limit, watch, parent, due: limit, is_long: false, at_rest: 0 }
    }

    /// How long to wait before asking [`look`](Self::look) again.
    pub fn patience(&self) -> Duration {
        let elapsed = self.started.elapsed();
        let next = if self.is_long { elapsed + LOOK } else { self.watch.slice() };
        next.min(self.due).saturating_sub(elapsed).max(Duration::from_millis(1))
    }

    fn children(&self) -> Vec<Pid> {
        Pid::from_raw(self.parent as i32).map_or_else(Vec::new, verify::children)
    }

    /// Looks whether the run may go on; after its slice it goes on at the lowest priority.
    pub fn look(&mut self) -> Result<(), Over> {
        if self.watch.is_cancelled() {
            return Err(Over::Cancelled);
        }
        let elapsed = self.started.elapsed();
        if !self.is_long && elapsed >= self.watch.slice() {
            self.is_long = true;
            self.watch.long_running();
            for child in self.children() {
                // A child that has just ended needs no priority.
                let _ = rustix::process::setpriority_process(Some(child), LONG_RUNNING);
            }
        }
        if elapsed >= self.due {
            let children = self.children();
            // Whether any could run comes first: it may get its processor meanwhile.
            let waits = children.iter().any(|child| could_run(*child));
            let busy: Duration = children.into_iter().map(busy).sum();
            self.due = self.limit + busy;
            self.at_rest = if waits || elapsed < self.due { 0 } else { self.at_rest + 1 };
            if self.at_rest >= LOOKS_AT_REST {
                return Err(Over::OutOfTime);
            }
            // Not at every microsecond that it gains.
            self.due = self.due.max(elapsed + LOOK);
        }
        Ok(())
    }
}

/// Whether a thread of a process runs, or waits for a processor: how long it has waited the kernel counts
/// only once it has got one. A program that never sleeps ends by its limit on CPU time.
fn could_run(process: Pid) -> bool {
    tasks(process).any(|task| {
        let text = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        // The name before the state may hold anything, brackets too.
        text.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('R'))
    })
}

fn tasks(process: Pid) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()));
    entries.into_iter().flatten().flatten().map(|task| task.path())
}

/// How long a process's threads have run or waited for a processor, which they may have done in turn (`Documentation/scheduler/
/// sched-stats.rst`: the first two fields, in nanoseconds).
fn busy(process: Pid) -> Duration {
    let of_task = |task: PathBuf| -> Option<u64> {
        let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
        let mut fields = text.split_whitespace().map(|field| field.parse::<u64>().ok());
        Some(fields.next()?? + fields.next()??)
    };
    Duration::from_nanos(tasks(process).filter_map(of_task).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::SystemTime;

    #[test]
    fn what_threads_ran_in_turn_is_no_wall_time() {
        const TURNS: &str = "
import threading, time
done = threading.Event()
def run():
    end = time.thread_time() + 0.3
    while time.thread_time() < end: pass
    turn.set()
    done.wait()
for _ in range(8):
    turn = threading.Event()
    threading.Thread(target=run, daemon=True).start()
    turn.wait()
print(time.time(), flush=True)
time.sleep(60)";
        // The clock looks at the children of a process that it is given.
        let parent = Command::new("sh")
            .args(["-c", "python3 -I -S -c \"$0\" & trap 'kill $!' TERM; wait", TURNS])
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let watch = Watch::detached();
        let mut clock = Clock::start(Duration::from_secs(2), &watch, parent.id());
        let started = Instant::now();
        while clock.look().is_ok() && started.elapsed() < Duration::from_secs(50) {
            std::thread::sleep(clock.patience());
        }
        let ended = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs_f64();
        let elapsed = started.elapsed();
        rustix::process::kill_process(Pid::from_child(&parent), rustix::process::Signal::TERM)
            .expect("a process");
        let output = parent.wait_with_output().expect("an end").stdout;
        let done: f64 = String::from_utf8_lossy(&output).trim().parse().expect("when the turns were over");
        assert!(ended - done > 1.5, "it had no time left to sleep: {}", ended - done);
        assert!(elapsed < Duration::from_secs(50), "what sleeps has no end");
    }
}
