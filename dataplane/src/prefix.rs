//! Networks, as routes and interfaces name them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a prefix; {wants}")]
pub struct PrefixError {
    /// The text.
    pub text: String,
    /// What is wrong with it, or what to write.
    pub wants: String,
}

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

/// Reads ADDRESS/LENGTH, whether or not the length suits the address. Rust's own numbers may have a plus sign; these may not.
pub(crate) fn read_pair(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let digits = length.starts_with(|c: char| c.is_ascii_digit());
    Some((address.parse().ok()?, length.parse().ok().filter(|_| digits)?))
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let wrong = |wants: String| PrefixError { text: text.into(), wants };
        let (address, length) =
            read_pair(text).ok_or_else(|| wrong("write NETWORK/LENGTH, as in 10.1.0.0/16 or 2001:db8::/32".into()))?;
        let network = Self::of(address, length).ok_or_else(|| wrong("the length is beyond the address".into()))?;
        Self::new(address, length).ok_or_else(|| wrong(format!("it has bits beyond its length: write {network}")))
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
        text.parse().unwrap()
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
