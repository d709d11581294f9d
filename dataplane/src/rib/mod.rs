//! Routes as their owners want them, and the forwarding table that is made of them.
//!
//! The control side of a VRF. It keeps what every owner said, chooses for each prefix, and changes the VRF's
//! [forwarding table](crate::fib) in place while workers read it. What many routes share, an action or a group of next
//! hops, is one *set* with one next-hop entry: when a link fails, a group changes or a gateway is found elsewhere, sets
//! are resolved anew and their entries rewritten. Prefixes are touched only when another owner's route takes over.
//!
//! It may allocate and take its time; it never makes a worker wait.

mod candidates;
mod error;
mod explain;
#[cfg(all(test, not(loom)))]
mod model;
mod resolve;
mod route;
mod sets;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;
mod trie;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use error::RibError;
pub use explain::{Explanation, Recursion, RouteState};
pub use route::{Action, Change, GroupId, Hop, InterfaceId, Origin, Route};

use crate::fib::{Arena, Fib, FibConfig, FibWriter, MAX_HOPS, NextHopId, Usage};
use crate::prefix::Prefix;
use candidates::{Candidate, Candidates};
use resolve::Watch;
use sets::{Set, Want};
use sync::Syncs;
use trie::Trie;

/// What a VRF's routes may be.
#[derive(Clone, Copy, Debug)]
pub struct RibConfig {
    /// Routes of all owners but the interfaces' own; more are refused.
    pub max_routes: usize,
    /// Interfaces of the VRF: [`InterfaceId`]s below this exist.
    pub interfaces: u16,
    /// How its forwarding table is laid out.
    pub fib: FibConfig,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RibStats {
    /// Routes of all owners.
    pub routes: usize,
    /// Prefixes that there are routes for: what is in the forwarding table.
    pub prefixes: usize,
    /// Different actions and groups that routes lead to, one next-hop entry each.
    pub sets: usize,
    /// Routes refused because there were as many as there may be, or for want of memory.
    pub refused: u64,
    /// Sets of next hops that were cut down or left as they were, for want of memory.
    pub starved: u64,
    /// Bytes of the routes themselves, as far as known.
    pub bytes: usize,
    /// What the forwarding table holds.
    pub fib: Usage,
}

#[derive(Debug)]
struct Group {
    action: Action,
    /// The synchronisation in which it was said last.
    mark: u16,
}

/// The routes of a VRF.
#[derive(Debug)]
pub struct Rib {
    fib: FibWriter,
    config: RibConfig,
    v4: Trie<u32>,
    v6: Trie<u128>,
    sets: HashMap<NextHopId, Set>,
    by_want: HashMap<Want, NextHopId>,
    groups: HashMap<(Origin, GroupId), Group>,
    /// Gateways that are to be found through other routes.
    watches: BTreeMap<IpAddr, Watch>,
    down: HashSet<InterfaceId>,
    syncs: Syncs,
    limited: usize,
    routes: usize,
    refused: u64,
    starved: u64,
}

impl Rib {
    /// No routes, and a forwarding table in `arena` that says so.
    ///
    /// # Errors
    /// [`RibError::Fib`] when there are as many tables as there may be.
    pub fn new(arena: &Arc<Arena>, config: RibConfig) -> Result<Self, RibError> {
        Ok(Self {
            fib: FibWriter::new(arena, config.fib)?,
            config,
            v4: Trie::default(),
            v6: Trie::default(),
            sets: HashMap::new(),
            by_want: HashMap::new(),
            groups: HashMap::new(),
            watches: BTreeMap::new(),
            down: HashSet::new(),
            syncs: Syncs::default(),
            limited: 0,
            routes: 0,
            refused: 0,
            starved: 0,
        })
    }

    /// The forwarding table, for the workers.
    pub fn fib(&self) -> &Arc<Fib> {
        self.fib.fib()
    }

    /// How much there is.
    pub fn stats(&self) -> RibStats {
        RibStats {
            routes: self.routes,
            prefixes: self.v4.len() + self.v6.len(),
            sets: self.sets.len(),
            refused: self.refused,
            starved: self.starved,
            bytes: self.v4.bytes() + self.v6.bytes(),
            fib: self.fib.usage(),
        }
    }

