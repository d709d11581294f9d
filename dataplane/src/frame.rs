//! A frame, and the burst in which everything moves.
//!
//! A [`Frame`] is the exclusive right to a chunk of a worker's [`Pool`](crate::pool::Pool) (or to a chain of chunks,
//! for frames that do not fit one). It is neither `Copy` nor `Clone`: it moves from port to port, and ends in
//! [`Pool::free`](crate::pool::Pool::free). Dropping one without that leaks its chunk until the pool goes.

use arrayvec::ArrayVec;

/// Most frames that move in one go. At 64 a burst of headers still fits the first-level cache, and the cost of what is
/// done once a burst (a ring index published, a dynamic call) is below a nanosecond a frame.
pub const BURST: usize = 64;

/// Frames that came from one port, or go to one port, in order.
pub type Burst = ArrayVec<Frame, BURST>;

/// The shortest Ethernet frame as it lies in memory, without its FCS.
pub const ETHERNET_HEADER: usize = 14;

/// A frame in a worker's pool.
#[must_use = "a frame must be pushed or freed, or its chunk is lost"]
#[derive(Debug)]
pub struct Frame {
    /// First chunk, as an index into the pool.
    pub(crate) chunk: u32,
    /// Where the frame's first byte lies in the first chunk.
    pub(crate) offset: u16,
    /// Bytes of the frame in its first chunk.
    pub(crate) head: u16,
    /// Bytes of the whole frame, all chunks, without FCS.
    pub(crate) len: u32,
    /// Chunks that the frame occupies; the pool's links lead from one to the next.
    pub(crate) chunks: u16,
    /// [`OFFLOAD`](Self::OFFLOAD) or nothing. Not a `bool`: an `Option<Frame>` would hide its discriminant in it, be
    /// written in two parts and read back as a whole, and every frame would wait for its own store.
    pub(crate) flags: u16,
}

impl Frame {
    /// Something is left to do for the frame, which the pool knows: see [`offload`](crate::offload).
    pub(crate) const OFFLOAD: u16 = 1;

    /// Bytes of the whole frame, without FCS.
    #[allow(clippy::len_without_is_empty, reason = "an empty frame has no meaning here")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of the frame that lie in its first chunk, where headers are read.
    pub fn head_len(&self) -> usize {
        self.head as usize
    }

    /// Whether something is left to do for it: [`Pool::offload`](crate::pool::Pool::offload) tells what.
    #[inline]
    pub fn has_offload(&self) -> bool {
        self.flags & Self::OFFLOAD != 0
    }

    /// Chunks that the frame occupies.
    pub fn chunks(&self) -> usize {
        self.chunks as usize
    }
}
