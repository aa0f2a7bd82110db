//! Bytes to and from a process that may never take or give them.

use crate::{Failure, Limits};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// How often it is looked whether anybody waits still.
const LOOK: Duration = Duration::from_millis(20);

/// One exchange of bytes.
pub(crate) struct Pipe<'a> {
    pub(crate) longest: Duration,
    pub(crate) end: Instant,
    pub(crate) stops: &'a dyn Fn() -> bool,
    pub(crate) limits: Limits,
}

impl Pipe<'_> {
    pub(crate) fn write(&self, to: &mut (impl Write + AsRawFd), mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let fd = to.as_raw_fd();
            let written = self.once(fd, libc::POLLOUT, || to.write(bytes))?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    pub(crate) fn read(&self, from: &mut (impl Read + AsRawFd), mut bytes: &mut [u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let fd = from.as_raw_fd();
            let read = self.once(fd, libc::POLLIN, || from.read(bytes))?;
            bytes = &mut std::mem::take(&mut bytes)[read..];
        }
        Ok(())
    }

    /// Moves some bytes, once that is possible. None are moved only where the other end is gone.
    fn once(
        &self,
        fd: RawFd,
        event: libc::c_short,
        mut step: impl FnMut() -> io::Result<usize>,
    ) -> Result<usize, Failure> {
        loop {
            match step() {
                Ok(0) => return Err(Failure::Memory(self.limits)),
                Ok(count) => return Ok(count),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    return Err(Failure::Memory(self.limits));
                }
                Err(error) => return Err(Failure::System(error)),
            }
            self.wait(fd, event)?;
        }
    }

    fn wait(&self, fd: RawFd, event: libc::c_short) -> Result<(), Failure> {
        if (self.stops)() {
            return Err(Failure::Stopped);
        }
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::Time(self.longest));
        }
        let milliseconds = left.min(LOOK).as_millis().max(1);
        let mut polled = libc::pollfd { fd, events: event, revents: 0 };
        // SAFETY: one structure is given, of which the kernel writes `revents` only. An interrupted call
        // is as good as one that found nothing.
        unsafe { libc::poll(&mut polled, 1, milliseconds as libc::c_int) };
        Ok(())
    }
}

/// Makes reads and writes return rather than wait.
pub(crate) fn never_block(pipe: &impl AsRawFd) -> io::Result<()> {
    let fd = pipe.as_raw_fd();
    // SAFETY: the descriptor is open, and the calls change nothing but its flags.
    let done = unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        flags >= 0 && libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) >= 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}
