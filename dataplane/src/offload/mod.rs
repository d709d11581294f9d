//! What a sender left to do: checksums to be completed, and frames of up to 64 KiB to be cut into segments.
//!
//! A stack that talks to a device with offloads hands over TCP in pieces of 64 KiB, and checksums that cover only the
//! pseudo-header; the device does the rest. Between two stacks on one host nobody has to: the piece passes whole, and one
//! system call, one look-up and one copy carry what would have been forty-five frames. So what is left to do rides with
//! the frame, in the words of virtio (1.2, 5.1.6), and is done where the frame leaves by a port that wants frames as they
//! are on a cable ([`Port::accepts`](crate::port::Port::accepts)).
//!
//! # How it rides
//! An [`Offload`] lies in a table beside the pool, at the place of the frame's first chunk; one bit in the
//! [`Frame`] says that it is there. The pool counts such frames, so that a worker with none looks for none: plain frames
//! pay one comparison a burst. Copies (floods, the way to another worker) take it along.
//!
//! # Whom to believe
//! It comes from a guest. [`admit`] believes nothing: places must lie within the frame and behind the Ethernet header
//! (a checksum put over an address would be a way past the bridge's source check), a frame to be cut must be the TCP
//! that it says it is, to the byte. What does not hold is dropped at the port it came from, with the reason, before
//! anybody forwards it. Cutting looks again, because it costs little and nothing may panic here.
//!
//! # What is not done
//! Segments and datagrams are joined only where that saves a system call or a guest's work each: [`join`].

pub mod checksum;
mod deliver;
mod join;
mod layout;
mod segment;
pub mod virtio;

#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod tests;

pub use checksum::complete;
pub use deliver::push;
pub use join::join;
pub use segment::Segments;

use crate::drops::DropReason;
use crate::frame::Frame;
use crate::pool::Pool;
use crate::wire::ethernet;
use layout::{TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET, Upper};

/// The least payload of a segment. Stacks that honour any peer's wish for small segments go down to 36 bytes (Linux:
/// `tcp_min_snd_mss` of 48, less 12 bytes of timestamps); below that it is only work that a guest makes for us.
pub const MIN_SEGMENT: u16 = 32;

/// The least payload of a datagram that is one of several: the shortest Ethernet frame has 18 bytes of it.
pub const MIN_DATAGRAM: u16 = 16;

/// What is left to do for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: whoever looked at the checksums found them right. A hint that may be forgotten.
    Verified,
    /// A checksum is to be completed.
    Checksum(Partial),
    /// The frame is to be cut into segments, each with its checksum.
    Segment(Partial, Gso),
}

/// A checksum to be completed: the field holds the sum over the pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Where the part that it covers begins, from the frame's first byte; it ends with the frame.
    pub start: u16,
    /// Where the field is, from `start`.
    pub offset: u16,
}

/// How a frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// What it is.
    pub kind: GsoKind,
    /// TCP may say that the congestion window was reduced (CWR), which only the first segment may.
    pub ecn: bool,
    /// Bytes of payload of each segment but the last.
    pub size: u16,
}

/// What can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpIpv4,
    /// TCP over IPv6.
    TcpIpv6,
    /// UDP over either: datagrams of one length in a row, of which the last may be shorter (Linux: `UDP_SEGMENT`).
    Udp,
}

impl GsoKind {
    /// Where the checksum is in the header.
    const fn checksum_offset(self) -> u16 {
        match self {
            Self::TcpIpv4 | Self::TcpIpv6 => TCP_CHECKSUM_OFFSET,
            Self::Udp => UDP_CHECKSUM_OFFSET,
        }
    }

    /// The least payload of a segment.
    const fn min_size(self) -> u16 {
        match self {
            Self::TcpIpv4 | Self::TcpIpv6 => MIN_SEGMENT,
            Self::Udp => MIN_DATAGRAM,
        }
    }
}

impl Offload {
    /// The same, with places that count from `by` bytes before (wrapping).
    pub(crate) const fn moved(self, by: u16) -> Self {
        const fn moved(partial: Partial, by: u16) -> Partial {
            Partial { start: partial.start.wrapping_add(by), ..partial }
        }
        match self {
            Self::Verified => self,
            Self::Checksum(partial) => Self::Checksum(moved(partial, by)),
            Self::Segment(partial, gso) => Self::Segment(moved(partial, by), gso),
        }
    }
}

/// What a port takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads(u8);

