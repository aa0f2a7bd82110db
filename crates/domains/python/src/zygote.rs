//! The warm interpreter, and the processes that it forks.

use crate::clock::{Clock, Over};
use crate::discovery::{Interpreter, quoted};
use crate::wire::{Message, TooLong, take_message};
use crate::{Error, PROTOCOL_IMPORTS, Settings};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use sandbox::{Lockdown, Policy, Process, Profile, Stdio, Tier};
use serde::Deserialize;
use serde_json::json;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tracing::{Span, debug, debug_span};

/// The interpreter's whole program, in the order in which its parts build on each other.
const PROGRAM: [&str; 14] = [
    include_str!("interpreter/values.py"),
    include_str!("interpreter/crossing.py"),
    include_str!("interpreter/common.py"),
    include_str!("interpreter/writing.py"),
    include_str!("interpreter/reading.py"),
    include_str!("interpreter/membrane.py"),
    include_str!("interpreter/remotes.py"),
    include_str!("interpreter/candidate.py"),
    include_str!("interpreter/tester_peer.py"),
    include_str!("interpreter/tester.py"),
    include_str!("interpreter/planner.py"),
    include_str!("interpreter/recorder.py"),
    include_str!("interpreter/faults.py"),
    include_str!("interpreter/zygote.py"),
];
/// Reads the program, compiled, from the socket on descriptor 0: it is longer than an argument may be.
const BOOT: &str = "import marshal, os, struct
def read(count):
    data = b''
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more: os._exit(0)
        data += more
    return data
program = read(struct.unpack('<I', read(4))[0])
del read
exec(marshal.loads(program))
start()";
/// What an interpreter runs, as text.
pub fn program() -> String {
    PROGRAM.join("\n")
}

/// The interpreter itself only forks and waits: an answer this late means that it is gone or stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for imports: packages may be large, and the disk cold.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a process whose answers are awaited together may take before they are read one by one.
const TOGETHER: Duration = Duration::from_millis(2);
/// Size of the report on a process's end.
const END: usize = 8 + 18 * 8;
/// Longest greeting.
const GREETING: u32 = 1 << 16;
/// Processes after which an interpreter is replaced: whatever builds up in it goes with it.
const RECYCLE_AFTER: u32 = 5_000;

/// Memory of an interpreter's group besides what a candidate and a test's process may have.
const GROUP_MEMORY: u64 = 768 << 20;
/// Processes and threads of an interpreter's group.
const GROUP_PROCESSES: u64 = 1024;

/// What a forked process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Loads a program and answers calls.
    Candidate,
    /// Holds tests and calls a candidate.
    Tester,
    /// Takes tests apart.
    Planner,
}

impl Role {
    fn tag(self) -> u8 {
        match self {
            Role::Candidate => b'c',
            Role::Tester => b't',
            Role::Planner => b'p',
        }
    }
}

/// One warm interpreter. Dropping it kills it and all that it has forked.
pub struct Zygote {
    process: Process,
    control: UnixStream,
    forked: u32,
    tier: Tier,
}

#[derive(Deserialize)]
struct Greeting {
    version: (u32, u32, u32),
}

/// A package that could not be imported.
#[derive(Deserialize)]
struct NotImported {
    name: String,
    message: String,
}

/// What a process's end was like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    /// The signal that ended it, if one did before it was stopped.
    pub signal: Option<i32>,
    /// CPU time.
    pub cpu: Duration,
    /// Peak resident memory.
    pub peak_memory_kib: u64,
}

impl Ended {
    /// From what `wait4` gives, as `zygote.py` sends it: a status, and `struct rusage` as Linux has it on
    /// 64 bits. None if there was no such process.
    fn of_report(report: &[u8; END]) -> Option<Self> {
        let words = report.as_chunks::<8>().0;
        let word = |at: usize| i64::from_le_bytes(words[at]);
        let status = word(0) as i32;
        let microseconds = |seconds: usize| word(seconds) * 1_000_000 + word(seconds + 1);
        (status != -1).then(|| Ended {
            signal: (status & 0x7f != 0).then_some(status & 0x7f),
            cpu: Duration::from_micros((microseconds(1) + microseconds(3)).try_into().unwrap_or(0)),
            peak_memory_kib: word(5).try_into().unwrap_or(0),
        })
    }
}

/// Why a process says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It closed its socket.
    Closed,
    /// The wall time was over.
    OutOfTime,
    /// It sent more than the limit, or what is not a message.
    Garbage,
    /// Nobody waits for it any more.
    Cancelled,
}

