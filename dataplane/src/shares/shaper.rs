//! What stands before an output: queues by source, and the gate that lets their frames go.
//!
//! It is told the time. Every frame gets the instant at which a line of the gate's rates would have finished sending it,
//! and leaves then, or a little later when the worker was late; being late does not slow the line, because the instants
//! are computed from the line and not from the clock of the worker. Which frame that is, is decided only then: so a
//! source's share does not depend on when it found room.

use std::sync::Arc;

use super::drr::Drr;
use super::limit::Gate;
use super::{Shares, Weight};
use crate::drops::DropReason;
use crate::frame::{BURST, Burst, Frame};
use crate::link_rate::wire_len;
use crate::pool::Pool;
use crate::port::{Counters, Port};
use crate::units::{GuestId, Nanos};

/// How much the queues hold: 8 ms of the line, which at 1 Gb/s is 650 full frames, and at least [`QUEUE_FRAMES`]. Eight
/// inputs that each bring a whole burst of full frames in one breath then still find their part of it.
pub const QUEUE: Nanos = Nanos::from_millis(8);

/// Full frames of 1538 bytes on the wire that a slow line queues, however long they take.
pub const QUEUE_FRAMES: u64 = 16;

/// Most chunks that the queues of an output hold, so that small frames on a fast line do not use up the pool: 2.75 ms of
/// the smallest frames at 1 Gb/s. Never more than a quarter of the pool.
pub const QUEUE_CHUNKS: usize = 4096;

/// As many where only the port's own ring is full: that is a queue of its own.
const RING_CHUNKS: usize = 512;

/// The part of the pool that no queue takes, so that there is always something to receive into.
const SPARED: usize = 8;

/// How long a sleeping worker lets departures gather, when there are several, before it wakes for them.
const GATHER: Nanos = Nanos::from_micros(50);

/// How soon a sleeping worker looks again whether a full ring has room.
const RETRY: Nanos = Nanos::from_micros(200);

/// What the queues may hold, in bytes on the wire, of which a chunk takes a least.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    limit: u64,
    chunk: u64,
    /// What the pool can spare, however cheap the chunks were that are queued already.
    spare: usize,
}

impl Room {
    #[inline]
    fn cost(self, frame: &Frame) -> u64 {
        wire_len(frame.len()).max(self.chunk * frame.chunks() as u64)
    }
}

/// The queues and the gate of one output.
#[derive(Debug)]
pub struct Shaper {
    gate: Gate,
    drr: Drr,
    shares: Arc<Shares>,
    /// Whose frames come next, and their weight at the time.
    source: GuestId,
    room: Room,
    /// When to look again.
    due: Option<Nanos>,
    full: bool,
    out: Burst,
}

impl Shaper {
    /// Behind a gate of the port's line and of its guest's rate, in this order.
    pub fn new(gate: Gate, shares: Arc<Shares>) -> Self {
        let drr = Drr::new(shares.len());
        let (source, room) = (GuestId::UPLINKS, Room::default());
        Self { gate, drr, shares, source, room, due: None, full: false, out: Burst::new() }
    }

    /// Whose the frames are that come next.
    #[inline]
    pub fn set_source(&mut self, guest: GuestId) {
        self.source = guest;
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.drr.is_empty()
    }

