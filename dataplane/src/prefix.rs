//! Networks, as routes and interfaces name them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: all addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: IpAddr,
    length: u8,
}

impl Prefix {
    /// The network `network`/`length`; `None` when the length is beyond the address or a bit beyond it is set.
    pub fn new(network: IpAddr, length: u8) -> Option<Self> {
        Self::of(network, length).filter(|prefix| prefix.network == network)
    }

    /// The network that `address` is in; `None` when the length is beyond the address.
    pub fn of(address: IpAddr, length: u8) -> Option<Self> {
        let network = match address {
            IpAddr::V4(a) if length <= 32 => Ipv4Addr::from_bits(a.to_bits() & mask_v4(length)).into(),
            IpAddr::V6(a) if length <= 128 => Ipv6Addr::from_bits(a.to_bits() & mask_v6(length)).into(),
            _ => return None,
        };
        Some(Self { network, length })
    }

    /// Its first address.
    pub const fn network(&self) -> IpAddr {
        self.network
    }

    /// Bits that all its addresses share.
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::of(address, self.length).is_some_and(|prefix| prefix == *self)
    }

    /// Whether it is an IPv4 network.
    pub fn is_ipv4(&self) -> bool {
        self.network.is_ipv4()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

/// The bits of a network of this length set.
#[inline]
pub(crate) const fn mask_v4(length: u8) -> u32 {
    if length == 0 { 0 } else { u32::MAX << (32 - length) }
}

/// The bits of a network of this length set.
#[inline]
pub(crate) const fn mask_v6(length: u8) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (128 - length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (network, length) = text.split_once('/').unwrap();
        Prefix::new(network.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    #[test]
    fn prefixes_have_no_bits_beyond_their_length() {
        assert!(Prefix::new("10.0.0.1".parse().unwrap(), 24).is_none());
        assert!(Prefix::new("10.0.0.0".parse().unwrap(), 33).is_none());
        assert!(Prefix::new("2001:db8::".parse().unwrap(), 129).is_none());
        assert_eq!(Prefix::of("10.0.0.1".parse().unwrap(), 24).unwrap().to_string(), "10.0.0.0/24");
        assert!(prefix("10.0.0.0/8").contains("10.255.0.1".parse().unwrap()));
        assert!(!prefix("10.0.0.0/8").contains("11.0.0.1".parse().unwrap()));
        assert!(!prefix("0.0.0.0/0").contains("::1".parse().unwrap()));
    }
}
