//! Routes (`struct rtmsg` and the attributes `RTA_*`).

use std::net::IpAddr;

use crate::prefix::Prefix;
use crate::wire::Malformed;

use super::attribute::{Attribute, Attributes, address};
use super::{IfIndex, Message, NextHopId, TableId, flag, padded};

/// Bytes before the attributes (`struct rtmsg`).
pub(super) const FIXED: usize = 12;
/// Bytes of one hop of several before its own attributes (`struct rtnexthop`).
pub(super) const HOP: usize = 8;
/// A hop whose device is down (`RTNH_F_DEAD`): the kernel does not use it.
const DEAD: u8 = 1;
/// An entry of a cache, no route (`RTM_F_CLONED`).
const CLONED: u32 = 0x200;

/// Types of attributes.
pub(super) mod attribute {
    pub const DST: u16 = 1;
    pub const SRC: u16 = 2;
    pub const OIF: u16 = 4;
    pub const GATEWAY: u16 = 5;
    pub const PRIORITY: u16 = 6;
    pub const MULTIPATH: u16 = 9;
    pub const TABLE: u16 = 15;
    pub const VIA: u16 = 18;
    pub const NEWDST: u16 = 19;
    pub const ENCAP_TYPE: u16 = 21;
    pub const ENCAP: u16 = 22;
    pub const NH_ID: u16 = 30;
}

/// What a route does (`rtm_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteType {
    /// Nothing was said: a route that is taken back.
    Unspecified,
    /// Forwards.
    Unicast,
    /// Belongs to the host itself, or is no unicast: what the kernel keeps for its own addresses.
    Host,
    /// Drops.
    Blackhole,
    /// Answers "host unreachable".
    Unreachable,
    /// Answers "administratively prohibited".
    Prohibit,
    /// Something else.
    Other(u8),
}

impl RouteType {
    const fn of(byte: u8) -> Self {
        match byte {
            libc::RTN_UNSPEC => Self::Unspecified,
            libc::RTN_UNICAST => Self::Unicast,
            libc::RTN_LOCAL | libc::RTN_BROADCAST | libc::RTN_ANYCAST | libc::RTN_MULTICAST => Self::Host,
            libc::RTN_BLACKHOLE => Self::Blackhole,
            libc::RTN_UNREACHABLE => Self::Unreachable,
            libc::RTN_PROHIBIT => Self::Prohibit,
            other => Self::Other(other),
        }
    }

    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Unspecified => libc::RTN_UNSPEC,
            Self::Unicast => libc::RTN_UNICAST,
            Self::Host => libc::RTN_LOCAL,
            Self::Blackhole => libc::RTN_BLACKHOLE,
            Self::Unreachable => libc::RTN_UNREACHABLE,
            Self::Prohibit => libc::RTN_PROHIBIT,
            Self::Other(byte) => byte,
        }
    }
}

/// What is put around packets on a way (`enum lwtunnel_encap_types`, and FRR's own numbers): none is forwarded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// Labels.
    Mpls,
    /// IPv6 segment routing, either end of it.
    Srv6,
    /// An IP tunnel or VXLAN, as EVPN's routes have.
    Tunnel,
    /// Another.
    Other,
}

impl Encapsulation {
    /// By its number.
    pub(super) const fn of(number: u16) -> Option<Self> {
        match number {
            0 => None,
            1 => Some(Self::Mpls),
            5 | 7 | 101 => Some(Self::Srv6),
            2 | 4 | 100 => Some(Self::Tunnel),
            _ => Some(Self::Other),
        }
    }
}

/// One way, as netlink says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireHop {
    /// The neighbour who knows further; of either family.
    pub gateway: Option<IpAddr>,
    /// The device.
    pub device: Option<IfIndex>,
    /// Its part of the flows, from 1.
    pub weight: u16,
    /// What would have to be put around packets.
    pub encapsulation: Option<Encapsulation>,
    /// The kernel does not use it now, because its device is down.
    pub dead: bool,
}

impl WireHop {
    pub(super) const NOWHERE: Self = Self { gateway: None, device: None, weight: 1, encapsulation: None, dead: false };

    /// Takes in what an attribute says of a way.
    #[inline]
    fn learn(&mut self, attribute: &Attribute<'_>) -> Result<(), Malformed> {
        match attribute.kind {
            attribute::GATEWAY => self.gateway = gateway(attribute.address()?),
            attribute::VIA => self.gateway = gateway(via(attribute.value)?),
            attribute::OIF => self.device = device(attribute.u32()?),
            attribute::ENCAP_TYPE => self.encapsulation = Encapsulation::of(attribute.u16()?),
            attribute::ENCAP => self.encapsulation = self.encapsulation.or(Some(Encapsulation::Other)),
            attribute::NEWDST => self.encapsulation = Some(Encapsulation::Mpls),
            _ => {}
        }
        Ok(())
    }
}

/// No address at all is no gateway.
pub(super) fn gateway(address: IpAddr) -> Option<IpAddr> {
    (!address.is_unspecified()).then_some(address)
}

pub(super) fn device(index: u32) -> Option<IfIndex> {
    (index != 0).then_some(IfIndex(index))
}

