//! Memory that client and server share: made by the client, checked by the server before a byte of it is touched.
//!
//! The danger is SIGBUS: a file that shrinks under a mapping kills whoever touches what is gone. A peer's region is
//! therefore taken only when it cannot shrink:
//! - its file must carry `F_SEAL_SHRINK`, or let us add it (DPDK and VPP seal their regions themselves);
//! - it must be at least as long as the peer said, looked at *after* sealing;
//! - it must be an ordinary memfd: a hole that the peer punches there reads as zeros. In a file of huge pages it may not
//!   be filled again, and touching it would be SIGBUS too; so huge pages are refused (DPDK's zero-copy mode uses them).
//!
//! A region is plain bytes at an address. Nothing in this crate forms a reference to them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use crate::memory::Memory;

/// Most bytes of all regions of one peer: 16 ring pairs of 16384 buffers of 2048 bytes, with room to spare.
pub const MAX_BYTES: u64 = 2 << 30;

/// Most regions of one peer.
pub const MAX_REGIONS: u16 = 16;

/// Why a peer's region was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// Nothing in it, or more than one peer gets.
    #[error("region of {0} bytes: want 1 to {MAX_BYTES} for all regions")]
    Size(u64),
    /// The file ends before the region does.
    #[error("region of {told} bytes in a file of {file}")]
    Short {
        /// What the message said.
        told: u64,
        /// What there is.
        file: u64,
    },
    /// It can shrink, and we may not forbid it.
    #[error("region is not a memfd sealed with F_SEAL_SHRINK, nor can be sealed")]
    Unsealed,
    /// Huge pages, or no memory file.
    #[error("region is not in ordinary shared memory (huge pages are not taken)")]
    Kind,
    /// The kernel said no.
    #[error("region cannot be mapped: {0}")]
    Map(io::Error),
}

/// A mapped region.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    keeper: Keeper,
}

