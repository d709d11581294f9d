//! `[[vrf]]`: virtual routers whose packets the engine routes, with their interfaces and static routes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use toml::de::DeValue;

use super::mistakes::{Claims, Mistakes, quoted};
use super::port::find_domain;
use super::read::read_name;
use super::route::read_route;
use super::section::{Found, Section, wrong_type};
use super::spelling::nearest;
use super::{DomainSpec, GuestSpec, ListedRoutes, Place, PortKind, PortSpec};
use crate::prefix::{Prefix, read_pair};
use crate::rib::Route;
use crate::router::{InterfaceAddress, SourceCheck, objection_v4, objection_v6};
use crate::units::Mac;
use crate::vrf::PuntRate;
use crate::wire::ethernet::VlanId;
use crate::wire::{ipv4, ipv6};

/// Routes that a VRF may have, where the file says nothing: a full table of both families, and room to grow.
const DEFAULT_ROUTES: usize = 1_500_000;
/// Interfaces of a VRF at most: as many as there are VLANs.
const MAX_INTERFACES: usize = 4_094;

/// `[[vrf]]`: a routing table, and the interfaces between which it routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrfSpec {
    /// Its name, unique among VRFs.
    pub name: String,
    /// Index of the guest whose control plane it is.
    pub guest: Option<usize>,
    /// Routes that it may have; more are refused.
    pub max_routes: usize,
    /// What may be sent to its control plane.
    pub punt: PuntRate,
    /// At least one; [`InterfaceId`](crate::rib::InterfaceId) is the place here.
    pub interfaces: Vec<VrfInterfaceSpec>,
    /// Static routes, no two for one prefix.
    pub routes: Vec<Route>,
    /// A file with further static routes, as the configuration names it.
    pub route_file: Option<PathBuf>,
    /// What is in it, once it is read ([`Config::load`](super::Config::load)); no prefix is among `routes`.
    pub listed: Arc<ListedRoutes>,
    /// Index of the worker that routes: that of all ports of it.
    pub worker: usize,
    /// Where the file says so.
    pub place: Place,
}

impl VrfSpec {
    /// All static routes: those of the configuration, then those of the route file.
    pub fn static_routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes.iter().cloned().chain(self.listed.iter())
    }
}

/// `[[vrf.interface]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrfInterfaceSpec {
    /// Its name, unique in its VRF.
    pub name: String,
    /// Where it is.
    pub link: InterfaceLink,
    /// Its Ethernet address; none: that of its punt tap, or else of its device; in a bridge domain one that is made of the
    /// names of interface and VRF.
    pub mac: Option<Mac>,
    /// The longest packet that it carries, in bytes.
    pub mtu: u16,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddress>,
    /// Index of the port behind which the router's own stack is.
    pub punt: Option<usize>,
    /// Which sources it takes packets from.
    pub check: SourceCheck,
    /// Numbers of the virtual routers that its stack may stand for (VRRP).
    pub vrrp: Vec<u8>,
    /// Where the file says so.
    pub place: Place,
}

/// What an interface is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceLink {
    /// It is the port of this index: its untagged frames, or a VLAN of it.
    Port(usize, Option<VlanId>),
    /// It is a station in the bridge domain of this index.
    Domain(usize),
}

impl VrfInterfaceSpec {
    /// Index of the port that it is, or is a VLAN of.
    pub const fn port(&self) -> Option<usize> {
        match self.link {
            InterfaceLink::Port(port, _) => Some(port),
            InterfaceLink::Domain(_) => None,
        }
    }

    /// The VLAN of its port that it is.
    pub const fn vlan(&self) -> Option<VlanId> {
        match self.link {
            InterfaceLink::Port(_, vlan) => vlan,
            InterfaceLink::Domain(_) => None,
        }
    }

    /// Index of the bridge domain that it is a station in.
    pub const fn domain(&self) -> Option<usize> {
        match self.link {
            InterfaceLink::Port(..) => None,
            InterfaceLink::Domain(domain) => Some(domain),
        }
    }
}

