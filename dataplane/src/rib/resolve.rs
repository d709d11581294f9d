//! Where next hops are: gateways that are found through other routes, and what follows when those change.
//!
//! A gateway without an interface is looked up among the chosen routes, and the hops found there lead to it; several
//! times over, if need be. A way that comes back to a set it came through is no way. What a set resolves to is always
//! worked out from the beginning, never from what others resolved to before: two sets that once led through each other
//! could else keep each other alive.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Rib;
use super::route::{Action, Hop};
use crate::fib::{Decision, MAX_HOPS, NextHopId, ResolvedHop};
use crate::prefix::{Prefix, mask_v4, mask_v6};

/// How many sets a way may lead through.
const DEPTH: usize = 8;
/// How many sets are looked into for one.
const EFFORT: usize = 4096;
/// How often a choice may be made anew after one change, because the choice itself changed what it was made by. Then only
/// routes that lead nowhere are still given up.
const ROUNDS: usize = 8;
/// After this many it stays as it is.
const LAST_ROUND: usize = 64;
/// What a hop's weight is multiplied with, so that it can be divided among the hops that lead to its gateway.
const SCALE: u64 = 1 << 16;

/// A gateway that is to be found through other routes.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The longest prefix that it is in, and the set of the route chosen there.
    pub(super) via: Option<(Prefix, NextHopId)>,
    /// Sets with hops to it.
    users: HashSet<NextHopId>,
}

/// What a set resolves to, on the way.
#[derive(Default)]
struct Way {
    hops: Vec<(ResolvedHop, u64)>,
    /// Of a gateway that is found behind a route which forwards nothing.
    end: Option<Decision>,
}

/// One way more, or more weight for one that is there.
fn add(hops: &mut Vec<(ResolvedHop, u64)>, hop: ResolvedHop, weight: u64) {
    match hops.iter().position(|(known, _)| *known == hop) {
        Some(at) => hops[at].1 += weight,
        None if hops.len() < MAX_HOPS => hops.push((hop, weight)),
        None => {}
    }
}

impl Rib {
    /// What the set's entry must say; none: it leads nowhere.
    pub(super) fn resolve(&self, id: NextHopId) -> Option<Decision> {
        let action = self.sets.get(&id).and_then(|set| self.action(&set.want))?;
        match action {
            Action::Via(hops) => {
                let (mut path, mut effort) = (vec![id], 0);
                let way = self.way(hops, &mut path, &mut effort);
                if way.hops.is_empty() {
                    return way.end;
                }
                let weight = |weight: u64| u32::try_from(weight).unwrap_or(u32::MAX);
                Some(Decision::Via(way.hops.into_iter().map(|(hop, part)| (hop, weight(part))).collect()))
            }
            Action::Group(_) => None,
            Action::Local => Some(Decision::Local),
            Action::Broadcast => Some(Decision::Broadcast),
            Action::Blackhole => Some(Decision::Blackhole),
            Action::Unreachable => Some(Decision::Unreachable),
            Action::Prohibit => Some(Decision::Prohibit),
        }
    }

    fn way(&self, hops: &[Hop], path: &mut Vec<NextHopId>, effort: &mut usize) -> Way {
        let mut way = Way::default();
        for hop in hops {
            let weight = u64::from(hop.weight) * SCALE;
            if let Some(interface) = hop.interface {
                if !self.down.contains(&interface) {
                    add(&mut way.hops, ResolvedHop { interface, gateway: hop.gateway }, weight);
                }
                continue;
            }
            let Some(gateway) = hop.gateway else { continue };
            let Some((_, set)) = self.watches.get(&gateway).and_then(|watch| watch.via) else { continue };
            *effort += 1;
            if path.len() >= DEPTH || *effort > EFFORT || path.contains(&set) {
                continue;
            }
            path.push(set);
            let behind = match self.sets.get(&set).and_then(|set| self.action(&set.want)) {
                Some(Action::Via(hops)) => self.way(hops, path, effort),
                Some(Action::Blackhole) => Way { end: Some(Decision::Blackhole), ..Way::default() },
                Some(Action::Unreachable) => Way { end: Some(Decision::Unreachable), ..Way::default() },
                Some(Action::Prohibit) => Way { end: Some(Decision::Prohibit), ..Way::default() },
                // The router itself is nobody's gateway.
                _ => Way::default(),
            };
            path.pop();
            let total = behind.hops.iter().map(|(_, weight)| weight).sum::<u64>().max(1);
            for (found, part) in behind.hops {
                let found = ResolvedHop { gateway: found.gateway.or(Some(gateway)), ..found };
                let part = u128::from(weight) * u128::from(part) / u128::from(total);
                add(&mut way.hops, found, (part as u64).max(1));
            }
            way.end = way.end.or(behind.end);
        }
        way
    }

