//! A software router: IPv4 and IPv6, ARP and neighbour discovery, and the ICMP errors a router owes.
//!
//! Two ways through it. A *fast path* takes a packet that needs nothing but forwarding: for our Ethernet address, an
//! honest header without options, time to live left, a neighbour that is known. The *slow path* takes everything else and
//! decides alone what is right: a fast path never forwards what the slow one would not. The slow path is here, and does
//! not know where routes come from (`Routing`); the fast paths are with those who do. [`fixed`] serves a router with a
//! handful of static routes, by a cache of destinations: the virtual router of the benchmark.
//! [`vrf`](crate::vrf) serves those of the engine, by forwarding tables of a million routes.
//!
//! An interface is a port, or a VLAN of a port. It may have a *punt port*, behind which a stack of somebody's own is the
//! control plane: then what is for the router itself goes there (`punt`), and this router only forwards.
//!
//! It follows RFC 1812, RFC 4861, RFC 4443 and RFC 8200. Left out, on purpose: redirects, router advertisements,
//! duplicate address detection, multicast forwarding and MLD, and reassembly (echo requests in fragments are answered in
//! fragments).

mod arp;
pub(crate) mod cache;
mod config;
pub(crate) mod fast;
pub mod fixed;
pub(crate) mod flow;
mod fragment;
mod icmp;
mod interface;
mod ipv4;
mod ipv6;
pub(crate) mod link;
mod ndisc;
pub(crate) mod neighbour;
pub(crate) mod punt;
mod routes;
mod routing;
#[cfg(test)]
mod tests;
mod transmit;
pub(crate) mod vrrp;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

pub use config::{InterfaceAddress, InterfaceConfig, RouteConfig, RouterConfig, RouterError};
pub(crate) use config::{objection_v4, objection_v6};
pub use interface::SourceCheck;
pub(crate) use interface::{Interface, Interfaces};
pub(crate) use routing::{Routing, Target};
pub(crate) use transmit::draft;

use crate::drops::DropReason;
use crate::forward::Outputs;
use crate::frame::Frame;
use crate::pool::Pool;
use crate::rib::InterfaceId;
use crate::units::{Mac, Nanos};
use icmp::{EchoFragments, Limiter};
use neighbour::Neighbours;
use punt::Policer;

/// When an interface that came up tells its addresses, after that. IPv6 has the first and the last, as RFC 4861 asks for a
/// second at least between two; RFC 5227 has two of ARP as well. Those in between are for switches, and for a router that
/// moved here from another host: one announcement is easily lost while a link comes up, or undone by what the other host
/// still had to send.
const ANNOUNCEMENTS: [Nanos; 6] = [
    Nanos(0),
    Nanos::from_millis(25),
    Nanos::from_millis(75),
    Nanos::from_millis(175),
    Nanos::from_millis(375),
    Nanos::from_secs(1),
];

/// A router whose routes are in `R`.
pub struct Router<R = fixed::Cached> {
    pub(crate) interfaces: Interfaces,
    pub(crate) routes: R,
    pub(crate) neighbours: Neighbours,
    limiter: Limiter,
    echo: EchoFragments,
    /// What the stacks behind punt ports are spared.
    policer: Policer,
    /// Makes the flows of this router its own.
    pub(crate) seed: u64,
    /// Identification of the next IPv4 packet of our own.
    ident: u16,
}

/// One frame's way through the slow path: on which interface it came in, when, and what it may touch.
pub(crate) struct Io<'a> {
    pub pool: &'a mut Pool,
    pub out: &'a mut Outputs,
    pub input: InterfaceId,
    pub now: Nanos,
}

impl<R: Routing> Router<R> {
    /// A router that knows no neighbour yet.
    pub(crate) fn with(interfaces: Vec<Interface>, routes: R, policer: Policer) -> Self {
        let seed = |n: u64| RandomState::new().hash_one(n);
        Self {
            interfaces: Interfaces(interfaces.into()),
            routes,
            neighbours: Neighbours::new(seed(1)),
            limiter: Limiter::new(seed(2)),
            echo: EchoFragments::default(),
            policer,
            seed: seed(3),
            ident: 0,
        }
    }

