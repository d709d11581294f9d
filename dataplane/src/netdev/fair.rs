//! Who is served first of what stands in a receive ring: whoever has little there.
//!
//! In the kernel's ring frames lie in one row, and whoever sends little waits behind whoever sends all he can. So when more
//! than a burst stands there the worker takes the whole row out, which costs a glance at each frame's destination, and lays
//! it into a row for each station (flow queues, RFC 8290). Of every burst each row gets two frames, and of the rest the part
//! that it has of all that waits: who has many gets about as many as he would in one row, and who has few waits for no longer
//! than a burst. Frames of a station keep their order.

use arrayvec::ArrayVec;

use crate::frame::{BURST, Burst, Frame};
use crate::pool::{FrameQueue, Pool};

/// Stations are told apart by so many bits of a hash.
const BITS: u32 = 8;
/// Frames that a row gets of a burst at least: two, so that a row of who sends little does not stay once it is there.
const LEAST: usize = 2;
/// Rows.
const ROWS: usize = 1 << BITS;

/// The frames that were taken out of a ring and wait.
#[derive(Debug)]
pub(super) struct Fair {
    rows: Box<[FrameQueue]>,
    /// Rows with frames, in the order of their turns.
    turns: Box<ArrayVec<u8, ROWS>>,
    waiting: u32,
}

impl Default for Fair {
    fn default() -> Self {
        Self { rows: (0..ROWS).map(|_| FrameQueue::default()).collect(), turns: Box::default(), waiting: 0 }
    }
}

impl Fair {
    /// How many frames wait.
    #[inline]
    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Takes in a frame.
    #[inline]
    pub(super) fn take(&mut self, pool: &mut Pool, frame: Frame) {
        let at = row_of(pool.head(&frame));
        let row = &mut self.rows[at];
        if row.is_empty() {
            self.turns.push(at as u8);
        }
        pool.enqueue(row, frame);
        self.waiting += 1;
    }

    /// Fills the burst with frames that wait.
    #[inline]
    pub(super) fn serve(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let all = self.waiting.max(1) as usize;
        let shared = BURST - (LEAST * self.turns.len()).min(BURST / 2);
        while !burst.is_full() && !self.turns.is_empty() {
            let mut served = 0;
            let mut kept = 0;
            for turn in 0..self.turns.len() {
                if burst.is_full() {
                    break;
                }
                let at = self.turns[turn];
                let row = &mut self.rows[usize::from(at)];
                for _ in 0..(LEAST + row.len() * shared / all).min(burst.remaining_capacity()) {
                    let Some(frame) = pool.dequeue(row) else { break };
                    self.waiting -= 1;
                    burst.push(frame);
                }
                served += 1;
                if !row.is_empty() {
                    self.turns[kept] = at;
                    kept += 1;
                }
            }
            // Those that were served go behind the others.
            self.turns[..served].rotate_left(kept);
            self.turns.drain(..served - kept);
            self.turns.rotate_left(kept);
        }
    }

    /// Frees what waits.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        for at in self.turns.drain(..) {
            while let Some(frame) = pool.dequeue(&mut self.rows[usize::from(at)]) {
                pool.free(frame);
            }
        }
        self.waiting = 0;
    }
}

