//! What is configured of the bridge: which port is in which domain, with which tag, and which stations are its own.
//!
//! A [`Table`] is built whole from plain data, checked, and never changed. To change something, the control side builds
//! another and publishes it; workers pick it up between bursts. Learned addresses live elsewhere, in the
//! [`Fdb`](super::Fdb), and survive that: keep the numbers of ports and domains, or flush it.

use super::fdb::Seconds;
use super::stations::{Key, Place, Stations};
use crate::units::{Mac, Nanos, PortId};
use crate::wire::ethernet::VlanId;

/// A bridge domain's place in the table: dense, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u16);

impl DomainId {
    /// As an index into a table of domains.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A bridge domain as it is wanted: [`Table::build`] numbers them in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its name, for errors.
    pub name: String,
    /// How long a learned address is believed without being seen; counted in whole seconds, at least one.
    pub age: Nanos,
    /// Addresses learned at most; beyond that, frames for further stations are flooded.
    pub max_learned: u32,
}

/// A port as it is wanted: [`Table::build`] numbers them in order, by [`PortId`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name, for errors.
    pub name: String,
    /// The domain of untagged frames, if the port has one. Alone, it makes an access port.
    pub native: Option<DomainId>,
    /// The domain of each VLAN: with these it is a trunk port.
    pub vlans: Vec<(VlanId, DomainId)>,
    /// The stations behind it. When there are any, it is a guest's port: no other may send, nothing is learned, and it
    /// gets unicast frames for these only. When there are none, stations are learned.
    pub macs: Vec<Mac>,
}

/// What is wrong with the data of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// An index beyond the domains.
    #[error("port {port}: is to be in bridge domain number {domain}, and there are {domains}; add the domain")]
    NoSuchDomain {
        /// The port.
        port: String,
        /// What it names.
        domain: u16,
        /// How many there are.
        domains: usize,
    },
    /// A frame could be in two domains at once.
    #[error("port {port}: VLAN {vlan} is given two bridge domains; leave one")]
    VlanTwice {
        /// The port.
        port: String,
        /// The VLAN.
        vlan: VlanId,
    },
    /// A frame would leave twice.
    #[error("port {port}: is in bridge domain {domain} twice, under different tags; leave one")]
    DomainTwice {
        /// The port.
        port: String,
        /// The domain.
        domain: String,
    },
    /// Zero or a group address.
    #[error("port {port}: {mac} is no station's address (it is zero or a group); give a unicast address")]
    NotAStation {
        /// The port.
        port: String,
        /// The address.
        mac: Mac,
    },
    /// Which of the two would get its frames?
    #[error("port {port}: station {mac} is already behind port {other} in bridge domain {domain}; change one of them")]
    StationTwice {
        /// The port.
        port: String,
        /// The port that has it.
        other: String,
        /// The address.
        mac: Mac,
        /// Where they meet.
        domain: String,
    },
    /// Numbers are 16 bits wide.
    #[error("{ports} ports and {domains} bridge domains are more than the engine can number (65534 each)")]
    TooMany {
        /// Ports asked for.
        ports: usize,
        /// Domains asked for.
        domains: usize,
    },
}

impl TableError {
    /// The same, where `newcomer` came last: it is the one that must change.
    pub(crate) fn told_to(self, newcomer: &str) -> Self {
        match self {
            Self::StationTwice { port, other, mac, domain } if other == newcomer => {
                Self::StationTwice { port: other, other: port, mac, domain }
            }
            error => error,
        }
    }
}

/// How frames of a domain leave by a port: the VLAN of their tag, without tag, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Egress(u16);

impl Egress {
    pub(super) const UNTAGGED: Self = Self(0);
    const NOT_MEMBER: Self = Self(u16::MAX);

    const fn tagged(vlan: VlanId) -> Self {
        Self(vlan.get())
    }

