//! Making a plan: what ended goes, what was added comes, what leaves is emptied, then leases change and are granted.
//!
//! In this order each step finds the most room. The three cases of reconfiguration are one search here, tried from what
//! disturbs least: as it is; its own vertices moved; others moved ([`super::moves`]); and last of all components opened
//! that are held back. Every step is checked against the calendar before it becomes part of the plan, both while it is
//! done and afterwards: the check does not trust the search.

use thiserror::Error;

use super::demand::Demand;
use super::ground::{Ground, GroundError, Placement};
use super::ledger::{Infeasible, Ledger, Where};
use super::moves::{Item, Part, Relocation, Seated, Situation, Target};
use super::place::Search;
use super::plan::{Plan, Step};
use super::room::Opening;
use super::target::{Admission, Displaced, misplaced};
use super::{Lease, State, describe};
use crate::model::Timestamp;
use crate::refusal::{self, Refused};
use crate::substrate::Substrate;

/// What should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The substrate, if it is to be another one than that of the state.
    pub substrate: Option<Substrate>,
    /// Requests: leases of other names stay as they are.
    pub requests: Vec<Demand>,
    /// Leases to be given back.
    pub release: Vec<String>,
    /// The most vertices and paths of others, or of its own, that may move so that a request fits.
    pub moves: usize,
    /// Whether components that are held back may be opened.
    pub open: bool,
    /// How embeddings are searched for.
    pub search: Search,
    /// When it is done. What is before is over.
    pub now: Timestamp,
}

/// A plan, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The steps.
    pub plan: Plan,
    /// What is there after the last of them.
    pub state: State,
    /// What is there after each of them.
    pub trace: Vec<State>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Nothing to lease from.
    #[error("there is no substrate yet: name its description")]
    NoSubstrate,
    /// The substrates or the state do not go together.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// What is there already is more than there can be.
    #[error("the state that is there is infeasible: {0}")]
    Infeasible(Infeasible),
    /// A lease that is not there.
    #[error("there is no lease {id}; there {known}")]
    NoLease {
        /// What was named.
        id: String,
        /// What is there, in words.
        known: String,
    },
    /// One name twice.
    #[error("{id} is asked for twice: give each request an id of its own, and do not release what you ask for")]
    Twice {
        /// The name.
        id: String,
    },
    /// The time of a request is over.
    #[error("{id}: its time is over, it would have ended at {until} and it is {now}: change its start date")]
    Over {
        /// The request.
        id: String,
        /// When it would have ended.
        until: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// It does not fit.
    #[error(transparent)]
    Refused(#[from] Box<Refused>),
    /// A step that the search believed in does not stand up to the check. Nothing is done.
    #[error("a step of the plan would have been infeasible and was not taken ({step}): {reason}. This is a defect")]
    Unsound {
        /// The step.
        step: String,
        /// What would have lacked.
        reason: Infeasible,
    },
}

/// The plan from a state (none: nothing is there yet) to what is asked for, and the state it leads to.
///
/// # Errors
/// There is none, or what is asked for makes no sense. Nothing is changed by asking.
pub fn plan(state: Option<&State>, asked: &Asked) -> Result<Planned, PlanError> {
    let nothing = State::default();
    let before = state.unwrap_or(&nothing);
    let after = match (&asked.substrate, state) {
        (Some(substrate), _) => substrate,
        (None, Some(state)) => &state.substrate,
        (None, None) => return Err(PlanError::NoSubstrate),
    };
    check_names(before, asked)?;
    let ground = Ground::new(&before.substrate, after)?;
    let mut planning = Planning::new(&ground, asked, before)?;
    planning.end(before)?;
    planning.release()?;
    let difference = describe::Difference { before: &before.substrate, after, now: asked.now };
    if state.is_none() {
        let (hosts, links) = (after.hosts.len(), after.links.len());
        planning.describe(vec![Step::Found { substrate: after.id.clone(), hosts, links }])?;
    } else {
        planning.describe(difference.coming())?;
    }
    planning.empty_what_leaves()?;
    planning.leave();
    planning.describe(difference.going())?;
    let requests = planning.requests()?;
    for (demand, start, own) in requests {
        planning.admit(&demand, start, own)?;
    }
    let leases = planning.named(&planning.situation);
    let state = State { substrate: after.clone(), leases };
    Ok(Planned { plan: planning.plan, state, trace: planning.trace })
}

fn check_names(before: &State, asked: &Asked) -> Result<(), PlanError> {
    let mut names = std::collections::HashSet::new();
    let ids = asked.requests.iter().map(|demand| &demand.id).chain(&asked.release);
    for id in ids {
        if !names.insert(id) {
            return Err(PlanError::Twice { id: id.clone() });
        }
    }
    for id in &asked.release {
        if !before.leases.iter().any(|lease| lease.id() == id) {
            let known: Vec<&str> = before.leases.iter().map(Lease::id).collect();
            let known = if known.is_empty() { "are none".to_owned() } else { format!("are: {}", known.join(", ")) };
            return Err(PlanError::NoLease { id: id.clone(), known });
        }
    }
    Ok(())
}

struct Planning<'g> {
    ground: &'g Ground,
    asked: &'g Asked,
    situation: Situation<'g>,
    plan: Plan,
    trace: Vec<State>,
}

