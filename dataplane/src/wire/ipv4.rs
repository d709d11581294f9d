//! The IPv4 header (RFC 791).
//!
//! [`Packet::new_checked`] looks once whether the header tells the truth about the bytes that are there; after that
//! every accessor is total. The checksum is a question of its own: a router must ask it, a test may not want to.

use std::net::Ipv4Addr;

use super::Malformed;
use super::checksum::{Sum, adjust};
use super::field::{get, get16, put, put16};

/// Where the fields are, from the first byte of the header.
pub mod field {
    /// Version (high half) and header length in 32-bit words.
    pub const VERSION_IHL: usize = 0;
    /// Type of service.
    pub const TOS: usize = 1;
    /// Total length.
    pub const LENGTH: usize = 2;
    /// Identification.
    pub const IDENT: usize = 4;
    /// Flags and fragment offset.
    pub const FRAGMENT: usize = 6;
    /// Time to live.
    pub const TTL: usize = 8;
    /// Protocol.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: usize = 10;
    /// Source address.
    pub const SOURCE: usize = 12;
    /// Destination address.
    pub const DESTINATION: usize = 16;
}

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Most bytes of options.
pub const MAX_OPTIONS: usize = 40;
/// The smallest MTU of a link that carries IPv4.
pub const MIN_MTU: u16 = 68;

/// Do not fragment.
pub const DF: u16 = 0x4000;
/// More fragments follow.
pub const MF: u16 = 0x2000;
/// The fragment offset, in units of 8 bytes.
pub const OFFSET: u16 = 0x1fff;

/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;

/// Option: loose source and record route.
const LOOSE_SOURCE_ROUTE: u8 = 131;
/// Option: strict source and record route.
const STRICT_SOURCE_ROUTE: u8 = 137;

/// The fixed fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of service.
    pub tos: u8,
    /// Bytes of header, options and data.
    pub length: u16,
    /// Identification.
    pub ident: u16,
    /// Flags and fragment offset, as [`DF`], [`MF`] and [`OFFSET`] cut them.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the data.
    pub protocol: u8,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
}

impl Header {
    /// Writes a header without options, checksum included.
    pub fn emit(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[field::VERSION_IHL] = 0x45;
        bytes[field::TOS] = self.tos;
        put16::<{ field::LENGTH }, _>(&mut bytes, self.length);
        put16::<{ field::IDENT }, _>(&mut bytes, self.ident);
        put16::<{ field::FRAGMENT }, _>(&mut bytes, self.fragment);
        bytes[field::TTL] = self.ttl;
        bytes[field::PROTOCOL] = self.protocol;
        put::<{ field::SOURCE }, 4, _>(&mut bytes, self.source.octets());
        put::<{ field::DESTINATION }, 4, _>(&mut bytes, self.destination.octets());
        let checksum = Sum::default().bytes(&bytes).checksum();
        put16::<{ field::CHECKSUM }, _>(&mut bytes, checksum);
        bytes
    }

    /// The part of the original datagram that this is: offset in bytes.
    pub fn offset(&self) -> usize {
        usize::from(self.fragment & OFFSET) * 8
    }

    /// Whether it is a fragment at all: the first, a middle one or the last.
    pub fn is_fragment(&self) -> bool {
        self.fragment & (OFFSET | MF) != 0
    }

    /// Whether it must not be fragmented.
    pub fn dont_fragment(&self) -> bool {
        self.fragment & DF != 0
    }
}

