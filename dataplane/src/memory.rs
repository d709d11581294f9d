//! Memory that several processes or the kernel share: a memfd, mapped once.
//!
//! The mapping is handed out as a raw pointer and a length, never as a slice: whoever maps it knows who else writes to
//! it. A [`Pool`](crate::pool::Pool) may form references because nobody but its worker (and the kernel, for chunks
//! that were lent to it) touches its memory; a memif region may not, because a peer writes there at any moment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::ptr::NonNull;

/// Size of the huge pages that [`Memory::create`] asks for.
pub const HUGE_PAGE: usize = 2 << 20;

/// A mapped, shared piece of memory with the file that stands behind it.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
    file: File,
    huge: bool,
}

// SAFETY: the mapping is plain memory that stays where it is until drop; all access goes through raw pointers whose
// users answer for exclusion.
unsafe impl Send for Memory {}
// SAFETY: as above; `&Memory` gives out only the address and length.
unsafe impl Sync for Memory {}

impl Memory {
    /// Creates a memfd of at least `len` bytes and maps it; on huge pages where the machine has enough free ones.
    ///
    /// # Errors
    /// What `memfd_create`, `ftruncate` or `mmap` said.
    pub fn create(name: &str, len: usize) -> io::Result<Self> {
        let rounded = len.next_multiple_of(HUGE_PAGE);
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        if let Ok(memory) = Self::create_with(name, rounded, flags | libc::MFD_HUGETLB, true) {
            return Ok(memory);
        }
        Self::create_with(name, len.next_multiple_of(4096), flags, false)
    }

    fn create_with(name: &str, len: usize, flags: libc::c_uint, huge: bool) -> io::Result<Self> {
        let name = std::ffi::CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: `name` is a NUL-terminated string that outlives the call.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(len as u64)?;
        // Populate now: a huge page that is not there must fail here and not as SIGBUS in the packet path.
        Self::map(file, len, huge, libc::MAP_POPULATE)
    }

    /// Maps the first `len` bytes of `file`, which someone else created.
    ///
    /// # Errors
    /// What `mmap` said.
    pub fn from_file(file: File, len: usize) -> io::Result<Self> {
        Self::map(file, len, false, 0)
    }

    fn map(file: File, len: usize, huge: bool, flags: libc::c_int) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; nothing is replaced.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | flags,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        Ok(Self { base, len, file, huge })
    }

    /// First byte of the mapping.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes mapped.
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether huge pages stand behind it.
    pub fn is_huge(&self) -> bool {
        self.huge
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of the mapping made in `map`, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
