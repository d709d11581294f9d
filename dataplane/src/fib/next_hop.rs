//! Next-hop entries: what routes point at, and what is changed in their place when a link fails.
//!
//! An entry is one word: what to do, and for several hops the block whose 256 words share out the flows among them by
//! weight. What an entry names is written before, and never changed until no reader can look at it. When the hops of an
//! entry change, a flow keeps its hop where that is still there and not given too many (in the manner of RFC 2992's aim
//! and Linux's resilient groups): the failure of one link moves the flows of that link, and few others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use super::FibError;
use super::arena::{Arena, BLOCK, HOP, Kind};
use crate::rib::InterfaceId;

/// Hops that one entry can share flows among.
pub const MAX_HOPS: usize = 128;

/// An odd factor with bits everywhere: the high bits of a product depend on all bits of a flow's hash.
const SPREAD: u32 = 0x9e37_79b1;

/// What a look-up answers: the number of a next-hop entry. 0 is "no route" for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopId(pub u32);

impl NextHopId {
    /// No route.
    pub const NONE: Self = Self(0);
}

/// The number of a hop: dense, the same for all entries of a VRF that lead to this neighbour, and used again for another
/// when none does any more. Valid until the reader's next quiescent point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopId(pub u32);

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResolvedHop {
    /// The interface that it leaves by.
    pub interface: InterfaceId,
    /// The neighbour that it goes to; none: its destination is the neighbour.
    pub gateway: Option<IpAddr>,
}

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No route leads there.
    NoRoute,
    /// It is for the router itself.
    Local,
    /// It is for everybody on a network, and not forwarded (RFC 2644).
    Broadcast,
    /// It vanishes.
    Blackhole,
    /// Its sender is told "host unreachable".
    Unreachable,
    /// Its sender is told "administratively prohibited".
    Prohibit,
    /// It is forwarded.
    Via(HopId),
}

/// What the control side wants an entry to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// As the verdicts of these names.
    Local,
    /// To everybody on a network.
    Broadcast,
    /// It vanishes.
    Blackhole,
    /// "Host unreachable".
    Unreachable,
    /// "Administratively prohibited".
    Prohibit,
    /// Each flow along one of these, by weight from 1. Empty is "host unreachable"; beyond [`MAX_HOPS`] they get none.
    Via(Vec<(ResolvedHop, u32)>),
}

/// The kinds of an entry, in its high byte. 0, "no route", is what was never written.
mod kind {
    pub(super) const LOCAL: u64 = 1;
    pub(super) const BROADCAST: u64 = 2;
    pub(super) const BLACKHOLE: u64 = 3;
    pub(super) const UNREACHABLE: u64 = 4;
    pub(super) const PROHIBIT: u64 = 5;
    /// The low half is a hop.
    pub(super) const ONE: u64 = 6;
    /// The low half is a block of hops.
    pub(super) const SHARED: u64 = 7;
    pub(super) const SHIFT: u32 = 56;
}

/// The first word of a hop: the interface, and what the gateway is.
mod hop {
    pub(super) const LINK: u64 = 1 << 16;
    pub(super) const V4: u64 = 2 << 16;
    pub(super) const V6: u64 = 3 << 16;
    pub(super) const GATEWAY: u64 = 3 << 16;
}

/// What is done with a packet of a flow, by the entry that the look-up answered.
#[inline(always)]
pub(super) fn verdict(arena: &Arena, next_hop: u32, flow: impl FnOnce() -> u32) -> Verdict {
    let Some(word) = arena.next_hops().get(next_hop as usize) else { return Verdict::NoRoute };
    let word = word.load(Ordering::Acquire);
    match word >> kind::SHIFT {
        kind::ONE => Verdict::Via(HopId(word as u32)),
        kind::SHARED => {
            let bucket = flow().wrapping_mul(SPREAD) >> 24;
            let at = word as u32 as usize * BLOCK + bucket as usize;
            let hop = arena.block_words().get(at).map_or(0, |hop| hop.load(Ordering::Relaxed));
            Verdict::Via(HopId(hop))
        }
        kind::LOCAL => Verdict::Local,
        kind::BROADCAST => Verdict::Broadcast,
        kind::BLACKHOLE => Verdict::Blackhole,
        kind::UNREACHABLE => Verdict::Unreachable,
        kind::PROHIBIT => Verdict::Prohibit,
        _ => Verdict::NoRoute,
    }
}

