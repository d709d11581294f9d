//! Routes as simple as can be: a list, looked through for each question. The fast ones must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::*;
use crate::fib::ResolvedHop;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    NoRoute,
    Local,
    Broadcast,
    Blackhole,
    Unreachable,
    Prohibit,
    Via(BTreeSet<ResolvedHop>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    routes: BTreeMap<(Prefix, Origin, u32), (Action, bool)>,
    groups: BTreeMap<(Origin, GroupId), (Action, bool)>,
    down: BTreeSet<InterfaceId>,
}

impl Model {
    pub(super) fn apply(&mut self, origin: Origin, change: Change) {
        match change {
            Change::Replace(Route { prefix, metric, action }) => {
                self.routes.insert((prefix, origin, metric), (action, true));
            }
            Change::Delete(prefix, metric) => {
                self.routes
                    .retain(|(p, o, m), _| !(*p == prefix && *o == origin && metric.is_none_or(|metric| metric == *m)));
            }
            Change::ReplaceGroup(group, action) => {
                self.groups.insert((origin, group), (action, true));
            }
            Change::DeleteGroup(group) => {
                if self.groups.remove(&(origin, group)).is_some() {
                    self.routes.retain(|(_, o, _), (action, _)| !(*o == origin && *action == Action::Group(group)));
                }
            }
        }
    }

    pub(super) fn interface_state(&mut self, interface: InterfaceId, up: bool) {
        if up {
            self.down.remove(&interface);
        } else {
            self.down.insert(interface);
        }
    }

    pub(super) fn begin_sync(&mut self, origin: Origin) {
        let stale = |owner: Origin, said: &mut bool| *said &= owner != origin;
        self.routes.iter_mut().for_each(|((_, owner, _), (_, said))| stale(*owner, said));
        self.groups.iter_mut().for_each(|((owner, _), (_, said))| stale(*owner, said));
    }

    pub(super) fn end_sync(&mut self, origin: Origin) {
        self.routes.retain(|(_, owner, _), (_, said)| *owner != origin || *said);
        let gone: Vec<_> = self.groups.iter().filter(|((owner, _), (_, said))| *owner == origin && !said).collect();
        for (origin, group) in gone.into_iter().map(|(key, _)| *key).collect::<Vec<_>>() {
            self.apply(origin, Change::DeleteGroup(group));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    pub(super) fn fate(&self, address: IpAddr) -> Fate {
        let matching = self.routes.keys().filter(|(prefix, ..)| prefix.contains(address));
        let Some(longest) = matching.max_by_key(|(prefix, ..)| prefix.length()).map(|key| key.0) else {
            return Fate::NoRoute;
        };
        // In order: of the prefix, the owner, the metric.
        let mut candidates = self.routes.iter().filter(|((prefix, ..), _)| *prefix == longest);
        candidates.find_map(|((_, origin, _), (action, _))| self.leads(*origin, action)).unwrap_or(Fate::Unreachable)
    }

    /// What an action comes to; none: nowhere. Gateways must not lead in circles.
    fn leads(&self, origin: Origin, action: &Action) -> Option<Fate> {
        match action {
            Action::Local => Some(Fate::Local),
            Action::Broadcast => Some(Fate::Broadcast),
            Action::Blackhole => Some(Fate::Blackhole),
            Action::Unreachable => Some(Fate::Unreachable),
            Action::Prohibit => Some(Fate::Prohibit),
            Action::Group(group) => {
                self.groups.get(&(origin, *group)).and_then(|(action, _)| self.leads(origin, action))
            }
            Action::Via(hops) => {
                let (mut found, mut end) = (BTreeSet::new(), None);
                for hop in hops {
                    match (hop.interface, hop.gateway) {
                        (Some(interface), gateway) if !self.down.contains(&interface) => {
                            found.insert(ResolvedHop { interface, gateway });
                        }
                        (None, Some(gateway)) => match self.lookup_gateway(gateway) {
                            Some(Fate::Via(hops)) => found.extend(
                                hops.into_iter()
                                    .map(|hop| ResolvedHop { gateway: hop.gateway.or(Some(gateway)), ..hop }),
                            ),
                            Some(fate @ (Fate::Blackhole | Fate::Unreachable | Fate::Prohibit)) => {
                                end = end.or(Some(fate));
                            }
                            _ => {}
                        },
                        _ => {}
                    }
                }
                if found.is_empty() { end } else { Some(Fate::Via(found)) }
            }
        }
    }

    /// As `fate`, but "unreachable" only where a route says so.
    fn lookup_gateway(&self, gateway: IpAddr) -> Option<Fate> {
        let matching = self.routes.keys().filter(|(prefix, ..)| prefix.contains(gateway));
        let longest = matching.max_by_key(|(prefix, ..)| prefix.length()).map(|key| key.0)?;
        let mut candidates = self.routes.iter().filter(|((prefix, ..), _)| *prefix == longest);
        candidates.find_map(|((_, origin, _), (action, _))| self.leads(*origin, action))
    }
}
