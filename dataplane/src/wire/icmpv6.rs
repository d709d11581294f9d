//! ICMPv6 (RFC 4443): the errors a router sends, and echo.

use std::net::Ipv6Addr;

use super::checksum::{Sum, adjust};
use super::field::{get16, put, put16};
use super::ipv6;

/// Bytes before a message's data.
pub const HEADER: usize = 8;

mod field {
    pub const TYPE: usize = 0;
    pub const CODE: usize = 1;
    pub const CHECKSUM: usize = 2;
    pub const REST: usize = 4;
}

/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Type of a redirect, about which no error is sent.
pub const REDIRECT: u8 = 137;

/// An error to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No route.
    NoRoute,
    /// A route forbids it.
    Prohibited,
    /// A route says that there is no way to the destination.
    RejectRoute,
    /// The next hop does not answer.
    AddressUnreachable,
    /// Nobody listens on the port.
    PortUnreachable,
    /// Longer than the next link carries.
    PacketTooBig {
        /// What the link carries.
        mtu: u32,
    },
    /// The hop limit is used up.
    TimeExceeded,
    /// A header field makes no sense.
    HeaderField {
        /// Where, from the start of the packet.
        at: u32,
    },
    /// A next header that nobody here knows.
    NextHeader {
        /// Where, from the start of the packet.
        at: u32,
    },
    /// An option that nobody here knows and that must not be skipped.
    Option {
        /// Where, from the start of the packet.
        at: u32,
    },
}

impl Error {
    const fn fields(self) -> (u8, u8, u32) {
        match self {
            Self::NoRoute => (1, 0, 0),
            Self::Prohibited => (1, 1, 0),
            Self::AddressUnreachable => (1, 3, 0),
            Self::RejectRoute => (1, 6, 0),
            Self::PortUnreachable => (1, 4, 0),
            Self::PacketTooBig { mtu } => (2, 0, mtu),
            Self::TimeExceeded => (3, 0, 0),
            Self::HeaderField { at } => (4, 0, at),
            Self::NextHeader { at } => (4, 1, at),
            Self::Option { at } => (4, 2, at),
        }
    }

    /// Whether it may be sent about a packet to a multicast address (RFC 4443, 2.4 e.3).
    pub const fn is_for_multicast_too(self) -> bool {
        matches!(self, Self::PacketTooBig { .. } | Self::Option { .. })
    }

    /// Writes the header of the message from `source` to `destination` about the packet whose first bytes are `quote`,
    /// checksum included.
    pub fn emit(self, source: Ipv6Addr, destination: Ipv6Addr, quote: &[u8]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (kind, code, rest) = self.fields();
        (bytes[field::TYPE], bytes[field::CODE]) = (kind, code);
        put::<{ field::REST }, 4, _>(&mut bytes, rest.to_be_bytes());
        let sum = pseudo_header(source, destination, HEADER + quote.len()).bytes(&bytes).bytes(quote);
        put16::<{ field::CHECKSUM }, _>(&mut bytes, sum.checksum());
        bytes
    }
}

/// The sum over the pseudo-header of a message of `len` bytes (RFC 8200, 8.1).
pub fn pseudo_header(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> Sum {
    Sum::default()
        .bytes(&source.octets())
        .bytes(&destination.octets())
        .bytes(&(len as u32).to_be_bytes())
        .word(u16::from(ipv6::ICMP))
}

/// Whether a whole message holds its checksum.
pub fn checksum_holds(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> bool {
    pseudo_header(source, destination, message.len()).bytes(message).folded() == 0xffff
}

/// Whether a message of this type reports an error.
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

/// Turns an echo request into its reply: see [`icmpv4::reply`](super::icmpv4::reply). Swapping the addresses does not
/// change the sum over the pseudo-header.
pub fn reply(message: &mut [u8; HEADER]) {
    let old = get16::<{ field::TYPE }, _>(message);
    let new = u16::from_be_bytes([ECHO_REPLY, message[field::CODE]]);
    let checksum = adjust(get16::<{ field::CHECKSUM }, _>(message), old, new);
    put16::<{ field::TYPE }, _>(message, new);
    put16::<{ field::CHECKSUM }, _>(message, checksum);
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);

    #[test]
    fn errors_are_the_bytes_of_rfc_4443() {
        let quote = [0x60, 0, 0, 0];
        for (error, kind, code, rest) in [
            (Error::NoRoute, 1, 0, [0; 4]),
            (Error::Prohibited, 1, 1, [0; 4]),
            (Error::AddressUnreachable, 1, 3, [0; 4]),
            (Error::RejectRoute, 1, 6, [0; 4]),
            (Error::PortUnreachable, 1, 4, [0; 4]),
            (Error::PacketTooBig { mtu: 1280 }, 2, 0, [0, 0, 5, 0]),
            (Error::TimeExceeded, 3, 0, [0; 4]),
            (Error::HeaderField { at: 42 }, 4, 0, [0, 0, 0, 42]),
            (Error::NextHeader { at: 6 }, 4, 1, [0, 0, 0, 6]),
            (Error::Option { at: 48 }, 4, 2, [0, 0, 0, 48]),
        ] {
            let bytes = error.emit(A, B, &quote);
            assert_eq!((bytes[0], bytes[1], &bytes[4..]), (kind, code, &rest[..]));
            let message = [&bytes[..], &quote].concat();
            assert!(checksum_holds(A, B, &message));
            assert!(!checksum_holds(A, A, &message));
        }
    }

    #[test]
    fn a_reply_with_swapped_addresses_keeps_a_right_checksum() {
        let mut message = [128, 0, 0, 0, 0x12, 0x34, 0, 1];
        let checksum = pseudo_header(A, B, 8).bytes(&message).checksum();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        reply(&mut message);
        assert_eq!(message[0], 129);
        assert!(checksum_holds(B, A, &message));
    }
}
