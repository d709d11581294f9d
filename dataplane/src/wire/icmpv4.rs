//! ICMP for IPv4 (RFC 792): the errors a router sends, and echo.

use super::checksum::{Sum, adjust};
use super::field::{get16, put, put16};

/// Bytes before a message's data.
pub const HEADER: usize = 8;

mod field {
    pub const TYPE: usize = 0;
    pub const CODE: usize = 1;
    pub const CHECKSUM: usize = 2;
    pub const REST: usize = 4;
}

/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 8;

/// An error to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No route.
    NetUnreachable,
    /// The next hop does not answer.
    HostUnreachable,
    /// The host has no such protocol.
    ProtocolUnreachable,
    /// Nobody listens on the port.
    PortUnreachable,
    /// A route forbids it (RFC 1812, 5.2.7.1: "communication administratively prohibited").
    Prohibited,
    /// Longer than the next link carries, and must not be fragmented.
    FragmentationNeeded {
        /// What the link carries (RFC 1191).
        mtu: u16,
    },
    /// The time to live is used up.
    TimeExceeded,
}

impl Error {
    const fn kind(self) -> (u8, u8) {
        match self {
            Self::NetUnreachable => (3, 0),
            Self::HostUnreachable => (3, 1),
            Self::ProtocolUnreachable => (3, 2),
            Self::PortUnreachable => (3, 3),
            Self::FragmentationNeeded { .. } => (3, 4),
            Self::Prohibited => (3, 13),
            Self::TimeExceeded => (11, 0),
        }
    }

    /// Writes the header of the message about the packet whose first bytes are `quote`, checksum included.
    pub fn emit(self, quote: &[u8]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        (bytes[field::TYPE], bytes[field::CODE]) = self.kind();
        if let Self::FragmentationNeeded { mtu } = self {
            let [high, low] = mtu.to_be_bytes();
            put::<{ field::REST }, 4, _>(&mut bytes, [0, 0, high, low]);
        }
        let checksum = Sum::default().bytes(&bytes).bytes(quote).checksum();
        put16::<{ field::CHECKSUM }, _>(&mut bytes, checksum);
        bytes
    }
}

/// Whether a message of this type asks or answers, so that an error about it is allowed. Anything else is an error or
/// unknown, and never answered with an error (RFC 1122, 3.2.2).
pub const fn is_query(kind: u8) -> bool {
    matches!(kind, ECHO_REPLY | ECHO_REQUEST | 9 | 10 | 13..=18)
}

/// Turns an echo request into its reply. The checksum is adjusted and not computed anew: a message damaged on its way
/// here arrives damaged, and its length does not matter.
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

    #[test]
    fn errors_are_the_bytes_of_rfc_792_and_1191() {
        let quote = [0x45, 0, 0, 28];
        for (error, kind, code, rest) in [
            (Error::NetUnreachable, 3, 0, [0; 4]),
            (Error::HostUnreachable, 3, 1, [0; 4]),
            (Error::ProtocolUnreachable, 3, 2, [0; 4]),
            (Error::PortUnreachable, 3, 3, [0; 4]),
            (Error::FragmentationNeeded { mtu: 1400 }, 3, 4, [0, 0, 0x05, 0x78]),
            (Error::Prohibited, 3, 13, [0; 4]),
            (Error::TimeExceeded, 11, 0, [0; 4]),
        ] {
            let bytes = error.emit(&quote);
            assert_eq!((bytes[0], bytes[1], &bytes[4..]), (kind, code, &rest[..]));
            assert_eq!(Sum::default().bytes(&bytes).bytes(&quote).folded(), 0xffff);
        }
    }

    #[test]
    fn a_reply_keeps_identifier_sequence_and_a_right_checksum() {
        let mut message = [8, 0, 0, 0, 0x12, 0x34, 0, 1];
        let checksum = Sum::default().bytes(&message).checksum();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        reply(&mut message);
        assert_eq!(message[0], 0);
        assert_eq!(message[4..], [0x12, 0x34, 0, 1]);
        assert_eq!(Sum::default().bytes(&message).folded(), 0xffff);
    }
}
