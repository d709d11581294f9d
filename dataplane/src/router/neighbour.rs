//! The neighbours: who has which Ethernet address, for ARP and neighbour discovery alike.
//!
//! The states are those of RFC 4861, 7.3.2, for IPv4 too. A router hears nothing from the layers above, so an entry
//! that is in use is asked again, by unicast, every half minute or so; the frames keep going meanwhile. The table is of
//! fixed size and everything in it too: a peer can fill it, but it cannot make it grow, and it cannot push out a
//! neighbour that answers.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use crate::frame::Frame;
use crate::rib::InterfaceId;
use crate::units::{Mac, Nanos};
use crate::vrf::Neighbour;

/// Entries in all.
pub(crate) const CAPACITY: usize = 1024;
/// Entries that wait for a first answer at a time: so much room a scan of a network can take.
const MAX_INCOMPLETE: usize = 256;
/// Frames that wait for one neighbour (RFC 1122, 2.3.2.2, asks for at least one).
const MAX_WAITING: usize = 4;
/// Chunks of frames that wait for any neighbour.
const MAX_WAITING_CHUNKS: usize = 512;
/// Between two requests for one address (RFC 1122, 2.3.2.1; RFC 4861, RETRANS_TIMER).
const RETRY: Nanos = Nanos::from_secs(1);
/// Requests before giving up (RFC 4861, MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT).
const ATTEMPTS: u8 = 3;
/// How long an answer is good (RFC 4861, REACHABLE_TIME).
const REACHABLE: Nanos = Nanos::from_secs(30);
/// How long an entry that is used again waits for news before it is asked (RFC 4861, DELAY_FIRST_PROBE_TIME).
const DELAY: Nanos = Nanos::from_secs(5);
/// How long an entry that was used is held.
const IN_USE: Nanos = Nanos::from_secs(60);
/// After a search for room that found none, when the next one makes sense.
const SEARCH_AGAIN: Nanos = Nanos::from_millis(100);

const NEVER: Nanos = Nanos(u64::MAX);
const NONE: u16 = u16::MAX;

/// Frames that waited for a neighbour, with the ports they came in on.
pub(crate) type Waiting = ArrayVec<(InterfaceId, Frame), MAX_WAITING>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not in use.
    Free,
    /// Asked for, no answer yet.
    Incomplete,
    /// Answered lately.
    Reachable,
    /// Known, but not confirmed lately.
    Stale,
    /// As stale, and in use.
    Delay,
    /// Being asked again.
    Probe,
    /// Did not answer. Frames for it are refused at once until it is asked again.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    interface: InterfaceId,
    address: IpAddr,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    state: State,
    mac: Mac,
    attempts: u8,
    /// When something is to be done about it.
    due: Nanos,
    /// When it was last used to send to; never, for one that was only heard of.
    used: Option<Nanos>,
    waiting: Waiting,
    /// The next entry in its bucket, or in the free list.
    next: u16,
}

/// What the table knows of a neighbour that a frame should go to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Its address.
    Known(Mac),
    /// Nothing yet: the frame may wait in this slot. If `ask`, nobody has been asked before.
    Pending { slot: u16, ask: bool },
    /// It did not answer.
    Failed,
    /// There is no room to ask.
    Full,
}

/// What a message says about its sender or target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A neighbour asked for us, so it will be answered.
    Asked,
    /// A neighbour told its address: as an answer to our question or not, as news or not.
    Told { solicited: bool, overrides: bool },
}

/// What came of a claim.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// The address is another than before.
    pub changed: bool,
    /// Frames that waited, and the address they waited for.
    pub released: Option<(Mac, Waiting)>,
}

/// Something to be done about a neighbour.
#[derive(Debug)]
pub(crate) enum Due {
    /// Ask for it: all stations, or the one that had the address.
    Ask { interface: InterfaceId, address: IpAddr, mac: Option<Mac> },
    /// It did not answer; these frames waited for it. Routes through it are to be looked up anew.
    Lost(Waiting),
}

