//! What a worker's ports are: interfaces of VRFs, the way to their stacks, or the bridge's.
//!
//! Two kinds have no other side: where a VRF's interface is a station in a bridge domain, one port number is the station's in
//! that domain, and another the way back.

use super::link::{Link, Target};
use crate::rib::InterfaceId;
use crate::units::PortId;
use crate::wire::ethernet::VlanId;

/// What a port is.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// Not a VRF's.
    #[default]
    Bridge,
    /// An interface, whole: all frames are its.
    Interface(Target),
    /// Several interfaces, told apart by their Ethernet addresses: all frames are theirs.
    Link(Box<Link>),
    /// Behind which the stack of an interface is.
    Punt(u16, InterfaceId),
    /// Several things, by VLAN.
    Trunk(Box<Trunk>),
    /// An interface that is a station in a bridge domain: what the bridge sends there is its.
    Station(Target),
    /// What such an interface sends: the bridge's, as if it had come in on this port.
    Domain(PortId),
}

/// A VLAN of a [`Trunk`] that is no interface's, in place of a number.
pub(super) const BRIDGED: u16 = u16::MAX;

/// A port that is several things.
#[derive(Clone, Debug)]
pub struct Trunk {
    pub(super) links: Vec<Link>,
    untagged: u16,
    /// By VLAN, which link it is.
    tagged: Box<[u16]>,
}

impl Trunk {
    fn new(untagged: Option<Link>) -> Self {
        let number = if untagged.is_some() { 0 } else { BRIDGED };
        Self { links: Vec::from_iter(untagged), untagged: number, tagged: vec![BRIDGED; 4096].into() }
    }

    fn add(&mut self, vlan: Option<VlanId>, target: Target) {
        let number = match vlan {
            None => &mut self.untagged,
            Some(vlan) => &mut self.tagged[usize::from(vlan.get())],
        };
        match self.links.get_mut(usize::from(*number)) {
            Some(link) => link.add(target),
            None => {
                *number = self.links.len() as u16;
                self.links.push(Link::new(target));
            }
        }
    }

    /// The number of the link of untagged frames (VLAN 0), or of a VLAN's.
    #[inline]
    pub(super) fn number(&self, vid: u16) -> u16 {
        match vid {
            0 => self.untagged,
            vid => self.tagged.get(usize::from(vid)).copied().unwrap_or(BRIDGED),
        }
    }
}

impl Place {
    /// Makes the port's untagged frames, or those of a VLAN, the interface `target`; or one of several, if another's they
    /// are already.
    pub fn add(&mut self, vlan: Option<VlanId>, target: Target) {
        match (vlan, &mut *self) {
            (None, Self::Bridge) => *self = Self::Interface(target),
            (None, &mut Self::Interface(first)) => {
                let mut link = Link::new(first);
                link.add(target);
                *self = Self::Link(Box::new(link));
            }
            (None, Self::Link(link)) => link.add(target),
            (vlan, Self::Trunk(trunk)) => trunk.add(vlan, target),
            (vlan, _) => {
                let mut trunk = Trunk::new(self.untagged());
                trunk.add(vlan, target);
                *self = Self::Trunk(Box::new(trunk));
            }
        }
    }

    /// Lets what is no interface's go to the bridge: the port is in a bridge domain too.
    pub fn bridge_too(&mut self) {
        if let Self::Interface(_) | Self::Link(_) = self {
            *self = Self::Trunk(Box::new(Trunk::new(self.untagged())));
        }
    }

    /// Whether what is sent there stays in the engine.
    #[inline]
    pub(super) fn is_inner(&self) -> bool {
        matches!(self, Self::Station(_) | Self::Domain(_))
    }

    fn untagged(&self) -> Option<Link> {
        match self {
            &Self::Interface(target) => Some(Link::new(target)),
            Self::Link(link) => Some((**link).clone()),
            _ => None,
        }
    }

    /// The most interfaces that one link of the port has.
    pub(super) fn members(&self) -> usize {
        match self {
            Self::Link(link) => link.len(),
            Self::Trunk(trunk) => trunk.links.iter().map(Link::len).max().unwrap_or(0),
            _ => 0,
        }
    }
}