/// Whether some hop of the entry leaves by `interface`.
pub(super) fn leaves_by(arena: &Arena, next_hop: u32, interface: InterfaceId) -> bool {
    let by = |id: u32| hop(arena, HopId(id)).interface == interface;
    let Some(word) = arena.next_hops().get(next_hop as usize) else { return false };
    let word = word.load(Ordering::Acquire);
    match word >> kind::SHIFT {
        kind::ONE => by(word as u32),
        kind::SHARED => {
            let first = word as u32 as usize * BLOCK;
            let hops = arena.block_words().get(first..first + BLOCK).unwrap_or_default();
            hops.iter().any(|hop| by(hop.load(Ordering::Relaxed)))
        }
        _ => false,
    }
}

/// The hop of this number.
#[inline(always)]
pub(super) fn hop(arena: &Arena, hop: HopId) -> ResolvedHop {
    let at = hop.0 as usize * HOP;
    let word = |n: usize| arena.hops().get(at + n).map_or(0, |word: &AtomicU64| word.load(Ordering::Relaxed));
    let (head, high, low) = (word(0), word(1), word(2));
    let gateway = match head & hop::GATEWAY {
        hop::V4 => Some(IpAddr::V4(Ipv4Addr::from_bits(low as u32))),
        hop::V6 => Some(IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))),
        _ => None,
    };
    ResolvedHop { interface: InterfaceId(head as u16), gateway }
}

/// What an entry is now, as the control side knows it.
#[derive(Debug, Default)]
struct Entry {
    hops: Vec<(ResolvedHop, HopId)>,
    block: Option<u32>,
}

/// The entries and hops of one VRF, as its control side knows them.
#[derive(Debug, Default)]
pub(super) struct NextHops {
    entries: HashMap<NextHopId, Entry>,
    /// Each with how many entries lead to it.
    hops: HashMap<ResolvedHop, (HopId, u32)>,
}

impl NextHops {
    /// A new entry, which no route points at yet.
    pub(super) fn create(&mut self, arena: &Arena, decision: &Decision) -> Result<NextHopId, FibError> {
        let id = NextHopId(arena.take(Kind::NextHop).ok_or(FibError::NextHopsFull)?);
        self.entries.insert(id, Entry::default());
        match self.set(arena, id, decision) {
            Ok(()) => Ok(id),
            Err(error) => {
                self.entries.remove(&id);
                arena.put_back(Kind::NextHop, id.0);
                Err(error)
            }
        }
    }

    /// Changes an entry for all routes that point at it, with one store. On an error it stays as it was.
    pub(super) fn set(&mut self, arena: &Arena, id: NextHopId, decision: &Decision) -> Result<(), FibError> {
        let Some(before) = self.entries.remove(&id) else { return Ok(()) };
        match self.build(arena, &before, decision) {
            Ok((word, now)) => {
                if let Some(entry) = arena.next_hops().get(id.0 as usize) {
                    entry.store(word, Ordering::Release);
                }
                self.entries.insert(id, now);
                self.let_go(arena, before);
                Ok(())
            }
            Err(error) => {
                self.entries.insert(id, before);
                Err(error)
            }
        }
    }

    /// Lets an entry go that no route points at any more.
    pub(super) fn remove(&mut self, arena: &Arena, id: NextHopId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.let_go(arena, entry);
        arena.retire(Kind::NextHop, id.0);
    }

    /// Lets all go.
    pub(super) fn clear(&mut self, arena: &Arena) {
        let all: Vec<_> = self.entries.keys().copied().collect();
        for id in all {
            self.remove(arena, id);
        }
    }