impl Zygote {
    /// Starts an interpreter at a tier.
    ///
    /// # Errors
    /// Where there is no usable Python, or the tier is unavailable.
    pub fn start(interpreter: &Interpreter, settings: &Settings, tier: Tier) -> Result<Self, Error> {
        let bad = |message: String| Error::BadPython { python: settings.python.clone(), message };
        let (control, theirs) = UnixStream::pair().map_err(|error| bad(error.to_string()))?;
        control.set_read_timeout(Some(START_PATIENCE)).map_err(|error| bad(error.to_string()))?;
        control.set_write_timeout(Some(PATIENCE)).map_err(|error| bad(error.to_string()))?;
        let argv: Vec<OsString> =
            vec![interpreter.executable.clone().into(), "-I".into(), "-S".into(), "-c".into(), BOOT.into()];
        let policy = Policy {
            readable: interpreter.readable.clone(),
            executable: interpreter.executables.clone(),
            environment: environment(),
            stdin: Stdio::Descriptor(OwnedFd::from(theirs)),
            stderr: Stdio::Pipe,
            cgroup: group(settings),
            ..Policy::new(Profile::Interpreter, tier)
        };
        let process = sandbox::spawn(&argv, policy).map_err(|error| match error.denies_tier() {
            true => Error::Isolation { tier, message: error.to_string() },
            false => bad(error.to_string()),
        })?;
        let mut zygote = Zygote { process, control, forked: 0, tier };
        match zygote.greet(&interpreter.program) {
            Ok(version) if version >= (3, 9, 0) => {}
            Ok((major, minor, _)) => return Err(bad(format!("it is version {major}.{minor}"))),
            Err(error) => return Err(bad(format!("{error}; {}", zygote.last_words()))),
        }
        match zygote.lock_down(interpreter, settings) {
            Ok(None) => {}
            Ok(Some(NotImported { name, message })) => {
                return Err(Error::Package {
                    python: settings.python.clone(),
                    name,
                    message: quoted(&message),
                });
            }
            Err(error) => {
                let message = format!("{error} ({})", zygote.last_words());
                return Err(Error::Isolation { tier, message });
            }
        }
        zygote.control.set_read_timeout(Some(PATIENCE)).map_err(|error| bad(error.to_string()))?;
        Ok(zygote)
    }

    fn greet(&mut self, program: &[u8]) -> io::Result<(u32, u32, u32)> {
        self.control.write_all(&(program.len() as u32).to_le_bytes())?;
        self.control.write_all(program)?;
        let mut head = [0; 9];
        self.control.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
        if !head.starts_with(b"ready") || length > GREETING {
            return Err(io::Error::other("it did not greet"));
        }
        let mut text = vec![0; length as usize];
        self.control.read_exact(&mut text)?;
        let greeting: Greeting = serde_json::from_slice(&text).map_err(io::Error::other)?;
        Ok(greeting.version)
    }

    /// Has it import what it is to import, and confine itself further. The first package that it could
    /// not import, if there is one.
    fn lock_down(
        &mut self,
        interpreter: &Interpreter,
        settings: &Settings,
    ) -> io::Result<Option<NotImported>> {
        let lockdown =
            Lockdown::of(self.tier, &interpreter.readable, Profile::Interpreter).map_err(io::Error::other)?;
        let hex = |bytes: &Vec<u8>| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let order = json!({
            "tier": self.tier.name(),
            "packages": settings.packages,
            "package_paths": interpreter.package_paths,
            "filters": lockdown.filters.iter().map(hex).collect::<Vec<_>>(),
            "child_filter": lockdown.child_filter.as_ref().map(|filter| hex(&filter.program)),
            "pid_offsets": lockdown.child_filter.as_ref().map(|filter| filter.pid_offsets.clone()),
            "warm_setup": PROTOCOL_IMPORTS,
        });
        let order = order.to_string();
        let descriptors: Vec<BorrowedFd> = lockdown.ruleset.iter().map(AsFd::as_fd).collect();
        send_with(&self.control, &(order.len() as u32).to_le_bytes(), &descriptors)?;
        self.control.write_all(order.as_bytes())?;
        let mut done = [0; 1];
        self.control.read_exact(&mut done)?;
        if done != *b"p" {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.control.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > GREETING {
            return Err(io::Error::other("it did not say which package it could not import"));
        }
        let mut text = vec![0; length as usize];
        self.control.read_exact(&mut text)?;
        serde_json::from_slice(&text).map(Some).map_err(io::Error::other)
    }

    /// Whether it has forked so many processes that a fresh one should take its place.
    pub fn is_worn(&self) -> bool {
        self.forked >= RECYCLE_AFTER
    }

    /// Its process, as seen from outside.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Forks a process and hands it its job. `calls` is its end of a socket to another one.
    ///
    /// # Errors
    /// Where the interpreter is gone, or the system has no descriptors left.
    pub fn fork(&mut self, role: Role, job: &[u8], calls: Option<UnixStream>) -> io::Result<Forked> {
        self.forked += 1;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(PATIENCE))?;
        let mut message = Vec::with_capacity(4 + job.len());
        message.extend((job.len() as u32).to_le_bytes());
        message.extend(job);
        // What there is room for is there already when the process looks for it.
        let sent = send(&ours, &message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).unwrap_or(0);
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let mut header = [role.tag(), 0, 0, 0, 0];
        header[1..].copy_from_slice(&self.forked.to_le_bytes());
        let mut descriptors = vec![theirs.as_fd(), null.as_fd()];
        descriptors.extend(calls.as_ref().map(AsFd::as_fd));
        send_with(&self.control, &header, &descriptors)?;
        let span = debug_span!("fork", ?role, number = self.forked);
        let channel = Channel { stream: ours, buffer: Vec::new(), together: false };
        // A process that is gone before it has read its job is no failure of the interpreter's.
        let mut stream = &channel.stream;
        let _ = stream.write_all(&message[sent..]);
        Ok(Forked { number: self.forked, channel, span })
    }

