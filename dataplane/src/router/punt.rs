//! Punting: what is for the router itself goes to the stack that is its control plane.
//!
//! That is everything on the link that is not to be forwarded: packets for the router's addresses, ARP and neighbour
//! discovery (which the router listens to on the way), broadcast and multicast of the link, and protocols that are not
//! IP. The stack is somebody's virtual machine or namespace, and anybody on the link can send it such frames: the policer
//! lets through a number of them a second and drops what is beyond, so that routing protocols find a stack that has time
//! for them, and the engine's worker time for packets.

use super::{Io, Router, Routing};
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::units::Nanos;

/// How many frames may be punted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PuntRate {
    /// Frames a second: at least one.
    pub rate: u32,
    /// Frames at once, after a silence: at least one.
    pub burst: u32,
}

impl PuntRate {
    /// What a control plane of some hundred neighbours needs many times over, and a stack takes without noticing.
    pub const DEFAULT: Self = Self { rate: 10_000, burst: 1_000 };
}

/// A token bucket as one number: when it would be full again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policer {
    interval: Nanos,
    /// What a burst takes, less one frame.
    slack: Nanos,
    full_at: Nanos,
}

impl Policer {
    /// One that nothing passes: for routers without punt ports.
    pub(crate) const fn none() -> Self {
        Self { interval: Nanos(u64::MAX), slack: Nanos(0), full_at: Nanos(u64::MAX) }
    }

    pub(crate) fn new(rate: PuntRate) -> Self {
        let interval = Nanos(1_000_000_000 / u64::from(rate.rate.max(1)));
        Self { interval, slack: Nanos(interval.0 * u64::from(rate.burst.max(1) - 1)), full_at: Nanos(0) }
    }

    /// Whether one more may pass; if so it is counted.
    fn allows(&mut self, now: Nanos) -> bool {
        if self.full_at.since(now) > self.slack {
            return false;
        }
        self.full_at = self.full_at.max(now).plus(self.interval);
        true
    }
}

impl<R: Routing> Router<R> {
    /// Hands a frame to the stack behind the interface that it came in on. Without one nobody is there to take it.
    pub(super) fn punt(&mut self, io: &mut Io<'_>, frame: Frame) {
        let interface = &self.interfaces[io.input];
        let Some(port) = interface.punt else { return self.drop(io, frame, DropReason::NotForUs) };
        if !io.out.is_up(port) {
            return self.drop(io, frame, DropReason::PuntDown);
        }
        if !self.policer.allows(io.now) {
            return self.drop(io, frame, DropReason::PuntRate);
        }
        interface.punted.received(1, frame.len() as u64);
        io.out.send(port, frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policer_lets_through_its_rate_and_a_burst() {
        let mut policer = Policer::new(PuntRate { rate: 100, burst: 5 });
        let mut passed = |now| (0..1000).filter(|_| policer.allows(now)).count();
        let begin = Nanos::from_secs(10);
        assert_eq!(passed(begin), 5);
        assert_eq!(passed(begin.plus(Nanos::from_millis(9))), 0);
        assert_eq!(passed(begin.plus(Nanos::from_millis(10))), 1);
        assert_eq!(passed(begin.plus(Nanos::from_millis(40))), 3);
        assert_eq!(passed(begin.plus(Nanos::from_secs(60))), 5, "no more than a burst gathers");
        let mut one = Policer::new(PuntRate { rate: 1, burst: 1 });
        assert!(one.allows(begin) && !one.allows(begin.plus(Nanos::from_millis(999))));
        assert!(one.allows(begin.plus(Nanos::from_secs(1))));
        assert!(!Policer::none().allows(begin));
    }
}
