//! Everything that a new process needs, made before it exists: between its start and its program it
//! may neither allocate nor lock.

use crate::layout::{Layout, executable, readable};
use crate::probe::Attempts;
use crate::{Error, Limits, Lockdown, Policy, Profile, Stdio, Step, cgroup, landlock, seccomp};
use std::ffi::{CString, OsStr, OsString, c_char, c_uint};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

/// Whom the user is taken for in its namespace.
const NOBODY: u32 = 65534;

/// A list of strings as `execve` takes it.
pub(crate) struct Strings {
    /// Owns what the pointers lead to.
    _owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    fn of(texts: impl Iterator<Item = OsString>) -> Result<Self, Error> {
        let owned = texts.map(|text| c_string(&text)).collect::<Result<Vec<_>, _>>()?;
        let pointers = owned.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Strings { _owned: owned, pointers })
    }

    /// The list, ended by a null pointer.
    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// A path to mount in the new root.
pub(crate) struct Bind {
    pub(crate) source: CString,
    /// Relative to the new root.
    pub(crate) target: CString,
    pub(crate) directory: bool,
    /// What `mount_setattr` forbids below it.
    pub(crate) attributes: u64,
    /// The copy of its mount, once taken.
    pub(crate) taken: AtomicI32,
}

/// A process's own root directory, and whom it is there.
pub(crate) struct Root {
    pub(crate) user_map: CString,
    pub(crate) group_map: CString,
    /// A directory to mount the new root on, and what to mount there.
    pub(crate) place: CString,
    pub(crate) options: CString,
    /// The size of `/tmp`, where there is to be one to write to.
    pub(crate) scratch: Option<CString>,
    /// What Landlock allows there.
    pub(crate) writing: u64,
    pub(crate) directories: Vec<CString>,
    pub(crate) links: Vec<(CString, CString)>,
    pub(crate) binds: Vec<Bind>,
    /// Whether nothing can be written. Interpreters are refused by permissions instead, so that
    /// candidates find the same error (EACCES) as at tier B.
    pub(crate) read_only: bool,
}

/// Where the new process says how far it came. It shares this program's memory until it executes.
pub(crate) struct Report {
    pub(crate) step: AtomicI32,
    pub(crate) subject: AtomicI32,
    pub(crate) errno: AtomicI32,
}

/// All of it.
pub(crate) struct Plan {
    pub(crate) program: CString,
    pub(crate) arguments: Strings,
    pub(crate) environment: Strings,
    /// This program (a pidfd), where the kernel can name it so.
    pub(crate) parent: Option<OwnedFd>,
    /// Whether it gets a session of its own, or a group of processes in this one.
    pub(crate) session: bool,
    pub(crate) cgroup: Option<OwnedFd>,
    pub(crate) root: Option<Root>,
    pub(crate) directory: CString,
    /// Descriptors to copy, and to which numbers.
    pub(crate) places: Vec<(OwnedFd, RawFd)>,
    /// The numbers between them, first and last.
    pub(crate) gaps: Vec<(c_uint, c_uint)>,
    pub(crate) limits: Vec<(c_uint, libc::rlimit64)>,
    pub(crate) rulesets: Vec<OwnedFd>,
    pub(crate) filters: Vec<Vec<u8>>,
    /// In place of the program, attacks.
    pub(crate) attempts: Option<Attempts>,
    pub(crate) report: Report,
}

// SAFETY: the raw pointers lead to strings that the plan owns and never changes.
unsafe impl Send for Plan {}
// SAFETY: as above; what changes are atomics.
unsafe impl Sync for Plan {}

/// The other ends of the pipes: standard input, output, error.
pub(crate) type Streams = [Option<File>; 3];

