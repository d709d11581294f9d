//! Who may have how much of the queue.
//!
//! A worker serves its ports in a fixed order, burst by burst. With a plain tail drop the room that the line frees in
//! the course of a breath goes to whoever comes first in that order, and whoever comes last can be locked out for as
//! long as the overload lasts. So the room is divided: of `n` streams, each may take an `n`th. In a first-in, first-out
//! queue a stream's part of the room is its part of the line.
//!
//! A stream is what comes from one Ethernet source address. For a guest that is the guest, since the bridge checks it.
//! It counts for as long as it sends, whether or not its frames find room; a stream that was silent for a while gives
//! its part to the others. The table is exact for hundreds of streams, four places a hash; only beyond that do streams
//! share a place, and with it its part of the room.

use crate::units::{Mac, Nanos};

const SETS: usize = 256;
const WAYS: usize = 4;

/// The room is divided by no more than this: with many streams each would otherwise get less than it takes to keep the
/// line busy from one breath to the next.
const MOST_SHARES: u64 = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    source: Mac,
    queued: Nanos,
    /// The place is taken.
    held: bool,
    /// Sent something since the last ageing.
    sent: bool,
}

/// What each stream has queued.
#[derive(Debug)]
pub struct Streams {
    table: Box<[Stream; SETS * WAYS]>,
    /// Places held.
    active: u64,
    /// When those that are silent lose theirs.
    ageing: Nanos,
}

impl Streams {
    pub fn new() -> Self {
        Self { table: Box::new([Stream::default(); SETS * WAYS]), active: 0, ageing: Nanos(0) }
    }

    /// Takes `cost` of the queue's `limit`, of which `left` is left, for the stream from `source`: the stream's place, to
    /// be given back with [`release`](Self::release); `None` when the stream has its share already or none is left.
    #[inline]
    pub fn admit(&mut self, source: Mac, cost: Nanos, limit: Nanos, left: Nanos) -> Option<u16> {
        let place = self.place(source);
        let stream = self.table.get_mut(place)?;
        stream.sent = true;
        if !stream.held {
            stream.held = true;
            stream.source = source;
            self.active += 1;
        }
        let share = Nanos(limit.0 / self.active.min(MOST_SHARES));
        let within = stream.queued == Nanos(0) || stream.queued.plus(cost) <= share;
        if cost > left || !within {
            return None;
        }
        stream.queued = stream.queued.plus(cost);
        Some(place as u16)
    }

    /// Gives back what [`admit`](Self::admit) took.
    #[inline]
    pub fn release(&mut self, place: u16, cost: Nanos) {
        if let Some(stream) = self.table.get_mut(place as usize) {
            stream.queued = stream.queued.since(cost);
        }
    }

    /// Lets go of streams that have nothing queued and were silent for `span` or up to twice that.
    #[inline]
    pub fn age(&mut self, now: Nanos, span: Nanos) {
        if now >= self.ageing {
            self.ageing = now.plus(span);
            self.forget_silent();
        }
    }

    /// A microsecond or so.
    #[cold]
    fn forget_silent(&mut self) {
        for stream in self.table.iter_mut().filter(|stream| stream.held) {
            if stream.sent || stream.queued > Nanos(0) {
                stream.sent = false;
            } else {
                stream.held = false;
                self.active -= 1;
            }
        }
    }

    /// The place of `source`: the one it holds, else a free one, else one that it shares.
    #[inline]
    fn place(&self, source: Mac) -> usize {
        let hash = source.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let first = hash as usize % SETS * WAYS;
        let mut free = None;
        for way in first..first + WAYS {
            match self.table.get(way) {
                Some(stream) if !stream.held => free = free.or(Some(way)),
                Some(stream) if stream.source == source => return way,
                _ => {}
            }
        }
        free.unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Nanos = Nanos(1000);

    fn mac(n: u64) -> Mac {
        let b = n.to_be_bytes();
        Mac([2, b[3], b[4], b[5], b[6], b[7]])
    }

    const SPAN: Nanos = Nanos(5_000);

    fn fill(streams: &mut Streams, source: Mac) -> u64 {
        let mut taken = 0;
        while streams.admit(source, Nanos(10), LIMIT, LIMIT).is_some() {
            taken += 10;
        }
        taken
    }

    #[test]
    fn a_stream_alone_has_all_the_room_and_with_others_its_part() {
        let mut streams = Streams::new();
        assert_eq!(fill(&mut streams, mac(1)), 1000);
        assert_eq!(fill(&mut streams, mac(2)), 500);
        assert_eq!(fill(&mut streams, mac(3)), 330);
        assert_eq!(fill(&mut streams, mac(2)), 0, "over its share since the third came");
    }

    #[test]
    fn who_found_no_room_counts_all_the_same() {
        let mut streams = Streams::new();
        assert!(streams.admit(mac(1), Nanos(10), LIMIT, Nanos(0)).is_none());
        assert_eq!(fill(&mut streams, mac(2)), 500);
    }

    #[test]
    fn a_silent_stream_frees_its_share_and_its_place() {
        let mut streams = Streams::new();
        let mut now = Nanos(0);
        for n in 0..10_000 {
            now = now.plus(Nanos(1000));
            streams.age(now, SPAN);
            let place = streams.admit(mac(n), Nanos(10), LIMIT, LIMIT).unwrap();
            streams.release(place, Nanos(10));
            assert!(streams.active <= 11, "{} streams held", streams.active);
        }
        let place = streams.admit(mac(1), Nanos(10), LIMIT, LIMIT).unwrap();
        for _ in 0..2 {
            now = now.plus(SPAN);
            streams.age(now, SPAN);
        }
        assert_eq!(streams.active, 1, "who has frames queued stays");
        streams.release(place, Nanos(10));
        assert_eq!(fill(&mut streams, mac(2)), 500, "for a while the other still counts");
    }

    #[test]
    fn hundreds_of_streams_do_not_meet() {
        let mut streams = Streams::new();
        let mut places: Vec<_> = (0..200).map(|n| streams.admit(mac(n), Nanos(1), LIMIT, LIMIT).unwrap()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 200);
    }

    #[test]
    fn more_streams_than_places_share_and_lose_count_of_nothing() {
        let mut streams = Streams::new();
        let places: Vec<_> = (0..10_000).filter_map(|n| streams.admit(mac(n), Nanos(1), LIMIT, LIMIT)).collect();
        assert_eq!(streams.active, (SETS * WAYS) as u64);
        for place in places {
            streams.release(place, Nanos(1));
        }
        streams.age(SPAN, SPAN);
        streams.age(SPAN.plus(SPAN), SPAN);
        assert_eq!(streams.active, 0);
    }
}
