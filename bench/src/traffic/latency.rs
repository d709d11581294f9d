//! How long frames were under way: what the sink's histogram says.
//!
//! The sink (`traffic.bpf.c`) counts into buckets that are less than one percent wide, and keeps count, sum and longest
//! beside them: mean and maximum are exact, quantiles to half a percent.

use std::time::Duration;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

/// Buckets for each power of two; as in `traffic.bpf.c`.
const FINE: u64 = 128;

/// Words before the buckets: frames, sum, longest.
const HEAD: usize = 3;

/// What stamped frames took.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    frames: u64,
    sum: u64,
    longest: u64,
}

impl Latency {
    /// Frames that arrived.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// The mean. Zero if none arrived.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.frames).unwrap_or(0))
    }

    /// What this part of the frames stayed below.
    pub fn quantile(&self, part: f64) -> Duration {
        // The middle of a bucket may lie beyond what was really the longest.
        Duration::from_nanos(self.histogram.value_at_quantile(part).min(self.longest))
    }

    /// The longest.
    pub const fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }
}

/// From the words of `struct latency`.
pub(super) fn read(words: &[u64]) -> Result<Latency> {
    let Some((&[frames, sum, longest], buckets)) = words.split_first_chunk::<HEAD>() else {
        bail!("{} words are no histogram", words.len());
    };
    let mut histogram = Histogram::new(3)?;
    for (index, &count) in (0..).zip(buckets) {
        histogram.record_n(middle(index), count)?;
    }
    Ok(Latency { histogram, frames, sum, longest })
}

/// The middle of a bucket, ns.
const fn middle(index: u64) -> u64 {
    if index < 2 * FINE {
        return index;
    }
    let octave = index / FINE - 1;
    ((index - octave * FINE) << octave) + (1 << octave) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the program counts.
    fn index(took: u64) -> u64 {
        let octave = if took < 2 * FINE { 0 } else { 56 - u64::from(took.leading_zeros()) };
        octave * FINE + (took >> octave)
    }

    #[test]
    fn buckets_join_without_a_gap_and_are_narrow() {
        let mut last = 0;
        for took in (0..5_000).chain((5_000..2_000_000_000).step_by(77_777)) {
            let at = index(took);
            assert!(at == last || at == last + 1 || took >= 5_000, "{took}");
            assert!(middle(at).abs_diff(took) * 200 <= took.max(200), "{took}: {}", middle(at));
            last = at;
        }
    }

    #[test]
    fn what_is_read_is_what_was_counted() {
        let mut words = vec![0; size_of::<pointsman_bpf::traffic::types::latency>() / 8];
        for took in 1..=1000 {
            words[0] += 1;
            words[1] += took * 1000;
            words[2] = took * 1000;
            words[HEAD + index(took * 1000) as usize] += 1;
        }
        let latency = read(&words).unwrap();
        assert_eq!(latency.frames(), 1000);
        assert_eq!(latency.mean(), Duration::from_nanos(500_500));
        assert_eq!(latency.longest(), Duration::from_millis(1));
        for (part, micros) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = latency.quantile(part).as_secs_f64() * 1e6;
            assert!((found - micros).abs() / micros < 0.01, "{part}: {found}");
        }
    }

    #[test]
    fn no_frames_have_no_mean() {
        let latency = read(&vec![0; HEAD + 256]).unwrap();
        assert_eq!((latency.mean(), latency.quantile(0.5)), (Duration::ZERO, Duration::ZERO));
        assert!(read(&[0; 2]).is_err());
    }
}
