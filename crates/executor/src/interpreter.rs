//! A Python process of the executor's: started with nothing but a socket, confined after it has
//! told where its modules are.

use crate::sandbox::{Confinement, Tier};
use crate::{Error, Settings};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Pid;
use serde::Deserialize;
use serde_json::json;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An interpreter itself only forks, waits or runs short tests: an answer this late means that it
/// is gone or stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest greeting.
const GREETING: u32 = 1 << 16;

/// A running interpreter and the socket to it. Dropping it kills the process.
pub struct Interpreter {
    process: Child,
    /// The one that does the work: in namespaces of its own, it is a child of the other.
    worker: Pid,
    /// Where it is talked to.
    pub control: UnixStream,
}

#[derive(Deserialize)]
struct Greeting {
    version: (u32, u32),
    libraries: Vec<PathBuf>,
}

impl Interpreter {
    /// Starts a program, which must begin with `confine.py`, at a tier.
    ///
    /// # Errors
    /// Where there is no usable Python, or the tier cannot be had.
    pub fn start(program: &str, settings: &Settings, tier: Tier) -> Result<Self, Error> {
        let no_python = |cause: io::Error| Error::NoPython { python: settings.python.clone(), cause };
        let (control, theirs) = UnixStream::pair().map_err(no_python)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let process = Command::new(&settings.python)
            .args(["-I", "-S", "-c", program])
            .env_clear()
            .envs([("PATH", path)])
            .envs([("PYTHONHASHSEED", "0"), ("TZ", "UTC"), ("LC_ALL", "C.UTF-8")])
            // What a child looks up, or writes into its tables of functions, is a page to copy.
            .env("LD_BIND_NOW", "1")
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C on the terminal is for us: candidates under way may finish.
            .process_group(0)
            .spawn()
            .map_err(no_python)?;
        let worker = Pid::from_child(&process);
        let mut interpreter = Interpreter { process, worker, control };
        interpreter.control.set_read_timeout(Some(PATIENCE)).map_err(no_python)?;
        interpreter.control.set_write_timeout(Some(PATIENCE)).map_err(no_python)?;
        let bad = |message: String| Error::BadPython { python: settings.python.clone(), message };
        let greeting = match interpreter.greeting() {
            Ok(greeting) if greeting.version >= (3, 9) => greeting,
            Ok(Greeting { version: (major, minor), .. }) => {
                return Err(bad(format!("it is version {major}.{minor}")));
            }
            Err(_) => return Err(bad(interpreter.last_words())),
        };
        match interpreter.confine(tier, &greeting.libraries) {
            Ok(()) => Ok(interpreter),
            Err(error) => {
                let words = interpreter.last_words();
                Err(Error::Isolation { tier, message: format!("{error} ({words})") })
            }
        }
    }

    fn greeting(&mut self) -> io::Result<Greeting> {
        let mut head = [0; 9];
        self.control.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
        if !head.starts_with(b"ready") || length > GREETING {
            return Err(io::Error::other("not a greeting"));
        }
        let mut text = vec![0; length as usize];
        self.control.read_exact(&mut text)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    fn confine(&mut self, tier: Tier, libraries: &[PathBuf]) -> io::Result<()> {
        let confinement = Confinement::of(tier, libraries)?;
        let hex = |bytes: &Vec<u8>| -> String {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let order = json!({
            "tier": tier.name(),
            "readable": confinement.readable,
            "filters": confinement.filters.iter().map(hex).collect::<Vec<_>>(),
            "child_filter": confinement.child_filter.as_ref().map(hex),
        });
        let order = order.to_string();
        let length = (order.len() as u32).to_le_bytes();
        match &confinement.ruleset {
            Some(ruleset) => self.send_with(&length, ruleset.as_fd())?,
            None => self.control.write_all(&length)?,
        }
        self.control.write_all(order.as_bytes())?;
        let mut done = [0; 5];
        self.control.read_exact(&mut done)?;
        let [_, number @ ..] = done;
        self.worker = Pid::from_raw(i32::from_le_bytes(number)).unwrap_or(self.worker);
        Ok(())
    }

    /// Sends some bytes together with a descriptor.
    pub fn send_with(&mut self, bytes: &[u8], descriptor: BorrowedFd) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let data = [io::IoSlice::new(bytes)];
        let sent = sendmsg(&self.control, &data, &mut ancillary, SendFlags::NOSIGNAL)?;
        self.control.write_all(&bytes[sent..])
    }

    /// The process that does its work.
    pub fn process(&self) -> Pid {
        self.worker
    }

    fn last_words(&mut self) -> String {
        let mut text = String::new();
        let _ = self.process.kill();
        if let Some(mut stderr) = self.process.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text.trim().lines().last().unwrap_or("it said nothing").to_owned()
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
