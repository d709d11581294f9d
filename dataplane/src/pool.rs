//! A worker's frame memory: one memfd cut into chunks, and the list of those that are free.
//!
//! The same memory is the UMEM of every AF_XDP socket of the worker, so a frame goes from NIC to NIC without moving.
//! One thread owns a pool; nothing in it is shared or locked. Chunks that are lent to the kernel (fill and transmit
//! rings) are simply not in the free list until they come back.

mod queue;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

pub use queue::FrameQueue;
use queue::Waiting;

use crate::frame::Frame;
use crate::memory::Memory;
use crate::offload::Offload;

/// Bytes of a chunk: room for 1500-byte frames with headroom, two to a page. Longer frames take several chunks.
pub const CHUNK: usize = 2048;

/// Bytes before the data of a fresh frame: the kernel's own XDP headroom, so that received and own frames look alike.
pub const HEADROOM: usize = 256;

/// Bytes of data that a fresh chunk takes.
pub const CHUNK_DATA: usize = CHUNK - HEADROOM;

/// Longest frame the engine carries: a 64 KiB super-frame with its headers.
pub const MAX_FRAME: usize = 65_535 + 18;

/// Where the chunk after the first lies, for frames of several chunks.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    next: u32,
    offset: u16,
    len: u16,
}

/// Frame memory of one worker.
#[derive(Debug)]
pub struct Pool {
    memory: Arc<Memory>,
    free: Vec<u32>,
    /// `links[c]` tells what follows chunk `c`; read only for frames of more than one chunk.
    links: Box<[Link]>,
    /// `offloads[c]` tells what is left to do for the frame that begins in chunk `c`; read only where it says so. Places
    /// in it count from the chunk's begin, so that a tag that is put before the frame, or taken off, moves none of them.
    offloads: Box<[Offload]>,
    /// `waiting[c]` describes the frame that begins in chunk `c` while it waits in a queue; read only then.
    waiting: Box<[Waiting]>,
    /// Frames with something left to do.
    offloaded: usize,
}

impl Pool {
    /// A pool of at least `chunks` chunks.
    ///
    /// # Errors
    /// The memory could not be had.
    pub fn new(chunks: usize) -> io::Result<Self> {
        let memory = Memory::create("pointsman-frames", chunks * CHUNK)?;
        let chunks = memory.len() / CHUNK;
        // Last chunk first, so that the first allocations lie at the start.
        let free = (0..chunks as u32).rev().collect();
        Ok(Self {
            memory: Arc::new(memory),
            free,
            links: vec![Link::default(); chunks].into(),
            offloads: vec![Offload::Verified; chunks].into(),
            waiting: vec![Waiting::default(); chunks].into(),
            offloaded: 0,
        })
    }

    /// The memory itself, to register as UMEM.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Chunks in all.
    pub fn capacity(&self) -> usize {
        self.links.len()
    }

    /// Chunks that nobody holds.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Whether the chunk is nobody's. It looks through all of those: for traces, not for every frame.
    pub(crate) fn is_free(&self, chunk: u32) -> bool {
        self.free.iter().rev().any(|&free| free == chunk)
    }

    /// An empty frame with [`HEADROOM`] before it, or `None` when all chunks are in use.
    #[inline]
    pub fn alloc(&mut self) -> Option<Frame> {
        let chunk = self.free.pop()?;
        Some(Frame { chunk, offset: HEADROOM as u16, head: 0, len: 0, chunks: 1, flags: 0 })
    }

