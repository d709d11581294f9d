//! Where a client's rings and buffers lie in its memory.

use std::ptr::NonNull;

use super::bell::Wake;
use super::descriptor::Descriptor;
use super::link::{BufferShape, Half};
use super::region::Region;
use super::ring::{Ring, ring_len};

/// Where rings and buffers of a client lie in its one region: all rings from client to server, all rings back, then in
/// the same order their buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    rings: u16,
    log2_size: u8,
    pub(super) shape: BufferShape,
    buffers: usize,
    /// Bytes that all of it takes.
    pub(super) len: usize,
}

impl Layout {
    pub(super) fn new(rings: u16, log2_size: u8, buffer_size: u32) -> Self {
        // An odd number of cache lines from buffer to buffer: with a power of two the first lines of all of them, and in
        // short frames there are no others, would fall into the same few sets of the caches.
        let stride = (buffer_size as usize).next_multiple_of(64) | 64;
        let buffers = (2 * rings as usize * ring_stride(log2_size)).next_multiple_of(4096);
        let len = buffers + 2 * rings as usize * (stride << log2_size);
        Self { rings, log2_size, shape: BufferShape { stride, room: buffer_size }, buffers, len }
    }

    fn order(&self, s2m: bool, index: u16) -> usize {
        index as usize + if s2m { 0 } else { self.rings as usize }
    }

    pub(super) fn ring(&self, s2m: bool, index: u16) -> usize {
        self.order(s2m, index) * ring_stride(self.log2_size)
    }

    /// Lays out one ring, its descriptors pointing at its buffers.
    pub(super) fn place(&self, region: &Region, s2m: bool, index: u16, event: Wake) -> Half {
        let first = self.buffers + self.order(s2m, index) * (self.shape.stride << self.log2_size);
        debug_assert!(region.len() >= self.len);
        // SAFETY: the layout's length, which the region has, covers every ring; offsets are multiples of 64.
        let ring = unsafe { Ring::new(region.base().add(self.ring(s2m, index)), self.log2_size) };
        for slot in 0..ring.size() {
            ring.set_second_word(slot, (first + slot as usize * self.shape.stride) as u64);
            ring.set_first_word(slot, Descriptor::first_word(0, 0, self.shape.room));
        }
        // In the ring that we empty, we poll until we say otherwise.
        ring.init(!s2m);
        // SAFETY: `first` is below the layout's length.
        let buffers: NonNull<u8> = unsafe { region.base().add(first) };
        Half { ring, event, buffers }
    }
}

/// Bytes from one ring to the next: rings begin on cache lines of their own.
fn ring_stride(log2_size: u8) -> usize {
    ring_len(log2_size).next_multiple_of(128)
}

/// Bytes of the region that a client with these wishes makes; offsets in it must fit 32 bits.
pub(super) fn region_len(rings: u16, log2_size: u8, buffer_size: u32) -> u64 {
    Layout::new(rings, log2_size, buffer_size).len as u64
}
