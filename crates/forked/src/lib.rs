//! A function of this program that runs in a process of its own, within limits of memory and time.
//!
//! For code that is given somebody else's input and cannot be trusted to end, or to end with less than
//! all memory: an interpreter of templates, a parser. What it asks too much for costs its own process,
//! never this one, and is an error here.
//!
//! The process is a copy of this one (`fork`) that begins when the [`Worker`] is started, answers one
//! request after the other, and ends with the `Worker`. Start it before large data is read: the copy
//! keeps what this process had then. It has no open files but its two pipes, and takes no signals, so
//! that Ctrl-C is this program's alone.
//!
//! ```
//! use forked::{Failure, Limits, Worker};
//! use std::time::Duration;
//!
//! let mut worker = Worker::start(Limits::default(), |request| match request {
//!     b"loop" => loop {},
//!     request => request.iter().rev().copied().collect(),
//! })?;
//! assert_eq!(worker.ask(b"abc", Duration::from_secs(9), &|| false).unwrap(), b"cba");
//! let failure = worker.ask(b"loop", Duration::from_millis(50), &|| false).unwrap_err();
//! assert!(matches!(failure, Failure::Time(_)));
//! # Ok::<(), std::io::Error>(())
//! ```

mod child;
mod pipe;

use pipe::Pipe;
use std::io::{self, PipeReader, PipeWriter};
use std::time::{Duration, Instant};

/// What a [`Worker`] may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of address space beyond those that this process has when the worker starts.
    pub memory: u64,
    /// Bytes of stack, part of `memory`; what is not used is never occupied.
    pub stack: usize,
    /// Longest answer in bytes.
    pub answer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { memory: 256 << 20, stack: 64 << 20, answer: 64 << 20 }
    }
}

/// Why there is no answer. After any of these the worker has ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It took longer than it may.
    #[error("it did not end within {:.1} s", .0.as_secs_f64())]
    Time(Duration),
    /// Nobody waits for the answer any more.
    #[error("it was stopped")]
    Stopped,
    /// It asked for more memory than it may have, or failed otherwise so that its process ended.
    #[error("it needs more than {} MiB of memory, or {} MiB of stack", .0.memory >> 20, .0.stack >> 20)]
    Memory(Limits),
    /// Its answer is longer than it may be.
    #[error("its result has more than {0} bytes")]
    Answer(usize),
    /// The system refuses pipes or processes.
    #[error("no process can be started for it: {0}")]
    System(#[from] io::Error),
}

/// A process that answers requests by a function of this program.
#[derive(Debug)]
pub struct Worker {
    pid: i32,
    requests: PipeWriter,
    answers: PipeReader,
    limits: Limits,
}

impl Worker {
    /// Starts the process.
    ///
    /// # Errors
    /// Where the system refuses another process, or memory for its stack.
    pub fn start(limits: Limits, serve: impl FnMut(&[u8]) -> Vec<u8> + Send) -> io::Result<Self> {
        let (theirs, requests) = io::pipe()?;
        let (answers, ours) = io::pipe()?;
        let pid = child::start(limits, theirs, ours, serve)?;
        let worker = Worker { pid, requests, answers, limits };
        pipe::never_block(&worker.requests)?;
        pipe::never_block(&worker.answers)?;
        Ok(worker)
    }