/// What a port is used for by VRFs so far.
#[derive(Clone, Default)]
struct Use {
    punt: Option<Place>,
    interfaces: Vec<Station>,
    /// An interface is some VLAN of it.
    unknown: bool,
}

/// An interface, as one of those of its port.
#[derive(Clone, Copy)]
struct Station {
    vlan: Option<VlanId>,
    /// An address of its own; none: it has not been given one.
    mac: Option<Mac>,
    /// It has been given one that is none.
    unknown: bool,
    /// Its stack may stand for virtual routers.
    vrrp: bool,
    place: Place,
}

/// Reads the VRFs, which refer to ports, bridge domains and guests.
pub(super) struct VrfReader<'a> {
    ports: &'a [PortSpec],
    domains: &'a [DomainSpec],
    guests: &'a [GuestSpec],
    uses: Vec<Use>,
    /// Interfaces that are stations in bridge domains, with the addresses that they were given.
    stations: Vec<(usize, Mac, Place)>,
}

impl<'a> VrfReader<'a> {
    pub(super) fn new(ports: &'a [PortSpec], domains: &'a [DomainSpec], guests: &'a [GuestSpec]) -> Self {
        Self { ports, domains, guests, uses: vec![Use::default(); ports.len()], stations: Vec::new() }
    }

    /// Whether some VRF uses the port.
    pub(super) fn uses(&self, port: usize) -> bool {
        self.uses.get(port).is_some_and(|u| u.punt.is_some() || !u.interfaces.is_empty() || u.unknown)
    }

    pub(super) fn read(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        mut section: Section<'_, '_>,
        claims: &mut Claims,
    ) -> VrfSpec {
        let name = read_name(mistakes, &mut section, claims, "vrf").unwrap_or_default();
        let guest = section.string(mistakes, "guest").and_then(|found| {
            let names = self.guests.iter().map(|guest| &*guest.name);
            find(mistakes, &section.thing, ("guest", "add a [[guest]] section with this name"), found, names)
        });
        let max_routes = section.integer(mistakes, "max_routes", 1..=16_000_000);
        let rate = section.integer(mistakes, "punt_rate", 1..=10_000_000);
        let burst = section.integer(mistakes, "punt_burst", 1..=1_000_000);
        let mut interfaces: Vec<VrfInterfaceSpec> = Vec::new();
        let mut names = Claims::default();
        let tables = section.sections(mistakes, "interface", "vrf.interface");
        if tables.is_empty() && !section.has("interface") {
            let remedy = "add a [[vrf.interface]] section below it";
            mistakes.add_missing(section.at, &section.thing, "it has no interface", remedy);
        }
        if tables.len() > MAX_INTERFACES {
            let wrong = format!("it has {} interfaces", tables.len());
            mistakes.add(section.at, &section.thing, wrong, format!("give it at most {MAX_INTERFACES}"));
        }
        for (n, (at, table)) in tables.into_iter().take(MAX_INTERFACES).enumerate() {
            let thing = format!("{} interface {n}", section.thing);
            let interface = self.interface(mistakes, Section::new(thing, at, table), &mut names, &interfaces);
            interfaces.extend(interface);
        }
        let mut routes: Vec<Route> = Vec::new();
        for (n, (at, table)) in section.sections(mistakes, "route", "vrf.route").into_iter().enumerate() {
            let thing = format!("{} route {n}", section.thing);
            routes.extend(read_route(mistakes, Section::new(thing, at, table), &interfaces, &mut names));
        }
        let shape = ("a file's path", "give the path of a file with a route a line, like \"r1.routes\"");
        let route_file = section
            .parsed(mistakes, "routes", shape, |text| (!text.is_empty() && !text.contains('\0')).then(|| text.into()));
        let default = PuntRate::DEFAULT;
        let place = mistakes.place(section.at);
        section.finish(mistakes, |key| {
            matches!(key, "domain" | "port").then(|| match key {
                "port" => "an interface says which port it is: [[vrf.interface]] port = NAME".into(),
                _ => "an interface says which domain it is in: [[vrf.interface]] domain = NAME".into(),
            })
        });
        VrfSpec {
            name,
            guest,
            max_routes: max_routes.map_or(DEFAULT_ROUTES, |found| found.value as usize),
            punt: PuntRate {
                rate: rate.map_or(default.rate, |found| found.value as u32),
                burst: burst.map_or(default.burst, |found| found.value as u32),
            },
            interfaces,
            routes,
            route_file: route_file.map(|found| found.value),
            listed: Arc::default(),
            worker: 0,
            place,
        }
    }

