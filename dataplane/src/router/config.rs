//! What a router is built from, and what can be wrong with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::interface::Interface;
use super::routes::Routes;
use crate::prefix::Prefix;
use crate::rib::InterfaceId;
use crate::units::{Mac, PortId};
use crate::wire::{ipv4, ipv6};

/// An address of an interface, with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of it that all neighbours share.
    pub length: u8,
}

/// One interface of a router. Its place in [`RouterConfig::interfaces`] is its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Its Ethernet address. An IPv6 link-local address is derived from it.
    pub mac: Mac,
    /// The longest packet it carries, in bytes, without Ethernet header. IPv6 needs 1280.
    pub mtu: u16,
    /// Its addresses, IPv4 and IPv6.
    pub addresses: Vec<InterfaceAddress>,
}

/// A static route: through a gateway, or straight to neighbours on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// Where to.
    pub prefix: Prefix,
    /// Through which neighbour; none: the destinations are neighbours themselves.
    pub gateway: Option<IpAddr>,
    /// On which interface; none: on the one whose network the gateway is in.
    pub interface: Option<usize>,
}

/// A router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// Interfaces, in the order of their ports.
    pub interfaces: Vec<InterfaceConfig>,
    /// Routes beyond the interfaces' own networks.
    pub routes: Vec<RouteConfig>,
}

/// Why a router cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// Nothing to route between.
    #[error("the router has no interface; give it at least one")]
    NoInterface,
    /// More than port numbers reach.
    #[error("the router has {0} interfaces; it can have at most 1024")]
    TooManyInterfaces(usize),
    /// Not the address of a station.
    #[error(
        "interface {interface}: {mac} is not a station's address; give one that is not zero and whose first byte is even"
    )]
    Mac {
        /// Which.
        interface: usize,
        /// Its address.
        mac: Mac,
    },
    /// Shorter than IPv4 allows, or than IPv6 on this interface.
    #[error("interface {interface}: an MTU of {mtu} is too small; {needs}")]
    Mtu {
        /// Which.
        interface: usize,
        /// What was asked for.
        mtu: u16,
        /// What would do.
        needs: &'static str,
    },
    /// Not an address that an interface may have.
    #[error("interface {interface}: {address}/{length} cannot be an interface's address: {why}")]
    Address {
        /// Which.
        interface: usize,
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        length: u8,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// Two interfaces with one address or network.
    #[error("interfaces {first} and {second} share {what}; give each interface a network of its own")]
    Shared {
        /// One.
        first: usize,
        /// The other.
        second: usize,
        /// What they share.
        what: String,
    },
    /// A route that leads nowhere.
    #[error("route {prefix}: {why}")]
    Route {
        /// Which.
        prefix: Prefix,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Checks the whole of `config` and builds the tables it describes.
pub(super) fn build(config: &RouterConfig) -> Result<(Vec<Interface>, Routes), RouterError> {
    if config.interfaces.is_empty() {
        return Err(RouterError::NoInterface);
    }
    if config.interfaces.len() > 1024 {
        return Err(RouterError::TooManyInterfaces(config.interfaces.len()));
    }
    for (index, interface) in config.interfaces.iter().enumerate() {
        check_interface(index, interface)?;
    }
    check_shared(config)?;
    let mut routes = Routes::default();
    for (index, interface) in config.interfaces.iter().enumerate() {
        for address in &interface.addresses {
            routes.add_interface(InterfaceId(index as u16), address.address, address.length);
        }
    }
    // Gateways are looked for among the interfaces' networks alone, not behind other gateways.
    let resolved: Vec<_> = config.routes.iter().map(|route| gateway(config, route)).collect::<Result<_, _>>()?;
    for (index, (route, interface)) in config.routes.iter().zip(resolved).enumerate() {
        if config.routes[..index].iter().any(|other| other.prefix == route.prefix) {
            return Err(no_route(route, "is there twice; take one away"));
        }
        routes.add(route.prefix, InterfaceId(interface as u16), route.gateway);
    }
    routes.finish();
    let interfaces = (0..).zip(&config.interfaces).map(|(n, interface)| Interface::new(interface, PortId(n)));
    Ok((interfaces.collect(), routes))
}

fn check_interface(index: usize, interface: &InterfaceConfig) -> Result<(), RouterError> {
    let mtu = interface.mtu;
    if !interface.mac.is_station() {
        return Err(RouterError::Mac { interface: index, mac: interface.mac });
    }
    if mtu < ipv4::MIN_MTU {
        return Err(RouterError::Mtu { interface: index, mtu, needs: "IPv4 needs at least 68" });
    }
    if mtu < ipv6::MIN_MTU && interface.addresses.iter().any(|a| a.address.is_ipv6()) {
        return Err(RouterError::Mtu {
            interface: index,
            mtu,
            needs: "IPv6 needs at least 1280: take the IPv6 addresses away, or raise it",
        });
    }
    for &InterfaceAddress { address, length } in &interface.addresses {
        let why = match address {
            IpAddr::V4(v4) => objection_v4(v4, length),
            IpAddr::V6(v6) => objection_v6(v6, length),
        };
        if let Some(why) = why {
            return Err(RouterError::Address { interface: index, address, length, why });
        }
    }
    Ok(())
}

/// Why an interface cannot have this address; what to do.
pub(crate) fn objection_v4(address: Ipv4Addr, length: u8) -> Option<&'static str> {
    let bits = address.to_bits();
    if !(1..=32).contains(&length) {
        return Some("the prefix length must be from 1 to 32");
    }
    if ipv4::is_martian_source(bits) {
        return Some("it is in a network with a special meaning (0/8, 127/8, 224/4, 240/4); choose another");
    }
    let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
    if length < 31 && (bits & host == 0 || bits & host == host) {
        return Some("it is the network's own or its broadcast address; choose one between them");
    }
    None
}

/// Why an interface cannot have this address; what to do.
pub(crate) fn objection_v6(address: Ipv6Addr, length: u8) -> Option<&'static str> {
    if !(1..=128).contains(&length) {
        return Some("the prefix length must be from 1 to 128");
    }
    if ipv6::is_martian_source(address) {
        return Some("it has a special meaning (unspecified, loopback, multicast, IPv4-mapped); choose another");
    }
    if address.is_unicast_link_local() {
        return Some("the link-local address is derived from the Ethernet address; leave it out");
    }
    let host = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
    if length < 127 && address.to_bits() & host == 0 {
        return Some("it is the network's subnet-router anycast address; choose another");
    }
    None
}

