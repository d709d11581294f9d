//! What of the kernel's news is passed on, and in which words.
//!
//! Almost everything is passed on as the kernel says it. It does not say everything, though:
//!
//! - IPv4 routes vanish without a word when their device, their address or their source address does, and hops of others die
//!   and come to life. After such news everything is listed again.
//! - One way of several of an IPv6 route is taken back as if it were the route. The ways of such routes are remembered, and the
//!   rest is told anew.
//! - Of several routes of one prefix and metric the kernel uses the first, and no word says which comes next when that goes.
//!   Such prefixes are remembered, and everything is listed again when one of their routes goes.

use std::collections::{HashMap, HashSet};

use crate::fpm::netlink::{Hops, Message, RouteMessage, RouteType, TableId, Target, WireHop, flag, kind, write_route};
use crate::fpm::{IfIndex, Link, frame};
use crate::prefix::Prefix;

/// Only if it is not there yet (`NLM_F_EXCL`).
const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;

/// What tells a route from others.
type Key = (TableId, Prefix, u32);

/// What is remembered of what the kernel has said.
#[derive(Debug)]
pub(super) struct Mirror {
    tables: Vec<TableId>,
    /// State of each device: switched on, able to send, part of another.
    links: HashMap<IfIndex, (bool, bool, Option<IfIndex>)>,
    /// IPv6 routes of several ways.
    paths: HashMap<Key, Vec<WireHop>>,
    /// Routes of which there are several.
    doubled: HashSet<Key>,
    /// The route that was listed last.
    last: Option<Key>,
    /// Routes that were passed on, and messages that are longer than a frame.
    pub routes: usize,
    pub too_long: usize,
}

impl Mirror {
    pub fn new(tables: Vec<TableId>) -> Self {
        Self {
            tables,
            links: HashMap::new(),
            paths: HashMap::new(),
            doubled: HashSet::new(),
            last: None,
            routes: 0,
            too_long: 0,
        }
    }

    /// Everything is going to be listed.
    pub fn begin(&mut self) {
        *self = Self::new(std::mem::take(&mut self.tables));
    }

    /// Passes on what is listed.
    pub fn listed(&mut self, message: &Message<'_>, out: &mut Vec<u8>) {
        match message.kind {
            kind::NEW_ROUTE => {
                let Some((route, key)) = self.route(message) else { return };
                if self.last == Some(key) && !route.selective {
                    self.doubled.insert(key);
                    return;
                }
                self.last = Some(key);
                self.remember(&route, key);
                self.routes += 1;
                self.pass(message.bytes, out);
            }
            kind::NEW_LINK => {
                self.link(message, out);
            }
            kind::NEW_ADDRESS | kind::NEW_NEXT_HOP => self.pass(message.bytes, out),
            _ => {}
        }
    }

    /// Passes on what has happened; whether everything must be listed again.
    pub fn happened(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> bool {
        match message.kind {
            kind::NEW_ROUTE => {
                let Some((route, key)) = self.route(message) else { return false };
                let how = message.flags & (flag::CREATE | flag::REPLACE | flag::APPEND | EXCLUSIVE);
                if route.prefix.is_ipv4() && !route.selective {
                    if how & flag::APPEND != 0 {
                        self.doubled.insert(key);
                        return true;
                    }
                    if how == flag::CREATE {
                        self.doubled.insert(key);
                    }
                }
                self.remember(&route, key);
                self.routes += 1;
                self.pass(message.bytes, out);
                false
            }
            kind::DELETE_ROUTE => {
                let Some((route, key)) = self.route(message) else { return false };
                if self.doubled.contains(&key) && !route.selective {
                    return true;
                }
                match self.rest(&route, key) {
                    Some(rest) => self.tell(key, &rest, out),
                    None => self.pass(message.bytes, out),
                }
                false
            }
            kind::NEW_LINK => self.link(message, out),
            kind::DELETE_LINK => {
                let Ok(Some(link)) = Link::parse(message) else { return false };
                self.links.remove(&link.device);
                self.pass(message.bytes, out);
                true
            }
            kind::NEW_ADDRESS | kind::NEW_NEXT_HOP | kind::DELETE_NEXT_HOP => {
                self.pass(message.bytes, out);
                false
            }
            kind::DELETE_ADDRESS => {
                self.pass(message.bytes, out);
                true
            }
            _ => false,
        }
    }

    /// A route that concerns the other side.
    fn route<'a>(&self, message: &Message<'a>) -> Option<(RouteMessage<'a>, Key)> {
        // What cannot be read is of a family that does not concern us: it comes from the kernel.
        let route = RouteMessage::parse(message).ok()?;
        let concerns = self.tables.contains(&route.table) && !route.cloned && route.kind != RouteType::Host;
        let key = (route.table, route.prefix, route.metric.unwrap_or(0));
        concerns.then_some((route, key))
    }

