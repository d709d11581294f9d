//! Which frames a trace is of: judged by their first bytes, as they came in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;

use crate::units::{Mac, PortId};
use crate::wire::ethernet::{Header, Tci};
use crate::wire::{ipv4, ipv6};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// ICMPv6's protocol number.
const ICMPV6: u8 = 58;
/// Of an ARP message over Ethernet and IPv4: sender's and target's protocol address (RFC 826).
const ARP_SENDER: usize = 14;
const ARP_TARGET: usize = 24;

/// A protocol over IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Of this number.
    Number(u8),
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp,
}

impl Protocol {
    /// Reads `tcp`, `udp`, `icmp` or a number.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "tcp" => Some(Self::Number(ipv4::TCP)),
            "udp" => Some(Self::Number(ipv4::UDP)),
            "icmp" => Some(Self::Icmp),
            number => number.parse().ok().map(Self::Number),
        }
    }

    fn matches(self, packet: &Ip) -> bool {
        match self {
            Self::Number(number) => packet.protocol == number,
            Self::Icmp => packet.protocol == if packet.source.is_ipv4() { ipv4::ICMP } else { ICMPV6 },
        }
    }
}

/// What a frame must be like: all of what is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The port that it comes in by.
    pub port: Option<PortId>,
    /// Its source or destination.
    pub mac: Option<Mac>,
    /// The VLAN of its tag; 0: it has none, or a priority tag.
    pub vlan: Option<u16>,
    /// Each is the source or the destination of its packet; of ARP the sender or the target.
    pub hosts: ArrayVec<IpAddr, 2>,
    /// The protocol over IP.
    pub protocol: Option<Protocol>,
    /// Source or destination port of TCP, UDP or SCTP.
    pub l4_port: Option<u16>,
}

/// What is asked of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Bytes before what is over IP; none: a fragment that is not the first.
    pub payload: Option<usize>,
}

/// Reads the packet that follows the Ethernet header `header` of a frame.
pub(super) fn ip(header: &Header, head: &[u8]) -> Option<Ip> {
    let bytes = head.get(header.len()..)?;
    match header.ethertype() {
        ETHERTYPE_IPV4 => {
            let fixed = bytes.first_chunk::<{ ipv4::HEADER }>()?;
            if fixed[ipv4::field::VERSION_IHL] >> 4 != 4 {
                return None;
            }
            let length = usize::from(fixed[ipv4::field::VERSION_IHL] & 15) * 4;
            let fragment = u16::from_be_bytes([fixed[ipv4::field::FRAGMENT], fixed[ipv4::field::FRAGMENT + 1]]);
            Some(Ip {
                source: v4(bytes, ipv4::field::SOURCE)?,
                destination: v4(bytes, ipv4::field::DESTINATION)?,
                protocol: fixed[ipv4::field::PROTOCOL],
                ttl: fixed[ipv4::field::TTL],
                payload: (fragment & ipv4::OFFSET == 0).then_some(header.len() + length),
            })
        }
        ETHERTYPE_IPV6 => {
            let packet = ipv6::Packet::new_checked(bytes, usize::MAX).ok();
            let fixed = bytes.first_chunk::<{ ipv6::HEADER }>()?;
            let upper = packet.and_then(|packet| ipv6::upper(&packet).ok());
            let first = |upper: &ipv6::Upper| upper.fragment.is_none_or(|fragment| fragment.offset == 0);
            Some(Ip {
                source: v6(bytes, ipv6::field::SOURCE)?,
                destination: v6(bytes, ipv6::field::DESTINATION)?,
                protocol: upper.map_or(fixed[ipv6::field::NEXT], |upper| upper.protocol),
                ttl: fixed[ipv6::field::HOP_LIMIT],
                payload: upper.filter(first).map(|upper| header.len() + upper.at),
            })
        }
        _ => None,
    }
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    bytes.get(at..)?.first_chunk::<4>().map(|&octets| Ipv4Addr::from(octets).into())
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    bytes.get(at..)?.first_chunk::<16>().map(|&octets| Ipv6Addr::from(octets).into())
}

/// Sender and target of an ARP message.
pub(super) fn arp(header: &Header, head: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let bytes = head.get(header.len()..).filter(|_| header.ethertype() == ETHERTYPE_ARP)?;
    Some((v4(bytes, ARP_SENDER)?, v4(bytes, ARP_TARGET)?))
}

/// Source and destination port.
pub(super) fn l4_ports(ip: &Ip, head: &[u8]) -> Option<(u16, u16)> {
    const SCTP: u8 = 132;
    let at = ip.payload.filter(|_| matches!(ip.protocol, ipv4::TCP | ipv4::UDP | SCTP))?;
    let &[a, b, c, d] = head.get(at..)?.first_chunk::<4>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Source and destination of the packet in the frame that begins with `head`, if it is one of IP.
pub fn ends(head: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let packet = ip(&Header::parse(head).ok()?, head)?;
    Some((packet.source, packet.destination))
}

impl Filter {
    /// Whether the frame that begins with `head`, and came in by `port`, is one.
    pub fn matches(&self, port: PortId, head: &[u8]) -> bool {
        if self.port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        let Ok(header) = Header::parse(head) else {
            // A runt is nobody's; of a port, it may be what is looked for.
            return *self == Self { port: self.port, ..Self::default() };
        };
        let of_station = |mac: Mac| header.src() == mac || header.dst() == mac;
        if !self.mac.is_none_or(of_station) || self.vlan.is_some_and(|vlan| header.tag().map_or(0, Tci::vid) != vlan) {
            return false;
        }
        if self.hosts.is_empty() && self.protocol.is_none() && self.l4_port.is_none() {
            return true;
        }
        let Some(ip) = ip(&header, head) else {
            let of_hosts = self.protocol.is_none() && self.l4_port.is_none();
            let ends = arp(&header, head).filter(|_| of_hosts);
            return ends.is_some_and(|(from, to)| self.hosts.iter().all(|host| [from, to].contains(host)));
        };
        self.hosts.iter().all(|host| [ip.source, ip.destination].contains(host))
            && self.protocol.is_none_or(|protocol| protocol.matches(&ip))
            && self.l4_port.is_none_or(|port| l4_ports(&ip, head).is_some_and(|(from, to)| from == port || to == port))
    }
}
