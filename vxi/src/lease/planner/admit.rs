//! The first two cases of reconfiguration: a lease that asks for something else, and a new one.
//!
//! They are one search, tried from what disturbs least: as it is; its own vertices moved; others moved
//! ([`crate::lease::moves`]); and last of all components opened that are held back.

use super::{PlanError, Planning};
use crate::lease::demand::Demand;
use crate::lease::describe;
use crate::lease::ground::Placement;
use crate::lease::ledger::Where;
use crate::lease::moves::{Relocation, Seated, Situation, Target};
use crate::lease::room::Opening;
use crate::lease::target::{Admission, misplaced};
use crate::model::Timestamp;
use crate::refusal;

impl Planning<'_> {
    /// Finds a place for a request, or for the lease `own` that becomes it, and takes the steps that lead there.
    pub(super) fn admit(&mut self, demand: &Demand, start: Timestamp, own: Option<usize>) -> Result<(), PlanError> {
        let none = Opening::none(self.ground);
        let loose = own.map(|own| misplaced(&self.situation, own, demand)).unwrap_or_default();
        let target = Admission { demand, start, own, loose: loose.clone(), opening: &none };
        // Where others have to move it is enough to find any place; a proof is for the place that is there already.
        let proving = Situation { search: self.asked.search, ..self.situation.clone() };
        let reason = match target.seat(&proving, &proving.ledger) {
            Ok((at, _)) => return self.seat(demand, start, own, at, &[]),
            Err(reason) => reason,
        };
        if let Some(at) = self.with_own_moved(&loose, &none, demand, start, own) {
            return self.seat(demand, start, own, at, &[]);
        }
        if let Some((moves, at)) = self.situation.make_room(&target, self.asked.moves, &none) {
            return self.seat(demand, start, own, at, &moves);
        }
        if self.asked.open && self.has_closed() {
            if let Some(at) = self.with_fewest_opened(&loose, demand, start, own) {
                return self.seat(demand, start, own, at, &[]);
            }
            let all = Opening::all(self.ground);
            if let Some(at) = self.with_own_moved(&loose, &all, demand, start, own) {
                return self.seat(demand, start, own, at, &[]);
            }
            let target = Admission { demand, start, own, loose: loose.clone(), opening: &all };
            if let Some((moves, at)) = self.situation.make_room(&target, self.asked.moves, &all) {
                return self.seat(demand, start, own, at, &moves);
            }
        }
        let opening = if self.asked.open { Opening::all(self.ground) } else { none.clone() };
        let target = Admission { demand, start, own, loose, opening: &opening };
        Err(PlanError::Refused(Box::new(refusal::explain(&self.situation, &target, &reason))))
    }

    fn has_closed(&self) -> bool {
        let after = &self.ground.after;
        after.hosts.iter().any(|host| host.provisioned) || after.links.iter().any(|link| link.provisioned)
    }

    /// A place for a lease that changes, with at most so many of its own vertices moved, the cheapest first.
    fn with_own_moved(
        &self,
        loose: &[usize],
        opening: &Opening,
        demand: &Demand,
        start: Timestamp,
        own: Option<usize>,
    ) -> Option<Placement> {
        own?;
        let mut nodes: Vec<usize> = (0..demand.nodes.len()).filter(|node| !loose.contains(node)).collect();
        nodes.sort_by_key(|&node| (demand.nodes[node].bytes(), node));
        let most = self.asked.moves.min(nodes.len());
        let seat = |more: &[usize]| {
            let loose = loose.iter().chain(more).copied().collect();
            let target = Admission { demand, start, own, loose, opening };
            target.seat(&self.situation, &self.situation.ledger).ok().map(|(at, _)| at)
        };
        // One of them, any two of the cheapest, then the cheapest three, four, ...
        let ones = (most >= 1).then(|| nodes.iter().map(|&node| vec![node])).into_iter().flatten();
        let few = &nodes[..nodes.len().min(12)];
        let pairs = few.iter().enumerate().flat_map(|(at, &a)| few[..at].iter().map(move |&b| vec![b, a]));
        let pairs = (most >= 2).then_some(pairs).into_iter().flatten();
        let more = (3..=most).map(|count| nodes[..count].to_vec());
        ones.chain(pairs).chain(more).find_map(|more| seat(&more))
    }

    /// A place with as few components opened as it takes, cheap ones before dear ones.
    fn with_fewest_opened(
        &self,
        loose: &[usize],
        demand: &Demand,
        start: Timestamp,
        own: Option<usize>,
    ) -> Option<Placement> {
        let seat = |opening: &Opening| {
            let target = Admission { demand, start, own, loose: loose.to_vec(), opening };
            target.seat(&self.situation, &self.situation.ledger).ok().map(|(at, _)| at)
        };
        let mut best = seat(&Opening::all(self.ground))?;
        let after = &self.ground.after;
        let none = Opening::none(self.ground);
        let mut closed: Vec<(u64, Where)> = Vec::new();
        let hosts = after.hosts.iter().enumerate().filter(|(_, host)| host.provisioned);
        closed.extend(hosts.map(|(n, host)| (host.cost, Where::Host(n))));
        let links = after.links.iter().enumerate().filter(|(_, link)| link.provisioned);
        closed.extend(links.map(|(n, link)| (link.cost, Where::Link(n))));
        closed.sort_by_key(|&(cost, _)| cost);
        for &(_, only) in closed.iter().take(64) {
            let mut opening = none.clone();
            opening.set(only, true);
            if let Some(at) = seat(&opening) {
                return Some(at);
            }
        }
        // No single one does: of those that the search took, do without the dearest first.
        let mut opening = none.with(&best);
        for &(_, without) in closed.iter().rev() {
            let mut fewer = opening.clone();
            fewer.set(without, false);
            if fewer == opening {
                continue;
            }
            if let Some(at) = seat(&fewer) {
                opening = none.with(&at).and(&fewer);
                best = at;
            }
        }
        Some(best)
    }

    /// Moves what makes room, then grants or changes the lease.
    fn seat(
        &mut self,
        demand: &Demand,
        start: Timestamp,
        own: Option<usize>,
        at: Placement,
        moves: &[Relocation],
    ) -> Result<(), PlanError> {
        for moved in moves {
            self.relocate(moved, &format!("makes room for {}", demand.id))?;
        }
        let seated = Seated { demand: demand.clone(), start, at };
        let mut next = self.situation.clone();
        let step = match own {
            None => {
                next.push(seated.clone());
                describe::granted(self.ground, &seated)
            }
            Some(own) => {
                let step = describe::changed(self.ground, &self.situation.leases[own], &seated);
                next.reseat(own, seated);
                step
            }
        };
        self.step(step, next)
    }
}
