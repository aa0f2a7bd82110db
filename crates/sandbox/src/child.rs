//! What the new process does before its program. It shares this program's memory (`CLONE_VM`), while
//! the thread that started it waits: only system calls and atomics here, no allocation, no lock, no
//! panic.

use crate::Step;
use crate::landlock::PathRule;
use crate::plan::{Bind, Plan, Root};
use crate::probe;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::fd::AsRawFd;
use std::ptr::{self, null};
use std::sync::atomic::Ordering::SeqCst;

/// A step that failed: which, about which of its subjects, why.
struct Failure(Step, c_int, c_int);
type Done = Result<(), Failure>;

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `struct __user_cap_header_struct` and two of `__user_cap_data_struct`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

const AT_RECURSIVE: c_int = 0x8000;
const OPEN_TREE_CLONE: c_int = 1;
const OPEN_TREE_CLOEXEC: c_int = libc::O_CLOEXEC;
const MOVE_MOUNT_F_EMPTY_PATH: c_int = 4;

fn errno() -> c_int {
    // SAFETY: the C library's pointer to the calling thread's number is always valid.
    unsafe { *libc::__errno_location() }
}

/// The result of a system call as that of a step.
fn check(step: Step, subject: usize, result: c_long) -> Result<c_long, Failure> {
    match result < 0 {
        true => Err(Failure(step, subject as c_int, errno())),
        false => Ok(result),
    }
}

/// `prctl` with all its arguments in full width: some operations want the unused ones to be 0.
fn control(operation: c_int, argument: c_ulong) -> c_long {
    let unused: c_ulong = 0;
    // SAFETY: only operations that take numbers are asked for here.
    unsafe { libc::prctl(operation, argument, unused, unused, unused) }.into()
}

/// Makes a process that confines itself and executes the plan's program, or attacks; waits until it
/// executes or ends. Returns its number, negative where there is none: then `errno` says why.
pub(crate) fn clone(plan: &Plan, stack: &mut [u128], namespaces: c_int) -> c_int {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | namespaces;
    let argument = ptr::from_ref(plan).cast_mut().cast::<c_void>();
    // SAFETY: the stack grows down from its aligned end and is used by nobody else; with CLONE_VFORK
    // this thread waits until the process executes or ends, so plan and stack outlive its use.
    unsafe { libc::clone(run, stack.as_mut_ptr_range().end.cast(), flags, argument) }
}

/// The process's function.
extern "C" fn run(argument: *mut c_void) -> c_int {
    // SAFETY: `clone`, its only user, passes a plan that outlives this process's use of it.
    let plan = unsafe { &*argument.cast_const().cast::<Plan>() };
    let failure = match confine(plan) {
        Err(failure) => failure,
        Ok(()) => match &plan.attempts {
            Some(attempts) => {
                probe::attack(attempts);
                return 0;
            }
            None => execute(plan),
        },
    };
    plan.report.subject.store(failure.1, SeqCst);
    plan.report.errno.store(failure.2, SeqCst);
    plan.report.step.store(failure.0 as c_int, SeqCst);
    127
}

fn confine(plan: &Plan) -> Done {
    die_with_parent(plan)?;
    start_session(plan)?;
    join_cgroup(plan)?;
    if let Some(root) = &plan.root {
        map_user(root)?;
        make_mounts_private()?;
        for (index, bind) in root.binds.iter().enumerate() {
            take_path(index, bind)?;
        }
        mount_root(root)?;
        make_directories(root)?;
        make_links(root)?;
        for (index, bind) in root.binds.iter().enumerate() {
            mount_path(index, bind)?;
        }
        change_root()?;
        if root.read_only {
            make_root_read_only()?;
            allow_scratch(plan, root)?;
        }
    }
    change_directory(plan)?;
    place_descriptors(plan)?;
    close_others(plan)?;
    set_limits(plan)?;
    drop_capabilities()?;
    give_up_privileges()?;
    // Again: changed credentials would have cleared it.
    die_with_parent(plan)?;
    enforce_landlock(plan)?;
    install_filters(plan)
}

