//! How frames cross from one worker to another: a bounded ring each way.
//!
//! A frame lives in the pool of the worker that received it, and only that worker may free it. So what crosses is the
//! *place* of the frame; the other worker copies it into its own pool, and the chunks go back through a second ring.
//! That costs a copy, as every change of core costs the cache misses of one, and keeps pools free of locks and atomics.
//!
//! Neither side ever waits: when the ring is full the frame is dropped here and counted, and a slow worker costs its
//! neighbours nothing but that. The ring back cannot overflow, because the sender lets no more chunks out than it has
//! slots.

mod ring;

use std::sync::Arc;

use crate::drops::DropReason;
use crate::frame::Frame;
use crate::memory::Memory;
use crate::offload::Offload;
use crate::pool::{CHUNK, Pool};
use crate::port::Counters;
use crate::prefetch;
use crate::units::{GuestId, PortId};
use ring::{Consumer, Producer, ring};

/// Frames ahead of the one being copied whose bytes are asked for: they lie in the other core's cache.
const PREFETCH: u32 = 4;

/// One chunk of a frame under way.
#[derive(Clone, Copy, Debug)]
struct Piece {
    chunk: u32,
    offset: u16,
    len: u16,
    output: PortId,
    /// Whose it is.
    source: GuestId,
    /// The next entry continues this frame.
    more: bool,
}

/// What lies in the ring.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Piece(Piece),
    /// What is left to do for the frame that begins with the next entry. No chunk, so none comes back for it.
    Offload(Offload),
}

// The rare kind of entry must not make the usual one longer.
const _: () = assert!(size_of::<Entry>() == size_of::<Piece>());

/// Both ends of a way from one worker, whose frames lie in `memory`, to another. Up to `capacity` chunks (the next
/// power of two) can be under way.
///
/// Keep `capacity` well below the chunks of the sender's pool: what is under way is missing there until the receiver
/// has had its turn.
pub fn pair(capacity: usize, memory: Arc<Memory>) -> (HandoffTx, HandoffRx) {
    let (forward, arriving) = ring(capacity);
    let (returning, returned) = ring(capacity);
    let tx = HandoffTx { forward, returned, outstanding: 0, counters: Arc::default() };
    (tx, HandoffRx { arriving, returning, memory, source: GuestId::UPLINKS, counters: Arc::default() })
}

/// The end of the worker that has the frames.
#[derive(Debug)]
pub struct HandoffTx {
    forward: Producer<Entry>,
    returned: Consumer<u32>,
    /// Chunks sent and not yet reclaimed; never more than the ring back has slots.
    outstanding: u32,
    counters: Arc<Counters>,
}

impl HandoffTx {
    /// Sends `frame`, which is of `source`, towards `output`. It goes out with the next [`flush`](Self::flush).
    ///
    /// False when there is no room: the frame has then been freed and counted as `handoff-full`.
    #[inline]
    pub fn send(&mut self, pool: &mut Pool, mut frame: Frame, source: GuestId, output: PortId) -> bool {
        let chunks = frame.chunks() as u32;
        let entries = chunks + u32::from(frame.has_offload());
        if self.outstanding + chunks > self.forward.capacity() {
            self.reclaim(pool);
        }
        if self.outstanding + chunks > self.forward.capacity() || !self.forward.has_room(entries) {
            pool.free(frame);
            self.counters.dropped(DropReason::HandoffFull, 1);
            return false;
        }
        // There is room for all of it: asked for above.
        if let Some(offload) = pool.take_offload(&mut frame) {
            self.forward.put(Entry::Offload(offload));
        }
        let base = pool.memory().base() as usize;
        let mut left = chunks;
        for (at, len) in pool.parts(&frame) {
            left -= 1;
            let at = at as usize - base;
            let (chunk, offset) = ((at / CHUNK) as u32, (at % CHUNK) as u16);
            let (len, more) = (len as u16, left > 0);
            self.forward.put(Entry::Piece(Piece { chunk, offset, len, output, source, more }));
        }
        self.outstanding += chunks;
        self.counters.sent(1, frame.len() as u64);
        // The chunks are the receiver's now; they come back through the other ring.
        let Frame { .. } = frame;
        true
    }

    /// Takes the chunks that the receiver is done with back into `pool`; how many. Once a breath is often enough.
    #[inline]
    pub fn reclaim(&mut self, pool: &mut Pool) -> usize {
        let mut chunks = 0;
        while let Some(chunk) = self.returned.take() {
            pool.reclaim(u64::from(chunk) * CHUNK as u64);
            chunks += 1;
        }
        self.returned.release();
        self.outstanding -= chunks;
        chunks as usize
    }

    /// Shows the receiver everything sent since the last flush. True when the receiver may be asleep: the caller must
    /// then ring its bell. Call it once a breath.
    #[inline]
    #[must_use = "a sleeping receiver must be woken, or the frames lie there until something else wakes it"]
    pub fn flush(&mut self) -> bool {
        if !self.forward.has_unpublished() {
            return false;
        }
        self.forward.publish();
        self.forward.must_wake()
    }

