//! The worker's side of a device queue: descriptors in, descriptors out.
//!
//! A received chunk becomes a [`Frame`](crate::frame::Frame) without being touched, and a sent frame's chunk comes back
//! through the completion ring. The fill ring is kept topped up from the pool in bursts.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::fair::Fair;
use super::pieces::Pieces;
use super::program::{HostStack, Program};
use super::ring::Descriptor;
use super::socket::Socket;
use super::standing::Standing;
use crate::drops::DropReason;
use crate::frame::{BURST, Burst, Frame};
use crate::offload::{self, Offload, Offloads};
use crate::pool::{CHUNK, Pool};
use crate::port::{Counters, Port, Sleep};
use crate::prefetch;
use crate::units::{Nanos, PortId};

/// Longest chain of chunks that the kernel takes for one frame (`MAX_SKB_FRAGS` and the head).
const MAX_CHUNKS: usize = 18;

/// Group frames a second that the host gets copies of; each costs a system call. Beyond that a storm is a storm.
const HOST_COPIES_PER_SECOND: u32 = 10_000;

/// How often the kernel is asked what it dropped, which is a system call for each queue: while frames come and go, and else.
const STATISTICS: Nanos = Nanos::from_millis(100);
const STATISTICS_IDLE: Nanos = Nanos::from_millis(1000);

/// When a device that had no room is tried again, while there is nothing else to do.
const RETRY: Nanos = Nanos::from_micros(50);

/// How often the transmit ring is kicked before a piece: each call sends as much as the kernel does in one go.
const KICKS: usize = 64;

/// What a queue of a device is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) queue: u32,
    pub(super) socket: Socket,
    pub(super) host: HostStack,
    pub(super) program: Arc<Program>,
    /// The way for TCP that the kernel cuts; none: we do.
    pub(super) pieces: Option<Pieces>,
}

/// One receive queue of a device.
#[derive(Debug)]
pub struct NetdevPort {
    socket: Socket,
    pieces: Option<Pieces>,
    host: HostStack,
    /// Stays attached for as long as a worker reads its frames.
    program: Arc<Program>,
    queue: u32,
    counters: Arc<Counters>,
    how: String,
    max_frame: usize,
    busy_poll: bool,
    /// A frame whose last chunk has not arrived yet.
    partial: Option<Frame>,
    /// Chunks that lie in the fill or the receive ring. Never more, with the frames in `fair`, than the receive ring takes:
    /// the kernel then runs out of chunks before it runs out of ring, and drops what is too much before it has copied it.
    lent: u32,
    standing: Standing,
    fair: Fair,
    /// Put since the last kick.
    unkicked: bool,
    watched: bool,
    /// Copies that the host may still get before the next tick refills them.
    host_copies: u32,
    last_tick: Nanos,
    last_statistics: Nanos,
    /// Frames that had come and gone by then.
    counted: u64,
    /// Some had since the time before: what the kernel dropped meanwhile may not be known yet.
    was_busy: bool,
}

impl NetdevPort {
    pub(super) fn new(parts: Parts, pool: &mut Pool, how: String, max_frame: usize, busy_poll: bool) -> Self {
        let Parts { queue, socket, host, program, pieces } = parts;
        let mut port = Self {
            socket,
            pieces,
            host,
            program,
            queue,
            counters: Arc::default(),
            how,
            max_frame,
            busy_poll,
            partial: None,
            lent: 0,
            standing: Standing::default(),
            fair: Fair::default(),
            unkicked: false,
            watched: false,
            host_copies: HOST_COPIES_PER_SECOND / 100,
            last_tick: Nanos::now(),
            last_statistics: Nanos(0),
            counted: 0,
            was_busy: false,
        };
        port.refill(pool);
        port
    }

