//! Bridge domains: the paper's path 1.
//!
//! A domain is a set of ports that share a broadcast domain, and every frame is in exactly one: the port that it came in
//! on says which, by the VLAN of its tag or the want of one. There the frame goes to the port of its destination, when
//! that is known, and else to all. Ports come in two kinds. A **guest's port** has stations of its own ([`Member::macs`]):
//! from there no other may send, and unicast for others never gets there, so that what one virtual router says to another
//! stays between them. Behind **all other ports** stations are learned.
//!
//! # What happens to a frame
//! In this order; the first that applies decides:
//! 1. ends within its header: `runt`; longer than the engine carries: `giant`;
//! 2. more than one tag, or one of 802.1ad, in any order: `vlan-not-allowed`. A second tag could come to the front where
//!    the first is taken off, and then name a VLAN that its sender was never let into;
//! 3. tagged with a VLAN that its port is not in: `vlan-not-allowed`; untagged (a priority tag, VLAN 0, counts as none)
//!    where there is no domain for that: `no-domain`. An access port is one without VLANs: every tag is refused there;
//! 4. for 01:80:c2:00:00:00 to :0f: `link-local`;
//! 5. from zero or from a group: `source-invalid`; from a station that its guest's port does not have: `source-spoofed`;
//! 6. its source is learned, on a port that is not a guest's. A configured station is never learned elsewhere, though
//!    frames from there pass: a guest that is just moving here is still being answered from the host it leaves;
//! 7. for a group: to every port of the domain. For a station that is neither configured nor learned, or was learned
//!    behind a port that is down: to every port of the domain that is not a guest's. Ports that are down, and the one it
//!    came from, are left out; when nobody remains: `no-output`;
//! 8. for a station behind the port it came from: `same-port`; else out of the station's port.
//!
//! On its way out the frame gets the tag that its domain has at that port: a domain may have different VLANs, or
//! none, at each of its ports.
//!
//! # What must never happen
//! A frame leaves by a port that is not in its domain, or twice by one port. A guest's address is taken over by what
//! somebody else sends. Two uplinks of one domain into the same network are a loop: there is no spanning tree here.

mod explain;
mod fdb;
mod stations;
mod table;
pub(crate) mod tag;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use explain::{Whereabouts, explain, locate};
pub use fdb::{Fdb, Learned};
pub use table::{Domain, DomainId, Member, Table, TableError};

use crate::drops::DropReason;
use crate::forward::{Forward, Outputs};
use crate::frame::{Burst, Frame};
use crate::pool::{MAX_FRAME, Pool};
use crate::units::{Mac, Nanos, PortId};
use crate::wire::ethernet::{Header, Tci};
use fdb::{Seconds, Seen};
use stations::{Key, Place};
use table::{Egress, Ingress};
use tag::Rewrite;

/// Forwards within bridge domains. Every worker has one; table and learned stations are shared.
pub struct Bridge {
    tables: arc_swap::Cache<Arc<ArcSwap<Table>>, Arc<Table>>,
    fdb: Arc<Fdb>,
}

impl Bridge {
    /// A bridge that follows whatever is published in `tables`.
    ///
    /// Every published table must be built for as many ports as the worker's [`Outputs`] have; while one is not, all
    /// frames are dropped as `no-domain`.
    pub fn new(tables: Arc<ArcSwap<Table>>, fdb: Arc<Fdb>) -> Self {
        Self { tables: arc_swap::Cache::new(tables), fdb }
    }
}

