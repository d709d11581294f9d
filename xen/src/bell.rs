//! An eventfd: how a thread is woken.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A fresh one.
pub(crate) fn create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes it readable. Nobody but us has it, so this never waits.
pub(crate) fn ring(fd: BorrowedFd<'_>) {
    let one = 1u64;
    // SAFETY: eight bytes are given. A full counter (EAGAIN) rings as well.
    unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Makes it silent again.
#[cfg(feature = "vif")]
pub(crate) fn clear(fd: BorrowedFd<'_>) {
    let mut count = 0u64;
    // SAFETY: eight bytes are given. That it was silent (EAGAIN) is fine.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
}

/// Waits until one of them is readable, or `millis` are over; forever where negative.
pub(crate) fn wait(fds: &[BorrowedFd<'_>], millis: i32) {
    let mut polls: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the vector is valid for its length.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, millis) };
}
