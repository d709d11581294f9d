//! A frame in a line: who to whom, and what it is.

use super::filter::{arp, ip, l4_ports};
use crate::wire::ethernet::Header;
use crate::wire::{icmpv4, ipv4};

/// What the frame that begins with `head` is, as far as those bytes tell.
pub fn summary(head: &[u8]) -> String {
    let Ok(header) = Header::parse(head) else { return format!("{} bytes, too short for Ethernet", head.len()) };
    let (source, destination) = (header.src(), header.dst());
    let tag = header.tag().map_or_else(String::new, |tag| format!(" vlan {}", tag.vid()));
    format!("{source} > {destination}{tag} {}", payload(&header, head))
}

fn payload(header: &Header, head: &[u8]) -> String {
    if let Some((sender, target)) = arp(header, head) {
        let operation = head.get(header.len() + 6..).and_then(<[u8]>::first_chunk::<2>);
        return match operation.map(|&bytes| u16::from_be_bytes(bytes)) {
            Some(1) => format!("ARP who has {target}, tell {sender}"),
            Some(2) => format!("ARP {sender} tells {target}"),
            _ => format!("ARP {sender} {target}"),
        };
    }
    let Some(packet) = ip(header, head) else { return format!("ethertype {:#06x}", header.ethertype()) };
    let (source, destination) = (packet.source, packet.destination);
    if let Some((from, to)) = l4_ports(&packet, head) {
        let (from, to) = (std::net::SocketAddr::new(source, from), std::net::SocketAddr::new(destination, to));
        return format!("{from} > {to} {} ttl {}", protocol(packet.protocol), packet.ttl);
    }
    let message = packet.payload.and_then(|at| head.get(at)).copied();
    let what = match (packet.protocol, message) {
        (ipv4::ICMP, Some(kind)) => icmp(kind).unwrap_or_else(|| format!("ICMP type {kind}")),
        (58, Some(kind)) => icmpv6(kind).unwrap_or_else(|| format!("ICMPv6 type {kind}")),
        (number, _) => protocol(number),
    };
    let part = if packet.payload.is_none() { " fragment" } else { "" };
    format!("{source} > {destination} {what}{part} ttl {}", packet.ttl)
}

fn protocol(number: u8) -> String {
    match number {
        ipv4::ICMP => "ICMP".into(),
        2 => "IGMP".into(),
        ipv4::TCP => "TCP".into(),
        ipv4::UDP => "UDP".into(),
        47 => "GRE".into(),
        50 => "ESP".into(),
        58 => "ICMPv6".into(),
        89 => "OSPF".into(),
        112 => "VRRP".into(),
        132 => "SCTP".into(),
        other => format!("protocol {other}"),
    }
}

/// RFC 792.
fn icmp(kind: u8) -> Option<String> {
    Some(match kind {
        icmpv4::ECHO_REQUEST => "ICMP echo request".into(),
        0 => "ICMP echo reply".into(),
        3 => "ICMP destination unreachable".into(),
        11 => "ICMP time exceeded".into(),
        _ => return None,
    })
}

/// RFC 4443, RFC 4861.
fn icmpv6(kind: u8) -> Option<String> {
    Some(match kind {
        1 => "ICMPv6 destination unreachable".into(),
        2 => "ICMPv6 packet too big".into(),
        3 => "ICMPv6 time exceeded".into(),
        128 => "ICMPv6 echo request".into(),
        129 => "ICMPv6 echo reply".into(),
        133 => "router solicitation".into(),
        134 => "router advertisement".into(),
        135 => "neighbour solicitation".into(),
        136 => "neighbour advertisement".into(),
        _ => return None,
    })
}
