//! Attacks on a tier, before it is believed.

use crate::plan::Plan;
use crate::{Error, Lockdown, Policy, Profile, Stdio, Tier, spawner};
use std::ffi::{CStr, CString, c_int, c_long};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::null;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Attacks in Python, for a child of an interpreter that has taken its [`Lockdown`] and the child's
/// filter on: it defines `probe()`, which returns the names of those that got through; an empty list
/// means that the tier (A, B or C) is in force.
pub const PROBE: &str = include_str!("probe.py");

/// What an attack that was not tried is taken for.
const NOT_TRIED: i32 = -1;
/// What an attack that succeeded left instead of an error number.
const THROUGH: i32 = 0;

/// The attacks of one process and how they went.
pub(crate) struct Attempts {
    targets: Targets,
    /// For each attack whether it is to be tried, and the error that refused it.
    results: Vec<(bool, AtomicI32)>,
}

/// What is attacked.
struct Targets {
    /// A file that exists and is not named by the policy.
    file: CString,
    /// A directory that this user can write to.
    new_file: CString,
    new_directory: CString,
    /// This program, as it is seen from outside.
    program: c_int,
}

/// What refuses an attack.
#[derive(Clone, Copy, PartialEq)]
enum Refusal {
    /// EPERM or EACCES.
    Permission,
    /// Also that it is not there, or on a read-only file system.
    Absence,
    /// Also that there is no such process.
    NoProcess,
}

struct Attack {
    name: &'static str,
    refusal: Refusal,
    /// The weakest tiers that promise to refuse it: for candidates, for commands, which may do
    /// some of it.
    weakest: (Tier, Option<Tier>),
    attempt: fn(&Targets) -> c_long,
}

/// A raw system call; -1 where it is refused.
macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: each attack passes numbers, null, or pointers to what outlives the call.
        unsafe { libc::syscall(libc::$number $(, $argument)*) }
    };
}

const READ: &str = "read a file that is not named";

const ATTACKS: &[Attack] = &[
    Attack {
        name: READ,
        refusal: Refusal::Absence,
        weakest: (Tier::C, Some(Tier::B)),
        attempt: |targets| open(&targets.file, libc::O_RDONLY),
    },
    Attack {
        name: "open a file that is not named for writing",
        refusal: Refusal::Absence,
        weakest: (Tier::C, Some(Tier::B)),
        attempt: |targets| open(&targets.file, libc::O_RDWR),
    },
    Attack {
        name: "make a file",
        refusal: Refusal::Absence,
        weakest: (Tier::C, Some(Tier::B)),
        attempt: |targets| open(&targets.new_file, libc::O_WRONLY | libc::O_CREAT),
    },
    Attack {
        name: "list the root directory",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::B)),
        attempt: |_| open(c"/", libc::O_RDONLY | libc::O_DIRECTORY),
    },
    Attack {
        name: "make a directory",
        refusal: Refusal::Absence,
        weakest: (Tier::C, Some(Tier::B)),
        attempt: |targets| call!(SYS_mkdirat, libc::AT_FDCWD, targets.new_directory.as_ptr(), 0o700),
    },
    Attack {
        name: "delete a file",
        refusal: Refusal::Absence,
        weakest: (Tier::C, Some(Tier::B)),
        attempt: |targets| call!(SYS_unlinkat, libc::AT_FDCWD, targets.new_file.as_ptr(), 0),
    },
    Attack {
        name: "open a network socket",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
    },
    Attack {
        name: "open a netlink socket",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 0),
    },
    Attack {
        name: "open a datagram pair that reaches others by name",
        refusal: Refusal::Permission,
        weakest: (Tier::C, None),
        attempt: |_| {
            let mut pair: [c_int; 2] = [0; 2];
            call!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr())
        },
    },
    Attack {
        name: "signal this program",
        refusal: Refusal::NoProcess,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |targets| call!(SYS_kill, targets.program, 0),
    },
    Attack {
        name: "have the kernel signal this program",
        refusal: Refusal::NoProcess,
        weakest: (Tier::C, Some(Tier::A)),
        attempt: |targets| call!(SYS_fcntl, 0, libc::F_SETOWN, targets.program),
    },
    Attack {
        name: "trace a process",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        // A request that finds no process where it is let through. One that succeeds (to be traced)
        // would stop this process at its next signal, and its tracer waits for its end.
        attempt: |_| call!(SYS_ptrace, libc::PTRACE_CONT, 0, 0, 0),
    },
    Attack {
        name: "read this program's memory",
        refusal: Refusal::NoProcess,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |targets| call!(SYS_process_vm_readv, targets.program, null::<u8>(), 0, null::<u8>(), 0, 0),
    },
    Attack { name: "start a process", refusal: Refusal::Permission, weakest: (Tier::C, None), attempt: fork },
    Attack {
        name: "execute a file",
        refusal: Refusal::Permission,
        weakest: (Tier::C, None),
        attempt: |targets| call!(SYS_execve, targets.new_file.as_ptr(), null::<u8>(), null::<u8>()),
    },
    Attack {
        name: "make a user namespace",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_unshare, libc::CLONE_NEWUSER),
    },
    Attack {
        name: "join a namespace",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_setns, 0, 0),
    },
    Attack {
        name: "mount",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_mount, null::<u8>(), null::<u8>(), null::<u8>(), 0, null::<u8>()),
    },
    Attack {
        name: "copy a mount",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), 1),
    },
    Attack {
        name: "change the root directory",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_chroot, c"/".as_ptr()),
    },
    Attack {
        name: "set up io_uring",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_io_uring_setup, 1, null::<u8>()),
    },
    Attack {
        name: "load a bpf program",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_bpf, 0, null::<u8>(), 0),
    },
    Attack {
        name: "read performance counters",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_perf_event_open, null::<u8>(), 0, -1, -1, 0),
    },
    Attack {
        name: "use the kernel's keys",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        // KEYCTL_GET_KEYRING_ID of the session's keyring.
        attempt: |_| call!(SYS_keyctl, 0, -3, 0),
    },
    Attack {
        name: "handle page faults",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_userfaultfd, 1),
    },
    Attack {
        name: "change the personality",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_personality, 0xffff_ffff_u64),
    },
    Attack {
        name: "outlive this program",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| call!(SYS_prctl, libc::PR_SET_PDEATHSIG, 0_u64, 0_u64, 0_u64, 0_u64),
    },
    Attack {
        name: "raise a limit",
        refusal: Refusal::Permission,
        weakest: (Tier::C, Some(Tier::C)),
        attempt: |_| {
            let limit = libc::rlimit64 { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
            call!(SYS_prlimit64, 0, libc::RLIMIT_CORE, &raw const limit, null::<u8>())
        },
    },
];