    /// Ends a process, whatever it does, and tells how it ended.
    ///
    /// # Errors
    /// Where the interpreter is gone or could not fork.
    pub fn end(&mut self, forked: Forked) -> io::Result<Ended> {
        let mut request = [b'k', 0, 0, 0, 0];
        request[1..].copy_from_slice(&forked.number.to_le_bytes());
        self.control.write_all(&request)?;
        let mut report = [0; END];
        self.control.read_exact(&mut report)?;
        let ended =
            Ended::of_report(&report).ok_or_else(|| io::Error::other("the interpreter could not fork"))?;
        forked.span.in_scope(|| {
            let Ended { signal, cpu, peak_memory_kib } = ended;
            debug!(cpu_milliseconds = cpu.as_secs_f64() * 1e3, peak_memory_kib, ?signal, "ended");
        });
        Ok(ended)
    }

    fn last_words(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.process.stderr.take();
        self.process.kill();
        if let Some(mut stderr) = stderr {
            // What cannot be read is not worth another error.
            let _ = stderr.read_to_string(&mut text);
        }
        text.trim().lines().last().unwrap_or("it said nothing").to_owned()
    }
}

/// A bound on an interpreter and all that it has forked together, where such a group can be made: none
/// of them reaches it by what its own limits allow.
fn group(settings: &Settings) -> Option<sandbox::cgroup::Group> {
    let memory = settings.memory_bytes.saturating_mul(2).saturating_add(GROUP_MEMORY);
    sandbox::cgroup::find().ok()?.group(Some(memory), Some(GROUP_PROCESSES)).ok()
}

/// What an interpreter's environment is; programs see it.
fn environment() -> Vec<(OsString, OsString)> {
    let variables = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/"),
        ("PYTHONHASHSEED", "0"),
        ("TZ", "UTC"),
        ("LC_ALL", "C.UTF-8"),
        // What a child looks up, or writes into its tables of functions, is a page to copy.
        ("LD_BIND_NOW", "1"),
        // One heap: a thread's own would take 64 MiB of address space.
        ("MALLOC_ARENA_MAX", "1"),
        // A library's own pool of threads would be counted, and is not forked.
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
    ];
    variables.map(|(name, value)| (name.into(), value.into())).to_vec()
}

/// A forked process and the socket to it.
pub struct Forked {
    number: u32,
    /// What it says.
    pub channel: Channel,
    span: Span,
}

/// Reads messages from a forked process. Everything that comes from a candidate is its word:
/// nothing of it is believed.
pub struct Channel {
    stream: UnixStream,
    buffer: Vec<u8>,
    together: bool,
}

impl Channel {
    /// Waits a moment for all that the process says before reading any of it: each message that wakes
    /// a reader costs as much as several calls. Only for a process that goes on by itself.
    pub fn await_together(&mut self) {
        self.together = true;
    }

    /// The next message, or why there is none.
    pub fn next(&mut self, limit: usize, clock: &mut Clock) -> Result<Message, Silence> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match take_message(&mut self.buffer, limit + 1024) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(TooLong) => return Err(Silence::Garbage),
            }
            if std::mem::take(&mut self.together) {
                wait_for(&self.stream, PollFlags::RDHUP, TOGETHER);
            }
            while !wait_for(&self.stream, PollFlags::IN, clock.patience()) {
                clock.look().map_err(|over| match over {
                    Over::OutOfTime => Silence::OutOfTime,
                    Over::Cancelled => Silence::Cancelled,
                })?;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return Err(Silence::Closed),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

/// Waits for an event, or for the other end to be closed; false if the time is over.
fn wait_for(stream: &UnixStream, event: PollFlags, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    let mut descriptors = [PollFd::new(stream, event)];
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(count) => count > 0,
        Err(Errno::INTR) => false,
        // Reading will say what is wrong.
        Err(_) => true,
    }
}

/// Sends some bytes together with descriptors.
fn send_with(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = sendmsg(stream, &[io::IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut stream = stream;
    stream.write_all(&bytes[sent..])
}