    /// Asks for one answer, for at most so long, and only until `stops` is true.
    ///
    /// # Errors
    /// Where there is no answer; then the worker is of no more use.
    pub fn ask(
        &mut self,
        request: &[u8],
        longest: Duration,
        stops: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, Failure> {
        let answer = self.exchange(request, longest, stops);
        if answer.is_err() {
            self.kill();
        }
        answer
    }

    fn exchange(
        &mut self,
        request: &[u8],
        longest: Duration,
        stops: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, Failure> {
        let pipe = Pipe { longest, end: Instant::now() + longest, stops, limits: self.limits };
        pipe.write(&mut self.requests, &(request.len() as u64).to_le_bytes())?;
        pipe.write(&mut self.requests, request)?;
        let mut length = [0; 8];
        pipe.read(&mut self.answers, &mut length)?;
        let length = u64::from_le_bytes(length);
        let length = usize::try_from(length).ok().filter(|&length| length <= self.limits.answer);
        let mut answer = vec![0; length.ok_or(Failure::Answer(self.limits.answer))?];
        pipe.read(&mut self.answers, &mut answer)?;
        Ok(answer)
    }

    fn kill(&mut self) {
        if self.pid > 0 {
            child::end(self.pid);
            self.pid = 0;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn worker(serve: impl FnMut(&[u8]) -> Vec<u8> + Send) -> Worker {
        Worker::start(Limits::default(), serve).expect("a process")
    }

    #[test]
    fn one_worker_answers_one_request_after_the_other() {
        let mut sum = 0;
        let mut worker = worker(|request| {
            sum += request.len();
            vec![7; sum]
        });
        // More than a pipe holds, both ways.
        for expected in [1 << 20, 2 << 20] {
            let answer = worker.ask(&vec![1; 1 << 20], LONG, &|| false).expect("an answer");
            assert!(answer.len() == expected && answer.iter().all(|&byte| byte == 7));
        }
    }

    #[test]
    fn who_takes_all_memory_fails_alone() {
        let mut worker = worker(|request| vec![1; usize::from(request[0]) << 24]);
        assert_eq!(worker.ask(&[1], LONG, &|| false).expect("an answer").len(), 1 << 24);
        let failure = worker.ask(&[200], LONG, &|| false).expect_err("too much");
        assert!(matches!(failure, Failure::Memory(_)), "{failure}");
        let failure = worker.ask(&[1], LONG, &|| false).expect_err("it has ended");
        assert!(matches!(failure, Failure::Memory(_)), "{failure}");
    }

    #[test]
    fn who_calls_itself_for_ever_or_panics_fails_alone() {
        fn deep(level: u64) -> u64 {
            let here = std::hint::black_box([level; 64]);
            if level == u64::MAX { 0 } else { deep(level + 1) + here[3] }
        }
        let deep: fn(&[u8]) -> Vec<u8> = |_| deep(0).to_le_bytes().into();
        for serve in [deep, |_| panic!("on purpose")] {
            let failure = worker(serve).ask(b"", LONG, &|| false).expect_err("no answer");
            assert!(matches!(failure, Failure::Memory(_)), "{failure}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_wished() {
        let endless = |_: &[u8]| loop {
            std::hint::spin_loop();
        };
        let started = Instant::now();
        let failure = worker(endless).ask(b"", LONG, &|| true).expect_err("stopped");
        assert!(matches!(failure, Failure::Stopped), "{failure}");
        let failure = worker(endless).ask(b"", Duration::from_millis(100), &|| false).expect_err("no end");
        assert!(matches!(failure, Failure::Time(_)), "{failure}");
        assert!(started.elapsed() < LONG);
    }

    #[test]
    fn an_answer_too_long_is_refused() {
        let limits = Limits { answer: 3, ..Limits::default() };
        let mut worker = Worker::start(limits, <[u8]>::to_vec).expect("a process");
        assert_eq!(worker.ask(b"abc", LONG, &|| false).expect("an answer"), b"abc");
        let failure = worker.ask(b"abcd", LONG, &|| false).expect_err("too long");
        assert!(matches!(failure, Failure::Answer(3)), "{failure}");
    }

    #[test]
    fn a_worker_ends_with_its_owner() {
        let worker = worker(<[u8]>::to_vec);
        let process = format!("/proc/{}/stat", worker.pid);
        assert!(std::path::Path::new(&process).exists());
        drop(worker);
        assert!(!std::path::Path::new(&process).exists());
    }
}