fn open(path: &CStr, flags: c_int) -> c_long {
    call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600)
}

/// A child of the attacker's, which does nothing. It may not share the attacker's memory.
fn fork(_: &Targets) -> c_long {
    let flags = libc::c_long::from(libc::SIGCHLD);
    match call!(SYS_clone, flags, 0_i64, 0_i64, 0_i64, 0_i64) {
        // In the child, which has a copy of the stack.
        0 => {
            call!(SYS_exit_group, 0);
            0
        }
        pid => pid,
    }
}

/// Tries all attacks. Runs in the new process: system calls and atomics only.
pub(crate) fn attack(attempts: &Attempts) {
    for (attack, (_, result)) in ATTACKS.iter().zip(&attempts.results).filter(|(_, (tried, _))| *tried) {
        let got = (attack.attempt)(&attempts.targets);
        // SAFETY: the C library's pointer to the calling thread's number is always valid.
        let error = if got < 0 { unsafe { *libc::__errno_location() } } else { THROUGH };
        result.store(error, Ordering::SeqCst);
    }
}

impl Attack {
    fn promised(&self, profile: Profile, tier: Tier) -> bool {
        let (candidates, commands) = self.weakest;
        let weakest = if profile == Profile::Interpreter { Some(candidates) } else { commands };
        weakest.is_some_and(|weakest| tier <= weakest)
    }

    fn refused_by(&self, error: i32) -> bool {
        match error {
            libc::EPERM | libc::EACCES => true,
            libc::ENOENT | libc::EROFS => self.refusal == Refusal::Absence,
            libc::ESRCH => self.refusal == Refusal::NoProcess,
            _ => false,
        }
    }

    /// What it is called, if this is not a refusal.
    fn got_through(&self, error: i32) -> Option<String> {
        match error {
            _ if self.refused_by(error) => None,
            NOT_TRIED => Some(format!("{} (not tried)", self.name)),
            THROUGH => Some(self.name.to_owned()),
            _ => Some(format!("{} ({})", self.name, std::io::Error::from_raw_os_error(error))),
        }
    }
}

