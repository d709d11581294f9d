//! The port that every port of an engine is behind: limits in both directions, and a scheduler before the output.
//!
//! Without a limit, and while the port has room, both directions are one comparison and the port's own call.

use std::sync::Arc;

use super::Shares;
use super::limit::{Counts, Gate, Limit};
use super::shaper::Shaper;
use crate::frame::Burst;
use crate::offload::Offloads;
use crate::pool::Pool;
use crate::port::{Counters, Port, Sleep};
use crate::units::{GuestId, Nanos, PortId};

/// The limits of a port itself, which all of its queues share. Those of its guest are in [`Shares`].
#[derive(Clone, Debug)]
pub struct PortLimits {
    /// What its peer may send.
    pub from: Arc<Limit>,
    /// The line that its output is.
    pub line: Arc<Limit>,
}

impl Default for PortLimits {
    fn default() -> Self {
        Self { from: Arc::new(Limit::none(Counts::Frame)), line: Arc::new(Limit::none(Counts::Wire)) }
    }
}

/// A port with its limits and its queues.
pub struct Shaped {
    inner: Box<dyn Port>,
    intake: Intake,
    shaper: Shaper,
}

impl Shaped {
    /// Puts `port`, of this guest or an uplink, behind `limits` and the guest's.
    pub fn new(port: Box<dyn Port>, limits: &PortLimits, shares: &Arc<Shares>, guest: GuestId) -> Self {
        let [from, to] = shares.limits(guest);
        let intake = Intake { gate: Gate::new([Arc::clone(&limits.from), from]), held: Burst::new(), silent: true };
        let shaper = Shaper::new(Gate::new([Arc::clone(&limits.line), to]), Arc::clone(shares));
        Self { inner: port, intake, shaper }
    }
}

/// A limit on what comes in: a peer beyond it is not dropped but not listened to. Its frames stay in its own ring, which
/// fills, and then it is the peer's stack that waits, as it would before a slow line.
///
/// Ports give bursts, and a burst may be a second of a slow rate: what was pulled is held, and let go frame by frame.
struct Intake {
    gate: Gate,
    held: Burst,
    /// The peer had nothing more when it was last asked.
    silent: bool,
}

impl Intake {
    #[inline]
    fn is_open(&self) -> bool {
        self.held.is_empty() && !self.gate.is_limited()
    }

    fn pull(&mut self, port: &mut dyn Port, pool: &mut Pool, burst: &mut Burst) {
        let now = Nanos::now();
        self.pass(now, burst);
        if self.held.is_empty() && !burst.is_full() {
            port.pull(pool, &mut self.held);
            // Who always had more was waiting for its rate, or for us, and has lost nothing.
            if self.silent && !self.held.is_empty() {
                self.gate.wake(now);
            }
            self.silent = !self.held.is_full();
            self.pass(now, burst);
        }
    }

    /// Lets go what is due.
    fn pass(&mut self, now: Nanos, burst: &mut Burst) {
        let Some(first) = self.held.first() else { return };
        self.gate.open(now, first.len());
        let room = burst.remaining_capacity();
        let due = self.held.iter().take(room).take_while(|frame| self.gate.pass(frame.len(), now)).count();
        burst.extend(self.held.drain(..due));
        self.gate.close();
    }

    /// When the first frame that is held is due.
    fn deadline(&self) -> Option<Nanos> {
        let first = self.held.first()?;
        Some(self.gate.due_when(first.len()))
    }
}

impl Port for Shaped {
    #[inline]
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        // A breath begins with a pull, so departures keep their time even while nobody pushes to this port.
        if !self.shaper.is_empty() && self.shaper.release(pool, Nanos::now(), self.inner.as_mut()) > 0 {
            self.inner.flush(pool);
            // The worker knows of what is pushed, not of what leaves later: a peer that sleeps would learn of it at a tick.
            self.inner.notify();
        }
        if self.intake.is_open() {
            self.inner.pull(pool, burst);
        } else {
            self.intake.pull(self.inner.as_mut(), pool, burst);
        }
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        if self.shaper.is_open() && self.inner.room() >= burst.len() {
            return self.inner.push(pool, burst);
        }
        self.shaper.push(pool, Nanos::now(), burst, self.inner.counters());
    }

    #[inline]
    fn source(&mut self, guest: GuestId) {
        self.shaper.set_source(guest);
    }

    #[inline]
    fn flush(&mut self, pool: &mut Pool) {
        if !self.shaper.is_empty() {
            self.shaper.release(pool, Nanos::now(), self.inner.as_mut());
        }
        self.inner.flush(pool);
    }

    #[inline]
    fn is_unsent(&self) -> bool {
        self.inner.is_unsent()
    }

    fn notify(&mut self) {
        self.inner.notify();
    }

    fn tick(&mut self, pool: &mut Pool, now: Nanos) {
        self.inner.tick(pool, now);
    }

    fn arm(&mut self, sleep: &Sleep) -> bool {
        let due = self.own_deadline().is_some_and(|due| due <= Nanos::now());
        // Beyond its limit, frames that wait in the peer's ring are no reason to stay awake: the deadline is.
        (self.inner.arm(sleep) || !self.intake.held.is_empty()) && !due
    }

    fn disarm(&mut self, sleep: &Sleep) {
        self.inner.disarm(sleep);
    }

    fn deadline(&self) -> Option<Nanos> {
        Nanos::earlier(self.own_deadline(), self.inner.deadline())
    }

    fn detach(&mut self, pool: &mut Pool) {
        self.shaper.clear(pool);
        pool.free_all(self.intake.held.drain(..));
        self.inner.detach(pool);
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn is_full(&self) -> bool {
        self.shaper.is_full() || self.inner.is_full()
    }

    #[inline]
    fn sorted(&mut self, output: PortId, frames: usize) {
        self.inner.sorted(output, frames);
    }

    fn room(&mut self) -> usize {
        self.inner.room()
    }

    fn accepts(&self) -> Offloads {
        self.inner.accepts()
    }

    fn counters(&self) -> &Arc<Counters> {
        self.inner.counters()
    }

    fn mode(&self) -> String {
        self.inner.mode()
    }
}

impl Shaped {
    fn own_deadline(&self) -> Option<Nanos> {
        Nanos::earlier(self.shaper.deadline(), self.intake.deadline())
    }
}