    /// Chunks that are under way or not yet reclaimed.
    pub fn outstanding(&self) -> usize {
        self.outstanding as usize
    }

    /// What was sent, and what was dropped because there was no room.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

/// The end of the worker that the frames go to.
#[derive(Debug)]
pub struct HandoffRx {
    arriving: Consumer<Entry>,
    returning: Producer<u32>,
    memory: Arc<Memory>,
    /// Whose the frames were that were received last.
    source: GuestId,
    counters: Arc<Counters>,
}

impl HandoffRx {
    /// Whose the frames were that were [received](Self::receive) last.
    #[inline]
    pub fn source(&self) -> GuestId {
        self.source
    }

    /// Takes up to `max` frames, copies each into `pool` and gives it to `each` with its output port. Stops before the
    /// first that is of another [source](Self::source) than those before it. How many were taken; what found no room in
    /// `pool` is among them, dropped and counted as `pool-exhausted`.
    #[inline]
    pub fn receive(&mut self, pool: &mut Pool, max: usize, mut each: impl FnMut(PortId, Frame)) -> usize {
        if self.arriving.ready() == 0 {
            return 0;
        }
        let (mut taken, mut frames, mut bytes) = (0, 0, 0);
        while taken < max && (taken == 0 || self.next_source() == Some(self.source)) {
            let Some(entry) = self.arriving.take() else { break };
            if let Some(Entry::Piece(ahead)) = self.arriving.peek(PREFETCH) {
                prefetch::to_read(self.data(ahead));
            }
            let (piece, offload) = match entry {
                Entry::Piece(piece) => (piece, None),
                // The frame follows: they were published together.
                Entry::Offload(offload) => match self.arriving.take() {
                    Some(Entry::Piece(piece)) => (piece, Some(offload)),
                    _ => break,
                },
            };
            taken += 1;
            self.source = piece.source;
            if let Some(mut frame) = self.copy(pool, piece) {
                if let Some(offload) = offload {
                    pool.set_offload(&mut frame, offload);
                }
                frames += 1;
                bytes += frame.len() as u64;
                each(piece.output, frame);
            }
        }
        self.arriving.release();
        self.returning.publish();
        self.counters.received(frames, bytes);
        self.counters.dropped(DropReason::PoolExhausted, taken as u64 - frames);
        taken
    }

    /// Whose the next frame is.
    #[inline]
    fn next_source(&mut self) -> Option<GuestId> {
        self.arriving.ready();
        match self.arriving.peek(0)? {
            Entry::Piece(piece) => Some(piece.source),
            Entry::Offload(_) => match self.arriving.peek(1)? {
                Entry::Piece(piece) => Some(piece.source),
                Entry::Offload(_) => None,
            },
        }
    }

    /// Copies the frame that begins with `piece`, and returns its chunks.
    #[inline]
    fn copy(&mut self, pool: &mut Pool, piece: Piece) -> Option<Frame> {
        // SAFETY: the sender's frame lies within its pool's memory, and is not reused before its chunk is returned.
        let mut copy = unsafe { pool.frame_from_raw(self.data(piece), piece.len as usize) };
        self.give_back(piece);
        if piece.more {
            self.copy_rest(pool, &mut copy);
        }
        copy
    }

    #[cold]
    fn copy_rest(&mut self, pool: &mut Pool, copy: &mut Option<Frame>) {
        while let Some(Entry::Piece(piece)) = self.arriving.take() {
            if let Some(mut frame) = copy.take() {
                // SAFETY: as in `copy`.
                if unsafe { pool.append_raw(&mut frame, self.data(piece), piece.len as usize) } {
                    *copy = Some(frame);
                } else {
                    pool.free(frame);
                }
            }
            self.give_back(piece);
            if !piece.more {
                return;
            }
        }
    }

    /// Never fails: the sender lets out no more chunks than this ring has slots.
    #[inline]
    fn give_back(&mut self, piece: Piece) {
        let room = self.returning.put(piece.chunk);
        debug_assert!(room, "more chunks under way than the sender may let out");
    }

    /// Where the piece's bytes lie.
    #[inline]
    fn data(&self, piece: Piece) -> *const u8 {
        let at = piece.chunk as usize * CHUNK + piece.offset as usize;
        debug_assert!(at + piece.len as usize <= self.memory.len());
        // SAFETY: the piece is a part of a frame of the sender's pool, whose memory this is.
        unsafe { self.memory.base().add(at) }
    }

    /// Asks to be woken when frames arrive. False when there are some already. Pair it with [`disarm`](Self::disarm).
    pub fn arm(&mut self) -> bool {
        self.arriving.arm()
    }

    /// Awake again: the sender need not ring.
    pub fn disarm(&mut self) {
        self.arriving.disarm();
    }

    /// What arrived, and what was dropped because the pool was empty.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
