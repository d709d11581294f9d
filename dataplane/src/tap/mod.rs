//! A tap device as a port: what the kernel sends out of the device comes in here, and the other way round.
//!
//! The way to a namespace's network stack where AF_XDP on a veth is not wanted. The driver takes and gives one frame a
//! system call; that is its price, and there is no call that moves more. What is spared is everything around it: frames
//! are read straight into the pool, long ones over several chunks, and written from where they lie.
//!
//! Offloads are off, so frames have the size and checksum that they would have on a cable.

mod device;
mod header;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::drops::DropReason;
use crate::frame::{Burst, Frame};
use crate::pool::{CHUNK, CHUNK_DATA, HEADROOM, MAX_FRAME, Pool};
use crate::port::{Counters, Port, Sleep};
use crate::units::Nanos;
use device::Device;
pub use device::{TapError, TapOptions};
use header::HEADER;

/// Chunks that the longest frame takes.
const MAX_CHUNKS: usize = MAX_FRAME.div_ceil(CHUNK_DATA) + 1;

/// Ethernet header and two VLAN tags: what a frame is longer than the MTU.
const FRAMING: usize = 22;

/// How often the port looks whether its device is up.
const LOOK: Nanos = Nanos::from_millis(100);

/// A tap device.
#[derive(Debug)]
pub struct TapPort {
    /// None once the device has been deleted.
    device: Option<Device>,
    name: String,
    counters: Arc<Counters>,
    /// Chunks lent by the pool that the next frame is read into.
    landing: ArrayVec<u32, MAX_CHUNKS>,
    /// How many there should be: more than the longest frame needs, so that a frame that was cut shows.
    wanted: usize,
    up: bool,
    watched: bool,
    next_look: Nanos,
}

/// What became of the attempt to read a frame.
enum Read {
    Frame(Frame),
    /// Something was read that is no frame.
    Lost(DropReason),
    Nothing,
}

impl TapPort {
    /// Opens the device, or makes it, and brings it up. A device that was made here goes when the port is dropped.
    ///
    /// # Errors
    /// The device cannot be had; each reason is told with what to do.
    pub fn open(options: &TapOptions) -> Result<Self, TapError> {
        let mut opened = Self::open_queues(options, 1)?;
        // There is one for each queue asked for.
        Ok(opened.remove(0))
    }

    /// As [`open`](Self::open), with several queues: the kernel spreads flows over them, and each is a port's queue.
    ///
    /// # Errors
    /// As for `open`. The kernel allows 256 queues.
    pub fn open_queues(options: &TapOptions, queues: usize) -> Result<Vec<Self>, TapError> {
        Ok(Device::open(options, queues)?.into_iter().map(|device| Self::new(device, options)).collect())
    }

    fn new(device: Device, options: &TapOptions) -> Self {
        Self {
            wanted: ((device.mtu as usize + FRAMING) / CHUNK_DATA + 1).min(MAX_CHUNKS),
            device: Some(device),
            name: options.device.clone(),
            counters: Arc::default(),
            landing: ArrayVec::new(),
            up: true,
            watched: false,
            next_look: Nanos(0),
        }
    }

    /// Reads one frame into the landing chunks, which must be complete.
    #[inline]
    fn read(&mut self, pool: &mut Pool) -> Read {
        let Some(device) = &self.device else { return Read::Nothing };
        let base = pool.memory().base();
        let at = |chunk: u32, before: usize| {
            // SAFETY: a chunk lent by this pool lies in its memory, and HEADROOM - before within the chunk.
            unsafe { base.add(chunk as usize * CHUNK + HEADROOM - before) }
        };
        let Some(&first) = self.landing.first() else { return Read::Nothing };
        // The header lands in the headroom right before the frame.
        let before = at(first, HEADER);
        let got = if self.landing.len() == 1 {
            // SAFETY: HEADER + CHUNK_DATA bytes from there lie in the chunk, which is lent to us.
            unsafe { libc::read(device.file.as_raw_fd(), before.cast(), HEADER + CHUNK_DATA) }
        } else {
            let mut parts = ArrayVec::<libc::iovec, MAX_CHUNKS>::new();
            parts.push(libc::iovec { iov_base: before.cast(), iov_len: HEADER + CHUNK_DATA });
            for &chunk in self.landing.iter().skip(1) {
                parts.push(libc::iovec { iov_base: at(chunk, 0).cast(), iov_len: CHUNK_DATA });
            }
            // SAFETY: every part lies in a chunk that is lent to us.
            unsafe { libc::readv(device.file.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) }
        };
        let Ok(got) = usize::try_from(got) else {
            self.read_failed(&io::Error::last_os_error());
            return Read::Nothing;
        };
        if got == HEADER + self.landing.len() * CHUNK_DATA {
            // Cut: the MTU was raised since. Only this one frame is lost to it.
            self.wanted = (self.wanted * 2).min(MAX_CHUNKS);
            return Read::Lost(DropReason::Giant);
        }
        let Some(len) = got.checked_sub(HEADER).filter(|&len| len > 0) else { return Read::Lost(DropReason::Runt) };
        // SAFETY: the kernel has just written these bytes of a chunk that is lent to us.
        let header = unsafe { before.cast::<[u8; HEADER]>().read() };
        let Some(mut frame) = self.landed(pool, len) else { return Read::Lost(DropReason::TapError) };
        if header::fulfil(&header, pool, &mut frame) {
            return Read::Frame(frame);
        }
        pool.free(frame);
        Read::Lost(DropReason::DescriptorInvalid)
    }

