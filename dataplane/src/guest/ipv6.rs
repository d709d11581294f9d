//! The slow path of IPv6: every packet that the fast path leaves (RFC 8200).

use std::net::Ipv6Addr;

use super::icmp::TTL;
use super::link;
use super::router::{Io, Router};
use super::routes::Target;
use crate::drops::DropReason;
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::units::PortId;
use crate::wire::field::put;
use crate::wire::ipv6::{self, Header, Objection, Upper, field};
use crate::wire::{icmpv6, ndisc};

impl Router {
    /// Takes in an IPv6 packet; `to_us` if it came to our Ethernet address and not to a group.
    pub(super) fn input_v6(&mut self, io: &mut Io<'_>, frame: Frame, to_us: bool) {
        let bytes = link::packet(io.pool.head(&frame));
        let Ok(packet) = ipv6::Packet::new_checked(bytes, frame.len() - ETHERNET_HEADER) else {
            return io.drop(frame, DropReason::IpHeaderInvalid);
        };
        let header = packet.header();
        let Header { source, destination, .. } = header;
        let interface = &self.interfaces[io.input.index()];
        // The unspecified address may only look for duplicates on the link, which is seen further down.
        let martian = ipv6::is_martian_source(source) && !source.is_unspecified();
        if martian || ipv6::is_martian_destination(destination) {
            return io.drop(frame, DropReason::Martian);
        }
        let objection = ipv6::hop_by_hop(&packet);
        match objection {
            Err(_) => return io.drop(frame, DropReason::IpHeaderInvalid),
            Ok(Some(objection)) => return self.object(io, frame, objection),
            Ok(None) => (),
        }
        if destination.is_multicast() {
            return match interface.is_member(destination) {
                true => self.deliver_v6(io, frame, header),
                false => io.drop(frame, DropReason::NotForUs),
            };
        }
        if !to_us {
            return io.drop(frame, DropReason::NotForUs);
        }
        if interface.link_local == Some(destination) {
            return self.deliver_v6(io, frame, header);
        }
        let target = self.routes.v6(destination);
        if target == Some(Target::Local) {
            return self.deliver_v6(io, frame, header);
        }
        // Link-local addresses mean nothing on another link (RFC 4291, 2.5.6).
        if source.is_unspecified() || source.is_unicast_link_local() || destination.is_unicast_link_local() {
            return io.drop(frame, DropReason::Martian);
        }
        let (port, neighbour) = match target {
            Some(Target::Link(port)) => (port, destination),
            Some(Target::Gateway(port, gateway)) => (port, gateway),
            Some(Target::Local | Target::Broadcast) => return io.drop(frame, DropReason::NotForUs),
            None => {
                self.report_v6(io, &frame, icmpv6::Error::NoRoute);
                return io.drop(frame, DropReason::NoRoute);
            }
        };
        self.forward_v6(io, frame, header, port, neighbour);
    }

    fn forward_v6(&mut self, io: &mut Io<'_>, mut frame: Frame, header: Header, port: PortId, neighbour: Ipv6Addr) {
        if header.hop_limit <= 1 {
            self.report_v6(io, &frame, icmpv6::Error::TimeExceeded);
            return io.drop(frame, DropReason::TtlExpired);
        }
        let mtu = self.interfaces[port.index()].mtu;
        if header.total() > usize::from(mtu) {
            self.report_v6(io, &frame, icmpv6::Error::PacketTooBig { mtu: u32::from(mtu) });
            return io.drop(frame, DropReason::TooBig);
        }
        if let Some(hop_limit) = link::packet_mut(io.pool.head_mut(&mut frame)).get_mut(field::HOP_LIMIT) {
            *hop_limit = header.hop_limit - 1;
        }
        if let Some(hop) = self.hand_over(io, frame, port, neighbour.into()) {
            self.cache_v6.put(header.destination.to_bits(), hop);
        }
    }