    fn remember(&mut self, route: &RouteMessage<'_>, key: Key) {
        if route.prefix.is_ipv4() {
            return;
        }
        match &route.hops {
            Hops::Many(_) if route.next_hop.is_none() => {
                self.paths.insert(key, route.hops.each().collect());
            }
            _ => {
                self.paths.remove(&key);
            }
        }
    }

    /// The ways that are left of a route of which one was taken back.
    fn rest(&mut self, route: &RouteMessage<'_>, key: Key) -> Option<Vec<WireHop>> {
        let mut paths = self.paths.remove(&key)?;
        let Hops::One(gone) = &route.hops else { return None };
        let place = paths.iter().position(|path| (path.gateway, path.device) == (gone.gateway, gone.device))?;
        paths.remove(place);
        if paths.is_empty() {
            return None;
        }
        self.paths.insert(key, paths.clone());
        Some(paths)
    }

    fn tell(&mut self, (table, prefix, metric): Key, hops: &[WireHop], out: &mut Vec<u8>) {
        let mut message = Vec::new();
        let how = (kind::NEW_ROUTE, flag::REPLACE);
        write_route(&mut message, how, table, (prefix, Some(metric)), RouteType::Unicast, Target::Hops(hops));
        self.pass(&message, out);
    }

    /// Passes a device on; whether it is no longer as it was.
    fn link(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> bool {
        let Ok(Some(link)) = Link::parse(message) else { return false };
        self.pass(message.bytes, out);
        let now = (link.up, link.running, link.master);
        self.links.insert(link.device, now).is_some_and(|before| before != now)
    }

    fn pass(&mut self, message: &[u8], out: &mut Vec<u8>) {
        if !frame::write(out, message) {
            self.too_long += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fpm::netlink::Messages;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn way(gateway: &str, device: u32) -> WireHop {
        let gateway = gateway.parse().ok();
        WireHop { gateway, device: Some(IfIndex(device)), weight: 1, encapsulation: None, dead: false }
    }

    /// A message, and what it makes the mirror pass on.
    fn say(mirror: &mut Mirror, how: (u16, u16), to: &str, hops: &[WireHop]) -> (bool, Vec<u8>, Vec<u8>) {
        let mut bytes = Vec::new();
        let to = (prefix(to), Some(9));
        write_route(&mut bytes, how, TableId::MAIN, to, RouteType::Unicast, Target::Hops(hops));
        let message = Messages::new(&bytes).next().unwrap().unwrap();
        let mut out = Vec::new();
        let again = mirror.happened(&message, &mut out);
        let passed = out.get(frame::HEADER..).unwrap_or_default().to_vec();
        (again, passed, bytes)
    }

    const ADD: (u16, u16) = (kind::NEW_ROUTE, flag::CREATE | EXCLUSIVE);
    const DELETE: (u16, u16) = (kind::DELETE_ROUTE, 0);

    #[test]
    fn one_way_of_several_goes_and_the_rest_is_told() {
        let mut mirror = Mirror::new(vec![TableId::MAIN]);
        let to = "2001:db8::/32";
        say(&mut mirror, ADD, to, &[way("fe80::1", 1), way("fe80::2", 2), way("fe80::3", 3)]);
        for (gone, left) in [(2, vec![1, 3]), (1, vec![3])] {
            let (again, passed, _) = say(&mut mirror, DELETE, to, &[way(&format!("fe80::{gone}"), gone)]);
            let message = Messages::new(&passed).next().unwrap().unwrap();
            let told = RouteMessage::parse(&message).unwrap();
            assert_eq!((again, message.kind), (false, kind::NEW_ROUTE));
            let devices: Vec<_> = told.hops.each().map(|hop| hop.device.unwrap().0).collect();
            assert_eq!(devices, left);
        }
        let (_, passed, said) = say(&mut mirror, DELETE, to, &[way("fe80::3", 3)]);
        assert_eq!(passed, said, "the last one is the route");
        // IPv4 takes a route back as a whole.
        say(&mut mirror, ADD, "10.0.0.0/8", &[way("10.0.0.1", 1), way("10.0.0.2", 2)]);
        let (_, passed, said) = say(&mut mirror, DELETE, "10.0.0.0/8", &[way("10.0.0.1", 1)]);
        assert_eq!(passed, said);
    }

    #[test]
    fn what_stands_behind_another_asks_for_a_list() {
        let mut mirror = Mirror::new(vec![TableId::MAIN]);
        let to = "10.0.0.0/8";
        assert!(!say(&mut mirror, ADD, to, &[way("10.0.0.1", 1)]).0);
        let append = (kind::NEW_ROUTE, flag::CREATE | flag::APPEND);
        let (again, passed, _) = say(&mut mirror, append, to, &[way("10.0.0.2", 2)]);
        assert!(again && passed.is_empty(), "the first is still used");
        assert!(say(&mut mirror, DELETE, to, &[way("10.0.0.1", 1)]).0);
        assert!(!say(&mut mirror, DELETE, "11.0.0.0/8", &[way("10.0.0.1", 1)]).0);
        mirror.begin();
        assert!(!say(&mut mirror, DELETE, to, &[way("10.0.0.1", 1)]).0);
    }
}