    /// The word that says `decision`, and what it names, ready to be read.
    fn build(&mut self, arena: &Arena, before: &Entry, decision: &Decision) -> Result<(u64, Entry), FibError> {
        let plain = |kind: u64| Ok((kind << kind::SHIFT, Entry::default()));
        let hops = match decision {
            Decision::Local => return plain(kind::LOCAL),
            Decision::Broadcast => return plain(kind::BROADCAST),
            Decision::Blackhole => return plain(kind::BLACKHOLE),
            Decision::Unreachable => return plain(kind::UNREACHABLE),
            Decision::Prohibit => return plain(kind::PROHIBIT),
            Decision::Via(hops) if hops.is_empty() => return plain(kind::UNREACHABLE),
            Decision::Via(hops) => &hops[..hops.len().min(MAX_HOPS)],
        };
        let mut entry = Entry::default();
        let mut weighted = Vec::with_capacity(hops.len());
        for &(hop, weight) in hops {
            match self.hold(arena, hop) {
                Some(id) => {
                    entry.hops.push((hop, id));
                    weighted.push((id.0, weight.max(1)));
                }
                None => {
                    self.let_go(arena, entry);
                    return Err(FibError::HopsFull);
                }
            }
        }
        if let [(only, _)] = weighted[..] {
            return Ok((kind::ONE << kind::SHIFT | u64::from(only), entry));
        }
        let Some(block) = arena.take(Kind::Block) else {
            self.let_go(arena, entry);
            return Err(FibError::ArenaFull);
        };
        entry.block = Some(block);
        let mut buckets = self.buckets(arena, before);
        share(&mut buckets, &weighted);
        for (word, hop) in arena.block(block).iter().zip(buckets) {
            word.store(hop.unwrap_or_default(), Ordering::Relaxed);
        }
        Ok((kind::SHARED << kind::SHIFT | u64::from(block), entry))
    }

    /// Which hop each part of the flows takes now.
    fn buckets(&self, arena: &Arena, entry: &Entry) -> [Option<u32>; BLOCK] {
        match (entry.block, &entry.hops[..]) {
            (Some(block), _) => {
                let mut words = arena.block(block).iter();
                std::array::from_fn(|_| words.next().map(|word| word.load(Ordering::Relaxed)))
            }
            (None, [(_, only), ..]) => [Some(only.0); BLOCK],
            (None, []) => [None; BLOCK],
        }
    }

    fn hold(&mut self, arena: &Arena, hop: ResolvedHop) -> Option<HopId> {
        if let Some((id, users)) = self.hops.get_mut(&hop) {
            *users += 1;
            return Some(*id);
        }
        let id = HopId(arena.take(Kind::Hop)?);
        let (kind, bits) = match hop.gateway {
            None => (hop::LINK, 0),
            Some(IpAddr::V4(gateway)) => (hop::V4, u128::from(gateway.to_bits())),
            Some(IpAddr::V6(gateway)) => (hop::V6, gateway.to_bits()),
        };
        let words = [kind | u64::from(hop.interface.0), (bits >> 64) as u64, bits as u64];
        for (to, word) in arena.hops().iter().skip(id.0 as usize * HOP).zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        self.hops.insert(hop, (id, 1));
        Some(id)
    }

    /// Lets go what an entry named, which readers no longer find.
    fn let_go(&mut self, arena: &Arena, entry: Entry) {
        for (hop, id) in entry.hops {
            if let Some((_, users)) = self.hops.get_mut(&hop) {
                *users -= 1;
                if *users == 0 {
                    self.hops.remove(&hop);
                    arena.retire(Kind::Hop, id.0);
                }
            }
        }
        if let Some(block) = entry.block {
            arena.retire(Kind::Block, block);
        }
    }
}

/// Shares the buckets out among `hops` by their weights. Each gets at least one, and one that has some already keeps
/// them as far as its part goes.
fn share(buckets: &mut [Option<u32>; BLOCK], hops: &[(u32, u32)]) {
    let parts = parts(hops);
    let mut left: HashMap<u32, usize> = HashMap::with_capacity(hops.len());
    for (&(hop, _), part) in hops.iter().zip(&parts) {
        *left.entry(hop).or_default() += part;
    }
    for bucket in buckets.iter_mut() {
        let keeps = bucket.and_then(|hop| left.get_mut(&hop)).filter(|left| **left > 0);
        match keeps {
            Some(left) => *left -= 1,
            None => *bucket = None,
        }
    }
    let mut next = hops.iter().map(|&(hop, _)| hop).flat_map(|hop| {
        let left = left.remove(&hop).unwrap_or_default();
        std::iter::repeat_n(hop, left)
    });
    for bucket in buckets.iter_mut().filter(|bucket| bucket.is_none()) {
        *bucket = next.next();
    }
}

