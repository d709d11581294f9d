//! ARP as the router speaks it (RFC 826, RFC 5227): answering, learning, asking, announcing.

use std::net::Ipv4Addr;

use super::link;
use super::neighbour::Claim;
use super::transmit::draft;
use super::{Io, Router, Routing, Target};
use crate::drops::DropReason;
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::rib::InterfaceId;
use crate::units::Mac;
use crate::wire::arp::{Operation, PACKET, Packet};

impl<R: Routing> Router<R> {
    /// Takes in an ARP packet; `to_us` if it came to our Ethernet address and not to all.
    pub(super) fn input_arp(&mut self, io: &mut Io<'_>, frame: Frame, to_us: bool) {
        let interface = &self.interfaces[io.input];
        // A stack of its own judges for itself what is said to it.
        let punt = interface.punt.is_some();
        let Ok(packet) = Packet::parse(link::packet(io.pool.head(&frame))) else {
            return self.drop(io, frame, DropReason::NeighbourInvalid);
        };
        let for_us = interface.has_v4(packet.target);
        // Someone else with one of our addresses is not believed, and neither is our own echo.
        if !packet.sender_mac.is_station() || packet.sender_mac == interface.mac || interface.has_v4(packet.sender) {
            return match punt {
                true => self.punt(io, frame),
                false => self.drop(io, frame, DropReason::NeighbourInvalid),
            };
        }
        // A probe's sender has no address yet. One from another network is answered, but not learned.
        if self.is_neighbour_v4(io.input, packet.sender) {
            let claim = match packet.operation {
                Operation::Request if for_us => Claim::Asked,
                Operation::Reply if for_us && to_us => Claim::Told { solicited: true, overrides: true },
                _ => Claim::Told { solicited: false, overrides: true },
            };
            let learned = self.neighbours.learn(io.input, packet.sender.into(), Some(packet.sender_mac), claim, io.now);
            self.heed(io, learned);
        }
        match packet.operation {
            _ if punt => self.punt(io, frame),
            Operation::Request if for_us => self.answer_arp(io, frame, packet),
            _ => io.pool.free(frame),
        }
    }

    /// Whether `address` is on the link of the interface, or was asked for there.
    fn is_neighbour_v4(&self, interface: InterfaceId, address: Ipv4Addr) -> bool {
        self.routes.v4(address, 0) == Some(Target::Link(interface)) || self.neighbours.knows(interface, address.into())
    }

    /// Turns a request into its reply.
    fn answer_arp(&mut self, io: &mut Io<'_>, mut frame: Frame, request: Packet) {
        let mac = self.interfaces[io.input].mac;
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
        self.send(io, io.input, frame);
    }

    /// Asks for `target`'s Ethernet address: all stations, or the one that had it.
    pub(super) fn ask_v4(&mut self, io: &mut Io<'_>, interface: InterfaceId, target: Ipv4Addr, mac: Option<Mac>) {
        let Some(sender) = self.speaker_v4(interface, target) else { return };
        self.send_request(io, interface, sender, target, mac.unwrap_or(Mac::BROADCAST));
    }

    /// Tells all stations at the port that `io` came in on which addresses are ours.
    pub(super) fn announce_v4(&mut self, io: &mut Io<'_>) {
        let interface = io.input;
        for n in 0.. {
            let Some(own) = self.interfaces[interface].all_v4().nth(n) else { return };
            self.send_request(io, interface, own, own, Mac::BROADCAST);
        }
    }

    fn send_request(&mut self, io: &mut Io<'_>, interface: InterfaceId, sender: Ipv4Addr, target: Ipv4Addr, to: Mac) {
        let sender_mac = self.interfaces[interface].mac;
        let target_mac = if to.is_group() { Mac::default() } else { to };
        let packet = Packet { operation: Operation::Request, sender_mac, sender, target_mac, target };
        self.send_draft(io, draft(link::ARP, &[&packet.emit()]), interface, to);
    }
}
