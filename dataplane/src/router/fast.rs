//! What a fast path asks of a packet before it forwards it: all that the slow path would find right without a word.

use super::link;
use crate::frame::ETHERNET_HEADER;
use crate::wire::field::{get, get16, get32};
use crate::wire::{checksum, ipv4, ipv6};

/// Whether an IPv4 header is honest about a packet of `len` bytes or less, has no options and time to live left, and the
/// source may be one.
#[inline(always)]
pub(crate) fn is_plain_v4(header: &[u8; ipv4::HEADER], len: usize) -> bool {
    let total = usize::from(get16::<{ ipv4::field::LENGTH }, _>(header));
    header[ipv4::field::VERSION_IHL] == 0x45
        && (ipv4::HEADER..=len).contains(&total)
        && header[ipv4::field::TTL] > 1
        && checksum::holds(header)
        && !ipv4::is_martian_source(get32::<{ ipv4::field::SOURCE }, _>(header))
}

/// The same of an IPv6 header, which has no hop-by-hop options behind it.
#[inline(always)]
pub(crate) fn is_plain_v6(header: &[u8; ipv6::HEADER], len: usize) -> bool {
    let total = ipv6::HEADER + usize::from(get16::<{ ipv6::field::LENGTH }, _>(header));
    header[0] >> 4 == 6
        && total <= len
        && header[ipv6::field::HOP_LIMIT] > 1
        && header[ipv6::field::NEXT] != ipv6::HOP_BY_HOP
        && is_plain_address_v6(u64::from_be_bytes(get::<{ ipv6::field::SOURCE }, 8, _>(header)))
}

/// Whether an IPv6 address with these upper 64 bits is neither multicast, nor link-local, nor among those with a special
/// meaning (all of which begin with 64 zero bits).
#[inline(always)]
const fn is_plain_address_v6(high: u64) -> bool {
    high != 0 && high >> 56 != 0xff && high >> 54 != 0xfe80 >> 6
}

/// What a frame is to a fast path that looks up destinations itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IPv4 for this destination.
    V4(u32),
    /// IPv6 for this destination.
    V6(u128),
    /// The slow path's.
    Other,
}

/// What the frame of `len` bytes that begins with `head` is; `own` is the station that it must be for, as
/// [`station`](super::station) gives it. Destinations are addresses of somebody: none is a group or has a meaning of its
/// own.
#[inline(always)]
pub(crate) fn classify(head: &[u8], len: usize, own: u64) -> Kind {
    let Some((ether, packet)) = head.split_first_chunk::<ETHERNET_HEADER>() else { return Kind::Other };
    if u64::from_le_bytes(get::<0, 8, _>(ether)) & super::STATION != own {
        return Kind::Other;
    }
    let len = len - ETHERNET_HEADER;
    match get16::<12, _>(ether) {
        link::IPV4 => {
            let Some(header) = packet.first_chunk() else { return Kind::Other };
            let destination = get32::<{ ipv4::field::DESTINATION }, _>(header);
            match is_plain_v4(header, len) && !ipv4::is_martian_source(destination) {
                true => Kind::V4(destination),
                false => Kind::Other,
            }
        }
        link::IPV6 => {
            let Some(header) = packet.first_chunk() else { return Kind::Other };
            let destination = u128::from_be_bytes(get::<{ ipv6::field::DESTINATION }, 16, _>(header));
            match is_plain_v6(header, len) && is_plain_address_v6((destination >> 64) as u64) {
                true => Kind::V6(destination),
                false => Kind::Other,
            }
        }
        _ => Kind::Other,
    }
}