/// The kernel kills this process when the thread that started it ends, which lives as long as the
/// program. If that is gone already, nobody would.
fn die_with_parent(plan: &Plan) -> Done {
    check(Step::ParentDeath, 0, control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong))?;
    let Some(parent) = &plan.parent else { return Ok(()) };
    let mut ended = libc::pollfd { fd: parent.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call; no wait.
    match unsafe { libc::poll(&mut ended, 1, 0) } {
        0 => Ok(()),
        _ => Err(Failure(Step::ParentDeath, 0, libc::ESRCH)),
    }
}

/// Signals take their default effect, whatever this program does with them, and the terminal's
/// (Ctrl-C) do not reach the process: this program decides when it ends. A command leaves the
/// terminal behind, too. An interpreter stays in this session: with `sched_autogroup_enabled` the
/// kernel weighs priorities (`nice`) only within a session, and a low one is to make way for us.
fn start_session(plan: &Plan) -> Done {
    for signal in 1..=64 {
        // SAFETY: a zeroed action is SIG_DFL without flags; signals that cannot be set are refused.
        unsafe {
            let action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
    // SAFETY: an empty set is a valid mask; sigprocmask only reads it.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    // SAFETY: both take numbers only.
    let started = unsafe { if plan.session { libc::setsid() } else { libc::setpgid(0, 0) } };
    check(Step::Session, 0, started.into()).map(drop)
}

/// What it starts is counted with it from here on.
fn join_cgroup(plan: &Plan) -> Done {
    let Some(processes) = &plan.cgroup else { return Ok(()) };
    // SAFETY: one byte is read from a literal. 0 stands for the process that writes.
    let written = unsafe { libc::write(processes.as_raw_fd(), c"0".as_ptr().cast(), 1) };
    check(Step::Cgroup, 0, written as c_long).map(drop)
}

/// Inside, the user is nobody; outside it stays who it is.
fn map_user(root: &Root) -> Done {
    write_file(c"/proc/self/setgroups", c"deny")?;
    write_file(c"/proc/self/uid_map", &root.user_map)?;
    write_file(c"/proc/self/gid_map", &root.group_map)
}

fn write_file(path: &CStr, text: &CStr) -> Done {
    // SAFETY: both are strings that end with NUL; the length is the text's own.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(Step::UserMap, 0, file.into())?;
        let written = libc::write(file, text.as_ptr().cast(), text.count_bytes());
        let written = check(Step::UserMap, 0, written as c_long);
        libc::close(file);
        written.map(drop)
    }
}

/// Nothing that is mounted here is to appear outside.
fn make_mounts_private() -> Done {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    mount(Step::PrivateMounts, c"none", c"/", c"none", flags, null())
}

fn mount(step: Step, source: &CStr, target: &CStr, kind: &CStr, flags: u64, data: *const c_char) -> Done {
    // SAFETY: strings that end with NUL; `data` is null or one of them.
    let done = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.cast()) };
    check(step, 0, done.into()).map(drop)
}

/// A copy of the path's mount with all mounts below it, read-only; taken before the new root's mount
/// hides the place that it comes from.
fn take_path(index: usize, bind: &Bind) -> Done {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
    // SAFETY: the path ends with NUL.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, bind.source.as_ptr(), flags) };
    let tree = check(Step::TakePath, index, tree)? as c_int;
    bind.taken.store(tree, SeqCst);
    set_attributes(Step::ReadOnly, index, tree, c"", libc::AT_EMPTY_PATH | AT_RECURSIVE, bind.attributes)
}

fn set_attributes(step: Step, index: usize, at: c_int, path: &CStr, flags: c_int, set: u64) -> Done {
    let attributes = MountAttributes { set, clear: 0, propagation: 0, user_namespace: 0 };
    let size = size_of::<MountAttributes>();
    // SAFETY: the path ends with NUL; the structure and its size are the kernel's.
    let done = unsafe { libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, &attributes, size) };
    check(step, index, done).map(drop)
}

