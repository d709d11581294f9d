//! Neighbour discovery as the router speaks it (RFC 4861): answering, learning, asking, announcing.

use std::net::Ipv6Addr;

use super::link;
use super::neighbour::Claim;
use super::transmit::{Draft, draft};
use super::{Io, Router, Routing, Target};
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::rib::InterfaceId;
use crate::units::Mac;
use crate::wire::ndisc::{ALL_NODES, Flags, HOP_LIMIT, Kind, MESSAGE, Message, multicast_mac, solicited_node};
use crate::wire::{icmpv6, ipv6};

impl<R: Routing> Router<R> {
    /// Takes in a solicitation or advertisement, which begins `at` bytes into the packet.
    pub(super) fn input_neighbour(&mut self, io: &mut Io<'_>, frame: Frame, header: ipv6::Header, at: usize) {
        let Some(message) = self.hear_neighbour(io, &frame, header, at) else {
            return self.drop(io, frame, DropReason::NeighbourInvalid);
        };
        io.pool.free(frame);
        if message.kind != Kind::Solicitation || !self.interfaces[io.input].has_v6(message.target) {
            return;
        }
        if header.source.is_unspecified() {
            // Someone looks for duplicates of our address: all must hear that it is taken (RFC 4861, 7.2.4).
            let draft = self.advertisement(io.input, message.target, ALL_NODES, false);
            return self.send_draft(io, draft, io.input, multicast_mac(ALL_NODES));
        }
        let draft = self.advertisement(io.input, message.target, header.source, true);
        if let Some(frame) = self.frame_of(io, &draft) {
            self.originate_v6(io, frame, header.source);
        }
    }

    /// Learns from a solicitation or advertisement; what it is, unless it breaks a rule (RFC 4861, 7.1 and 7.2).
    pub(super) fn hear_neighbour(
        &mut self,
        io: &mut Io<'_>,
        frame: &Frame,
        header: ipv6::Header,
        at: usize,
    ) -> Option<Message> {
        let message = link::packet(io.pool.head(frame)).get(at..header.total()).unwrap_or(&[]);
        let rules = header.hop_limit == HOP_LIMIT
            && icmpv6::checksum_holds(header.source, header.destination, message)
            && (!header.source.is_unspecified() || is_solicited_node(header.destination));
        let message = Message::parse(message).ok().filter(|_| rules)?;
        let interface = &self.interfaces[io.input];
        if message.link.is_some_and(|mac| !mac.is_station() || mac == interface.mac) {
            return None;
        }
        let ours = interface.has_v6(message.target);
        let (address, claim) = match message.kind {
            Kind::Solicitation if header.source.is_unspecified() => return Some(message).filter(|m| m.link.is_none()),
            // One who asks for somebody else need not be remembered.
            Kind::Solicitation if !ours || message.link.is_none() || !self.is_on_link(io.input, header.source) => {
                return Some(message);
            }
            Kind::Solicitation => (header.source, Claim::Asked),
            Kind::Advertisement(flags) if ours || (flags.solicited && header.destination.is_multicast()) => {
                return None;
            }
            Kind::Advertisement(Flags { solicited, overrides, .. }) => {
                (message.target, Claim::Told { solicited, overrides })
            }
        };
        let learned = self.neighbours.learn(io.input, address.into(), message.link, claim, io.now);
        self.heed(io, learned);
        Some(message)
    }

    fn is_on_link(&self, interface: InterfaceId, address: Ipv6Addr) -> bool {
        address.is_unicast_link_local() || self.routes.v6(address, 0) == Some(Target::Link(interface))
    }

    fn advertisement(&self, interface: InterfaceId, target: Ipv6Addr, destination: Ipv6Addr, solicited: bool) -> Draft {
        let kind = Kind::Advertisement(Flags { router: true, solicited, overrides: true });
        self.neighbour_message(interface, kind, target, target, destination)
    }

    fn neighbour_message(
        &self,
        interface: InterfaceId,
        kind: Kind,
        target: Ipv6Addr,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Draft {
        let message = Message::emit(kind, target, self.interfaces[interface].mac, source, destination);
        let header = ipv6::Header {
            class: 0,
            flow: 0,
            length: MESSAGE as u16,
            next: ipv6::ICMP,
            hop_limit: HOP_LIMIT,
            source,
            destination,
        };
        draft(link::IPV6, &[&header.emit(), &message])
    }

    /// Asks for `target`'s Ethernet address: its group, or the station that had it.
    pub(super) fn ask_v6(&mut self, io: &mut Io<'_>, interface: InterfaceId, target: Ipv6Addr, mac: Option<Mac>) {
        let Some(source) = self.interfaces[interface].neighbour_source_v6(target) else { return };
        let group = solicited_node(target);
        let (destination, mac) = mac.map_or((group, multicast_mac(group)), |mac| (target, mac));
        let draft = self.neighbour_message(interface, Kind::Solicitation, target, source, destination);
        self.send_draft(io, draft, interface, mac);
    }

    /// Tells all nodes at the port that `io` came in on which addresses are ours.
    pub(super) fn announce_v6(&mut self, io: &mut Io<'_>) {
        let interface = io.input;
        for n in 0.. {
            let Some(own) = self.interfaces[interface].all_v6().nth(n) else { return };
            let draft = self.advertisement(interface, own, ALL_NODES, false);
            self.send_draft(io, draft, interface, multicast_mac(ALL_NODES));
        }
    }
}

fn is_solicited_node(group: Ipv6Addr) -> bool {
    solicited_node(group) == group
}