    /// Reads an interface. `None` when its port or domain is not known, which has been said.
    fn interface(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        mut section: Section<'_, '_>,
        names: &mut Claims,
        others: &[VrfInterfaceSpec],
    ) -> Option<VrfInterfaceSpec> {
        let name = read_name(mistakes, &mut section, names, "interface").unwrap_or_default();
        let domain = section.string(mistakes, "domain");
        let domain = domain.and_then(|found| find_domain(mistakes, self.domains, &section.thing, found));
        let of_domain = section.has("domain");
        if !of_domain {
            let remedy =
                "give port = NAME of the [[port]] that it is, or is a VLAN of, or domain = NAME of a [[domain]]";
            section.require(mistakes, "port", remedy);
        } else if section.has("port") {
            let remedy = "keep port, and vlan, if it is a port; keep domain if it is a station in a bridge domain";
            mistakes.add(section.at, &section.thing, "port and domain are both given", remedy);
        } else if let Some(vlan) = section.value("vlan") {
            let remedy = "take it out: each port says by which VLAN it carries the domain";
            mistakes.add(vlan.span().start, &section.thing, "vlan is given, but a domain has none", remedy);
        }
        let port = section.string(mistakes, "port").and_then(|found| self.port(mistakes, &section.thing, found));
        let vlan = section.integer(mistakes, "vlan", 1..=4094).and_then(|found| VlanId::new(found.value as u16));
        let known_vlan = vlan.is_some() || !section.has("vlan");
        let mac = section.parsed(
            mistakes,
            "mac",
            (
                "a station's address",
                "give six bytes in hexadecimal, the first of them even, like \"02:00:00:00:00:01\"",
            ),
            |text| Mac::parse(text).filter(|mac| mac.is_station()),
        );
        let unknown_mac = mac.is_none() && section.has("mac");
        let mtu = section.integer(mistakes, "mtu", u64::from(ipv4::MIN_MTU)..=65_535);
        let addresses = read_addresses(mistakes, &mut section, others);
        if let Some(Found { value, at }) = mtu
            && value < u64::from(ipv6::MIN_MTU)
            && addresses.iter().any(|a| a.address.is_ipv6())
        {
            let wrong = format!("mtu = {value} is too small for IPv6");
            mistakes.add(at, &section.thing, wrong, "give at least 1280, or take the IPv6 addresses out");
        }
        let punt = section.string(mistakes, "punt").and_then(|found| self.port(mistakes, &section.thing, found));
        let checks = [("off", SourceCheck::Off), ("loose", SourceCheck::Loose), ("strict", SourceCheck::Strict)];
        let check = section.choice(mistakes, "source_check", &checks).unwrap_or_default();
        let vrrp = read_vrrp(mistakes, &mut section, punt.is_some());
        let (at, thing) = (section.at, section.thing.clone());
        section.finish(mistakes, |key| match key {
            "address" => Some("write addresses = [\"10.0.0.1/24\"]".into()),
            "via" | "to" => Some("routes are sections of their own: [[vrf.route]]".into()),
            _ => None,
        });
        let mac_at = mac.as_ref().map_or(at, |found| found.at);
        let station = Station {
            vlan,
            mac: mac.as_ref().map(|found| found.value),
            unknown: unknown_mac,
            vrrp: !vrrp.is_empty(),
            place: mistakes.place(at),
        };
        match (of_domain, domain, port) {
            (true, Some(domain), _) => self.join(mistakes, (&thing, at), domain, mac_at, station),
            (true, None, _) => (),
            (false, _, Some(port)) if known_vlan => self.take(mistakes, (&thing, at), port, station),
            // Which VLAN it is will be known when that is repaired; that the port is used is known already.
            (false, _, Some(port)) => self.uses[port].unknown = true,
            (false, _, None) => (),
        }
        if let (true, Some(port)) = (of_domain, port) {
            self.uses[port].unknown = true;
        }
        let link = match (of_domain, domain) {
            (true, domain) => InterfaceLink::Domain(domain?),
            (false, _) => InterfaceLink::Port(port?, vlan),
        };
        if let Some(punt) = punt {
            self.take_punt(mistakes, &thing, at, punt);
        }
        let is = |port: usize, wanted: fn(&PortKind) -> bool| self.ports.get(port).is_some_and(|p| wanted(&p.kind));
        let has_mac = port.is_none_or(|port| is(port, |kind| matches!(kind, PortKind::Netdev(_))))
            || punt.is_some_and(|punt| is(punt, |kind| matches!(kind, PortKind::Tap(_))));
        if mac.is_none() && !has_mac && !of_domain {
            let remedy = "give mac = \"02:...\": only a netdev port or a punt tap has one of its own";
            mistakes.add_missing(at, &thing, "it has no address", remedy);
        }
        Some(VrfInterfaceSpec {
            name,
            link,
            mac: mac.map(|found| found.value),
            mtu: mtu.map_or(1500, |found| found.value as u16),
            addresses,
            punt,
            check,
            vrrp,
            place: mistakes.place(at),
        })
    }

