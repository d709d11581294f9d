//! A line's own clock: when it will have sent what it was given.
//!
//! Integer arithmetic with the remainder carried along: a line that is busy for a year is not a nanosecond off.

use super::rate::LineRate;
use crate::units::Nanos;

/// How far the line may lag behind the clock and catch up: what a worker that wakes late, or pulls in bursts, must not
/// cost the line. It is also the longest burst that leaves an idle line at once.
pub const TOLERANCE: Nanos = Nanos::from_micros(200);

/// What a frame costs on the wire beyond its own bytes: FCS 4, preamble and start delimiter 8, inter-frame gap 12
/// (IEEE 802.3-2018, 3.1.1 and 4.4.2).
const OVERHEAD: u64 = 24;

/// Shortest frame without FCS; shorter ones are padded.
const MIN_FRAME: u64 = 60;

/// Bytes of line time that a frame of `len` bytes (without FCS) takes.
pub const fn wire_len(len: usize) -> u64 {
    let len = len as u64;
    OVERHEAD + if len < MIN_FRAME { MIN_FRAME } else { len }
}

#[derive(Debug)]
pub struct Line {
    rate: LineRate,
    /// When everything given so far has been sent.
    free_at: Nanos,
    /// The part of a nanosecond beyond that, in units of 1/rate.
    rest: u64,
    /// What a frame of so many bytes takes: frames of one length follow each other, and a division is slow.
    wire: u64,
    time: Nanos,
    time_rest: u64,
}

impl Line {
    pub fn new(rate: LineRate) -> Self {
        Self { rate, free_at: Nanos(0), rest: 0, wire: 0, time: Nanos(0), time_rest: 0 }
    }

    pub fn rate(&self) -> LineRate {
        self.rate
    }

    /// How long the line takes for `wire` bytes, rounded down.
    #[inline]
    pub fn time(&mut self, wire: u64) -> Nanos {
        if wire != self.wire {
            let (work, rate) = (wire * 8 * 1_000_000_000, self.rate.bits_per_second());
            (self.wire, self.time, self.time_rest) = (wire, Nanos(work / rate), work % rate);
        }
        self.time
    }

    /// Sends a frame of `wire` bytes after everything before it; when it will have left.
    #[inline]
    pub fn send(&mut self, now: Nanos, wire: u64) -> Nanos {
        let earliest = now.since(TOLERANCE);
        if self.free_at < earliest {
            self.free_at = earliest;
            self.rest = 0;
        }
        self.free_at = self.free_at.plus(self.time(wire));
        self.rest += self.time_rest;
        if self.rest >= self.rate.bits_per_second() {
            self.rest -= self.rate.bits_per_second();
            self.free_at = self.free_at.plus(Nanos(1));
        }
        self.free_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_length_is_that_of_ethernet() {
        // 1.488 million frames a second is what 1 Gb/s carries of the shortest, 81,274 of 1514 bytes.
        assert_eq!(1_000_000_000 / (wire_len(60) * 8), 1_488_095);
        assert_eq!(1_000_000_000 / (wire_len(1514) * 8), 81_274);
        assert_eq!(wire_len(14), wire_len(60));
        assert_eq!(wire_len(61), wire_len(60) + 1);
    }

    #[test]
    fn a_busy_line_does_not_drift() {
        // A rate that divides nothing.
        let rate = LineRate::new(999_999_937).unwrap();
        let mut line = Line::new(rate);
        let start = Nanos::from_secs(1);
        let frames = 3_000_000;
        let mut last = Nanos(0);
        for _ in 0..frames {
            last = line.send(start, wire_len(60));
        }
        let exact = frames as u128 * 84 * 8 * 1_000_000_000 / u128::from(rate.bits_per_second());
        assert_eq!(u128::from(last.since(start.since(TOLERANCE)).0), exact);
    }

    #[test]
    fn an_idle_line_catches_up_no_more_than_the_tolerance() {
        let mut line = Line::new(LineRate::new(1_000_000_000).unwrap());
        let now = Nanos::from_secs(5);
        assert_eq!(line.send(now, 1538), now.since(TOLERANCE).plus(Nanos(12_304)));
        let later = now.plus(Nanos::from_micros(5));
        assert_eq!(
            line.send(later, 1538),
            now.since(TOLERANCE).plus(Nanos(24_608)),
            "still busy as seen from the line"
        );
    }
}
