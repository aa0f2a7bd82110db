//! One warm interpreter, and one run of a candidate in a child of it.

use crate::wire::{Message, take_message};
use crate::{Error, Settings};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = include_str!("zygote.py");
/// The zygote itself only forks and waits: an answer this late means that it is gone or stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one run gave.
pub struct Run {
    /// The messages that arrived in time.
    pub messages: Vec<Message>,
    /// Why reading ended.
    pub ending: Ending,
    /// The signal that ended the process, if one did before it was stopped.
    pub signal: Option<i32>,
    /// CPU time.
    pub cpu: Duration,
    /// Peak resident memory.
    pub peak_memory_kib: u64,
}

/// Why reading from a candidate's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It said all that it was asked for, or closed its pipe.
    Finished,
    /// The wall time was over.
    OutOfTime,
    /// It sent more than the limit, or what is not a message.
    Garbage,
}

/// One warm interpreter.
pub struct Zygote {
    process: Child,
    control: UnixStream,
}

impl Zygote {
    /// Starts an interpreter with a clean environment.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let python = settings.python.clone();
        let fail = |cause: io::Error| Error::NoPython { python: settings.python.clone(), cause };
        let (control, theirs) = UnixStream::pair().map_err(fail)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut process = Command::new(&python)
            .args(["-I", "-S", "-c", PROGRAM])
            .env_clear()
            .envs([("PATH", path)])
            .envs([("PYTHONHASHSEED", "0"), ("TZ", "UTC"), ("LC_ALL", "C.UTF-8")])
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C on the terminal is for us: candidates under way may finish.
            .process_group(0)
            .spawn()
            .map_err(fail)?;
        control.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        control.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
        let mut greeting = [0; 7];
        let heard = (&control).read_exact(&mut greeting);
        let message = match heard {
            Ok(()) if greeting.starts_with(b"ready") && greeting[5..] >= [3, 9][..] => {
                return Ok(Zygote { process, control });
            }
            Ok(()) => format!("version {}.{}", greeting[5], greeting[6]),
            Err(_) => {
                let mut text = String::new();
                let _ = process.kill();
                if let Some(mut stderr) = process.stderr.take() {
                    let _ = stderr.read_to_string(&mut text);
                }
                text.trim().lines().last().unwrap_or("it said nothing").to_owned()
            }
        };
        let _ = process.kill();
        let _ = process.wait();
        Err(Error::BadPython { python, message })
    }

    /// Runs a job (see `zygote.py`) that shall send `expected` messages.
    ///
    /// # Errors
    /// Where the zygote itself is gone or stuck: this says nothing of the candidate.
    pub fn run(&mut self, job: &[u8], expected: usize, settings: &Settings) -> io::Result<Run> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        self.send_job(job, &writer)?;
        drop(writer);
        let mut pid = [0; 4];
        self.control.read_exact(&mut pid)?;
        if i32::from_le_bytes(pid) <= 0 {
            return Err(io::Error::other("the interpreter could not fork"));
        }
        let deadline = Instant::now() + Duration::from_secs_f64(settings.wall_seconds);
        let mut reading = Reading { expected, limit: settings.output_limit + 1024, deadline };
        let (messages, ending) = reading.read(reader)?;
        self.control.write_all(b"k")?;
        let mut report = [0; 20];
        self.control.read_exact(&mut report)?;
        let [a, b, c, d, rest @ ..] = report;
        let status = i32::from_le_bytes([a, b, c, d]);
        let (cpu, memory) = rest.split_at(8);
        let cpu = f64::from_le_bytes(cpu.try_into().unwrap_or_default());
        let memory = u64::from_le_bytes(memory.try_into().unwrap_or_default());
        Ok(Run {
            messages,
            ending,
            signal: (status & 0x7f != 0).then_some(status & 0x7f),
            cpu: Duration::from_secs_f64(cpu.max(0.0)),
            peak_memory_kib: memory,
        })
    }

    /// Sends the length with the descriptor, then the job.
    fn send_job(&mut self, job: &[u8], writer: &OwnedFd) -> io::Result<()> {
        let mut header = [b'j', 0, 0, 0, 0];
        header[1..].copy_from_slice(&(job.len() as u32).to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [writer.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let data = [io::IoSlice::new(&header)];
        let sent = sendmsg(&self.control, &data, &mut ancillary, SendFlags::NOSIGNAL)?;
        if sent < header.len() {
            self.control.write_all(&header[sent..])?;
        }
        self.control.write_all(job)
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Reading {
    expected: usize,
    limit: usize,
    deadline: Instant,
}

impl Reading {
    fn read(&mut self, pipe: OwnedFd) -> io::Result<(Vec<Message>, Ending)> {
        let mut file = std::fs::File::from(pipe);
        let (mut messages, mut buffer) = (Vec::new(), Vec::new());
        let mut chunk = [0; 16 * 1024];
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !readable(&file, left)? {
                return Ok((messages, Ending::OutOfTime));
            }
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok((messages, Ending::Finished));
            }
            buffer.extend_from_slice(&chunk[..count]);
            loop {
                match take_message(&mut buffer, self.limit) {
                    Ok(Some(message)) => {
                        let last = matches!(message.tag, b'S' | b'X')
                            || (messages.is_empty() && message.tag == b'M');
                        messages.push(message);
                        if last || messages.len() == self.expected {
                            return Ok((messages, Ending::Finished));
                        }
                    }
                    Ok(None) => break,
                    Err(()) => return Ok((messages, Ending::Garbage)),
                }
            }
        }
    }
}

/// Waits until there is something to read; false if the time is over.
fn readable(file: &std::fs::File, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    let mut descriptors = [PollFd::new(file, PollFlags::IN)];
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => readable(file, patience),
        Err(error) => Err(error.into()),
    }
}
