//! Taking frames out of the ring that the peer fills.
//!
//! A burst: the peer's index is loaded once and checked, then for each descriptor one load, one check, one copy, and at
//! the end our own index is published once. A descriptor is never looked at twice. A frame in several descriptors is put
//! together piece by piece as they come, also across bursts, so that a chain that never ends costs no more than the
//! descriptors that the peer took the trouble to fill.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use arrayvec::ArrayVec;

use super::bell::Wake;
use super::copy::copy;
use super::descriptor::{DESCRIPTOR_LEN, Descriptor, DescriptorError};
use super::link::{BufferShape, Fault, Half, Link, Role};
use super::region::Region;
use crate::drops::DropReason;
use crate::frame::{BURST, Burst, Frame};
use crate::pool::{CHUNK, CHUNK_DATA, HEADROOM, MAX_FRAME, Pool};
use crate::port::{Counters, Sleep};
use crate::prefetch;

/// Descriptors in a cache line.
const DESCRIPTORS_A_LINE: usize = 64 / DESCRIPTOR_LEN;

/// A frame so short that it can lie anywhere in its chunk.
const SHORT: u32 = 128;

/// Where in its chunk a short frame lies, beyond the headroom. Were it the same place in each, the first lines of all
/// chunks, and a short frame has no others, would share a few sets of the first-level cache and drive each other out.
#[inline(always)]
fn colour(chunk: u32) -> u16 {
    const { assert!(HEADROOM + 15 * 64 + SHORT as usize <= CHUNK) };
    // Two chunks to a page: the lowest bit already tells them apart in the cache.
    ((chunk >> 1) & 15) as u16 * 64
}

/// Takes frames from one ring.
#[derive(Debug)]
pub(super) struct Receiver {
    half: Half,
    role: Role,
    /// The next descriptor to take: ours alone, whatever the ring says.
    next: u16,
    shape: BufferShape,
    regions: Arc<[Region]>,
    partial: Option<Partial>,
}

/// A frame whose last piece has not come yet.
#[derive(Debug, Default)]
struct Partial {
    frame: Option<Frame>,
    pieces: u32,
    /// Why it will not come to anything.
    lost: Option<DropReason>,
}

/// What a descriptor says, checked.
struct Piece {
    from: *const u8,
    len: u32,
    more: bool,
}

impl Receiver {
    pub(super) fn new(link: &Link, half: &Half) -> Self {
        let receiver = Self {
            half: half.clone(),
            role: link.role,
            next: 0,
            shape: link.shape,
            regions: Arc::clone(&link.regions),
            partial: None,
        };
        if link.role == Role::Client {
            // All buffers are the server's to fill. Not before we are connected: a server starts from zero.
            half.ring.set_head(half.ring.size());
        }
        receiver
    }

    /// Ends: an unfinished frame goes back.
    pub(super) fn end(self, pool: &mut Pool) {
        if let Some(frame) = self.partial.and_then(|partial| partial.frame) {
            pool.free(frame);
        }
    }

    /// What the peer wakes us by.
    pub(super) fn event(&self) -> &Wake {
        &self.half.event
    }

    /// Asks the peer to signal from now on; true when nothing has come in meanwhile.
    pub(super) fn arm(&self) -> bool {
        self.half.ring.set_masked(false);
        // The peer publishes, then looks at the flag; we clear the flag, then look at the index. One of us must see.
        fence(Ordering::SeqCst);
        if self.filled() == self.next {
            return true;
        }
        self.half.ring.set_masked(true);
        false
    }

    /// Whether the server waits for room and half of the ring is free; asked for once. As a server we owe nobody: a guest that
    /// waits would have us ring for each burst.
    #[inline]
    pub(super) fn owes_room(&self) -> bool {
        let owes = self.role == Role::Client
            && self.half.ring.is_wanted()
            && self.filled().wrapping_sub(self.next) <= self.half.ring.size() / 2;
        if owes {
            self.half.ring.set_wanted(false);
        }
        owes
    }

    /// Tells the peer that we poll.
    pub(super) fn disarm(&self, sleep: &Sleep) {
        self.half.ring.set_masked(true);
        if sleep.was_ended_by(self.half.event.fd()) {
            self.half.event.heard();
        }
    }

    /// The peer's index.
    #[inline]
    fn filled(&self) -> u16 {
        match self.role {
            Role::Server => self.half.ring.head(),
            Role::Client => self.half.ring.tail(),
        }
    }

    /// Takes as many descriptors as the burst has room for frames.
    #[inline]
    pub(super) fn pull(&mut self, pool: &mut Pool, burst: &mut Burst, counters: &Counters) -> Result<(), Fault> {
        let filled = self.filled();
        let ahead = filled.wrapping_sub(self.next);
        if ahead == 0 {
            return Ok(());
        }
        let size = self.half.ring.size();
        if ahead > size {
            return Err(Fault::Index { index: filled, ahead, size });
        }
        let take = ahead.min(burst.remaining_capacity() as u16);
        match self.role {
            Role::Server => {
                let taken = self.take::<false>(pool, burst, counters, take);
                self.half.ring.set_tail(self.next);
                taken
            }
            Role::Client => {
                let taken = self.take::<true>(pool, burst, counters, take);
                // A buffer that is empty again is offered again at once.
                self.half.ring.set_head(self.next.wrapping_add(size));
                taken
            }
        }
    }