    /// Lends the kernel as many chunks as the fill ring takes.
    #[inline]
    fn refill(&mut self, pool: &mut Pool) {
        let wanted = self.socket.rx.size().saturating_sub(self.lent + self.fair.waiting());
        if wanted < BURST as u32 {
            return;
        }
        let fill = &mut self.socket.fill;
        for _ in 0..fill.room(wanted).min(wanted) {
            let Some(chunk) = pool.lend() else { break };
            fill.put(u64::from(chunk) * CHUNK as u64);
            self.lent += 1;
        }
        fill.publish_put();
    }

    /// Takes back the chunks of frames that have been sent.
    #[inline]
    fn reclaim(&mut self, pool: &mut Pool) {
        let done = self.socket.completion.ready();
        for ahead in 0..done {
            pool.reclaim(self.socket.completion.peek(ahead));
        }
        if done > 0 {
            self.socket.completion.release(done);
        }
    }

    /// Joins a chunk to the frame it belongs to; the frame, once it is whole.
    #[cold]
    fn assemble(&mut self, pool: &mut Pool, part: Frame, more: bool) -> Option<Frame> {
        let frame = match self.partial.take() {
            None => part,
            Some(mut frame) => {
                pool.chain(&mut frame, part);
                frame
            }
        };
        if more {
            self.partial = Some(frame);
            return None;
        }
        if frame.chunks() > MAX_CHUNKS {
            pool.free(frame);
            self.counters.dropped(DropReason::Giant, 1);
            return None;
        }
        Some(frame)
    }

    /// Takes the next `count` descriptors out of the receive ring.
    #[inline]
    fn take(&mut self, pool: &mut Pool, count: u32, burst: &mut Burst) {
        let first = burst.len();
        let mut bytes = 0;
        for ahead in 0..count {
            let Descriptor { at, len, options } = self.socket.rx.peek(ahead);
            let Some(part) = pool.adopt(at, len) else { continue };
            let more = options & libc::XDP_PKT_CONTD != 0;
            let frame = if more || self.partial.is_some() {
                match self.assemble(pool, part, more) {
                    Some(frame) => frame,
                    None => continue,
                }
            } else {
                part
            };
            prefetch::to_read(pool.start(&frame));
            bytes += frame.len() as u64;
            burst.push(frame);
        }
        self.socket.rx.release(count);
        self.lent = self.lent.saturating_sub(count);
        self.counters.received((burst.len() - first) as u64, bytes);
    }

    /// More stands than a burst takes: gives those first who have little there, of all that is in the ring by now, or only of
    /// what was taken out of it before.
    fn serve_fairly(&mut self, pool: &mut Pool, all: bool, burst: &mut Burst) {
        let mut left = if all { self.socket.rx.ready_for(u32::MAX) } else { 0 };
        while left > 0 {
            let mut row = Burst::new();
            let count = left.min(BURST as u32);
            self.take(pool, count, &mut row);
            left -= count;
            row.into_iter().for_each(|frame| self.fair.take(pool, frame));
        }
        self.fair.serve(pool, burst);
    }

    /// Frames that wait to be pulled.
    #[inline]
    fn waiting(&mut self) -> u32 {
        self.socket.rx.ready() + self.fair.waiting()
    }

    /// Tells the XDP program how many frames of a guest may wait.
    #[inline]
    fn tell_part(&mut self) {
        let waiting = self.waiting();
        self.program.waiting.set_part(self.queue, self.standing.part(waiting));
    }

    /// The XDP program took this frame from the host, which is in the group too.
    #[cold]
    fn copy_to_host(&mut self, pool: &Pool, frame: &Frame) {
        if self.host_copies > 0 {
            self.host_copies -= 1;
            if frame.chunks() == 1 {
                self.host.deliver(pool.head(frame));
            } else {
                self.host.deliver(&pool.to_vec(frame));
            }
        }
    }

    /// Shows the kernel what was put into the transmit ring.
    #[inline]
    fn show(&mut self, frames: u64, bytes: u64) {
        if frames > 0 {
            self.socket.tx.publish_put();
            self.unkicked = true;
            self.counters.sent(frames, bytes);
        }
    }

