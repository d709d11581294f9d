//! Making a plan: what ended goes, what was added comes, what leaves is emptied, then leases change and are granted.
//!
//! In this order each step finds the most room. The three cases of reconfiguration: a lease grows and a new one comes
//! ([`admit`]), and what carries leases leaves ([`leave`]). Every step is checked against the calendar before it becomes part of the plan, both while it is
//! done and afterwards: the check does not trust the search.

mod admit;
mod leave;

use thiserror::Error;

use super::demand::Demand;
use super::ground::{Ground, GroundError};
use super::ledger::{Infeasible, Ledger};
use super::moves::{Relocation, Seated, Situation};
use super::place::Search;
use super::plan::{Plan, Step};
use super::{Lease, State, describe};
use crate::model::Timestamp;
use crate::refusal::Refused;
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
}
