//! What a VRF's router knows besides its neighbours: the forwarding table, and how frames leave for the hops it names.
//!
//! A look-up answers a hop's number; what leads there (port, VLAN, addresses) is read from a table by that number, not
//! searched for. An entry counts only in the generation it was written in. A new one begins when the forwarding table has
//! changed (a number may be another hop's then), when a neighbour has changed, and once a second, so that it is seen
//! which neighbours are in use. That costs each hop one look at the table of neighbours.
//!
//! Of destinations that are neighbours themselves there may be many behind one hop: they have a cache.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::fib::{Fib, HopId, Verdict};
use crate::rib::InterfaceId;
use crate::router::cache::{Hop, RouteCache};
use crate::router::{Routing, Target};
use crate::units::{Nanos, PortId};

/// Hops whose way out is remembered at a time: as many as a router has neighbours.
const ADJACENCIES: usize = 1024;
/// How long anything is believed at most.
const REFRESH: Nanos = Nanos::from_secs(1);

/// How frames leave for a hop.
#[derive(Clone, Copy)]
struct Adjacency {
    generation: u32,
    hop: HopId,
    /// The destination is the neighbour: its address is to be found elsewhere.
    direct: bool,
    out: Hop,
}

/// A way out that is known.
pub(super) enum Way<'a> {
    /// This one.
    Known(&'a Hop),
    /// The destination is a neighbour on this interface.
    Direct(InterfaceId),
    /// To be found out.
    Unknown,
}

/// The tables of one VRF, as its worker has them.
pub(crate) struct Tables {
    pub(super) fib: Arc<Fib>,
    /// Interfaces there are.
    interfaces: u16,
    version: u64,
    adjacencies: Box<[Adjacency; ADJACENCIES]>,
    generation: u32,
    direct_v4: RouteCache<u32>,
    direct_v6: RouteCache<u128>,
    refresh_at: Nanos,
}

impl Tables {
    pub(super) fn new(fib: Arc<Fib>, interfaces: u16) -> Self {
        let seed = |n: u64| RandomState::new().hash_one(n);
        let out = Hop { port: PortId(0), interface: InterfaceId(0), vlan: 0, mtu: 0, addresses: [0; 12] };
        let none = Adjacency { generation: 0, hop: HopId(0), direct: false, out };
        Self {
            version: fib.version(),
            fib,
            interfaces,
            adjacencies: Box::new([none; ADJACENCIES]),
            generation: 1,
            direct_v4: RouteCache::new(seed(1)),
            direct_v6: RouteCache::new(seed(2)),
            refresh_at: Nanos(0),
        }
    }

    /// To be called before the first look-up of a burst.
    #[inline]
    pub(super) fn begin(&mut self) {
        let version = self.fib.version();
        if version != self.version {
            self.version = version;
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// To be called now and then.
    pub(super) fn tick(&mut self, now: Nanos) {
        if now >= self.refresh_at {
            self.forget();
            self.refresh_at = now.plus(REFRESH);
        }
    }

    /// The way out to a hop.
    #[inline(always)]
    pub(super) fn way(&self, hop: HopId) -> Way<'_> {
        let adjacency = &self.adjacencies[hop.0 as usize % ADJACENCIES];
        match adjacency.generation == self.generation && adjacency.hop == hop {
            true if adjacency.direct => Way::Direct(adjacency.out.interface),
            true => Way::Known(&adjacency.out),
            false => Way::Unknown,
        }
    }

    /// The way out to an IPv4 destination that is a neighbour.
    #[inline]
    pub(super) fn direct_v4(&self, interface: InterfaceId, destination: u32) -> Option<&Hop> {
        self.direct_v4.get(destination).filter(|hop| hop.interface == interface)
    }

    /// The same of an IPv6 destination.
    #[inline]
    pub(super) fn direct_v6(&self, interface: InterfaceId, destination: u128) -> Option<&Hop> {
        self.direct_v6.get(destination).filter(|hop| hop.interface == interface)
    }

    /// Notes the way out to a hop, whose neighbour is a gateway.
    pub(super) fn note(&mut self, hop: HopId, out: Hop) {
        self.put(hop, false, out);
    }

    /// Notes the way out to a neighbour, which is one of many behind a hop.
    pub(super) fn note_direct(&mut self, hop: HopId, destination: IpAddr, out: Hop) {
        self.put(hop, true, out);
        match destination {
            IpAddr::V4(destination) => self.direct_v4.put(destination.to_bits(), out),
            IpAddr::V6(destination) => self.direct_v6.put(destination.to_bits(), out),
        }
    }

    fn put(&mut self, hop: HopId, direct: bool, out: Hop) {
        let generation = self.generation;
        self.adjacencies[hop.0 as usize % ADJACENCIES] = Adjacency { generation, hop, direct, out };
    }

    fn target(&self, next_hop: u32, flow: u32) -> Option<Target> {
        Some(match self.fib.verdict(next_hop, flow) {
            Verdict::NoRoute => return None,
            Verdict::Local => Target::Local,
            Verdict::Broadcast => Target::Broadcast,
            Verdict::Blackhole => Target::Blackhole,
            Verdict::Unreachable => Target::Unreachable,
            Verdict::Prohibit => Target::Prohibit,
            Verdict::Via(hop) => {
                let hop = self.fib.hop(hop);
                if hop.interface.0 >= self.interfaces {
                    // Whoever changes a table may name an interface that is not there.
                    return Some(Target::Unreachable);
                }
                hop.gateway.map_or(Target::Link(hop.interface), |gateway| Target::Gateway(hop.interface, gateway))
            }
        })
    }
}

impl Routing for Tables {
    const MULTIPATH: bool = true;

    fn v4(&self, destination: Ipv4Addr, flow: u32) -> Option<Target> {
        self.target(self.fib.lookup_v4(destination.to_bits()), flow)
    }

    fn v6(&self, destination: Ipv6Addr, flow: u32) -> Option<Target> {
        self.target(self.fib.lookup_v6(destination.to_bits()), flow)
    }

    fn leads(&self, address: IpAddr, by: Option<InterfaceId>) -> bool {
        let next_hop = match address {
            IpAddr::V4(address) => self.fib.lookup_v4(address.to_bits()),
            IpAddr::V6(address) => self.fib.lookup_v6(address.to_bits()),
        };
        match by {
            Some(interface) => self.fib.leaves_by(next_hop, interface),
            None => matches!(self.fib.verdict(next_hop, 0), Verdict::Via(_)),
        }
    }

    fn forget(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.direct_v4.forget();
        self.direct_v6.forget();
    }
}
