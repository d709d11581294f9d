//! A ring in shared memory: two indices, a flag, descriptors. Layout: `memif_ring_t` in DPDK's `memif.h`.
//!
//! Who moves what: in a ring from client to server (S2M) the client fills descriptors and moves `head`, the server
//! empties them and moves `tail`. In a ring from server to client (M2S) the client offers empty buffers by moving `head`
//! and the server fills them and moves `tail`. So `head` is always the client's and `tail` the server's; each side keeps
//! its own index to itself and only ever *reads* the other's. Indices run freely and wrap at 65536.
//!
//! All access is by atomic loads and stores of the naturally aligned field: the peer may write anything at any time, and
//! the worst that it gets is a value that the caller then finds out of range.

use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicU16, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::descriptor::DESCRIPTOR_LEN;
use super::wire::MAX_LOG2_RING_SIZE;

/// What stands at the start of a ring.
pub const COOKIE: u32 = 0x3E3_1F20;

/// The consumer polls: the producer need not tell it.
pub const FLAG_MASK_INT: u16 = 1;

/// Where the fields of a ring lie.
pub mod field {
    /// The cookie, 32 bits.
    pub const COOKIE: usize = 0;
    /// Flags, 16 bits.
    pub const FLAGS: usize = 4;
    /// The client's index, 16 bits.
    pub const HEAD: usize = 6;
    /// The server's index, 16 bits, in a cache line of its own.
    pub const TAIL: usize = 64;
    /// Not memif's, where it is padding: the server, which fills this ring, waits for room. 16 bits, in the line of its
    /// index.
    pub const WANTED: usize = 72;
    /// The first descriptor.
    pub const DESCRIPTORS: usize = 128;
}

/// Bytes of a ring of `1 << log2_size` descriptors.
pub const fn ring_len(log2_size: u8) -> usize {
    field::DESCRIPTORS + (DESCRIPTOR_LEN << log2_size)
}

/// A ring somewhere in mapped memory. Copies of it name the same ring.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    base: NonNull<u8>,
    log2_size: u8,
}

// SAFETY: a Ring is an address in memory that is shared by nature; every access is atomic. Whoever keeps a Ring keeps the
// mapping alive, as promised to `new`.
unsafe impl Send for Ring {}

impl Ring {
    /// The ring at `base`.
    ///
    /// # Safety
    /// [`ring_len`]`(log2_size)` bytes from `base`, which is aligned to 16, stay mapped readable and writable for as long
    /// as the value or a copy of it is used; `log2_size` is at most [`MAX_LOG2_RING_SIZE`].
    pub unsafe fn new(base: NonNull<u8>, log2_size: u8) -> Self {
        debug_assert!(log2_size <= MAX_LOG2_RING_SIZE && base.addr().get().is_multiple_of(16));
        Self { base, log2_size }
    }

    /// Descriptors there are.
    #[inline]
    pub fn size(&self) -> u16 {
        1 << self.log2_size
    }

    /// Turns a free-running index into a slot.
    #[inline]
    pub fn slot(&self, index: u16) -> u16 {
        index & (self.size() - 1)
    }

    /// Lays the ring out: cookie, both indices at zero, and the flag that the consumer polls or not.
    pub fn init(&self, masked: bool) {
        self.field16(field::HEAD).store(0, Relaxed);
        self.field16(field::TAIL).store(0, Relaxed);
        self.set_wanted(false);
        self.set_masked(masked);
        // SAFETY: the cookie lies in the ring, aligned to 4.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(field::COOKIE).cast()) }.store(COOKIE, Release);
    }

    /// What stands where the cookie should.
    pub fn cookie(&self) -> u32 {
        // SAFETY: the cookie lies in the ring, aligned to 4.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(field::COOKIE).cast()) }.load(Acquire)
    }

    /// The client's index; what it wrote before is visible after this.
    #[inline]
    pub fn head(&self) -> u16 {
        self.field16(field::HEAD).load(Acquire)
    }

    /// Moves the client's index; what was written before is visible with it.
    #[inline]
    pub fn set_head(&self, index: u16) {
        self.field16(field::HEAD).store(index, Release);
    }

    /// The server's index, as [`head`](Self::head).
    #[inline]
    pub fn tail(&self) -> u16 {
        self.field16(field::TAIL).load(Acquire)
    }

    /// Moves the server's index, as [`set_head`](Self::set_head).
    #[inline]
    pub fn set_tail(&self, index: u16) {
        self.field16(field::TAIL).store(index, Release);
    }

    /// Whether the consumer polls.
    #[inline]
    pub fn masked(&self) -> bool {
        self.field16(field::FLAGS).load(Relaxed) & FLAG_MASK_INT != 0
    }

