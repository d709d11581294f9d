//! Whether frames stand in a receive ring, and how many of a guest may.
//!
//! A ring that empties now and then is a queue as it should be: it takes up bursts. One that has not emptied for a whole
//! tick will not before less comes in, and what stands in it is latency and nothing else, for all guests: so no more
//! may stand there than a millisecond's work, and each guest has its part of that. The part is told by how much room is
//! left (Choudhury and Hahne, "Dynamic queue length thresholds", 1998): so nobody needs to know how many guests there are,
//! one who is alone has nearly all, and who has nothing there yet finds room.

use crate::frame::BURST;
use crate::units::Nanos;

/// How long what waits in a ring that does not empty may take.
const STANDING: Nanos = Nanos::from_millis(1);
/// So few frames may always wait.
const LEAST_STANDING: u32 = 4 * BURST as u32;
/// So many ticks in which the ring emptied end it.
const CALM_TICKS: u32 = 100;

/// What a worker knows of one ring.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Frames pulled since the last tick, and whether the ring was empty behind any of them.
    pulled: u64,
    emptied: bool,
    /// So many frames may stand; 0: nothing stands, and there is no bound.
    most: u32,
    /// Frames were pulled since the ring was last found empty.
    unsettled: bool,
    calm: u32,
}

impl Standing {
    /// A part is so many times what is left of the room: eight guests then leave a thirty-third of it free.
    const STEEP: u64 = 4;

    /// Whether there is a bound.
    #[inline]
    pub(super) fn is_bound(&self) -> bool {
        self.most > 0
    }

    /// So many frames were pulled; whether that emptied the ring.
    #[inline]
    pub(super) fn note(&mut self, pulled: u32, emptied: bool) {
        self.pulled += u64::from(pulled);
        self.emptied |= emptied;
        self.unsettled = true;
    }

    /// The ring is empty. Whether that is news, and there is a bound.
    #[inline]
    pub(super) fn note_empty(&mut self) -> bool {
        self.emptied = true;
        std::mem::take(&mut self.unsettled) && self.most > 0
    }

    /// Frames of a guest of weight 1 that may wait while so many wait altogether; 0: any number.
    #[inline]
    pub(super) fn part(&self, waiting: u32) -> u64 {
        if self.most == 0 { 0 } else { (Self::STEEP * u64::from(self.most.saturating_sub(waiting))).max(1) }
    }

    /// A tick ends that lasted so long. Whether the bound has changed.
    pub(super) fn tick(&mut self, passed: Nanos, ring: u32) -> bool {
        let (pulled, emptied) = (std::mem::take(&mut self.pulled), std::mem::take(&mut self.emptied));
        if pulled > 0 && !emptied {
            let work = pulled * STANDING.0 / passed.0.max(1);
            self.most = u32::try_from(work).unwrap_or(ring).clamp(LEAST_STANDING.min(ring), ring);
            self.calm = 0;
            return true;
        }
        self.calm = self.calm.saturating_add(1);
        if self.most == 0 || self.calm < CALM_TICKS {
            return false;
        }
        self.most = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Nanos = Nanos::from_millis(10);

    /// A tick in which so many frames were pulled.
    fn tick(standing: &mut Standing, pulled: u32, emptied: bool) -> bool {
        standing.note(pulled, emptied);
        standing.tick(TICK, 2048)
    }

    #[test]
    fn a_ring_that_empties_takes_up_bursts_of_any_length() {
        let mut standing = Standing::default();
        for _ in 0..1000 {
            assert!(!tick(&mut standing, 100_000, true) && !standing.is_bound());
            assert_eq!(standing.part(2000), 0);
        }
        assert!(!standing.tick(Nanos::from_secs(1), 2048), "nothing came at all");
    }

    #[test]
    fn what_stands_is_a_millisecond_of_work_and_a_second_without_ends_it() {
        for (pulled, most) in [(10_000, 1000), (100_000, 2048), (10, 256)] {
            let mut standing = Standing::default();
            assert!(tick(&mut standing, pulled, false));
            assert_eq!((standing.part(0), standing.part(most as u32 - 3)), (4 * most, 12));
            assert_eq!(standing.part(5000), 1, "one frame always finds a place");
            let ended = (0..200).position(|_| tick(&mut standing, pulled, true));
            assert_eq!((ended, standing.is_bound()), (Some(99), false));
        }
    }

    /// Floods of these weights, and one who has nothing in the ring yet: the ring settles where each has its part.
    #[test]
    fn floods_have_the_ring_by_weight_and_leave_room() {
        for weights in [&[1_u64; 8][..], &[1, 2, 4], &[1]] {
            let mut standing = Standing::default();
            tick(&mut standing, 5_120, false);
            let mut rows = vec![0_u64; weights.len()];
            loop {
                let waiting: u64 = rows.iter().sum();
                let part = standing.part(waiting as u32);
                let Some(next) =
                    (0..rows.len()).filter(|&n| rows[n] < part * weights[n]).min_by_key(|&n| rows[n] / weights[n])
                else {
                    break;
                };
                rows[next] += 1;
            }
            let waiting: u64 = rows.iter().sum();
            assert!((380..512).contains(&waiting), "{rows:?}");
            assert!(standing.part(waiting as u32) >= 12, "a newcomer's part");
            let unit = waiting as f64 / weights.iter().sum::<u64>() as f64;
            assert!(
                rows.iter()
                    .zip(weights)
                    .all(|(&row, &weight)| (row as f64 / (unit * weight as f64) - 1.0).abs() < 0.05),
                "{rows:?}"
            );
        }
    }

    #[test]
    fn an_empty_ring_is_news_once() {
        let mut standing = Standing::default();
        standing.note(64, false);
        assert!(!standing.note_empty(), "no bound, nothing to settle");
        standing.tick(TICK, 2048);
        tick(&mut standing, 64, false);
        assert_eq!([standing.note_empty(), standing.note_empty()], [true, false]);
    }
}
