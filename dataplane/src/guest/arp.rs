//! ARP as the router speaks it (RFC 826, RFC 5227): answering, learning, asking, announcing.

use std::net::Ipv4Addr;

use super::link;
use super::neighbour::Claim;
use super::router::{Io, Router};
use super::routes::Target;
use super::transmit::draft;
use crate::drops::DropReason;
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::units::{Mac, PortId};
use crate::wire::arp::{Operation, PACKET, Packet};

impl Router {
    /// Takes in an ARP packet; `to_us` if it came to our Ethernet address and not to all.
    pub(super) fn input_arp(&mut self, io: &mut Io<'_>, frame: Frame, to_us: bool) {
        let interface = &self.interfaces[io.input.index()];
        let Ok(packet) = Packet::parse(link::packet(io.pool.head(&frame))) else {
            return io.drop(frame, DropReason::NeighbourInvalid);
        };
        let for_us = interface.has_v4(packet.target);
        // Someone else with one of our addresses is not believed, and neither is our own echo.
        if !packet.sender_mac.is_station() || packet.sender_mac == interface.mac || interface.has_v4(packet.sender) {
            return io.drop(frame, DropReason::NeighbourInvalid);
        }
        // A probe's sender has no address yet. One from another network is answered, but not learned.
        if self.routes.v4(packet.sender) == Some(Target::Link(io.input)) {
            let claim = match packet.operation {
                Operation::Request if for_us => Claim::Asked,
                Operation::Reply if for_us && to_us => Claim::Told { solicited: true, overrides: true },
                _ => Claim::Told { solicited: false, overrides: true },
            };
            let learned = self.neighbours.learn(io.input, packet.sender.into(), Some(packet.sender_mac), claim, io.now);
            self.heed(io, learned);
        }
        match packet.operation {
            Operation::Request if for_us => self.answer_arp(io, frame, packet),
            _ => io.pool.free(frame),
        }
    }

    /// Turns a request into its reply.
    fn answer_arp(&mut self, io: &mut Io<'_>, mut frame: Frame, request: Packet) {
        let mac = self.interfaces[io.input.index()].mac;
        let reply = Packet {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: request.target,
            target_mac: request.sender_mac,
            target: request.sender,
        };
        let head = io.pool.head_mut(&mut frame);
        link::set_addresses(head, link::addresses(request.sender_mac, mac));
        if let Some(bytes) = head.get_mut(ETHERNET_HEADER..ETHERNET_HEADER + PACKET) {
            bytes.copy_from_slice(&reply.emit());
        }
        io.out.send(io.input, frame);
    }

    /// Asks for `target`'s Ethernet address: all stations, or the one that had it.
    pub(super) fn ask_v4(&mut self, io: &mut Io<'_>, port: PortId, target: Ipv4Addr, mac: Option<Mac>) {
        let Some(sender) = self.speaker_v4(port, target) else { return };
        self.send_request(io, port, sender, target, mac.unwrap_or(Mac::BROADCAST));
    }

    /// Tells all stations at the port that `io` came in on which addresses are ours.
    pub(super) fn announce_v4(&mut self, io: &mut Io<'_>) {
        let port = io.input;
        for n in 0.. {
            let Some(own) = self.interfaces[port.index()].all_v4().nth(n) else { return };
            self.send_request(io, port, own, own, Mac::BROADCAST);
        }
    }

    fn send_request(&mut self, io: &mut Io<'_>, port: PortId, sender: Ipv4Addr, target: Ipv4Addr, to: Mac) {
        let sender_mac = self.interfaces[port.index()].mac;
        let target_mac = if to.is_group() { Mac::default() } else { to };
        let packet = Packet { operation: Operation::Request, sender_mac, sender, target_mac, target };
        self.send_draft(io, draft(link::ARP, &[&packet.emit()]), port, to);
    }
}