    /// Notes the gateways of a set that are to be found, in place of those it had.
    pub(super) fn watch(&mut self, id: NextHopId) {
        self.unwatch(id);
        let action = self.sets.get(&id).and_then(|set| self.action(&set.want));
        let Some(Action::Via(hops)) = action else { return };
        let wanted = hops.iter().filter(|hop| hop.interface.is_none()).filter_map(|hop| hop.gateway);
        let gateways: BTreeSet<IpAddr> = wanted.collect();
        for &gateway in &gateways {
            if !self.watches.contains_key(&gateway) {
                let via = self.longest(gateway, if gateway.is_ipv4() { 32 } else { 128 });
                if let Some(set) = via.and_then(|(_, set)| self.sets.get_mut(&set)) {
                    set.leads_to.insert(gateway);
                }
                self.watches.insert(gateway, Watch { via, users: HashSet::new() });
            }
            if let Some(watch) = self.watches.get_mut(&gateway) {
                watch.users.insert(id);
            }
        }
        if let Some(set) = self.sets.get_mut(&id) {
            set.gateways = gateways.into_iter().collect();
        }
    }

    /// Forgets the gateways of a set.
    pub(super) fn unwatch(&mut self, id: NextHopId) {
        let Some(set) = self.sets.get_mut(&id) else { return };
        for gateway in std::mem::take(&mut set.gateways) {
            let Some(watch) = self.watches.get_mut(&gateway) else { continue };
            watch.users.remove(&id);
            if !watch.users.is_empty() {
                continue;
            }
            if let Some(set) = self.watches.remove(&gateway).and_then(|watch| watch.via).map(|(_, set)| set)
                && let Some(set) = self.sets.get_mut(&set)
            {
                set.leads_to.remove(&gateway);
            }
        }
    }

    /// Another route was chosen for `prefix`, or there is none any more: what was found through it is looked for anew.
    pub(super) fn prefix_changed(&mut self, prefix: Prefix) {
        let dirty = self.found_elsewhere(prefix);
        if !dirty.is_empty() {
            self.refresh(dirty);
        }
    }

    /// Looks for the gateways in `prefix` anew; the sets with hops to those that are elsewhere now.
    fn found_elsewhere(&mut self, prefix: Prefix) -> Vec<NextHopId> {
        if self.watches.is_empty() {
            return Vec::new();
        }
        let (first, last) = ends(prefix);
        let nearer = |watch: &Watch| watch.via.is_none_or(|(via, _)| via.length() <= prefix.length());
        let affected = self.watches.range(first..=last).filter(|(_, watch)| nearer(watch));
        let affected: Vec<IpAddr> = affected.map(|(gateway, _)| *gateway).collect();
        let mut dirty = Vec::new();
        for gateway in affected {
            let via = self.longest(gateway, if gateway.is_ipv4() { 32 } else { 128 });
            let Some(watch) = self.watches.get_mut(&gateway) else { continue };
            let before = std::mem::replace(&mut watch.via, via);
            if before == via {
                continue;
            }
            dirty.extend(&watch.users);
            if let Some(set) = before.and_then(|(_, set)| self.sets.get_mut(&set)) {
                set.leads_to.remove(&gateway);
            }
            if let Some(set) = via.and_then(|(_, set)| self.sets.get_mut(&set)) {
                set.leads_to.insert(gateway);
            }
        }
        dirty
    }

    /// Works out anew what these sets resolve to, and all that lead through them; then what follows for the prefixes that
    /// they compete for.
    pub(super) fn refresh(&mut self, mut dirty: Vec<NextHopId>) {
        for round in 0..LAST_ROUND {
            let mut contested: BTreeSet<Prefix> = BTreeSet::new();
            for id in self.all_behind(dirty) {
                let decision = self.resolve(id);
                if self.decide(id, decision)
                    && let Some(set) = self.sets.get(&id)
                {
                    contested.extend(&set.contested);
                }
            }
            dirty = Vec::new();
            for prefix in contested {
                dirty.extend(self.choose_again(prefix, round < ROUNDS));
            }
            if dirty.is_empty() {
                return;
            }
        }
    }

    /// Chooses for a contested prefix; the sets that must be resolved anew for it.
    fn choose_again(&mut self, prefix: Prefix, promote: bool) -> Vec<NextHopId> {
        let before = self.candidates(prefix).map(|all| all.chosen().set);
        if self.choose(prefix, before, promote) { self.found_elsewhere(prefix) } else { Vec::new() }
    }

    /// These sets and all whose gateways are found through them, directly or not.
    fn all_behind(&self, dirty: Vec<NextHopId>) -> Vec<NextHopId> {
        let mut seen: HashSet<NextHopId> = dirty.iter().copied().collect();
        let mut all: Vec<NextHopId> = seen.iter().copied().collect();
        let mut next = 0;
        while let Some(id) = all.get(next).copied() {
            next += 1;
            let Some(set) = self.sets.get(&id) else { continue };
            let mut more: Vec<NextHopId> = Vec::new();
            for watch in set.leads_to.iter().filter_map(|gateway| self.watches.get(gateway)) {
                more.extend(watch.users.iter().filter(|user| seen.insert(**user)));
            }
            all.extend(more);
        }
        all
    }
}

/// The first and the last address of a prefix.
fn ends(prefix: Prefix) -> (IpAddr, IpAddr) {
    match prefix.network() {
        IpAddr::V4(first) => (first.into(), Ipv4Addr::from_bits(first.to_bits() | !mask_v4(prefix.length())).into()),
        IpAddr::V6(first) => (first.into(), Ipv6Addr::from_bits(first.to_bits() | !mask_v6(prefix.length())).into()),
    }
}