type Admitted = (Demand, Timestamp, Option<usize>);

impl<'g> Planning<'g> {
    fn new(ground: &'g Ground, asked: &'g Asked, before: &State) -> Result<Self, PlanError> {
        let mut situation = Situation {
            ground,
            now: asked.now,
            search: Search::default(),
            left: false,
            leases: Vec::new(),
            ledger: Ledger::new(ground),
        };
        for lease in &before.leases {
            let at = ground.placement(lease)?;
            situation.push(Seated { demand: lease.demand.clone(), start: lease.start, at });
        }
        situation.ledger.check(&ground.during, asked.now).map_err(PlanError::Infeasible)?;
        Ok(Self { ground, asked, situation, plan: Plan::default(), trace: Vec::new() })
    }

    fn named(&self, situation: &Situation) -> Vec<Lease> {
        let lease = |seated: &Seated| {
            let (hosts, routes) = self.ground.named(&seated.at);
            Lease { demand: seated.demand.clone(), start: seated.start, hosts, routes }
        };
        situation.leases.iter().map(lease).collect()
    }

    /// Takes a step, once it has been checked.
    fn step(&mut self, step: Step, next: Situation<'g>) -> Result<(), PlanError> {
        let substrate = self.situation.substrate();
        let meanwhile = self.meanwhile(&next);
        for ledger in [&meanwhile, &next.ledger] {
            if let Err(reason) = ledger.check(substrate, self.asked.now) {
                return Err(PlanError::Unsound { step: super::show::line(&step), reason });
            }
        }
        let (before, after) = (self.opened(&self.situation), self.opened(&next));
        let lease = describe::lease_of(&step).to_owned();
        for (kind, component) in after.iter().filter(|opened| !before.contains(opened)) {
            let opened = Step::Open { kind, component: component.clone(), lease: lease.clone() };
            self.record(opened, &self.situation.clone());
        }
        self.record(step, &next);
        for (kind, component) in before.iter().filter(|opened| !after.contains(opened)) {
            self.record(Step::Close { kind, component: component.clone() }, &next);
        }
        self.situation = next;
        Ok(())
    }

    fn record(&mut self, step: Step, after: &Situation) {
        let substrate = self.situation.substrate();
        self.trace.push(State { substrate: substrate.clone(), leases: self.named(after) });
        self.plan.steps.push(step);
    }

    /// What is held while the situation becomes `next`.
    fn meanwhile(&self, next: &Situation) -> Ledger {
        let mut ledger = self.situation.ledger.clone();
        for (n, seated) in next.leases.iter().enumerate() {
            let before = self.situation.leases.iter().position(|old| old.demand.id == seated.demand.id);
            match before {
                Some(old) if self.situation.leases[old] == *seated => {}
                Some(old) => {
                    let held = self.situation.hold(old);
                    ledger.take(self.ground, &held);
                    ledger.add(self.ground, &held.until(&next.hold(n)));
                }
                None => ledger.add(self.ground, &next.hold(n)),
            }
        }
        ledger
    }

