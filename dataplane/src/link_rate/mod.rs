//! A link of a given rate, modelled at the output of any port.
//!
//! Every frame gets the instant at which a real line of that rate would have finished sending it, and leaves then, or a
//! little later when the worker was late; being late once does not slow the line, because the instants are computed
//! from the line and not from the clock of the worker. What a real device would not queue, this does not either: the
//! queue is bounded in time and in chunks.
//!
//! The queue is first in, first out, but its room is shared: see the `streams` module for why a plain tail drop is not
//! enough. The shaper must never hold frames back that a line would have sent, allocate after its start, or sleep.

mod line;
mod rate;
mod streams;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::drops::DropReason;
use crate::frame::{BURST, Burst, Frame};
use crate::offload::Offloads;
use crate::pool::Pool;
use crate::port::{Counters, Port, Sleep};
use crate::units::{Mac, Nanos};
use line::Line;
pub use line::{TOLERANCE, wire_len};
pub use rate::{LineRate, LineRateError};
use streams::Streams;

/// How much the queue holds: 8 ms of the line, which at 1 Gb/s is 650 full frames, and at least [`QUEUE_FRAMES`]. Eight
/// inputs that each bring a whole burst of full frames in one breath then still find their part of it.
pub const QUEUE: Nanos = Nanos::from_millis(8);

/// Full frames of 1538 bytes on the wire that a slow line queues, however long they take.
pub const QUEUE_FRAMES: u64 = 16;

/// Most chunks that the queue holds, so that small frames on a fast line do not use up the pool: 2.75 ms of the
/// smallest frames at 1 Gb/s. Never more than a quarter of the pool.
pub const QUEUE_CHUNKS: usize = 4096;

/// How long a sleeping worker lets departures gather, when there are several, before it wakes for them.
const GATHER: Nanos = Nanos::from_micros(50);

/// A port behind a line of a certain rate. What comes in passes untouched; what goes out is shaped.
pub struct Shaped {
    inner: Box<dyn Port>,
    shaper: Shaper,
}

impl Shaped {
    /// Puts a line of `rate` behind `port`'s output.
    pub fn new(port: Box<dyn Port>, rate: LineRate) -> Self {
        Self { inner: port, shaper: Shaper::new(rate) }
    }
}

impl Port for Shaped {
    #[inline]
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        // A breath begins with a pull, so departures keep their time even while nobody pushes to this port.
        if !self.shaper.queue.is_empty() && self.shaper.release(pool, Nanos::now(), self.inner.as_mut()) > 0 {
            self.inner.flush(pool);
        }
        self.inner.pull(pool, burst);
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        self.shaper.push(pool, Nanos::now(), burst, self.inner.counters());
    }

    #[inline]
    fn flush(&mut self, pool: &mut Pool) {
        if !self.shaper.queue.is_empty() {
            self.shaper.release(pool, Nanos::now(), self.inner.as_mut());
        }
        self.inner.flush(pool);
    }

    fn notify(&mut self) {
        self.inner.notify();
    }

    fn tick(&mut self, pool: &mut Pool, now: Nanos) {
        self.inner.tick(pool, now);
    }

    fn arm(&mut self, sleep: &Sleep) -> bool {
        let due = self.shaper.deadline().is_some_and(|due| due <= Nanos::now());
        self.inner.arm(sleep) && !due
    }

    fn disarm(&mut self) {
        self.inner.disarm();
    }

    fn deadline(&self) -> Option<Nanos> {
        match (self.shaper.deadline(), self.inner.deadline()) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        }
    }

    fn detach(&mut self, pool: &mut Pool) {
        pool.free_all(self.shaper.queue.drain(..).map(|queued| queued.frame));
        self.inner.detach(pool);
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn accepts(&self) -> Offloads {
        self.inner.accepts()
    }

    fn counters(&self) -> &Arc<Counters> {
        self.inner.counters()
    }

    fn mode(&self) -> String {
        format!("{}, line rate {}", self.inner.mode(), self.shaper.line.rate())
    }
}

