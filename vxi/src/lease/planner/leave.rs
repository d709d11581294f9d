//! The third case of reconfiguration: what will not be there any more, or not so fast or so large, is emptied first.

use super::{PlanError, Planning};
use crate::lease::ledger::{Infeasible, Where};
use crate::lease::moves::{Item, Part, Relocation, Seated, Situation, Target};
use crate::lease::room::Opening;
use crate::lease::target::Displaced;
use crate::refusal;

impl Planning<'_> {
    /// Moves what cannot stay when the substrate becomes what it will be.
    pub(super) fn empty_what_leaves(&mut self) -> Result<(), PlanError> {
        // Each round empties a part of a component for good, because whatever moves goes to where it may stay.
        let parts: usize =
            self.situation.leases.iter().map(|seated| seated.demand.nodes.len() + seated.demand.links.len()).sum();
        let mut rounds = 4 * parts;
        while let Some((place, reason)) = self.situation.ledger.violation(&self.ground.after, self.asked.now) {
            if rounds == 0 {
                return Err(PlanError::Refused(Box::new(refusal::of_displaced(&self.situation, None, &reason))));
            }
            rounds -= 1;
            let mut items = self.situation.on(place);
            if let (Where::Host(_), false) = (place, matches!(reason, Infeasible::Gone { .. })) {
                // Paths through a host take nothing of its capacities: to move them would change nothing, for ever.
                items.retain(|item| matches!(item.what, Part::Node(_)));
            }
            items.sort_by_key(|&item| (self.situation.cost(item), item));
            if matches!(reason, Infeasible::Gone { .. }) {
                // All of them must leave: the largest while there is most room.
                items.reverse();
                if let Where::Link(_) = place {
                    items.sort_by_key(|item| matches!(item.what, Part::Node(_)));
                }
            }
            self.move_one_of(&items, &reason, matches!(place, Where::Host(_)))?;
        }
        self.shorten_what_became_slow()
    }

    /// Paths that are slower than they may be once the substrate has changed.
    fn shorten_what_became_slow(&mut self) -> Result<(), PlanError> {
        let slow = |situation: &Situation, link: usize, lease: usize| {
            let Seated { demand, at, .. } = &situation.leases[lease];
            let took =
                |links: &[usize]| links.iter().map(|&on| situation.ground.after.links[on].latency.0).sum::<u64>();
            let bound = demand.links[link].latency?;
            let slowest = at.routes[link].iter().map(|path| took(&path.links)).max()?;
            (slowest > bound).then_some((slowest, bound))
        };
        for lease in 0..self.situation.leases.len() {
            for link in 0..self.situation.leases[lease].demand.links.len() {
                if let Some((took, bound)) = slow(&self.situation, link, lease) {
                    let demand = &self.situation.leases[lease].demand;
                    let mut items = vec![Item { lease, what: Part::Link(link) }];
                    items.extend(demand.links[link].ends.map(|end| Item { lease, what: Part::Node(end) }));
                    let reason = Infeasible::TooSlow { link: demand.links[link].name.clone(), took, bound };
                    self.move_one_of(&items, &reason, false)?;
                }
            }
        }
        Ok(())
    }

    /// Moves the first of these that can, with others if need be, with components opened if need be.
    ///
    /// From a host they may leave for paths that are still to change afterwards: hosts are emptied before links are, so
    /// that each round comes nearer to the end.
    fn move_one_of(&mut self, items: &[Item], reason: &Infeasible, from_host: bool) -> Result<(), PlanError> {
        let why = reason.to_string();
        let openings = [Opening::none(self.ground), Opening::all(self.ground)];
        let openings = &openings[..if self.asked.open { 2 } else { 1 }];
        let mut last = None;
        for opening in openings {
            for most in [0, self.asked.moves] {
                for &item in items {
                    for lasting in [true, false] {
                        if !lasting && (!from_host || matches!(item.what, Part::Link(_))) {
                            continue;
                        }
                        let seated = self.situation.leases[item.lease].clone();
                        let target = Displaced { item, seated: &seated, opening, lasting };
                        if most == 0 {
                            match target.seat(&self.situation, &self.situation.ledger) {
                                Ok((at, _)) => return self.relocate(&Relocation { item, to: at }, &why),
                                Err(reason) => last = last.or(Some((item, reason))),
                            }
                        } else if let Some((moves, at)) = self.situation.make_room(&target, most, opening) {
                            let name = item.what.name(&seated.demand);
                            for moved in &moves {
                                self.relocate(moved, &format!("makes room for {}/{name}", seated.demand.id))?;
                            }
                            return self.relocate(&Relocation { item, to: at }, &why);
                        }
                    }
                }
            }
        }
        let refused = refusal::of_displaced(&self.situation, last, reason);
        Err(PlanError::Refused(Box::new(refused)))
    }
}