/// A packet whose header has been checked against its length.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    fixed: &'a [u8; HEADER],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version, header length and total length (RFC 1812, 5.2.2). `bytes` begin with the header and may end
    /// before the packet does; `len` bytes are there in all, padding included.
    ///
    /// # Errors
    /// What does not hold.
    pub fn new_checked(bytes: &'a [u8], len: usize) -> Result<Self, Malformed> {
        let (fixed, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        if fixed[field::VERSION_IHL] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let header = usize::from(fixed[field::VERSION_IHL] & 0xf) * 4;
        let total = usize::from(get16::<{ field::LENGTH }, _>(fixed));
        if header < HEADER || total < header || total > len {
            return Err(Malformed::Length);
        }
        let (options, payload) = rest.split_at_checked(header - HEADER).ok_or(Malformed::Truncated)?;
        let payload = &payload[..payload.len().min(total - header)];
        Ok(Self { fixed, options, payload })
    }

    /// Whether the header holds its checksum.
    pub fn checksum_holds(&self) -> bool {
        Sum::default().bytes(self.fixed).bytes(self.options).folded() == 0xffff
    }

    /// The fixed fields.
    pub fn header(&self) -> Header {
        let h = self.fixed;
        Header {
            tos: h[field::TOS],
            length: get16::<{ field::LENGTH }, _>(h),
            ident: get16::<{ field::IDENT }, _>(h),
            fragment: get16::<{ field::FRAGMENT }, _>(h),
            ttl: h[field::TTL],
            protocol: h[field::PROTOCOL],
            source: get::<{ field::SOURCE }, 4, _>(h).into(),
            destination: get::<{ field::DESTINATION }, 4, _>(h).into(),
        }
    }

    /// The options, up to 40 bytes.
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// The data, without padding: as much of it as was given.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Bytes of header and options.
    pub fn header_len(&self) -> usize {
        HEADER + self.options.len()
    }

    /// Whether the sender wants to choose the route.
    pub fn is_source_routed(&self) -> bool {
        options(self.options).any(|(kind, _)| matches!(kind, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE))
    }
}

/// The options of a header, each as its type and all of its bytes, up to the first that lies about its length.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let kind = *bytes.first()?;
        let len = match kind {
            0 => return None,
            1 => 1,
            _ => usize::from(*bytes.get(1)?).max(2),
        };
        let (option, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some((kind, option))
    })
}

/// Writes into `to` what every fragment after the first carries of `from`: the options whose copied flag is set, padded
/// to whole words (RFC 791, 3.1). The length written.
pub fn copied_options(from: &[u8], to: &mut [u8; MAX_OPTIONS]) -> usize {
    let mut len = 0;
    for (_, option) in options(from).filter(|(kind, _)| kind & 0x80 != 0) {
        let Some(room) = to.get_mut(len..len + option.len()) else { break };
        room.copy_from_slice(option);
        len += option.len();
    }
    let padded = len.next_multiple_of(4).min(MAX_OPTIONS);
    if let Some(padding) = to.get_mut(len..padded) {
        padding.fill(0);
    }
    padded
}

/// Takes one from the time to live, which must not be zero, and corrects the checksum.
#[inline]
pub fn decrement_ttl(header: &mut [u8; HEADER]) {
    let old = get16::<{ field::TTL }, _>(header);
    let checksum = get16::<{ field::CHECKSUM }, _>(header);
    // The time to live is the high half of its word.
    let new = old.wrapping_sub(0x0100);
    put16::<{ field::TTL }, _>(header, new);
    put16::<{ field::CHECKSUM }, _>(header, adjust(checksum, old, new));
}