/// A gateway of another family than the route's (`struct rtvia`).
fn via(value: &[u8]) -> Result<IpAddr, Malformed> {
    let (family, bytes) = value.split_first_chunk::<2>().ok_or(Malformed::Truncated)?;
    let address = address(bytes)?;
    if i32::from(u16::from_ne_bytes(*family)) == family_of(address) { Ok(address) } else { Err(Malformed::Value) }
}

pub(super) const fn family_of(address: IpAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// The ways of a route.
#[derive(Clone, Debug)]
pub enum Hops<'a> {
    /// One, which may lead nowhere: no gateway, no device.
    One(WireHop),
    /// Several, of which each was read once without an error.
    Many(&'a [u8]),
}

impl Hops<'_> {
    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = WireHop> {
        let (one, many) = match *self {
            Self::One(hop) => (Some(hop), &[][..]),
            Self::Many(bytes) => (None, bytes),
        };
        one.into_iter().chain(Paths(many).map_while(Result::ok))
    }
}

/// Hops behind each other (`struct rtnexthop`).
struct Paths<'a>(&'a [u8]);

impl Iterator for Paths<'_> {
    type Item = Result<WireHop, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let Some(&[l0, l1, flags, weight, i0, i1, i2, i3]) = bytes.first_chunk::<HOP>() else {
            return Some(Err(Malformed::Truncated));
        };
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(attributes) = bytes.get(HOP..len) else { return Some(Err(Malformed::Length)) };
        self.0 = bytes.get(padded(len)..).unwrap_or_default();
        let mut hop = WireHop {
            device: device(u32::from_ne_bytes([i0, i1, i2, i3])),
            // One less than it is (`rtnh_hops`).
            weight: u16::from(weight) + 1,
            dead: flags & DEAD != 0,
            ..WireHop::NOWHERE
        };
        let learned = Attributes::new(attributes).try_for_each(|attribute| hop.learn(&attribute?));
        Some(learned.map(|()| hop))
    }
}

/// A route that is there, or gone.
#[derive(Clone, Debug)]
pub struct RouteMessage<'a> {
    /// Where it is.
    pub table: TableId,
    /// Where to.
    pub prefix: Prefix,
    /// Which of the prefix's, if it was said.
    pub metric: Option<u32>,
    /// What it does.
    pub kind: RouteType,
    /// Where it leads, unless `next_hop` says so.
    pub hops: Hops<'a>,
    /// The object that says where it leads.
    pub next_hop: Option<NextHopId>,
    /// Whether it is for packets of some sources, or of some types of service, only.
    pub selective: bool,
    /// An entry of a cache, no route.
    pub cloned: bool,
    /// Asked for, in contrast to told.
    pub request: bool,
}

impl<'a> RouteMessage<'a> {
    /// The family of a route's addresses (`rtm_family`).
    ///
    /// # Errors
    /// It is too short to say.
    pub fn family(message: &Message<'_>) -> Result<i32, Malformed> {
        message.body::<FIXED>().map(|(fixed, _)| i32::from(fixed[0]))
    }

    /// Reads one of IPv4's or IPv6's.
    ///
    /// # Errors
    /// Lengths contradict each other, or a prefix that is none.
    pub fn parse(message: &Message<'a>) -> Result<Self, Malformed> {
        let (fixed, attributes) = message.body::<FIXED>()?;
        let &[family, dst_len, src_len, tos, table, _protocol, _scope, kind, flags @ ..] = fixed;
        let mut destination = match i32::from(family) {
            libc::AF_INET => IpAddr::from([0; 4]),
            libc::AF_INET6 => IpAddr::from([0; 16]),
            _ => return Err(Malformed::Value),
        };
        let mut table = u32::from(table);
        let flags = u32::from_ne_bytes(flags);
        let mut hop = WireHop { dead: flags & u32::from(DEAD) != 0, ..WireHop::NOWHERE };
        let (mut metric, mut many, mut next_hop, mut selective) = (None, None, None, src_len != 0 || tos != 0);
        let mut told = dst_len == 0;
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                attribute::DST => {
                    let address = attribute.address()?;
                    if address.is_ipv4() != destination.is_ipv4() {
                        return Err(Malformed::Length);
                    }
                    (destination, told) = (address, true);
                }
                attribute::SRC => selective |= src_len != 0,
                attribute::PRIORITY => metric = Some(attribute.u32()?),
                attribute::TABLE => table = attribute.u32()?,
                attribute::MULTIPATH => many = Some(attribute.value),
                attribute::NH_ID => next_hop = Some(NextHopId(attribute.u32()?)).filter(|id| id.0 != 0),
                _ => hop.learn(&attribute)?,
            }
        }
        if !told {
            return Err(Malformed::Truncated);
        }
        if let Some(many) = many {
            Paths(many).try_for_each(|hop| hop.map(|_| ()))?;
        }
        Ok(Self {
            table: TableId(table),
            // Bits beyond the length are nobody's: the kernel refuses them, and so do we.
            prefix: Prefix::new(destination, dst_len).ok_or(Malformed::Value)?,
            metric,
            kind: RouteType::of(kind),
            hops: many.map_or(Hops::One(hop), Hops::Many),
            next_hop,
            selective,
            cloned: flags & CLONED != 0,
            request: message.flags & flag::REQUEST != 0,
        })
    }
}