    #[inline(always)]
    fn take<const CLIENT: bool>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst,
        counters: &Counters,
        take: u16,
    ) -> Result<(), Fault> {
        // Everything comes from another core's cache. Three passes, so that the burst waits for each kind of line once
        // and not every frame for its own: descriptors on their way; looked at, and the frames on their way; frames.
        for ahead in (0..take).step_by(DESCRIPTORS_A_LINE) {
            prefetch::to_read(self.half.ring.descriptor_at(self.next.wrapping_add(ahead)).cast());
        }
        let mut pieces = ArrayVec::<Piece, BURST>::new();
        let mut result = Ok(());
        for ahead in 0..take {
            match self.load::<CLIENT>(self.next.wrapping_add(ahead)) {
                Ok(piece) => {
                    prefetch::to_read(piece.from);
                    let _ = pieces.try_push(piece);
                }
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
        }
        let first = burst.len();
        let (mut bytes, mut exhausted) = (0, 0);
        for piece in &pieces {
            if piece.more || self.partial.is_some() || piece.len == 0 || piece.len as usize > CHUNK_DATA {
                if let Err(fault) = self.assemble(pool, burst, counters, piece, &mut bytes) {
                    result = Err(fault);
                    break;
                }
            } else if let Some(mut frame) = pool.alloc() {
                if piece.len <= SHORT {
                    frame.offset += colour(frame.chunk);
                }
                // SAFETY: `load` found `len` bytes mapped at `from`; the chunk has room for CHUNK_DATA,
                // and for SHORT at whatever offset `colour` gives.
                unsafe { copy(piece.from, pool.start(&frame), piece.len as usize) };
                frame.head = piece.len as u16;
                frame.len = piece.len;
                bytes += u64::from(piece.len);
                // There is room: the loop takes no more descriptors than the burst takes frames.
                let _ = burst.try_push(frame);
            } else {
                exhausted += 1;
            }
            if !CLIENT && piece.more {
                // DPDK as client, before 26.03, only ever sets the flag: left there, it would chain the frames of the next
                // time round.
                self.half.ring.clear_flags(self.next);
            }
            if CLIENT {
                self.half.ring.set_first_word(self.next, Descriptor::first_word(0, 0, self.shape.room));
            }
            self.next = self.next.wrapping_add(1);
        }
        counters.received((burst.len() - first) as u64, bytes);
        if exhausted > 0 {
            counters.dropped(DropReason::PoolExhausted, exhausted);
        }
        result
    }

    /// Loads and checks the descriptor of `index`.
    #[inline(always)]
    fn load<const CLIENT: bool>(&self, index: u16) -> Result<Piece, Fault> {
        let ring = &self.half.ring;
        if CLIENT {
            // Where our buffer lies we know ourselves; what the ring says about it the server may have changed.
            let descriptor = Descriptor::from_words([ring.first_word(index), 0]);
            descriptor.check_fill(self.shape.room)?;
            // SAFETY: the client's region has a buffer of `stride` bytes for every slot.
            let from = unsafe { self.half.buffers.as_ptr().add(ring.slot(index) as usize * self.shape.stride) };
            return Ok(Piece { from, len: descriptor.length, more: descriptor.has_next() });
        }
        let descriptor = Descriptor::from_words(ring.descriptor(index));
        let Some(region) = self.regions.get(descriptor.region as usize) else {
            return Err(DescriptorError::Region { region: descriptor.region }.into());
        };
        descriptor.check(Some(region.len() as u64))?;
        // SAFETY: `check` found offset and length within the region.
        let from = unsafe { region.base().as_ptr().add(descriptor.offset as usize) };
        Ok(Piece { from, len: descriptor.length, more: descriptor.has_next() })
    }

    /// Adds a piece to the frame that is being put together; the frame goes into the burst with its last piece.
    #[cold]
    fn assemble(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst,
        counters: &Counters,
        piece: &Piece,
        bytes: &mut u64,
    ) -> Result<(), Fault> {
        let partial = self.partial.get_or_insert_default();
        partial.pieces += 1;
        if partial.pieces > u32::from(self.half.ring.size()) {
            return Err(Fault::EndlessChain);
        }
        if partial.lost.is_none() && piece.len > 0 {
            partial.lost = partial.append(pool, piece);
        }
        if piece.more {
            return Ok(());
        }
        let Some(partial) = self.partial.take() else { return Ok(()) };
        match (partial.frame, partial.lost) {
            (Some(frame), None) => {
                *bytes += frame.len() as u64;
                let _ = burst.try_push(frame);
            }
            (frame, lost) => {
                frame.into_iter().for_each(|frame| pool.free(frame));
                counters.dropped(lost.unwrap_or(DropReason::Runt), 1);
            }
        }
        Ok(())
    }
}

impl Partial {
    /// Copies the piece behind what there is; the reason if it cannot be.
    fn append(&mut self, pool: &mut Pool, piece: &Piece) -> Option<DropReason> {
        let len = piece.len as usize;
        let have = self.frame.as_ref().map_or(0, Frame::len);
        let lost = if have + len > MAX_FRAME {
            DropReason::Giant
        } else {
            if self.frame.is_none() {
                self.frame = pool.alloc();
            }
            // SAFETY: `load` found `len` bytes mapped at `from`, which is no memory of the pool's.
            let added = self.frame.as_mut().is_some_and(|frame| unsafe { pool.append_raw(frame, piece.from, len) });
            if added {
                return None;
            }
            DropReason::PoolExhausted
        };
        if let Some(frame) = self.frame.take() {
            pool.free(frame);
        }
        Some(lost)
    }
}