fn check_shared(config: &RouterConfig) -> Result<(), RouterError> {
    let addresses = || config.interfaces.iter().enumerate().flat_map(|(i, c)| c.addresses.iter().map(move |a| (i, a)));
    for (first, a) in addresses() {
        for (second, b) in addresses().filter(|&(second, _)| second > first) {
            if a.address == b.address {
                return Err(RouterError::Shared { first, second, what: a.address.to_string() });
            }
            let (Some(x), Some(y)) = (Prefix::of(a.address, a.length), Prefix::of(b.address, b.length)) else {
                continue;
            };
            if x == y {
                return Err(RouterError::Shared { first, second, what: x.to_string() });
            }
        }
    }
    Ok(())
}

fn no_route(route: &RouteConfig, why: impl Into<String>) -> RouterError {
    RouterError::Route { prefix: route.prefix, why: why.into() }
}

/// The interface through which `route` leads.
fn gateway(config: &RouterConfig, route: &RouteConfig) -> Result<usize, RouterError> {
    let interfaces = &config.interfaces;
    if let Some(index) = route.interface
        && index >= interfaces.len()
    {
        let last = interfaces.len() - 1;
        return Err(no_route(route, format!("there is no interface {index}; the last one is {last}")));
    }
    let Some(gateway) = route.gateway else {
        return route.interface.ok_or_else(|| no_route(route, "leads nowhere; give it a gateway or an interface"));
    };
    if gateway.is_ipv4() != route.prefix.is_ipv4() {
        return Err(no_route(route, format!("gateway {gateway} is of the other family; give one of the route's own")));
    }
    if interfaces.iter().any(|i| i.addresses.iter().any(|a| a.address == gateway)) {
        return Err(no_route(route, format!("gateway {gateway} is the router itself; give a neighbour")));
    }
    if matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return route
            .interface
            .ok_or_else(|| no_route(route, format!("gateway {gateway} is on every link; say on which interface")));
    }
    let on = |index: &usize| {
        let networks = interfaces[*index].addresses.iter().filter_map(|a| Prefix::of(a.address, a.length));
        networks.into_iter().any(|network| network.contains(gateway))
    };
    let found = match route.interface {
        Some(index) => Some(index).filter(on),
        None => (0..interfaces.len()).find(on),
    };
    found.ok_or_else(|| {
        let place = match route.interface {
            Some(index) => format!("not on interface {index}'s network"),
            None => "on no interface's network".into(),
        };
        no_route(route, format!("gateway {gateway} is {place}; give an interface an address next to it"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(n: u8, addresses: &[&str]) -> InterfaceConfig {
        let address = |text: &&str| {
            let (address, length) = text.split_once('/').unwrap();
            InterfaceAddress { address: address.parse().unwrap(), length: length.parse().unwrap() }
        };
        let addresses = addresses.iter().map(address).collect();
        InterfaceConfig { mac: Mac([2, 0, 0, 0, 0, n]), mtu: 1500, addresses }
    }

    fn good() -> RouterConfig {
        let interfaces =
            vec![interface(1, &["10.0.0.1/24", "2001:db8::1/64"]), interface(2, &["10.0.1.1/31", "2001:db8:1::1/127"])];
        RouterConfig { interfaces, routes: vec![] }
    }

    fn wrong(change: impl FnOnce(&mut RouterConfig)) -> String {
        let mut config = good();
        change(&mut config);
        build(&config).err().expect("an error").to_string()
    }

    #[test]
    fn what_can_be_is_built() {
        let mut config = good();
        for route in
            ["0.0.0.0/0,via=10.0.1.0", "::/0,via=fe80::1,dev=1", "10.9.0.0/16,dev=0", "10.8.0.0/16,via=10.0.0.2,dev=0"]
        {
            config.routes.push(route.parse().unwrap());
        }
        let (interfaces, routes) = build(&config).unwrap();
        assert_eq!(interfaces.len(), 2);
        assert!(routes.v4([192, 0, 2, 1].into()).is_some());
        config.interfaces = vec![interface(1, &[])];
        config.routes.clear();
        assert!(build(&config).is_ok(), "an interface without addresses");
    }

    #[test]
    fn wrong_interfaces_are_named_with_what_to_do() {
        assert_eq!(wrong(|c| c.interfaces.clear()), "the router has no interface; give it at least one");
        assert_eq!(
            wrong(|c| c.interfaces[1].mtu = 60),
            "interface 1: an MTU of 60 is too small; IPv4 needs at least 68"
        );
        assert_eq!(
            wrong(|c| c.interfaces[0].mtu = 1279),
            "interface 0: an MTU of 1279 is too small; IPv6 needs at least 1280: take the IPv6 addresses away, or raise it"
        );
        assert!(
            wrong(|c| c.interfaces[0].mac = Mac::BROADCAST).contains("ff:ff:ff:ff:ff:ff is not a station's address")
        );
        for address in [
            "10.0.0.0/24",
            "10.0.0.255/24",
            "10.0.0.1/0",
            "10.0.0.1/33",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "0.0.0.0/0",
            "255.255.255.255/32",
            "2001:db8::/64",
            "2001:db8::1/129",
            "2001:db8::1/0",
            "::1/128",
            "fe80::1/64",
            "ff02::1/64",
        ] {
            let message = wrong(|c| c.interfaces[1] = interface(2, &[address]));
            assert!(
                message.starts_with(&format!("interface 1: {address} cannot be an interface's address: ")),
                "{message}"
            );
        }
        assert_eq!(
            wrong(|c| c.interfaces[1] = interface(2, &["10.0.0.7/24"])),
            "interfaces 0 and 1 share 10.0.0.0/24; give each interface a network of its own"
        );
        assert_eq!(
            wrong(|c| c.interfaces[1] = interface(2, &["2001:db8::1/48"])),
            "interfaces 0 and 1 share 2001:db8::1; give each interface a network of its own"
        );
    }

    #[test]
    fn routes_that_lead_nowhere_are_named_with_what_to_do() {
        for (routes, message) in [
            (&["10.9.0.0/16,dev=2"][..], "route 10.9.0.0/16: there is no interface 2; the last one is 1"),
            (
                &["10.9.0.0/16,via=192.0.2.1"],
                "route 10.9.0.0/16: gateway 192.0.2.1 is on no interface's network; give an interface an address next to it",
            ),
            (
                &["10.9.0.0/16,via=10.0.0.2,dev=1"],
                "route 10.9.0.0/16: gateway 10.0.0.2 is not on interface 1's network; give an interface an address next to it",
            ),
            (
                &["10.9.0.0/16,via=2001:db8::2"],
                "route 10.9.0.0/16: gateway 2001:db8::2 is of the other family; give one of the route's own",
            ),
            (
                &["10.9.0.0/16,via=10.0.1.1"],
                "route 10.9.0.0/16: gateway 10.0.1.1 is the router itself; give a neighbour",
            ),
            (&["::/0,via=fe80::1"], "route ::/0: gateway fe80::1 is on every link; say on which interface"),
            (&["10.9.0.0/16,dev=0", "10.9.0.0/16,dev=1"], "route 10.9.0.0/16: is there twice; take one away"),
        ] {
            let routes = routes.iter().map(|route| route.parse().unwrap()).collect();
            assert_eq!(wrong(|c| c.routes = routes), message);
        }
    }
}