impl Forward for Bridge {
    fn forward(&mut self, pool: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, now: Nanos) {
        let table: &Table = self.tables.load();
        let ingress = match table.ingress.get(input.index()) {
            Some(ingress) if table.ports() == out.ports() => ingress,
            _ => return refuse(pool, input, burst, out),
        };
        let mut view = View::new(table, &self.fdb, input, ingress, Seconds::at(now));
        for frame in burst.drain(..) {
            // One step after the other, and no verdict that names them all: written to memory in parts and read back as
            // a whole, it costs more than everything else here.
            let arrival = match view.admit(pool.head(&frame), frame.len()) {
                Ok(arrival) => arrival,
                Err(reason) => {
                    out.drop(pool, input, frame, reason);
                    continue;
                }
            };
            let tag = arrival.header.tag();
            match view.locate(&arrival, out) {
                Some(place) if place.port == input => out.drop(pool, input, frame, DropReason::SamePort),
                Some(place) => send(pool, input, frame, place, tag, out),
                None => flood(pool, input, frame, view.audience(&arrival), tag, out),
            }
        }
    }

    fn tick(&mut self, _pool: &mut Pool, _out: &mut Outputs, now: Nanos) {
        let table = self.tables.load();
        self.fdb.sweep(table, now);
    }
}

/// A frame that may be forwarded.
struct Arrival {
    header: Header,
    domain: u16,
}

/// What one burst is judged by. It remembers the last source and destination: frames of a flow come in a row.
struct View<'a> {
    table: &'a Table,
    fdb: &'a Fdb,
    input: PortId,
    ingress: &'a Ingress,
    now: Seconds,
    /// The last source that may send and is learned.
    source: Key,
    /// The last destination that was known, and where it is.
    destination: Key,
    place: Place,
}

impl<'a> View<'a> {
    fn new(table: &'a Table, fdb: &'a Fdb, input: PortId, ingress: &'a Ingress, now: Seconds) -> Self {
        Self {
            table,
            fdb,
            input,
            ingress,
            now,
            source: Key::NONE,
            destination: Key::NONE,
            place: Place { port: input, egress: Egress::UNTAGGED },
        }
    }

    /// Lets in the frame of `len` bytes that begins with `head`, or says why not.
    #[inline]
    fn admit(&mut self, head: &[u8], len: usize) -> Result<Arrival, DropReason> {
        let header = Header::parse(head).map_err(|_| DropReason::Runt)?;
        if len > MAX_FRAME {
            return Err(DropReason::Giant);
        }
        let domain = self.domain(&header)?;
        if header.to_link_local() {
            return Err(DropReason::LinkLocal);
        }
        let source = Key::new(domain, header.src_word());
        if source != self.source {
            self.admit_source(&header, source)?;
            self.source = source;
        }
        Ok(Arrival { header, domain })
    }

    /// The domain that the frame is in.
    #[inline]
    fn domain(&self, header: &Header) -> Result<u16, DropReason> {
        if header.is_stacked() {
            return Err(DropReason::VlanNotAllowed);
        }
        match header.tag().map_or(0, Tci::vid) {
            0 => self.ingress.native().ok_or(DropReason::NoDomain),
            vid => self.ingress.vlan(vid).ok_or(DropReason::VlanNotAllowed),
        }
    }

    /// Checks the source of a frame, and learns it if that is the way of the port.
    #[inline]
    fn admit_source(&mut self, header: &Header, source: Key) -> Result<(), DropReason> {
        match self.ingress.station {
            Some(station) if station == header.src_word() => Ok(()),
            _ if !header.from_station() => Err(DropReason::SourceInvalid),
            None => {
                self.learn(source);
                Ok(())
            }
            Some(_) => match self.table.stations.get(source) {
                Some(place) if place.port == self.input => Ok(()),
                _ => Err(DropReason::SourceSpoofed),
            },
        }
    }

    #[inline]
    fn learn(&mut self, source: Key) {
        match self.fdb.refresh(source, self.input, self.now) {
            Seen::Again => {}
            // What is remembered of the destination may have been this station's old place.
            Seen::Moved => self.destination = Key::NONE,
            Seen::Unknown => self.introduce(source),
        }
    }

    #[cold]
    fn introduce(&self, source: Key) {
        let Some(domain) = self.table.domains.get(usize::from(source.domain())) else { return };
        if self.table.stations.get(source).is_none() {
            self.fdb.insert(source, self.input, self.now, domain.max_learned);
        }
    }

