//! Putting frames into the ring that we fill.
//!
//! How far we may go is the peer's word, loaded only when what was loaded last does not suffice for the burst. Each frame
//! is copied into the buffer of the next descriptor, or into several when it is longer; the burst is published as a
//! whole. As a server we fill the client's buffers, whose descriptors the client may change at any time: each is loaded
//! once, checked, and what was loaded is used. As a client we fill our own, and read no descriptor at all.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use arrayvec::ArrayVec;

use super::bell::Wake;
use super::copy::copy;
use super::descriptor::{DESCRIPTOR_LEN, Descriptor, DescriptorError, FLAG_NEXT};
use super::link::{BufferShape, Fault, Half, Link, Role};
use super::region::Region;
use crate::drops::DropReason;
use crate::frame::{BURST, Burst, Frame};
use crate::pool::Pool;
use crate::port::Counters;
use crate::prefetch;

/// Descriptors in a cache line.
const DESCRIPTORS_A_LINE: usize = 64 / DESCRIPTOR_LEN;

/// Puts frames into one ring.
#[derive(Debug)]
pub(super) struct Sender {
    half: Half,
    role: Role,
    /// The next descriptor to fill: ours alone, whatever the ring says.
    next: u16,
    /// The first that we may not fill, when we last looked.
    limit: u16,
    shape: BufferShape,
    regions: Arc<[Region]>,
    /// Published since the peer was last told.
    untold: bool,
    full: Cell<bool>,
}

/// An empty buffer.
struct Buffer {
    to: *mut u8,
    room: u32,
    region: u16,
}

impl Sender {
    pub(super) fn new(link: &Link, half: &Half) -> Self {
        Self {
            half: half.clone(),
            role: link.role,
            next: 0,
            limit: 0,
            shape: link.shape,
            regions: Arc::clone(&link.regions),
            untold: false,
            full: Cell::new(false),
        }
    }

    /// Descriptors that may be filled, when we last looked.
    #[inline]
    fn room(&self) -> u16 {
        self.limit.wrapping_sub(self.next)
    }

    /// Descriptors that may be filled, looking again when a burst would not find room. A ring that is broken says nothing
    /// here: it is found when it is filled.
    #[inline]
    pub(super) fn room_now(&mut self) -> usize {
        if self.room() < BURST as u16 && self.refresh().is_err() {
            return usize::MAX;
        }
        usize::from(self.room())
    }

    /// What the peer's index allows now.
    #[inline]
    fn allowed(&self) -> u16 {
        match self.role {
            Role::Server => self.half.ring.head(),
            Role::Client => self.half.ring.tail().wrapping_add(self.half.ring.size()),
        }
    }

    fn refresh(&mut self) -> Result<(), Fault> {
        let (limit, size) = (self.allowed(), self.half.ring.size());
        let ahead = limit.wrapping_sub(self.next);
        if ahead > size {
            return Err(Fault::Index { index: limit, ahead, size });
        }
        self.limit = limit;
        Ok(())
    }

    /// Whether there is less room than a burst (or a quarter of a small ring); once that was so, until half is free.
    pub(super) fn is_full(&self) -> bool {
        let size = self.half.ring.size();
        let least = (BURST as u16).min(size / 4);
        let enough = if self.full.get() { size / 2 } else { least };
        // What was seen last is never more than there is: only if that is too little, look again.
        if self.room() < enough {
            self.full.set(self.allowed().wrapping_sub(self.next) < enough);
        } else {
            self.full.set(false);
        }
        self.full.get()
    }

    /// Asks a client to ring us when half is free, if it is one of ours with a bell of its own. False when it is free
    /// already, or nobody would ring.
    pub(super) fn arm_room(&self) -> bool {
        if self.role != Role::Server || !matches!(self.half.event, Wake::Foreign(_)) {
            return false;
        }
        self.half.ring.set_wanted(true);
        // We set the mark, then look at its index; it moves the index, then looks at the mark.
        fence(Ordering::SeqCst);
        self.is_full()
    }

    /// Wakes the peer, whatever it said.
    pub(super) fn ring(&self) {
        self.half.event.ring();
    }

    /// Whether a peer that sleeps had better be told now.
    pub(super) fn is_half_full(&self) -> bool {
        let half = self.half.ring.size() / 2;
        self.room() < half && self.allowed().wrapping_sub(self.next) < half
    }

    /// Copies all frames of the burst that there is room for, and frees all.
    #[inline]
    pub(super) fn push(&mut self, pool: &mut Pool, burst: &mut Burst, counters: &Counters) -> Result<(), Fault> {
        let begin = self.next;
        let (frames, result) = match self.role {
            Role::Server => self.fill::<false>(pool, burst, counters),
            Role::Client => self.fill::<true>(pool, burst, counters),
        };
        if self.next != begin {
            match self.role {
                Role::Server => self.half.ring.set_tail(self.next),
                Role::Client => self.half.ring.set_head(self.next),
            }
            self.untold = true;
        }
        let lost = (burst.len() - frames) as u64;
        if lost > 0 {
            self.count_lost(counters, lost, result.is_err());
        }
        pool.free_all(burst.drain(..));
        result
    }

    #[cold]
    fn count_lost(&self, counters: &Counters, lost: u64, broken: bool) {
        if broken {
            // The frame at which the ring was found broken is counted by the port, as that.
            counters.dropped(DropReason::OutputDown, lost - 1);
        } else {
            counters.dropped(DropReason::OutputFull, lost);
        }
    }

