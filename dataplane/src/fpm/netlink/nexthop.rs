//! Next hop objects (`linux/nexthop.h`): a way, or a group of such, that many routes name by its number.

use crate::wire::Malformed;

use super::attribute::Attributes;
use super::route::{Encapsulation, WireHop, device, gateway};
use super::{Message, NextHopId};

/// Bytes before the attributes (`struct nhmsg`).
pub(super) const FIXED: usize = 8;
/// Bytes of a member of a group (`struct nexthop_grp`).
pub(super) const MEMBER: usize = 8;
/// `RTNH_F_DEAD`.
const DEAD: u32 = 1;

/// Types of attributes.
pub(super) mod attribute {
    pub const ID: u16 = 1;
    pub const GROUP: u16 = 2;
    pub const BLACKHOLE: u16 = 4;
    pub const OIF: u16 = 5;
    pub const GATEWAY: u16 = 6;
    pub const ENCAP_TYPE: u16 = 7;
    pub const ENCAP: u16 = 8;
    pub const FDB: u16 = 11;
}

/// Members of a group, behind each other.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a>(&'a [u8]);

impl Members<'_> {
    /// How many.
    pub const fn len(&self) -> usize {
        self.0.len() / MEMBER
    }

    /// Never true of a message that was read.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each of them, with its part of the flows, from 1.
    pub fn each(&self) -> impl Iterator<Item = (NextHopId, u16)> {
        self.0.chunks_exact(MEMBER).filter_map(|bytes| {
            let &[i0, i1, i2, i3, low, high, ..] = bytes.first_chunk::<MEMBER>()?;
            // One less than it is (`weight`, `weight_high`).
            let weight = u16::from_le_bytes([low, high]).saturating_add(1);
            Some((NextHopId(u32::from_ne_bytes([i0, i1, i2, i3])), weight))
        })
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug)]
pub enum Meaning<'a> {
    /// A way.
    Hop(WireHop),
    /// Packets vanish.
    Blackhole,
    /// Several.
    Group(Members<'a>),
    /// For a bridge's table (EVPN), not for routes.
    Bridge,
}

/// An object that is there, or gone.
#[derive(Clone, Copy, Debug)]
pub struct NextHopMessage<'a> {
    /// Which.
    pub id: NextHopId,
    /// What it is; of one that is gone, nothing that counts.
    pub meaning: Meaning<'a>,
}

impl<'a> NextHopMessage<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// Lengths contradict each other, an object without a number, a group without members.
    pub fn parse(message: &Message<'a>) -> Result<Self, Malformed> {
        let (&[_family, _scope, _protocol, _reserved, flags @ ..], attributes) = message.body::<FIXED>()?;
        let mut hop = WireHop { dead: u32::from_ne_bytes(flags) & DEAD != 0, ..WireHop::NOWHERE };
        let (mut id, mut group, mut blackhole, mut bridge) = (0, None, false, false);
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                attribute::ID => id = attribute.u32()?,
                attribute::GROUP => group = Some(attribute.value),
                attribute::BLACKHOLE => blackhole = true,
                attribute::OIF => hop.device = device(attribute.u32()?),
                attribute::GATEWAY => hop.gateway = gateway(attribute.address()?),
                attribute::ENCAP_TYPE => hop.encapsulation = Encapsulation::of(attribute.u16()?),
                attribute::ENCAP => hop.encapsulation = hop.encapsulation.or(Some(Encapsulation::Other)),
                attribute::FDB => bridge = true,
                _ => {}
            }
        }
        if id == 0 {
            return Err(Malformed::Value);
        }
        let meaning = match group {
            _ if bridge => Meaning::Bridge,
            Some(bytes) if bytes.is_empty() || !bytes.len().is_multiple_of(MEMBER) => return Err(Malformed::Length),
            Some(bytes) => Meaning::Group(Members(bytes)),
            None if blackhole => Meaning::Blackhole,
            None => Meaning::Hop(hop),
        };
        Ok(Self { id: NextHopId(id), meaning })
    }
}