    fn port(&self, mistakes: &mut Mistakes<'_>, thing: &str, found: Found<&str>) -> Option<usize> {
        let names = self.ports.iter().map(|port| &*port.name);
        let at = found.at;
        let port = find(mistakes, thing, ("port", "add a [[port]] section with this name"), found, names)?;
        if self.ports[port].guest.is_some() {
            let wrong = format!("port {} is a guest's, whose frames the bridge checks", self.ports[port].name);
            mistakes.add(at, thing, wrong, "make it a [[port]] of its own");
            return None;
        }
        Some(port)
    }

    /// Notes that an interface is `port`, or a VLAN of it.
    fn take(&mut self, mistakes: &mut Mistakes<'_>, (thing, at): (&str, usize), port: usize, station: Station) {
        let (spec, used) = (&self.ports[port], &mut self.uses[port]);
        if let Some(first) = used.punt {
            let wrong = format!("port {} is a punt port already, in line {}", spec.name, first.line);
            mistakes.add(at, thing, wrong, "give the interface a port of its own");
        }
        let bridged = match station.vlan {
            None => spec.membership.native.is_some(),
            Some(vlan) => spec.membership.vlans.iter().any(|&(other, _)| other == vlan),
        };
        let what = station.vlan.map_or_else(|| "untagged frames".to_owned(), |vlan| format!("VLAN {vlan}"));
        if bridged {
            let wrong = format!("{what} of port {} are in a bridge domain", spec.name);
            let remedy =
                "give the interface another VLAN, or make it a station in the domain: domain = NAME and no port";
            mistakes.add(at, thing, wrong, remedy);
        }
        let mut others = used.interfaces.iter().filter(|other| other.vlan == station.vlan && !other.unknown);
        let clash = match station.mac {
            _ if station.unknown => None,
            None => others.next(),
            Some(mac) => others.find(|other| other.mac.is_none_or(|other| other == mac)),
        };
        if let Some(clash) = clash {
            let (port, line) = (&spec.name, clash.place.line);
            let (wrong, remedy) = match (station.mac, clash.mac) {
                (Some(mac), Some(_)) => {
                    (format!("{mac} is that of an interface on {what} of port {port} already, in line {line}"), "mac")
                }
                _ => (format!("{what} of port {port} are an interface already, in line {line}"), "mac, port or VLAN"),
            };
            mistakes.add(at, thing, wrong, format!("give each of the two a {remedy} of its own"));
        }
        // What is for a virtual router is for all interfaces of a link alike: which of their stacks it is for, nothing says.
        let mut sharers = used.interfaces.iter().filter(|other| other.vlan == station.vlan);
        if let Some(other) = sharers.find(|other| other.vrrp || station.vrrp) {
            let wrong = format!(
                "vrrp on {what} of port {}, which the interface in line {} shares",
                spec.name, other.place.line
            );
            mistakes.add(at, thing, wrong, "give the interface with vrrp a VLAN or port of its own");
        }
        used.interfaces.push(station);
    }

