//! What a worker with VRFs runs: each frame to its VRF or to the bridge, by its port and VLAN.
//!
//! Ports that only bridge, and those that are an interface whole, are told apart once a burst. Only of a port that is
//! several things does each frame's tag say what it is for; frames of one interface in a row are routed together.

use super::Vrf;
use crate::bridge::{Bridge, tag};
use crate::fib::Reader;
use crate::forward::{Forward, Outputs};
use crate::frame::Burst;
use crate::pool::Pool;
use crate::rib::InterfaceId;
use crate::units::{Nanos, PortId};
use crate::wire::ethernet::{Header, Tci, VlanId};

/// An interface of one of a worker's VRFs.
type Target = (u16, InterfaceId);

/// What a port is.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// Not a VRF's.
    #[default]
    Bridge,
    /// An interface, whole: all frames are its.
    Interface(u16, InterfaceId),
    /// Behind which the stack of an interface is.
    Punt(u16, InterfaceId),
    /// Several things, by VLAN.
    Trunk(Box<Trunk>),
}

/// A port that is several things.
#[derive(Clone, Debug)]
pub struct Trunk {
    untagged: Option<Target>,
    /// By VLAN.
    tagged: Box<[Option<Target>]>,
}

impl Place {
    /// Makes the port's untagged frames, or those of a VLAN, the interface `interface` of the worker's VRF number `vrf`.
    pub fn add(&mut self, vlan: Option<VlanId>, vrf: u16, interface: InterfaceId) {
        if vlan.is_none() && matches!(self, Self::Bridge) {
            *self = Self::Interface(vrf, interface);
            return;
        }
        let trunk = match self {
            Self::Trunk(trunk) => trunk,
            other => {
                let untagged = match *other {
                    Self::Interface(vrf, interface) => Some((vrf, interface)),
                    _ => None,
                };
                *other = Self::Trunk(Box::new(Trunk { untagged, tagged: vec![None; 4096].into() }));
                match other {
                    Self::Trunk(trunk) => trunk,
                    _ => return,
                }
            }
        };
        match vlan {
            None => trunk.untagged = Some((vrf, interface)),
            Some(vlan) => trunk.tagged[usize::from(vlan.get())] = Some((vrf, interface)),
        }
    }

    /// Lets what is no interface's go to the bridge: the port is in a bridge domain too.
    pub fn bridge_too(&mut self) {
        if let Self::Interface(vrf, interface) = *self {
            let untagged = Some((vrf, interface));
            *self = Self::Trunk(Box::new(Trunk { untagged, tagged: vec![None; 4096].into() }));
        }
    }
}

/// A bridge and VRFs.
pub struct Switch {
    bridge: Bridge,
    vrfs: Vec<Vrf>,
    /// By [`PortId`].
    places: Box<[Place]>,
    reader: Reader,
    online: bool,
    /// Frames of one interface in a row.
    row: Burst,
}

impl Switch {
    /// A switch whose VRFs are numbered in order; `reader` is this worker's seat among those who read tables of routes.
    pub fn new(bridge: Bridge, vrfs: Vec<Vrf>, places: Vec<Place>, reader: Reader) -> Self {
        Self { bridge, vrfs, places: places.into(), reader, online: false, row: Burst::new() }
    }

    #[cfg(test)]
    pub(super) fn vrfs(&self) -> &[Vrf] {
        &self.vrfs
    }

    /// Nothing that was looked up is held any more.
    #[inline]
    fn breathe(&mut self) {
        match self.online {
            true => self.reader.quiescent(),
            false => self.reader.online(),
        }
        self.online = true;
    }

    /// Sorts the frames of a port that is several things.
    fn sort(&mut self, pool: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, now: Nanos) {
        let mut row = std::mem::take(&mut self.row);
        let mut current: Option<Target> = None;
        for frame in burst.drain(..) {
            let Some(Place::Trunk(trunk)) = self.places.get(input.index()) else { return };
            let header = Header::parse(pool.head(&frame)).ok();
            let tag = header.filter(|header| !header.is_stacked()).and_then(|header| header.tag());
            let target = match tag.map_or(0, Tci::vid) {
                0 if header.is_some_and(|header| header.is_stacked()) => None,
                0 => trunk.untagged,
                vid => trunk.tagged.get(usize::from(vid)).copied().flatten(),
            };
            let frame = match (target, tag) {
                (Some(_), Some(_)) => match tag::pop(pool, frame) {
                    Ok(frame) => frame,
                    Err(reason) => {
                        out.count_drop(input, reason);
                        continue;
                    }
                },
                _ => frame,
            };
            if target != current {
                self.end_row(pool, input, (current, &mut row), out, now);
                current = target;
            }
            row.push(frame);
        }
        self.end_row(pool, input, (current, &mut row), out, now);
        self.row = row;
    }

    fn end_row(
        &mut self,
        pool: &mut Pool,
        input: PortId,
        (target, row): (Option<Target>, &mut Burst),
        out: &mut Outputs,
        now: Nanos,
    ) {
        match target.and_then(|(vrf, interface)| Some((self.vrfs.get_mut(usize::from(vrf))?, interface))) {
            _ if row.is_empty() => (),
            Some((vrf, interface)) => vrf.forward(pool, interface, row, out, now),
            None => self.bridge.forward(pool, input, row, out, now),
        }
    }
}

impl Forward for Switch {
    fn forward(&mut self, pool: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, now: Nanos) {
        let place = self.places.get(input.index());
        match place {
            None | Some(Place::Bridge) => self.bridge.forward(pool, input, burst, out, now),
            Some(Place::Punt(vrf, interface)) => {
                let (vrf, interface) = (usize::from(*vrf), *interface);
                if let Some(vrf) = self.vrfs.get_mut(vrf) {
                    vrf.pass_from_stack(pool, (input, interface), burst, out, now);
                }
            }
            Some(&Place::Interface(vrf, interface)) => {
                self.breathe();
                if let Some(vrf) = self.vrfs.get_mut(usize::from(vrf)) {
                    vrf.forward(pool, interface, burst, out, now);
                }
            }
            Some(Place::Trunk(_)) => {
                self.breathe();
                self.sort(pool, input, burst, out, now);
            }
        }
    }

    fn tick(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        self.bridge.tick(pool, out, now);
        self.breathe();
        for vrf in &mut self.vrfs {
            vrf.tick(pool, out, now);
        }
    }

    fn rest(&mut self) {
        self.reader.offline();
        self.online = false;
    }
}
