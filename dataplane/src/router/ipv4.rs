//! The slow path of IPv4: every packet that the fast path leaves (RFC 1812, 5.2).

use std::net::IpAddr;

use super::icmp::TTL;
use super::interface::SourceCheck;
use super::link;
use super::{Io, Router, Routing, Target, flow};
use crate::drops::DropReason;
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::offload;
use crate::rib::InterfaceId;
use crate::wire::field::{put, put16};
use crate::wire::icmpv4;
use crate::wire::ipv4::{self, DF, Header, field};

impl<R: Routing> Router<R> {
    /// Takes in an IPv4 packet; `to_us` if it came to our Ethernet address and not to a group.
    pub(super) fn input_v4(&mut self, io: &mut Io<'_>, frame: Frame, to_us: bool) {
        let bytes = link::packet(io.pool.head(&frame));
        let packet = ipv4::Packet::new_checked(bytes, frame.len() - ETHERNET_HEADER);
        let Some(packet) = packet.ok().filter(ipv4::Packet::checksum_holds) else {
            return self.drop(io, frame, DropReason::IpHeaderInvalid);
        };
        let header = packet.header();
        if packet.is_source_routed() {
            return self.drop(io, frame, DropReason::IpOption);
        }
        let destination = header.destination;
        if ipv4::is_martian_source(header.source.to_bits()) || ipv4::is_martian_destination(destination.to_bits()) {
            return self.drop(io, frame, DropReason::Martian);
        }
        // What came to a group on the link is not forwarded (RFC 1812, 5.3.4), nor answered.
        if !to_us || destination.is_multicast() || destination.is_broadcast() {
            return self.drop(io, frame, DropReason::NotForUs);
        }
        if self.interfaces[io.input].check != SourceCheck::Off && !self.is_right_source(io.input, header.source.into())
        {
            return self.drop(io, frame, DropReason::SourceRoute);
        }
        let flow = if R::MULTIPATH { flow::v4(link::packet(io.pool.head(&frame)), self.seed) } else { 0 };
        let (interface, neighbour) = match self.routes.v4(destination, flow) {
            Some(Target::Link(interface)) => (interface, destination.into()),
            Some(Target::Gateway(interface, gateway)) => (interface, gateway),
            Some(Target::Local) => return self.deliver_v4(io, frame, header),
            other => return self.refuse_v4(io, frame, other),
        };
        self.forward_v4(io, frame, header, interface, neighbour);
    }

    /// Ends a packet that no route leads on, and tells its sender where that is due (RFC 1812, 5.2.7.1).
    fn refuse_v4(&mut self, io: &mut Io<'_>, frame: Frame, target: Option<Target>) {
        let (error, reason) = match target {
            None => (Some(icmpv4::Error::NetUnreachable), DropReason::NoRoute),
            Some(Target::Unreachable) => (Some(icmpv4::Error::HostUnreachable), DropReason::RouteUnreachable),
            Some(Target::Prohibit) => (Some(icmpv4::Error::Prohibited), DropReason::RouteProhibit),
            Some(Target::Blackhole) => (None, DropReason::Blackhole),
            Some(_) => (None, DropReason::NotForUs),
        };
        if let Some(error) = error {
            self.report_v4(io, &frame, error);
        }
        self.drop(io, frame, reason);
    }

    fn forward_v4(
        &mut self,
        io: &mut Io<'_>,
        mut frame: Frame,
        header: Header,
        interface: InterfaceId,
        neighbour: IpAddr,
    ) {
        if header.ttl <= 1 {
            self.report_v4(io, &frame, icmpv4::Error::TimeExceeded);
            return self.drop(io, frame, DropReason::TtlExpired);
        }
        let mtu = self.interfaces[interface].mtu;
        if header.dont_fragment() && offload::longest(io.pool, &frame) > ETHERNET_HEADER + usize::from(mtu) {
            self.report_v4(io, &frame, icmpv4::Error::FragmentationNeeded { mtu });
            return self.drop(io, frame, DropReason::TooBig);
        }
        if let Some(fixed) = link::packet_mut(io.pool.head_mut(&mut frame)).first_chunk_mut() {
            ipv4::decrement_ttl(fixed);
        }
        if let Some(hop) = self.hand_over(io, frame, interface, neighbour) {
            self.routes.note_v4(header.destination, hop);
        }
    }

    /// Takes in a packet for the router itself.
    fn deliver_v4(&mut self, io: &mut Io<'_>, frame: Frame, header: Header) {
        // From ourselves: nobody to answer.
        if matches!(self.routes.v4(header.source, 0), Some(Target::Local | Target::Broadcast)) {
            return self.drop(io, frame, DropReason::Martian);
        }
        match header.protocol {
            _ if self.interfaces[io.input].punt.is_some() => self.punt(io, frame),
            ipv4::ICMP => self.deliver_icmp_v4(io, frame, header),
            protocol => {
                let error = match protocol {
                    ipv4::TCP | ipv4::UDP => icmpv4::Error::PortUnreachable,
                    _ => icmpv4::Error::ProtocolUnreachable,
                };
                self.report_v4(io, &frame, error);
                self.drop(io, frame, DropReason::NoService);
            }
        }
    }

    fn deliver_icmp_v4(&mut self, io: &mut Io<'_>, frame: Frame, header: Header) {
        let bytes = link::packet(io.pool.head(&frame));
        let Ok(packet) = ipv4::Packet::new_checked(bytes, frame.len() - ETHERNET_HEADER) else {
            return self.drop(io, frame, DropReason::IpHeaderInvalid);
        };
        let key = (header.source.into(), header.destination.into(), u32::from(header.ident));
        let answer = match header.offset() {
            0 => packet.payload().first_chunk().is_some_and(|m: &[u8; icmpv4::HEADER]| m[0] == icmpv4::ECHO_REQUEST),
            _ => self.echo.knows(key, io.now),
        };
        if !answer {
            return self.drop(io, frame, DropReason::NoService);
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
