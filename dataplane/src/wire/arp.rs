//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::Malformed;
use super::field::{get, get16, put};
use crate::units::Mac;

/// Bytes of a packet.
pub const PACKET: usize = 28;

mod field {
    pub const HARDWARE: usize = 0;
    pub const OPERATION: usize = 6;
    pub const SENDER_MAC: usize = 8;
    pub const SENDER: usize = 14;
    pub const TARGET_MAC: usize = 18;
    pub const TARGET: usize = 24;
}

/// Hardware Ethernet, protocol IPv4, addresses of 6 and 4 bytes.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What a packet asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it asks or tells.
    pub operation: Operation,
    /// Sender's Ethernet address.
    pub sender_mac: Mac,
    /// Sender's address; unspecified in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Target's Ethernet address; no meaning in a request.
    pub target_mac: Mac,
    /// Target's address.
    pub target: Ipv4Addr,
}

impl Packet {
    /// Reads the packet at the start of `bytes`.
    ///
    /// # Errors
    /// Too short, not IPv4 over Ethernet, or neither request nor reply.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = bytes.first_chunk::<PACKET>().ok_or(Malformed::Truncated)?;
        if get::<{ field::HARDWARE }, 6, _>(bytes) != ETHERNET_IPV4 {
            return Err(Malformed::Value);
        }
        let operation = match get16::<{ field::OPERATION }, _>(bytes) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Malformed::Value),
        };
        Ok(Self {
            operation,
            sender_mac: Mac(get::<{ field::SENDER_MAC }, 6, _>(bytes)),
            sender: get::<{ field::SENDER }, 4, _>(bytes).into(),
            target_mac: Mac(get::<{ field::TARGET_MAC }, 6, _>(bytes)),
            target: get::<{ field::TARGET }, 4, _>(bytes).into(),
        })
    }

    /// Writes it.
    pub fn emit(&self) -> [u8; PACKET] {
        let mut bytes = [0; PACKET];
        put::<{ field::HARDWARE }, 6, _>(&mut bytes, ETHERNET_IPV4);
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        put::<{ field::OPERATION }, 2, _>(&mut bytes, operation.to_be_bytes());
        put::<{ field::SENDER_MAC }, 6, _>(&mut bytes, self.sender_mac.0);
        put::<{ field::SENDER }, 4, _>(&mut bytes, self.sender.octets());
        put::<{ field::TARGET_MAC }, 6, _>(&mut bytes, self.target_mac.0);
        put::<{ field::TARGET }, 4, _>(&mut bytes, self.target.octets());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; PACKET] = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1];

    #[test]
    fn reads_and_writes_the_same_bytes() {
        let packet = Packet::parse(&BYTES).unwrap();
        assert_eq!(packet.operation, Operation::Request);
        assert_eq!(packet.sender_mac, Mac([2, 0, 0, 0, 0, 9]));
        assert_eq!(packet.sender, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(packet.target, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(packet.emit(), BYTES);
    }

    #[test]
    fn other_hardware_protocols_and_operations_are_refused() {
        assert_eq!(Packet::parse(&BYTES[..27]), Err(Malformed::Truncated));
        for (at, value) in [(1, 6), (3, 6), (4, 8), (5, 16), (6, 1), (7, 0), (7, 3)] {
            let mut bytes = BYTES;
            bytes[at] = value;
            assert_eq!(Packet::parse(&bytes), Err(Malformed::Value), "byte {at}");
        }
    }
}