    /// The VRF has this many interfaces from now on; routes that name others are refused. What is there already stays.
    pub fn set_interfaces(&mut self, interfaces: u16) {
        self.config.interfaces = interfaces;
    }

    /// Does what the owner `origin` asks for. Forwarding follows at once.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn apply(&mut self, origin: Origin, change: Change) -> Result<(), RibError> {
        match change {
            Change::Replace(route) => self.replace(origin, route),
            Change::Delete(prefix, metric) => self.delete(origin, prefix, metric),
            Change::ReplaceGroup(group, action) => self.replace_group(origin, group, action),
            Change::DeleteGroup(group) => self.delete_group(origin, group),
        }
    }

    /// An interface carries frames, or does not: hops by it drop out of the sets that they are in, or are in them again.
    /// A route with no hop left gives way to the next best for its prefix; without one its senders are told "unreachable".
    pub fn interface_state(&mut self, interface: InterfaceId, up: bool) {
        let changed = if up { self.down.remove(&interface) } else { self.down.insert(interface) };
        if changed {
            let by = |set: &Set| self.action(&set.want).is_some_and(|action| leaves_by(action, interface));
            let dirty = self.sets.iter().filter(|(_, set)| by(set)).map(|(id, _)| *id).collect();
            self.refresh(dirty);
        }
    }

    fn replace(&mut self, origin: Origin, route: Route) -> Result<(), RibError> {
        self.check(&route.action)?;
        let Route { prefix, metric, action } = route;
        let mark = self.syncs.mark(origin);
        let want = Want::new(origin, action);
        let all = self.candidates(prefix);
        let (new, known) = (all.is_none(), all.and_then(|all| all.get(origin, metric)).map(|candidate| candidate.set));
        if let Some(before) = known
            && self.sets.get(&before).is_some_and(|set| set.want == want)
        {
            self.edit(prefix, |all| all.mark(origin, metric, mark));
            return Ok(());
        }
        let limited = origin != Origin::Connected;
        if known.is_none() && limited && self.limited >= self.config.max_routes {
            self.refused += 1;
            return Err(RibError::TooManyRoutes { prefix, max: self.config.max_routes });
        }
        let set = self.hold(want).inspect_err(|_| self.refused += 1)?;
        let candidate = Candidate { origin, metric, set, mark };
        if new {
            // The forwarding table first: it alone may have no room.
            if let Err(full) = self.fib.insert(prefix, set) {
                self.let_go(set);
                self.refused += 1;
                return Err(full.into());
            }
            self.insert(prefix, Candidates::One(candidate));
            self.prefix_changed(prefix);
        } else {
            self.compete(prefix, |all| all.put(candidate));
        }
        match known {
            Some(before) => self.let_go(before),
            None => {
                self.routes += 1;
                self.limited += usize::from(limited);
            }
        }
        Ok(())
    }

    fn delete(&mut self, origin: Origin, prefix: Prefix, metric: Option<u32>) -> Result<(), RibError> {
        let gone = self.take_out(prefix, |candidate| {
            candidate.origin == origin && metric.is_none_or(|metric| candidate.metric == metric)
        });
        if gone == 0 { Err(RibError::NoSuchRoute { prefix, metric }) } else { Ok(()) }
    }

    /// Takes out the routes for `prefix` that `which` says; how many.
    fn take_out(&mut self, prefix: Prefix, which: impl Fn(&Candidate) -> bool) -> usize {
        // Nearly every prefix has one route, and who takes one out is its owner: then one walk does it.
        match self.remove(prefix) {
            None => return 0,
            Some(Candidates::One(only)) if which(&only) => {
                self.vanish(prefix);
                self.forget(&only);
                return 1;
            }
            Some(others) => self.insert(prefix, others),
        }
        let Some(all) = self.candidates(prefix) else { return 0 };
        let gone: Vec<Candidate> = all.iter().filter(|candidate| which(candidate)).copied().collect();
        if gone.is_empty() {
            return 0;
        }
        if gone.len() == all.len() {
            self.unregister(prefix);
            self.remove(prefix);
            self.vanish(prefix);
        } else {
            self.compete(prefix, |all| all.retain(|candidate| !which(candidate)));
        }
        for candidate in &gone {
            self.forget(candidate);
        }
        gone.len()
    }

