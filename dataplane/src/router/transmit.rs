//! The way out: from a packet with a destination to a frame at a port, by way of the neighbour that takes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;

use super::cache::Hop;
use super::interface::Interface;
use super::link;
use super::neighbour::{Due, Learned, Resolution};
use super::{Io, Router, Routing, Target};
use crate::bridge::tag;
use crate::drops::DropReason;
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::offload;
use crate::rib::InterfaceId;
use crate::units::Mac;
use crate::wire::ethernet::Tci;
use crate::wire::{icmpv4, icmpv6};

/// Longest packet the router makes itself: an ICMPv6 error, which fills the smallest MTU.
pub(crate) const MAX_OWN: usize = 1280;

/// A frame in the making.
pub(crate) type Draft = ArrayVec<u8, { ETHERNET_HEADER + MAX_OWN }>;

/// A frame of the router's own: `parts` one after the other, padded to the shortest frame, with its addresses still to
/// be filled in.
pub(crate) fn draft(ethertype: u16, parts: &[&[u8]]) -> Draft {
    let mut draft = Draft::new();
    let ethertype = ethertype.to_be_bytes();
    for part in [&[0; 12][..], &ethertype].iter().chain(parts) {
        // Every caller keeps to MAX_OWN; what would not is cut, and its length fields then show it.
        let room = draft.remaining_capacity().min(part.len());
        let _ = draft.try_extend_from_slice(part.get(..room).unwrap_or(part));
    }
    while draft.len() < link::MIN_FRAME {
        draft.push(0);
    }
    draft
}

impl<R: Routing> Router<R> {
    /// Lets a frame leave by an interface.
    pub(crate) fn send(&self, io: &mut Io<'_>, interface: InterfaceId, frame: Frame) {
        let Interface { port, vlan, ref counters, .. } = self.interfaces[interface];
        counters.sent(1, frame.len() as u64);
        if vlan == 0 {
            return io.out.send(port, frame);
        }
        match tag::push(io.pool, frame, Tci(vlan)) {
            Ok(frame) => io.out.send(port, frame),
            Err(reason) => self.count_drop(io, interface, reason),
        }
    }

    /// Sends a frame of our own out of `port` to `destination`'s Ethernet address.
    pub(super) fn send_draft(&mut self, io: &mut Io<'_>, mut draft: Draft, interface: InterfaceId, destination: Mac) {
        let source = self.interfaces[interface].mac;
        link::set_addresses(&mut draft, link::addresses(destination, source));
        match io.pool.frame_from(&draft) {
            Some(frame) => self.send(io, interface, frame),
            None => self.count_drop(io, interface, DropReason::PoolExhausted),
        }
    }

    /// A draft as a frame, counted if there is no chunk for it.
    pub(super) fn frame_of(&mut self, io: &mut Io<'_>, draft: &Draft) -> Option<Frame> {
        let frame = io.pool.frame_from(draft);
        if frame.is_none() {
            self.count_drop(io, io.input, DropReason::PoolExhausted);
        }
        frame
    }

    /// Sends an IPv4 packet of our own on its way.
    pub(super) fn originate_v4(&mut self, io: &mut Io<'_>, frame: Frame, destination: Ipv4Addr) {
        match self.routes.v4(destination, 0) {
            Some(Target::Link(interface)) => self.hand_over(io, frame, interface, destination.into()),
            Some(Target::Gateway(interface, gateway)) => self.hand_over(io, frame, interface, gateway),
            _ => {
                self.drop(io, frame, DropReason::NoRoute);
                None
            }
        };
    }

    /// Sends an IPv6 packet of our own on its way. A link-local destination is one on the link that `io` came in on.
    pub(super) fn originate_v6(&mut self, io: &mut Io<'_>, frame: Frame, destination: Ipv6Addr) {
        let target = match destination.is_unicast_link_local() {
            true => Some(Target::Link(io.input)),
            false => self.routes.v6(destination, 0),
        };
        match target {
            Some(Target::Link(interface)) => self.hand_over(io, frame, interface, destination.into()),
            Some(Target::Gateway(interface, gateway)) => self.hand_over(io, frame, interface, gateway),
            _ => {
                self.drop(io, frame, DropReason::NoRoute);
                None
            }
        };
    }

