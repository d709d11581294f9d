//! Wire formats, one protocol a file.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub(crate) mod field;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndisc;

/// Why bytes are not the header they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the fixed part of the header.
    #[error("shorter than its header")]
    Truncated,
    /// The version field is another protocol's.
    #[error("wrong version")]
    Version,
    /// A length field contradicts the bytes that are there.
    #[error("a length field contradicts the bytes that are there")]
    Length,
    /// The checksum does not hold.
    #[error("wrong checksum")]
    Checksum,
    /// A field has a value that the protocol forbids.
    #[error("a field has a forbidden value")]
    Value,
}