    /// Where the frame's destination is, if it is one station and known.
    #[inline]
    fn locate(&mut self, arrival: &Arrival, out: &Outputs) -> Option<Place> {
        if arrival.header.to_group() {
            return None;
        }
        let station = Key::new(arrival.domain, arrival.header.dst_word());
        if station != self.destination {
            self.place = self.table.stations.get(station).or_else(|| self.locate_learned(station, out))?;
            self.destination = station;
        }
        Some(self.place)
    }

    /// Whom a frame goes to whose destination is not one known station.
    fn audience(&self, arrival: &Arrival) -> &'a [Place] {
        match self.table.domains.get(usize::from(arrival.domain)) {
            Some(domain) if arrival.header.to_group() => &domain.everyone,
            Some(domain) => &domain.learners,
            None => &[],
        }
    }

    #[inline]
    fn locate_learned(&self, station: Key, out: &Outputs) -> Option<Place> {
        let age = self.table.age(station.domain())?;
        let port = self.fdb.lookup(station, self.now, age)?;
        // A learned port need not be one of this table, nor in this domain; asked first, it is safe to ask whether it is up.
        let egress = self.table.egress(station.domain(), port)?;
        out.is_up(port).then_some(Place { port, egress })
    }
}

/// Sends the frame, whose tag is `tag`, to `place`.
#[inline]
fn send(pool: &mut Pool, input: PortId, frame: Frame, place: Place, tag: Option<Tci>, out: &mut Outputs) {
    match Rewrite::between(tag, place.egress) {
        Rewrite::Keep => out.send(place.port, frame),
        rewrite => match rewrite.apply(pool, frame) {
            Ok(frame) => out.send(place.port, frame),
            Err(reason) => out.count_drop(input, reason),
        },
    }
}

/// Sends a copy to each of `places` that can have one, and the frame itself to the last.
#[inline(never)]
fn flood(pool: &mut Pool, input: PortId, frame: Frame, places: &[Place], tag: Option<Tci>, out: &mut Outputs) {
    let mut last: Option<Place> = None;
    for &place in places {
        if place.port == input || !out.is_up(place.port) {
            continue;
        }
        let Some(place) = last.replace(place) else { continue };
        match pool.copy(&frame) {
            Some(copy) => send(pool, input, copy, place, tag, out),
            None => out.count_drop(input, DropReason::PoolExhausted),
        }
    }
    match last {
        Some(place) => send(pool, input, frame, place, tag, out),
        None => out.drop(pool, input, frame, DropReason::NoOutput),
    }
}

/// Drops a burst that the table has no place for.
#[cold]
fn refuse(pool: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs) {
    for frame in burst.drain(..) {
        out.drop(pool, input, frame, DropReason::NoDomain);
    }
}

/// A station that the bridge knows, for `show fdb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Station {
    /// Its domain.
    pub domain: DomainId,
    /// Its address.
    pub mac: Mac,
    /// The port behind which it is.
    pub port: PortId,
    /// How long ago it was last seen, in whole seconds; none: it is configured.
    pub age: Option<Nanos>,
}

/// Every station that `table` names or `fdb` has learned, sorted by domain and address.
pub fn stations(table: &Table, fdb: &Fdb, now: Nanos) -> Vec<Station> {
    let configured = table.stations.iter().map(|(key, place)| {
        let domain = DomainId(key.domain());
        Station { domain, mac: key.mac(), port: place.port, age: None }
    });
    let learned = fdb.entries(now).into_iter().filter(|entry| {
        let fresh = table.age(entry.domain.0).is_some_and(|age| Seconds::of_age(entry.age) <= age);
        fresh && table.stations.get(Key::new(entry.domain.0, entry.mac.as_u64())).is_none()
    });
    let learned = learned.map(|Learned { domain, mac, port, age }| Station { domain, mac, port, age: Some(age) });
    let mut stations: Vec<_> = configured.chain(learned).collect();
    stations.sort_unstable();
    stations
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
