//! Frames at a rate.
//!
//! What is due is told by the time since the first frame and not by the one before, so that a sleep that took too long is
//! made up for, and rounding never adds up. But only [`BEHIND`] of it: whoever was kept from sending for longer goes on at
//! his rate, and sends no flood.

use crate::units::Nanos;

/// What is made up for.
const BEHIND: Nanos = Nanos::from_millis(100);

const SECOND: u128 = Nanos::from_secs(1).0 as u128;

/// Tells how many frames are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Frames a second, not 0.
    rate: u64,
    began: Nanos,
    /// Frames sent or forgone since.
    frames: u64,
}

impl Pace {
    pub(super) fn new(rate: u64, began: Nanos) -> Self {
        Self { rate: rate.max(1), began, frames: 0 }
    }

    /// Frames due by now.
    #[inline]
    pub(super) fn due(&mut self, now: Nanos) -> u64 {
        let all = self.within(now.since(self.began)).saturating_add(1);
        let most = self.within(BEHIND).max(1);
        self.frames = self.frames.max(all.saturating_sub(most));
        all.saturating_sub(self.frames)
    }

    /// Frames that a span has room for.
    fn within(&self, span: Nanos) -> u64 {
        u64::try_from(u128::from(span.0) * u128::from(self.rate) / SECOND).unwrap_or(u64::MAX)
    }

    /// So many were sent.
    #[inline]
    pub(super) fn sent(&mut self, frames: u64) {
        self.frames = self.frames.saturating_add(frames);
    }

    /// When the next is due.
    #[inline]
    pub(super) fn next(&self) -> Nanos {
        let since = (u128::from(self.frames) * SECOND).div_ceil(u128::from(self.rate));
        self.began.plus(Nanos(u64::try_from(since).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks whenever a frame is due, or `late` after that, for a second; how many were sent.
    fn second(rate: u64, late: Nanos) -> u64 {
        let began = Nanos(12_345);
        let (mut pace, mut now, mut all) = (Pace::new(rate, began), began, 0);
        while now < began.plus(Nanos::from_secs(1)) {
            let due = pace.due(now);
            assert!(due > 0, "{rate}: nothing at {now:?}");
            pace.sent(due);
            all += due;
            assert!(pace.next() > now);
            assert_eq!(pace.due(now), 0);
            now = pace.next().plus(late);
        }
        all
    }

    #[test]
    fn a_second_has_as_many_frames_as_the_rate_says() {
        for rate in [1, 3, 1000, 30_011] {
            assert_eq!(second(rate, Nanos(0)), rate);
        }
        // Those of the last sleep are still to come.
        for rate in [1000, 30_011, 14_880_952] {
            let (sent, last) = (second(rate, Nanos::from_millis(1)), rate / 500 + 1);
            assert!(sent <= rate && sent + last >= rate, "{rate}: {sent}");
        }
    }

    #[test]
    fn a_long_absence_is_not_made_up_for() {
        let mut pace = Pace::new(1000, Nanos(0));
        assert_eq!(pace.due(Nanos(0)), 1);
        assert_eq!(pace.due(Nanos::from_secs(60)), 100);
        pace.sent(100);
        assert_eq!(pace.next(), Nanos::from_secs(60).plus(Nanos::from_millis(1)));
    }

    #[test]
    fn no_rate_and_no_time_is_too_large() {
        for now in [Nanos(0), Nanos::from_secs(9), Nanos(u64::MAX)] {
            let mut pace = Pace::new(u64::MAX, Nanos(0));
            assert!(pace.due(now) > 0);
            pace.sent(u64::MAX);
            assert!(pace.next() >= Nanos::from_secs(1));
        }
    }
}