    /// Notes that an interface is a station in bridge domain `domain`.
    fn join(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        (thing, at): (&str, usize),
        domain: usize,
        mac_at: usize,
        station: Station,
    ) {
        let name = &self.domains[domain].name;
        if station.vrrp {
            // The bridge knows the stations of VRFs by configuration, and a virtual router's address moves.
            let wrong = format!("vrrp at an interface in domain {name}");
            mistakes.add(at, thing, wrong, "give the interface a port of its own, or a VLAN of one: port = NAME");
        }
        let Some(mac) = station.mac else { return };
        let of_guest = self.ports.iter().find(|port| port.macs.contains(&mac) && port.membership.contains(domain));
        let of_other = self.stations.iter().find(|(other, taken, _)| (*other, *taken) == (domain, mac));
        let taken = of_guest.map(|port| (format!("port {}", port.name), port.place));
        if let Some((whose, place)) = taken.or_else(|| of_other.map(|&(.., place)| ("an interface".into(), place))) {
            let wrong = format!("{mac} is that of {whose} in domain {name} already, in line {}", place.line);
            mistakes.add(mac_at, thing, wrong, "give each station of a domain an address of its own");
        }
        self.stations.push((domain, mac, station.place));
    }

    /// Notes that the stack of an interface is behind `port`.
    fn take_punt(&mut self, mistakes: &mut Mistakes<'_>, thing: &str, at: usize, port: usize) {
        let place = mistakes.place(at);
        let (spec, used) = (&self.ports[port], &mut self.uses[port]);
        let remedy = "give each interface a punt port of its own";
        if spec.membership.native.is_some() || !spec.membership.vlans.is_empty() {
            mistakes.add(at, thing, format!("punt port {} is in a bridge domain", spec.name), remedy);
        }
        let taken = used.punt.or(used.interfaces.first().map(|first| first.place));
        if let Some(first) = taken {
            let wrong = format!("punt port {} is used already, in line {}", spec.name, first.line);
            mistakes.add(at, thing, wrong, remedy);
        }
        used.punt = Some(place);
    }
}

/// The place of a name among `names`; complains when it is not there.
pub(super) fn find<'n>(
    mistakes: &mut Mistakes<'_>,
    thing: &str,
    (what, remedy): (&str, &str),
    Found { value, at }: Found<&str>,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Option<usize> {
    let found = names.clone().position(|name| !value.is_empty() && name == value);
    if found.is_none() {
        let remedy = match nearest(value, names.filter(|name| !name.is_empty())) {
            Some(near) => format!("did you mean {near:?}?"),
            None => remedy.into(),
        };
        mistakes.add_missing(at, thing, format!("there is no {what} {}", quoted(value)), remedy);
    }
    found
}

