//! What a source sends, and what can be wrong with that.

use std::net::{IpAddr, Ipv4Addr};

use crate::frame::ETHERNET_HEADER;
use crate::prefix::Prefix;
use crate::router::{InterfaceAddress, InterfaceConfig, link, objection_v4};
use crate::units::{Mac, Nanos};
use crate::wire::checksum::Sum;
use crate::wire::ipv4;

/// The shortest frame, in bytes with FCS.
pub const MIN_SIZE: u16 = 64;
/// The longest, in bytes with FCS: 1500 bytes of IP.
pub const MAX_SIZE: u16 = 1518;

/// Bytes of the frame check sequence, which is not in memory.
const FCS: u16 = 4;
/// Bytes of a frame around its IP packet.
const AROUND: u16 = ETHERNET_HEADER as u16 + FCS;
/// Bytes of UDP's header (RFC 768).
const UDP_HEADER: usize = 8;
/// The first of the ports that nobody may register (RFC 6335).
pub(super) const SOURCE_PORT: u16 = 49152;
/// Whatever comes there is thrown away (RFC 863).
pub(super) const DISCARD: u16 = 9;

/// A source: one flow of UDP to one neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Its interface, with one IPv4 address.
    pub interface: InterfaceConfig,
    /// Where to: a neighbour of the interface's.
    pub to: IpAddr,
    /// Bytes of a frame with Ethernet header and FCS, from [`MIN_SIZE`] to [`MAX_SIZE`].
    pub size: u16,
    /// Frames a second; none: as many as there is room for.
    pub rate: Option<u64>,
    /// How long it sends, from its first frame; none: until it is told to end.
    pub span: Option<Nanos>,
}

/// Why there can be no such source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing to send from.
    #[error("the port has no address to send from; add one of IPv4: address=ADDRESS/LENGTH, as in address=10.0.0.1/24")]
    NoAddress,
    /// More to send from than one.
    #[error("the port has {0} addresses, and a source sends from one; give address= once")]
    Addresses(usize),
    /// Not IPv4.
    #[error("{0} is an IPv6 address, and a source speaks IPv4 only; give an IPv4 address")]
    Ipv6(IpAddr),
    /// Not an address that an interface may have.
    #[error("{address}/{length} cannot be the port's address: {why}")]
    Address {
        /// The address.
        address: Ipv4Addr,
        /// Its prefix length.
        length: u8,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// Not a neighbour.
    #[error("cannot send to {to}: {why}; give the address of a neighbour in {network}")]
    To {
        /// Where to.
        to: Ipv4Addr,
        /// What is wrong.
        why: &'static str,
        /// The port's network.
        network: Prefix,
    },
    /// No Ethernet frame.
    #[error(
        "a frame cannot have {0} bytes; give a size from {MIN_SIZE} to {MAX_SIZE}, which counts Ethernet header and FCS"
    )]
    Size(u16),
    /// Longer than the port carries.
    #[error(
        "a frame of {size} bytes has {} of IP, and the port's MTU is {mtu}; give a smaller size, or mtu= at the port",
        size - AROUND
    )]
    Mtu {
        /// Bytes of a frame.
        size: u16,
        /// Bytes of an IP packet that the port carries.
        mtu: u16,
    },
    /// Never a frame.
    #[error("a rate of 0 sends nothing; give frames a second from 1 on, or no rate for as many as there is room for")]
    Rate,
    /// No time to send in.
    #[error("in no time nothing is sent; give more seconds than 0, or none to send until a signal")]
    Span,
}

/// Who sends to whom, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub mac: Mac,
    pub own: Ipv4Addr,
    pub to: Ipv4Addr,
}

impl SourceConfig {
    /// Checks all of it, as [`SourcePort::new`](super::SourcePort::new) does: for whoever has something to do before.
    ///
    /// # Errors
    /// The first thing that is wrong, with what to do.
    pub fn check(&self) -> Result<(), SourceError> {
        self.ends().map(|_| ())
    }

    /// Checks all of it; who sends to whom.
    pub(super) fn ends(&self) -> Result<Ends, SourceError> {
        let &InterfaceAddress { address, length } = match self.interface.addresses.as_slice() {
            [] => return Err(SourceError::NoAddress),
            [one] => one,
            several => return Err(SourceError::Addresses(several.len())),
        };
        let v4 = |address| match address {
            IpAddr::V4(v4) => Ok(v4),
            IpAddr::V6(_) => Err(SourceError::Ipv6(address)),
        };
        let (own, to) = (v4(address)?, v4(self.to)?);
        let unfit = |why| SourceError::Address { address: own, length, why };
        if let Some(why) = objection_v4(own, length) {
            return Err(unfit(why));
        }
        let network = Prefix::of(address, length).ok_or_else(|| unfit("the prefix length must be from 1 to 32"))?;
        let why = match to {
            to if to == own => Some("it is the port's own address"),
            to if !network.contains(to.into()) => Some("it is not in the port's network"),
            to if objection_v4(to, length).is_some() => Some("it is no host's address"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(SourceError::To { to, why, network });
        }
        if !(MIN_SIZE..=MAX_SIZE).contains(&self.size) {
            return Err(SourceError::Size(self.size));
        }
        if self.size - AROUND > self.interface.mtu {
            return Err(SourceError::Mtu { size: self.size, mtu: self.interface.mtu });
        }
        if self.rate == Some(0) {
            return Err(SourceError::Rate);
        }
        if self.span == Some(Nanos(0)) {
            return Err(SourceError::Span);
        }
        Ok(Ends { mac: self.interface.mac, own, to })
    }
}

impl Ends {
    /// The frame that is sent again and again, `size` bytes with FCS: a UDP datagram of zeros. Its destination's Ethernet
    /// address is still to be filled in.
    pub(super) fn datagram(&self, size: u16) -> Box<[u8]> {
        let length = size - AROUND;
        let header = ipv4::Header {
            tos: 0,
            length,
            // With DF set it identifies nothing (RFC 6864).
            ident: 0,
            fragment: ipv4::DF,
            ttl: 64,
            protocol: ipv4::UDP,
            source: self.own,
            destination: self.to,
        };
        let length = length - ipv4::HEADER as u16;
        let ports = [SOURCE_PORT.to_be_bytes(), DISCARD.to_be_bytes(), length.to_be_bytes()].concat();
        // The pseudo-header, then the datagram; of that, zeros add nothing.
        let sum = Sum::default().bytes(&self.own.octets()).bytes(&self.to.octets());
        let checksum = match sum.word(u16::from(ipv4::UDP)).word(length).bytes(&ports).checksum() {
            // To UDP zero means "none".
            0 => 0xffff,
            checksum => checksum,
        };
        let ethernet = link::addresses(Mac::default(), self.mac);
        let mut bytes = Vec::with_capacity(usize::from(size));
        for part in [&ethernet[..], &link::IPV4.to_be_bytes(), &header.emit(), &ports, &checksum.to_be_bytes()] {
            bytes.extend_from_slice(part);
        }
        debug_assert_eq!(bytes.len(), ETHERNET_HEADER + ipv4::HEADER + UDP_HEADER);
        bytes.resize(usize::from(size - FCS), 0);
        bytes.into()
    }
}