    /// The VLAN of the tag; none: untagged.
    #[inline]
    pub(super) const fn vid(self) -> Option<u16> {
        match self.0 {
            0 => None,
            vid => Some(vid),
        }
    }
}

/// Marks a VLAN, or untagged frames, as belonging nowhere.
const NOWHERE: u16 = u16::MAX;
/// VLAN identifiers that a tag can hold.
const VIDS: usize = 4096;

/// What a port does with what comes in.
#[derive(Debug)]
pub(super) struct Ingress {
    native: u16,
    vlans: Option<Box<[u16; VIDS]>>,
    /// The port's only station, or the first of several: most guests have one.
    pub(super) station: Option<u64>,
}

impl Ingress {
    /// Domain of untagged and of priority-tagged frames.
    #[inline]
    pub(super) const fn native(&self) -> Option<u16> {
        match self.native {
            NOWHERE => None,
            domain => Some(domain),
        }
    }

    /// Domain of frames tagged `vid`.
    #[inline]
    pub(super) fn vlan(&self, vid: u16) -> Option<u16> {
        match self.vlans.as_ref()?[usize::from(vid) % VIDS] {
            NOWHERE => None,
            domain => Some(domain),
        }
    }

    fn set_vlan(&mut self, vlan: VlanId, domain: DomainId) {
        let vlans = self.vlans.get_or_insert_with(|| Box::new([NOWHERE; VIDS]));
        vlans[usize::from(vlan.get()) % VIDS] = domain.0;
    }
}

/// What the packet path knows of a domain.
#[derive(Debug)]
pub(super) struct DomainState {
    pub(super) age: Seconds,
    pub(super) max_learned: u32,
    /// Where group frames go.
    pub(super) everyone: Box<[Place]>,
    /// Where frames for unknown stations go: ports whose stations are not all known.
    pub(super) learners: Box<[Place]>,
}

/// The bridge as it is configured, ready for the packet path.
#[derive(Debug)]
pub struct Table {
    pub(super) ingress: Box<[Ingress]>,
    pub(super) domains: Box<[DomainState]>,
    pub(super) stations: Stations,
    /// By domain, then by port.
    egress: Box<[Egress]>,
}

impl Table {
    /// Builds the table in which `ports` are numbered in order, and `domains` likewise.
    ///
    /// # Errors
    /// Every contradiction in the data, in the order of the ports.
    pub fn build(ports: &[Member], domains: &[Domain]) -> Result<Self, Vec<TableError>> {
        if ports.len().max(domains.len()) >= usize::from(NOWHERE) {
            return Err(vec![TableError::TooMany { ports: ports.len(), domains: domains.len() }]);
        }
        let mut builder = Builder { ports, domains, egress: Vec::new(), stations: Vec::new(), errors: Vec::new() };
        builder.egress.resize(ports.len() * domains.len(), Egress::NOT_MEMBER);
        let ingress = (0..).zip(ports).map(|(id, port)| builder.port(PortId(id), port)).collect();
        builder.stations();
        if !builder.errors.is_empty() {
            return Err(builder.errors);
        }
        let states = (0..domains.len()).map(|domain| builder.domain(domain)).collect();
        let stations = Stations::build(&builder.stations);
        Ok(Self { ingress, domains: states, stations, egress: builder.egress.into() })
    }

    /// Ports that it was built for.
    pub fn ports(&self) -> usize {
        self.ingress.len()
    }

    /// Domains that it was built for.
    pub fn domains(&self) -> usize {
        self.domains.len()
    }

    /// How frames of `domain` leave by `port`; none: the port is not in it, or is none.
    #[inline]
    pub(super) fn egress(&self, domain: u16, port: PortId) -> Option<Egress> {
        if port.index() >= self.ingress.len() {
            return None;
        }
        let egress = *self.egress.get(usize::from(domain) * self.ingress.len() + port.index())?;
        (egress != Egress::NOT_MEMBER).then_some(egress)
    }