    /// Fills as many as there is room for, in order; how many that were.
    #[inline(always)]
    fn fill<const CLIENT: bool>(
        &mut self,
        pool: &Pool,
        burst: &Burst,
        counters: &Counters,
    ) -> (usize, Result<(), Fault>) {
        if (self.room() as usize) < burst.len()
            && let Err(fault) = self.refresh()
        {
            return (0, Err(fault));
        }
        // As when receiving: descriptors on their way to us; looked at, and their buffers on their way; frames.
        let likely = (burst.len() as u16).min(self.room());
        for ahead in (0..likely).step_by(DESCRIPTORS_A_LINE) {
            prefetch::to_write(self.half.ring.descriptor_at(self.next.wrapping_add(ahead)).cast());
        }
        let mut buffers = ArrayVec::<Buffer, BURST>::new();
        for ahead in 0..likely {
            let Ok(buffer) = self.buffer::<CLIENT>(self.next.wrapping_add(ahead)) else { break };
            prefetch::to_write(buffer.to);
            let _ = buffers.try_push(buffer);
        }
        let (mut frames, mut bytes) = (0, 0);
        for (frame, buffer) in burst.iter().zip(&buffers) {
            if frame.chunks() != 1 || frame.len > buffer.room {
                break;
            }
            // SAFETY: the buffer has room for the frame, and the frame is all in its first chunk.
            unsafe { copy(pool.start(frame), buffer.to, frame.len as usize) };
            self.half.ring.set_first_word(self.next, Descriptor::first_word(0, buffer.region, frame.len));
            self.next = self.next.wrapping_add(1);
            frames += 1;
            bytes += u64::from(frame.len);
        }
        let mut result = Ok(());
        for frame in burst.iter().skip(frames) {
            match self.fill_chain::<CLIENT>(pool, frame) {
                Ok(true) => {
                    frames += 1;
                    bytes += u64::from(frame.len);
                }
                // No room for this one: a later one must not overtake it.
                Ok(false) => break,
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
        }
        counters.sent(frames as u64, bytes);
        (frames, result)
    }

    /// Loads and checks the descriptor of `index`.
    #[inline(always)]
    fn buffer<const CLIENT: bool>(&self, index: u16) -> Result<Buffer, Fault> {
        let ring = &self.half.ring;
        if CLIENT {
            // SAFETY: the client's region has a buffer of `stride` bytes for every slot.
            let to = unsafe { self.half.buffers.as_ptr().add(ring.slot(index) as usize * self.shape.stride) };
            return Ok(Buffer { to, room: self.shape.room, region: 0 });
        }
        let descriptor = Descriptor::from_words(ring.descriptor(index));
        let Some(region) = self.regions.get(descriptor.region as usize) else {
            return Err(DescriptorError::Region { region: descriptor.region }.into());
        };
        descriptor.check_room(Some(region.len() as u64))?;
        // SAFETY: `check_room` found offset and length within the region.
        let to = unsafe { region.base().as_ptr().add(descriptor.offset as usize) };
        Ok(Buffer { to, room: descriptor.length, region: descriptor.region })
    }

    /// Spreads a frame over as many descriptors as it takes. False, and nothing taken, when there are too few.
    #[cold]
    fn fill_chain<const CLIENT: bool>(&mut self, pool: &Pool, frame: &Frame) -> Result<bool, Fault> {
        let begin = self.next;
        if self.try_chain::<CLIENT>(pool, frame)? {
            return Ok(true);
        }
        self.next = begin;
        if self.allowed() == self.limit {
            return Ok(false);
        }
        self.refresh()?;
        if self.try_chain::<CLIENT>(pool, frame)? {
            return Ok(true);
        }
        self.next = begin;
        Ok(false)
    }

    fn try_chain<const CLIENT: bool>(&mut self, pool: &Pool, frame: &Frame) -> Result<bool, Fault> {
        let mut parts = pool.parts(frame);
        let (mut from, mut left) = (std::ptr::null_mut::<u8>(), 0);
        let mut todo = frame.len();
        while todo > 0 {
            if self.room() == 0 {
                return Ok(false);
            }
            let buffer = self.buffer::<CLIENT>(self.next)?;
            let mut used = 0;
            while used < buffer.room as usize && todo > 0 {
                if left == 0 {
                    let Some(part) = parts.next() else { return Ok(true) };
                    (from, left) = part;
                    continue;
                }
                let n = left.min(buffer.room as usize - used);
                // SAFETY: `n` bytes are left of the part and of the buffer's room.
                unsafe {
                    copy(from, buffer.to.add(used), n);
                    from = from.add(n);
                }
                used += n;
                left -= n;
                todo -= n;
            }
            let flags = if todo > 0 { FLAG_NEXT } else { 0 };
            let word = Descriptor::first_word(flags, buffer.region, used as u32);
            self.half.ring.set_first_word(self.next, word);
            self.next = self.next.wrapping_add(1);
        }
        Ok(true)
    }

    /// Wakes the peer if there is something new for it and it does not poll.
    #[inline]
    pub(super) fn flush(&mut self) {
        if self.untold {
            self.untold = false;
            // We publish, then look at the flag; the peer clears the flag, then looks at the index.
            fence(Ordering::SeqCst);
            if !self.half.ring.masked() {
                self.half.event.ring();
            }
        }
    }
}
