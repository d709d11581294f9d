//! Learned stations: one table that all workers read and write, without a lock.
//!
//! A bucket is one cache line of four entries, and an entry is two words: who (the [`Key`]) and where (a [`Sighting`]).
//! Who is written last and erased first, so whoever finds a key finds its sighting behind it. Should the entry change
//! hands between the two reads, the sighting's check bits tell with near certainty; were they to agree by chance, the
//! frame goes to a port of the wrong station, and the bridge still asks whether that port is in the frame's domain.
//! So the worst that a race can do is what a bridge may do with any frame: flood it, or show it to one more member.
//!
//! The ordinary case writes nothing: an entry is stamped with the second in which its station was last seen, and is
//! written only when the second, or the port, is another one. A slot is claimed by exchanging its key; a worker that
//! loses the race takes another slot or leaves the station unlearned until its next frame. Nobody ever waits.
//!
//! It must never hold more stations of a domain than the domain allows, and never grows.

use std::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};

use super::stations::{Key, Mixer};
use super::table::{Domain, DomainId, Table};
use crate::units::{Mac, Nanos, PortId};

const WIDTH: usize = 4;
/// Buckets for each four stations that may be learned: with one in four slots used, the second bucket of a pair is
/// hardly ever needed, and both are full for fewer than one station in ten thousand.
const SLOTS_PER_STATION: usize = 4;
const MIN_BUCKETS: usize = 1024;
/// 256 MiB.
const MAX_BUCKETS: usize = 1 << 22;
/// Buckets looked through in a tick: about a microsecond, and no more than the first-level cache can spare.
const SWEEP: usize = 256;

/// A slot that nobody uses. Like [`CLAIMED`] it has the form of a group address, which is never looked up.
const EMPTY: u64 = Key::NONE.0;
/// A slot that a worker is about to fill or to empty.
const CLAIMED: u64 = Key::NONE.0 - 1;

/// Whole seconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seconds(u32);

impl Seconds {
    #[inline]
    pub(super) const fn at(now: Nanos) -> Self {
        Self((now.0 / 1_000_000_000) as u32)
    }

    /// An age, rounded up, so that nothing is forgotten early.
    pub(super) fn of_age(age: Nanos) -> Self {
        Self(u32::try_from(age.0.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1))
    }

    const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// Where and when a station was last seen: check bits of its key, port, second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting(u64);

impl Sighting {
    #[inline]
    const fn new(hash: u64, port: PortId, at: Seconds) -> Self {
        Self(hash & 0xffff << 48 | (port.0 as u64) << 32 | at.0 as u64)
    }

    #[inline]
    const fn is_of(self, hash: u64) -> bool {
        (self.0 ^ hash) >> 48 == 0
    }

    #[inline]
    const fn port(self) -> PortId {
        PortId((self.0 >> 32) as u16)
    }

    #[inline]
    const fn at(self) -> Seconds {
        Seconds(self.0 as u32)
    }
}

#[derive(Debug)]
struct Slot<'a> {
    key: &'a AtomicU64,
    sighting: &'a AtomicU64,
}

impl Slot<'_> {
    fn sighting(&self) -> Sighting {
        Sighting(self.sighting.load(Acquire))
    }

    /// Takes the slot from `key`, so that nobody else fills or empties it.
    fn claim(&self, key: u64) -> bool {
        self.key.compare_exchange(key, CLAIMED, AcqRel, Relaxed).is_ok()
    }
}

#[derive(Debug)]
#[repr(align(64))]
struct Bucket {
    keys: [AtomicU64; WIDTH],
    sightings: [AtomicU64; WIDTH],
}

impl Bucket {
    fn empty() -> Self {
        Self { keys: [const { AtomicU64::new(EMPTY) }; WIDTH], sightings: [const { AtomicU64::new(0) }; WIDTH] }
    }