impl Offloads {
    /// Frames as on a cable.
    pub const NONE: Self = Self(0);
    /// Checksums to be completed over IPv4.
    pub const CHECKSUM_IPV4: Self = Self(1);
    /// Checksums to be completed over anything else.
    pub const CHECKSUM_IPV6: Self = Self(2);
    /// TCP over IPv4 to be cut.
    pub const TCP_IPV4: Self = Self(4);
    /// TCP over IPv6 to be cut.
    pub const TCP_IPV6: Self = Self(8);
    /// Such TCP with CWR.
    pub const TCP_ECN: Self = Self(16);
    /// UDP to be cut.
    pub const UDP: Self = Self(32);
    /// All but that, which is younger.
    pub const ALL_BUT_UDP: Self = Self(31);
    /// All of these.
    pub const ALL: Self = Self(63);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything in `other` is in `self`.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What a port must take for a frame that begins with `head` to go there as it is.
    fn needed(offload: Offload, head: &[u8]) -> Self {
        let checksum = || match ethernet::Header::parse(head) {
            Ok(header) if header.ethertype() == layout::IPV4 => Self::CHECKSUM_IPV4,
            _ => Self::CHECKSUM_IPV6,
        };
        match offload {
            Offload::Verified => Self::NONE,
            Offload::Checksum(_) => checksum(),
            Offload::Segment(_, gso) => {
                let pieces = Self::pieces(gso.kind).with(checksum());
                if gso.ecn { pieces.with(Self::TCP_ECN) } else { pieces }
            }
        }
    }

    /// To cut such.
    const fn pieces(kind: GsoKind) -> Self {
        match kind {
            GsoKind::TcpIpv4 => Self::TCP_IPV4,
            GsoKind::TcpIpv6 => Self::TCP_IPV6,
            GsoKind::Udp => Self::UDP,
        }
    }
}

/// Notes that `offload` is what the sender of `frame` left to do, if that can be.
///
/// # Errors
/// It cannot: the frame must be dropped for that reason.
pub fn admit(pool: &mut Pool, frame: &mut Frame, offload: Offload) -> Result<(), DropReason> {
    let offload = match offload {
        Offload::Verified => offload,
        Offload::Checksum(partial) => {
            check_partial(pool.head(frame), partial).ok_or(DropReason::ChecksumRequest)?;
            offload
        }
        Offload::Segment(partial, gso) => {
            let upper = Upper::parse(pool.head(frame), frame.len(), gso.kind).ok_or(DropReason::SegmentRequest)?;
            let there = usize::from(partial.start) == upper.transport && partial.offset == gso.kind.checksum_offset();
            if !there || gso.size < gso.kind.min_size() {
                return Err(DropReason::SegmentRequest);
            }
            // One segment is what it is already.
            match frame.len() - upper.headers > usize::from(gso.size) {
                true => offload,
                false => Offload::Checksum(partial),
            }
        }
    };
    pool.set_offload(frame, offload);
    Ok(())
}

/// As [`admit`], for senders that say "checksum blank" but neither where it is nor what stands in the field (Xen's
/// netfront): the place is found, and the pseudo-header's sum put there.
///
/// # Errors
/// The frame is not TCP or UDP over IP, or cannot be cut as `gso` says.
pub fn admit_blank(pool: &mut Pool, frame: &mut Frame, gso: Option<Gso>) -> Result<(), DropReason> {
    let reason = if gso.is_some() { DropReason::SegmentRequest } else { DropReason::ChecksumRequest };
    let blank = layout::find_blank(pool.head(frame), frame.len()).ok_or(reason)?;
    let at = usize::from(blank.partial.start) + usize::from(blank.partial.offset);
    let field = pool.head_mut(frame).get_mut(at..at + 2).ok_or(reason)?;
    field.copy_from_slice(&blank.pseudo.to_be_bytes());
    admit(pool, frame, gso.map_or(Offload::Checksum(blank.partial), |gso| Offload::Segment(blank.partial, gso)))
}

/// Bytes of headers before the payload, where the checksum at `partial` of a frame that begins with `head` is TCP's.
#[inline]
pub(crate) fn tcp_headers(head: &[u8], partial: Partial) -> Option<usize> {
    let at = usize::from(partial.start);
    (partial.offset == TCP_CHECKSUM_OFFSET).then(|| layout::tcp_header(head, at).map(|header| at + header))?
}

/// Bytes of the longest frame that `frame` is on a cable: of a piece that is to be cut, those of a segment.
pub(crate) fn longest(pool: &Pool, frame: &Frame) -> usize {
    match pool.offload(frame) {
        Some(Offload::Segment(partial, gso)) => {
            let headers = match gso.kind {
                GsoKind::Udp => usize::from(partial.start) + layout::UDP_HEADER,
                GsoKind::TcpIpv4 | GsoKind::TcpIpv6 => tcp_headers(pool.head(frame), partial).unwrap_or(0),
            };
            headers + usize::from(gso.size)
        }
        _ => frame.len(),
    }
}

/// Whether a receiver that looks for a blank checksum by itself (Xen's netfront) would find this one: the outermost TCP's or
/// UDP's. In a tunnel it would find another.
pub fn is_outermost(pool: &Pool, frame: &Frame, partial: Partial) -> bool {
    layout::find_blank(pool.head(frame), frame.len()).is_some_and(|blank| blank.partial == partial)
}

/// Whether the field lies behind the frame's Ethernet header, and so near its begin that it is in the first chunk of
/// every copy too.
fn check_partial(head: &[u8], partial: Partial) -> Option<()> {
    let header = ethernet::Header::parse(head).ok()?;
    let end = usize::from(partial.start) + usize::from(partial.offset) + 2;
    (usize::from(partial.start) >= header.len() && end <= head.len().min(layout::MAX_HEADERS)).then_some(())
}
