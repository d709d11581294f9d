//! A rate, as everybody who is bound by it sees it, and the arithmetic of one who is.
//!
//! A [`Limit`] is a line: it has an instant until which it is busy. A frame takes its time of the line and passes when
//! that time is over. How far the instant may lag behind the clock is the burst: what a silent sender may send at once,
//! and what a worker that wakes late must not cost. Several ports on several workers may share one limit; what they share
//! is one atomic word, written once a burst.
//!
//! Integer arithmetic with the remainder carried along: a line that is busy for a year is not a nanosecond off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::link_rate::{LineRate, TOLERANCE, wire_len};
use crate::units::Nanos;

/// How long a guest may send at once at its rate when no burst is given: as long as a worker that shares its core may be
/// away.
const GUEST_BURST: Nanos = Nanos::from_millis(4);
/// The least burst: two full frames, so that a slow guest's small frames need not come one by one.
const LEAST_BURST: u64 = 2 * 1514;

/// What a worker that was late catches up at most beyond the burst: whatever was on its way then has been dropped.
const LATE: Nanos = Nanos::from_millis(50);

/// What counts of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// What it takes of an Ethernet line: at least 64 bytes, preamble and gap.
    Wire,
    /// Its bytes without FCS, as `show` counts them.
    Frame,
}

impl Counts {
    #[inline]
    const fn bytes(self, len: usize) -> u64 {
        match self {
            Self::Wire => wire_len(len),
            Self::Frame => len as u64,
        }
    }
}

/// A rate that may change at any time, or be none. Shared by all who are bound by it.
#[derive(Debug)]
pub struct Limit {
    counts: Counts,
    /// Bits a second; 0: no limit.
    bits: AtomicU64,
    /// How far the line may lag behind the clock.
    tolerance: AtomicU64,
    /// When everything that passed has been sent.
    free_at: AtomicU64,
}

impl Limit {
    /// None yet.
    pub const fn none(counts: Counts) -> Self {
        Self { counts, bits: AtomicU64::new(0), tolerance: AtomicU64::new(0), free_at: AtomicU64::new(0) }
    }

    /// The rate of a line.
    pub fn line(rate: Option<LineRate>) -> Self {
        let limit = Self::none(Counts::Wire);
        limit.set(rate, None);
        limit
    }

    /// From now on this rate, or none; `burst` is in bytes. Who is bound by it sees it with the next burst.
    pub fn set(&self, rate: Option<LineRate>, burst: Option<u64>) {
        let bits = rate.map_or(0, LineRate::bits_per_second);
        let tolerance = match (self.counts, burst) {
            (Counts::Wire, None) => TOLERANCE,
            (Counts::Frame, None) => GUEST_BURST.max(time(LEAST_BURST, bits)),
            (_, Some(bytes)) => time(bytes, bits),
        };
        self.tolerance.store(tolerance.0, Relaxed);
        self.bits.store(bits, Relaxed);
    }

    /// The rate now.
    pub fn rate(&self) -> Option<LineRate> {
        LineRate::new(self.bits.load(Relaxed))
    }

    /// Gives up what was not used until `lag` before the earliest instant.
    #[inline]
    fn keep_up(&self, now: Nanos, lag: Nanos) {
        let earliest = now.since(Nanos(self.tolerance.load(Relaxed))).since(lag);
        if self.free_at.load(Relaxed) < earliest.0 {
            self.free_at.fetch_max(earliest.0, Relaxed);
        }
    }
}

/// How long a line of so many bits a second takes for so many bytes, rounded down. At most some hundred years.
fn time(bytes: u64, bits: u64) -> Nanos {
    let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(bits.max(1));
    Nanos(nanos.min(u128::from(u64::MAX / 4)) as u64)
}

/// A limit, as one port is bound by it.
#[derive(Debug)]
struct Meter {
    limit: Arc<Limit>,
    /// The rate when it was last looked at.
    bits: u64,
    /// The instant of the limit while frames pass, and where it was before.
    at: Nanos,
    from: Nanos,
    /// The part of a nanosecond beyond what was paid, in units of 1/rate.
    rest: u64,
    /// What a frame of so many bytes takes: frames of one length follow each other, and a division is slow.
    len: usize,
    time: Nanos,
    time_rest: u64,
}

impl Meter {
    fn new(limit: Arc<Limit>) -> Self {
        let (bits, at, time) = (0, Nanos(0), Nanos(0));
        Self { limit, bits, at, from: at, rest: 0, len: 0, time, time_rest: 0 }
    }

    #[inline]
    fn look(&mut self, now: Nanos, len: usize) {
        let bits = self.limit.bits.load(Relaxed);
        if bits != self.bits {
            (self.bits, self.len, self.rest) = (bits, 0, 0);
        }
        if bits != 0 {
            // A frame may take longer than any worker is late.
            let lag = LATE.max(self.time(len));
            self.limit.keep_up(now, lag);
        }
        self.at = Nanos(self.limit.free_at.load(Relaxed));
        self.from = self.at;
    }