/// An empty file system in memory; the process goes to stand in it.
fn mount_root(root: &Root) -> Done {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    mount(Step::Root, c"none", &root.place, c"tmpfs", flags, root.options.as_ptr())?;
    // SAFETY: the path ends with NUL.
    check(Step::Root, 0, unsafe { libc::chdir(root.place.as_ptr()) }.into()).map(drop)
}

/// Directories, parents first; the very first is `tmp`, on which the rest of it is mounted at once.
fn make_directories(root: &Root) -> Done {
    for (index, path) in root.directories.iter().enumerate() {
        // SAFETY: the path ends with NUL.
        let made = unsafe { libc::mkdir(path.as_ptr(), 0o555) };
        if made < 0 && errno() != libc::EEXIST {
            return Err(Failure(Step::Directory, index as c_int, errno()));
        }
        if let (0, Some(options)) = (index, &root.scratch) {
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            mount(Step::Scratch, c"none", c"tmp", c"tmpfs", flags, options.as_ptr())?;
        }
    }
    for (index, bind) in root.binds.iter().enumerate().filter(|(_, bind)| !bind.directory) {
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        // SAFETY: the path ends with NUL; the descriptor is closed once.
        let file = unsafe { libc::open(bind.target.as_ptr(), flags, 0o444) };
        check(Step::File, index, file.into())?;
        // SAFETY: it was opened above.
        unsafe { libc::close(file) };
    }
    Ok(())
}

/// Symbolic links that named paths go through.
fn make_links(root: &Root) -> Done {
    for (index, (link, target)) in root.links.iter().enumerate() {
        // SAFETY: both end with NUL.
        check(Step::Link, index, unsafe { libc::symlink(target.as_ptr(), link.as_ptr()) }.into())?;
    }
    Ok(())
}

fn mount_path(index: usize, bind: &Bind) -> Done {
    let tree = bind.taken.load(SeqCst);
    // SAFETY: the paths end with NUL; the tree is a descriptor of ours, closed once.
    unsafe {
        let (empty, target) = (c"".as_ptr(), bind.target.as_ptr());
        let flags = MOVE_MOUNT_F_EMPTY_PATH;
        let moved = libc::syscall(libc::SYS_move_mount, tree, empty, libc::AT_FDCWD, target, flags);
        check(Step::Mount, index, moved)?;
        libc::close(tree);
    }
    Ok(())
}

/// The directory that the process stands in becomes its root; the old root, which lands on top of
/// it, is let go of.
fn change_root() -> Done {
    // SAFETY: literals that end with NUL.
    unsafe {
        let here = c".".as_ptr();
        check(Step::Pivot, 0, libc::syscall(libc::SYS_pivot_root, here, here))?;
        check(Step::Pivot, 0, libc::umount2(here, libc::MNT_DETACH).into())?;
        check(Step::Pivot, 0, libc::chdir(c"/".as_ptr()).into()).map(drop)
    }
}

/// What is mounted in it keeps its own: `/tmp` stays writable.
fn make_root_read_only() -> Done {
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    set_attributes(Step::RootReadOnly, 0, libc::AT_FDCWD, c"/", 0, attributes)
}

/// `/tmp` did not exist when the ruleset was made.
fn allow_scratch(plan: &Plan, root: &Root) -> Done {
    let (Some(ruleset), Some(_)) = (plan.rulesets.first(), &root.scratch) else { return Ok(()) };
    const PATH_BENEATH: c_int = 1;
    // SAFETY: a literal that ends with NUL; the descriptor is closed once.
    unsafe {
        let directory = libc::open(c"/tmp".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        check(Step::Landlock, 0, directory.into())?;
        let rule = PathRule { allowed: root.writing, directory };
        let added =
            libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0);
        let added = check(Step::Landlock, 0, added);
        libc::close(directory);
        added.map(drop)
    }
}

fn change_directory(plan: &Plan) -> Done {
    // SAFETY: the path ends with NUL.
    check(Step::WorkingDirectory, 0, unsafe { libc::chdir(plan.directory.as_ptr()) }.into()).map(drop)
}