    /// Components that would be held back if nobody were on them.
    fn opened(&self, situation: &Situation) -> Vec<(&'static str, String)> {
        let used = |steps: &crate::calendar::Steps| steps.most(crate::calendar::Window::since(self.asked.now)) > 0;
        let hosts = self.ground.after.hosts.iter().zip(&situation.ledger.hosts);
        let hosts = hosts.filter(|(host, book)| host.provisioned && used(&book.users()));
        let links = self.ground.after.links.iter().zip(&situation.ledger.links);
        let links = links.filter(|(link, book)| link.provisioned && used(&book.ways));
        let hosts = hosts.map(|(host, _)| (host.kind.word(), host.name.clone()));
        hosts.chain(links.map(|(link, _)| ("link", link.name.clone()))).collect()
    }

    fn end(&mut self, before: &State) -> Result<(), PlanError> {
        for lease in before.leases.iter().filter(|lease| lease.is_over(self.asked.now)) {
            let Some(until) = lease.window().until else { continue };
            self.drop_lease(lease.id(), Step::End { lease: lease.id().to_owned(), at: until })?;
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), PlanError> {
        for id in &self.asked.release {
            self.drop_lease(id, Step::Release { lease: id.clone() })?;
        }
        Ok(())
    }

    fn drop_lease(&mut self, id: &str, step: Step) -> Result<(), PlanError> {
        let mut next = self.situation.clone();
        if let Some(at) = next.leases.iter().position(|seated| seated.demand.id == id) {
            next.remove(at);
            self.step(step, next)?;
        }
        Ok(())
    }

    /// Steps that move nothing.
    fn describe(&mut self, steps: Vec<Step>) -> Result<(), PlanError> {
        for step in steps {
            self.step(step, self.situation.clone())?;
        }
        Ok(())
    }

    /// From here on the substrate is what it will be.
    fn leave(&mut self) {
        self.situation.left = true;
    }

    /// The third case: what will not be there any more is emptied first.
    fn empty_what_leaves(&mut self) -> Result<(), PlanError> {
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

    fn relocate(&mut self, relocation: &Relocation, why: &str) -> Result<(), PlanError> {
        let lease = relocation.item.lease;
        let mut next = self.situation.clone();
        let before = next.leases[lease].clone();
        let seated = Seated { at: relocation.to.clone(), ..before.clone() };
        next.reseat(lease, seated.clone());
        let step = describe::relocated(self.ground, &before, &seated, relocation.item.what, why);
        self.step(step, next)
    }

    /// The requests that ask for anything new: changes first, because they may give something back.
    fn requests(&self) -> Result<Vec<Admitted>, PlanError> {
        let now = self.asked.now;
        let mut all = Vec::new();
        for demand in &self.asked.requests {
            let own = self.situation.leases.iter().position(|seated| seated.demand.id == demand.id);
            let granted = own.map(|own| self.situation.leases[own].start);
            let start = demand.start.or(granted).unwrap_or(now);
            if let Some(until) = demand.window(start).until.filter(|&until| until <= now) {
                return Err(PlanError::Over { id: demand.id.clone(), until, now });
            }
            let same = own.is_some_and(|own| {
                let known = &self.situation.leases[own];
                known.start == start
                    && Demand { start: None, ..known.demand.clone() } == Demand { start: None, ..demand.clone() }
            });
            if !same {
                all.push((demand.clone(), start, own));
            }
        }
        all.sort_by_key(|(_, _, own)| own.is_none());
        Ok(all)
    }

    /// The first two cases: a lease that asks for something else, or a new one.
    fn admit(&mut self, demand: &Demand, start: Timestamp, own: Option<usize>) -> Result<(), PlanError> {
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
