//! The router's table of routes: which interface and which neighbour lead to a destination.
//!
//! A handful of routes, longest prefix first, looked through in order: what the cache does not know is
//! found here. Built whole, then only read; a larger table can take its place behind the same two look-ups.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Target;
use crate::prefix::{Prefix, mask_v4, mask_v6};
use crate::rib::InterfaceId;

#[derive(Clone, Copy, Debug)]
struct Route<B> {
    network: B,
    length: u8,
    target: Target,
}

/// The routes of both families.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    v4: Vec<Route<u32>>,
    v6: Vec<Route<u128>>,
}

impl Routes {
    /// Where packets for an IPv4 destination go: by the longest prefix that it is in.
    #[inline]
    pub fn v4(&self, destination: Ipv4Addr) -> Option<Target> {
        let bits = destination.to_bits();
        self.v4.iter().find(|r| bits & mask_v4(r.length) == r.network).map(|r| r.target)
    }

    /// Where packets for an IPv6 destination go: by the longest prefix that it is in.
    #[inline]
    pub fn v6(&self, destination: Ipv6Addr) -> Option<Target> {
        let bits = destination.to_bits();
        self.v6.iter().find(|r| bits & mask_v6(r.length) == r.network).map(|r| r.target)
    }

    /// Adds what an interface's address means: the address itself, its network, the addresses of the whole network.
    pub(super) fn add_interface(&mut self, interface: InterfaceId, address: IpAddr, length: u8) {
        match address {
            IpAddr::V4(address) => {
                let bits = address.to_bits();
                let mask = mask_v4(length);
                self.v4.push(Route { network: bits, length: 32, target: Target::Local });
                if length < 31 {
                    for network in [bits & mask, bits | !mask] {
                        self.v4.push(Route { network, length: 32, target: Target::Broadcast });
                    }
                }
                self.v4.push(Route { network: bits & mask, length, target: Target::Link(interface) });
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let network = bits & mask_v6(length);
                self.v6.push(Route { network: bits, length: 128, target: Target::Local });
                if length < 127 {
                    self.v6.push(Route { network, length: 128, target: Target::Broadcast });
                }
                self.v6.push(Route { network, length, target: Target::Link(interface) });
            }
        }
    }

    /// Adds a static route.
    pub(super) fn add(&mut self, prefix: Prefix, interface: InterfaceId, gateway: Option<IpAddr>) {
        match (prefix.network(), gateway) {
            (IpAddr::V4(network), gateway) => {
                let target = match gateway {
                    Some(gateway) => Target::Gateway(interface, gateway),
                    _ => Target::Link(interface),
                };
                self.v4.push(Route { network: network.to_bits(), length: prefix.length(), target });
            }
            (IpAddr::V6(network), gateway) => {
                let target = match gateway {
                    Some(gateway) => Target::Gateway(interface, gateway),
                    _ => Target::Link(interface),
                };
                self.v6.push(Route { network: network.to_bits(), length: prefix.length(), target });
            }
        }
    }

    /// Puts the longest prefixes first; of equal ones the first added wins, so an interface's own before a static one.
    pub(super) fn finish(&mut self) {
        self.v4.sort_by_key(|route| std::cmp::Reverse(route.length));
        self.v6.sort_by_key(|route| std::cmp::Reverse(route.length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut routes = Routes::default();
        let gateway: IpAddr = "10.0.0.9".parse().unwrap();
        routes.add(prefix("0.0.0.0/0"), InterfaceId(0), Some(gateway));
        routes.add(prefix("10.1.0.0/16"), InterfaceId(1), None);
        routes.add(prefix("10.1.2.0/24"), InterfaceId(2), None);
        routes.add_interface(InterfaceId(3), "10.0.0.1".parse().unwrap(), 24);
        routes.finish();
        for (destination, target) in [
            ("10.1.2.3", Target::Link(InterfaceId(2))),
            ("10.1.3.3", Target::Link(InterfaceId(1))),
            ("10.2.0.0", Target::Gateway(InterfaceId(0), "10.0.0.9".parse().unwrap())),
            ("10.0.0.1", Target::Local),
            ("10.0.0.2", Target::Link(InterfaceId(3))),
            ("10.0.0.0", Target::Broadcast),
            ("10.0.0.255", Target::Broadcast),
        ] {
            assert_eq!(routes.v4(destination.parse().unwrap()), Some(target), "{destination}");
        }
        assert_eq!(routes.v6("2001:db8::1".parse().unwrap()), None);
    }

    #[test]
    fn the_longest_ipv6_prefix_wins() {
        let mut routes = Routes::default();
        routes.add(prefix("2001:db8::/32"), InterfaceId(1), Some("2001:db8::9".parse().unwrap()));
        routes.add_interface(InterfaceId(0), "2001:db8::1".parse().unwrap(), 64);
        routes.finish();
        for (destination, target) in [
            ("2001:db8::1", Some(Target::Local)),
            ("2001:db8::", Some(Target::Broadcast)),
            ("2001:db8::2", Some(Target::Link(InterfaceId(0)))),
            ("2001:db8:1::2", Some(Target::Gateway(InterfaceId(1), "2001:db8::9".parse().unwrap()))),
            ("2001:db9::", None),
        ] {
            assert_eq!(routes.v6(destination.parse().unwrap()), target, "{destination}");
        }
    }
}
