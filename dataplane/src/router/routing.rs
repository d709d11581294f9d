//! The seam between a router and its routes: a handful of static ones, or the forwarding tables of a VRF.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cache::Hop;
use crate::rib::InterfaceId;

/// Where packets for a destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the router itself.
    Local,
    /// To everybody on a network, which no router forwards (RFC 2644), or to its anycast address.
    Broadcast,
    /// To the destination, which is a neighbour on this interface.
    Link(InterfaceId),
    /// To a neighbour on this interface, who knows further. It may be of the other family (RFC 8950).
    Gateway(InterfaceId, IpAddr),
    /// Nowhere, and nobody is told.
    Blackhole,
    /// Nowhere; the sender is told that the host is unreachable.
    Unreachable,
    /// Nowhere; the sender is told that it is forbidden.
    Prohibit,
}

/// What a router asks its table of routes. Answers come from memory alone: it is asked for every frame of the slow path.
pub trait Routing: Send {
    /// Whether a destination may have several ways, so that `flow` matters.
    const MULTIPATH: bool;

    /// Where packets for an IPv4 destination go: by the longest prefix that it is in. Of several ways `flow`, a number
    /// that all packets of a flow share, chooses.
    fn v4(&self, destination: Ipv4Addr, flow: u32) -> Option<Target>;

    /// The same of an IPv6 destination.
    fn v6(&self, destination: Ipv6Addr, flow: u32) -> Option<Target>;

    /// Whether packets for `address` leave by `interface`, or by any: what a source must be to be believed.
    fn leads(&self, address: IpAddr, by: Option<InterfaceId>) -> bool {
        fn leads(target: Option<Target>, by: Option<InterfaceId>) -> bool {
            match target {
                Some(Target::Link(interface) | Target::Gateway(interface, _)) => by.is_none_or(|by| by == interface),
                _ => false,
            }
        }
        match address {
            IpAddr::V4(address) => leads(self.v4(address, 0), by),
            IpAddr::V6(address) => leads(self.v6(address, 0), by),
        }
    }

    /// A packet for `destination` has gone this way. A fast path may do so again until the next [`forget`](Self::forget).
    fn note_v4(&mut self, destination: Ipv4Addr, hop: Hop) {
        let _ = (destination, hop);
    }

    /// The same of an IPv6 destination.
    fn note_v6(&mut self, destination: Ipv6Addr, hop: Hop) {
        let _ = (destination, hop);
    }

    /// Some neighbour has another Ethernet address, or none any more.
    fn forget(&mut self) {}
}
