//! What the bridge thinks of a frame, for people who ask: the same questions as the packet path's, to the same tables.

use super::fdb::Seconds;
use super::stations::Key;
use super::{DomainId, Fdb, Table};
use crate::units::{Mac, Nanos, PortId};
use crate::wire::ethernet::{Header, Tci};

/// Where the destination of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It is a group.
    Group,
    /// The configuration puts it behind this port.
    Configured(PortId),
    /// It was learned behind this port.
    Learned(PortId),
    /// Nobody knows.
    Unknown,
}

/// The domain of a frame that came in on `input`, and where its destination is there. None: it is in no domain.
pub fn explain(
    table: &Table,
    fdb: &Fdb,
    input: PortId,
    header: &Header,
    now: Nanos,
) -> Option<(DomainId, Whereabouts)> {
    let ingress = table.ingress.get(input.index()).filter(|_| !header.is_stacked())?;
    let domain = match header.tag().map_or(0, Tci::vid) {
        0 => ingress.native(),
        vid => ingress.vlan(vid),
    };
    let domain = DomainId(domain?);
    Some((domain, locate(table, fdb, domain, header.dst(), now)))
}

/// Where a station, or a group, is in a domain.
pub fn locate(table: &Table, fdb: &Fdb, domain: DomainId, mac: Mac, now: Nanos) -> Whereabouts {
    if mac.is_group() {
        return Whereabouts::Group;
    }
    let station = Key::new(domain.0, mac.as_u64());
    let configured = table.stations.get(station).map(|place| Whereabouts::Configured(place.port));
    let learned = || fdb.lookup(station, Seconds::at(now), table.age(domain.0)?).map(Whereabouts::Learned);
    configured.or_else(learned).unwrap_or(Whereabouts::Unknown)
}
