//! Messages, written: what an agent says in its own words, and what tests say in a daemon's.

use std::net::IpAddr;

use crate::prefix::Prefix;

use super::message::HEADER;
use super::route::{self, HOP, family_of};
use super::{NextHopId, RouteType, TableId, WireHop, nexthop, padded};

/// A message in the making, behind whatever is in the buffer already.
#[derive(Debug)]
pub struct Builder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Builder<'a> {
    /// Begins one with the fixed part `body`.
    pub fn new(out: &'a mut Vec<u8>, kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Self {
        let start = out.len();
        out.extend([0; 4]);
        out.extend(kind.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend(sequence.to_ne_bytes());
        out.extend([0; 4]);
        out.extend(body);
        Self { out, start }
    }

    /// Adds an attribute. One that is longer than 65531 bytes cannot be said: the caller's values are short.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let at = self.begin(kind);
        self.out.extend(value);
        self.end(at);
    }

    fn begin(&mut self, kind: u16) -> usize {
        self.pad();
        let at = self.out.len();
        self.out.extend([0; 2]);
        self.out.extend(kind.to_ne_bytes());
        at
    }

    /// Writes the length of what began at `at`, which begins with it.
    fn end(&mut self, at: usize) {
        let len = (self.out.len() - at) as u16;
        self.out[at..at + 2].copy_from_slice(&len.to_ne_bytes());
    }

    fn pad(&mut self) {
        let len = self.out.len() - self.start;
        self.out.resize(self.start + padded(len), 0);
    }

    /// Completes it.
    pub fn finish(mut self) {
        let len = (self.out.len() - self.start) as u32;
        self.out[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
        self.pad();
    }
}

const _: () = assert!(HEADER == 16 && HOP == 8);

/// Where a route leads.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Nothing is said.
    Unsaid,
    /// As the object says.
    NextHop(NextHopId),
    /// Along these; of several, none has a weight beyond 256.
    Hops(&'a [WireHop]),
}

/// Writes a message about a route, as FRR and the kernel do.
pub fn write_route(
    out: &mut Vec<u8>,
    (kind, flags): (u16, u16),
    table: TableId,
    (prefix, metric): (Prefix, Option<u32>),
    what: RouteType,
    target: Target<'_>,
) {
    let family = family_of(prefix.network()) as u8;
    let short = u8::try_from(table.0).unwrap_or(0);
    let fixed = [family, prefix.length(), 0, 0, short, libc::RTPROT_STATIC, 0, what.byte(), 0, 0, 0, 0];
    let mut message = Builder::new(out, kind, flags, 0, &fixed);
    address(&mut message, route::attribute::DST, prefix.network());
    if let Some(metric) = metric {
        message.attribute(route::attribute::PRIORITY, &metric.to_ne_bytes());
    }
    if short == 0 {
        message.attribute(route::attribute::TABLE, &table.0.to_ne_bytes());
    }
    match target {
        Target::Unsaid | Target::Hops([]) => {}
        Target::NextHop(NextHopId(id)) => message.attribute(route::attribute::NH_ID, &id.to_ne_bytes()),
        Target::Hops([hop]) => {
            way(&mut message, prefix, hop);
            if let Some(device) = hop.device {
                message.attribute(route::attribute::OIF, &device.0.to_ne_bytes());
            }
        }
        Target::Hops(hops) => {
            let at = message.begin(route::attribute::MULTIPATH);
            for hop in hops {
                message.pad();
                let start = message.out.len();
                let weight = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
                message.out.extend([0, 0, u8::from(hop.dead), weight]);
                message.out.extend(hop.device.map_or(0, |device| device.0).to_ne_bytes());
                way(&mut message, prefix, hop);
                message.end(start);
            }
            message.end(at);
        }
    }
    message.finish();
}

fn way(message: &mut Builder<'_>, prefix: Prefix, hop: &WireHop) {
    match hop.gateway {
        None => {}
        Some(gateway) if gateway.is_ipv4() == prefix.is_ipv4() => {
            address(message, route::attribute::GATEWAY, gateway);
        }
        Some(gateway) => {
            let at = message.begin(route::attribute::VIA);
            message.out.extend((family_of(gateway) as u16).to_ne_bytes());
            match gateway {
                IpAddr::V4(gateway) => message.out.extend(gateway.octets()),
                IpAddr::V6(gateway) => message.out.extend(gateway.octets()),
            }
            message.end(at);
        }
    }
}

fn address(message: &mut Builder<'_>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => message.attribute(kind, &address.octets()),
        IpAddr::V6(address) => message.attribute(kind, &address.octets()),
    }
}

/// Writes a message about a next hop object: a group, or with no members `hop`, or a black hole for want of one.
pub fn write_next_hop(
    out: &mut Vec<u8>,
    (kind, flags): (u16, u16),
    id: NextHopId,
    hop: Option<&WireHop>,
    members: &[(NextHopId, u16)],
) {
    let gateway = hop.and_then(|hop| hop.gateway);
    let family = gateway.map_or(libc::AF_UNSPEC, family_of) as u8;
    let mut message = Builder::new(out, kind, flags, 0, &[family, 0, 0, 0, 0, 0, 0, 0]);
    message.attribute(nexthop::attribute::ID, &id.0.to_ne_bytes());
    if !members.is_empty() {
        let member = |&(NextHopId(id), weight): &(NextHopId, u16)| {
            let [low, high] = weight.saturating_sub(1).to_le_bytes();
            [&id.to_ne_bytes()[..], &[low, high, 0, 0]].concat()
        };
        message.attribute(nexthop::attribute::GROUP, &members.iter().flat_map(member).collect::<Vec<_>>());
    } else if let Some(hop) = hop {
        if let Some(gateway) = gateway {
            address(&mut message, nexthop::attribute::GATEWAY, gateway);
        }
        if let Some(device) = hop.device {
            message.attribute(nexthop::attribute::OIF, &device.0.to_ne_bytes());
        }
    } else if kind == super::kind::NEW_NEXT_HOP {
        message.attribute(nexthop::attribute::BLACKHOLE, &[]);
    }
    message.finish();
}
