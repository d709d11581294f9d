//! Deficit round robin (Shreedhar and Varghese, 1995) over the sources of an output.
//!
//! Each source has a queue. Its turn lasts while its deficit covers the first frame; then it gets `weight` times a quantum
//! and goes behind the others. The quantum is a full frame on the wire, so a turn of an ordinary frame is found at once; a
//! piece of 64 KiB takes its source several rounds, as it should.
//!
//! Each source has an equal part of the room there is, counted among those who have frames queued. So a source finds room
//! whatever the others have queued, and one that is alone has all of it.

use std::collections::VecDeque;

use super::Weight;
use crate::frame::Frame;
use crate::link_rate::wire_len;
use crate::pool::{FrameQueue, Pool};
use crate::units::GuestId;

/// What a source of weight 1 may send in its turn: a full frame.
const QUANTUM: u64 = wire_len(1514);
/// Sources that an output tells apart; with more guests than that, some share a queue. It bounds what an output takes of
/// memory, of which there are as many as there are guests.
const PLACES: usize = 256;
/// The room is divided by no more than this: with many sources each would otherwise get less than it takes to keep the
/// line busy from one breath to the next.
const MOST_PARTS: u64 = 32;

/// One source at this output.
#[derive(Debug)]
struct Place {
    queue: FrameQueue,
    /// Room that its frames take.
    room: u64,
    /// Bytes that it may still send in this turn.
    deficit: u64,
    weight: Weight,
}

/// The queues of an output.
#[derive(Debug)]
pub struct Drr {
    places: Box<[Place]>,
    /// Places with frames, in the order of their turns. Never more than there are.
    turns: VecDeque<u16>,
    room: u64,
    bytes: u64,
    chunks: usize,
}

impl Drr {
    /// For so many guests, and the uplinks.
    pub fn new(guests: usize) -> Self {
        let count = guests.clamp(1, PLACES);
        let place = || Place { queue: FrameQueue::default(), room: 0, deficit: 0, weight: Weight::ONE };
        Self {
            places: (0..count).map(|_| place()).collect(),
            turns: VecDeque::with_capacity(count),
            room: 0,
            bytes: 0,
            chunks: 0,
        }
    }

    /// Whether nothing is queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Room that is taken.
    pub fn room(&self) -> u64 {
        self.room
    }

    /// Bytes that are queued, as on the wire.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Chunks that are queued.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// Queues a frame of `source` that takes `cost` of the room `limit`; gives it back when the source has its part.
    #[inline]
    pub fn push(
        &mut self,
        pool: &mut Pool,
        source: (GuestId, Weight),
        frame: Frame,
        cost: u64,
        limit: u64,
    ) -> Result<(), Frame> {
        let at = source.0.index() % self.places.len();
        let Some(place) = self.places.get_mut(at) else { return Err(frame) };
        let comes = place.queue.is_empty();
        // A frame that is longer than the whole queue still passes, alone.
        if !comes {
            let parts = (self.turns.len() as u64).min(MOST_PARTS);
            if place.room + cost > limit / parts {
                return Err(frame);
            }
        }
        place.weight = source.1;
        place.room += cost;
        self.room += cost;
        self.bytes += wire_len(frame.len());
        self.chunks += frame.chunks();
        pool.enqueue(&mut place.queue, frame);
        if comes {
            place.deficit = QUANTUM * place.weight.times();
            self.turns.push_back(at as u16);
        }
        Ok(())
    }

    /// Bytes and chunks of the frame whose turn it is.
    #[inline]
    pub fn first(&mut self, pool: &Pool) -> Option<(usize, usize)> {
        loop {
            let at = *self.turns.front()?;
            let place = self.places.get_mut(usize::from(at))?;
            let (len, chunks) = pool.first_in(&place.queue)?;
            if place.deficit >= wire_len(len) {
                return Some((len, chunks));
            }
            place.deficit += QUANTUM * place.weight.times();
            self.turns.rotate_left(1);
        }
    }

    /// Takes the frame whose turn it is, which [`first`](Self::first) has told. `cost` is what a frame of its length and
    /// chunks took of the room.
    #[inline]
    pub fn pop(&mut self, pool: &mut Pool, cost: impl FnOnce(&Frame) -> u64) -> Option<Frame> {
        let at = *self.turns.front()?;
        let place = self.places.get_mut(usize::from(at))?;
        let frame = pool.dequeue(&mut place.queue)?;
        let bytes = wire_len(frame.len());
        let cost = cost(&frame);
        place.deficit = place.deficit.saturating_sub(bytes);
        self.bytes -= bytes;
        self.chunks -= frame.chunks();
        if place.queue.is_empty() {
            self.room -= place.room;
            place.room = 0;
            self.turns.pop_front();
        } else {
            // The price may have changed since; the last frame settles it.
            let cost = cost.min(place.room);
            place.room -= cost;
            self.room -= cost;
        }
        Some(frame)
    }