    /// Nobody has a route for `prefix` any more: it is in no trie now.
    fn vanish(&mut self, prefix: Prefix) {
        let Self { fib, v4, v6, .. } = self;
        fib.remove(prefix, || {
            let (cover, set) = trie::longest((v4, v6), prefix.network(), prefix.length())?;
            Some((cover.length(), set))
        });
        self.prefix_changed(prefix);
    }

    /// A route is gone from its prefix.
    fn forget(&mut self, candidate: &Candidate) {
        self.routes -= 1;
        self.limited -= usize::from(candidate.origin != Origin::Connected);
        self.let_go(candidate.set);
    }

    /// Changes the candidates for a prefix that has some before and after, and chooses anew.
    fn compete(&mut self, prefix: Prefix, change: impl FnOnce(&mut Candidates)) {
        self.unregister(prefix);
        let before = self.candidates(prefix).map(|all| all.chosen().set);
        self.edit(prefix, change);
        self.register(prefix);
        if self.choose(prefix, before, true) {
            self.prefix_changed(prefix);
        }
    }

    /// Chooses among the candidates for a prefix: the first that leads anywhere, else the first. With `promote` unset only
    /// when the chosen one leads nowhere. `before` is what the forwarding table says; whether it says something else now.
    fn choose(&mut self, prefix: Prefix, before: Option<NextHopId>, promote: bool) -> bool {
        let usable = |set| self.sets.get(&set).is_some_and(|set: &Set| set.decision.is_some());
        let Some(all) = self.candidates(prefix) else { return false };
        if !promote && usable(all.chosen().set) {
            return false;
        }
        let choice = all.iter().position(|candidate| usable(candidate.set)).unwrap_or(0);
        self.edit(prefix, |all| all.choose(choice));
        let Some(now) = self.candidates(prefix).map(|all| all.chosen().set) else { return false };
        if before == Some(now) {
            return false;
        }
        // It is in the table already, so there is room; were there none, the table would say what it said.
        if self.fib.insert(prefix, now).is_err() {
            self.starved += 1;
        }
        true
    }

    fn replace_group(&mut self, origin: Origin, group: GroupId, action: Action) -> Result<(), RibError> {
        self.check(&action)?;
        if matches!(action, Action::Group(_)) {
            return Err(RibError::NestedGroup { group });
        }
        let mark = self.syncs.mark(origin);
        self.groups.insert((origin, group), Group { action, mark });
        if let Some(&set) = self.by_want.get(&Want::Group(origin, group)) {
            self.watch(set);
            self.refresh(vec![set]);
        }
        Ok(())
    }

    fn delete_group(&mut self, origin: Origin, group: GroupId) -> Result<(), RibError> {
        if self.groups.remove(&(origin, group)).is_none() {
            return Err(RibError::NoSuchGroup { group });
        }
        if let Some(&set) = self.by_want.get(&Want::Group(origin, group)) {
            for prefix in self.prefixes(|all| all.iter().any(|candidate| candidate.set == set)) {
                self.take_out(prefix, |candidate| candidate.set == set);
            }
        }
        Ok(())
    }

    /// Whether an action can be at all.
    fn check(&self, action: &Action) -> Result<(), RibError> {
        let Action::Via(hops) = action else { return Ok(()) };
        if hops.is_empty() {
            return Err(RibError::NoHops);
        }
        if hops.len() > MAX_HOPS {
            return Err(RibError::TooManyHops { hops: hops.len() });
        }
        for hop in hops {
            match (hop.interface, hop.gateway) {
                (None, None) => return Err(RibError::HopToNowhere),
                (Some(interface), _) if interface.0 >= self.config.interfaces => {
                    return Err(RibError::NoSuchInterface { interface, interfaces: self.config.interfaces });
                }
                _ if hop.weight == 0 => return Err(RibError::NoWeight),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether one of the action's hops leaves by `interface`.
fn leaves_by(action: &Action, interface: InterfaceId) -> bool {
    matches!(action, Action::Via(hops) if hops.iter().any(|hop| hop.interface == Some(interface)))
}
