//! What a worker with VRFs runs: each frame to its VRF or to the bridge, by its port and VLAN, and by its destination
//! where several interfaces share these.
//!
//! Ports that only bridge, and those that are an interface whole, are told apart once a burst. Only of a port that is
//! several things does each frame's tag say what it is for; frames of one link in a row are routed together.
//!
//! # Between bridge and VRF
//! Where an interface is a station in a bridge domain, a frame may be bridged, routed, and bridged again before it leaves by a
//! port. What is staged for such a station, or by it for its domain, is taken back from the outputs and goes its next part
//! of the way, until only what leaves is staged. Its worker sees nothing of that: whose the frames are, which shares
//! and rates bind them, and what is told of them in a trace is as if there had been one step. It ends, because whatever is
//! routed has a time to live, and what is for a group is never bridged on. A station of a VRF that another worker has
//! is staged, and so handed over, like any port of that worker.

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
    /// The first port that may be one within the engine; [`NO_INNER`] where there is none.
    first_inner: u16,
    /// Frames between bridge and VRF.
    crossing: Burst,
}

/// No port: there are not so many.
const NO_INNER: u16 = u16::MAX;

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
        let first_inner = places.iter().position(Place::is_inner).map_or(NO_INNER, |at| at as u16);
        Self {
            forwarders,
            places: places.into(),
            reader,
            online: false,
            row: Burst::new(),
            first_inner,
            crossing: Burst::new(),
        }
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

    /// Lets what is staged for ports within the engine go its way, until only what leaves is staged.
    #[inline]
    fn cross(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        if self.first_inner != NO_INNER {
            self.cross_inner(pool, out, now);
        }
    }

    fn cross_inner(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        loop {
            let Self { places, first_inner, crossing, .. } = self;
            let is_inner =
                |port: PortId| port.0 >= *first_inner && places.get(port.index()).is_some_and(Place::is_inner);
            let Some(input) = out.take(is_inner, crossing) else { return };
            match self.places.get(input.index()) {
                Some(&Place::Station(target)) => {
                    self.breathe();
                    let Self { forwarders, crossing, .. } = self;
                    route(&mut forwarders.vrfs, target, crossing, &mut Arrival { pool, input, out, now });
                }
                Some(&Place::Domain(station)) => {
                    let Self { forwarders, crossing, .. } = self;
                    forwarders.bridge.forward(pool, station, crossing, out, now);
                }
                _ => (),
            }
            // Nothing, unless a table names a VRF that is not there.
            pool.free_all(self.crossing.drain(..));
        }
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
            // Nothing comes in there: what is staged for them is taken back at once.
            Some(Place::Station(_) | Place::Domain(_)) => pool.free_all(burst.drain(..)),
        }
        self.cross(pool, out, now);
    }

    fn tick(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        self.forwarders.bridge.tick(pool, out, now);
        self.breathe();
        for vrf in &mut self.forwarders.vrfs {
            vrf.tick(pool, out, now);
        }
        self.cross(pool, out, now);
    }

    fn pass_on(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        self.cross(pool, out, now);
    }

    fn deadline(&self) -> Option<Nanos> {
        self.forwarders.vrfs.iter().filter_map(|vrf| vrf.router.next_announcement()).min()
    }

    fn rest(&mut self) {
        self.reader.offline();
        self.online = false;
    }
}