/// The strings of a value that is one or an array of them, each with its place.
pub(super) fn strings<'a>(
    mistakes: &mut Mistakes<'_>,
    section: &mut Section<'a, '_>,
    key: &'static str,
    example: &str,
) -> Vec<Found<&'a str>> {
    let Some(value) = section.value(key) else { return Vec::new() };
    let values: Vec<_> = match value.get_ref() {
        DeValue::Array(array) => array.iter().collect(),
        _ => vec![value],
    };
    if values.is_empty() {
        mistakes.add(value.span().start, &section.thing, format!("{key} is empty"), format!("write {key} = {example}"));
    }
    let mut found = Vec::new();
    for value in values {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => found.push(Found { value: &**text, at }),
            other => {
                mistakes.add(
                    at,
                    &section.thing,
                    wrong_type(key, other, "a string"),
                    format!("write {key} = {example}"),
                );
            }
        }
    }
    found
}

/// Reads `vrrp`, the numbers of virtual routers; `punt`: whether there is a stack that could stand for one.
fn read_vrrp(mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>, punt: bool) -> Vec<u8> {
    let Some(value) = section.value("vrrp") else { return Vec::new() };
    let remedy = "write the numbers of virtual routers, 1 to 255, like vrrp = [5]";
    if !punt && !section.has("punt") {
        let wrong = "vrrp is given, but the engine does not speak it";
        mistakes.add(value.span().start, &section.thing, wrong, "give punt = PORT, behind which a stack does");
    }
    let DeValue::Array(array) = value.get_ref() else {
        mistakes.add(value.span().start, &section.thing, wrong_type("vrrp", value.get_ref(), "an array"), remedy);
        return Vec::new();
    };
    let mut ids = Vec::new();
    for value in array.iter() {
        let id = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<u8>().ok().filter(|&id| id > 0 && number.radix() == 10),
            _ => None,
        };
        match id {
            Some(id) if ids.contains(&id) => {
                mistakes.add(
                    value.span().start,
                    &section.thing,
                    format!("vrrp names {id} twice"),
                    "keep one of the two",
                );
            }
            Some(id) => ids.push(id),
            None => mistakes.add(value.span().start, &section.thing, "vrrp names what is no virtual router", remedy),
        }
    }
    ids
}

fn read_addresses(
    mistakes: &mut Mistakes<'_>,
    section: &mut Section<'_, '_>,
    others: &[VrfInterfaceSpec],
) -> Vec<InterfaceAddress> {
    let mut addresses: Vec<InterfaceAddress> = Vec::new();
    for Found { value: text, at } in strings(mistakes, section, "addresses", "[\"10.0.0.1/24\"]") {
        let Some(address) = read_pair(text).map(|(address, length)| InterfaceAddress { address, length }) else {
            let wrong = format!("{} is not an address with the length of its network", quoted(text));
            mistakes.add(at, &section.thing, wrong, "write it like \"10.0.0.1/24\" or \"2001:db8::1/64\"");
            continue;
        };
        let objection = match address.address {
            IpAddr::V4(v4) => objection_v4(v4, address.length),
            IpAddr::V6(v6) => objection_v6(v6, address.length),
        };
        if let Some(why) = objection {
            let wrong = format!("{text} cannot be an interface's address");
            mistakes.add(at, &section.thing, wrong, why);
            continue;
        }
        let network = |a: &InterfaceAddress| Prefix::of(a.address, a.length);
        let before = others.iter().flat_map(|other| other.addresses.iter().map(move |a| (&*other.name, a)));
        let clash = before.clone().find(|(_, a)| network(a) == network(&address));
        // An interface may have several addresses in one network, but no address twice.
        let own = addresses.iter().map(|a| ("the interface itself", a));
        let clash = clash.or_else(|| before.chain(own).find(|(_, a)| a.address == address.address));
        if let Some((other, clash)) = clash {
            let (other, clash) = (other.to_owned(), *clash);
            let what = if clash.address == address.address { "address" } else { "network" };
            let wrong = format!("{text} is of the same {what} as {}/{} of {other}", clash.address, clash.length);
            mistakes.add(at, &section.thing, wrong, "give each interface networks of its own");
            continue;
        }
        addresses.push(address);
    }
    addresses
}