    /// How long addresses of `domain` are believed; none: there is no such domain.
    pub(super) fn age(&self, domain: u16) -> Option<Seconds> {
        self.domains.get(usize::from(domain)).map(|domain| domain.age)
    }
}

/// A table under construction.
struct Builder<'a> {
    ports: &'a [Member],
    domains: &'a [Domain],
    egress: Vec<Egress>,
    stations: Vec<(Key, Place)>,
    errors: Vec<TableError>,
}

impl Builder<'_> {
    fn port(&mut self, id: PortId, port: &Member) -> Ingress {
        let mut ingress = Ingress { native: NOWHERE, vlans: None, station: port.macs.first().map(|mac| mac.as_u64()) };
        let mut joined: Vec<Place> = Vec::new();
        let mut domains: Vec<u16> = Vec::new();
        if let Some(domain) = port.native.filter(|&domain| self.join(id, port, domain, Egress::UNTAGGED)) {
            ingress.native = domain.0;
            joined.push(Place { port: id, egress: Egress::UNTAGGED });
            domains.push(domain.0);
        }
        for &(vlan, domain) in &port.vlans {
            if ingress.vlan(vlan.get()).is_some() {
                self.errors.push(TableError::VlanTwice { port: port.name.clone(), vlan });
            } else if self.join(id, port, domain, Egress::tagged(vlan)) {
                ingress.set_vlan(vlan, domain);
                joined.push(Place { port: id, egress: Egress::tagged(vlan) });
                domains.push(domain.0);
            }
        }
        for &mac in &port.macs {
            if !mac.is_station() {
                self.errors.push(TableError::NotAStation { port: port.name.clone(), mac });
                continue;
            }
            let keys = domains.iter().map(|&domain| Key::new(domain, mac.as_u64()));
            self.stations.extend(keys.zip(joined.iter().copied()));
        }
        ingress
    }

    /// Makes `port` a member of `domain`; false when it cannot be one.
    fn join(&mut self, id: PortId, port: &Member, domain: DomainId, egress: Egress) -> bool {
        let Some(known) = self.domains.get(domain.index()) else {
            let (port, domains) = (port.name.clone(), self.domains.len());
            self.errors.push(TableError::NoSuchDomain { port, domain: domain.0, domains });
            return false;
        };
        let at = &mut self.egress[domain.index() * self.ports.len() + id.index()];
        if *at != Egress::NOT_MEMBER {
            self.errors.push(TableError::DomainTwice { port: port.name.clone(), domain: known.name.clone() });
            return false;
        }
        *at = egress;
        true
    }

    /// Every station once a domain. The same address twice at one port is the same station.
    fn stations(&mut self) {
        self.stations.sort_by_key(|&(key, place)| (key, place.port));
        self.stations.dedup();
        for pair in self.stations.windows(2) {
            let [(key, first), (other, second)] = pair else { continue };
            if key == other {
                self.errors.push(TableError::StationTwice {
                    port: self.ports[second.port.index()].name.clone(),
                    other: self.ports[first.port.index()].name.clone(),
                    mac: key.mac(),
                    domain: self.domains[usize::from(key.domain())].name.clone(),
                });
            }
        }
    }

    fn domain(&self, domain: usize) -> DomainState {
        let egress = &self.egress[domain * self.ports.len()..][..self.ports.len()];
        let members = (0..).zip(egress).filter(|&(_, &egress)| egress != Egress::NOT_MEMBER);
        let everyone: Box<[Place]> = members.map(|(id, &egress)| Place { port: PortId(id), egress }).collect();
        let learners = everyone.iter().copied().filter(|place| self.ports[place.port.index()].macs.is_empty());
        let learners = learners.collect();
        let spec = &self.domains[domain];
        DomainState { age: Seconds::of_age(spec.age), max_learned: spec.max_learned, everyone, learners }
    }
}