    /// Says whether this side, the consumer, polls.
    #[inline]
    pub fn set_masked(&self, masked: bool) {
        self.field16(field::FLAGS).store(if masked { FLAG_MASK_INT } else { 0 }, Relaxed);
    }

    /// Whether the server waits for room.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.field16(field::WANTED).load(Relaxed) != 0
    }

    /// Says whether it does.
    #[inline]
    pub fn set_wanted(&self, wanted: bool) {
        self.field16(field::WANTED).store(wanted.into(), Relaxed);
    }

    /// Loads the descriptor of `index`, once.
    #[inline]
    pub fn descriptor(&self, index: u16) -> [u64; 2] {
        let at = self.descriptor_at(index);
        // SAFETY: both words lie in the ring, aligned to 8.
        unsafe { [AtomicU64::from_ptr(at).load(Relaxed), AtomicU64::from_ptr(at.add(1)).load(Relaxed)] }
    }

    /// Loads the first word of the descriptor of `index`, once.
    #[inline]
    pub fn first_word(&self, index: u16) -> u64 {
        // SAFETY: the word lies in the ring, aligned to 8.
        unsafe { AtomicU64::from_ptr(self.descriptor_at(index)) }.load(Relaxed)
    }

    /// Stores the first word of the descriptor of `index`: flags, region, length.
    #[inline]
    pub fn set_first_word(&self, index: u16, word: u64) {
        // SAFETY: the word lies in the ring, aligned to 8.
        unsafe { AtomicU64::from_ptr(self.descriptor_at(index)) }.store(word, Relaxed);
    }

    /// Clears the flags of the descriptor of `index`.
    pub fn clear_flags(&self, index: u16) {
        // SAFETY: the descriptor's first 16 bits lie in the ring, aligned to 8.
        unsafe { AtomicU16::from_ptr(self.descriptor_at(index).cast()) }.store(0, Relaxed);
    }

    /// Stores the second word: the offset.
    pub fn set_second_word(&self, index: u16, word: u64) {
        // SAFETY: the word lies in the ring, aligned to 8.
        unsafe { AtomicU64::from_ptr(self.descriptor_at(index).add(1)) }.store(word, Relaxed);
    }

    /// Address of the descriptor of `index`, for prefetching too.
    #[inline]
    pub fn descriptor_at(&self, index: u16) -> *mut u64 {
        let offset = field::DESCRIPTORS + self.slot(index) as usize * DESCRIPTOR_LEN;
        // SAFETY: a slot is below the ring's size, so the offset is below `ring_len`.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    #[inline]
    fn field16(&self, at: usize) -> &AtomicU16 {
        // SAFETY: the field lies in the ring, aligned to 2. An atomic may change under its reference.
        unsafe { AtomicU16::from_ptr(self.base.as_ptr().add(at).cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory as aligned as a page.
    fn memory(words: usize) -> Vec<u128> {
        vec![0; words]
    }

    #[test]
    fn fields_lie_where_dpdk_has_them() {
        let mut memory = memory(ring_len(2) / 16);
        let base = NonNull::new(memory.as_mut_ptr().cast::<u8>()).unwrap();
        // SAFETY: `memory` is 16-aligned, long enough, and outlives the ring.
        let ring = unsafe { Ring::new(base, 2) };
        ring.init(true);
        ring.set_head(0x1234);
        ring.set_tail(0x5678);
        ring.set_first_word(5, 0x1111);
        ring.set_second_word(5, 0x2222);
        // SAFETY: the same memory, read back after the last write.
        let bytes = unsafe { std::slice::from_raw_parts(base.as_ptr(), ring_len(2)) };
        assert_eq!(&bytes[..8], &[0x20, 0x1f, 0xe3, 0x03, 1, 0, 0x34, 0x12]);
        assert_eq!(&bytes[64..66], &[0x78, 0x56]);
        assert_eq!(&bytes[128 + 16..128 + 18], &[0x11, 0x11], "index 5 of 4 slots is slot 1");
        assert_eq!(&bytes[128 + 24..128 + 26], &[0x22, 0x22]);
        assert_eq!((ring.cookie(), ring.head(), ring.tail(), ring.masked()), (COOKIE, 0x1234, 0x5678, true));
        assert_eq!(ring.descriptor(1), [0x1111, 0x2222]);
        ring.set_first_word(1, 0x0003_0002_0001);
        ring.clear_flags(1);
        assert_eq!(ring.first_word(1), 0x0003_0002_0000);
        ring.set_masked(false);
        assert!(!ring.masked());
    }

    #[test]
    fn lengths_are_those_of_the_structure() {
        assert_eq!(ring_len(0), 144);
        assert_eq!(ring_len(10), 128 + 16 * 1024);
        assert_eq!(ring_len(MAX_LOG2_RING_SIZE), 128 + 16 * 16384);
    }
}
