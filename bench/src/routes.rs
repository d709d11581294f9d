//! Tables of routes for `bench route`, and where frames go that are drawn over all of them.
//!
//! The tables are made, not taken from a router: prefixes side by side through the space of unicast addresses, with lengths
//! in about the parts that the Internet's table has, and a few that are longer than 24 bits, as a network's own are. The
//! same table comes out every time. A smaller table is an even sample of the larger one, so that it spans as much.

use std::net::{IpAddr, Ipv4Addr};

use pointsman_dataplane::prefix::Prefix;
use pointsman_dataplane::wire::ethernet::VlanId;

use crate::addresses::{MAX_ROUTERS, receiver_ip};
use crate::traffic::Target;

/// The largest table.
pub const MILLION: usize = 1_000_000;

/// A route: a network, and the gateway to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteTo {
    /// The network.
    pub prefix: Prefix,
    /// One of the receivers.
    pub via: Ipv4Addr,
}

/// The first address of an IPv4 network.
pub fn first(network: Prefix) -> u32 {
    match network.network() {
        IpAddr::V4(first) => first.to_bits(),
        IpAddr::V6(_) => 0,
    }
}

/// Lengths of prefixes, and how many of a thousand have them.
const LENGTHS: [(u8, u32); 10] =
    [(24, 600), (23, 100), (22, 120), (21, 55), (20, 45), (19, 25), (18, 15), (16, 5), (26, 15), (32, 20)];

/// Random numbers that are the same every time (xorshift64*).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((drawn * u64::from(n)) >> 32) as u32
    }
}

/// A table of `n` routes, at most [`MILLION`], over gateways among the receivers.
pub fn table(n: usize) -> Vec<RouteTo> {
    let n = n.clamp(1, MILLION);
    let mut dice = Dice(0x5eed);
    let mut next: u64 = 0x0100_0000;
    let mut all = Vec::with_capacity(MILLION);
    while all.len() < MILLION {
        let mut drawn = dice.below(1000);
        let mut length = 24;
        for (candidate, part) in LENGTHS {
            length = candidate;
            match drawn.checked_sub(part) {
                Some(rest) => drawn = rest,
                None => break,
            }
        }
        let size = 1_u64 << (32 - length);
        next = next.next_multiple_of(size);
        let first = next as u32;
        // The testbed's own networks, and what is no destination.
        if let Some(beyond) = match first >> 24 {
            10 => Some(11),
            127 => Some(128),
            _ => None,
        } {
            next = beyond << 24;
            continue;
        }
        next += size;
        all.extend(Prefix::new(Ipv4Addr::from_bits(first).into(), length));
    }
    let of = |i: usize| RouteTo { prefix: all[i * MILLION / n], via: receiver_ip(i % MAX_ROUTERS) };
    (0..n).map(of).collect()
}

/// One destination in each of these networks, mixed.
pub fn targets(routes: &[RouteTo]) -> Vec<Target> {
    let mut dice = Dice(0xfeed);
    let mut targets: Vec<Target> = routes
        .iter()
        .map(|route| {
            let (first, length) = (first(route.prefix), route.prefix.length());
            let host = if length == 32 { 0 } else { dice.below(1 << (32 - length)) };
            Target { to: Ipv4Addr::from_bits(first + host), vlan: None }
        })
        .collect();
    for i in (1..targets.len()).rev() {
        targets.swap(i, dice.below(i as u32 + 1) as usize);
    }
    targets
}

/// The same receiver, in each of `vlans` VLANs from 1 on.
pub fn in_vlans(to: Ipv4Addr, vlans: usize) -> Vec<Target> {
    (1..=vlans as u16).map(|vlan| Target { to, vlan: VlanId::new(vlan) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_networks_are_apart_and_lead_nowhere_they_must_not() {
        let routes = table(MILLION);
        assert_eq!(routes.len(), MILLION);
        for pair in routes.windows(2) {
            let end = u64::from(first(pair[0].prefix)) + (1 << (32 - pair[0].prefix.length()));
            assert!(end <= u64::from(first(pair[1].prefix)), "{} {}", pair[0].prefix, pair[1].prefix);
        }
        for route in &routes {
            let first = first(route.prefix) >> 24;
            assert!(first != 10 && first != 127 && (1..224).contains(&first), "{}", route.prefix);
        }
        let last = routes[MILLION - 1].prefix;
        assert!(first(last) >> 24 < 224 && first(last) >> 24 > 100, "{last}");
    }

    #[test]
    fn each_target_is_in_a_network_of_its_own() {
        let routes = table(1000);
        assert_eq!(routes.len(), 1000);
        let mut hit = vec![0; routes.len()];
        for target in targets(&routes) {
            let to = target.to.to_bits();
            let at = routes.partition_point(|route| first(route.prefix) <= to) - 1;
            assert!(to - first(routes[at].prefix) < 1 << (32 - routes[at].prefix.length()).min(31));
            hit[at] += 1;
        }
        assert!(hit.iter().all(|&n| n == 1));
    }
}