/// Recomputes the checksum of a header, options included.
pub fn fill_checksum(header: &mut [u8]) {
    if let Some(field) = header.get_mut(field::CHECKSUM..field::CHECKSUM + 2) {
        field.fill(0);
    }
    let checksum = Sum::default().bytes(header).checksum();
    if let Some(field) = header.get_mut(field::CHECKSUM..field::CHECKSUM + 2) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Whether a packet from this address is a martian: no host may use it as a source (RFC 1812, 5.3.7; RFC 6890).
#[inline]
pub const fn is_martian_source(source: u32) -> bool {
    let net = source >> 24;
    net == 0 || net == 127 || net >= 224
}

/// Whether an address can be nobody's on a network: 0/8, 127/8, class E. Multicast and broadcast are other questions.
pub const fn is_martian_destination(destination: u32) -> bool {
    let net = destination >> 24;
    net == 0 || net == 127 || (net >= 240 && destination != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP, 10.0.0.2 to 10.0.1.2, DF, TTL 64.
    const BYTES: [u8; 20] = [
        0x45, 0x00, 0x00, 0x1c, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0x13, 0x9a, 0x0a, 0x00, 0x00, 0x02, 0x0a, 0x00,
        0x01, 0x02,
    ];

    fn header() -> Header {
        Header {
            tos: 0,
            length: 28,
            ident: 0x1234,
            fragment: DF,
            ttl: 64,
            protocol: UDP,
            source: Ipv4Addr::new(10, 0, 0, 2),
            destination: Ipv4Addr::new(10, 0, 1, 2),
        }
    }

    #[test]
    fn reads_and_writes_the_same_bytes() {
        let mut bytes = BYTES.to_vec();
        bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0xee, 0xee]);
        let packet = Packet::new_checked(&bytes, bytes.len()).unwrap();
        assert!(packet.checksum_holds());
        assert_eq!(packet.header(), header());
        assert_eq!(packet.payload(), [1, 2, 3, 4, 5, 6, 7, 8], "without the padding");
        assert_eq!(header().emit(), BYTES);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let check = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = BYTES.to_vec();
            bytes.resize(28, 0);
            change(&mut bytes);
            Packet::new_checked(&bytes, bytes.len()).map(|p| p.header_len())
        };
        assert_eq!(check(&|_| ()), Ok(20));
        assert_eq!(check(&|b| b.truncate(19)), Err(Malformed::Truncated));
        assert_eq!(check(&|b| b.truncate(27)), Err(Malformed::Length));
        assert_eq!(check(&|b| b[0] = 0x65), Err(Malformed::Version));
        assert_eq!(check(&|b| b[0] = 0x44), Err(Malformed::Length));
        assert_eq!(check(&|b| b[0] = 0x48), Err(Malformed::Length), "header beyond the total length");
        assert_eq!(check(&|b| b[3] = 19), Err(Malformed::Length));
        assert_eq!(check(&|b| b[3] = 29), Err(Malformed::Length));
        assert_eq!(check(&|b| (b[0], b[3]) = (0x47, 28)), Ok(28));
    }

    #[test]
    fn the_ttl_falls_and_the_checksum_with_it() {
        for ttl in 1..=255 {
            for ident in (0..=0xffff).step_by(251) {
                let mut bytes = Header { ttl, ident, ..header() }.emit();
                decrement_ttl(&mut bytes);
                assert_eq!(bytes, Header { ttl: ttl - 1, ident, ..header() }.emit());
            }
        }
    }

    #[test]
    fn options_are_walked_without_trust() {
        let with = |options: &[u8]| {
            let mut bytes = BYTES.to_vec();
            bytes.extend(options);
            bytes[0] = 0x40 | (bytes.len() / 4) as u8;
            bytes[3] = bytes.len() as u8;
            Packet::new_checked(&bytes, bytes.len()).unwrap().is_source_routed()
        };
        assert!(with(&[131, 3, 4, 0]));
        assert!(with(&[1, 137, 3, 4]));
        assert!(!with(&[7, 3, 4, 0]));
        assert!(!with(&[0, 131, 3, 4]), "behind the end of the list");
        assert!(!with(&[7, 9, 131, 3]), "an option that says it is longer than the header");
        assert!(with(&[7, 0, 131, 2]), "a length of zero moves on");
    }

    #[test]
    fn fragments_carry_only_the_options_to_be_copied() {
        let mut to = [0xff; MAX_OPTIONS];
        // Record route (not copied), then stream identifier (copied), then end.
        let len = copied_options(&[7, 3, 4, 136, 4, 0xab, 0xcd, 0], &mut to);
        assert_eq!(to[..len], [136, 4, 0xab, 0xcd]);
        let len = copied_options(&[130, 5, 1, 2, 3, 0, 0, 0], &mut to);
        assert_eq!(to[..len], [130, 5, 1, 2, 3, 0, 0, 0]);
        assert_eq!(copied_options(&[], &mut to), 0);
    }

    #[test]
    fn martians_are_the_special_networks() {
        for (address, source, destination) in [
            ([0, 0, 0, 0], true, true),
            ([0, 1, 2, 3], true, true),
            ([127, 0, 0, 1], true, true),
            ([10, 0, 0, 1], false, false),
            ([224, 0, 0, 5], true, false),
            ([240, 0, 0, 1], true, true),
            ([255, 255, 255, 255], true, false),
        ] {
            let bits = u32::from_be_bytes(address);
            assert_eq!(is_martian_source(bits), source, "{address:?}");
            assert_eq!(is_martian_destination(bits), destination, "{address:?}");
        }
    }
}