/// Copies each descriptor to its number. All sources have higher numbers than all targets.
fn place_descriptors(plan: &Plan) -> Done {
    for (index, (descriptor, number)) in plan.places.iter().enumerate() {
        // SAFETY: dup2 in this process's own table; its numbers are its own.
        let copied = unsafe { libc::dup2(descriptor.as_raw_fd(), *number) };
        check(Step::Descriptors, index, copied.into())?;
    }
    Ok(())
}

/// Everything else is closed by `execve`; until then, some of it is still needed.
fn close_others(plan: &Plan) -> Done {
    for &(first, last) in &plan.gaps {
        let flags = libc::CLOSE_RANGE_CLOEXEC as c_uint;
        // SAFETY: it takes numbers only, and closes nothing yet.
        let marked = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
        if marked < 0 {
            mark_one_by_one(first, last)?;
        }
    }
    Ok(())
}

/// For kernels before 5.11.
fn mark_one_by_one(first: c_uint, last: c_uint) -> Done {
    // SAFETY: sysconf takes a number.
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    if most < 0 {
        return Err(Failure(Step::CloseDescriptors, 0, errno()));
    }
    for number in c_long::from(first)..most.min(c_long::from(last)) {
        // SAFETY: numbers that are no descriptors are refused.
        unsafe { libc::fcntl(number as c_int, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

fn set_limits(plan: &Plan) -> Done {
    for (index, (resource, limit)) in plan.limits.iter().enumerate() {
        let none = std::ptr::null_mut::<libc::rlimit64>();
        // SAFETY: the kernel reads the limit and writes nothing.
        let set = unsafe { libc::syscall(libc::SYS_prlimit64, 0, *resource, limit, none) };
        check(Step::Limits, index, set)?;
    }
    Ok(())
}

/// None are left, and `execve` gives root none back: the set of those that it may is emptied first.
fn drop_capabilities() -> Done {
    for capability in 0..64 {
        // Unknown ones are refused, and without privileges all are: then there are none to give up.
        control(libc::PR_CAPBSET_DROP, capability);
    }
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let nothing = [0_u32; 6];
    // SAFETY: the header and two sets of three numbers, as version 3 has them.
    let set = unsafe { libc::syscall(libc::SYS_capset, &header, nothing.as_ptr()) };
    check(Step::Capabilities, 0, set).map(drop)
}

/// No program that it executes has more rights than it, whatever its file says; without this neither
/// Landlock nor seccomp is for ordinary users.
fn give_up_privileges() -> Done {
    check(Step::NoNewPrivileges, 0, control(libc::PR_SET_NO_NEW_PRIVS, 1)).map(drop)
}

fn enforce_landlock(plan: &Plan) -> Done {
    for (index, ruleset) in plan.rulesets.iter().enumerate() {
        let ruleset = ruleset.as_raw_fd();
        // SAFETY: numbers only.
        let enforced = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) };
        check(Step::Landlock, index, enforced)?;
    }
    Ok(())
}

/// The last step: from here on, what the filters refuse is refused to this function too.
fn install_filters(plan: &Plan) -> Done {
    for (index, filter) in plan.filters.iter().enumerate() {
        let program =
            libc::sock_fprog { len: (filter.len() / 8) as u16, filter: filter.as_ptr().cast_mut().cast() };
        let mode = c_ulong::from(libc::SECCOMP_MODE_FILTER);
        // SAFETY: the kernel copies `len` instructions of 8 bytes, which the filter has.
        let installed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &program) };
        check(Step::Seccomp, index, installed.into())?;
    }
    Ok(())
}

/// Returns only where it fails.
fn execute(plan: &Plan) -> Failure {
    // SAFETY: a path that ends with NUL, and lists that end with null.
    unsafe { libc::execve(plan.program.as_ptr(), plan.arguments.as_ptr(), plan.environment.as_ptr()) };
    Failure(Step::Execute, 0, errno())
}
