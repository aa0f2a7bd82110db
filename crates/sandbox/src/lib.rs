//! Any command, confined, before it executes its first instruction.
//!
//! | tier | in force |
//! | --- | --- |
//! | A | namespaces, Landlock, seccomp, resource limits |
//! | B | Landlock, seccomp, resource limits |
//! | C | seccomp, resource limits |
//! | D | resource limits only |
//!
//! Nothing here needs privileges. [`spawn`] confines in this order, each step of it named by a
//! [`Step`]: a process of its own namespaces (A), a root directory in memory with the named paths
//! mounted read-only (A), the working directory, descriptors, limits, capabilities, no new
//! privileges, Landlock (A and B), seccomp (A to C; [`Profile::Command`] only), `execve`.
//!
//! A [`Profile::Interpreter`] takes seccomp filters on by itself, once its imports are done and
//! before it forks the first candidate: see [`Lockdown`]. Whether a tier is in force is found out by
//! attacking it: [`probe`] from a process confined like the real one, [`PROBE`] from Python.
//!
//! Every process is killed by the kernel when this program ends, however it ends: all are started by
//! one thread that lives as long as the program, and carry `PR_SET_PDEATHSIG`. At tier A that ends
//! all their descendants too. At the other tiers a command's descendants outlive a SIGKILL of this
//! program until their CPU limit; [`Process::kill`] ends them all (at D, those in its session).

pub mod cgroup;
mod child;
mod error;
mod landlock;
mod layout;
mod lockdown;
mod plan;
mod probe;
mod process;
mod seccomp;
mod spawner;

pub use error::{Error, Step};
pub use layout::system_paths;
pub use lockdown::{ChildFilter, Lockdown};
pub use probe::{PROBE, probe};
pub use process::{Process, Status};

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::str::FromStr;

/// How strongly a command is isolated; the first is the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// Namespaces, Landlock, seccomp, resource limits.
    A,
    /// Landlock, seccomp, resource limits.
    B,
    /// Seccomp, resource limits.
    C,
    /// Resource limits only.
    D,
}

impl Tier {
    /// All of them, the strongest first.
    pub const ALL: [Tier; 4] = [Tier::A, Tier::B, Tier::C, Tier::D];

    /// Its letter.
    pub fn name(self) -> &'static str {
        match self {
            Tier::A => "A",
            Tier::B => "B",
            Tier::C => "C",
            Tier::D => "D",
        }
    }

    /// What it consists of.
    pub fn description(self) -> &'static str {
        match self {
            Tier::A => "namespaces, Landlock, seccomp, resource limits",
            Tier::B => "Landlock, seccomp, resource limits",
            Tier::C => "seccomp, resource limits",
            Tier::D => "resource limits only",
        }
    }

    fn has_namespaces(self) -> bool {
        self == Tier::A
    }

    fn has_landlock(self) -> bool {
        self <= Tier::B
    }

    fn has_seccomp(self) -> bool {
        self <= Tier::C
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Tier::ALL.into_iter().find(|tier| tier.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| format!("expected A, B, C or D, found {text}"))
    }
}

/// What kind of program is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// An interpreter that forks untrusted programs. Trusted itself: it starts with Landlock and
    /// namespaces, and applies its [`Lockdown`] before it forks.
    Interpreter,
    /// A command that may fork and execute what is named. Untrusted from its first instruction.
    Command,
}

/// How a process is confined and what it is given. [`Policy::new`] denies all that can be denied.
#[derive(Debug)]
pub struct Policy {
    /// What kind of program it is.
    pub profile: Profile,
    /// How strongly it is isolated.
    pub tier: Tier,
    /// Files and directories (with all below) that it may read; they must exist. Symbolic links are
    /// followed and kept. [`system_paths`] are always readable besides. Restricts at tiers A and B.
    pub readable: Vec<PathBuf>,
    /// Files and directories that it may execute and read. The program itself and the system's
    /// dynamic loaders always are. Restricts at tiers A and B.
    pub executable: Vec<PathBuf>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory, absolute. At tier A it is made, empty, where no named path has it.
    pub directory: PathBuf,
    /// Its resource limits.
    pub limits: Limits,
    /// Further descriptors, each with the number that it has in the process. All others are closed.
    pub descriptors: Vec<(OwnedFd, RawFd)>,
    /// Its descriptor 0.
    pub stdin: Stdio,
    /// Its descriptor 1.
    pub stdout: Stdio,
    /// Its descriptor 2.
    pub stderr: Stdio,
    /// Size in bytes of a writable, empty `/tmp` in memory; 0 for none. [`Profile::Command`] at tier
    /// A only: elsewhere nothing can be written (B) or everything (C, D).
    pub scratch_bytes: u64,
    /// A group that bounds memory and processes of all descendants together; see [`cgroup::find`].
    pub cgroup: Option<cgroup::Group>,
}

impl Policy {
    /// Nothing to read but [`system_paths`], an empty environment, `/` as working directory, no
    /// limits but no core dumps, `/dev/null` for standard streams; for commands 64 MiB of `/tmp`.
    pub fn new(profile: Profile, tier: Tier) -> Self {
        Policy {
            profile,
            tier,
            readable: Vec::new(),
            executable: Vec::new(),
            environment: Vec::new(),
            directory: PathBuf::from("/"),
            limits: Limits::default(),
            descriptors: Vec::new(),
            stdin: Stdio::Null,
            stdout: Stdio::Null,
            stderr: Stdio::Null,
            scratch_bytes: if profile == Profile::Command { 64 << 20 } else { 0 },
            cgroup: None,
        }
    }
}

/// Where a standard stream leads.
#[derive(Debug)]
pub enum Stdio {
    /// `/dev/null`, opened for this process alone: flags set on it reach no other.
    Null,
    /// A new pipe, whose other end is in the [`Process`].
    Pipe,
    /// This descriptor.
    Descriptor(OwnedFd),
}

/// Resource limits (`setrlimit(2)`), never above what this program may have itself. `None` leaves
/// a limit as it is. Core dumps are always off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of each process in seconds: SIGXCPU at this, SIGKILL a second later. (The first
    /// process of a pid namespace, which a command at tier A is, gets the SIGKILL only.)
    pub cpu_seconds: Option<u64>,
    /// Address space of each process, in bytes.
    pub address_space: Option<u64>,
    /// Processes and threads of this user; at tier A, of the sandbox alone. The kernel does not
    /// apply it to root: use a [`cgroup`] there.
    pub processes: Option<u64>,
    /// Largest file that can be written, in bytes.
    pub file_size: Option<u64>,
    /// Descriptors: none can have this number or a higher one.
    pub open_files: Option<u64>,
    /// Stack of the first thread in bytes, soft; the hard limit stays. glibc gives every further
    /// thread as much address space, so an interpreter better raises it itself after its start.
    pub stack: Option<u64>,
}

/// Starts a confined process. The first of `argv` is the program: a path, or a name that is looked
/// up in the policy's `PATH`.
///
/// Returns once the program executes: whatever fails before that is an error that names the step.
///
/// # Errors
/// Where the program or a named path is missing, or a step is refused; [`Error::denies_tier`] says
/// whether a weaker tier may work.
pub fn spawn(argv: &[OsString], policy: Policy) -> Result<Process, Error> {
    let (plan, streams, group) = plan::Plan::of(argv, policy)?;
    Process::start(plan, streams, group)
}
