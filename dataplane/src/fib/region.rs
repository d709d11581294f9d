//! Memory for tables that workers read while they are changed: words of atomics, zero until written.
//!
//! It is reserved in full and backed by pages as it is written, so a table may be laid out for the largest it can
//! become. On huge pages where the kernel has them: a look-up at random over 64 MiB would else miss the TLB each time.
//! Never given back before the region is dropped, so a reader that comes late reads a wrong word, but a word.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::memory::HUGE_PAGE;

/// What a region may consist of.
///
/// # Safety
/// All bits zero must be a value of the type, which must need no drop and be changed through `&` alone.
pub(super) unsafe trait Word: Sync {}

// SAFETY: an integer; zero is one, and it is changed atomically.
unsafe impl Word for AtomicU32 {}
// SAFETY: as above.
unsafe impl Word for AtomicU64 {}

/// Words in a mapping of their own.
#[derive(Debug)]
pub(super) struct Region<W> {
    map: NonNull<u8>,
    mapped: usize,
    words: NonNull<W>,
    len: usize,
}

// SAFETY: the mapping stays where it is until drop, and its words are atomics.
unsafe impl<W: Word> Send for Region<W> {}
// SAFETY: as above.
unsafe impl<W: Word> Sync for Region<W> {}

impl<W: Word> Region<W> {
    /// Reserves room for `len` words, all zero.
    ///
    /// # Errors
    /// What `mmap` said: no room in the address space, or none that the system commits itself to.
    pub(super) fn reserve(len: usize) -> io::Result<Self> {
        let bytes = (len * size_of::<W>()).next_multiple_of(HUGE_PAGE);
        // One huge page more, so that it can begin at the border of one.
        let mapped = bytes + HUGE_PAGE;
        // SAFETY: a fresh private mapping at an address of the kernel's choice; nothing is replaced.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast::<u8>()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        // SAFETY: the offset is less than a huge page, which is what was mapped in excess.
        let start = unsafe { map.add(map.align_offset(HUGE_PAGE)) };
        // SAFETY: the range lies in the mapping. It is advice: a kernel without huge pages refuses it, and small ones do.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Ok(Self { map, mapped, words: start.cast(), len })
    }

    /// All of its words.
    #[inline(always)]
    pub(super) fn words(&self) -> &[W] {
        // SAFETY: `len` words were mapped from `words` on, aligned to a huge page; all bits zero are a word and so is
        // whatever was stored since (`Word`). The mapping lasts as long as `self`.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }
}

impl<W> Drop for Region<W> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `reserve`, unmapped only here; `words` borrows from `self`.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.mapped) };
    }
}
