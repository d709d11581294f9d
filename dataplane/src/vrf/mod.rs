//! Virtual routing: the paper's path 2.
//!
//! A VRF is a routing table and the interfaces between which it routes. Its packets are forwarded here, in the engine, and
//! never cross into a guest; what decides its routes may be a guest all the same, whose own stack is behind the *punt
//! ports* of the interfaces and speaks for the router: it answers ARP, neighbour discovery and pings, and its routing
//! daemons talk to their peers through them. Without a punt port the engine answers itself.
//!
//! All interfaces of a VRF, and their punt ports, belong to one worker, which has the VRF's neighbours to itself; several
//! VRFs may be on several workers. Routes are the control side's ([`fib`](crate::fib)): workers look up while it writes.
//!
//! # What happens to a frame
//! An interface is a port, or a VLAN of one; several, of one VRF or of several, may share these, with Ethernet addresses of
//! their own, by which unicast is told apart (broadcast and multicast go to each). Of a port whose other VLANs are in bridge domains, those go to the
//! [`Bridge`](crate::bridge::Bridge) as ever. An interface may also be a station in a bridge domain (what others call BVI or
//! IRB): known there to all by configuration, as a guest's is, it gets what is for its address and for groups, and what it
//! sends the bridge takes to where its destination is. What is for the interface's own address is routed
//! ([`router`](crate::router)); broadcast and multicast of the link go to the punt port, or are the router's own
//! protocols'; all else is `not-for-us`. What the stack behind a punt port sends leaves by the interface as it is, if it
//! comes from the interface's address, or from that of a virtual router that it takes part in (VRRP).

mod board;
mod forward;
mod link;
mod place;
mod switch;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use board::{Board, Neighbour};
pub use link::{Link, Target};
pub use place::{Place, Trunk};
pub use switch::Switch;

use crate::fib::Fib;
use crate::port::Counters;
use crate::router::punt::Policer;
pub use crate::router::punt::PuntRate;
use crate::router::vrrp::VirtualRouters;
use crate::router::{Interface, InterfaceConfig, Router};
pub use crate::router::{InterfaceAddress, SourceCheck};
use crate::units::PortId;
use crate::wire::ethernet::VlanId;
pub use forward::Vrf;
use tables::Tables;

/// An interface of a VRF as it is wanted.
#[derive(Clone, Debug)]
pub struct VrfInterface {
    /// Addresses and sizes.
    pub config: InterfaceConfig,
    /// The port that it is, or is a VLAN of; or the way into the bridge domain that it is a station in
    /// ([`Place::Domain`]).
    pub port: PortId,
    /// The VLAN; none: the port's untagged frames.
    pub vlan: Option<VlanId>,
    /// Behind which the router's own stack is.
    pub punt: Option<PortId>,
    /// Which sources are believed.
    pub check: SourceCheck,
    /// Numbers of the virtual routers that its stack may stand for (RFC 5798).
    pub vrrp: Vec<u8>,
}

impl std::fmt::Debug for Vrf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vrf({} interfaces)", self.router.interfaces.len())
    }
}

/// What an interface counts.
#[derive(Clone, Debug, Default)]
pub struct InterfaceCounters {
    /// What came in from the link and went out to it, and what was lost of either.
    pub link: Arc<Counters>,
    /// Received: what was punted to the stack. Sent: what the stack sent.
    pub punted: Arc<Counters>,
}

impl Vrf {
    /// A VRF with these interfaces, numbered in order, which looks up routes in `fib` and shows its neighbours on
    /// `board`; and what each interface counts.
    pub fn new(
        interfaces: &[VrfInterface],
        fib: Arc<Fib>,
        punt: PuntRate,
        board: Arc<Board>,
    ) -> (Self, Vec<InterfaceCounters>) {
        let made: Vec<Interface> = interfaces
            .iter()
            .map(|wanted| {
                let mut interface = Interface::new(&wanted.config, wanted.port);
                interface.vlan = wanted.vlan.map_or(0, VlanId::get);
                (interface.punt, interface.check) = (wanted.punt, wanted.check);
                interface.virtual_routers = VirtualRouters::new(&wanted.vrrp);
                interface
            })
            .collect();
        let counters = made.iter().map(|interface| InterfaceCounters {
            link: Arc::clone(&interface.counters),
            punted: Arc::clone(&interface.punted),
        });
        let counters = counters.collect();
        let tables = Tables::new(fib, made.len() as u16);
        (Self { router: Router::with(made, tables, Policer::new(punt)), board }, counters)
    }
}