    /// Has the kernel send what it was shown: all of it, unless the device is full.
    #[inline]
    fn kick(&mut self) {
        loop {
            let before = self.socket.tx.taken();
            self.unkicked = self.socket.tx.needs_wakeup() && !self.socket.kick_tx();
            // Not all, and no less than a call does: it was the call that ended, not the device's room.
            if !self.unkicked || self.socket.tx.taken().wrapping_sub(before) < self.socket.budget {
                break;
            }
        }
    }

    /// Whether the kernel is to cut the frame, or to compute its checksum.
    #[inline]
    fn is_for_kernel(&mut self, pool: &Pool, frame: &Frame) -> bool {
        let (Some(pieces), Some(offload)) = (&mut self.pieces, pool.offload(frame)) else { return false };
        pieces.claim(pool, frame, offload, self.last_tick)
    }

    /// Sends a piece, or what belongs to the flow of one, behind all that was put into the ring before.
    fn send_piece(&mut self, pool: &mut Pool, frame: Frame) {
        for _ in 0..KICKS {
            if !self.unkicked {
                break;
            }
            self.kick();
        }
        self.reclaim(pool);
        let sent = match &self.pieces {
            Some(pieces) if offload::longest(pool, &frame) <= self.max_frame => pieces.send(pool, &frame),
            _ => Err(DropReason::Giant),
        };
        match sent {
            Ok(()) => self.counters.sent(1, frame.len() as u64),
            Err(reason) => self.counters.dropped(reason, 1),
        }
        pool.free(frame);
    }

    fn count_kernel_drops(&self) {
        if let Ok(kernel) = self.socket.statistics() {
            let drops = &self.counters.drops;
            drops.set(DropReason::KernelRxFull, kernel.rx_ring_full);
            // In copy mode the kernel counts a frame that found no chunk as dropped, too (`__xsk_rcv`, `__xp_alloc`).
            let dropped = kernel.rx_dropped.saturating_sub(kernel.rx_fill_ring_empty_descs);
            drops.set(DropReason::KernelRxDropped, dropped + kernel.rx_invalid_descs);
            drops.set(DropReason::KernelFillEmpty, kernel.rx_fill_ring_empty_descs);
            drops.set(DropReason::KernelTxInvalid, kernel.tx_invalid_descs);
        }
    }
}