impl Plan {
    /// What a policy comes to for a command.
    pub(crate) fn of(
        argv: &[OsString],
        mut policy: Policy,
    ) -> Result<(Box<Self>, Streams, Option<cgroup::Group>), Error> {
        let name = argv.first().ok_or(Error::NoProgram)?;
        let program = find_program(name, &policy.environment)?;
        let executable = executable(&policy, &program);
        let readable = readable(&policy);
        for path in readable.iter().chain(&executable).chain([&policy.directory]) {
            if !path.is_absolute() {
                return Err(Error::RelativePath(path.clone()));
            }
        }
        for path in policy.readable.iter().chain(&policy.executable) {
            path.metadata().map_err(|cause| Error::Path { path: path.clone(), cause })?;
        }
        let root = match policy.tier.has_namespaces() {
            true => Some(root(&policy, readable.iter().chain(&executable).cloned().collect())?),
            false => None,
        };
        let (places, streams) = places(&mut policy)?;
        let base = places.iter().map(|(_, number)| number + 1).max().unwrap_or(3);
        let places = places
            .into_iter()
            .map(|(descriptor, number)| Ok((lift(descriptor, base)?, number)))
            .collect::<Result<Vec<_>, Error>>()?;
        let mut rulesets = Vec::new();
        if policy.tier.has_landlock() {
            rulesets.push(lift(landlock::ruleset(&readable, &executable)?, base)?);
        }
        let cgroup = policy.cgroup.as_ref().map(|group| lift(group.processes()?, base)).transpose()?;
        let plan = Plan {
            program: c_string(program.as_os_str())?,
            arguments: Strings::of(argv.iter().cloned())?,
            environment: Strings::of(policy.environment.iter().map(|(name, value)| variable(name, value)))?,
            parent: this_program().map(|program| lift(program, base)).transpose()?,
            session: policy.profile == Profile::Command,
            cgroup,
            root,
            directory: c_string(policy.directory.as_os_str())?,
            gaps: gaps(&places),
            places,
            limits: limits(&policy.limits),
            rulesets,
            filters: filters(&policy)?,
            attempts: None,
            report: Report {
                step: AtomicI32::new(-1),
                subject: AtomicI32::new(-1),
                errno: AtomicI32::new(0),
            },
        };
        Ok((Box::new(plan), streams, policy.cgroup.take()))
    }

    /// Makes the process attack what confines it instead of executing its program; an interpreter's
    /// lockdown is part of that.
    pub(crate) fn attack(&mut self, attempts: Attempts, lockdown: Lockdown) -> Result<(), Error> {
        let base = self.places.iter().map(|(_, number)| number + 1).max().unwrap_or(3);
        if let Some(ruleset) = lockdown.ruleset {
            self.rulesets.push(lift(ruleset, base)?);
        }
        self.filters.extend(lockdown.filters);
        self.filters.extend(lockdown.child_filter.map(|filter| filter.program));
        self.attempts = Some(attempts);
        Ok(())
    }

    /// What went wrong, if anything did.
    pub(crate) fn failure(&self) -> Option<Error> {
        let step = Step::from_number(self.report.step.load(Ordering::SeqCst))?;
        let cause = io::Error::from_raw_os_error(self.report.errno.load(Ordering::SeqCst));
        let index = usize::try_from(self.report.subject.load(Ordering::SeqCst)).unwrap_or(usize::MAX);
        let path = |text: &CString| PathBuf::from(OsStr::from_bytes(text.as_bytes()));
        let root = self.root.as_ref();
        let subject = match step {
            Step::Execute => Some(path(&self.program)),
            Step::WorkingDirectory => Some(path(&self.directory)),
            Step::Root => root.map(|root| path(&root.place)),
            Step::TakePath | Step::ReadOnly | Step::File | Step::Mount => {
                root.and_then(|root| root.binds.get(index)).map(|bind| path(&bind.source))
            }
            Step::Directory => root.and_then(|root| root.directories.get(index)).map(path),
            Step::Link => root.and_then(|root| root.links.get(index)).map(|(link, _)| path(link)),
            _ => None,
        };
        Some(Error::Confine { step, subject, cause })
    }
}

