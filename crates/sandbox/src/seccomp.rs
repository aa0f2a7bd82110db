//! Which system calls a process can make.
//!
//! An interpreter gets a list of what is allowed, its candidates a short list of what they give up
//! besides; a command gets a list of what is denied. What is refused fails with EPERM.

use crate::Error;
use libc::{CLONE_THREAD, O_ACCMODE, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, c_long};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Stands in a [child's filter](denied_to_children) for its process number; above every number that
/// the kernel gives.
pub(crate) const OWN_PID: u32 = 0x7eed_0001;

/// What an interpreter and its candidates need to compute, to have threads and to tell the time.
const ALWAYS: &[c_long] = &[
    // Descriptors they already have.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    // Sockets they already have.
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_membarrier,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals within the process, and clocks.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    // Who and where they are.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getcwd,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_getrlimit,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    // Names of files: whether they may be opened is decided elsewhere.
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
];

/// Calls that only older binaries on x86-64 make, which have successors above.
#[cfg(target_arch = "x86_64")]
const ALWAYS_OLD: &[c_long] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_time,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_OLD: &[c_long] = &[];

/// What the interpreter does with its children, its descriptors' messages and its priority; children
/// give it up.
const INTERPRETER_ONLY: &[c_long] = &[
    libc::SYS_wait4,
    libc::SYS_setsid,
    libc::SYS_setpriority,
    libc::SYS_prctl,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
];

/// What can be asked of a descriptor by `fcntl`. The rest makes the kernel send signals to others
/// (F_SETOWN, F_SETSIG, F_NOTIFY, F_SETLEASE) or takes locks that others would wait for.
const DESCRIPTOR_COMMANDS: &[i32] = &[
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETPIPE_SZ,
];

/// What can be asked by `ioctl`: blocking, how much is there, inheritance, whether it is a terminal.
/// The last is TCGETS2, which newer C libraries use.
const DEVICE_COMMANDS: &[u64] = &[
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::FIONCLEX,
    libc::TCGETS,
    libc::TIOCGWINSZ,
    0x802c_542a,
];

/// What no command is given: other processes' memory, mounts, namespaces, keys, programs in the
/// kernel, the machine's settings.
const DENIED_TO_COMMANDS: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_personality,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
];

/// The same of x86-64 alone.
#[cfg(target_arch = "x86_64")]
const DENIED_TO_COMMANDS_OLD: &[c_long] =
    &[libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_TO_COMMANDS_OLD: &[c_long] = &[];

/// What signals other processes.
const SIGNALS: &[c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
];

const NEW_NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// The interpreter's filters: everything that is not listed is refused. With `open_files`, files may
/// be opened (Landlock decides which, and to do what); without, none may be opened.
pub(crate) fn interpreter(open_files: bool) -> Result<Vec<Vec<u8>>, Error> {
    let listed = ALWAYS.iter().chain(ALWAYS_OLD).chain(INTERPRETER_ONLY);
    let mut rules: Rules = listed.map(|&call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_kill, Vec::new());
    rules.insert(libc::SYS_tgkill, Vec::new());
    rules.insert(libc::SYS_prlimit64, Vec::new());
    rules.insert(libc::SYS_clone, vec![rule(&[(0, Qword, MaskedEq(NEW_NAMESPACES as u32 as u64), 0)])?]);
    let commands = |known: &[u64]| {
        known.iter().map(|&command| rule(&[(1, Dword, Eq, command)])).collect::<Result<Vec<_>, _>>()
    };
    let descriptor_commands: Vec<u64> = DESCRIPTOR_COMMANDS.iter().map(|&command| command as u64).collect();
    rules.insert(libc::SYS_fcntl, commands(&descriptor_commands)?);
    rules.insert(libc::SYS_ioctl, commands(DEVICE_COMMANDS)?);
    rules.insert(libc::SYS_socketpair, stream_pair()?);
    // No address: a datagram socket could otherwise reach others by name.
    rules.insert(libc::SYS_sendto, vec![rule(&[(4, Qword, Eq, 0)])?]);
    if open_files {
        rules.insert(libc::SYS_openat, opening(2)?);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, opening(1)?);
    }
    Ok(vec![without_clone3()?, compile(rules, errno(libc::EPERM), SeccompAction::Allow)?])
}

/// A pair of connected Unix stream sockets, as event loops use to wake themselves.
fn stream_pair() -> Result<Vec<SeccompRule>, Error> {
    let kind = MaskedEq(0xf);
    let family = (0, Dword, Eq, libc::AF_UNIX as u64);
    Ok(vec![rule(&[family, (1, Dword, kind, libc::SOCK_STREAM as u64)])?])
}

/// Files opened for reading or for writing. Two ways go around the first versions of Landlock:
/// truncation of a file that is opened for reading, and the access mode 3, which is neither.
fn opening(flags: u8) -> Result<Vec<SeccompRule>, Error> {
    let mode = |mode: i32| (flags, Dword, MaskedEq(O_ACCMODE as u64), mode as u64);
    let no_truncation = (flags, Dword, MaskedEq(O_TRUNC as u64), 0);
    Ok(vec![rule(&[mode(O_RDONLY), no_truncation])?, rule(&[mode(O_WRONLY)])?, rule(&[mode(O_RDWR)])?])
}

/// `clone3` hides its flags from filters. ENOSYS makes the C library take `clone` instead, where
/// EPERM would break threads.
fn without_clone3() -> Result<Vec<u8>, Error> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    compile(rules, SeccompAction::Allow, errno(libc::ENOSYS))
}

