//! The slow path of IPv6: every packet that the fast path leaves (RFC 8200).

use std::net::IpAddr;

use super::icmp::TTL;
use super::interface::SourceCheck;
use super::link;
use super::{Io, Router, Routing, Target, flow};
use crate::drops::DropReason;
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::offload;
use crate::rib::InterfaceId;
use crate::wire::field::put;
use crate::wire::ipv6::{self, Header, Objection, Upper, field};
use crate::wire::{icmpv6, ndisc};

impl<R: Routing> Router<R> {
    /// Takes in an IPv6 packet; `to_us` if it came to our Ethernet address and not to a group.
    pub(super) fn input_v6(&mut self, io: &mut Io<'_>, frame: Frame, to_us: bool) {
        let bytes = link::packet(io.pool.head(&frame));
        let Ok(packet) = ipv6::Packet::new_checked(bytes, frame.len() - ETHERNET_HEADER) else {
            return self.drop(io, frame, DropReason::IpHeaderInvalid);
        };
        let header = packet.header();
        let Header { source, destination, .. } = header;
        let interface = &self.interfaces[io.input];
        // The unspecified address may only look for duplicates on the link, which is seen further down.
        let martian = ipv6::is_martian_source(source) && !source.is_unspecified();
        if martian || ipv6::is_martian_destination(destination) {
            return self.drop(io, frame, DropReason::Martian);
        }
        let objection = ipv6::hop_by_hop(&packet);
        match objection {
            Err(_) => return self.drop(io, frame, DropReason::IpHeaderInvalid),
            Ok(Some(objection)) => return self.object(io, frame, objection),
            Ok(None) => (),
        }
        if destination.is_multicast() {
            return match interface.punt.is_some() || interface.is_member(destination) {
                true => self.deliver_v6(io, frame, header),
                false => self.drop(io, frame, DropReason::NotForUs),
            };
        }
        if !to_us {
            return self.drop(io, frame, DropReason::NotForUs);
        }
        // A stack of its own may have link-local addresses that we do not know of.
        let on_link = interface.punt.is_some() && destination.is_unicast_link_local();
        if interface.link_local == Some(destination) || on_link {
            return self.deliver_v6(io, frame, header);
        }
        let flow = if R::MULTIPATH { flow::v6(link::packet(io.pool.head(&frame)), self.seed) } else { 0 };
        let target = self.routes.v6(destination, flow);
        if target == Some(Target::Local) {
            return self.deliver_v6(io, frame, header);
        }
        // Link-local addresses mean nothing on another link (RFC 4291, 2.5.6).
        if source.is_unspecified() || source.is_unicast_link_local() || destination.is_unicast_link_local() {
            return self.drop(io, frame, DropReason::Martian);
        }
        if interface.check != SourceCheck::Off && !self.is_right_source(io.input, source.into()) {
            return self.drop(io, frame, DropReason::SourceRoute);
        }
        let (interface, neighbour) = match target {
            Some(Target::Link(interface)) => (interface, destination.into()),
            Some(Target::Gateway(interface, gateway)) => (interface, gateway),
            other => return self.refuse_v6(io, frame, other),
        };
        self.forward_v6(io, frame, header, interface, neighbour);
    }

    /// Ends a packet that no route leads on, and tells its sender where that is due (RFC 4443, 3.1).
    fn refuse_v6(&mut self, io: &mut Io<'_>, frame: Frame, target: Option<Target>) {
        let (error, reason) = match target {
            None => (Some(icmpv6::Error::NoRoute), DropReason::NoRoute),
            Some(Target::Unreachable) => (Some(icmpv6::Error::RejectRoute), DropReason::RouteUnreachable),
            Some(Target::Prohibit) => (Some(icmpv6::Error::Prohibited), DropReason::RouteProhibit),
            Some(Target::Blackhole) => (None, DropReason::Blackhole),
            Some(_) => (None, DropReason::NotForUs),
        };
        if let Some(error) = error {
            self.report_v6(io, &frame, error);
        }
        self.drop(io, frame, reason);
    }

    fn forward_v6(
        &mut self,
        io: &mut Io<'_>,
        mut frame: Frame,
        header: Header,
        interface: InterfaceId,
        neighbour: IpAddr,
    ) {
        if header.hop_limit <= 1 {
            self.report_v6(io, &frame, icmpv6::Error::TimeExceeded);
            return self.drop(io, frame, DropReason::TtlExpired);
        }
        let mtu = self.interfaces[interface].mtu;
        if offload::longest(io.pool, &frame).min(ETHERNET_HEADER + header.total()) > ETHERNET_HEADER + usize::from(mtu)
        {
            self.report_v6(io, &frame, icmpv6::Error::PacketTooBig { mtu: u32::from(mtu) });
            return self.drop(io, frame, DropReason::TooBig);
        }
        if let Some(hop_limit) = link::packet_mut(io.pool.head_mut(&mut frame)).get_mut(field::HOP_LIMIT) {
            *hop_limit = header.hop_limit - 1;
        }
        if let Some(hop) = self.hand_over(io, frame, interface, neighbour) {
            self.routes.note_v6(header.destination, hop);
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
        self.drop(io, frame, DropReason::IpOption);
    }

    /// Takes in a packet for the router itself, or for a group it belongs to.
    fn deliver_v6(&mut self, io: &mut Io<'_>, frame: Frame, header: Header) {
        let from_us =
            self.interfaces[io.input].has_v6(header.source) || self.routes.v6(header.source, 0) == Some(Target::Local);
        if from_us {
            return self.drop(io, frame, DropReason::Martian);
        }
        let bytes = link::packet(io.pool.head(&frame));
        let packet = ipv6::Packet::new_checked(bytes, frame.len() - ETHERNET_HEADER);
        let Some((packet, upper)) = packet.and_then(|packet| Ok((packet, ipv6::upper(&packet)?))).ok() else {
            return self.drop(io, frame, DropReason::IpHeaderInvalid);
        };
        if let Some(objection) = upper.objection {
            return self.object(io, frame, objection);
        }
        let punt = self.interfaces[io.input].punt.is_some();
        let kind = packet.payload().get(upper.at - ipv6::HEADER).copied();
        if punt {
            // The stack judges for itself what is said to it; we only listen. In fragments we do not (RFC 6980).
            let is_neighbour = matches!(kind, Some(ndisc::SOLICITATION | ndisc::ADVERTISEMENT));
            if upper.protocol == ipv6::ICMP && upper.fragment.is_none() && is_neighbour {
                let _ = self.hear_neighbour(io, &frame, header, upper.at);
            }
            return self.punt(io, frame);
        }
        if upper.protocol == ipv6::ICMP {
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
        self.drop(io, frame, DropReason::NoService);
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
                self.drop(io, frame, DropReason::NoService);
            }
            (Some(part), _) if part.offset != 0 => match self.echo.knows(key(part.ident), io.now) {
                true => self.echo_v6(io, frame, header, None),
                false => self.drop(io, frame, DropReason::NoService),
            },
            (fragment, Some(icmpv6::ECHO_REQUEST)) => {
                if let Some(part) = fragment {
                    self.echo.note(key(part.ident), io.now);
                }
                self.echo_v6(io, frame, header, Some(upper.at));
            }
            _ => self.drop(io, frame, DropReason::NoService),
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
                None => return self.drop(io, frame, DropReason::IpHeaderInvalid),
            }
        }
        self.originate_v6(io, frame, header.source);
    }
}
