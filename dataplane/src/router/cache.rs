//! The answers of the last second, by destination: one probe of a table instead of a route and a neighbour looked up.
//!
//! An entry says all that the fast path must know: the port, what it carries, and both Ethernet addresses. It counts
//! only in the generation it was written in. The router begins a new generation when a neighbour's address changes or a
//! neighbour is lost, and once a second in any case: that is how it learns which neighbours are still in use, at no
//! cost a frame. Entries are never searched for or freed, so a sender of many destinations only makes others' packets
//! take the longer way.

use crate::rib::InterfaceId;
use crate::units::PortId;

/// Entries there are: those of a benchmark's flows stay in the first-level cache.
const SLOTS: usize = 1024;

/// Where packets for a destination go.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// The output port.
    pub port: PortId,
    /// The interface that the port, or a VLAN of it, is.
    pub interface: InterfaceId,
    /// The VLAN; 0: untagged.
    pub vlan: u16,
    /// The longest packet it carries.
    pub mtu: u16,
    /// Destination and source address of the frame.
    pub addresses: [u8; 12],
}

/// A destination as a key.
pub(crate) trait Key: Copy + Eq + Default {
    /// A number that `seed` spreads over all values of its upper bits.
    fn spread(self, seed: u64) -> u64;
}

/// An odd number without pattern: 2^64 over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Key for u32 {
    #[inline]
    fn spread(self, seed: u64) -> u64 {
        (u64::from(self) ^ seed).wrapping_mul(SPREAD)
    }
}

impl Key for u128 {
    #[inline]
    fn spread(self, seed: u64) -> u64 {
        let high = ((self >> 64) as u64 ^ seed).wrapping_mul(SPREAD);
        (self as u64 ^ high ^ (high >> 32)).wrapping_mul(SPREAD)
    }
}

#[derive(Clone, Copy)]
struct Slot<K> {
    generation: u64,
    key: K,
    hop: Hop,
}

/// The table for one kind of destination.
pub(crate) struct RouteCache<K> {
    slots: Box<[Slot<K>; SLOTS]>,
    seed: u64,
    generation: u64,
}

impl<K: Key> RouteCache<K> {
    /// An empty one. `seed` keeps a sender from choosing destinations that share a slot.
    pub(crate) fn new(seed: u64) -> Self {
        let hop = Hop { port: PortId(0), interface: InterfaceId(0), vlan: 0, mtu: 0, addresses: [0; 12] };
        let slots = Box::new([Slot { generation: 0, key: K::default(), hop }; SLOTS]);
        Self { slots, seed, generation: 1 }
    }

    #[inline]
    fn slot(&self, key: K) -> usize {
        (key.spread(self.seed) >> 32) as usize % SLOTS
    }

    /// Where packets for `key` go, if that is known.
    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<&Hop> {
        let slot = &self.slots[self.slot(key)];
        (slot.key == key && slot.generation == self.generation).then_some(&slot.hop)
    }

    /// Notes where packets for `key` go.
    pub(crate) fn put(&mut self, key: K, hop: Hop) {
        let slot = self.slot(key);
        self.slots[slot] = Slot { generation: self.generation, key, hop };
    }

    /// Forgets everything.
    pub(crate) fn forget(&mut self) {
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(port: u16) -> Hop {
        Hop { port: PortId(port), interface: InterfaceId(port), vlan: 0, mtu: 1500, addresses: [port as u8; 12] }
    }

    #[test]
    fn knows_what_it_was_told_until_it_forgets() {
        let mut cache = RouteCache::<u32>::new(7);
        assert!(cache.get(0).is_none(), "the empty key is not in an empty table");
        cache.put(1, hop(1));
        cache.put(2, hop(2));
        assert_eq!(cache.get(1).map(|h| h.port), Some(PortId(1)));
        assert_eq!(cache.get(2).map(|h| h.port), Some(PortId(2)));
        assert!(cache.get(3).is_none());
        cache.forget();
        assert!(cache.get(1).is_none());
        cache.put(1, hop(3));
        assert_eq!(cache.get(1).map(|h| h.port), Some(PortId(3)));
    }

    #[test]
    fn neighbouring_destinations_spread_over_the_table() {
        for seed in [0, 1, u64::MAX] {
            let v4 = RouteCache::<u32>::new(seed);
            let v6 = RouteCache::<u128>::new(seed);
            let used = |slots: Vec<usize>| slots.into_iter().collect::<std::collections::HashSet<_>>().len();
            let base = 0x2001_0db8_u128 << 96;
            // Ideal hashing of 256 keys into 1024 slots fills 226 on average.
            assert!(used((0..256).map(|i| v4.slot(0x0a00_0000 + i)).collect()) > 190);
            assert!(used((0..256).map(|i| v4.slot(0x0a00_0000 + (i << 8))).collect()) > 190);
            assert!(used((0..256).map(|i| v6.slot(base + i)).collect()) > 190);
            assert!(used((0..256).map(|i| v6.slot(base + (i << 64))).collect()) > 190);
        }
    }
}