/// The candidates' filter, short because every one installs it: no processes (threads are allowed),
/// signals to itself alone (its number stands where [`OWN_PID`] does), no limits of its own making
/// but the stack's, no descriptors by message.
pub(crate) fn denied_to_children() -> Result<Vec<u8>, Error> {
    let mut rules: Rules = INTERPRETER_ONLY.iter().map(|&call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![rule(&[(0, Qword, MaskedEq(CLONE_THREAD as u64), 0)])?]);
    let others = || rule(&[(0, Dword, Ne, u64::from(OWN_PID))]);
    rules.insert(libc::SYS_kill, vec![others()?]);
    rules.insert(libc::SYS_tgkill, vec![others()?]);
    // Reading limits is harmless; Python's resource module does.
    let setting = || (2, Qword, Ne, 0);
    let not_stack = (1, Dword, Ne, libc::RLIMIT_STACK as u64);
    let not_self = (0, Dword, Ne, 0);
    rules.insert(libc::SYS_prlimit64, vec![rule(&[setting(), not_stack])?, rule(&[setting(), not_self])?]);
    compile(rules, SeccompAction::Allow, errno(libc::EPERM))
}

/// What a command's filters depend on.
pub(crate) struct CommandRules {
    /// Whether Unix sockets can reach nobody: their names lie in a root directory of its own.
    pub(crate) unix_sockets: bool,
    /// Whether signals can reach nobody outside.
    pub(crate) signals: bool,
    /// Whether it may leave its session and process group: all descendants end with it anyway.
    pub(crate) sessions: bool,
}

/// A command's filters: everything that is not listed is allowed.
pub(crate) fn command(allowed: &CommandRules) -> Result<Vec<Vec<u8>>, Error> {
    let listed = DENIED_TO_COMMANDS.iter().chain(DENIED_TO_COMMANDS_OLD);
    let mut rules: Rules = listed.map(|&call| (call, Vec::new())).collect();
    if !allowed.signals {
        rules.extend(SIGNALS.iter().map(|&call| (call, Vec::new())));
    }
    if !allowed.sessions {
        rules.extend([libc::SYS_setsid, libc::SYS_setpgid].map(|call| (call, Vec::new())));
    }
    let mut namespaces = Vec::new();
    for bit in (0..32).map(|bit| 1_u64 << bit).filter(|bit| NEW_NAMESPACES as u32 as u64 & bit != 0) {
        namespaces.push(rule(&[(0, Qword, MaskedEq(bit), bit)])?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    let not_unix = || rule(&[(0, Dword, Ne, libc::AF_UNIX as u64)]);
    rules.insert(libc::SYS_socket, if allowed.unix_sockets { vec![not_unix()?] } else { Vec::new() });
    let mut pairs = vec![not_unix()?];
    if !allowed.unix_sockets {
        // Datagrams can be sent to others by name; for Unix sockets, raw ones are datagrams.
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
            pairs.push(rule(&[(1, Dword, MaskedEq(0xf), kind as u64)])?);
        }
    }
    rules.insert(libc::SYS_socketpair, pairs);
    // It stays tied to this program's life, and typing into terminals is not for it.
    rules.insert(libc::SYS_prctl, vec![rule(&[(0, Dword, Eq, libc::PR_SET_PDEATHSIG as u64)])?]);
    rules.insert(libc::SYS_ioctl, vec![rule(&[(1, Dword, Eq, libc::TIOCSTI)])?]);
    let mut denied = compile(rules, SeccompAction::Allow, errno(libc::EPERM))?;
    if cfg!(target_arch = "x86_64") {
        denied.splice(0..0, without_x32());
    }
    Ok(vec![without_clone3()?, denied])
}

/// Every call of x86-64 has a second number, for programs with 32-bit pointers. A list of what is
/// denied would have to name both; instead the second kind is refused as if the kernel had none.
fn without_x32() -> Vec<u8> {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    [(LOAD_NUMBER, 0, 0, 0), (JUMP_IF_BIT, 0, 1, 0x4000_0000), (RETURN, 0, 0, refused)]
        .into_iter()
        .flat_map(|(code, yes, no, k)| instruction(code, yes, no, k))
        .collect()
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number as u32)
}

/// A rule that applies where all conditions hold: argument, its width, comparison, value.
fn rule(conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)]) -> Result<SeccompRule, Error> {
    let unavailable = |error: seccompiler::BackendError| Error::Seccomp(error.to_string());
    let conditions = conditions.iter().map(|(argument, width, operator, value)| {
        SeccompCondition::new(*argument, width.clone(), operator.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>().map_err(unavailable)?).map_err(unavailable)
}

fn compile(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<Vec<u8>, Error> {
    let unavailable = |error: seccompiler::BackendError| Error::Seccomp(error.to_string());
    let architecture = std::env::consts::ARCH.try_into().map_err(unavailable)?;
    let filter = SeccompFilter::new(rules, otherwise, listed, architecture).map_err(unavailable)?;
    let program: BpfProgram = filter.try_into().map_err(unavailable)?;
    Ok(program.iter().flat_map(|line| instruction(line.code, line.jt, line.jf, line.k)).collect())
}

/// An instruction in the kernel's form, `struct sock_filter`.
fn instruction(code: u16, yes: u8, no: u8, k: u32) -> [u8; 8] {
    let ([c0, c1], [k0, k1, k2, k3]) = (code.to_ne_bytes(), k.to_ne_bytes());
    [c0, c1, yes, no, k0, k1, k2, k3]
}
