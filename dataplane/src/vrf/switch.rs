//! What a worker with VRFs runs: each frame to its VRF or to the bridge, by its port and VLAN, and by its destination
//! where several interfaces share these.
//!
//! Ports that only bridge, and those that are an interface whole, are told apart once a burst. Only of a port that is
//! several things does each frame's tag say what it is for; frames of one link in a row are routed together.

use super::Vrf;
use super::link::{Arrival, Desk, Link, route};
use super::place::{BRIDGED, Place};
use crate::bridge::{Bridge, tag};
use crate::fib::Reader;
use crate::forward::{Forward, Outputs};
use crate::frame::Burst;
use crate::pool::Pool;
use crate::units::{Nanos, PortId};
use crate::wire::ethernet::{Header, Tci};

/// A bridge and VRFs.
pub struct Switch {
    forwarders: Forwarders,
    /// By [`PortId`].
    places: Box<[Place]>,
    reader: Reader,
    online: bool,
    /// Frames of one link in a row.
    row: Burst,
}

/// Those between whom frames are shared out.
struct Forwarders {
    bridge: Bridge,
    vrfs: Vec<Vrf>,
    desk: Desk,
}

impl Switch {
    /// A switch whose VRFs are numbered in order; `reader` is this worker's seat among those who read tables of routes.
    pub fn new(bridge: Bridge, vrfs: Vec<Vrf>, places: Vec<Place>, reader: Reader) -> Self {
        let desk = Desk::new(places.iter().map(Place::members).max().unwrap_or(0));
        let forwarders = Forwarders { bridge, vrfs, desk };
        Self { forwarders, places: places.into(), reader, online: false, row: Burst::new() }
    }

    #[cfg(test)]
    pub(super) fn vrfs(&self) -> &[Vrf] {
        &self.forwarders.vrfs
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
    fn sort(&mut self, burst: &mut Burst, arrival: &mut Arrival<'_>) {
        let Some(Place::Trunk(trunk)) = self.places.get(arrival.input.index()) else { return };
        let mut current = BRIDGED;
        for frame in burst.drain(..) {
            let header = Header::parse(arrival.pool.head(&frame)).ok();
            let stacked = header.is_some_and(|header| header.is_stacked());
            let tag = header.filter(|_| !stacked).and_then(|header| header.tag());
            let number = match tag.map_or(0, Tci::vid) {
                0 if stacked => BRIDGED,
                vid => trunk.number(vid),
            };
            let frame = match tag {
                Some(_) if number != BRIDGED => match tag::pop(arrival.pool, frame) {
                    Ok(frame) => frame,
                    Err(reason) => {
                        arrival.out.count_drop(arrival.input, reason);
                        continue;
                    }
                },
                _ => frame,
            };
            if number != current {
                self.forwarders.end_row(trunk.links.get(usize::from(current)), &mut self.row, arrival);
                current = number;
            }
            self.row.push(frame);
        }
        self.forwarders.end_row(trunk.links.get(usize::from(current)), &mut self.row, arrival);
    }
}

impl Forwarders {
    fn end_row(&mut self, link: Option<&Link>, row: &mut Burst, arrival: &mut Arrival<'_>) {
        match link {
            _ if row.is_empty() => (),
            None => self.bridge.forward(arrival.pool, arrival.input, row, arrival.out, arrival.now),
            Some(link) => match link.only() {
                Some(only) => route(&mut self.vrfs, only, row, arrival),
                None => self.desk.deal(&mut self.vrfs, link, row, arrival),
            },
        }
    }
}

impl Forward for Switch {
    fn forward(&mut self, pool: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, now: Nanos) {
        match self.places.get(input.index()) {
            None | Some(Place::Bridge) => self.forwarders.bridge.forward(pool, input, burst, out, now),
            Some(Place::Punt(vrf, interface)) => {
                if let Some(vrf) = self.forwarders.vrfs.get_mut(usize::from(*vrf)) {
                    vrf.pass_from_stack(pool, (input, *interface), burst, out, now);
                }
            }
            Some(&Place::Interface(target)) => {
                self.breathe();
                route(&mut self.forwarders.vrfs, target, burst, &mut Arrival { pool, input, out, now });
            }
            Some(Place::Link(_)) => {
                self.breathe();
                let arrival = &mut Arrival { pool, input, out, now };
                let Some(Place::Link(link)) = self.places.get(input.index()) else { return };
                self.forwarders.desk.deal(&mut self.forwarders.vrfs, link, burst, arrival);
            }
            Some(Place::Trunk(_)) => {
                self.breathe();
                self.sort(burst, &mut Arrival { pool, input, out, now });
            }
        }
    }

    fn tick(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        self.forwarders.bridge.tick(pool, out, now);
        self.breathe();
        for vrf in &mut self.forwarders.vrfs {
            vrf.tick(pool, out, now);
        }
    }

    fn deadline(&self) -> Option<Nanos> {
        self.forwarders.vrfs.iter().filter_map(|vrf| vrf.router.next_announcement()).min()
    }

    fn rest(&mut self) {
        self.reader.offline();
        self.online = false;
    }
}
