//! Routes as people ask for them: all of them, or why a packet for one address goes where it goes.

use std::net::IpAddr;

use super::Rib;
use super::candidates::Candidate;
use super::route::{Action, GroupId, Origin};
use super::sets::Want;
use crate::fib::{Decision, NextHopId};
use crate::prefix::Prefix;

/// A route and how it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouteState<'a> {
    /// Where to.
    pub prefix: Prefix,
    /// Who wants it.
    pub origin: Origin,
    /// Of its owner's routes for one prefix, the least counts.
    pub metric: u32,
    /// The group that it names.
    pub group: Option<GroupId>,
    /// What to do, the group looked up. None: it waits for its group.
    pub action: Option<&'a Action>,
    /// What that comes to, recursive next hops found. None: it leads nowhere at present.
    pub decision: Option<&'a Decision>,
    /// Whether packets for the prefix follow it.
    pub chosen: bool,
}

/// A gateway that was found through another route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recursion {
    /// The gateway.
    pub gateway: IpAddr,
    /// The longest prefix that it is in. None: there is no route to it.
    pub prefix: Option<Prefix>,
}

/// Why packets for an address go where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation<'a> {
    /// The route that they follow.
    pub route: RouteState<'a>,
    /// Routes of the same prefix that it is preferred to, or that would be preferred if they led anywhere.
    pub others: Vec<RouteState<'a>>,
    /// Gateways on the way that were looked up, outermost first.
    pub recursion: Vec<Recursion>,
    /// The next-hop entry that a look-up answers.
    pub next_hop: NextHopId,
}

impl Rib {
    /// All routes of all owners, in the order of their prefixes, those of one prefix best first.
    pub fn routes(&self) -> impl Iterator<Item = RouteState<'_>> {
        self.all().flat_map(move |(prefix, all)| {
            let chosen = all.chosen();
            all.iter().map(move |candidate| self.state(prefix, candidate, *candidate == chosen))
        })
    }

    /// Which route packets for `address` follow, and why. None: there is no route.
    pub fn explain(&self, address: IpAddr) -> Option<Explanation<'_>> {
        let (prefix, next_hop) = self.longest(address, if address.is_ipv4() { 32 } else { 128 })?;
        let all = self.candidates(prefix)?;
        let chosen = all.chosen();
        let others = all.iter().filter(|candidate| **candidate != chosen);
        let mut recursion: Vec<Recursion> = Vec::new();
        let mut ask = vec![next_hop];
        while let Some(gateways) = ask.pop().and_then(|set| self.sets.get(&set)).map(|set| &set.gateways) {
            for &gateway in gateways.iter().rev() {
                if recursion.iter().any(|known| known.gateway == gateway) {
                    continue;
                }
                let via = self.watches.get(&gateway).and_then(|watch| watch.via);
                recursion.push(Recursion { gateway, prefix: via.map(|(prefix, _)| prefix) });
                ask.extend(via.map(|(_, set)| set));
            }
        }
        Some(Explanation {
            route: self.state(prefix, &chosen, true),
            others: others.map(|candidate| self.state(prefix, candidate, false)).collect(),
            recursion,
            next_hop,
        })
    }

    fn state(&self, prefix: Prefix, candidate: &Candidate, chosen: bool) -> RouteState<'_> {
        let set = self.sets.get(&candidate.set);
        let group = match set.map(|set| &set.want) {
            Some(Want::Group(_, group)) => Some(*group),
            _ => None,
        };
        RouteState {
            prefix,
            origin: candidate.origin,
            metric: candidate.metric,
            group,
            action: set.and_then(|set| self.action(&set.want)),
            decision: set.and_then(|set| set.decision.as_ref()),
            chosen,
        }
    }
}
