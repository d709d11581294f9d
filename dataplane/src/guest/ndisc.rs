//! Neighbour discovery as the router speaks it (RFC 4861): answering, learning, asking, announcing.

use std::net::Ipv6Addr;

use super::link;
use super::neighbour::Claim;
use super::router::{Io, Router};
use super::routes::Target;
use super::transmit::{Draft, draft};
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::units::{Mac, PortId};
use crate::wire::ndisc::{ALL_NODES, Flags, HOP_LIMIT, Kind, MESSAGE, Message, multicast_mac, solicited_node};
use crate::wire::{icmpv6, ipv6};

impl Router {
    /// Takes in a solicitation or advertisement, which begins `at` bytes into the packet.
    pub(super) fn input_neighbour(&mut self, io: &mut Io<'_>, frame: Frame, header: ipv6::Header, at: usize) {
        let message = link::packet(io.pool.head(&frame)).get(at..header.total()).unwrap_or(&[]);
        let rules = header.hop_limit == HOP_LIMIT
            && icmpv6::checksum_holds(header.source, header.destination, message)
            && (!header.source.is_unspecified() || is_solicited_node(header.destination));
        let Some(message) = Message::parse(message).ok().filter(|_| rules) else {
            return io.drop(frame, DropReason::NeighbourInvalid);
        };
        let own_mac = self.interfaces[io.input.index()].mac;
        if message.link.is_some_and(|mac| !mac.is_station() || mac == own_mac) {
            return io.drop(frame, DropReason::NeighbourInvalid);
        }
        match message.kind {
            Kind::Solicitation => self.input_solicitation(io, frame, header, message),
            Kind::Advertisement(flags) => self.input_advertisement(io, frame, header, message, flags),
        }
    }

    fn input_solicitation(&mut self, io: &mut Io<'_>, frame: Frame, header: ipv6::Header, message: Message) {
        let anonymous = header.source.is_unspecified();
        if anonymous && message.link.is_some() {
            return io.drop(frame, DropReason::NeighbourInvalid);
        }
        io.pool.free(frame);
        if !self.interfaces[io.input.index()].has_v6(message.target) {
            return;
        }
        if anonymous {
            // Someone looks for duplicates of our address: all must hear that it is taken (RFC 4861, 7.2.4).
            let draft = self.advertisement(io.input, message.target, ALL_NODES, false);
            return self.send_draft(io, draft, io.input, multicast_mac(ALL_NODES));
        }
        if message.link.is_some() && self.is_on_link(io.input, header.source) {
            let learned = self.neighbours.learn(io.input, header.source.into(), message.link, Claim::Asked, io.now);
            self.heed(io, learned);
        }
        let draft = self.advertisement(io.input, message.target, header.source, true);
        if let Some(frame) = self.frame_of(io, &draft) {
            self.originate_v6(io, frame, header.source);
        }
    }

    fn input_advertisement(
        &mut self,
        io: &mut Io<'_>,
        frame: Frame,
        header: ipv6::Header,
        message: Message,
        flags: Flags,
    ) {
        let ours = self.interfaces[io.input.index()].has_v6(message.target);
        if ours || (flags.solicited && header.destination.is_multicast()) {
            return io.drop(frame, DropReason::NeighbourInvalid);
        }
        io.pool.free(frame);
        let claim = Claim::Told { solicited: flags.solicited, overrides: flags.overrides };
        let learned = self.neighbours.learn(io.input, message.target.into(), message.link, claim, io.now);
        self.heed(io, learned);
    }

    fn is_on_link(&self, port: PortId, address: Ipv6Addr) -> bool {
        address.is_unicast_link_local() || self.routes.v6(address) == Some(Target::Link(port))
    }

    fn advertisement(&self, port: PortId, target: Ipv6Addr, destination: Ipv6Addr, solicited: bool) -> Draft {
        let kind = Kind::Advertisement(Flags { router: true, solicited, overrides: true });
        self.neighbour_message(port, kind, target, target, destination)
    }

    fn neighbour_message(
        &self,
        port: PortId,
        kind: Kind,
        target: Ipv6Addr,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Draft {
        let message = Message::emit(kind, target, self.interfaces[port.index()].mac, source, destination);
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
    pub(super) fn ask_v6(&mut self, io: &mut Io<'_>, port: PortId, target: Ipv6Addr, mac: Option<Mac>) {
        let Some(source) = self.interfaces[port.index()].neighbour_source_v6(target) else { return };
        let group = solicited_node(target);
        let (destination, mac) = mac.map_or((group, multicast_mac(group)), |mac| (target, mac));
        let draft = self.neighbour_message(port, Kind::Solicitation, target, source, destination);
        self.send_draft(io, draft, port, mac);
    }

    /// Tells all nodes at the port that `io` came in on which addresses are ours.
    pub(super) fn announce_v6(&mut self, io: &mut Io<'_>) {
        let port = io.input;
        for n in 0.. {
            let Some(own) = self.interfaces[port.index()].all_v6().nth(n) else { return };
            let draft = self.advertisement(port, own, ALL_NODES, false);
            self.send_draft(io, draft, port, multicast_mac(ALL_NODES));
        }
    }
}

fn is_solicited_node(group: Ipv6Addr) -> bool {
    solicited_node(group) == group
}
