//! The IPv6 header and the chain of extension headers behind it (RFC 8200).
//!
//! The chain is as long as its sender likes, so it is walked to a bound, and only within the bytes at hand.

use std::net::Ipv6Addr;

use super::Malformed;
use super::field::{get, get16, get32, put, put16};

/// Where the fields are, from the first byte of the header.
pub mod field {
    /// Version, traffic class and flow label.
    pub const VERSION_CLASS_FLOW: usize = 0;
    /// Bytes behind the header.
    pub const LENGTH: usize = 4;
    /// What comes next.
    pub const NEXT: usize = 6;
    /// Hop limit.
    pub const HOP_LIMIT: usize = 7;
    /// Source address.
    pub const SOURCE: usize = 8;
    /// Destination address.
    pub const DESTINATION: usize = 24;
}

/// Bytes of the header.
pub const HEADER: usize = 40;
/// The smallest MTU of a link that carries IPv6.
pub const MIN_MTU: u16 = 1280;

/// Next header: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Next header: TCP.
pub const TCP: u8 = 6;
/// Next header: UDP.
pub const UDP: u8 = 17;
/// Next header: routing.
pub const ROUTING: u8 = 43;
/// Next header: fragment.
pub const FRAGMENT: u8 = 44;
/// Next header: authentication.
const AUTHENTICATION: u8 = 51;
/// Next header: ICMPv6.
pub const ICMP: u8 = 58;
/// Next header: nothing follows.
pub const NONE: u8 = 59;
/// Next header: destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// Most extension headers that are looked through: no honest packet has more.
const MAX_EXTENSIONS: usize = 8;

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Traffic class.
    pub class: u8,
    /// Flow label, 20 bits.
    pub flow: u32,
    /// Bytes behind the header.
    pub length: u16,
    /// What comes next.
    pub next: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
}

impl Header {
    /// Writes it.
    pub fn emit(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let first = 6 << 28 | u32::from(self.class) << 20 | (self.flow & 0xf_ffff);
        put::<{ field::VERSION_CLASS_FLOW }, 4, _>(&mut bytes, first.to_be_bytes());
        put16::<{ field::LENGTH }, _>(&mut bytes, self.length);
        bytes[field::NEXT] = self.next;
        bytes[field::HOP_LIMIT] = self.hop_limit;
        put::<{ field::SOURCE }, 16, _>(&mut bytes, self.source.octets());
        put::<{ field::DESTINATION }, 16, _>(&mut bytes, self.destination.octets());
        bytes
    }

    /// Bytes of header and all that follows.
    pub fn total(&self) -> usize {
        HEADER + usize::from(self.length)
    }
}

/// A packet whose header has been checked against its length.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    fixed: &'a [u8; HEADER],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version and length. `bytes` begin with the header and may end before the packet does; `len` bytes are
    /// there in all, padding included.
    ///
    /// # Errors
    /// What does not hold.
    pub fn new_checked(bytes: &'a [u8], len: usize) -> Result<Self, Malformed> {
        let (fixed, payload) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        if fixed[field::VERSION_CLASS_FLOW] >> 4 != 6 {
            return Err(Malformed::Version);
        }
        let length = usize::from(get16::<{ field::LENGTH }, _>(fixed));
        if HEADER + length > len {
            return Err(Malformed::Length);
        }
        Ok(Self { fixed, payload: &payload[..payload.len().min(length)] })
    }

    /// The fields.
    pub fn header(&self) -> Header {
        let h = self.fixed;
        let first = get32::<{ field::VERSION_CLASS_FLOW }, _>(h);
        Header {
            class: (first >> 20) as u8,
            flow: first & 0xf_ffff,
            length: get16::<{ field::LENGTH }, _>(h),
            next: h[field::NEXT],
            hop_limit: h[field::HOP_LIMIT],
            source: get::<{ field::SOURCE }, 16, _>(h).into(),
            destination: get::<{ field::DESTINATION }, 16, _>(h).into(),
        }
    }

    /// What follows the header, without padding: as much of it as was given.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// The part of a datagram that a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Offset in bytes.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Identification.
    pub ident: u32,
}

/// Options that were found on the way, for whoever must heed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// An option whose type says: drop the packet.
    Discard,
    /// An option whose type says: drop it and tell the sender; also about multicast if `multicast`.
    Report {
        /// Where, from the start of the packet.
        at: u32,
        /// Tell the sender even when the packet went to a multicast address.
        multicast: bool,
    },
    /// A routing header with segments left, which only a waypoint would follow (RFC 5095).
    Routing {
        /// Where, from the start of the packet.
        at: u32,
    },
}

