//! What the bridge thinks of a frame, for people who ask: the same questions as the packet path's, to the same tables.

use super::fdb::Seconds;
use super::stations::Key;
use super::{DomainId, Fdb, Table};
use crate::units::{Nanos, PortId};
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
    }?;
    if header.to_group() {
        return Some((DomainId(domain), Whereabouts::Group));
    }
    let station = Key::new(domain, header.dst_word());
    let configured = table.stations.get(station).map(|place| Whereabouts::Configured(place.port));
    let learned = || fdb.lookup(station, Seconds::at(now), table.age(domain)?).map(Whereabouts::Learned);
    Some((DomainId(domain), configured.or_else(learned).unwrap_or(Whereabouts::Unknown)))
}