/// A frame on its way down the line.
struct Queued {
    frame: Frame,
    departs: Nanos,
    /// What it takes of the queue's room.
    cost: Nanos,
    /// The place of its stream.
    stream: u16,
}

/// The line and its queue, told the time by the caller.
struct Shaper {
    line: Line,
    queue: VecDeque<Queued>,
    streams: Streams,
    /// Room of the whole queue.
    limit: Nanos,
    /// The least that a chunk takes of it: [`QUEUE_CHUNKS`] of them fill the queue.
    chunk_cost: Nanos,
    /// Room taken.
    queued: Nanos,
    out: Burst,
}

impl Shaper {
    fn new(rate: LineRate) -> Self {
        let mut line = Line::new(rate);
        let limit = QUEUE.max(Nanos(line.time(1538).0 * QUEUE_FRAMES));
        Self {
            line,
            // Two more than there can be: a frame is always taken when the queue is empty, and costs are rounded down.
            queue: VecDeque::with_capacity(QUEUE_CHUNKS + 2),
            streams: Streams::new(),
            limit,
            chunk_cost: Nanos(0),
            queued: Nanos(0),
            out: Burst::new(),
        }
    }

    /// Queues what there is room for; frees and counts the rest.
    fn push(&mut self, pool: &mut Pool, now: Nanos, burst: &mut Burst, counters: &Counters) {
        if self.chunk_cost.0 == 0 {
            let chunks = (pool.capacity() / 4).clamp(1, QUEUE_CHUNKS);
            self.chunk_cost = Nanos((self.limit.0 / chunks as u64).max(1));
        }
        self.streams.age(now, self.limit);
        let mut refused = 0;
        for frame in burst.drain(..) {
            let wire = wire_len(frame.len());
            let cost = self.line.time(wire).max(Nanos(self.chunk_cost.0 * frame.chunks() as u64));
            match self.admit(source(pool, &frame), cost) {
                Some(stream) => {
                    let departs = self.line.send(now, wire);
                    self.queue.push_back(Queued { frame, departs, cost, stream });
                }
                None => {
                    pool.free(frame);
                    refused += 1;
                }
            }
        }
        if refused > 0 {
            counters.dropped(DropReason::LineRate, refused);
        }
    }

    /// Takes room for a frame of the stream from `source`; the stream's place, or `None` when there is no room.
    #[inline]
    fn admit(&mut self, source: Mac, cost: Nanos) -> Option<u16> {
        // A frame that is longer than the whole queue still passes, alone.
        let left = if self.queue.is_empty() { cost } else { self.limit.since(self.queued) };
        let stream = self.streams.admit(source, cost, self.limit, left)?;
        self.queued = self.queued.plus(cost);
        Some(stream)
    }

    /// Sends to `port` what has left the line by `now`; how many frames.
    #[inline]
    fn release(&mut self, pool: &mut Pool, now: Nanos, port: &mut dyn Port) -> usize {
        let mut released = 0;
        while self.queue.front().is_some_and(|first| first.departs <= now) {
            let Some(first) = self.queue.pop_front() else { break };
            self.queued = self.queued.since(first.cost);
            self.streams.release(first.stream, first.cost);
            self.out.push(first.frame);
            released += 1;
            if self.out.len() == BURST {
                port.push(pool, &mut self.out);
            }
        }
        if !self.out.is_empty() {
            port.push(pool, &mut self.out);
        }
        released
    }

    /// When to release next: at the first departure, or up to [`GATHER`] later if others follow it.
    fn deadline(&self) -> Option<Nanos> {
        let (first, last) = (self.queue.front()?, self.queue.back()?);
        Some(last.departs.min(first.departs.plus(GATHER)))
    }
}

/// Who sent the frame.
#[inline]
fn source(pool: &Pool, frame: &Frame) -> Mac {
    match pool.head(frame).get(6..12).map(TryInto::try_into) {
        Some(Ok(mac)) => Mac(mac),
        _ => Mac::default(),
    }
}

#[cfg(test)]
mod tests;