    /// The slot that holds `key`: mostly the first, so a branch at each is guessed right.
    #[inline]
    fn find(&self, key: Key) -> Option<Slot<'_>> {
        self.slots().find(|slot| slot.key.load(Acquire) == key.0)
    }

    #[inline]
    fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        self.keys.iter().zip(&self.sightings).map(|(key, sighting)| Slot { key, sighting })
    }
}

/// What learning a station came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is where it was.
    Again,
    /// It was behind another port.
    Moved,
    /// It is not in the table.
    Unknown,
}

/// A learned station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Learned {
    /// Its domain.
    pub domain: DomainId,
    /// Its address.
    pub mac: Mac,
    /// The port behind which it was seen.
    pub port: PortId,
    /// How long ago, in whole seconds.
    pub age: Nanos,
}

/// The learned stations of all domains, shared by all workers.
#[derive(Debug)]
pub struct Fdb {
    mixer: Mixer,
    buckets: Box<[Bucket]>,
    /// Stations learned, by domain.
    learned: Box<[AtomicU32]>,
    /// Where the next sweep begins.
    sweep: AtomicUsize,
}

impl Fdb {
    /// An empty one with room for what `domains` may learn.
    pub fn new(domains: &[Domain]) -> Self {
        let stations = domains.iter().fold(0_usize, |sum, domain| sum.saturating_add(domain.max_learned as usize));
        let buckets = stations.saturating_mul(SLOTS_PER_STATION) / WIDTH;
        let buckets = buckets.clamp(MIN_BUCKETS, MAX_BUCKETS).next_power_of_two();
        Self {
            mixer: Mixer::random(),
            buckets: (0..buckets).map(|_| Bucket::empty()).collect(),
            learned: domains.iter().map(|_| AtomicU32::new(0)).collect(),
            sweep: AtomicUsize::new(0),
        }
    }

    /// Stations learned in `domain`.
    pub fn learned(&self, domain: DomainId) -> u32 {
        self.learned.get(domain.index()).map_or(0, |learned| learned.load(Relaxed))
    }

    /// Every learned station, in no order, as it was when its bucket was read.
    pub fn entries(&self, now: Nanos) -> Vec<Learned> {
        let now = Seconds::at(now);
        let mut entries = Vec::new();
        for slot in self.buckets.iter().flat_map(Bucket::slots) {
            let key = slot.key.load(Acquire);
            let sighting = slot.sighting();
            if key < CLAIMED && sighting.is_of(self.mixer.mix(Key(key))) {
                let age = Nanos::from_secs(now.since(sighting.at()).0.into());
                let domain = DomainId(Key(key).domain());
                entries.push(Learned { domain, mac: Key(key).mac(), port: sighting.port(), age });
            }
        }
        entries
    }

    /// Forgets the stations behind `port`: it went down, or its cable went elsewhere.
    pub fn flush_port(&self, port: PortId) {
        self.forget(&self.buckets, |_, sighting| sighting.port() == port);
    }

    /// Forgets every station: ports or domains have been numbered anew.
    pub fn flush(&self) {
        self.forget(&self.buckets, |_, _| true);
    }

    /// Forgets what is too old, in a part of the table: called once a tick by every worker, it gets through all of it.
    pub(super) fn sweep(&self, table: &Table, now: Nanos) {
        let now = Seconds::at(now);
        let at = self.sweep.fetch_add(SWEEP, Relaxed) & (self.buckets.len() - 1);
        let part = self.buckets.get(at..).unwrap_or_default();
        let part = part.get(..SWEEP).unwrap_or(part);
        self.forget(part, |key, sighting| table.age(key.domain()).is_none_or(|age| now.since(sighting.at()) > age));
    }

    /// Both buckets in which `hash` may be: neighbouring cache lines.
    #[inline]
    fn pair(&self, hash: u64) -> impl Iterator<Item = &Bucket> {
        let at = hash as usize & (self.buckets.len() - 1);
        [at, at ^ 1].into_iter().filter_map(|at| self.buckets.get(at))
    }