/// This program, by a descriptor that tells when it has ended.
fn this_program() -> Option<OwnedFd> {
    rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()).ok()
}

/// A program's absolute path.
fn find_program(name: &OsStr, environment: &[(OsString, OsString)]) -> Result<PathBuf, Error> {
    let missing = || Error::MissingProgram(name.to_owned());
    let path = Path::new(name);
    if path.is_absolute() {
        return if path.is_file() { Ok(path.to_owned()) } else { Err(missing()) };
    }
    if name.as_bytes().contains(&b'/') {
        return Err(Error::RelativePath(path.to_owned()));
    }
    let (_, directories) = environment.iter().find(|(name, _)| name == "PATH").ok_or_else(missing)?;
    let places = std::env::split_paths(directories).map(|directory| directory.join(name));
    places.filter(|path| path.is_absolute()).find(|path| path.is_file()).ok_or_else(missing)
}

fn variable(name: &OsStr, value: &OsStr) -> OsString {
    let mut text = name.to_owned();
    text.push("=");
    text.push(value);
    text
}

fn c_string(text: &OsStr) -> Result<CString, Error> {
    CString::new(text.as_bytes()).map_err(|_| Error::NulByte(text.to_owned()))
}

/// A path as seen from the root that it is to be made in.
fn below_root(path: &Path) -> Result<CString, Error> {
    c_string(path.strip_prefix("/").unwrap_or(path).as_os_str())
}

fn root(policy: &Policy, paths: Vec<PathBuf>) -> Result<Root, Error> {
    let is_command = policy.profile == Profile::Command;
    let mut layout = Layout::of(&paths, &policy.directory)?;
    layout.make(Path::new("/tmp"));
    let binds = layout.binds.iter().map(|bind| {
        let nodev = if bind.device { 0 } else { libc::MOUNT_ATTR_NODEV };
        Ok(Bind {
            source: c_string(bind.path.as_os_str())?,
            target: below_root(&bind.path)?,
            directory: bind.directory,
            attributes: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | nodev,
            taken: AtomicI32::new(-1),
        })
    });
    let links =
        layout.links.iter().map(|(link, target)| Ok((below_root(link)?, c_string(target.as_os_str())?)));
    let place = ["/tmp", "/run", "/var", "/usr"].into_iter().find(|path| Path::new(path).is_dir());
    let entries = layout.directories.len() + layout.links.len() + layout.binds.len() + 16;
    // SAFETY: these calls take nothing and cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    Ok(Root {
        user_map: c_string(format!("{NOBODY} {user} 1").as_ref())?,
        group_map: c_string(format!("{NOBODY} {group} 1").as_ref())?,
        place: c_string(place.unwrap_or("/").as_ref())?,
        options: c_string(format!("size=256k,nr_inodes={entries},mode=555").as_ref())?,
        scratch: match is_command && policy.scratch_bytes > 0 {
            true => Some(c_string(format!("size={},mode=1777", policy.scratch_bytes).as_ref())?),
            false => None,
        },
        writing: landlock::writing(),
        // `/tmp` first: what is made below it has to be made in what is mounted there.
        directories: std::iter::once(Path::new("/tmp"))
            .chain(layout.directories.iter().map(PathBuf::as_path).filter(|path| *path != Path::new("/tmp")))
            .map(below_root)
            .collect::<Result<_, _>>()?,
        links: links.collect::<Result<_, Error>>()?,
        binds: binds.collect::<Result<_, Error>>()?,
        read_only: is_command,
    })
}

/// A copy of a descriptor with a number that none of the process's descriptors has.
fn lift(descriptor: OwnedFd, base: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: F_DUPFD_CLOEXEC makes a new descriptor and touches nothing else.
    let lifted = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, base) };
    if lifted < 0 {
        return Err(Error::Descriptors(io::Error::last_os_error()));
    }
    // SAFETY: it was made above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