    /// How long the frame takes, rounded down.
    #[inline]
    fn time(&mut self, len: usize) -> Nanos {
        if len != self.len {
            let work = u128::from(self.limit.counts.bytes(len)) * 8_000_000_000;
            let bits = u128::from(self.bits);
            // A frame has at most 64 KiB and a rate at least one bit a second: the quotient fits.
            (self.len, self.time, self.time_rest) = (len, Nanos((work / bits) as u64), (work % bits) as u64);
        }
        self.time
    }

    /// When a frame would have been sent.
    #[inline]
    fn due(&mut self, len: usize) -> Nanos {
        match self.bits {
            0 => Nanos(0),
            _ => self.at.plus(self.time(len)),
        }
    }

    #[inline]
    fn pay(&mut self, len: usize) {
        if self.bits == 0 {
            return;
        }
        self.at = self.at.plus(self.time(len));
        self.rest += self.time_rest;
        if self.rest >= self.bits {
            self.rest -= self.bits;
            self.at = self.at.plus(Nanos(1));
        }
    }
}

/// What a frame must pass on its way into the engine, or out of it: a limit of the port, and one of its guest.
///
/// Between [`open`](Self::open) and [`close`](Self::close) frames pass; what they took is then told to whoever shares
/// the limits.
#[derive(Debug)]
pub struct Gate([Meter; 2]);

impl Gate {
    /// With these limits, whatever they are at any time.
    pub fn new(limits: [Arc<Limit>; 2]) -> Self {
        Self(limits.map(Meter::new))
    }

