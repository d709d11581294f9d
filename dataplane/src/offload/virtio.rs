//! The header before every frame of a tap or a virtio network device (virtio 1.2, 5.1.6.1), in the kernel's legacy form
//! of 10 bytes (`struct virtio_net_hdr` of linux/virtio_net.h) and in the machine's byte order.

use super::{Gso, GsoKind, Offload, Partial};
use crate::drops::DropReason;

/// Bytes of the header: without the buffer count, which only a ring needs.
pub const HEADER: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`.
const DATA_VALID: u8 = 2;

/// `VIRTIO_NET_HDR_GSO_TCPV4`.
const TCP_IPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
const TCP_IPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`, of kernel 6.2.
const UDP: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`, a flag beside the type.
const ECN: u8 = 0x80;

mod field {
    pub const FLAGS: usize = 0;
    pub const GSO_TYPE: usize = 1;
    pub const HEADER_LENGTH: usize = 2;
    pub const GSO_SIZE: usize = 4;
    pub const CHECKSUM_START: usize = 6;
    pub const CHECKSUM_OFFSET: usize = 8;
}

/// What the header asks for; none: nothing.
///
/// # Errors
/// Something that is never offered: to cut UDP into fragments, or to cut without a checksum to complete. (The header length is a hint
/// that nobody needs.)
#[inline]
pub fn read(header: &[u8; HEADER]) -> Result<Option<Offload>, DropReason> {
    if header[field::FLAGS] | header[field::GSO_TYPE] == 0 {
        return Ok(None);
    }
    request(header)
}

fn request(header: &[u8; HEADER]) -> Result<Option<Offload>, DropReason> {
    let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let flags = header[field::FLAGS];
    let partial = (flags & NEEDS_CHECKSUM != 0)
        .then(|| Partial { start: half(field::CHECKSUM_START), offset: half(field::CHECKSUM_OFFSET) });
    let kind = match header[field::GSO_TYPE] & !ECN {
        0 => {
            let verified = (flags & DATA_VALID != 0).then_some(Offload::Verified);
            return Ok(partial.map(Offload::Checksum).or(verified));
        }
        TCP_IPV4 => GsoKind::TcpIpv4,
        TCP_IPV6 => GsoKind::TcpIpv6,
        UDP => GsoKind::Udp,
        _ => return Err(DropReason::SegmentRequest),
    };
    let partial = partial.ok_or(DropReason::SegmentRequest)?;
    let gso = Gso { kind, ecn: header[field::GSO_TYPE] & ECN != 0, size: half(field::GSO_SIZE) };
    Ok(Some(Offload::Segment(partial, gso)))
}

/// The header of a frame that begins with `head`, for which `offload` is left to do.
pub fn write(offload: Option<Offload>, head: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut put = |at: usize, word: u16| header[at..at + 2].copy_from_slice(&word.to_ne_bytes());
    let partial = match offload {
        None => return header,
        Some(Offload::Verified) => {
            header[field::FLAGS] = DATA_VALID;
            return header;
        }
        Some(Offload::Checksum(partial) | Offload::Segment(partial, _)) => partial,
    };
    put(field::CHECKSUM_START, partial.start);
    put(field::CHECKSUM_OFFSET, partial.offset);
    if let Some(Offload::Segment(_, gso)) = offload {
        put(field::GSO_SIZE, gso.size);
        let words = match gso.kind {
            GsoKind::Udp => 2,
            // The length of TCP's header is in the high half of its thirteenth byte, in words of four.
            GsoKind::TcpIpv4 | GsoKind::TcpIpv6 => {
                head.get(usize::from(partial.start) + 12).map_or(5, |byte| byte >> 4)
            }
        };
        put(field::HEADER_LENGTH, partial.start.saturating_add(u16::from(words) * 4));
        let kind = match gso.kind {
            GsoKind::TcpIpv4 => TCP_IPV4,
            GsoKind::TcpIpv6 => TCP_IPV6,
            GsoKind::Udp => UDP,
        };
        header[field::GSO_TYPE] = if gso.ecn { kind | ECN } else { kind };
    }
    header[field::FLAGS] = NEEDS_CHECKSUM;
    header
}
