//! The process: from `fork` to its end.

use crate::Limits;
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// CPU seconds of one request after which the kernel ends a process whose parent cannot: it is gone.
const LONGEST_ALONE: u64 = 60;

/// Forks, on a stack as deep as wished, and returns the process's number.
pub(crate) fn start(
    limits: Limits,
    requests: PipeReader,
    answers: PipeWriter,
    mut serve: impl FnMut(&[u8]) -> Vec<u8> + Send,
) -> io::Result<i32> {
    let most = address_space()?.saturating_add(limits.memory);
    let fork = move || {
        block_signals();
        // SAFETY: the C library's allocator and threads are usable in a copy of a process with several
        // threads (glibc and musl see to it); nothing else that another thread may hold is used there:
        // no standard stream, no environment, no lock. The copy never returns from here.
        match unsafe { libc::fork() } {
            0 => {
                // A panic that went on from here would run this process's code twice.
                let _ = catch_unwind(AssertUnwindSafe(|| live(most, &requests, &answers, &mut serve)));
                // SAFETY: ends the process at once, without what this one has to do at its own end.
                unsafe { libc::_exit(0) }
            }
            pid if pid > 0 => Ok(pid),
            _ => Err(io::Error::last_os_error()),
        }
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(limits.stack).spawn_scoped(scope, fork)?;
        thread.join().map_err(|_| io::Error::other("the thread that forks failed"))?
    })
}

/// Bytes of address space that this process has.
fn address_space() -> io::Result<u64> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    // SAFETY: asks for a constant.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    pages.map(|pages| pages * page).ok_or_else(|| io::Error::other("/proc/self/statm: expected a number"))
}

/// No handler of this program may run in the copy, which shares the pipes that handlers write to: all
/// signals wait there for ever. What the kernel raises for a fault ends the process nevertheless.
fn block_signals() {
    // SAFETY: the set is filled before it is read; the thread whose mask changes ends soon.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigdelset(&mut all, libc::SIGXCPU);
        // That one ends a process that has used up its CPU time.
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// Answers requests until there are no more.
fn live(
    most: u64,
    requests: &PipeReader,
    answers: &PipeWriter,
    serve: &mut dyn FnMut(&[u8]) -> Vec<u8>,
) -> io::Result<()> {
    let (mut requests, mut answers) = take_descriptors(requests.as_raw_fd(), answers.as_raw_fd());
    limit(libc::RLIMIT_AS, most);
    limit(libc::RLIMIT_CORE, 0);
    loop {
        let mut length = [0; 8];
        requests.read_exact(&mut length)?;
        let mut request = vec![0; usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX)];
        requests.read_exact(&mut request)?;
        limit_cpu();
        let answer = serve(&request);
        answers.write_all(&(answer.len() as u64).to_le_bytes())?;
        answers.write_all(&answer)?;
    }
}

/// Makes the two pipes standard input and output, and closes all else: sockets and files of this program
/// must not stay open because a copy of it has them. What the runtime says of a fault on standard error
/// goes nowhere: the failure is told where the answer is waited for.
fn take_descriptors(requests: RawFd, answers: RawFd) -> (ManuallyDrop<File>, ManuallyDrop<File>) {
    // SAFETY: the runtime has seen to it that 0 to 2 are open, so that the pipes are others; whatever
    // owned the descriptors that are closed is never used again in this copy.
    unsafe {
        libc::dup2(requests, 0);
        libc::dup2(answers, 1);
        let nowhere = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY);
        if nowhere >= 0 {
            libc::dup2(nowhere, 2);
        }
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
        (ManuallyDrop::new(File::from_raw_fd(0)), ManuallyDrop::new(File::from_raw_fd(1)))
    }
}

/// Lowers a limit; it is never raised.
fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    // SAFETY: the structure is the caller's; the calls change this process's limits only.
    unsafe {
        let mut old: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(resource, &mut old) == 0 {
            let most = most.min(old.rlim_max);
            libc::setrlimit(resource, &libc::rlimit { rlim_cur: most.min(old.rlim_cur), rlim_max: most });
        }
    }
}

/// Gives the next request its CPU time: the kernel counts that of all before it too.
fn limit_cpu() {
    // SAFETY: as above; a zeroed structure is valid.
    unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        let mut old: libc::rlimit = std::mem::zeroed();
        if libc::getrusage(libc::RUSAGE_SELF, &mut used) == 0
            && libc::getrlimit(libc::RLIMIT_CPU, &mut old) == 0
        {
            let seconds = (used.ru_utime.tv_sec + used.ru_stime.tv_sec).cast_unsigned() + LONGEST_ALONE;
            old.rlim_cur = seconds.min(old.rlim_max);
            libc::setrlimit(libc::RLIMIT_CPU, &old);
        }
    }
}

/// Kills the process and takes its end.
pub(crate) fn end(pid: i32) {
    // SAFETY: the process is a child that has not been waited for: its number is its own.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}