    /// Whether there is any limit now.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.0.iter().any(|meter| meter.limit.bits.load(Relaxed) != 0)
    }

    /// Frames come after a time in which none wanted to pass: what was not used of that time is lost, but for the burst.
    #[inline]
    pub fn wake(&mut self, now: Nanos) {
        self.0.iter().for_each(|meter| meter.limit.keep_up(now, Nanos(0)));
    }

    /// Looks at the limits as they are now; `len` is the length of the frame that comes first.
    #[inline]
    pub fn open(&mut self, now: Nanos, len: usize) {
        self.0.iter_mut().for_each(|meter| meter.look(now, len));
    }

    /// When a frame of `len` bytes may pass.
    #[inline]
    pub fn due(&mut self, len: usize) -> Nanos {
        let [one, other] = &mut self.0;
        one.due(len).max(other.due(len))
    }

    /// Whether a frame of `len` bytes may pass; then it has.
    #[inline]
    pub fn pass(&mut self, len: usize, now: Nanos) -> bool {
        if self.due(len) > now {
            return false;
        }
        self.0.iter_mut().for_each(|meter| meter.pay(len));
        true
    }

    /// Tells what passed.
    #[inline]
    pub fn close(&mut self) {
        for meter in &mut self.0 {
            let paid = meter.at.since(meter.from);
            if paid > Nanos(0) {
                meter.limit.free_at.fetch_add(paid.0, Relaxed);
                meter.from = meter.at;
            }
        }
    }

    /// As [`due`](Self::due), for who only looks: limits as they are now.
    pub fn due_when(&self, len: usize) -> Nanos {
        let due = |meter: &Meter| match meter.limit.bits.load(Relaxed) {
            0 => Nanos(0),
            bits => Nanos(meter.limit.free_at.load(Relaxed)).plus(time(meter.limit.counts.bytes(len), bits)),
        };
        self.0.iter().map(due).max().unwrap_or(Nanos(0))
    }

    /// Which of the limits is the slower one; none: there is none.
    pub fn slower(&self) -> Option<usize> {
        self.slowest().map(|(index, _)| index)
    }

    /// How many bytes of the slower limit's line fit into `span`; none: there is no limit.
    pub fn carries(&self, span: Nanos) -> Option<u64> {
        self.slowest().map(|(_, bits)| (u128::from(bits) * u128::from(span.0) / 8_000_000_000) as u64)
    }

    /// How long the slower limit takes for `bytes`.
    pub fn time(&self, bytes: u64) -> Nanos {
        self.slowest().map_or(Nanos(0), |(_, bits)| time(bytes, bits))
    }

    fn slowest(&self) -> Option<(usize, u64)> {
        let rates = self.0.iter().map(|meter| meter.limit.bits.load(Relaxed)).enumerate();
        rates.filter(|&(_, bits)| bits != 0).min_by_key(|&(_, bits)| bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(counts: Counts, bits: u64, burst: Option<u64>) -> (Gate, Arc<Limit>) {
        let limit = Arc::new(Limit::none(counts));
        limit.set(LineRate::new(bits), burst);
        (Gate::new([Arc::new(Limit::none(Counts::Wire)), Arc::clone(&limit)]), limit)
    }

    /// Bytes that pass within `span` when frames of `len` are always there and are looked at every `step`.
    fn passed(gate: &mut Gate, len: usize, step: Nanos, span: Nanos) -> u64 {
        let (mut now, mut bytes) = (Nanos::from_secs(100), 0);
        let end = now.plus(span);
        gate.wake(now);
        while now < end {
            now = now.plus(step);
            gate.open(now, 60);
            while gate.pass(len, now) {
                bytes += len as u64;
            }
            gate.close();
        }
        bytes
    }

    #[test]
    fn a_rate_is_kept_within_a_thousandth_beyond_its_burst() {
        for bits in [1_000_000, 100_000_000, 1_000_000_000, 999_999_937, 40_000_000_000] {
            for len in [60, 1500] {
                let (mut gate, _) = gate(Counts::Frame, bits, Some(0));
                let span = Nanos::from_millis(if bits > 100_000_000 { 50 } else { 4_000 });
                let bytes = passed(&mut gate, len, Nanos::from_micros(17), span);
                let exact = (u128::from(bits) * u128::from(span.0) / 8_000_000_000) as u64;
                assert!(bytes.abs_diff(exact) <= exact / 1000 + len as u64, "{bytes} of {exact}, frames of {len}");
            }
        }
    }

    #[test]
    fn a_busy_line_does_not_drift() {
        // A rate that divides nothing.
        let bits = 999_999_937;
        let (mut gate, limit) = gate(Counts::Wire, bits, None);
        let start = Nanos::from_secs(1);
        gate.wake(start);
        gate.open(start, 60);
        let frames = 3_000_000;
        for _ in 0..frames {
            assert!(gate.pass(60, Nanos(u64::MAX)));
        }
        gate.close();
        let exact = frames as u128 * 84 * 8 * 1_000_000_000 / u128::from(bits);
        let took = Nanos(limit.free_at.load(Relaxed)).since(start.since(TOLERANCE));
        assert_eq!(u128::from(took.0), exact);
    }

    #[test]
    fn silence_saves_a_burst_and_no_more() {
        let (mut gate, _) = gate(Counts::Frame, 8_000, Some(5_000));
        let now = Nanos::from_secs(1_000_000);
        gate.wake(now);
        gate.open(now, 60);
        let mut taken = 0;
        while gate.pass(100, now) {
            taken += 100;
        }
        assert_eq!(taken, 5_000);
        assert_eq!(gate.due(100), now.plus(Nanos::from_millis(100)));
    }

    #[test]
    fn two_who_share_a_limit_get_no_more_than_it() {
        let limit = Arc::new(Limit::none(Counts::Frame));
        limit.set(LineRate::new(100_000_000), Some(3_000));
        let mut gates = [(); 2].map(|()| Gate::new([Arc::new(Limit::none(Counts::Frame)), Arc::clone(&limit)]));
        let (mut now, mut bytes) = (Nanos::from_secs(1), 0);
        while now < Nanos::from_secs(2) {
            now = now.plus(Nanos::from_micros(10));
            for gate in &mut gates {
                gate.wake(now);
                gate.open(now, 60);
                while gate.pass(1500, now) {
                    bytes += 1500;
                }
                gate.close();
            }
        }
        assert!((12_487_500..=12_504_500).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_rate_changes_under_way_and_goes_away() {
        let (mut gate, limit) = gate(Counts::Frame, 8_000_000, Some(0));
        let second = Nanos::from_secs(1);
        let step = Nanos::from_micros(100);
        let slow = passed(&mut gate, 1000, step, second);
        limit.set(LineRate::new(80_000_000), Some(0));
        gate.wake(Nanos::from_secs(100));
        let (mut now, mut fast) = (Nanos::from_secs(101), 0);
        while now < Nanos::from_secs(102) {
            now = now.plus(step);
            gate.open(now, 60);
            while gate.pass(1000, now) {
                fast += 1000;
            }
            gate.close();
        }
        assert!((999_000..=1_001_000).contains(&slow) && (9_990_000..=10_010_000).contains(&fast), "{slow} {fast}");
        limit.set(None, None);
        assert!(!gate.is_limited());
        gate.open(Nanos::from_secs(103), 60);
        assert_eq!(gate.due(60_000), Nanos(0));
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let (mut gate, limit) = gate(Counts::Frame, 1, Some(u64::MAX));
        gate.wake(Nanos::from_secs(1));
        gate.open(Nanos::from_secs(1), 60);
        assert!(gate.due(65_553) > Nanos::from_secs(500_000));
        limit.set(LineRate::new(LineRate::MAX), Some(u64::MAX));
        gate.open(Nanos::from_secs(1), 60);
        assert!(gate.pass(65_553, Nanos::from_secs(1)));
        gate.close();
    }
}
