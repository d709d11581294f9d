//! Attributes (`struct nlattr`, which rtnetlink calls `rtattr`): length, type, value, padding.

use std::net::IpAddr;

use crate::wire::Malformed;

use super::padded;

/// Bytes before an attribute's value.
pub(super) const HEADER: usize = 4;
/// The bits of the type that say something about the value (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const FLAGS: u16 = 0xc000;

/// An attribute whose length is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, without flags.
    pub kind: u16,
    /// What it says.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// A value of exactly `N` bytes.
    fn exactly<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed::Length)
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// It is of another size.
    pub fn u32(&self) -> Result<u32, Malformed> {
        self.exactly().map(u32::from_ne_bytes)
    }

    /// A number of 16 bits.
    ///
    /// # Errors
    /// It is of another size.
    pub fn u16(&self) -> Result<u16, Malformed> {
        self.exactly().map(u16::from_ne_bytes)
    }

    /// An address of 4 or 16 bytes, as its length says.
    ///
    /// # Errors
    /// It is of another size.
    pub fn address(&self) -> Result<IpAddr, Malformed> {
        address(self.value)
    }

    /// A text that ends with a zero byte, or with the value.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self) -> Result<&'a str, Malformed> {
        let end = self.value.iter().position(|&byte| byte == 0).unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end]).map_err(|_| Malformed::Value)
    }
}

/// An address of 4 or 16 bytes.
pub(super) fn address(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).map(IpAddr::from).map_err(|_| Malformed::Length),
        16 => <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| Malformed::Length),
        _ => Err(Malformed::Length),
    }
}

/// The attributes in a buffer. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let Some(&[l0, l1, k0, k1]) = bytes.first_chunk::<HEADER>() else { return Some(Err(Malformed::Truncated)) };
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = bytes.get(HEADER..len) else { return Some(Err(Malformed::Length)) };
        self.0 = bytes.get(padded(len)..).unwrap_or_default();
        Some(Ok(Attribute { kind: u16::from_ne_bytes([k0, k1]) & !FLAGS, value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(len: u16, kind: u16, value: &[u8]) -> Vec<u8> {
        [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    }

    #[test]
    fn attributes_follow_each_other_padded_and_lose_their_flags() {
        let bytes = [attribute(5, 0x8001, &[7, 0, 0, 0]), attribute(4, 2, &[]), attribute(6, 3, &[1, 2])].concat();
        let read: Vec<_> = Attributes::new(&bytes).map(Result::unwrap).map(|a| (a.kind, a.value)).collect();
        assert_eq!(read, [(1, &[7][..]), (2, &[]), (3, &[1, 2])]);
    }

    #[test]
    fn no_length_leads_out_or_nowhere() {
        for (len, value) in [(0, 4), (3, 4), (9, 4), (u16::MAX, 100)] {
            let bytes = attribute(len, 1, &vec![0; value]);
            let read: Vec<_> = Attributes::new(&bytes).collect();
            assert_eq!(read, [Err(Malformed::Length)], "{len} of {value}");
        }
        assert_eq!(Attributes::new(&[4, 0, 1]).collect::<Vec<_>>(), [Err(Malformed::Truncated)]);
    }

    #[test]
    fn values_have_their_size() {
        let of = |value| Attribute { kind: 1, value };
        assert_eq!(of(&[0; 3]).u32(), Err(Malformed::Length));
        assert_eq!(of(&[0; 5]).address(), Err(Malformed::Length));
        assert_eq!(of(&[10, 0, 0, 1]).address(), Ok([10, 0, 0, 1].into()));
        assert_eq!(of(b"eth0\0\0").text(), Ok("eth0"));
        assert_eq!(of(b"eth0").text(), Ok("eth0"));
        assert_eq!(of(b"\xff").text(), Err(Malformed::Value));
    }
}
