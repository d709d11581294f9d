//! A tap device as a port: what the kernel sends out of the device comes in here, and the other way round.
//!
//! The way to a namespace's network stack where AF_XDP on a veth is not wanted. The driver takes and gives one frame a
//! system call; that is its price, and there is no call that moves more. What is spared is everything around it: frames
//! are read straight into the pool, long ones over several chunks, and written from where they lie.
//!
//! The stack may leave checksums to us, and hand over TCP in pieces of up to 64 KiB: see [`offload`]. Between two taps
//! of one engine neither has to be done at all, which is what makes a system call a frame bearable. What comes from
//! elsewhere is joined to such pieces where that can be.

mod device;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::drops::DropReason;
use crate::frame::{Burst, Frame};
use crate::offload::virtio::{self, HEADER};
use crate::offload::{self, Offloads};
use crate::pool::{CHUNK, CHUNK_DATA, HEADROOM, MAX_FRAME, Pool};
use crate::port::{Counters, Port, Sleep};
use crate::units::{Mac, Nanos};
use device::Device;
pub use device::{Carrier, TapError, TapOptions};

/// Chunks that the longest frame takes.
const MAX_CHUNKS: usize = MAX_FRAME.div_ceil(CHUNK_DATA);

/// Room behind the chunks that are read into: for what is left of a frame when only one chunk was laid out for it, and
/// always one byte more than the longest frame takes, so that a frame that was cut shows.
const REST: usize = MAX_FRAME + 1;

/// Bytes that one pull reads, about: a few hundred frames as they are on a cable. A burst of 64 KiB pieces would be
/// thousands, more than a transmit ring has room for, and the neighbours' frames would have to wait for it.
const PULL: u64 = 256 * 1024;

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
    /// How many there should be: one, or as many as the longest frame takes when the last one was long. What does not
    /// fit is read into `rest` and copied, which is right for a frame now and then.
    wanted: usize,
    rest: Box<[u8]>,
    accepts: Offloads,
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

    /// The device's Ethernet address, which is that of the stack behind it.
    pub fn mac(&self) -> Option<Mac> {
        self.device.as_ref()?.mac()
    }

    /// The device's number in its namespace.
    pub fn index(&self) -> Option<u32> {
        self.device.as_ref()?.index()
    }

    /// What tells the stack behind the device whether its link is there; none if the process may open no more files.
    pub fn carrier(&self) -> Option<Carrier> {
        self.device.as_ref()?.carrier().ok()
    }

    fn new(device: Device, options: &TapOptions) -> Self {
        Self {
            wanted: 1,
            rest: vec![0; REST].into(),
            accepts: if device.cuts_udp { Offloads::ALL } else { Offloads::ALL_BUT_UDP },
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
        let mut parts = ArrayVec::<libc::iovec, { MAX_CHUNKS + 1 }>::new();
        parts.push(libc::iovec { iov_base: before.cast(), iov_len: HEADER + CHUNK_DATA });
        for &chunk in self.landing.iter().skip(1) {
            parts.push(libc::iovec { iov_base: at(chunk, 0).cast(), iov_len: CHUNK_DATA });
        }
        parts.push(libc::iovec { iov_base: self.rest.as_mut_ptr().cast(), iov_len: self.rest.len() });
        // SAFETY: every part lies in a chunk that is lent to us, the last in `rest`.
        let got = unsafe { libc::readv(device.file.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) };
        let Ok(got) = usize::try_from(got) else {
            self.read_failed(&io::Error::last_os_error());
            return Read::Nothing;
        };
        let Some(len) = got.checked_sub(HEADER).filter(|&len| len > 0) else { return Read::Lost(DropReason::Runt) };
        if len > MAX_FRAME {
            return Read::Lost(DropReason::Giant);
        }
        // SAFETY: the kernel has just written these bytes of a chunk that is lent to us.
        let header = unsafe { before.cast::<[u8; HEADER]>().read() };
        let mut frame = match self.landed(pool, len) {
            Ok(frame) => frame,
            Err(reason) => return Read::Lost(reason),
        };
        match virtio::read(&header) {
            Ok(None) => Read::Frame(frame),
            Ok(Some(offload)) => match offload::admit(pool, &mut frame, offload) {
                Ok(()) => Read::Frame(frame),
                Err(reason) => {
                    pool.free(frame);
                    Read::Lost(reason)
                }
            },
            Err(reason) => {
                pool.free(frame);
                Read::Lost(reason)
            }
        }
    }

    /// Makes a frame of the first chunks and what lies in `rest`, and takes fresh chunks, if there are any.
    #[inline]
    fn landed(&mut self, pool: &mut Pool, len: usize) -> Result<Frame, DropReason> {
        let part = |pool: &Pool, chunk: u32, len: usize| {
            pool.adopt(u64::from(chunk) * CHUNK as u64 + HEADROOM as u64, len.min(CHUNK_DATA) as u32)
        };
        let Some(&first) = self.landing.first() else { return Err(DropReason::TapError) };
        let used = len.div_ceil(CHUNK_DATA).min(self.landing.len());
        let mut frame = part(pool, first, len).ok_or(DropReason::TapError)?;
        for (index, &chunk) in self.landing.iter().enumerate().take(used).skip(1) {
            match part(pool, chunk, len - index * CHUNK_DATA) {
                Some(next) => pool.chain(&mut frame, next),
                None => return Err(DropReason::TapError),
            }
        }
        let rest = len.saturating_sub(self.landing.len() * CHUNK_DATA);
        self.wanted = if len > CHUNK_DATA { MAX_CHUNKS } else { 1 };
        self.landing.drain(..used);
        if let Some(rest) = self.rest.get(..rest)
            // SAFETY: `rest` is ours and no chunk.
            && !unsafe { pool.append_raw(&mut frame, rest.as_ptr(), rest.len()) }
        {
            pool.free(frame);
            return Err(DropReason::PoolExhausted);
        }
        Ok(frame)
    }

    /// Borrows chunks to read into, as many as are wanted or as there are; whether there is one.
    #[inline]
    fn land(&mut self, pool: &mut Pool) -> bool {
        while self.landing.len() < self.wanted {
            match pool.lend() {
                Some(chunk) => self.landing.push(chunk),
                None => break,
            }
        }
        !self.landing.is_empty()
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
        let header = virtio::write(pool.offload(frame), pool.head(frame));
        let wrote = if frame.chunks() == 1 && frame.offset as usize >= HEADER {
            let len = HEADER + frame.len();
            // SAFETY: the headroom before the frame belongs to its chunk, which is ours; `len` bytes from there as well.
            unsafe {
                let at = pool.start(frame).sub(HEADER);
                at.cast::<[u8; HEADER]>().write(header);
                libc::write(fd, at.cast(), len)
            }
        } else {
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
        let first = burst.len();
        let mut bytes = 0;
        while !burst.is_full() && bytes < PULL && self.land(pool) {
            match self.read(pool) {
                Read::Frame(frame) => {
                    bytes += frame.len() as u64;
                    burst.push(frame);
                }
                Read::Lost(reason) => self.counters.dropped(reason, 1),
                Read::Nothing => break,
            }
        }
        if burst.len() > first {
            self.counters.received((burst.len() - first) as u64, bytes);
        }
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        offload::join(pool, burst, self.accepts());
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

    /// The kernel takes all of it, whatever the device behind is told.
    fn accepts(&self) -> Offloads {
        self.accepts
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        match &self.device {
            Some(device) => format!("tap {}, MTU {}, offloads", self.name, device.mtu),
            None => format!("tap {}: deleted by someone", self.name),
        }
    }
}

#[cfg(test)]
mod tests;
