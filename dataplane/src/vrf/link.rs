//! A link of which several interfaces are stations: told apart by their Ethernet addresses, as those of virtual machines
//! behind one card are.
//!
//! Unicast goes to the interface whose address it has, and to nobody if none has it. Broadcast and multicast go to all: a
//! copy each, since whom an ARP request or a routing protocol's hello concerns only the interface knows, or the stack behind
//! its punt port. A burst is sorted by interface before any of it is routed, so that each VRF looks up its part at once;
//! what is for one interface keeps its order, groups and unicast among each other too.
//!
//! The interfaces do not reach each other over the link: what one sends leaves by the port.

use arrayvec::ArrayVec;

use super::Vrf;
use crate::drops::DropReason;
use crate::forward::Outputs;
use crate::frame::{BURST, Burst};
use crate::pool::Pool;
use crate::rib::InterfaceId;
use crate::units::{Mac, Nanos, PortId};
use crate::wire::ethernet::Header;

/// An interface of one of a worker's VRFs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Number of the VRF among its worker's.
    pub vrf: u16,
    /// The interface.
    pub interface: InterfaceId,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// No station, in [`Link::table`]: broadcast.
const EMPTY: u64 = u64::MAX;
/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The interfaces of a link.
#[derive(Clone, Debug)]
pub struct Link {
    /// At least one.
    members: Vec<Target>,
    /// By hash: an address in the upper 48 bits, whose it is in the lower 16. At most half full, so that a walk ends.
    table: Box<[u64]>,
    shift: u32,
}

impl Link {
    /// A link with one interface.
    pub(super) fn new(only: Target) -> Self {
        let mut link = Self { members: Vec::new(), table: Box::default(), shift: 0 };
        link.add(only);
        link
    }

    /// Adds an interface, whose address no other here has.
    pub(super) fn add(&mut self, target: Target) {
        self.members.push(target);
        let bits = (2 * self.members.len()).next_power_of_two().ilog2().max(2);
        self.shift = u64::BITS - bits;
        self.table = vec![EMPTY; 1 << bits].into();
        for (number, member) in self.members.iter().enumerate() {
            let mut at = self.slot(member.mac.as_u64());
            while self.table[at] != EMPTY {
                at = (at + 1) % self.table.len();
            }
            self.table[at] = member.mac.as_u64() << 16 | number as u64;
        }
    }

    /// The interface, if it is the only one.
    #[inline]
    pub(super) fn only(&self) -> Option<Target> {
        match self.members[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// How many interfaces there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    #[inline]
    fn slot(&self, mac: u64) -> usize {
        (mac.wrapping_mul(GOLDEN) >> self.shift) as usize
    }

    /// The number of the member with this address.
    #[inline]
    fn find(&self, mac: u64) -> Option<u16> {
        let mut at = self.slot(mac);
        loop {
            let entry = *self.table.get(at)?;
            if entry >> 16 == mac {
                return Some(entry as u16);
            }
            if entry == EMPTY {
                return None;
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }
}

/// A burst's way through the switch: the port that it came in on, when, and what it may touch.
pub(super) struct Arrival<'a> {
    pub pool: &'a mut Pool,
    pub input: PortId,
    pub out: &'a mut Outputs,
    pub now: Nanos,
}

/// Where a burst is sorted by interface.
pub(super) struct Desk {
    /// By the member's number.
    rows: Box<[Burst]>,
    /// The members whose rows are not empty.
    taken: ArrayVec<u16, BURST>,
    groups: Burst,
    copies: Burst,
}

impl Desk {
    /// One for links of up to `members` interfaces.
    pub(super) fn new(members: usize) -> Self {
        let rows = (0..members).map(|_| Burst::new()).collect();
        Self { rows, taken: ArrayVec::new(), groups: Burst::new(), copies: Burst::new() }
    }

    /// Routes the frames of `burst`, each where its destination is.
    pub(super) fn deal(&mut self, vrfs: &mut [Vrf], link: &Link, burst: &mut Burst, arrival: &mut Arrival<'_>) {
        // Frames of a flow come in a row.
        let mut last = (EMPTY, 0);
        for frame in burst.drain(..) {
            let Ok(header) = Header::parse(arrival.pool.head(&frame)) else {
                arrival.out.drop(arrival.pool, arrival.input, frame, DropReason::Runt);
                continue;
            };
            if header.to_group() {
                self.end_rows(vrfs, link, arrival);
                self.groups.push(frame);
                continue;
            }
            self.end_groups(vrfs, link, arrival);
            let mac = header.dst_word();
            if mac != last.0 {
                last = (mac, link.find(mac).map_or(usize::MAX, usize::from));
            }
            match self.rows.get_mut(last.1) {
                Some(row) => {
                    if row.is_empty() {
                        self.taken.push(last.1 as u16);
                    }
                    row.push(frame);
                }
                None => arrival.out.drop(arrival.pool, arrival.input, frame, DropReason::NotForUs),
            }
        }
        self.end_rows(vrfs, link, arrival);
        self.end_groups(vrfs, link, arrival);
    }

    fn end_rows(&mut self, vrfs: &mut [Vrf], link: &Link, arrival: &mut Arrival<'_>) {
        for number in self.taken.drain(..) {
            let number = usize::from(number);
            if let (Some(row), Some(&target)) = (self.rows.get_mut(number), link.members.get(number)) {
                route(vrfs, target, row, arrival);
            }
        }
    }

    /// Every interface gets the frames for groups: a copy, the last one the frames themselves.
    fn end_groups(&mut self, vrfs: &mut [Vrf], link: &Link, arrival: &mut Arrival<'_>) {
        let Some((&last, others)) = link.members.split_last() else { return };
        if self.groups.is_empty() {
            return;
        }
        for &target in others {
            for frame in &self.groups {
                match arrival.pool.copy(frame) {
                    Some(copy) => self.copies.push(copy),
                    None => arrival.out.count_drop(arrival.input, DropReason::PoolExhausted),
                }
            }
            route(vrfs, target, &mut self.copies, arrival);
        }
        route(vrfs, last, &mut self.groups, arrival);
    }
}

/// Routes frames that came in on one interface.
#[inline]
pub(super) fn route(vrfs: &mut [Vrf], target: Target, burst: &mut Burst, arrival: &mut Arrival<'_>) {
    if let Some(vrf) = vrfs.get_mut(usize::from(target.vrf)) {
        vrf.forward(arrival.pool, target.interface, burst, arrival.out, arrival.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_are_found_whatever_their_number() {
        let target = |n: u16| {
            let [high, low] = n.to_be_bytes();
            Target { vrf: n, interface: InterfaceId(0), mac: Mac([2, 0, 0, 0, high, low]) }
        };
        let mut link = Link::new(target(0));
        assert_eq!(link.only(), Some(target(0)));
        for n in 1..600 {
            link.add(target(n));
            if n % 50 == 1 {
                for known in 0..=n {
                    assert_eq!(link.find(target(known).mac.as_u64()), Some(known));
                }
                assert_eq!(link.find(target(n + 1).mac.as_u64()), None);
            }
        }
        assert_eq!((link.only(), link.len()), (None, 600));
        assert_eq!(link.find(0), None);
    }
}