    /// Makes a frame of the first chunks and takes fresh ones for them, if there are any.
    #[inline]
    fn landed(&mut self, pool: &mut Pool, len: usize) -> Option<Frame> {
        let part = |pool: &Pool, chunk: u32, len: usize| {
            pool.adopt(u64::from(chunk) * CHUNK as u64 + HEADROOM as u64, len.min(CHUNK_DATA) as u32)
        };
        let used = len.div_ceil(CHUNK_DATA);
        let mut frame = part(pool, *self.landing.first()?, len)?;
        for (index, &chunk) in self.landing.iter().enumerate().take(used).skip(1) {
            let next = part(pool, chunk, len - index * CHUNK_DATA)?;
            pool.chain(&mut frame, next);
        }
        if used == self.landing.len() {
            self.landing.clear();
        } else {
            self.landing.drain(..used);
        }
        self.land(pool);
        Some(frame)
    }

    /// Borrows chunks until there are enough to read into; whether there are.
    #[inline]
    fn land(&mut self, pool: &mut Pool) -> bool {
        while self.landing.len() < self.wanted {
            match pool.lend() {
                Some(chunk) => self.landing.push(chunk),
                None => return false,
            }
        }
        true
    }

    #[cold]
    fn read_failed(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ENOBUFS) => {}
            _ => self.gone(),
        }
    }

    /// The device was deleted. Its descriptor would report an error for ever, and so is closed.
    #[cold]
    fn gone(&mut self) {
        self.device = None;
        self.up = false;
        self.counters.dropped(DropReason::TapError, 1);
    }

    /// Writes one frame; why it could not be.
    #[inline]
    fn write(&mut self, pool: &mut Pool, frame: &Frame) -> Result<(), DropReason> {
        let Some(device) = &self.device else { return Err(DropReason::OutputDown) };
        let fd = device.file.as_raw_fd();
        let wrote = if frame.chunks() == 1 && frame.offset as usize >= HEADER {
            let len = HEADER + frame.len();
            // SAFETY: the headroom before the frame belongs to its chunk, which is ours; `len` bytes from there as well.
            unsafe {
                let at = pool.start(frame).sub(HEADER);
                at.write_bytes(0, HEADER);
                libc::write(fd, at.cast(), len)
            }
        } else {
            let header = [0u8; HEADER];
            let mut parts = ArrayVec::<libc::iovec, { MAX_CHUNKS + 24 }>::new();
            parts.push(libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: HEADER });
            for (at, len) in pool.parts(frame) {
                if parts.try_push(libc::iovec { iov_base: at.cast(), iov_len: len }).is_err() {
                    return Err(DropReason::Giant);
                }
            }
            // SAFETY: the header outlives the call and is only read; the parts are those of our own frame.
            unsafe { libc::writev(fd, parts.as_ptr(), parts.len() as libc::c_int) }
        };
        if wrote >= 0 { Ok(()) } else { Err(self.write_failed(&io::Error::last_os_error())) }
    }

    #[cold]
    fn write_failed(&mut self, error: &io::Error) -> DropReason {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ENOBUFS) => DropReason::OutputFull,
            // Set down by its owner.
            Some(libc::EIO) => {
                self.up = false;
                DropReason::OutputDown
            }
            Some(libc::EBADFD) => {
                self.gone();
                DropReason::OutputDown
            }
            _ => DropReason::TapError,
        }
    }
}

impl Port for TapPort {
    #[inline]
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        if self.device.is_none() || !self.land(pool) {
            return;
        }
        let first = burst.len();
        let mut bytes = 0;
        while !burst.is_full() && self.landing.len() >= self.wanted {
            match self.read(pool) {
                Read::Frame(frame) => {
                    bytes += frame.len() as u64;
                    burst.push(frame);
                }
                Read::Lost(reason) => {
                    self.counters.dropped(reason, 1);
                    self.land(pool);
                }
                Read::Nothing => break,
            }
        }
        if burst.len() > first {
            self.counters.received((burst.len() - first) as u64, bytes);
        }
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let (mut frames, mut bytes) = (0, 0);
        for frame in burst.drain(..) {
            match self.write(pool, &frame) {
                Ok(()) => {
                    frames += 1;
                    bytes += frame.len() as u64;
                }
                Err(reason) => self.counters.dropped(reason, 1),
            }
            pool.free(frame);
        }
        self.counters.sent(frames, bytes);
    }

    fn flush(&mut self, _: &mut Pool) {}

    fn tick(&mut self, pool: &mut Pool, now: Nanos) {
        match &self.device {
            Some(device) if now >= self.next_look => {
                self.up = device.is_up();
                self.next_look = now.plus(LOOK);
            }
            Some(_) => {}
            None => {
                for chunk in self.landing.drain(..) {
                    pool.reclaim(u64::from(chunk) * CHUNK as u64);
                }
            }
        }
    }

    fn arm(&mut self, sleep: &Sleep) -> bool {
        let Some(device) = &self.device else { return true };
        if !self.watched {
            self.watched = sleep.watch(device.file.as_fd()).is_ok();
        }
        self.watched
    }

    fn is_up(&self) -> bool {
        self.up
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        match &self.device {
            Some(device) => format!("tap {}, MTU {}", self.name, device.mtu),
            None => format!("tap {}: deleted by someone", self.name),
        }
    }
}

#[cfg(test)]
mod tests;