/// Whose the mapping is; it goes with this.
#[derive(Debug)]
enum Keeper {
    Memory(Memory),
    Foreign(#[expect(dead_code, reason = "it only has to live")] Box<dyn Mapping>),
}

// SAFETY: a region is an address in memory that is shared by nature, with whatever keeps it mapped; the keeper may be sent
// and shared itself.
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` gives out an address.
unsafe impl Sync for Region {}

/// Shared memory that came about otherwise than by memif's handshake.
///
/// # Safety
/// `len` bytes from `base`, which is aligned to a page and never changes, stay mapped readable and writable until the value
/// is dropped, whatever the other side does: touching them never raises a signal.
#[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
pub unsafe trait Mapping: Send + Sync + std::fmt::Debug {
    /// First byte.
    fn base(&self) -> NonNull<u8>;

    /// Bytes.
    fn len(&self) -> usize;
}

impl Region {
    /// Takes memory that others have mapped and made safe.
    pub fn foreign(mapping: Box<dyn Mapping>) -> Self {
        Self { base: mapping.base(), len: mapping.len(), keeper: Keeper::Foreign(mapping) }
    }

    fn of(memory: Memory) -> Self {
        // SAFETY: a mapping is never at address 0.
        let base = unsafe { NonNull::new_unchecked(memory.base()) };
        Self { base, len: memory.len(), keeper: Keeper::Memory(memory) }
    }

    /// Makes the region of a client: ordinary pages, all of them present, of a size that nobody can change any more.
    ///
    /// # Errors
    /// The memory could not be had.
    pub fn create(len: usize) -> io::Result<Self> {
        // SAFETY: the name is NUL-terminated; the result is checked.
        let fd =
            unsafe { libc::memfd_create(c"pointsman-memif".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(len as u64)?;
        add_seals(file.as_fd(), libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL)?;
        let memory = Memory::from_file(file, len)?;
        // Fill in the pages now rather than one by one in the packet path. Older kernels lack this call: no harm.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(memory.base().cast(), memory.len(), libc::MADV_POPULATE_WRITE) };
        Ok(Self::of(memory))
    }

    /// Maps the region that a peer offers, if it can do no harm.
    ///
    /// # Errors
    /// See [`RegionError`].
    pub fn adopt(fd: OwnedFd, size: u64) -> Result<Self, RegionError> {
        if size == 0 || size > MAX_BYTES {
            return Err(RegionError::Size(size));
        }
        let has = seals(fd.as_fd()).ok_or(RegionError::Unsealed)?;
        if has & libc::F_SEAL_SHRINK == 0 && add_seals(fd.as_fd(), libc::F_SEAL_SHRINK).is_err() {
            return Err(RegionError::Unsealed);
        }
        // hugetlbfs has a magic of its own; a memfd of ordinary pages lies in the kernel's own tmpfs.
        if file_system(fd.as_fd()) != Some(libc::TMPFS_MAGIC) {
            return Err(RegionError::Kind);
        }
        let file = File::from(fd);
        let len = file.metadata().map_err(RegionError::Map)?.len();
        if len < size {
            return Err(RegionError::Short { told: size, file: len });
        }
        Ok(Self::of(Memory::from_file(file, size as usize).map_err(RegionError::Map)?))
    }

    /// First byte.
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The file, to pass to the peer.
    ///
    /// # Errors
    /// No descriptor left, or memory that is no file.
    pub fn file(&self) -> io::Result<OwnedFd> {
        match &self.keeper {
            Keeper::Memory(memory) => memory.as_fd().try_clone_to_owned(),
            Keeper::Foreign(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn add_seals(fd: BorrowedFd<'_>, seals: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The file's seals; `None` if it is of a kind that has none.
fn seals(fd: BorrowedFd<'_>) -> Option<libc::c_int> {
    // SAFETY: no pointers.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    (seals >= 0).then_some(seals)
}

fn file_system(fd: BorrowedFd<'_>) -> Option<i64> {
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `stat` has room for the structure, which is filled when the result is 0.
    unsafe { (libc::fstatfs(fd.as_raw_fd(), stat.as_mut_ptr()) == 0).then(|| stat.assume_init().f_type) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memfd(flags: libc::c_uint, len: u64) -> File {
        // SAFETY: the name is NUL-terminated; the result is checked.
        let fd = unsafe { libc::memfd_create(c"test".as_ptr(), flags) };
        assert!(fd >= 0);
        // SAFETY: the kernel just gave us this descriptor.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn what_can_still_shrink_is_sealed_first() {
        let file = memfd(libc::MFD_ALLOW_SEALING, 8192);
        let region = Region::adopt(file.try_clone().unwrap().into(), 8192).unwrap();
        assert!(file.set_len(4096).is_err(), "the peer can still shrink it");
        // SAFETY: the last byte of the mapping; nobody else has it.
        unsafe { region.base().as_ptr().add(region.len() - 1).write(7) };
    }

    #[test]
    fn what_cannot_be_made_safe_is_refused() {
        let unsealable = memfd(0, 8192);
        assert!(matches!(Region::adopt(unsealable.into(), 4096), Err(RegionError::Unsealed)));
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(Region::adopt(null.into(), 4096), Err(RegionError::Unsealed)));
        let short = memfd(libc::MFD_ALLOW_SEALING, 4096);
        assert!(matches!(Region::adopt(short.into(), 4097), Err(RegionError::Short { told: 4097, file: 4096 })));
        for size in [0, MAX_BYTES + 1, u64::MAX] {
            let file = memfd(libc::MFD_ALLOW_SEALING, 4096);
            assert!(matches!(Region::adopt(file.into(), size), Err(RegionError::Size(_))));
        }
        let huge = memfd(libc::MFD_ALLOW_SEALING | libc::MFD_HUGETLB, 2 << 20);
        assert!(matches!(Region::adopt(huge.into(), 4096), Err(RegionError::Kind)));
    }

    #[test]
    fn our_own_cannot_be_changed_by_the_peer() {
        let region = Region::create(10_000).unwrap();
        let peers = File::from(region.file().unwrap());
        assert!(peers.set_len(4096).is_err());
        assert!(peers.set_len(1 << 20).is_err());
        assert!(Region::adopt(peers.into(), 10_000).is_ok());
    }
}