    /// Drops a packet for a header that must not be skipped, and tells its sender where that asks for it.
    fn object(&mut self, io: &mut Io<'_>, frame: Frame, objection: Objection) {
        let bytes = link::packet(io.pool.head(&frame));
        let to_group = bytes.get(field::DESTINATION) == Some(&0xff);
        match objection {
            Objection::Report { at, multicast } if multicast || !to_group => {
                self.report_v6(io, &frame, icmpv6::Error::Option { at });
            }
            Objection::Routing { at } => self.report_v6(io, &frame, icmpv6::Error::HeaderField { at }),
            Objection::Report { .. } | Objection::Discard => (),
        }
        io.drop(frame, DropReason::IpOption);
    }

    /// Takes in a packet for the router itself, or for a group it belongs to.
    fn deliver_v6(&mut self, io: &mut Io<'_>, frame: Frame, header: Header) {
        let from_us = self.interfaces[io.input.index()].has_v6(header.source)
            || self.routes.v6(header.source) == Some(Target::Local);
        if from_us {
            return io.drop(frame, DropReason::Martian);
        }
        let bytes = link::packet(io.pool.head(&frame));
        let packet = ipv6::Packet::new_checked(bytes, frame.len() - ETHERNET_HEADER);
        let Some((packet, upper)) = packet.and_then(|packet| Ok((packet, ipv6::upper(&packet)?))).ok() else {
            return io.drop(frame, DropReason::IpHeaderInvalid);
        };
        if let Some(objection) = upper.objection {
            return self.object(io, frame, objection);
        }
        if upper.protocol == ipv6::ICMP {
            let kind = packet.payload().get(upper.at - ipv6::HEADER).copied();
            return self.deliver_icmp_v6(io, frame, header, upper, kind);
        }
        let error = match upper.protocol {
            _ if header.source.is_unspecified() => None,
            ipv6::NONE => None,
            ipv6::TCP | ipv6::UDP => Some(icmpv6::Error::PortUnreachable),
            _ => Some(icmpv6::Error::NextHeader { at: upper.named_at }),
        };
        if let Some(error) = error {
            self.report_v6(io, &frame, error);
        }
        io.drop(frame, DropReason::NoService);
    }

    fn deliver_icmp_v6(&mut self, io: &mut Io<'_>, frame: Frame, header: Header, upper: Upper, kind: Option<u8>) {
        let key = |ident| (header.source.into(), header.destination.into(), ident);
        match (upper.fragment, kind) {
            // Neighbour discovery in fragments is not believed (RFC 6980).
            (None, Some(ndisc::SOLICITATION | ndisc::ADVERTISEMENT)) => {
                self.input_neighbour(io, frame, header, upper.at);
            }
            // A group is not answered: it would let one packet ask for many.
            _ if header.destination.is_multicast() || header.source.is_unspecified() => {
                io.drop(frame, DropReason::NoService);
            }
            (Some(part), _) if part.offset != 0 => match self.echo.knows(key(part.ident), io.now) {
                true => self.echo_v6(io, frame, header, None),
                false => io.drop(frame, DropReason::NoService),
            },
            (fragment, Some(icmpv6::ECHO_REQUEST)) => {
                if let Some(part) = fragment {
                    self.echo.note(key(part.ident), io.now);
                }
                self.echo_v6(io, frame, header, Some(upper.at));
            }
            _ => io.drop(frame, DropReason::NoService),
        }
    }

    /// Turns an echo request, or a fragment of one, into the reply. The message begins at `message`, if it is there.
    fn echo_v6(&mut self, io: &mut Io<'_>, mut frame: Frame, header: Header, message: Option<usize>) {
        let packet = link::packet_mut(io.pool.head_mut(&mut frame));
        if let Some(fixed) = packet.first_chunk_mut::<{ ipv6::HEADER }>() {
            put::<{ field::SOURCE }, 16, _>(fixed, header.destination.octets());
            put::<{ field::DESTINATION }, 16, _>(fixed, header.source.octets());
            fixed[field::HOP_LIMIT] = TTL;
        }
        if let Some(at) = message {
            match packet.get_mut(at..).and_then(|m| m.first_chunk_mut()) {
                Some(message) => icmpv6::reply(message),
                None => return io.drop(frame, DropReason::IpHeaderInvalid),
            }
        }
        self.originate_v6(io, frame, header.source);
    }
}
