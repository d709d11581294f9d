//! Neighbour discovery (RFC 4861): solicitations and advertisements.

use std::net::Ipv6Addr;

use super::field::{get, put, put16};
use super::{Malformed, icmpv6};
use crate::units::Mac;

/// Type of a neighbour solicitation.
pub const SOLICITATION: u8 = 135;
/// Type of a neighbour advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// Bytes of the messages that are written here: with one link-layer address option.
pub const MESSAGE: usize = 32;
/// The hop limit that proves that no router forwarded the message.
pub const HOP_LIMIT: u8 = 255;

/// Bytes before the options.
const FIXED: usize = 24;
/// Option: source link-layer address.
const SOURCE_LINK: u8 = 1;
/// Option: target link-layer address.
const TARGET_LINK: u8 = 2;

mod field {
    pub const TYPE: usize = 0;
    pub const CODE: usize = 1;
    pub const CHECKSUM: usize = 2;
    pub const FLAGS: usize = 4;
    pub const TARGET: usize = 8;
    pub const OPTION: usize = 24;
    pub const LINK: usize = 26;
}

/// Every node on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The flags of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// The sender forwards packets.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what the receiver knows.
    pub overrides: bool,
}

/// What a message asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who has the target address?
    Solicitation,
    /// The sender has it.
    Advertisement(Flags),
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it asks or tells.
    pub kind: Kind,
    /// Whose address.
    pub target: Ipv6Addr,
    /// The sender's (solicitation) or target's (advertisement) Ethernet address.
    pub link: Option<Mac>,
}

impl Message {
    /// Reads a whole ICMPv6 message; its checksum is the caller's to check.
    ///
    /// # Errors
    /// Breaks a rule of RFC 4861, 7.1.1 or 7.1.2 that can be seen in the message alone.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let (fixed, mut options) = message.split_first_chunk::<FIXED>().ok_or(Malformed::Truncated)?;
        let flags = fixed[field::FLAGS];
        let (kind, wanted) = match fixed[field::TYPE] {
            SOLICITATION => (Kind::Solicitation, SOURCE_LINK),
            ADVERTISEMENT => {
                let flags =
                    Flags { router: flags & 0x80 != 0, solicited: flags & 0x40 != 0, overrides: flags & 0x20 != 0 };
                (Kind::Advertisement(flags), TARGET_LINK)
            }
            _ => return Err(Malformed::Value),
        };
        let target = Ipv6Addr::from(get::<{ field::TARGET }, 16, _>(fixed));
        if fixed[field::CODE] != 0 || target.is_multicast() {
            return Err(Malformed::Value);
        }
        let mut link = None;
        while !options.is_empty() {
            let &[kind, units, ..] = options else { return Err(Malformed::Length) };
            let (option, rest) = options.split_at_checked(usize::from(units) * 8).ok_or(Malformed::Length)?;
            if units == 0 {
                return Err(Malformed::Length);
            }
            if kind == wanted && units == 1 && link.is_none() {
                link = option.last_chunk::<6>().map(|&bytes| Mac(bytes));
            }
            options = rest;
        }
        Ok(Self { kind, target, link })
    }

    /// Writes it for the way from `source` to `destination`, checksum included. `mac` goes into its option.
    pub fn emit(kind: Kind, target: Ipv6Addr, mac: Mac, source: Ipv6Addr, destination: Ipv6Addr) -> [u8; MESSAGE] {
        let mut bytes = [0; MESSAGE];
        let option = match kind {
            Kind::Solicitation => {
                bytes[field::TYPE] = SOLICITATION;
                SOURCE_LINK
            }
            Kind::Advertisement(flags) => {
                bytes[field::TYPE] = ADVERTISEMENT;
                bytes[field::FLAGS] =
                    u8::from(flags.router) << 7 | u8::from(flags.solicited) << 6 | u8::from(flags.overrides) << 5;
                TARGET_LINK
            }
        };
        put::<{ field::TARGET }, 16, _>(&mut bytes, target.octets());
        put::<{ field::OPTION }, 2, _>(&mut bytes, [option, 1]);
        put::<{ field::LINK }, 6, _>(&mut bytes, mac.0);
        let checksum = icmpv6::pseudo_header(source, destination, MESSAGE).bytes(&bytes).checksum();
        put16::<{ field::CHECKSUM }, _>(&mut bytes, checksum);
        bytes
    }
}

/// The group that whoever has `address` listens to (RFC 4291, 2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let s = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (s[6] & 0xff), s[7])
}

/// The Ethernet address of a multicast group (RFC 2464, 7).
pub const fn multicast_mac(group: Ipv6Addr) -> Mac {
    let o = group.octets();
    Mac([0x33, 0x33, o[12], o[13], o[14], o[15]])
}

/// The link-local address that an Ethernet address gives (RFC 4291, appendix A; RFC 2464, 5).
pub const fn link_local(mac: Mac) -> Ipv6Addr {
    let m = mac.0;
    let id = [m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]];
    Ipv6Addr::from_bits(0xfe80 << 112 | u64::from_be_bytes(id) as u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn target() -> Ipv6Addr {
        "2001:db8::1".parse().unwrap()
    }

    #[test]
    fn addresses_are_derived_as_the_rfcs_say() {
        assert_eq!(
            solicited_node("2001:db8::1:2345:6789".parse().unwrap()),
            "ff02::1:ff45:6789".parse::<Ipv6Addr>().unwrap()
        );
        assert_eq!(multicast_mac("ff02::1:ff45:6789".parse().unwrap()), Mac([0x33, 0x33, 0xff, 0x45, 0x67, 0x89]));
        assert_eq!(
            link_local(Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde])),
            "fe80::3656:78ff:fe9a:bcde".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn reads_what_it_writes() {
        let (a, b) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        let flags = Flags { router: true, solicited: false, overrides: true };
        for kind in [Kind::Solicitation, Kind::Advertisement(flags)] {
            let bytes = Message::emit(kind, target(), MAC, a, b);
            assert!(icmpv6::checksum_holds(a, b, &bytes));
            assert_eq!(Message::parse(&bytes), Ok(Message { kind, target: target(), link: Some(MAC) }));
        }
        let bytes = Message::emit(Kind::Advertisement(flags), target(), MAC, a, b);
        assert_eq!(bytes[..2], [136, 0]);
        assert_eq!(bytes[4..8], [0xa0, 0, 0, 0]);
        assert_eq!(bytes[24..], [2, 1, 2, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn broken_messages_are_refused() {
        let (a, b) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        let good = Message::emit(Kind::Solicitation, target(), MAC, a, b);
        assert_eq!(Message::parse(&good[..23]), Err(Malformed::Truncated));
        assert_eq!(Message::parse(&good[..25]), Err(Malformed::Length), "half an option");
        assert_eq!(Message::parse(&good[..31]), Err(Malformed::Length), "an option cut short");
        assert_eq!(Message::parse(&good[..24]).unwrap().link, None);
        for (at, value, error) in [
            (0, 133, Malformed::Value),
            (1, 1, Malformed::Value),
            (8, 0xff, Malformed::Value),
            (25, 0, Malformed::Length),
        ] {
            let mut bytes = good;
            bytes[at] = value;
            assert_eq!(Message::parse(&bytes), Err(error), "byte {at}");
        }
        let mut other = good;
        other[24] = 14;
        assert_eq!(Message::parse(&other).unwrap().link, None, "an option of another kind is skipped");
    }
}
