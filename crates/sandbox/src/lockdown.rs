//! What an interpreter takes on by itself, once it has imported what it needs.

use crate::{Error, Profile, Tier, landlock, layout, seccomp};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The second stage of an interpreter's confinement. It has `PR_SET_NO_NEW_PRIVS` already, so what
/// is left is, in this order:
///
/// 1. `landlock_restrict_self(ruleset, 0)`;
/// 2. `prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &{count, program})` for each of `filters`;
/// 3. in each child, after all that needs processes, limits or messages, the same for
///    `child_filter`.
///
/// | candidates may | they may not |
/// | --- | --- |
/// | open files for reading, `/dev/null` for writing (A, B) | open files (C) |
/// | have threads, pipes, event loops, pairs of Unix stream sockets | sockets, `connect`, `sendmsg`, `recvmsg` |
/// | signal themselves, set timers and their soft stack limit | fork, execute, signal or trace others |
///
/// `fcntl(F_SETFL)` is allowed: give each child a `/dev/null` that it has opened itself, and it
/// shares no open file with the next.
#[derive(Debug)]
pub struct Lockdown {
    /// A Landlock ruleset: read, execute nothing, write `/dev/null`. At tiers A and B.
    pub ruleset: Option<OwnedFd>,
    /// Seccomp programs for the interpreter in the kernel's form: 8 bytes an instruction.
    pub filters: Vec<Vec<u8>>,
    /// The program that each child installs besides. None at tier D.
    pub child_filter: Option<ChildFilter>,
}

/// A seccomp program with gaps for the process's own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildFilter {
    /// The program in the kernel's form.
    pub program: Vec<u8>,
    /// Where in it, in bytes from its start, the child writes what `getpid()` gives it, as 4 bytes
    /// in the machine's order, before it installs the program. A child that does not can signal
    /// nobody, not even itself.
    pub pid_offsets: Vec<usize>,
}

impl Lockdown {
    /// The lockdown of a tier. `readable` is what may be read besides
    /// [`system_paths`](crate::system_paths): usually the policy's. Commands are confined as a whole
    /// before they execute, so theirs is empty.
    ///
    /// # Errors
    /// Where the kernel cannot do it, or a path is missing.
    pub fn of(tier: Tier, readable: &[PathBuf], profile: Profile) -> Result<Self, Error> {
        if profile == Profile::Command || !tier.has_seccomp() {
            return Ok(Lockdown { ruleset: None, filters: Vec::new(), child_filter: None });
        }
        let ruleset = match tier.has_landlock() {
            true => Some(landlock::ruleset(&layout::with_system_paths(readable), &[])?),
            false => None,
        };
        let filters = seccomp::interpreter(tier.has_landlock())?;
        Ok(Lockdown { ruleset, filters, child_filter: Some(ChildFilter::new()?) })
    }
}

impl ChildFilter {
    fn new() -> Result<Self, Error> {
        let program = seccomp::denied_to_children()?;
        let mut pid_offsets = Vec::new();
        for (index, line) in program.chunks_exact(8).enumerate() {
            if line[4..] == seccomp::OWN_PID.to_ne_bytes() {
                pid_offsets.push(index * 8 + 4);
            }
        }
        Ok(ChildFilter { program, pid_offsets })
    }
}