    /// Takes the frame's chunks back.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        self.free.push(frame.chunk);
        if frame.chunks != 1 || frame.flags != 0 {
            self.free_rest(&frame);
        }
    }

    #[cold]
    fn free_rest(&mut self, frame: &Frame) {
        self.offloaded -= usize::from(frame.has_offload());
        let mut chunk = frame.chunk;
        for _ in 1..frame.chunks {
            chunk = self.links[chunk as usize].next;
            self.free.push(chunk);
        }
    }

    /// Takes back every frame of `frames`.
    pub fn free_all(&mut self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.free(frame);
        }
    }

    /// What is left to do for the frame, in places that count from the frame's begin.
    #[inline]
    pub fn offload(&self, frame: &Frame) -> Option<Offload> {
        match frame.has_offload() {
            true => Some(self.offloads[frame.chunk as usize].moved(frame.offset.wrapping_neg())),
            false => None,
        }
    }

    /// Notes what is left to do for the frame.
    pub fn set_offload(&mut self, frame: &mut Frame, offload: Offload) {
        self.offloads[frame.chunk as usize] = offload.moved(frame.offset);
        self.offloaded += usize::from(!frame.has_offload());
        frame.flags |= Frame::OFFLOAD;
    }

    /// Nothing is left to do for the frame: it was done, or whoever gets the frame knows. What it was.
    pub fn take_offload(&mut self, frame: &mut Frame) -> Option<Offload> {
        let offload = self.offload(frame);
        self.offloaded -= usize::from(frame.has_offload());
        frame.flags &= !Frame::OFFLOAD;
        offload
    }

    /// Frames with something left to do: where there is none, nobody needs to look for it.
    #[inline]
    pub fn offloaded(&self) -> usize {
        self.offloaded
    }

    /// The bytes of the frame's first chunk: all of it for most frames, and always its headers.
    #[inline]
    pub fn head(&self, frame: &Frame) -> &[u8] {
        // SAFETY: a Frame's chunk lies in the pool and offset + head within the chunk (kept by every constructor of
        // Frame); the frame is the exclusive right to these bytes, and `&self` keeps other frames from being written.
        unsafe { std::slice::from_raw_parts(self.start(frame), frame.head as usize) }
    }

    /// As [`head`](Self::head), for writing.
    #[inline]
    pub fn head_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        // SAFETY: as in `head`, and `&mut self` keeps every other slice of the pool away.
        unsafe { std::slice::from_raw_parts_mut(self.start(frame), frame.head as usize) }
    }

    /// Address of the frame's first byte: what a port copies from.
    #[inline]
    pub fn start(&self, frame: &Frame) -> *mut u8 {
        debug_assert!((frame.chunk as usize) < self.links.len());
        // SAFETY: chunk < capacity and offset < CHUNK, so the address lies in the mapping.
        unsafe { self.memory.base().add(frame.chunk as usize * CHUNK + frame.offset as usize) }
    }

    /// Each chunk's part of the frame, in order, as address and length.
    #[inline]
    pub fn parts(&self, frame: &Frame) -> Parts<'_> {
        Parts { pool: self, chunk: frame.chunk, offset: frame.offset, len: frame.head, left: frame.chunks }
    }

    /// Moves the frame's first byte by `bytes` towards the front (grows it) or the back (shrinks it).
    /// False, and nothing done, when the room is not there.
    #[inline]
    pub fn grow_front(&mut self, frame: &mut Frame, bytes: i16) -> bool {
        let offset = i32::from(frame.offset) - i32::from(bytes);
        let head = i32::from(frame.head) + i32::from(bytes);
        if offset < 0 || head <= 0 {
            return false;
        }
        frame.offset = offset as u16;
        frame.head = head as u16;
        frame.len = (i64::from(frame.len) + i64::from(bytes)) as u32;
        true
    }

    /// A frame holding a copy of `data`, which may be longer than a chunk; `None` when chunks ran out or `data` is
    /// empty or longer than [`MAX_FRAME`].
    pub fn frame_from(&mut self, data: &[u8]) -> Option<Frame> {
        // SAFETY: `data` is readable for its length.
        unsafe { self.frame_from_raw(data.as_ptr(), data.len()) }
    }

    /// A frame of `len` bytes that are whatever lay there before, for someone who fills them by other means than this
    /// process's own stores (a copy by the kernel or the hypervisor). What was not filled must never be sent: it is
    /// another guest's. `None` as [`frame_from`](Self::frame_from).
    #[inline]
    pub fn unfilled(&mut self, len: usize) -> Option<Frame> {
        if len == 0 || len > MAX_FRAME {
            return None;
        }
        let mut frame = self.alloc()?;
        if len <= CHUNK_DATA {
            (frame.head, frame.len) = (len as u16, len as u32);
            return Some(frame);
        }
        if self.free.len() < len.div_ceil(CHUNK_DATA) - 1 {
            self.free(frame);
            return None;
        }
        (frame.head, frame.len) = (CHUNK_DATA as u16, len as u32);
        let (mut last, mut left) = (frame.chunk, len - CHUNK_DATA);
        while left > 0
            && let Some(next) = self.free.pop()
        {
            let n = left.min(CHUNK_DATA);
            self.links[last as usize] = Link { next, offset: HEADROOM as u16, len: n as u16 };
            frame.chunks += 1;
            (last, left) = (next, left - n);
        }
        Some(frame)
    }

    /// As [`frame_from`](Self::frame_from), from memory that others may be writing to: each byte is read once.
    ///
    /// # Safety
    /// `len` bytes from `data` are mapped for the length of the call.
    #[inline]
    pub unsafe fn frame_from_raw(&mut self, data: *const u8, len: usize) -> Option<Frame> {
        if len == 0 || len > MAX_FRAME {
            return None;
        }
        let mut frame = self.alloc()?;
        // SAFETY: as promised by the caller.
        if unsafe { self.append_raw(&mut frame, data, len) } {
            return Some(frame);
        }
        self.free(frame);
        None
    }

    /// Appends `len` bytes from `data` to the frame, taking further chunks as needed. False when chunks ran out or the
    /// frame would exceed [`MAX_FRAME`]: the frame is then still valid, holds an unspecified part, and should be freed.
    ///
    /// # Safety
    /// `len` bytes from `data` are mapped for the length of the call and do not lie in this pool's free chunks.
    #[inline]
    pub unsafe fn append_raw(&mut self, frame: &mut Frame, data: *const u8, len: usize) -> bool {
        let room = CHUNK - frame.offset as usize - frame.head as usize;
        if frame.chunks == 1 && len <= room {
            // SAFETY: `len` bytes fit behind `head` in the chunk that the frame owns; the source is the caller's word.
            unsafe {
                std::ptr::copy_nonoverlapping(data, self.start(frame).add(frame.head as usize), len);
            }
            frame.head += len as u16;
            frame.len += len as u32;
            return true;
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { self.append_chunks(frame, data, len) }
    }

    #[cold]
    unsafe fn append_chunks(&mut self, frame: &mut Frame, mut data: *const u8, mut len: usize) -> bool {
        if frame.len() + len > MAX_FRAME {
            return false;
        }
        // The link to the last chunk lies at the one before it.
        let (mut before, mut last) = (frame.chunk, frame.chunk);
        for _ in 1..frame.chunks {
            (before, last) = (last, self.links[last as usize].next);
        }
        let (mut offset, mut used) = match frame.chunks {
            1 => (frame.offset as usize, frame.head as usize),
            _ => {
                let link = self.links[before as usize];
                (link.offset as usize, link.len as usize)
            }
        };
        while len > 0 {
            let room = CHUNK - offset - used;
            if room == 0 {
                let Some(next) = self.free.pop() else {
                    return false;
                };
                self.links[last as usize] = Link { next, offset: HEADROOM as u16, len: 0 };
                frame.chunks += 1;
                (before, last, offset, used) = (last, next, HEADROOM, 0);
                continue;
            }
            let n = room.min(len);
            // SAFETY: `n` bytes fit behind `used` in a chunk that the frame owns; the source is the caller's word.
            unsafe {
                let to = self.memory.base().add(last as usize * CHUNK + offset + used);
                std::ptr::copy_nonoverlapping(data, to, n);
                data = data.add(n);
            }
            used += n;
            len -= n;
            frame.len += n as u32;
            match frame.chunks {
                1 => frame.head = used as u16,
                _ => self.links[before as usize].len = used as u16,
            }
        }
        true
    }

    /// A frame for a chunk that the kernel filled: `at` is the byte offset of its data in the pool's memory.
    /// `None` when that lies outside the pool or the chunk.
    #[inline]
    pub(crate) fn adopt(&self, at: u64, len: u32) -> Option<Frame> {
        let chunk = at / CHUNK as u64;
        let offset = at % CHUNK as u64;
        if chunk >= self.links.len() as u64 || offset + u64::from(len) > CHUNK as u64 {
            return None;
        }
        Some(Frame { chunk: chunk as u32, offset: offset as u16, head: len as u16, len, chunks: 1, flags: 0 })
    }

    /// Chains a further chunk that the kernel filled behind `frame`.
    #[cold]
    pub(crate) fn chain(&mut self, frame: &mut Frame, part: Frame) {
        let mut last = frame.chunk;
        for _ in 1..frame.chunks {
            last = self.links[last as usize].next;
        }
        self.links[last as usize] = Link { next: part.chunk, offset: part.offset, len: part.head };
        frame.chunks += 1;
        frame.len += part.len;
    }

    /// Takes a free chunk to lend it to the kernel; its index.
    #[inline]
    pub(crate) fn lend(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Takes back a chunk that the kernel had, by any address within it. Addresses outside the pool are ignored.
    #[inline]
    pub(crate) fn reclaim(&mut self, at: u64) {
        let chunk = at / CHUNK as u64;
        if chunk < self.links.len() as u64 {
            self.free.push(chunk as u32);
        }
    }

    /// A copy of the frame, in chunks of its own; what is left to do for the one is for the other.
    pub fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        let mut copy = self.alloc()?;
        let parts: arrayvec::ArrayVec<(*const u8, usize), 64> =
            self.parts(frame).map(|(at, len)| (at.cast_const(), len)).take(64).collect();
        for (at, len) in parts {
            // SAFETY: `at` and `len` are a part of `frame`, whose chunks are not free.
            if !unsafe { self.append_raw(&mut copy, at, len) } {
                self.free(copy);
                return None;
            }
        }
        if let Some(offload) = self.offload(frame) {
            self.set_offload(&mut copy, offload);
        }
        Some(copy)
    }

    /// A place to read the frame from, at its begin.
    pub(crate) fn reader(&self, frame: &Frame) -> Reader {
        Reader { chunk: frame.chunk, offset: frame.offset, len: frame.head, left: frame.chunks }
    }

    /// Appends `len` bytes from where `reader` is, and moves it on. False when the frame that is read ends before, or as
    /// [`append_raw`](Self::append_raw).
    ///
    /// # Safety
    /// The frame that `reader` is of lives, and is not `to`.
    pub(crate) unsafe fn append_read(&mut self, to: &mut Frame, reader: &mut Reader, mut len: usize) -> bool {
        while len > 0 {
            if reader.len == 0 {
                if reader.left <= 1 {
                    return false;
                }
                let link = self.links[reader.chunk as usize];
                *reader = Reader { chunk: link.next, offset: link.offset, len: link.len, left: reader.left - 1 };
                continue;
            }
            let n = len.min(reader.len as usize);
            // SAFETY: `n` bytes from there are a part of a living frame, as the caller promises.
            let appended = unsafe {
                let at = self.memory.base().add(reader.chunk as usize * CHUNK + reader.offset as usize);
                self.append_raw(to, at, n)
            };
            if !appended {
                return false;
            }
            reader.offset += n as u16;
            reader.len -= n as u16;
            len -= n;
        }
        true
    }

    /// Appends `len` bytes of `from`, beginning `at` bytes into it. False when `from` ends before, or as
    /// [`append_raw`](Self::append_raw).
    pub fn append_from(&mut self, frame: &mut Frame, from: &Frame, mut at: usize, mut len: usize) -> bool {
        for part in 0..from.chunks() {
            let Some((start, size)) = self.parts(from).nth(part) else { return false };
            let n = size.saturating_sub(at).min(len);
            // SAFETY: `at + n` bytes from `start` are a part of `from`, whose chunks are not free. (Where `n` is zero,
            // `at` may lie behind the part: `wrapping_add` allows that, and nothing is read.)
            if n > 0 && !unsafe { self.append_raw(frame, start.wrapping_add(at), n) } {
                return false;
            }
            at = at.saturating_sub(size);
            len -= n;
            if len == 0 {
                return true;
            }
        }
        false
    }

    /// The whole frame as bytes, for whatever is not the packet path (captures, tests).
    pub fn to_vec(&self, frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(frame.len());
        for part in self.slices(frame) {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// Each chunk's part of the frame, in order, as bytes.
    pub fn slices(&self, frame: &Frame) -> impl Iterator<Item = &[u8]> {
        // SAFETY: each is a part of `frame`, which nobody writes while `&self` is held.
        self.parts(frame).map(|(at, len)| unsafe { std::slice::from_raw_parts(at, len) })
    }
}

/// A place in a frame that is read bit by bit: see [`Pool::append_read`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    chunk: u32,
    offset: u16,
    len: u16,
    left: u16,
}

impl Reader {
    /// Moves on by `bytes`, which must lie in the frame's first chunk; none when they do not.
    pub(crate) fn skip(&mut self, bytes: usize) -> Option<()> {
        let bytes = u16::try_from(bytes).ok()?;
        self.len = self.len.checked_sub(bytes)?;
        self.offset += bytes;
        Some(())
    }
}

/// The parts of a frame: see [`Pool::parts`].
#[derive(Debug)]
pub struct Parts<'a> {
    pool: &'a Pool,
    chunk: u32,
    offset: u16,
    len: u16,
    left: u16,
}

impl Iterator for Parts<'_> {
    type Item = (*mut u8, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: chunk and offset are those of a frame or of a link, both within the mapping.
        let at = unsafe { self.pool.memory.base().add(self.chunk as usize * CHUNK + self.offset as usize) };
        let item = (at, self.len as usize);
        self.left -= 1;
        if self.left > 0 {
            let link = self.pool.links[self.chunk as usize];
            (self.chunk, self.offset, self.len) = (link.next, link.offset, link.len);
        }
        Some(item)
    }
}
