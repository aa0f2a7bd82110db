//! Where candidates run. There is one backend so far, the [zygote](crate::zygote); another machine,
//! or CPython in WebAssembly, would be another.

use crate::sandbox::Tier;
use crate::wire::Message;
use crate::{Error, Settings};
use rustix::process::Pid;
use std::io;
use std::time::{Duration, Instant};

/// Runs one candidate after the other.
///
/// Errors say that the backend itself is gone or stuck, and nothing of the candidate: it is run
/// again, on a fresh backend.
pub trait Backend: Send {
    /// Starts a job, as `zygote.py` describes it, apart from everything else.
    fn start(&mut self, job: &[u8], settings: &Settings) -> io::Result<Box<dyn Conversation>>;

    /// Ends the job that was started last, whatever it does, and tells how it ended.
    fn end(&mut self) -> io::Result<Ended>;

    /// Whether it has run so many candidates that a fresh one should take its place.
    fn is_worn(&self) -> bool;

    /// The local process that its jobs descend from, if there is one.
    fn process(&self) -> Option<Pid>;
}

/// What goes to and fro between a candidate and the judge. Everything that comes is the
/// candidate's word: nothing of it is believed.
pub trait Conversation {
    /// The next message, or why there is none.
    fn next(&mut self) -> Result<Message, Silence>;

    /// Asks for one more call, and takes what comes back: name, arguments and keywords as plain
    /// data.
    fn call(&mut self, payload: &[u8]) -> Result<Message, Silence>;

    /// When the candidate's wall time is over.
    fn deadline(&self) -> Instant;
}

/// What a candidate's end was like.
pub struct Ended {
    /// The signal that ended the process, if one did before it was stopped.
    pub signal: Option<i32>,
    /// CPU time.
    pub cpu: Duration,
    /// Peak resident memory.
    pub peak_memory_kib: u64,
}

/// Why a candidate says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It closed its socket.
    Closed,
    /// The wall time was over.
    OutOfTime,
    /// It sent more than the limit, or what is not a message.
    Garbage,
}

/// Makes a fresh backend.
pub type StartBackend = fn(&Settings, Tier) -> Result<Box<dyn Backend>, Error>;

/// What every judgement needs to know of where it is made.
pub struct Workplace {
    /// The limits in force.
    pub settings: Settings,
    /// The isolation in force.
    pub tier: Tier,
    /// Makes a fresh backend.
    pub start: StartBackend,
}