/// The process's descriptors with their numbers, and the other ends of pipes.
fn places(policy: &mut Policy) -> Result<(Vec<(OwnedFd, RawFd)>, Streams), Error> {
    let mut places = Vec::new();
    let mut streams: Streams = [None, None, None];
    let asked = [&mut policy.stdin, &mut policy.stdout, &mut policy.stderr];
    for (number, (stdio, stream)) in (0..).zip(asked.into_iter().zip(&mut streams)) {
        let descriptor = match std::mem::replace(stdio, Stdio::Null) {
            Stdio::Descriptor(descriptor) => descriptor,
            Stdio::Null => {
                let mut options = File::options();
                let options = if number == 0 { options.read(true) } else { options.write(true) };
                OwnedFd::from(options.open("/dev/null").map_err(Error::Descriptors)?)
            }
            Stdio::Pipe => {
                let (reader, writer) = std::io::pipe().map_err(Error::Descriptors)?;
                let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
                let (theirs, ours) = if number == 0 { (reader, writer) } else { (writer, reader) };
                *stream = Some(File::from(ours));
                theirs
            }
        };
        places.push((descriptor, number));
    }
    places.append(&mut policy.descriptors);
    places.sort_by_key(|(_, number)| *number);
    for (index, (_, number)) in places.iter().enumerate() {
        let taken = places[..index].iter().any(|(_, other)| other == number);
        if *number < 0 || taken {
            return Err(Error::DescriptorNumber(*number));
        }
    }
    Ok((places, streams))
}

/// The ranges of numbers that none of these has; they are sorted.
fn gaps(places: &[(OwnedFd, RawFd)]) -> Vec<(c_uint, c_uint)> {
    let mut gaps = Vec::new();
    let mut next: c_uint = 0;
    for number in places.iter().map(|(_, number)| number.cast_unsigned()) {
        if number > next {
            gaps.push((next, number - 1));
        }
        next = number + 1;
    }
    gaps.push((next, c_uint::MAX));
    gaps
}

/// What `setrlimit` is called with: never above what this process may have.
fn limits(limits: &Limits) -> Vec<(c_uint, libc::rlimit64)> {
    let asked = [
        (libc::RLIMIT_CORE, Some(0), 0),
        (libc::RLIMIT_CPU, limits.cpu_seconds, 1),
        (libc::RLIMIT_AS, limits.address_space, 0),
        (libc::RLIMIT_NPROC, limits.processes, 0),
        (libc::RLIMIT_FSIZE, limits.file_size, 0),
        (libc::RLIMIT_NOFILE, limits.open_files, 0),
    ];
    let mut set: Vec<_> = asked
        .into_iter()
        .filter_map(|(resource, limit, grace)| Some((resource, limit?, grace)))
        .map(|(resource, limit, grace)| {
            let most = current(resource).rlim_max;
            let (soft, hard) = (limit.min(most), limit.saturating_add(grace).min(most));
            (resource, libc::rlimit64 { rlim_cur: soft, rlim_max: hard })
        })
        .collect();
    if let Some(stack) = limits.stack {
        let most = current(libc::RLIMIT_STACK).rlim_max;
        set.push((libc::RLIMIT_STACK, libc::rlimit64 { rlim_cur: stack.min(most), rlim_max: most }));
    }
    set
}

fn current(resource: c_uint) -> libc::rlimit64 {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes the limit, for which there is room.
    unsafe { libc::getrlimit64(resource, &mut limit) };
    limit
}

/// The filters that are in force from the program's first instruction on.
fn filters(policy: &Policy) -> Result<Vec<Vec<u8>>, Error> {
    if policy.profile == Profile::Interpreter || !policy.tier.has_seccomp() {
        return Ok(Vec::new());
    }
    let own_namespaces = policy.tier.has_namespaces();
    seccomp::command(&seccomp::CommandRules {
        unix_sockets: own_namespaces,
        signals: own_namespaces || (policy.tier.has_landlock() && landlock::scopes_signals()),
        sessions: own_namespaces,
    })
}
