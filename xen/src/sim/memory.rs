//! Memory files of the simulated machine: mapped whole, or a page of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use crate::PAGE;

/// A mapped file.
#[derive(Debug)]
pub(super) struct Mapped {
    base: NonNull<u8>,
    len: usize,
    file: File,
}

// SAFETY: plain memory that stays until drop, used through raw pointers and atomics only.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Makes a memfd of `pages` pages that nobody can shrink.
    pub(super) fn create(pages: usize) -> io::Result<Self> {
        // SAFETY: the name is NUL-terminated; the result is checked.
        let fd = unsafe { libc::memfd_create(c"xen-sim".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len((pages * PAGE) as u64)?;
        // SAFETY: seals take no pointers.
        let sealed =
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW) };
        if sealed != 0 {
            return Err(io::Error::last_os_error());
        }
        Self::map(file, true)
    }

    /// Maps all of a file.
    pub(super) fn map(file: File, write: bool) -> io::Result<Self> {
        let len = file.metadata()?.len() as usize;
        let base = map_pages(file.as_fd(), 0, len / PAGE, write, None)?;
        Ok(Self { base, len, file })
    }

    pub(super) fn pages(&self) -> usize {
        self.len / PAGE
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The page of that number, if there is one.
    pub(super) fn page(&self, frame: usize) -> Option<NonNull<u8>> {
        // SAFETY: the page lies in the mapping.
        (frame < self.pages()).then(|| unsafe { self.base.add(frame * PAGE) })
    }

    /// The word of that number.
    pub(super) fn word(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.len / 4, "no word {index} in {} bytes", self.len);
        // SAFETY: the word lies in the mapping and is aligned; everyone accesses these words atomically.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().cast::<u32>().add(index)) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        unmap(self.base, self.len);
    }
}

/// Maps `pages` pages of `file` from `frame` on, over the page at `over` where given.
pub(super) fn map_pages(
    file: BorrowedFd<'_>,
    frame: usize,
    pages: usize,
    write: bool,
    over: Option<NonNull<u8>>,
) -> io::Result<NonNull<u8>> {
    let access = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let (at, fixed) = over.map_or((std::ptr::null_mut(), 0), |over| (over.as_ptr().cast(), libc::MAP_FIXED));
    let flags = libc::MAP_SHARED | fixed;
    // SAFETY: a fresh mapping; with `over` it replaces one that the caller reserved for it.
    let base = unsafe { libc::mmap(at, pages * PAGE, access, flags, file.as_raw_fd(), (frame * PAGE) as libc::off_t) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))
}

/// Addresses for `pages` pages, with nothing behind them yet.
pub(super) fn reserve(pages: usize) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping that nobody can access.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), pages * PAGE, libc::PROT_NONE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))
}

/// Ends a mapping made here.
pub(super) fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: the caller owns the mapping and gives it up.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

/// Copies bytes that others may be writing to.
///
/// # Safety
/// `len` bytes are mapped readable at `from` and writable at `to`.
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's word; the two may overlap.
    unsafe { std::ptr::copy(from, to, len) };
}