/// The table.
pub(crate) struct Neighbours {
    entries: Box<[Entry]>,
    buckets: Box<[u16]>,
    free: u16,
    seed: u64,
    incomplete: usize,
    waiting_chunks: usize,
    /// No entry is due before.
    next_due: Nanos,
    /// Where the search for due entries is.
    sweep: usize,
    search_at: Nanos,
}

impl Neighbours {
    /// An empty table. `seed` keeps a sender from choosing addresses that share a bucket.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_capacity(CAPACITY, seed)
    }

    fn with_capacity(capacity: usize, seed: u64) -> Self {
        let entry = |index: usize| Entry {
            key: Key { interface: InterfaceId(0), address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED) },
            state: State::Free,
            mac: Mac::default(),
            attempts: 0,
            due: NEVER,
            used: None,
            waiting: Waiting::new(),
            next: if index + 1 < capacity { index as u16 + 1 } else { NONE },
        };
        Self {
            entries: (0..capacity).map(entry).collect(),
            buckets: vec![NONE; capacity.next_power_of_two()].into(),
            free: 0,
            seed,
            incomplete: 0,
            waiting_chunks: 0,
            next_due: NEVER,
            sweep: 0,
            search_at: Nanos(0),
        }
    }

    /// What is known of the neighbour that a frame is to be sent to now. Begins to ask when nothing is.
    pub(crate) fn resolve(&mut self, interface: InterfaceId, address: IpAddr, now: Nanos) -> Resolution {
        let key = Key { interface, address };
        let Some(slot) = self.find(key) else {
            if self.incomplete >= MAX_INCOMPLETE {
                return Resolution::Full;
            }
            let Some(slot) = self.insert(key, State::Incomplete, now) else { return Resolution::Full };
            let entry = &mut self.entries[slot as usize];
            entry.attempts = 1;
            entry.used = Some(now);
            self.set_due(slot, now.plus(RETRY));
            return Resolution::Pending { slot, ask: true };
        };
        let entry = &mut self.entries[slot as usize];
        entry.used = Some(now);
        let mac = entry.mac;
        match entry.state {
            State::Incomplete => Resolution::Pending { slot, ask: false },
            State::Failed | State::Free => Resolution::Failed,
            State::Reachable | State::Delay | State::Probe => Resolution::Known(mac),
            State::Stale => {
                self.set_state(slot, State::Delay, now.plus(DELAY));
                Resolution::Known(mac)
            }
        }
    }

    /// The Ethernet address of a neighbour that a frame is to be sent to now, if that is known: as
    /// [`resolve`](Self::resolve), but nobody is asked.
    #[inline]
    pub(crate) fn known(&mut self, interface: InterfaceId, address: IpAddr, now: Nanos) -> Option<Mac> {
        let slot = self.find(Key { interface, address })?;
        let entry = &mut self.entries[slot as usize];
        let mac = entry.mac;
        match entry.state {
            State::Reachable | State::Delay | State::Probe => {
                entry.used = Some(now);
                Some(mac)
            }
            State::Stale => {
                entry.used = Some(now);
                self.set_state(slot, State::Delay, now.plus(DELAY));
                Some(mac)
            }
            State::Free | State::Incomplete | State::Failed => None,
        }
    }

    /// Lets `frame`, which came in on `input`, wait for the neighbour in `slot`. Gives it back when there is no room.
    pub(crate) fn wait(&mut self, slot: u16, input: InterfaceId, frame: Frame) -> Result<(), Frame> {
        let chunks = frame.chunks();
        let Some(entry) = self.entries.get_mut(slot as usize) else { return Err(frame) };
        if entry.state != State::Incomplete || self.waiting_chunks + chunks > MAX_WAITING_CHUNKS {
            return Err(frame);
        }
        entry.waiting.try_push((input, frame)).map_err(|full| full.element().1)?;
        self.waiting_chunks += chunks;
        Ok(())
    }

    /// Takes in what a message says about a neighbour. `mac` is missing where the message had no such option.
    pub(crate) fn learn(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        mac: Option<Mac>,
        claim: Claim,
        now: Nanos,
    ) -> Learned {
        let key = Key { interface, address };
        let Some(slot) = self.find(key) else {
            if let (Some(mac), Claim::Asked) = (mac, claim)
                && let Some(slot) = self.insert(key, State::Stale, now)
            {
                self.entries[slot as usize].mac = mac;
            }
            return Learned::default();
        };
        let entry = &mut self.entries[slot as usize];
        let (solicited, overrides) = match claim {
            Claim::Asked => (false, true),
            Claim::Told { solicited, overrides } => (solicited, overrides),
        };
        if matches!(entry.state, State::Incomplete | State::Failed) {
            let Some(mac) = mac else { return Learned::default() };
            entry.mac = mac;
            let waiting = self.take_waiting(slot);
            self.settle(slot, solicited, now);
            return Learned { changed: false, released: Some((mac, waiting)) };
        }
        let changed = mac.is_some_and(|mac| mac != entry.mac);
        if changed && !overrides {
            // Someone else claims the address, without insisting: ask who has it when it is next used.
            if entry.state == State::Reachable {
                self.set_state(slot, State::Stale, NEVER);
            }
            return Learned::default();
        }
        if let Some(mac) = mac {
            entry.mac = mac;
        }
        if solicited || changed {
            self.settle(slot, solicited, now);
        }
        Learned { changed, released: None }
    }

    /// Those of an interface that have not answered are asked now, and as often as if it were the first time: its link has
    /// just come up.
    pub(crate) fn ask_again(&mut self, interface: InterfaceId, now: Nanos) {
        for slot in 0..self.entries.len() as u16 {
            let entry = &mut self.entries[slot as usize];
            match entry.state {
                State::Incomplete if entry.key.interface == interface => {
                    entry.attempts = 0;
                    self.set_due(slot, now);
                }
                State::Failed if entry.key.interface == interface => self.remove(slot),
                _ => {}
            }
        }
    }

    fn settle(&mut self, slot: u16, reachable: bool, now: Nanos) {
        match reachable {
            true => self.set_state(slot, State::Reachable, now.plus(REACHABLE)),
            false => self.set_state(slot, State::Stale, NEVER),
        }
    }

    /// The next thing that is due, until there is nothing.
    pub(crate) fn due(&mut self, now: Nanos) -> Option<Due> {
        if now < self.next_due {
            return None;
        }
        while self.sweep < self.entries.len() {
            let slot = self.sweep as u16;
            self.sweep += 1;
            if self.entries[slot as usize].due <= now
                && let Some(due) = self.expire(slot, now)
            {
                return Some(due);
            }
        }
        self.sweep = 0;
        self.next_due = self.entries.iter().map(|entry| entry.due).min().unwrap_or(NEVER);
        None
    }

    fn expire(&mut self, slot: u16, now: Nanos) -> Option<Due> {
        let entry = &mut self.entries[slot as usize];
        let Key { interface, address } = entry.key;
        let mac = entry.mac;
        match entry.state {
            State::Incomplete if entry.attempts < ATTEMPTS => {
                entry.attempts += 1;
                self.set_due(slot, now.plus(RETRY));
                Some(Due::Ask { interface, address, mac: None })
            }
            State::Incomplete => {
                let waiting = self.take_waiting(slot);
                self.set_state(slot, State::Failed, now.plus(RETRY));
                Some(Due::Lost(waiting))
            }
            State::Delay => {
                entry.attempts = 1;
                self.set_state(slot, State::Probe, now.plus(RETRY));
                Some(Due::Ask { interface, address, mac: Some(mac) })
            }
            State::Probe if entry.attempts < ATTEMPTS => {
                entry.attempts += 1;
                self.set_due(slot, now.plus(RETRY));
                Some(Due::Ask { interface, address, mac: Some(mac) })
            }
            State::Probe => {
                self.remove(slot);
                Some(Due::Lost(Waiting::new()))
            }
            State::Reachable => {
                self.set_state(slot, State::Stale, NEVER);
                None
            }
            State::Failed => {
                self.remove(slot);
                None
            }
            State::Stale | State::Free => {
                entry.due = NEVER;
                None
            }
        }
    }

    fn set_due(&mut self, slot: u16, due: Nanos) {
        self.entries[slot as usize].due = due;
        self.next_due = self.next_due.min(due);
    }

    fn set_state(&mut self, slot: u16, state: State, due: Nanos) {
        let entry = &mut self.entries[slot as usize];
        self.incomplete -= usize::from(entry.state == State::Incomplete);
        self.incomplete += usize::from(state == State::Incomplete);
        entry.state = state;
        self.set_due(slot, due);
    }

    fn take_waiting(&mut self, slot: u16) -> Waiting {
        let waiting = std::mem::take(&mut self.entries[slot as usize].waiting);
        self.waiting_chunks -= waiting.iter().map(|(_, frame)| frame.chunks()).sum::<usize>();
        waiting
    }

    fn bucket(&self, key: Key) -> usize {
        let bits = match key.address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let mixed = super::cache::Key::spread(bits ^ u128::from(key.interface.0) << 100, self.seed);
        (mixed >> 32) as usize & (self.buckets.len() - 1)
    }

    /// All that is known, for people.
    pub(crate) fn list(&self, now: Nanos) -> impl Iterator<Item = Neighbour> + '_ {
        self.entries.iter().filter(|entry| entry.state != State::Free).map(move |entry| {
            let state = match entry.state {
                State::Free | State::Incomplete => "incomplete",
                State::Reachable => "reachable",
                State::Stale => "stale",
                State::Delay => "delay",
                State::Probe => "probe",
                State::Failed => "failed",
            };
            let known = !matches!(entry.state, State::Free | State::Incomplete | State::Failed);
            Neighbour {
                interface: entry.key.interface,
                address: entry.key.address,
                mac: known.then_some(entry.mac),
                state,
                used: entry.used.map(|used| now.since(used)),
            }
        })
    }

    /// Whether there is an entry for `address`: it was asked for, or has asked.
    pub(crate) fn knows(&self, interface: InterfaceId, address: IpAddr) -> bool {
        self.find(Key { interface, address }).is_some()
    }

    fn find(&self, key: Key) -> Option<u16> {
        let mut slot = self.buckets[self.bucket(key)];
        while slot != NONE {
            let entry = &self.entries[slot as usize];
            if entry.key == key {
                return Some(slot);
            }
            slot = entry.next;
        }
        None
    }

    fn insert(&mut self, key: Key, state: State, now: Nanos) -> Option<u16> {
        if self.free == NONE {
            self.evict(now);
        }
        let slot = self.free;
        if slot == NONE {
            return None;
        }
        let bucket = self.bucket(key);
        let entry = &mut self.entries[slot as usize];
        self.free = entry.next;
        entry.next = self.buckets[bucket];
        entry.key = key;
        entry.used = None;
        entry.attempts = 0;
        self.buckets[bucket] = slot;
        self.set_state(slot, state, NEVER);
        Some(slot)
    }

    fn remove(&mut self, slot: u16) {
        debug_assert!(self.entries[slot as usize].waiting.is_empty());
        let bucket = self.bucket(self.entries[slot as usize].key);
        let next = self.entries[slot as usize].next;
        let mut at = self.buckets[bucket];
        if at == slot {
            self.buckets[bucket] = next;
        }
        while at != NONE {
            let entry = &mut self.entries[at as usize];
            if entry.next == slot {
                entry.next = next;
            }
            at = entry.next;
        }
        self.set_state(slot, State::Free, NEVER);
        self.entries[slot as usize].next = self.free;
        self.free = slot;
    }

    /// Makes room: for a neighbour that did not answer, else one that was only heard of, else one long unused. One that
    /// answered lately, is being asked or is in use stays.
    #[cold]
    fn evict(&mut self, now: Nanos) {
        if now < self.search_at {
            return;
        }
        let rank = |entry: &Entry| match (entry.state, entry.used) {
            (State::Failed, _) => Some((0, Nanos(0))),
            (State::Stale, None) => Some((1, Nanos(0))),
            (State::Stale, Some(used)) if now.since(used) > IN_USE => Some((2, used)),
            _ => None,
        };
        let ranked = self.entries.iter().enumerate().filter_map(|(slot, entry)| Some((rank(entry)?, slot)));
        match ranked.min() {
            Some((_, slot)) => self.remove(slot as u16),
            None => self.search_at = now.plus(SEARCH_AGAIN),
        }
    }
}

#[cfg(test)]
mod tests;