    /// Takes every frame, in no order.
    pub fn drain(&mut self, pool: &mut Pool, mut each: impl FnMut(&mut Pool, Frame)) {
        for place in &mut self.places {
            while let Some(frame) = pool.dequeue(&mut place.queue) {
                each(pool, frame);
            }
            place.room = 0;
        }
        self.turns.clear();
        (self.room, self.bytes, self.chunks) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLENTY: u64 = 1 << 30;

    fn frame(pool: &mut Pool, source: u16, len: usize) -> Frame {
        let mut bytes = vec![0; len];
        bytes[0] = source as u8;
        pool.frame_from(&bytes).unwrap()
    }

    fn weight(times: u16) -> Weight {
        Weight::new(times).unwrap()
    }

    /// Wire bytes that each of `weights` got while all were backlogged with frames of `lens`.
    fn served(weights: &[u16], lens: &[usize], total: u64) -> Vec<u64> {
        let mut pool = Pool::new(4096).unwrap();
        let mut drr = Drr::new(weights.len() + 1);
        let mut got = vec![0; weights.len()];
        let mut serial = 0;
        while got.iter().sum::<u64>() < total {
            for (n, &times) in weights.iter().enumerate() {
                let source = GuestId(n as u16 + 1);
                while drr.places[source.index()].queue.len() < 200 {
                    serial += 1;
                    let frame = frame(&mut pool, source.0, lens[(serial + n) % lens.len()]);
                    drr.push(&mut pool, (source, weight(times)), frame, 1, PLENTY).unwrap();
                }
            }
            for _ in 0..50 {
                let (len, _) = drr.first(&pool).unwrap();
                let frame = drr.pop(&mut pool, |_| 1).unwrap();
                assert_eq!(frame.len(), len);
                got[usize::from(pool.head(&frame)[0]) - 1] += wire_len(len);
                pool.free(frame);
            }
        }
        got
    }

    #[test]
    fn shares_are_as_the_weights_in_bytes_whatever_the_frames() {
        for lens in [&[60][..], &[1514], &[60, 1514], &[60, 9000, 600]] {
            let got = served(&[1, 2, 4], lens, 40_000_000);
            let unit = got.iter().sum::<u64>() as f64 / 7.0;
            for (got, times) in got.iter().zip([1.0, 2.0, 4.0]) {
                assert!((*got as f64 / (unit * times) - 1.0).abs() < 0.02, "{got} of {} {lens:?}", unit * times);
            }
        }
    }

    #[test]
    fn whoever_sends_small_frames_and_whoever_sends_large_ones_get_the_same() {
        let mut pool = Pool::new(4096).unwrap();
        let mut drr = Drr::new(3);
        let mut got = [0u64; 2];
        for _ in 0..40_000 {
            for (n, len) in [(1, 60), (2, 1514)] {
                while drr.places[usize::from(n)].queue.len() < 64 {
                    let frame = frame(&mut pool, n, len);
                    drr.push(&mut pool, (GuestId(n), Weight::ONE), frame, 1, PLENTY).unwrap();
                }
            }
            drr.first(&pool).unwrap();
            let frame = drr.pop(&mut pool, |_| 1).unwrap();
            got[usize::from(pool.head(&frame)[0]) - 1] += wire_len(frame.len());
            pool.free(frame);
        }
        assert!(got[0].abs_diff(got[1]) <= 2 * QUANTUM, "{got:?}");
    }

    #[test]
    fn a_source_that_comes_late_finds_its_part_of_the_room() {
        let mut pool = Pool::new(4096).unwrap();
        let mut drr = Drr::new(8);
        let mut fill = |drr: &mut Drr, source: u16| {
            let mut taken = 0;
            loop {
                let frame = frame(&mut pool, source, 60);
                match drr.push(&mut pool, (GuestId(source), Weight::ONE), frame, 10, 1000) {
                    Ok(()) => taken += 10,
                    Err(frame) => {
                        pool.free(frame);
                        return taken;
                    }
                }
            }
        };
        assert_eq!(fill(&mut drr, 1), 1000);
        assert_eq!(fill(&mut drr, 2), 500);
        assert_eq!(fill(&mut drr, 3), 330);
        assert_eq!(fill(&mut drr, 1), 0, "over its part since others came");
    }

    proptest! {
        /// Frames come and go in any order: none is lost or doubled, each source's leave in order, and accounts settle.
        #[test]
        fn nothing_is_lost_and_sources_keep_their_order(
            steps in prop::collection::vec((0u16..6, prop_oneof![Just(60usize), Just(1514), 14usize..9000], 0usize..4, 1u16..=100), 1..300),
        ) {
            let mut pool = Pool::new(2048).unwrap();
            let before = pool.available();
            let mut drr = Drr::new(6);
            let (mut pushed, mut popped) = (vec![0u32; 6], vec![0u32; 6]);
            let mut take = |drr: &mut Drr, pool: &mut Pool| {
                let Some((len, _)) = drr.first(pool) else { return Ok(false) };
                let frame = drr.pop(pool, |frame| frame.len() as u64).unwrap();
                prop_assert_eq!(frame.len(), len);
                let head: [u8; 5] = pool.head(&frame)[..5].try_into().unwrap();
                let source = usize::from(head[0]);
                let serial = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
                prop_assert_eq!(serial, popped[source]);
                popped[source] += 1;
                pool.free(frame);
                Ok(true)
            };
            for (source, len, pops, times) in steps {
                let mut bytes = vec![0; len];
                bytes[0] = source as u8;
                bytes[1..5].copy_from_slice(&pushed[usize::from(source)].to_be_bytes());
                let Some(frame) = pool.frame_from(&bytes) else { continue };
                match drr.push(&mut pool, (GuestId(source), weight(times)), frame, len as u64, 100_000) {
                    Ok(()) => pushed[usize::from(source)] += 1,
                    Err(frame) => pool.free(frame),
                }
                for _ in 0..pops {
                    take(&mut drr, &mut pool)?;
                }
            }
            while take(&mut drr, &mut pool)? {}
            prop_assert_eq!(pushed, popped);
            prop_assert_eq!((drr.room(), drr.bytes(), drr.chunks()), (0, 0, 0));
            prop_assert!(drr.is_empty());
            prop_assert_eq!(pool.available(), before);
        }
    }
}