/// By destination and VLAN. Multiplicative hashing (Knuth, 6.4), with the golden ratio.
#[inline]
fn row_of(head: &[u8]) -> usize {
    let Some(&[a, b, c, d, e, f, ..]) = head.first_chunk::<12>() else { return 0 };
    let vlan = match head.get(12..16) {
        Some(&[0x81, 0x00, high, low]) => u16::from_be_bytes([high & 0x0f, low]),
        _ => 0,
    };
    let [high, low] = vlan.to_be_bytes();
    (u64::from_be_bytes([a, b, c, d, e, f, high, low]).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame for this station, with a serial number.
    fn frame(pool: &mut Pool, station: u8, serial: u32) -> Frame {
        let mut bytes = [0; 60];
        bytes[5] = station;
        bytes[14..18].copy_from_slice(&serial.to_be_bytes());
        pool.frame_from(&bytes).unwrap()
    }

    /// Station and serial number of each frame, which are freed.
    fn told(pool: &mut Pool, burst: &mut Burst) -> Vec<(u8, u32)> {
        let tell = |frame: &Frame| {
            let head = pool.head(frame);
            (head[5], u32::from_be_bytes([head[14], head[15], head[16], head[17]]))
        };
        let told = burst.iter().map(tell).collect();
        pool.free_all(burst.drain(..));
        told
    }

    /// Takes in frames for these stations, numbered in order, and gives the first burst.
    fn first_burst(pool: &mut Pool, fair: &mut Fair, stations: impl IntoIterator<Item = u8>) -> Burst {
        let mut burst = Burst::new();
        for (serial, station) in stations.into_iter().enumerate() {
            let frame = frame(pool, station, serial as u32);
            fair.take(pool, frame);
        }
        fair.serve(pool, &mut burst);
        burst
    }

    #[test]
    fn who_has_one_frame_behind_a_flood_goes_first() {
        let mut pool = Pool::new(2048).unwrap();
        let mut fair = Fair::default();
        let flood = std::iter::repeat_n(1, 1000);
        let mut burst = first_burst(&mut pool, &mut fair, flood.chain([2, 3]));
        let told = told(&mut pool, &mut burst);
        assert_eq!(told.len(), BURST);
        assert!(told.contains(&(2, 1000)) && told.contains(&(3, 1001)), "{told:?}");
        assert_eq!(fair.waiting() as usize, 1002 - BURST);
        fair.clear(&mut pool);
    }

    /// Nor does he when ten of his came at once: they must not lock him in behind the flood for good.
    #[test]
    fn who_sends_little_never_gets_behind_the_flood() {
        let mut pool = Pool::new(4096).unwrap();
        let mut fair = Fair::default();
        for breath in 0..200 {
            let flood = if breath == 0 { 1500 } else { BURST };
            for station in std::iter::repeat_n(1, flood).chain(std::iter::repeat_n(2, if breath == 9 { 10 } else { 1 }))
            {
                let frame = frame(&mut pool, station, breath);
                fair.take(&mut pool, frame);
            }
            let mut burst = Burst::new();
            fair.serve(&mut pool, &mut burst);
            let told = told(&mut pool, &mut burst);
            let settled = !(9..30).contains(&breath);
            assert!(!settled || told.contains(&(2, breath)), "{breath}: {told:?}");
            assert!(told.iter().filter(|(station, _)| *station == 1).count() >= BURST / 2);
        }
        fair.clear(&mut pool);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Bursts come and go: none is lost or doubled, and a station's frames leave in order.
        #[test]
        fn stations_keep_their_order(rows in prop::collection::vec(prop::collection::vec(0u8..12, 0..150), 1..12)) {
            let mut pool = Pool::new(4096).unwrap();
            let before = pool.available();
            let mut fair = Fair::default();
            let (mut taken, mut given) = ([0u32; 12], [0u32; 12]);
            let mut rows = rows.into_iter();
            loop {
                let row = rows.next();
                let over = row.is_none();
                let mut burst = Burst::new();
                for station in row.into_iter().flatten() {
                    let frame = frame(&mut pool, station, taken[usize::from(station)]);
                    taken[usize::from(station)] += 1;
                    fair.take(&mut pool, frame);
                }
                fair.serve(&mut pool, &mut burst);
                if over && burst.is_empty() {
                    break;
                }
                for (station, serial) in told(&mut pool, &mut burst) {
                    prop_assert_eq!(serial, given[usize::from(station)]);
                    given[usize::from(station)] += 1;
                }
            }
            prop_assert_eq!(taken, given);
            prop_assert_eq!((fair.waiting(), fair.turns.len(), pool.available()), (0, 0, before));
        }
    }
}
