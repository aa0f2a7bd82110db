//! A confined process that runs.

use crate::plan::{Plan, Streams};
use crate::{Error, cgroup, spawner};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// A running process. Dropping it kills it and all that it started, and waits for its end.
#[derive(Debug)]
pub struct Process {
    /// The writing end of its standard input, where that is a pipe.
    pub stdin: Option<File>,
    /// The reading end of its standard output, where that is a pipe.
    pub stdout: Option<File>,
    /// The reading end of its standard error, where that is a pipe.
    pub stderr: Option<File>,
    pid: i32,
    /// Whether it is the first process of a pid namespace, so that all others end with it.
    first: bool,
    status: Option<Status>,
    group: Option<cgroup::Group>,
}

/// How a process ended, and what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it exited with, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// CPU time of it and the children that it waited for.
    pub cpu: Duration,
    /// Peak resident memory of the largest of them, in bytes.
    pub peak_memory: u64,
}

impl Status {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl Process {
    pub(crate) fn start(
        plan: Box<Plan>,
        streams: Streams,
        group: Option<cgroup::Group>,
    ) -> Result<Self, Error> {
        let first = plan.root.is_some();
        let (_, pid) = spawner::start(plan)?;
        let [stdin, stdout, stderr] = streams;
        Ok(Process { stdin, stdout, stderr, pid, first, status: None, group })
    }

    /// The number of the process that does the work, as seen from this program. At tier A it is
    /// number 1 in its own namespace, and its children have other numbers there than here.
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// The control group that it is in, where the policy named one.
    pub fn cgroup(&self) -> Option<&cgroup::Group> {
        self.group.as_ref()
    }

    /// Kills it and all that it started. Does nothing once its end is known.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            self.kill_all();
        }
    }

    /// Waits for its end; what it left behind is killed.
    ///
    /// # Errors
    /// Where something else in this program has waited for it.
    pub fn wait(&mut self) -> io::Result<Status> {
        self.ended(0)?;
        self.reap()
    }

    /// Its end, if it has ended; what it left behind is killed.
    ///
    /// # Errors
    /// Where something else in this program has waited for it.
    pub fn try_wait(&mut self) -> io::Result<Option<Status>> {
        if self.ended(libc::WNOHANG)? { self.reap().map(Some) } else { Ok(None) }
    }

    /// Waits for its end for so long at most; `None` if it still runs.
    ///
    /// # Errors
    /// Where something else in this program has waited for it.
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<Status>> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            let Some(left) = timeout.checked_sub(start.elapsed()) else { return Ok(None) };
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Whether it has ended; it keeps its number until [`reap`](Self::reap).
    fn ended(&self, option: i32) -> io::Result<bool> {
        if self.status.is_some() {
            return Ok(true);
        }
        loop {
            // SAFETY: a zeroed structure is valid, and the kernel writes within it.
            let (done, about) = unsafe {
                let mut about: libc::siginfo_t = std::mem::zeroed();
                let options = libc::WEXITED | libc::WNOWAIT | option;
                (libc::waitid(libc::P_PID, self.pid.cast_unsigned(), &mut about, options), about)
            };
            match (done, io::Error::last_os_error()) {
                // SAFETY: waitid has filled in the fields of a child's end, or left zeros.
                (0, _) => return Ok(unsafe { about.si_pid() } != 0),
                (_, error) if error.kind() == io::ErrorKind::Interrupted => {}
                (_, error) => return Err(error),
            }
        }
    }

    /// Takes the end of a process that has ended.
    fn reap(&mut self) -> io::Result<Status> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // Its number is still its own, and that of its process group.
        self.kill_all();
        let mut status = 0;
        // SAFETY: zeros are a valid usage; the kernel writes within it and the status.
        let (reaped, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(self.pid, &mut status, 0, &mut usage), usage)
        };
        if reaped < 0 {
            return Err(io::Error::last_os_error());
        }
        let time = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec.try_into().unwrap_or(0))
                + Duration::from_micros(time.tv_usec.try_into().unwrap_or(0))
        };
        let status = Status {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10,
        };
        self.status = Some(status);
        Ok(status)
    }

    /// At tier A the kernel ends all others with the first; elsewhere they are in its process group,
    /// which filters keep commands from leaving.
    fn kill_all(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
        // SAFETY: the process has not been reaped, so both numbers are its own.
        unsafe {
            if !self.first {
                libc::kill(-self.pid, libc::SIGKILL);
            }
            libc::kill(self.pid, libc::SIGKILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // Nothing can be done about a child that something else has waited for.
        let _ = self.wait();
    }
}
