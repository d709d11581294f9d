//! `[[vrf.route]]`: a static route, and what can be wrong with one, in a section or in a file of routes.

use std::net::IpAddr;

use super::VrfInterfaceSpec;
use super::mistakes::{Claims, Mistakes, quoted};
use super::section::{Found, Section};
use super::vrf::{find, strings};
use crate::prefix::{Prefix, read_pair};
use crate::rib::{Action, Hop, InterfaceId, Route};
use crate::wire::{ipv4, ipv6};

/// Reads a route. `None` when it leads nowhere, which has been said.
pub(super) fn read_route(
    mistakes: &mut Mistakes<'_>,
    mut section: Section<'_, '_>,
    interfaces: &[VrfInterfaceSpec],
    names: &mut Claims,
) -> Option<Route> {
    section.require(mistakes, "to", "give to = \"10.0.0.0/8\", or \"0.0.0.0/0\" for all that no other route has");
    let shape = ("a network", "write it like \"10.0.0.0/8\" or \"2001:db8::/32\"");
    let to = section.parsed(mistakes, "to", shape, read_pair);
    let prefix = to.and_then(|Found { value: (network, length), at }| {
        section.thing = format!("{} to {network}/{length}", section.thing);
        let prefix = Prefix::new(network, length);
        if prefix.is_none() {
            let (wrong, remedy) = objection_prefix(network, length);
            mistakes.add(at, &section.thing, wrong, remedy);
        }
        let prefix = prefix?;
        names.claim(
            mistakes,
            ("route", &prefix.to_string()),
            at,
            &section.thing,
            "keep one of the two, or give one several ways",
        );
        Some(prefix)
    });
    let actions =
        [("blackhole", Action::Blackhole), ("unreachable", Action::Unreachable), ("prohibit", Action::Prohibit)];
    let indices: Vec<_> = actions.iter().enumerate().map(|(n, (word, _))| (*word, n)).collect();
    let action = section.choice(mistakes, "action", &indices).and_then(|n| actions.into_iter().nth(n));
    let interface = section.string(mistakes, "interface").map(|found| {
        let known = interfaces.iter().map(|interface| &*interface.name);
        let remedy = ("interface", "name one of the VRF's own [[vrf.interface]] sections");
        find(mistakes, &section.thing, remedy, found, known).map(|n| InterfaceId(n as u16))
    });
    let mut hops = Vec::new();
    let mut wrong_hops = false;
    for Found { value: text, at } in strings(mistakes, &mut section, "via", "\"10.0.0.254\"") {
        let hop = text.parse::<IpAddr>().ok();
        let objection = hop.map(|gateway| objection_hop(gateway, prefix, interface.is_some(), interfaces));
        match (hop, objection) {
            (Some(gateway), Some(None)) => {
                hops.push(Hop { gateway: Some(gateway), interface: interface.flatten(), weight: 1 });
            }
            (Some(gateway), Some(Some((wrong, remedy)))) => {
                mistakes.add(at, &section.thing, format!("via {gateway} {wrong}"), remedy);
                wrong_hops = true;
            }
            _ => {
                let wrong = format!("via = {} is not an address", quoted(text));
                mistakes.add(at, &section.thing, wrong, "give that of a neighbour, like \"10.0.0.254\"");
                wrong_hops = true;
            }
        }
    }
    let (at, thing, has_via) = (section.at, section.thing.clone(), section.has("via"));
    section.finish(mistakes, |key| (key == "dev" || key == "port").then(|| "write interface = NAME".into()));
    if let (Some((word, _)), true) = (&action, has_via || interface.is_some()) {
        let wrong = format!("it has action = {word:?} and a way to go");
        mistakes.add(at, &thing, wrong, "keep one of the two");
    }
    let action = match (action, interface) {
        (Some((_, action)), _) => action,
        (None, _) if !hops.is_empty() => Action::Via(hops),
        (None, Some(Some(interface))) if !has_via => {
            Action::Via(vec![Hop { gateway: None, interface: Some(interface), weight: 1 }])
        }
        (None, interface) => {
            if !wrong_hops && !has_via && interface.is_none() {
                let remedy = "give via = ADDRESS, interface = NAME, or action = \"blackhole\"";
                mistakes.add_missing(at, &thing, "it leads nowhere", remedy);
            }
            return None;
        }
    };
    Some(Route { prefix: prefix?, metric: 0, action })
}

/// What is wrong with something that is no network, and what to do.
pub(super) fn objection_prefix(network: IpAddr, length: u8) -> (String, String) {
    let remedy = match Prefix::of(network, length) {
        Some(right) => format!("write {right}"),
        None => format!("give a length of at most {}", if network.is_ipv4() { 32 } else { 128 }),
    };
    (format!("{network}/{length} is not a network"), remedy)
}

/// What is wrong with a gateway, and what to do.
pub(super) fn objection_hop(
    gateway: IpAddr,
    prefix: Option<Prefix>,
    has_interface: bool,
    interfaces: &[VrfInterfaceSpec],
) -> Option<(String, String)> {
    let unusable = match gateway {
        IpAddr::V4(v4) => ipv4::is_martian_source(v4.to_bits()),
        IpAddr::V6(v6) => ipv6::is_martian_source(v6),
    };
    if unusable {
        return Some(("is no neighbour's address".into(), "give that of a neighbour".into()));
    }
    if prefix.is_some_and(|prefix| prefix.is_ipv4() && !gateway.is_ipv4() && !has_interface)
        || prefix.is_some_and(|prefix| !prefix.is_ipv4() && gateway.is_ipv4())
    {
        return Some(("is of the other family".into(), "give one of the route's own".into()));
    }
    let addresses = || interfaces.iter().flat_map(|interface| &interface.addresses);
    if addresses().any(|own| own.address == gateway) {
        return Some(("is the router itself".into(), "give a neighbour".into()));
    }
    if matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local()) && !has_interface {
        return Some(("is on every link".into(), "say on which: interface = NAME".into()));
    }
    None
}
