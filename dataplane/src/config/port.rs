//! `[[port]]` and `[[guest.port]]`: what all kinds of ports have in common.

use std::collections::HashMap;

use toml::de::DeValue;

use super::kind::read_kind;
use super::mistakes::{Claims, Mistakes, quoted};
use super::read::{claim_name, read_rate};
use super::section::{Found, Section, wrong_type};
use super::vrf::find;
use super::{DomainSpec, Membership, Place, PortSpec};
use crate::netdev::MAX_STATIONS;
use crate::units::{Mac, PortId};
use crate::wire::ethernet::VlanId;

/// What a port's section may refer to, and what earlier ports have taken.
pub(super) struct PortReader<'d> {
    pub(super) claims: Claims,
    domains: &'d [DomainSpec],
    workers: usize,
    ports: usize,
    /// Who has a MAC: per address, the domains that it is in, and where the file says so.
    macs: HashMap<Mac, Vec<(Vec<usize>, Place)>>,
    stations: usize,
    /// Ports in no bridge domain: where they begin, and what messages call them. A VRF may use them.
    pub(super) homeless: Vec<(usize, String)>,
}

impl<'d> PortReader<'d> {
    pub(super) fn new(domains: &'d [DomainSpec], workers: usize, claims: Claims) -> Self {
        Self { claims, domains, workers, ports: 0, macs: HashMap::new(), stations: 0, homeless: Vec::new() }
    }

    /// Reads one port; a guest's comes with the guest's index and the name that the port has if it gives none.
    /// `None` when its kind is not known, which has been said.
    pub(super) fn read(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        mut section: Section<'_, '_>,
        guest: Option<(usize, String)>,
    ) -> Option<PortSpec> {
        self.ports += 1;
        if self.ports == usize::from(u16::MAX) + 1 {
            let wrong = format!("there are more than {} ports", u16::MAX);
            mistakes.add(section.at, &section.thing, wrong, "spread them over several engines");
        }
        let (guest, default_name) = guest.unzip();
        if guest.is_none() {
            section.require(mistakes, "name", "give the port a name = \"...\" of its own");
        }
        let name = claim_name(mistakes, &mut section, &mut self.claims, "port");
        if let (None, Some(default)) = (&name, &default_name) {
            let remedy = "give each port a name of its own";
            self.claims.claim(mistakes, ("port", default), section.at, &section.thing, remedy);
        }
        let membership = self.membership(mistakes, &mut section, guest.is_some());
        let macs = self.macs(mistakes, &mut section, guest.is_some(), &membership);
        let line_rate = read_rate(mistakes, &mut section, "line_rate");
        let worker = self.worker(mistakes, &mut section);
        let place = mistakes.place(section.at);
        let kind = read_kind(mistakes, &mut section, &mut self.claims);
        if kind.is_none() {
            section.allow(super::kind::all_keys());
        }
        section.finish(mistakes, super::kind::where_known);
        Some(PortSpec {
            name: name.or(default_name).unwrap_or_default(),
            guest,
            kind: kind?,
            membership,
            macs,
            line_rate,
            worker,
            place,
        })
    }

    fn worker(&self, mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>) -> Option<usize> {
        let Found { value, at } = section.integer(mistakes, "worker", 0..=1023)?;
        let worker = value as usize;
        if worker < self.workers {
            return Some(worker);
        }
        let wrong = format!("there is no worker {worker}: {} configured, counted from 0", self.workers);
        mistakes.add_missing(at, &section.thing, wrong, "add [[worker]] sections, or leave worker out");
        None
    }