/// Starts a process confined as the policy says, as a candidate where that is an interpreter's, and
/// has it attack: files outside, other processes, the network, the kernel's rarer doors. Returns the
/// attacks that got through of those that the tier promises to refuse, with the error that they met
/// if any; none means that the tier is in force.
///
/// # Errors
/// Where the process cannot be confined so; see [`Error::denies_tier`].
pub fn probe(policy: &Policy) -> Result<Vec<String>, Error> {
    probe_under(policy, Lockdown::of(policy.tier, &policy.readable, policy.profile)?)
}

fn probe_under(policy: &Policy, lockdown: Lockdown) -> Result<Vec<String>, Error> {
    let tried = Policy {
        readable: policy.readable.clone(),
        executable: policy.executable.clone(),
        environment: Vec::new(),
        limits: policy.limits,
        directory: policy.directory.clone(),
        descriptors: Vec::new(),
        stdin: Stdio::Null,
        stdout: Stdio::Null,
        stderr: Stdio::Null,
        cgroup: None,
        ..*policy
    };
    // Never executed.
    let (mut plan, _, _) = Plan::of(&["/bin/sh".into()], tried)?;
    let (home, unnamed) = Home::new(policy)?;
    let promised = |attack: &Attack| {
        // Where all directories to write to are named, nothing proves that others are not read.
        attack.promised(policy.profile, policy.tier) && (unnamed || attack.name != READ)
    };
    let results = ATTACKS.iter().map(|attack| (promised(attack), AtomicI32::new(NOT_TRIED))).collect();
    plan.attack(Attempts { targets: home.targets(policy.tier)?, results }, lockdown)?;
    let (plan, pid) = spawner::start(plan)?;
    spawner::end(pid);
    let results = plan.attempts.iter().flat_map(|attempts| &attempts.results);
    let results = ATTACKS.iter().zip(results).filter(|(_, (tried, _))| *tried);
    Ok(results
        .filter_map(|(attack, (_, result))| attack.got_through(result.load(Ordering::SeqCst)))
        .collect())
}

/// A directory of the probe's own with a file, in a place that this user can write to.
struct Home(PathBuf);

impl Home {
    /// The directory, and whether it is one that the policy does not name.
    fn new(policy: &Policy) -> Result<(Self, bool), Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("sandbox-probe-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let named: Vec<PathBuf> = crate::layout::readable(policy)
            .iter()
            .chain(&policy.executable)
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        let mut places = vec![std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from("/dev/shm")];
        places.retain_mut(|place| place.canonicalize().map(|real| *place = real).is_ok());
        // The places that are not named first.
        places.sort_by_key(|place| named.iter().any(|path| place.starts_with(path)));
        let mut failure = Error::RelativePath(std::env::temp_dir());
        for place in places {
            let unnamed = !named.iter().any(|path| place.starts_with(path));
            let home = place.join(&name);
            match fs::create_dir(&home).and_then(|()| fs::write(home.join("file"), "secret")) {
                Ok(()) => return Ok((Home(home), unnamed)),
                Err(cause) => failure = Error::Path { path: home, cause },
            }
        }
        Err(failure)
    }

    fn targets(&self, tier: Tier) -> Result<Targets, Error> {
        let path = |name: &str| {
            let path = self.0.join(name);
            CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::NulByte(path.into()))
        };
        // The first process of a pid namespace, as this program may be too, is the attacker itself
        // there: then a number that nobody has.
        let program = match std::process::id().cast_signed() {
            1 if tier.has_namespaces() => c_int::MAX,
            number => number,
        };
        Ok(Targets {
            file: path("file")?,
            new_file: path("new")?,
            new_directory: path("directory")?,
            program,
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;

    /// A candidate without the lockdown gets through where only that would have refused it.
    #[test]
    fn holes_are_seen() {
        let policy = Policy::new(Profile::Interpreter, Tier::C);
        let nothing = || Lockdown { ruleset: None, filters: Vec::new(), child_filter: None };
        let through = probe_under(&policy, nothing()).unwrap();
        let open = [READ, "make a file", "make a directory", "open a network socket", "start a process"];
        for name in open {
            assert!(through.iter().any(|found| found.starts_with(name)), "{name}: {through:?}");
        }
        let mut partial = Lockdown::of(Tier::C, &[], Profile::Interpreter).unwrap();
        partial.child_filter = None;
        let through = probe_under(&policy, partial).unwrap();
        assert!(through.contains(&"start a process".to_owned()), "{through:?}");
        assert!(!through.iter().any(|found| found.starts_with(READ)), "{through:?}");
    }
}
