//! The slow path of IPv4: every packet that the fast path leaves (RFC 1812, 5.2).

use std::net::Ipv4Addr;

use super::icmp::TTL;
use super::link;
use super::router::{Io, Router};
use super::routes::Target;
use crate::drops::DropReason;
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::units::PortId;
use crate::wire::field::{put, put16};
use crate::wire::icmpv4;
use crate::wire::ipv4::{self, DF, Header, field};

impl Router {
    /// Takes in an IPv4 packet; `to_us` if it came to our Ethernet address and not to a group.
    pub(super) fn input_v4(&mut self, io: &mut Io<'_>, frame: Frame, to_us: bool) {
        let bytes = link::packet(io.pool.head(&frame));
        let packet = ipv4::Packet::new_checked(bytes, frame.len() - ETHERNET_HEADER);
        let Some(packet) = packet.ok().filter(ipv4::Packet::checksum_holds) else {
            return io.drop(frame, DropReason::IpHeaderInvalid);
        };
        let header = packet.header();
        if packet.is_source_routed() {
            return io.drop(frame, DropReason::IpOption);
        }
        let destination = header.destination;
        if ipv4::is_martian_source(header.source.to_bits()) || ipv4::is_martian_destination(destination.to_bits()) {
            return io.drop(frame, DropReason::Martian);
        }
        // What came to a group on the link is not forwarded (RFC 1812, 5.3.4), nor answered.
        if !to_us || destination.is_multicast() || destination.is_broadcast() {
            return io.drop(frame, DropReason::NotForUs);
        }
        let (port, neighbour) = match self.routes.v4(destination) {
            Some(Target::Local) => return self.deliver_v4(io, frame, header),
            Some(Target::Broadcast) => return io.drop(frame, DropReason::NotForUs),
            Some(Target::Link(port)) => (port, destination),
            Some(Target::Gateway(port, gateway)) => (port, gateway),
            None => {
                self.report_v4(io, &frame, icmpv4::Error::NetUnreachable);
                return io.drop(frame, DropReason::NoRoute);
            }
        };
        self.forward_v4(io, frame, header, port, neighbour);
    }

    fn forward_v4(&mut self, io: &mut Io<'_>, mut frame: Frame, header: Header, port: PortId, neighbour: Ipv4Addr) {
        if header.ttl <= 1 {
            self.report_v4(io, &frame, icmpv4::Error::TimeExceeded);
            return io.drop(frame, DropReason::TtlExpired);
        }
        let mtu = self.interfaces[port.index()].mtu;
        if header.length > mtu && header.dont_fragment() {
            self.report_v4(io, &frame, icmpv4::Error::FragmentationNeeded { mtu });
            return io.drop(frame, DropReason::TooBig);
        }
        if let Some(fixed) = link::packet_mut(io.pool.head_mut(&mut frame)).first_chunk_mut() {
            ipv4::decrement_ttl(fixed);
        }
        if let Some(hop) = self.hand_over(io, frame, port, neighbour.into()) {
            self.cache_v4.put(header.destination.to_bits(), hop);
        }
    }

    /// Takes in a packet for the router itself.
    fn deliver_v4(&mut self, io: &mut Io<'_>, frame: Frame, header: Header) {
        // From ourselves: nobody to answer.
        if matches!(self.routes.v4(header.source), Some(Target::Local | Target::Broadcast)) {
            return io.drop(frame, DropReason::Martian);
        }
        match header.protocol {
            ipv4::ICMP => self.deliver_icmp_v4(io, frame, header),
            protocol => {
                let error = match protocol {
                    ipv4::TCP | ipv4::UDP => icmpv4::Error::PortUnreachable,
                    _ => icmpv4::Error::ProtocolUnreachable,
                };
                self.report_v4(io, &frame, error);
                io.drop(frame, DropReason::NoService);
            }
        }
    }

    fn deliver_icmp_v4(&mut self, io: &mut Io<'_>, frame: Frame, header: Header) {
        let bytes = link::packet(io.pool.head(&frame));
        let Ok(packet) = ipv4::Packet::new_checked(bytes, frame.len() - ETHERNET_HEADER) else {
            return io.drop(frame, DropReason::IpHeaderInvalid);
        };
        let key = (header.source.into(), header.destination.into(), u32::from(header.ident));
        let answer = match header.offset() {
            0 => packet.payload().first_chunk().is_some_and(|m: &[u8; icmpv4::HEADER]| m[0] == icmpv4::ECHO_REQUEST),
            _ => self.echo.knows(key, io.now),
        };
        if !answer {
            return io.drop(frame, DropReason::NoService);
        }
        if header.is_fragment() && header.offset() == 0 {
            self.echo.note(key, io.now);
        }
        let header_len = packet.header_len();
        self.echo_v4(io, frame, header, header_len);
    }

    /// Turns an echo request, or a fragment of one, into the reply.
    fn echo_v4(&mut self, io: &mut Io<'_>, mut frame: Frame, header: Header, header_len: usize) {
        let packet = link::packet_mut(io.pool.head_mut(&mut frame));
        if let Some(fixed) = packet.first_chunk_mut::<{ ipv4::HEADER }>() {
            put::<{ field::SOURCE }, 4, _>(fixed, header.destination.octets());
            put::<{ field::DESTINATION }, 4, _>(fixed, header.source.octets());
            fixed[field::TTL] = TTL;
            // The way back may be narrower.
            put16::<{ field::FRAGMENT }, _>(fixed, header.fragment & !DF);
        }
        if let Some(header) = packet.get_mut(..header_len) {
            ipv4::fill_checksum(header);
        }
        if header.offset() == 0
            && let Some(message) = packet.get_mut(header_len..).and_then(|m| m.first_chunk_mut())
        {
            icmpv4::reply(message);
        }
        self.originate_v4(io, frame, header.source);
    }
}
