//! The warm interpreter, and one run of a candidate in a child of it.

use crate::backend::{Backend, Conversation, Ended, Silence};
use crate::interpreter::Interpreter;
use crate::sandbox::Tier;
use crate::wire::{Message, TooLong, take_message};
use crate::{Error, Settings};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const PROGRAM: &str = concat!(
    include_str!("python/plain.py"),
    include_str!("python/namespaces.py"),
    include_str!("python/confine.py"),
    include_str!("python/zygote.py")
);
/// Candidates after which an interpreter is replaced: whatever builds up in it goes with it.
const RECYCLE_AFTER: u32 = 5_000;

/// One warm interpreter.
pub struct Zygote {
    interpreter: Interpreter,
    runs: u32,
}

impl Zygote {
    /// Starts an interpreter at a tier.
    ///
    /// # Errors
    /// Where there is no usable Python, or the tier cannot be had.
    pub fn launch(settings: &Settings, tier: Tier) -> Result<Box<dyn Backend>, Error> {
        Ok(Box::new(Zygote { interpreter: Interpreter::start(PROGRAM, settings, tier)?, runs: 0 }))
    }
}

impl Backend for Zygote {
    fn is_worn(&self) -> bool {
        self.runs >= RECYCLE_AFTER
    }

    fn process(&self) -> Option<Pid> {
        Some(self.interpreter.process())
    }

    fn start(&mut self, job: &[u8], settings: &Settings) -> io::Result<Box<dyn Conversation>> {
        self.runs += 1;
        let (ours, theirs) = UnixStream::pair()?;
        let mut header = [b'j', 0, 0, 0, 0];
        header[1..].copy_from_slice(&(job.len() as u32).to_le_bytes());
        self.interpreter.send_with(&header, theirs.as_fd())?;
        self.interpreter.control.write_all(job)?;
        drop(theirs);
        ours.set_write_timeout(Some(Duration::from_secs_f64(settings.wall_seconds)))?;
        Ok(Box::new(Socket {
            stream: ours,
            buffer: Vec::new(),
            limit: settings.output_limit + 1024,
            deadline: Instant::now() + Duration::from_secs_f64(settings.wall_seconds),
        }))
    }

    fn end(&mut self) -> io::Result<Ended> {
        let control = &mut self.interpreter.control;
        control.write_all(b"k")?;
        let mut report = [0; 20];
        control.read_exact(&mut report)?;
        let [a, b, c, d, rest @ ..] = report;
        let status = i32::from_le_bytes([a, b, c, d]);
        let (cpu, memory) = rest.split_at(8);
        let cpu = f64::from_le_bytes(cpu.try_into().unwrap_or_default());
        let memory = u64::from_le_bytes(memory.try_into().unwrap_or_default());
        if status == -1 {
            return Err(io::Error::other("the interpreter could not fork"));
        }
        Ok(Ended {
            signal: (status & 0x7f != 0).then_some(status & 0x7f),
            cpu: Duration::from_secs_f64(cpu.max(0.0)),
            peak_memory_kib: memory,
        })
    }
}

/// The socket to a candidate's process.
struct Socket {
    stream: UnixStream,
    buffer: Vec<u8>,
    limit: usize,
    deadline: Instant,
}

impl Conversation for Socket {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn next(&mut self) -> Result<Message, Silence> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match take_message(&mut self.buffer, self.limit) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(TooLong) => return Err(Silence::Garbage),
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !readable(&self.stream, left) {
                return Err(Silence::OutOfTime);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return Err(Silence::Closed),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }

    fn call(&mut self, payload: &[u8]) -> Result<Message, Silence> {
        let length = (payload.len() as u32).to_le_bytes();
        let sent = self.stream.write_all(&length).and_then(|()| self.stream.write_all(payload));
        sent.map_err(|_| Silence::Closed)?;
        self.next()
    }
}

/// Waits until there is something to read; false if the time is over.
pub fn readable(stream: &UnixStream, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    let mut descriptors = [PollFd::new(stream, PollFlags::IN)];
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(count) => count > 0,
        Err(Errno::INTR) => readable(stream, patience),
        Err(_) => false,
    }
}