    /// Whether frames need not be queued at all, as long as the port has room.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.drr.is_empty() && !self.gate.is_limited()
    }

    /// Whether so much waits that more had better not be received: from three quarters until half is left.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// When to release next, if anything waits.
    #[inline]
    pub fn deadline(&self) -> Option<Nanos> {
        self.due
    }

    /// Queues what there is room for; frees and counts the rest.
    pub fn push(&mut self, pool: &mut Pool, now: Nanos, burst: &mut Burst, counters: &Counters) {
        if self.drr.is_empty() {
            self.gate.wake(now);
            self.due = Some(now);
        }
        let room = self.room(pool);
        self.room = room.unwrap_or(self.room);
        let weight: Weight = self.shares.weight(self.source);
        let mut refused = 0;
        for frame in burst.drain(..) {
            let pushed = match room {
                Some(room) if self.drr.chunks() + frame.chunks() <= room.spare => {
                    let cost = room.cost(&frame);
                    self.drr.push(pool, (self.source, weight), frame, cost, room.limit)
                }
                _ => Err(frame),
            };
            if let Err(frame) = pushed {
                pool.free(frame);
                refused += 1;
            }
        }
        if refused > 0 {
            counters.dropped(self.reason(), refused);
        }
        self.full |= !self.drr.is_empty() && self.drr.room() >= self.room.limit / 4 * 3;
    }

    /// Sends to `port` what may leave by `now`, and what there is room for; how many frames.
    #[inline]
    pub fn release(&mut self, pool: &mut Pool, now: Nanos, port: &mut dyn Port) -> usize {
        let Some((first, _)) = self.drr.first(pool) else { return 0 };
        if !port.is_up() {
            self.lose(pool, port.counters());
            return 0;
        }
        let mut room = port.room();
        let mut released = 0;
        self.gate.open(now, first);
        self.due = None;
        while let Some((len, chunks)) = self.drr.first(pool) {
            if chunks > room {
                self.due = Some(now.plus(RETRY));
                break;
            }
            if !self.gate.pass(len, now) {
                let gather = GATHER.min(self.gate.time(self.drr.bytes().saturating_sub(wire_len(len))));
                self.due = Some(self.gate.due(len).plus(gather));
                break;
            }
            let price = self.room;
            let Some(frame) = self.drr.pop(pool, |frame| price.cost(frame)) else { break };
            room -= chunks;
            released += 1;
            self.out.push(frame);
            if self.out.len() == BURST {
                port.push(pool, &mut self.out);
            }
        }
        self.gate.close();
        if !self.out.is_empty() {
            port.push(pool, &mut self.out);
        }
        self.full &= self.drr.room() > self.room.limit / 2;
        released
    }

    /// Frees all that waits.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.drr.drain(pool, Pool::free);
        (self.due, self.full) = (None, false);
    }

    /// The peer has gone: what waited for it is lost.
    #[cold]
    fn lose(&mut self, pool: &mut Pool, counters: &Counters) {
        let mut lost = 0;
        self.drr.drain(pool, |pool, frame| {
            pool.free(frame);
            lost += 1;
        });
        counters.dropped(DropReason::OutputDown, lost);
        (self.due, self.full) = (None, false);
    }

    /// What the queues may hold now; none: the pool is nearly used up. What others have queued lessens what this one
    /// may: it gets half of what would be free without it, beyond what is spared.
    fn room(&self, pool: &Pool) -> Option<Room> {
        let carried = self.gate.carries(QUEUE);
        let (limit, chunks) = match carried {
            Some(bytes) => (bytes.max(QUEUE_FRAMES * wire_len(1514)), QUEUE_CHUNKS),
            None => (RING_CHUNKS as u64 * wire_len(1514), RING_CHUNKS),
        };
        let free = (pool.available() + self.drr.chunks()).checked_sub(pool.capacity() / SPARED)?;
        let chunks = chunks.min(pool.capacity() / 4).min(free / 2);
        if chunks == 0 {
            return None;
        }
        Some(Room { limit, chunk: (limit / chunks as u64).max(1), spare: free / 2 })
    }

    /// Why a frame finds no room.
    fn reason(&self) -> DropReason {
        match self.gate.slower() {
            None => DropReason::OutputFull,
            Some(0) => DropReason::LineRate,
            Some(_) => DropReason::GuestRate,
        }
    }

    /// Room that is taken, and room that there is.
    #[cfg(test)]
    pub fn taken(&self) -> (u64, u64) {
        (self.drr.room(), self.room.limit)
    }
}
