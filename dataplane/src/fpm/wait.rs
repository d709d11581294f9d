//! Waiting for several things at once, one of which is being told to stop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::time::{Duration, Instant};

/// Wakes a thread, to tell it something.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    fd: Arc<OwnedFd>,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    stop: AtomicBool,
    again: AtomicBool,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd: Arc::new(fd), said: Arc::default() })
    }

    /// End.
    pub fn stop(&self) {
        self.said.stop.store(true, Release);
        self.ring();
    }

    /// Begin anew.
    pub fn again(&self) {
        self.said.again.store(true, Release);
        self.ring();
    }

    fn ring(&self) {
        let one = 1_u64;
        // SAFETY: an eventfd takes 8 bytes, which are given. A full counter (EAGAIN) rings as well.
        unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    pub fn is_stopped(&self) -> bool {
        self.said.stop.load(Acquire)
    }

    /// Whether to begin anew; told once.
    pub fn take_again(&self) -> bool {
        let mut count = 0_u64;
        // SAFETY: an eventfd gives 8 bytes, for which there is room; nothing to read (EAGAIN) is fine.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
        self.said.again.swap(false, AcqRel)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits until one of them can be read (or has ended), or until `deadline`; which of them can.
pub(super) fn wait<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polls = fds.map(|fd| {
        // A negative descriptor is passed over.
        libc::pollfd { fd: fd.map_or(-1, |fd| fd.as_raw_fd()), events: libc::POLLIN, revents: 0 }
    });
    let timeout = deadline.map_or(-1, |deadline| {
        // Rounded up, so that it has passed when we wake.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        libc::c_int::try_from(left.as_millis()).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: an array of `N` entries that outlives the call.
    let got = unsafe { libc::poll(polls.as_mut_ptr(), N as libc::nfds_t, timeout) };
    match got {
        0.. => Ok(polls.map(|poll| poll.revents != 0)),
        _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until `stream` takes more bytes or is broken, or `bell` is rung.
pub(super) fn wait_to_write(bell: BorrowedFd<'_>, stream: BorrowedFd<'_>) -> io::Result<()> {
    let poll = |fd: BorrowedFd<'_>, events| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let mut polls = [poll(bell, libc::POLLIN), poll(stream, libc::POLLOUT)];
    // SAFETY: two entries that outlive the call.
    match unsafe { libc::poll(polls.as_mut_ptr(), 2, -1) } {
        -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether whoever is at the other end of a connection has gone, though not all that it sent has been read yet.
pub(super) fn hung_up(connection: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: connection.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one entry that outlives the call; no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
    poll.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
}