impl Port for NetdevPort {
    #[inline]
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        // One more, to see whether a burst is all.
        let mut ready = self.socket.rx.ready_for(BURST as u32 + 1);
        if ready == 0 && self.fair.waiting() == 0 {
            if self.busy_poll || self.socket.fill.needs_wakeup() {
                self.socket.kick_rx();
                ready = self.socket.rx.ready();
            }
            if ready == 0 {
                if self.standing.note_empty() {
                    self.program.waiting.settle(self.queue);
                    self.tell_part();
                }
                return;
            }
        }
        let first = burst.len();
        let room = burst.remaining_capacity() as u32;
        // Guests have their parts of the ring, and their bursts are worth more to them in one piece.
        let shared = self.program.waiting.is_among_routers();
        if shared && ready > room || self.fair.waiting() > 0 {
            self.serve_fairly(pool, shared, burst);
        } else {
            self.take(pool, ready.min(room), burst);
        }
        self.standing.note((burst.len() - first) as u32, ready <= room && self.fair.waiting() == 0);
        if self.standing.is_bound() {
            self.tell_part();
        }
        self.refill(pool);
        for frame in &burst[first..] {
            if pool.head(frame).first().is_some_and(|b| b & 1 != 0) {
                self.copy_to_host(pool, frame);
            }
        }
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let (mut frames, mut bytes) = (0, 0);
        let mut room = self.socket.tx.room(BURST as u32 * 2);
        if room < BURST as u32 * 2 {
            self.reclaim(pool);
            room = self.socket.tx.room(BURST as u32 * 2);
        }
        for mut frame in burst.drain(..) {
            if frame.has_offload() {
                if self.is_for_kernel(pool, &frame) {
                    self.show(frames, bytes);
                    (frames, bytes) = (0, 0);
                    self.send_piece(pool, frame);
                    room = self.socket.tx.room(BURST as u32 * 2);
                    continue;
                }
                if let Some(Offload::Checksum(partial)) = pool.take_offload(&mut frame)
                    && !offload::complete(pool, &mut frame, partial)
                {
                    pool.free(frame);
                    self.counters.dropped(DropReason::ChecksumRequest, 1);
                    continue;
                }
            }
            let chunks = frame.chunks() as u32;
            if chunks > room {
                pool.free(frame);
                self.counters.dropped(DropReason::OutputFull, 1);
                continue;
            }
            let long = frame.len() > self.max_frame;
            let too_many = chunks > 1 && (!self.socket.mode.multi_buffer || chunks as usize > MAX_CHUNKS);
            if long || too_many {
                pool.free(frame);
                self.counters.dropped(DropReason::Giant, 1);
                continue;
            }
            frames += 1;
            bytes += frame.len() as u64;
            room -= chunks;
            let base = pool.memory().base();
            let mut left = chunks;
            for (at, len) in pool.parts(&frame) {
                left -= 1;
                self.socket.tx.put(Descriptor {
                    at: at as u64 - base as u64,
                    len: len as u32,
                    options: if left > 0 { libc::XDP_PKT_CONTD } else { 0 },
                });
            }
            // The kernel holds the chunks now; they come back through the completion ring.
            let Frame { .. } = frame;
        }
        self.show(frames, bytes);
    }

    #[inline]
    fn flush(&mut self, pool: &mut Pool) {
        if self.unkicked {
            self.kick();
            self.reclaim(pool);
        } else if self.room() < BURST {
            // The kernel goes on only when it has somewhere to put what it is done with.
            self.reclaim(pool);
        }
    }

    fn tick(&mut self, pool: &mut Pool, now: Nanos) {
        let passed = now.since(self.last_tick).0.min(1_000_000_000);
        let began = !self.standing.is_bound();
        if self.standing.tick(Nanos(passed), self.socket.rx.size()) {
            if began {
                // Until now, frames that found no room were counted as if they had.
                self.program.waiting.settle(self.queue);
            }
            self.tell_part();
        }
        let copies = u64::from(HOST_COPIES_PER_SECOND) * passed / 1_000_000_000;
        self.host_copies = (self.host_copies + copies as u32).min(HOST_COPIES_PER_SECOND / 10);
        self.last_tick = now;
        self.reclaim(pool);
        self.refill(pool);
        let frames = self.counters.rx_frames.load(Relaxed) + self.counters.tx_frames.load(Relaxed);
        let busy = frames != self.counted;
        let pause = if busy || self.was_busy { STATISTICS } else { STATISTICS_IDLE };
        if now.since(self.last_statistics) >= pause {
            (self.last_statistics, self.counted, self.was_busy) = (now, frames, busy);
            self.count_kernel_drops();
        }
    }

    fn arm(&mut self, sleep: &Sleep) -> bool {
        if !self.watched {
            self.watched = sleep.watch(self.socket.as_fd()).is_ok();
        }
        self.watched && self.waiting() == 0
    }

    fn detach(&mut self, pool: &mut Pool) {
        self.fair.clear(pool);
    }

    /// The kernel tells nobody when a device has room again.
    fn deadline(&self) -> Option<Nanos> {
        self.unkicked.then(|| Nanos::now().plus(RETRY))
    }

    #[inline]
    fn is_unsent(&self) -> bool {
        self.unkicked
    }

    fn accepts(&self) -> Offloads {
        if self.pieces.is_some() { Offloads::ALL_BUT_UDP } else { Offloads::NONE }
    }

    #[inline]
    fn sorted(&mut self, output: PortId, frames: usize) {
        self.program.waiting.take(self.queue, output, frames as u64);
    }

    #[inline]
    fn room(&mut self) -> usize {
        self.socket.tx.room(BURST as u32) as usize
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        self.how.clone()
    }
}