    fn membership(&mut self, mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>, of_guest: bool) -> Membership {
        let native = section.string(mistakes, "domain");
        let vlans = section.value("vlans");
        if !section.has("domain") && !section.has("vlans") {
            match of_guest {
                true => add_homeless(mistakes, section.at, &section.thing),
                false => self.homeless.push((section.at, section.thing.clone())),
            }
        }
        let mut membership = Membership::default();
        // Where each domain was given: a domain reached in two ways would have two tags to send with.
        let mut given: Vec<(usize, String)> = Vec::new();
        if let Some(name) = native {
            membership.native = self.domain(mistakes, &section.thing, name);
            given.extend(membership.native.map(|domain| (domain, "untagged".into())));
        }
        let Some(vlans) = vlans else { return membership };
        let DeValue::Table(table) = vlans.get_ref() else {
            let wrong = wrong_type("vlans", vlans.get_ref(), "a table of VLAN and domain");
            mistakes.add(vlans.span().start, &section.thing, wrong, "write vlans = { 10 = \"left\", 20 = \"right\" }");
            return membership;
        };
        if table.is_empty() {
            mistakes.add(vlans.span().start, &section.thing, "vlans is empty", "give VLANs, or leave vlans out");
        }
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let (text, at) = (key.get_ref(), key.span().start);
            let vlan = text.parse().ok().and_then(VlanId::new);
            if vlan.is_none() {
                mistakes.add(
                    at,
                    &section.thing,
                    format!("{} is no VLAN", quoted(text)),
                    "give a number from 1 to 4094",
                );
            } else if membership.vlans.iter().any(|(v, _)| Some(*v) == vlan) {
                mistakes.add(at, &section.thing, format!("VLAN {text} is given twice"), "keep one of the two");
                continue;
            }
            let DeValue::String(name) = value.get_ref() else {
                let wrong = wrong_type(&format!("VLAN {}", quoted(text)), value.get_ref(), "the name of a domain");
                mistakes.add(value.span().start, &section.thing, wrong, "write vlans = { 10 = \"left\" }");
                continue;
            };
            let found = Found { value: &**name, at: value.span().start };
            let domain = self.domain(mistakes, &section.thing, found);
            let (Some(vlan), Some(domain)) = (vlan, domain) else { continue };
            if let Some((_, other)) = given.iter().find(|(d, _)| *d == domain) {
                let wrong = format!("domain {name} is given as {other} and as VLAN {vlan}");
                mistakes.add(at, &section.thing, wrong, "a port carries a domain in one way: take one out");
            }
            given.push((domain, format!("VLAN {vlan}")));
            membership.vlans.push((vlan, domain));
        }
        membership.vlans.sort_unstable();
        membership
    }

    fn domain(&self, mistakes: &mut Mistakes<'_>, thing: &str, found: Found<&str>) -> Option<usize> {
        find_domain(mistakes, self.domains, thing, found)
    }

    fn macs(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        section: &mut Section<'_, '_>,
        of_guest: bool,
        membership: &Membership,
    ) -> Vec<Mac> {
        let (one, several) = (section.value("mac"), section.value("macs"));
        let Some(given) = one.or(several) else {
            if of_guest {
                let remedy = "give mac = \"02:...\": the address that the guest sends from and is reached at";
                mistakes.add_missing(section.at, &section.thing, "it has no address", remedy);
            }
            return Vec::new();
        };
        let at = given.span().start;
        if !of_guest {
            let wrong = "an address is given, but only guests' ports have fixed ones";
            mistakes.add(at, &section.thing, wrong, "take it out, or make it a [[guest.port]]");
        }
        if let (Some(_), Some(several)) = (one, several) {
            let wrong = "mac and macs are both given";
            mistakes.add(several.span().start, &section.thing, wrong, "put all addresses into macs");
        }
        let values: Vec<_> = match given.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![given],
        };
        if values.is_empty() {
            mistakes.add(at, &section.thing, "macs is empty", "give at least one address");
        }
        let mut macs = Vec::new();
        for value in values {
            let at = value.span().start;
            let remedy = "give six bytes in hexadecimal, like \"02:00:00:00:00:01\"";
            let DeValue::String(text) = value.get_ref() else {
                mistakes.add(at, &section.thing, wrong_type("an address", value.get_ref(), "a string"), remedy);
                continue;
            };
            let Some(mac) = Mac::parse(text) else {
                let wrong = format!("{} is not a MAC address", quoted(text));
                mistakes.add(at, &section.thing, wrong, remedy);
                continue;
            };
            if !mac.is_station() {
                let wrong = if mac.is_group() { "is a group address" } else { "is no station's address" };
                let remedy = "give an individual one: its first byte is even, like 02";
                mistakes.add(at, &section.thing, format!("{mac} {wrong}"), remedy);
                continue;
            }
            self.claim_mac(mistakes, &section.thing, mac, at, membership);
            macs.push(mac);
        }
        macs
    }

    /// An address may be in several domains, but in each of them once.
    fn claim_mac(&mut self, mistakes: &mut Mistakes<'_>, thing: &str, mac: Mac, at: usize, membership: &Membership) {
        let place = mistakes.place(at);
        let domains: Vec<usize> =
            membership.native.into_iter().chain(membership.vlans.iter().map(|&(_, domain)| domain)).collect();
        let taken = self.macs.entry(mac).or_default();
        if let Some((_, first)) = taken.iter().find(|(theirs, _)| domains.iter().any(|d| theirs.contains(d))) {
            let wrong = format!("{mac} is taken already in the same domain, in line {}", first.line);
            mistakes.add(at, thing, wrong, "give each guest's port an address of its own");
        }
        taken.push((domains, place));
        self.stations += 1;
        if self.stations == MAX_STATIONS + 1 {
            let wrong = format!("there are more than {MAX_STATIONS} addresses");
            mistakes.add(at, thing, wrong, "spread the guests over several engines");
        }
    }
}

/// The domain of that name; complains when there is none.
pub(super) fn find_domain(
    mistakes: &mut Mistakes<'_>,
    domains: &[DomainSpec],
    thing: &str,
    found: Found<&str>,
) -> Option<usize> {
    let names = domains.iter().map(|domain| &*domain.name);
    find(mistakes, thing, ("domain", "add a [[domain]] section with this name"), found, names)
}

/// Says of a port that it is in no bridge domain.
pub(super) fn add_homeless(mistakes: &mut Mistakes<'_>, at: usize, thing: &str) {
    let remedy = "give it domain = NAME (untagged), or vlans = { 10 = NAME }";
    mistakes.add_missing(at, thing, "it is in no domain", remedy);
}

const _: () = assert!(size_of::<PortId>() == size_of::<u16>(), "the bound on ports is that of their numbers");