    /// Decides about a frame that needs more than forwarding, or whose way is not known.
    #[inline(never)]
    pub(crate) fn slow(&mut self, io: &mut Io<'_>, frame: Frame) {
        let Some(header) = link::parse(io.pool.head(&frame)) else {
            return self.drop(io, frame, DropReason::Runt);
        };
        let interface = &mut self.interfaces[io.input];
        interface.virtual_routers.link_sent(io.pool.head(&frame));
        let to_us = header.destination == interface.mac || interface.virtual_routers.is_master(header.destination);
        if !to_us && !header.destination.is_group() {
            return self.drop(io, frame, DropReason::NotForUs);
        }
        match header.ethertype {
            link::IPV4 if to_us || interface.punt.is_none() => self.input_v4(io, frame, to_us),
            link::IPV6 => self.input_v6(io, frame, to_us),
            link::ARP => self.input_arp(io, frame, to_us),
            _ if interface.punt.is_some() => self.punt(io, frame),
            _ => self.drop(io, frame, DropReason::NotForUs),
        }
    }

    /// Whether a packet that came in on `interface` may be from `source`, as far as routes tell.
    pub(crate) fn is_right_source(&self, interface: InterfaceId, source: IpAddr) -> bool {
        match self.interfaces[interface].check {
            SourceCheck::Off => true,
            SourceCheck::Loose => self.routes.leads(source, None),
            SourceCheck::Strict => self.routes.leads(source, Some(interface)),
        }
    }

    /// Ends `frame` here: frees it, and counts why at the port and the interface that it came in on.
    pub(crate) fn drop(&self, io: &mut Io<'_>, frame: Frame, reason: DropReason) {
        let interface = &self.interfaces[io.input];
        interface.counters.dropped(reason, 1);
        io.out.drop(io.pool, interface.port, frame, reason);
    }

    /// Counts a frame lost at `interface` that needs no freeing.
    fn count_drop(&self, io: &mut Io<'_>, interface: InterfaceId, reason: DropReason) {
        let interface = &self.interfaces[interface];
        interface.counters.dropped(reason, 1);
        io.out.count_drop(interface.port, reason);
    }

    /// Does what is due: tells addresses where a link came up, asks for neighbours, gives up on those that are silent.
    pub(crate) fn attend(&mut self, io: &mut Io<'_>) {
        for index in 0..self.interfaces.len() {
            io.input = InterfaceId(index as u16);
            let interface = &mut self.interfaces[io.input];
            let up = io.out.is_up(interface.port);
            // A stack behind a punt port speaks for itself.
            if up && !interface.up && interface.punt.is_none() {
                (interface.announced, interface.up_since) = (0, io.now);
            }
            interface.up = up;
            // Those that it is too late for are left out.
            let left = ANNOUNCEMENTS.iter().skip(interface.announced);
            let due = left.take_while(|&&after| io.now >= interface.up_since.plus(after)).count();
            if up && due > 0 {
                let first = interface.announced == 0;
                interface.announced += due;
                let last = interface.announced == ANNOUNCEMENTS.len();
                self.announce_v4(io);
                if first || last {
                    self.announce_v6(io);
                }
                // What was asked while nobody knew the way here has no answer.
                self.neighbours.ask_again(io.input, io.now);
            }
        }
        self.attend_neighbours(io);
    }

    /// When an interface that has come up tells its addresses again.
    pub(crate) fn next_announcement(&self) -> Option<Nanos> {
        let ups = (0..self.interfaces.len()).map(|index| &self.interfaces[InterfaceId(index as u16)]).filter(|i| i.up);
        ups.filter_map(|i| Some(i.up_since.plus(*ANNOUNCEMENTS.get(i.announced)?))).min()
    }
}

/// The six bytes of an address in the low bits of a little-endian word: so a frame's first eight bytes are compared.
pub(crate) const STATION: u64 = (1 << 48) - 1;

/// An address as it lies in the low bits of a little-endian word.
pub(crate) fn station(mac: Mac) -> u64 {
    mac.as_u64().swap_bytes() >> 16
}
