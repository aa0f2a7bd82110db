//! Landlock (Linux 5.13 and later): which files can be read and executed.

use crate::Error;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;
/// From this version on, signals to processes outside are refused.
const SCOPED_SIGNALS: i64 = 6;

/// Whether the kernel's Landlock keeps a process from signalling others.
pub(crate) fn scopes_signals() -> bool {
    version() >= SCOPED_SIGNALS
}

fn version() -> i64 {
    // SAFETY: with the version flag the call takes no pointer.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) }
}

/// `struct landlock_path_beneath_attr`: what is allowed below a directory.
#[repr(C, packed)]
pub(crate) struct PathRule {
    pub(crate) allowed: u64,
    pub(crate) directory: i32,
}

/// All that can be done with files and directories but executing them and making devices, as far as
/// the kernel's version knows it.
pub(crate) fn writing() -> u64 {
    let known = AccessFs::from_all(match version() {
        ..2 => ABI::V1,
        2 => ABI::V2,
        _ => ABI::V3,
    });
    (known & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock)).bits()
}

/// A ruleset under which files can be read below `readable`, read and executed below `executable`,
/// and `/dev/null` written. All else is refused: other files, TCP, signals to others and abstract
/// sockets as far as the kernel's version goes (the first version, which has files, is required).
pub(crate) fn ruleset(readable: &[PathBuf], executable: &[PathBuf]) -> Result<OwnedFd, Error> {
    let unavailable = |error: landlock::RulesetError| Error::Landlock(error.to_string());
    let mut rules = create().map_err(unavailable)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in readable {
        rules = allow(rules, path, read)?;
    }
    for path in executable {
        rules = allow(rules, path, read | AccessFs::Execute)?;
    }
    let null = Path::new("/dev/null");
    if null.exists() {
        let write = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        rules = allow(rules, null, write | AccessFs::ReadFile)?;
    }
    let descriptor: Option<OwnedFd> = rules.into();
    descriptor.ok_or_else(|| Error::Landlock("this kernel has none".to_owned()))
}

fn create() -> Result<RulesetCreated, landlock::RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()
}

/// Adds a rule; of what can be done to directories only, a file is given nothing.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Error> {
    let unreachable = |error: landlock::PathFdError| Error::Path {
        path: path.to_owned(),
        cause: std::io::Error::other(error),
    };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V5) };
    let rule = PathBeneath::new(PathFd::new(path).map_err(unreachable)?, access);
    rules.add_rule(rule).map_err(|error| Error::Landlock(format!("{}: {error}", path.display())))
}