/// What the chain of extension headers leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The protocol behind the chain.
    pub protocol: u8,
    /// Where its header begins, from the start of the packet.
    pub at: usize,
    /// Where the next-header field that named it is, from the start of the packet.
    pub named_at: u32,
    /// The fragment header, if there was one.
    pub fragment: Option<FragmentHeader>,
    /// The first thing in the chain that the packet's destination must not accept.
    pub objection: Option<Objection>,
}

/// Walks the extension headers of `packet`: to the upper layer, or to the fragment header of a fragment that is not
/// the first.
///
/// # Errors
/// The chain runs out of the bytes at hand or is longer than any honest one.
pub fn upper(packet: &Packet<'_>) -> Result<Upper, Malformed> {
    let payload = packet.payload;
    let mut protocol = packet.fixed[field::NEXT];
    let mut named_at = field::NEXT as u32;
    let mut at = 0;
    let mut fragment = None;
    let mut objection = None;
    for _ in 0..=MAX_EXTENSIONS {
        let done = Upper { protocol, at: HEADER + at, named_at, fragment, objection };
        if !matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS) {
            return Ok(done);
        }
        let header = payload.get(at..).and_then(|rest| rest.first_chunk::<8>()).ok_or(Malformed::Truncated)?;
        let place = (HEADER + at) as u32;
        let len = match protocol {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        let body = payload.get(at..at + len).ok_or(Malformed::Truncated)?;
        match protocol {
            HOP_BY_HOP | DESTINATION_OPTIONS => objection = objection.or_else(|| options(body, place)),
            ROUTING if header[3] != 0 => objection = objection.or(Some(Objection::Routing { at: place + 2 })),
            FRAGMENT => {
                let word = get16::<2, _>(header);
                let part = FragmentHeader { offset: word & 0xfff8, more: word & 1 != 0, ident: get32::<4, _>(header) };
                fragment = Some(part);
                if part.offset != 0 {
                    let protocol = header[0];
                    return Ok(Upper { protocol, at: HEADER + at + len, named_at: place, fragment, objection });
                }
            }
            _ => (),
        }
        protocol = header[0];
        named_at = place;
        at += len;
    }
    Err(Malformed::Length)
}

/// What the hop-by-hop options, which every router sees, object to. Only those: the rest of the chain is for the
/// destination.
///
/// # Errors
/// The header runs out of the bytes at hand.
pub fn hop_by_hop(packet: &Packet<'_>) -> Result<Option<Objection>, Malformed> {
    if packet.fixed[field::NEXT] != HOP_BY_HOP {
        return Ok(None);
    }
    let len = (usize::from(*packet.payload.get(1).ok_or(Malformed::Truncated)?) + 1) * 8;
    let body = packet.payload.get(..len).ok_or(Malformed::Truncated)?;
    Ok(options(body, HEADER as u32))
}

/// The first option of an options header that its type does not allow to skip (RFC 8200, 4.2). None is known here but
/// padding and router alert, which asks for nothing that this router does.
fn options(body: &[u8], place: u32) -> Option<Objection> {
    const PAD1: u8 = 0;
    const PADN: u8 = 1;
    const ROUTER_ALERT: u8 = 5;
    let mut at = 2;
    while let Some(&kind) = body.get(at) {
        let here = place + at as u32;
        match kind {
            PAD1 => {
                at += 1;
                continue;
            }
            PADN | ROUTER_ALERT => (),
            _ => match kind >> 6 {
                0 => (),
                1 => return Some(Objection::Discard),
                high => return Some(Objection::Report { at: here, multicast: high == 2 }),
            },
        }
        let Some(&len) = body.get(at + 1) else { return Some(Objection::Discard) };
        at += 2 + usize::from(len);
    }
    None
}

/// Whether no packet on a network may come from here: unspecified, loopback, multicast, IPv4-mapped (RFC 4291; RFC
/// 6890). The unspecified address is allowed where a neighbour asks for duplicates, which is the caller's to know.
pub const fn is_martian_source(source: Ipv6Addr) -> bool {
    source.is_multicast() || is_martian_destination(source)
}

