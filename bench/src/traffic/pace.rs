//! When frames are due. The program in the kernel keeps the pace; this is what it is told, and the arithmetic of it.

use std::time::Duration;

use anyhow::{Result, bail};
use pointsman_dataplane::units::Nanos;

/// Binary places of the times that the program counts with: a step is exact to 15 femtoseconds.
const PLACES: u32 = 16;

/// How many frames a generator that was held up sends at once to catch up. A receive ring of a veth has 256 places, and a
/// burst that fills it would be the generator's doing; what it is later than this it lets go, and says so.
const CATCH_UP: u64 = 32;

/// One run of the generator: frames at even distances, some of which are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Frames a second, all flows together.
    pub rate: f64,
    /// Sent, but not counted: what is under test warms up.
    pub warm_up: Duration,
    /// Sent and counted.
    pub window: Duration,
    /// Sent after it, not counted: what is under test does not come to rest before the window has ended.
    pub after: Duration,
}

impl Pace {
    /// The time between two frames, in 2^-16 ns.
    ///
    /// # Errors
    /// A rate beyond one frame a nanosecond, or below one in an hour.
    pub fn step_q16(&self) -> Result<u64> {
        let step = 1e9 / self.rate * f64::from(1_u32 << PLACES);
        if !(65_536.0..2.4e17).contains(&step) {
            bail!("{} frames a second is not a rate the generator can keep", self.rate);
        }
        Ok(step.round() as u64)
    }

    /// The program's orders (`struct pace` in `traffic.bpf.c`), with the number of targets, if flows have any.
    ///
    /// # Errors
    /// As [`Pace::step_q16`].
    pub fn orders(&self, start: Nanos, flows: usize, ifindex: u32, targets: u32) -> Result<Vec<u8>> {
        let step = self.step_q16()?;
        let at = |span: Duration| (span.as_nanos() as u64) << PLACES;
        let (from, to) = (self.warm_up, self.warm_up + self.window);
        let words = [start.0, step, step * CATCH_UP, at(from), at(to), at(to + self.after), 0, 0, 0];
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        // The first round begins with flow 0, and at any target: short runs must not all see the same ones.
        let first = (start.0 as u32).checked_rem(targets).unwrap_or(0);
        for word in [flows as u32, ifindex, 0, 0, targets, first] {
            bytes.extend(word.to_ne_bytes());
        }
        Ok(bytes)
    }

    /// How many frames are due within the window.
    pub fn due(&self) -> u64 {
        let step = self.step_q16().unwrap_or(u64::MAX);
        let frames_before = |t: Duration| ((t.as_nanos() as u64) << PLACES).div_ceil(step);
        frames_before(self.warm_up + self.window) - frames_before(self.warm_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: f64) -> Pace {
        Pace {
            rate,
            warm_up: Duration::from_millis(50),
            window: Duration::from_secs(1),
            after: Duration::from_millis(5),
        }
    }

    #[test]
    fn a_second_holds_as_many_frames_as_the_rate_says() {
        for rate in [1_000.0, 81_274.0, 357_000.0, 8.0 * 357_000.0, 3e6] {
            let due = pace(rate).due() as f64;
            assert!((due - rate).abs() <= 1.0 + rate * 1e-6, "{rate}: {due}");
        }
    }

    #[test]
    fn orders_are_as_long_as_the_program_reads_and_in_its_order() {
        let bytes = pace(1e6).orders(Nanos(77), 8, 5, 10).unwrap();
        assert_eq!(bytes.len(), size_of::<pointsman_bpf::traffic::types::pace>());
        let word = |i: usize| u64::from_ne_bytes(bytes[8 * i..8 * i + 8].try_into().unwrap());
        assert_eq!(word(0), 77);
        assert_eq!(word(1), 1000 << 16);
        assert_eq!(word(2), 32_000 << 16);
        assert_eq!((word(3), word(4), word(5)), (50_000_000 << 16, 1_050_000_000 << 16, 1_055_000_000 << 16));
        assert_eq!(&bytes[72..80], [8_u32.to_ne_bytes(), 5_u32.to_ne_bytes()].as_flattened());
        assert_eq!(&bytes[88..96], [10_u32.to_ne_bytes(), 7_u32.to_ne_bytes()].as_flattened());
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e9] {
            assert!(pace(rate).step_q16().is_err(), "{rate}");
        }
    }
}