    /// The slot that holds `key`.
    #[inline]
    fn find(&self, key: Key, hash: u64) -> Option<Slot<'_>> {
        self.pair(hash).find_map(|bucket| bucket.find(key))
    }

    /// The port behind which the station was last seen, no longer than `age` ago.
    #[inline]
    pub(super) fn lookup(&self, key: Key, now: Seconds, age: Seconds) -> Option<PortId> {
        let hash = self.mixer.mix(key);
        let sighting = self.find(key, hash)?.sighting();
        (sighting.is_of(hash) && now.since(sighting.at()) <= age).then_some(sighting.port())
    }

    /// Notes that a known station is behind `port`.
    #[inline]
    pub(super) fn refresh(&self, key: Key, port: PortId, now: Seconds) -> Seen {
        let hash = self.mixer.mix(key);
        match self.find(key, hash) {
            Some(slot) => Self::note(&slot, hash, port, now),
            None => Seen::Unknown,
        }
    }

    #[inline]
    fn note(slot: &Slot<'_>, hash: u64, port: PortId, now: Seconds) -> Seen {
        let last = slot.sighting();
        // Another worker's clock may have been read a little later: that is no news.
        if last.port() == port && last.at() >= now {
            return Seen::Again;
        }
        if last.is_of(hash) {
            let seen = Sighting::new(hash, port, now);
            // Whoever was faster saw the station too.
            let _ = slot.sighting.compare_exchange(last.0, seen.0, Release, Relaxed);
        }
        if last.port() == port { Seen::Again } else { Seen::Moved }
    }

    /// Takes in a station that [`refresh`](Self::refresh) did not find. False when its domain knows `max` already, or
    /// when both its buckets are full.
    #[cold]
    pub(super) fn insert(&self, key: Key, port: PortId, now: Seconds, max: u32) -> bool {
        let Some(learned) = self.learned.get(usize::from(key.domain())) else { return false };
        if learned.load(Relaxed) >= max {
            return false;
        }
        if learned.fetch_add(1, AcqRel) >= max {
            learned.fetch_sub(1, AcqRel);
            return false;
        }
        let hash = self.mixer.mix(key);
        let mut free = self.pair(hash).flat_map(Bucket::slots);
        let Some(slot) = free.find(|slot| slot.key.load(Relaxed) == EMPTY && slot.claim(EMPTY)) else {
            learned.fetch_sub(1, AcqRel);
            return false;
        };
        slot.sighting.store(Sighting::new(hash, port, now).0, Relaxed);
        slot.key.store(key.0, Release);
        self.part_twins(key, hash);
        true
    }

    /// Leaves one entry of a key that was just published: another worker may have published it too, in another slot.
    fn part_twins(&self, key: Key, hash: u64) {
        // Of two workers that passed this fence, at least one sees both entries.
        fence(SeqCst);
        let twins = self.pair(hash).flat_map(Bucket::slots).filter(|slot| slot.key.load(Acquire) == key.0);
        for twin in twins.skip(1) {
            if twin.claim(key.0) {
                self.release(&twin, key);
            }
        }
    }

    /// Gives back a claimed slot that was `key`'s.
    fn release(&self, slot: &Slot<'_>, key: Key) {
        slot.key.store(EMPTY, Release);
        if let Some(learned) = self.learned.get(usize::from(key.domain())) {
            learned.fetch_sub(1, AcqRel);
        }
    }

    fn forget(&self, buckets: &[Bucket], which: impl Fn(Key, Sighting) -> bool) {
        for slot in buckets.iter().flat_map(Bucket::slots) {
            let key = slot.key.load(Acquire);
            if key >= CLAIMED || !which(Key(key), slot.sighting()) || !slot.claim(key) {
                continue;
            }
            // It may have been seen in the meantime, and only a claimed slot cannot change hands.
            if which(Key(key), slot.sighting()) {
                self.release(&slot, Key(key));
            } else {
                slot.key.store(key, Release);
                self.part_twins(Key(key), self.mixer.mix(Key(key)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
