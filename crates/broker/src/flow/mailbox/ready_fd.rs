//! A descriptor that is readable exactly while its consumer has something to read.
//!
//! It carries no data: a consumer polls it with `select`, `poll` or an event loop and never reads
//! it. The owner raises and lowers it; both are idempotent and cost one system call only when the
//! state changes. On Linux it is an event counter, elsewhere a pipe holding at most one byte.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// A descriptor raised (readable) or lowered (not readable) by its owner.
#[derive(Debug)]
pub(crate) struct ReadyFd {
    reader: OwnedFd,
    /// The other end of the pipe; the event counter needs none.
    writer: Option<OwnedFd>,
    raised: bool,
}

impl ReadyFd {
    /// Opens a lowered descriptor.
    ///
    /// # Errors
    ///
    /// Fails when the process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = open()?;
        Ok(Self {
            reader,
            writer,
            raised: false,
        })
    }

    /// Makes the descriptor readable.
    pub(crate) fn raise(&mut self) {
        if self.raised {
            return;
        }
        self.raised = true;
        let target = self.writer.as_ref().unwrap_or(&self.reader);
        // Eight bytes suit the counter; the pipe takes them as eight bytes of no meaning. The only
        // expected failure is a full pipe, which is readable already.
        retry(|| rustix::io::write(target, &1u64.to_ne_bytes()));
    }

    /// Makes the descriptor not readable.
    pub(crate) fn lower(&mut self) {
        if !self.raised {
            return;
        }
        self.raised = false;
        let mut sink = [0u8; 16];
        retry(|| rustix::io::read(&self.reader, &mut sink));
    }
}

impl AsRawFd for ReadyFd {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

impl AsFd for ReadyFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Repeats a call that a signal interrupted; other failures leave the state as it is.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) {
    while let Err(Errno::INTR) = call() {}
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    use rustix::event::{EventfdFlags, eventfd};
    Ok((
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        None,
    ))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use rustix::io::{FdFlags, fcntl_setfd};
    let (reader, writer) = rustix::pipe::pipe()?;
    for end in [&reader, &writer] {
        fcntl_setfd(end, FdFlags::CLOEXEC)?;
        fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
    }
    Ok((reader, Some(writer)))
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn readable(fd: &ReadyFd) -> bool {
        let mut set = [PollFd::new(fd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut set, Some(&now)).unwrap() == 1
    }

    #[test]
    fn is_readable_exactly_while_raised() {
        let mut fd = ReadyFd::new().unwrap();
        assert!(!readable(&fd));
        fd.raise();
        fd.raise();
        assert!(readable(&fd));
        fd.lower();
        assert!(!readable(&fd));
        fd.lower();
        fd.raise();
        assert!(readable(&fd));
    }
}
