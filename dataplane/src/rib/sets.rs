//! What routes lead to, once for all routes that want the same: a set of next hops with its next-hop entry.

use std::collections::HashSet;
use std::net::IpAddr;

use super::route::{Action, GroupId, Origin};
use super::{Rib, RibError};
use crate::fib::{Decision, NextHopId};
use crate::prefix::Prefix;

/// What routes want, whoever wants it. A group is its owner's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Want {
    /// Never a group.
    Action(Action),
    Group(Origin, GroupId),
}

impl Want {
    pub(super) fn new(origin: Origin, action: Action) -> Self {
        match action {
            Action::Group(group) => Self::Group(origin, group),
            action => Self::Action(action),
        }
    }
}

/// A set that routes lead to.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) want: Want,
    /// Routes that lead to it, chosen or not.
    pub(super) routes: usize,
    /// What its next-hop entry says; none: it leads nowhere, and the entry says "unreachable".
    pub(super) decision: Option<Decision>,
    /// Its gateways that are to be found through other routes.
    pub(super) gateways: Vec<IpAddr>,
    /// Gateways of others that are found through this set.
    pub(super) leads_to: HashSet<IpAddr>,
    /// Prefixes for which a route of this set competes with others.
    pub(super) contested: HashSet<Prefix>,
}

impl Rib {
    /// What is wanted, with the group looked up. None: the group is not there yet.
    pub(super) fn action<'a>(&'a self, want: &'a Want) -> Option<&'a Action> {
        match want {
            Want::Action(action) => Some(action),
            Want::Group(origin, group) => self.groups.get(&(*origin, *group)).map(|group| &group.action),
        }
    }

    /// The set for one more route.
    pub(super) fn hold(&mut self, want: Want) -> Result<NextHopId, RibError> {
        if let Some(&id) = self.by_want.get(&want) {
            if let Some(set) = self.sets.get_mut(&id) {
                set.routes += 1;
            }
            return Ok(id);
        }
        let id = self.fib.create_next_hop(&Decision::Unreachable)?;
        let set = Set {
            want: want.clone(),
            routes: 1,
            decision: None,
            gateways: Vec::new(),
            leads_to: HashSet::new(),
            contested: HashSet::new(),
        };
        self.by_want.insert(want, id);
        self.sets.insert(id, set);
        self.watch(id);
        // Nothing depends on it yet. If there is no room for what it says, routes that lead to it would be in vain.
        let decision = self.resolve(id);
        if let Some(decision) = &decision
            && let Err(full) = self.fib.set_next_hop(id, decision)
        {
            self.let_go(id);
            return Err(full.into());
        }
        if let Some(set) = self.sets.get_mut(&id) {
            set.decision = decision;
        }
        Ok(id)
    }

    /// One route less leads to the set.
    pub(super) fn let_go(&mut self, id: NextHopId) {
        let Some(set) = self.sets.get_mut(&id) else { return };
        set.routes -= 1;
        if set.routes > 0 {
            return;
        }
        self.unwatch(id);
        if let Some(set) = self.sets.remove(&id) {
            self.by_want.remove(&set.want);
        }
        self.fib.remove_next_hop(id);
    }

    /// Rewrites the set's entry; whether it leads somewhere and did not before, or the reverse.
    pub(super) fn decide(&mut self, id: NextHopId, decision: Option<Decision>) -> bool {
        let Some(set) = self.sets.get_mut(&id) else { return false };
        if set.decision == decision {
            return false;
        }
        let flips = set.decision.is_some() != decision.is_some();
        let entry = decision.clone().unwrap_or(Decision::Unreachable);
        set.decision = decision;
        if self.fib.set_next_hop(id, &entry).is_err() {
            self.starved += 1;
            self.cut_down(id, &entry);
        }
        flips
    }

    /// There is no room to share flows among several: one hop needs none, and is better than hops of yesterday.
    fn cut_down(&mut self, id: NextHopId, entry: &Decision) {
        if let Decision::Via(hops) = entry
            && hops.iter().any(|hop| self.fib.set_next_hop(id, &Decision::Via(vec![*hop])).is_ok())
        {
            return;
        }
        // "Unreachable" always finds room.
        let _ = self.fib.set_next_hop(id, &Decision::Unreachable);
    }

    /// The sets of a prefix with several candidates are told that it is theirs to contest.
    pub(super) fn register(&mut self, prefix: Prefix) {
        for id in self.contestants(prefix) {
            if let Some(set) = self.sets.get_mut(&id) {
                set.contested.insert(prefix);
            }
        }
    }

    pub(super) fn unregister(&mut self, prefix: Prefix) {
        for id in self.contestants(prefix) {
            if let Some(set) = self.sets.get_mut(&id) {
                set.contested.remove(&prefix);
            }
        }
    }

    fn contestants(&self, prefix: Prefix) -> Vec<NextHopId> {
        let all = self.candidates(prefix).filter(|all| all.len() > 1);
        all.map(|all| all.iter().map(|candidate| candidate.set).collect()).unwrap_or_default()
    }
}