/// Whether no packet on a network may go there: unspecified, loopback, IPv4-mapped.
pub const fn is_martian_destination(destination: Ipv6Addr) -> bool {
    let bits = destination.to_bits();
    bits <= 1 || bits >> 32 == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(next: u8, length: usize) -> Header {
        Header {
            class: 0xab,
            flow: 0x12345,
            length: length as u16,
            next,
            hop_limit: 64,
            source: "2001:db8::2".parse().unwrap(),
            destination: "2001:db8:1::2".parse().unwrap(),
        }
    }

    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        [&header(next, payload.len()).emit()[..], payload].concat()
    }

    fn walk(next: u8, payload: &[u8]) -> Result<Upper, Malformed> {
        let bytes = packet(next, payload);
        upper(&Packet::new_checked(&bytes, bytes.len()).unwrap())
    }

    #[test]
    fn reads_and_writes_the_same_bytes() {
        let mut bytes = packet(UDP, &[1, 2, 3]);
        assert_eq!(bytes[..8], [0x6a, 0xb1, 0x23, 0x45, 0, 3, 17, 64]);
        bytes.extend([0; 5]);
        let packet = Packet::new_checked(&bytes, bytes.len()).unwrap();
        assert_eq!(packet.header(), header(UDP, 3));
        assert_eq!(packet.payload(), [1, 2, 3], "without the padding");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let bytes = packet(UDP, &[1, 2, 3]);
        assert_eq!(Packet::new_checked(&bytes[..39], 39).err(), Some(Malformed::Truncated));
        assert_eq!(Packet::new_checked(&bytes[..42], 42).err(), Some(Malformed::Length));
        let mut other = bytes.clone();
        other[0] = 0x4a;
        assert_eq!(Packet::new_checked(&other, other.len()).err(), Some(Malformed::Version));
    }

    #[test]
    fn the_chain_leads_to_the_upper_layer() {
        let found = walk(HOP_BY_HOP, &[60, 0, 5, 2, 0, 0, 1, 0, 17, 0, 1, 4, 0, 0, 0, 0, 9, 9]).unwrap();
        assert_eq!((found.protocol, found.at, found.named_at, found.objection), (UDP, 56, 48, None));
        let found = walk(FRAGMENT, &[58, 0, 0, 1, 0, 0, 0, 7, 128, 0]).unwrap();
        let first = FragmentHeader { offset: 0, more: true, ident: 7 };
        assert_eq!((found.protocol, found.at, found.fragment), (ICMP, 48, Some(first)));
        let found = walk(FRAGMENT, &[60, 0, 0, 8, 0, 0, 0, 7, 128, 0]).unwrap();
        let last = FragmentHeader { offset: 8, more: false, ident: 7 };
        assert_eq!((found.protocol, found.fragment), (60, Some(last)), "no chain in a later fragment");
        assert_eq!(walk(UDP, &[]).unwrap().at, 40);
    }

    #[test]
    fn the_walk_is_bounded_and_stays_within_the_bytes() {
        assert_eq!(walk(HOP_BY_HOP, &[17, 1, 0, 0, 0, 0, 0, 0]), Err(Malformed::Truncated));
        assert_eq!(walk(HOP_BY_HOP, &[17, 0, 0]), Err(Malformed::Truncated));
        let endless: Vec<u8> = std::iter::repeat_n([60, 0, 1, 4, 0, 0, 0, 0], 20).flatten().collect();
        assert_eq!(walk(DESTINATION_OPTIONS, &endless), Err(Malformed::Length));
    }

    #[test]
    fn options_that_may_not_be_skipped_are_found() {
        let with = |kind: u8| walk(HOP_BY_HOP, &[17, 0, 0, 0, kind, 2, 0, 0]).unwrap().objection;
        assert_eq!(with(0x1e), None);
        assert_eq!(with(0x5e), Some(Objection::Discard));
        assert_eq!(with(0x9e), Some(Objection::Report { at: 44, multicast: true }));
        assert_eq!(with(0xde), Some(Objection::Report { at: 44, multicast: false }));
        let routing = walk(ROUTING, &[17, 0, 0, 1, 0, 0, 0, 0]).unwrap().objection;
        assert_eq!(routing, Some(Objection::Routing { at: 42 }));
        assert_eq!(walk(ROUTING, &[17, 0, 0, 0, 0, 0, 0, 0]).unwrap().objection, None);
        let beyond = walk(HOP_BY_HOP, &[17, 0, 0, 0, 0, 0, 0, 1]).unwrap().objection;
        assert_eq!(beyond, Some(Objection::Discard), "a type without length");
    }
}
