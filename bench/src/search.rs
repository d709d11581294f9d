//! The highest rate without loss, found by search.
//!
//! A rate is lossless if a trial at it loses no more than [`LOSSLESS`] of the frames. One disturbance on a machine that
//! does other things besides, or shares its processors with other virtual machines, must not decide, so a rate counts as
//! too high only when three trials in a row lose. The search goes up from a rate in steps until one is too high (or down
//! until one is not), then halves the distance until the bounds are closer than the resolution. The answer is the trial
//! with the highest rate that passed: what was shown, not a bound. If none passed it is the one that lost the least, and
//! says so by its loss.

use anyhow::Result;

/// The part of the frames that may be lost: 0.001 %.
pub const LOSSLESS: f64 = 1e-5;

/// Trials in a row that must lose before a rate counts as too high.
const TRIES: usize = 3;

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Where to begin, frames a second.
    pub begin: f64,
    /// First step, as a ratio of rates above 1.
    pub step: f64,
    /// The search ends when the bounds are within this ratio of rates, above 1.
    pub resolution: f64,
    /// No rate is tried above it.
    pub ceiling: f64,
    /// Trials at most; the best rate so far is then the answer.
    pub trials: usize,
}

/// What a trial at a rate has shown.
pub trait Outcome {
    /// The part that was lost.
    fn loss(&self) -> f64;
    /// Frames a second that were really sent. A generator that cannot keep a rate has not tried it.
    fn offered_pps(&self) -> f64;
}

impl Outcome for crate::traffic::Trial {
    fn loss(&self) -> f64 {
        Self::loss(self)
    }

    fn offered_pps(&self) -> f64 {
        Self::offered_pps(self)
    }
}

impl Search {
    /// Searches. None if no trial was allowed.
    ///
    /// # Errors
    /// Those of the trials.
    pub fn run<T: Outcome>(self, mut trial: impl FnMut(f64) -> Result<T>) -> Result<Option<T>> {
        let mut left = self.trials;
        let mut best: Option<T> = None;
        let mut least: Option<T> = None;
        let (mut low, mut high) = (0.0_f64, f64::INFINITY);
        let mut rate = self.begin.min(self.ceiling);
        let mut step = self.step;
        while left > 0 {
            let mut passed = false;
            let mut kept = true;
            for _ in 0..left.min(TRIES) {
                left -= 1;
                let outcome = trial(rate)?;
                if outcome.loss() <= LOSSLESS {
                    passed = true;
                    kept = outcome.offered_pps() >= 0.95 * rate;
                    if best.as_ref().is_none_or(|b| b.offered_pps() < outcome.offered_pps()) {
                        best = Some(outcome);
                    }
                    if kept {
                        break;
                    }
                } else if least.as_ref().is_none_or(|l| outcome.loss() < l.loss()) {
                    least = Some(outcome);
                }
            }
            if passed && !kept {
                // Beyond what the generator can offer.
                break;
            }
            if passed {
                low = low.max(rate);
            } else {
                high = high.min(rate);
            }
            if low >= self.ceiling || (low > 0.0 && high / low <= self.resolution) {
                break;
            }
            rate = if high.is_infinite() {
                (low * step).min(self.ceiling)
            } else if low == 0.0 {
                high / step
            } else {
                (low * high).sqrt()
            };
            // Far from where it began the search takes longer strides.
            step = (step * step).min(2.0);
        }
        Ok(best.or(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shown(f64, f64);

    impl Outcome for Shown {
        fn loss(&self) -> f64 {
            self.0
        }
        fn offered_pps(&self) -> f64 {
            self.1
        }
    }

    fn find(capacity: f64, begin: f64, trials: usize) -> (Option<f64>, usize) {
        let mut tried = 0;
        let search = Search { begin, step: 1.2, resolution: 1.02, ceiling: 5e6, trials };
        let best = search
            .run(|rate| {
                tried += 1;
                Ok(Shown(if rate > capacity { 1.0 - capacity / rate } else { 0.0 }, rate))
            })
            .unwrap();
        (best.map(|b| b.1), tried)
    }

    #[test]
    fn finds_the_capacity_from_below_and_from_above() {
        for begin in [5e4, 3e5, 4.4e5, 4.6e5, 2e6, 5e6] {
            let (found, tried) = find(450_000.0, begin, 60);
            let found = found.unwrap();
            assert!((450_000.0 / 1.021..=450_000.0).contains(&found), "from {begin}: {found}");
            assert!(tried <= 30, "{tried} trials");
        }
    }

    #[test]
    fn stops_at_the_ceiling() {
        assert_eq!(find(1e9, 1e6, 60).0, Some(5e6));
    }

    #[test]
    fn where_everything_loses_the_least_loss_is_the_answer() {
        let (found, tried) = find(10.0, 1e6, 10);
        assert_eq!(tried, 10);
        assert!(found.unwrap() < 1e6);
        assert_eq!(find(10.0, 1e6, 0), (None, 0));
    }

    #[test]
    fn a_rate_that_the_generator_cannot_keep_is_not_claimed() {
        let search = Search { begin: 1e6, step: 1.5, resolution: 1.02, ceiling: 9e6, trials: 60 };
        let best = search.run(|rate| Ok(Shown(0.0, rate.min(3e6)))).unwrap().unwrap();
        assert_eq!(best.offered_pps(), 3e6);
    }

    #[test]
    fn a_single_disturbance_does_not_decide() {
        let mut tried = 0;
        let search = Search { begin: 1e5, step: 1.2, resolution: 1.02, ceiling: 1e6, trials: 60 };
        let best = search
            .run(|rate| {
                tried += 1;
                Ok(Shown(if tried % 3 == 1 || rate > 6e5 { 0.01 } else { 0.0 }, rate))
            })
            .unwrap();
        assert!(best.unwrap().1 > 5.8e5);
    }
}