/// How many of the buckets each hop gets: at least one, the rest by weight, what is left over to the largest remainders.
fn parts(hops: &[(u32, u32)]) -> Vec<usize> {
    let total: u128 = hops.iter().map(|&(_, weight)| u128::from(weight)).sum();
    let spare = (BLOCK - hops.len().min(BLOCK)) as u128;
    let mut parts = Vec::with_capacity(hops.len());
    let mut remainders = Vec::with_capacity(hops.len());
    for (n, &(_, weight)) in hops.iter().enumerate() {
        // A hop's part of all buckets, of which it has one.
        let exact = (u128::from(weight) * BLOCK as u128).saturating_sub(total);
        parts.push(exact);
        remainders.push((0, n));
    }
    let wanted: u128 = parts.iter().sum::<u128>().max(1);
    let mut given = 0;
    let mut parts: Vec<usize> = parts
        .into_iter()
        .enumerate()
        .map(|(n, exact)| {
            let part = exact * spare / wanted;
            remainders[n] = (exact * spare % wanted, n);
            given += part;
            part as usize + 1
        })
        .collect();
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for &(_, n) in remainders.iter().cycle().take((spare - given) as usize) {
        parts[n] += 1;
    }
    parts
}

/// A flow whose packets take the hop of this bucket.
#[cfg(test)]
pub(crate) fn flow_of(bucket: u8) -> u32 {
    // The inverse of the factor modulo 2^32, by Newton's iteration.
    let inverse = (0..5).fold(1_u32, |x, _| x.wrapping_mul(2_u32.wrapping_sub(SPREAD.wrapping_mul(x))));
    (u32::from(bucket) << 24).wrapping_mul(inverse)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn count(buckets: &[Option<u32>; BLOCK], hop: u32) -> usize {
        buckets.iter().filter(|bucket| **bucket == Some(hop)).count()
    }

    #[test]
    fn buckets_are_shared_by_weight() {
        let mut buckets = [None; BLOCK];
        share(&mut buckets, &[(7, 1), (8, 3)]);
        assert_eq!((count(&buckets, 7), count(&buckets, 8)), (64, 192));
        share(&mut buckets, &[(1, 1), (2, 1), (3, 1)]);
        let counts = [1, 2, 3].map(|hop| count(&buckets, hop));
        assert_eq!(counts.iter().sum::<usize>(), BLOCK);
        assert!(counts.iter().all(|&n| n == 85 || n == 86), "{counts:?}");
        let many: Vec<_> = (0..MAX_HOPS as u32).map(|n| (n, if n == 0 { u32::MAX } else { 1 })).collect();
        share(&mut buckets, &many);
        assert!(buckets.iter().all(Option::is_some));
        assert_eq!(count(&buckets, 5), 1, "even the lightest has one");
        assert_eq!(count(&buckets, 0), BLOCK - MAX_HOPS + 1);
    }

    #[test]
    fn a_hop_that_goes_moves_its_own_flows_alone() {
        let mut before = [None; BLOCK];
        let hops: Vec<_> = (0..4).map(|n| (n, 1)).collect();
        share(&mut before, &hops);
        let mut after = before;
        share(&mut after, &hops[..3]);
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == Some(3), "{before:?} -> {after:?}");
        }
        let counts = [0, 1, 2].map(|hop| count(&after, hop));
        assert!(counts.iter().all(|&n| n == 85 || n == 86), "{counts:?}");
        // It comes back: no more than its part moves.
        let mut back = after;
        share(&mut back, &hops);
        let moved = after.iter().zip(&back).filter(|(a, b)| a != b).count();
        assert_eq!(moved, 64);
    }
}