    /// Hands a packet to a neighbour at `port`, now or when it has answered. Where it went, if it went now.
    pub(super) fn hand_over(
        &mut self,
        io: &mut Io<'_>,
        frame: Frame,
        interface: InterfaceId,
        neighbour: IpAddr,
    ) -> Option<Hop> {
        match self.neighbours.resolve(interface, neighbour, io.now) {
            Resolution::Known(mac) => {
                let hop = self.hop(interface, mac);
                self.emit(io, frame, hop);
                return Some(hop);
            }
            Resolution::Pending { slot, ask } => {
                if let Err(frame) = self.neighbours.wait(slot, io.input, frame) {
                    self.drop(io, frame, DropReason::NeighbourUnresolved);
                }
                if ask {
                    self.ask(io, interface, neighbour, None);
                }
            }
            Resolution::Failed => self.unreachable(io, frame),
            Resolution::Full => self.drop(io, frame, DropReason::NeighbourUnresolved),
        }
        None
    }

    pub(crate) fn hop(&self, interface: InterfaceId, mac: Mac) -> Hop {
        let Interface { port, vlan, mtu, mac: own, .. } = self.interfaces[interface];
        Hop { port, interface, vlan, mtu, addresses: link::addresses(mac, own) }
    }

    /// Lets a frame leave, in fragments if it must.
    fn emit(&mut self, io: &mut Io<'_>, mut frame: Frame, hop: Hop) {
        let head = io.pool.head_mut(&mut frame);
        link::set_addresses(head, hop.addresses);
        let is_v4 = link::parse(head).is_some_and(|header| header.ethertype == link::IPV4);
        if offload::longest(io.pool, &frame) <= ETHERNET_HEADER + usize::from(hop.mtu) {
            return self.send(io, hop.interface, frame);
        }
        match is_v4 {
            true => self.fragment(io, frame, &hop),
            false => self.drop(io, frame, DropReason::TooBig),
        }
    }

    /// The neighbour that `frame` was for does not answer.
    fn unreachable(&mut self, io: &mut Io<'_>, frame: Frame) {
        match link::parse(io.pool.head(&frame)).map(|header| header.ethertype) {
            Some(link::IPV4) => self.report_v4(io, &frame, icmpv4::Error::HostUnreachable),
            Some(link::IPV6) => self.report_v6(io, &frame, icmpv6::Error::AddressUnreachable),
            _ => (),
        }
        self.drop(io, frame, DropReason::NeighbourUnresolved);
    }

    /// Asks who has `neighbour`'s address: all stations, or the one that had it.
    fn ask(&mut self, io: &mut Io<'_>, interface: InterfaceId, neighbour: IpAddr, mac: Option<Mac>) {
        match neighbour {
            IpAddr::V4(address) => self.ask_v4(io, interface, address, mac),
            IpAddr::V6(address) => self.ask_v6(io, interface, address, mac),
        }
    }

    /// Draws the consequences of what was learned about a neighbour at the port that `io` came in on.
    pub(super) fn heed(&mut self, io: &mut Io<'_>, learned: Learned) {
        if learned.changed {
            self.forget();
        }
        let Some((mac, waiting)) = learned.released else { return };
        let (asked, hop) = (io.input, self.hop(io.input, mac));
        for (input, frame) in waiting {
            io.input = input;
            self.emit(io, frame, hop);
        }
        io.input = asked;
    }

    /// Does what is due about neighbours: asks, and gives up.
    pub(super) fn attend_neighbours(&mut self, io: &mut Io<'_>) {
        while let Some(due) = self.neighbours.due(io.now) {
            match due {
                Due::Ask { interface, address, mac } => self.ask(io, interface, address, mac),
                Due::Lost(waiting) => {
                    self.forget();
                    for (input, frame) in waiting {
                        io.input = input;
                        self.unreachable(io, frame);
                    }
                }
            }
        }
    }

    /// Begins a new generation of the caches.
    pub(super) fn forget(&mut self) {
        self.routes.forget();
    }
}
