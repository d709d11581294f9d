//! Where the headers of a frame lie that is to be cut, or whose checksum is blank.
//!
//! Strict: a packet's own length must be that of the bytes that are there. What a stack hands over to be cut is so; what
//! is not would come out of it as something that nobody sent.

use super::{GsoKind, Partial};
use crate::wire::ethernet;
use crate::wire::{ipv4, ipv6};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// Where TCP's checksum is in its header (RFC 9293, 3.1).
pub const TCP_CHECKSUM_OFFSET: u16 = 16;
/// Where UDP's is (RFC 768).
pub const UDP_CHECKSUM_OFFSET: u16 = 6;

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;
/// Where the length of TCP's header is in it, in words of four bytes, in the high half.
const DATA_OFFSET: usize = 12;

/// Most bytes of headers that are repeated before each segment. Two addresses, a tag, the longest of IPv4 and TCP are
/// 138; what is left is for IPv6's extension headers.
pub const MAX_HEADERS: usize = 512;

/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Where the packet's length is in it.
pub const UDP_LENGTH: usize = 4;

/// A frame with TCP or UDP in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Where the IP header begins.
    pub network: usize,
    /// Whether it is IPv6's.
    pub six: bool,
    /// Where the TCP or UDP header begins.
    pub transport: usize,
    /// Where the payload begins.
    pub headers: usize,
    /// The sum over the pseudo-header but for the length; none when its destination is not the one in the IP header.
    pub pseudo: Option<u64>,
}

/// A frame whose checksum is to be written from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blank {
    /// Where it is.
    pub partial: Partial,
    /// What belongs there beforehand.
    pub pseudo: u16,
}

/// An IP packet.
struct Ip {
    network: usize,
    transport: usize,
    protocol: u8,
    pseudo: Option<u64>,
}

impl Upper {
    /// Looks at the frame of `len` bytes that begins with `head`. None when it is not of this kind, is a fragment, or is
    /// inconsistent in any way.
    pub fn parse(head: &[u8], len: usize, kind: GsoKind) -> Option<Self> {
        let ip = Ip::parse(head, len)?;
        let six = head.get(ip.network)? >> 4 != 4;
        let header = match (kind, ip.protocol) {
            (GsoKind::TcpIpv4, ipv4::TCP) if !six => tcp_header(head, ip.transport)?,
            (GsoKind::TcpIpv6, ipv4::TCP) if six => tcp_header(head, ip.transport)?,
            (GsoKind::Udp, ipv4::UDP) => {
                let told = head.get(ip.transport + UDP_LENGTH..)?.first_chunk()?;
                (usize::from(u16::from_be_bytes(*told)) == len - ip.transport).then_some(UDP_HEADER)?
            }
            _ => return None,
        };
        let headers = ip.transport + header;
        let fits = headers <= head.len().min(MAX_HEADERS) && headers < len;
        fits.then_some(Self { network: ip.network, six, transport: ip.transport, headers, pseudo: ip.pseudo })
    }
}

/// Bytes of the TCP header at `at`.
pub fn tcp_header(head: &[u8], at: usize) -> Option<usize> {
    let header = usize::from(head.get(at + DATA_OFFSET)? >> 4) * 4;
    (header >= TCP_HEADER).then_some(header)
}

impl Ip {
    fn parse(head: &[u8], len: usize) -> Option<Self> {
        let ethernet = ethernet::Header::parse(head).ok()?;
        let network = ethernet.len();
        let (bytes, len) = (head.get(network..)?, len.checked_sub(network)?);
        match ethernet.ethertype() {
            IPV4 => {
                let packet = ipv4::Packet::new_checked(bytes, len).ok()?;
                let header = packet.header();
                if usize::from(header.length) != len || header.is_fragment() {
                    return None;
                }
                let addresses = [header.source.octets(), header.destination.octets()];
                Some(Self {
                    network,
                    transport: network + packet.header_len(),
                    protocol: header.protocol,
                    // A source route puts the last destination elsewhere.
                    pseudo: (!packet.is_source_routed()).then(|| pseudo(addresses.as_flattened(), header.protocol)),
                })
            }
            IPV6 => {
                let packet = ipv6::Packet::new_checked(bytes, len).ok()?;
                let header = packet.header();
                let upper = ipv6::upper(&packet).ok()?;
                // A length of zero is a jumbogram's, or that of no payload.
                if header.total() != len || upper.fragment.is_some() {
                    return None;
                }
                let addresses = [header.source.octets(), header.destination.octets()];
                Some(Self {
                    network,
                    transport: network + upper.at,
                    protocol: upper.protocol,
                    // A routing header puts the last destination elsewhere.
                    pseudo: upper.objection.is_none().then(|| pseudo(addresses.as_flattened(), upper.protocol)),
                })
            }
            _ => None,
        }
    }
}

/// The sum over the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1) but for the length.
fn pseudo(addresses: &[u8], protocol: u8) -> u64 {
    let words = addresses.chunks_exact(2).map(|word| match *word {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        _ => 0,
    });
    words.sum::<u64>() + u64::from(protocol)
}

/// A sum in 16 bits.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Finds the checksum of a TCP or UDP packet. None when it is neither, a fragment, or inconsistent in any way.
pub fn find_blank(head: &[u8], len: usize) -> Option<Blank> {
    let ip = Ip::parse(head, len)?;
    let offset = match ip.protocol {
        ipv4::TCP => TCP_CHECKSUM_OFFSET,
        ipv4::UDP => UDP_CHECKSUM_OFFSET,
        _ => return None,
    };
    let start = u16::try_from(ip.transport).ok()?;
    let length = len.checked_sub(ip.transport)? as u64;
    Some(Blank { partial: Partial { start, offset }, pseudo: fold(ip.pseudo? + length) })
}
