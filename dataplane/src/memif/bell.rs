//! Waking a peer that sleeps, without ever being made to wait by it.
//!
//! A ring comes with an eventfd; whoever fills the ring writes to it unless the other side polls. But the open file is
//! shared with the peer, and `O_NONBLOCK` belongs to the open file: a hostile peer clears it, fills the counter, and the
//! next `write` sleeps for ever, and the worker with it. So a worker does not write. It submits an asynchronous read of
//! nothing from `/dev/null` (`io_submit`) and names the eventfd as the one to signal when that is done, which is at
//! once: inside the kernel a signal adds one and never waits. One system call, as `write` would be.
//!
//! Where the kernel has no AIO or no context left (`fs.aio-max-nr`), `write` is used after all.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// A way to wake the other side of a ring, and to be woken by it, where that is no eventfd.
pub trait Bell: Send + Sync + std::fmt::Debug {
    /// Wakes the other side. Must not wait for anything.
    fn ring(&self);

    /// Becomes readable when the other side rings.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Whoever slept is awake: makes what rang unreadable, so that it can ring again.
    fn heard(&self);
}

/// What wakes whoever empties a ring.
#[derive(Clone, Debug)]
pub(super) enum Wake {
    /// As memif has it.
    Eventfd(Arc<OwnedFd>),
    /// Something else.
    Foreign(Arc<dyn Bell>),
}

impl Wake {
    /// Wakes the other side, never waiting for anyone.
    #[inline]
    pub(super) fn ring(&self) {
        match self {
            Self::Eventfd(event) => ring(event.as_fd()),
            Self::Foreign(bell) => bell.ring(),
        }
    }

    /// What a sleeper watches, for edges.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Eventfd(event) => event.as_fd(),
            Self::Foreign(bell) => bell.fd(),
        }
    }

    /// The sleeper is awake. An eventfd that is watched for edges need not be read.
    pub(super) fn heard(&self) {
        if let Self::Foreign(bell) = self {
            bell.heard();
        }
    }

    /// Whether they are one and the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Eventfd(a), Self::Eventfd(b)) => Arc::ptr_eq(a, b),
            (Self::Foreign(a), Self::Foreign(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Completions that may lie unread in the context.
const DEPTH: usize = 64;

/// `struct iocb` of `linux/aio_abi.h`, little-endian order of the two halves of its second word.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Completion {
    data: u64,
    request: u64,
    result: i64,
    result2: i64,
}

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_FLAG_RESFD: u32 = 1;

/// A thread's way to signal eventfds.
struct Signals {
    /// AIO context and the file that is read from; `None` where there is no AIO.
    aio: Option<(libc::c_ulong, File)>,
    unread: usize,
}

thread_local! {
    static SIGNALS: RefCell<Signals> = RefCell::new(Signals::new());
}

/// Signals `event`, never waiting for anyone.
pub fn ring(event: BorrowedFd<'_>) {
    SIGNALS.with_borrow_mut(|signals| signals.ring(event));
}

/// A fresh eventfd.
///
/// # Errors
/// No descriptor left.
pub fn create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether a descriptor that a peer passed is an eventfd and nothing else.
pub fn is_eventfd(fd: BorrowedFd<'_>) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    link.is_ok_and(|target| target.as_os_str() == "anon_inode:[eventfd]")
}

/// Adds one by `write`: for eventfds that are our own and nobody else's.
pub fn write(event: BorrowedFd<'_>) {
    let one = 1u64;
    // SAFETY: an eventfd takes 8 bytes, which are given. A full counter (EAGAIN) wakes as well.
    unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

impl Signals {
    fn new() -> Self {
        let aio = File::open("/dev/null").ok().and_then(|null| {
            let mut context: libc::c_ulong = 0;
            // SAFETY: `context` is a valid place for the result.
            let done = unsafe { libc::syscall(libc::SYS_io_setup, DEPTH, &raw mut context) };
            (done == 0).then_some((context, null))
        });
        Self { aio, unread: 0 }
    }

    fn ring(&mut self, event: BorrowedFd<'_>) {
        let Some((context, null)) = &self.aio else {
            write(event);
            return;
        };
        let mut request = Iocb {
            opcode: IOCB_CMD_PREAD,
            fd: null.as_raw_fd() as u32,
            flags: IOCB_FLAG_RESFD,
            eventfd: event.as_raw_fd() as u32,
            ..Iocb::default()
        };
        let mut requests = [&raw mut request];
        // SAFETY: one valid request; a read of no bytes touches no buffer; the call copies the request.
        unsafe { libc::syscall(libc::SYS_io_submit, *context, 1usize, requests.as_mut_ptr()) };
        self.unread += 1;
        if self.unread >= DEPTH / 2 {
            let mut done = [Completion::default(); DEPTH];
            // SAFETY: room for as many events as are asked for; no timeout, and a minimum of none, so it returns at once.
            unsafe {
                let none = std::ptr::null_mut::<libc::timespec>();
                libc::syscall(libc::SYS_io_getevents, *context, 0usize, DEPTH, done.as_mut_ptr(), none);
            }
            self.unread = 0;
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some((context, _)) = &self.aio {
            // SAFETY: the context is this thread's and used by nobody else.
            unsafe { libc::syscall(libc::SYS_io_destroy, *context) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn count(event: &OwnedFd) -> u64 {
        let mut n = 0u64;
        // SAFETY: 8 bytes of room, which is what an eventfd gives.
        let got = unsafe { libc::read(event.as_raw_fd(), (&raw mut n).cast(), 8) };
        if got == 8 { n } else { 0 }
    }

    #[test]
    fn every_ring_counts_however_many() {
        let event = create().unwrap();
        for _ in 0..5 * DEPTH {
            ring(event.as_fd());
        }
        assert_eq!(count(&event), 5 * DEPTH as u64);
    }

    #[test]
    fn a_full_blocking_eventfd_holds_nobody_up() {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            if SIGNALS.with_borrow(|s| s.aio.is_none()) {
                println!("skipped: this kernel has no AIO context for us");
                tell.send(()).unwrap();
                return;
            }
            // SAFETY: no pointers; a blocking eventfd, as full as write makes it.
            let event = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, 0)) };
            let most = u64::MAX - 1;
            // SAFETY: 8 bytes are given.
            assert_eq!(unsafe { libc::write(event.as_raw_fd(), (&raw const most).cast(), 8) }, 8);
            for _ in 0..2 * DEPTH {
                ring(event.as_fd());
            }
            tell.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(10)).expect("the thread waits for the peer");
    }

    #[test]
    fn only_eventfds_are_eventfds() {
        assert!(is_eventfd(create().unwrap().as_fd()));
        assert!(!is_eventfd(File::open("/dev/null").unwrap().as_fd()));
    }
}
