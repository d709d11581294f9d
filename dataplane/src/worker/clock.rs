//! A worker's clock: `CLOCK_MONOTONIC`, and between two readings of it the processor's own.
//!
//! A worker asks for the time after every burst. Where reading the clock needs no system call that costs 25 ns. In dom0 of
//! Xen it needs one, unless hypervisor and kernel agree that the processor's clock is good for more (`PVCLOCK_TSC_STABLE_BIT`,
//! by default they do not), and a system call there is dear: it goes through the hypervisor twice. So the processor's clock
//! is trusted, but never for longer than [`HORIZON`], and never across a sleep, in which some processors' clocks stand still.
//! One that runs twice as fast as it did, or half as fast, is wrong by no more than that.

use crate::units::Nanos;

/// How long the processor's clock is believed.
const HORIZON: Nanos = Nanos::from_millis(1);
/// Between two readings that tell its rate, at least: an interrupt between reading the one clock and the other is less.
const BASELINE: Nanos = Nanos::from_millis(100);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    time: Nanos,
    cycles: u64,
}

impl Reading {
    fn take() -> Self {
        Self { time: Nanos::now(), cycles: cycles() }
    }
}

/// The clock of one worker.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Reading,
    /// What the rate is told by, with the next reading that is [`BASELINE`] later.
    base: Reading,
    /// Nanoseconds a cycle, times 2^32; none before it is known.
    rate: Option<u64>,
    /// What was said last: time does not run backwards.
    said: Nanos,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let now = Reading::take();
        Self { last: now, base: now, rate: None, said: now.time }
    }

    /// The time. Never earlier than what was said before.
    #[inline]
    pub(crate) fn now(&mut self) -> Nanos {
        match self.estimate() {
            Some(time) => self.say(time),
            None => self.read(),
        }
    }

    #[inline]
    fn say(&mut self, time: Nanos) -> Nanos {
        self.said = self.said.max(time);
        self.said
    }

    /// By the processor's clock, if that may be believed.
    #[inline]
    fn estimate(&self) -> Option<Nanos> {
        // One that was set back, or counts differently on another core, is far in the future.
        let span = cycles().wrapping_sub(self.last.cycles).checked_mul(self.rate?)? >> 32;
        (span <= HORIZON.0).then(|| self.last.time.plus(Nanos(span)))
    }

    /// The time, by the real clock: after a sleep.
    pub(crate) fn read(&mut self) -> Nanos {
        self.last = Reading::take();
        let (time, cycles) = (self.last.time.since(self.base.time), self.last.cycles.wrapping_sub(self.base.cycles));
        if time >= BASELINE {
            let rate = (u128::from(time.0) << 32).checked_div(u128::from(cycles));
            self.rate = rate.and_then(|rate| u64::try_from(rate).ok()).filter(|&rate| rate > 0);
            self.base = self.last;
        }
        self.say(self.last.time)
    }
}

/// The processor's clock; 0 where there is none that a program can read at once.
#[inline]
fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and Linux lets programs use it.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_monotonic_clock_within_its_horizon() {
        let mut clock = Clock::new();
        let (begin, mut last) = (Nanos::now(), Nanos(0));
        while Nanos::now().since(begin) < Nanos::from_millis(350) {
            let before = Nanos::now();
            let time = clock.now();
            let after = Nanos::now();
            assert!(time >= last, "{time:?} after {last:?}");
            assert!(time.plus(HORIZON) >= before && time <= after.plus(HORIZON), "{before:?} {time:?} {after:?}");
            last = time;
        }
        if cfg!(target_arch = "x86_64") {
            assert!(clock.rate.is_some());
        }
    }

    /// Set back, or far ahead.
    #[test]
    fn a_processor_s_clock_that_is_wrong_is_not_believed() {
        let mut clock = Clock::new();
        for cycles in [u64::MAX / 2, cycles().wrapping_add(1 << 40)] {
            clock.rate = Some(1 << 31);
            clock.last.cycles = cycles;
            let before = Nanos::now();
            assert!(clock.now() >= before);
        }
    }
}
