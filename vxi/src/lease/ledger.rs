//! Who holds what of each component, over time, and whether it is there.
//!
//! A [`Hold`] is all that one lease has. Adding up holds gives a [`Ledger`]; it is feasible when nothing is held that is
//! not there. That check knows nothing of how a placement was found: it is what every plan is measured by.

use thiserror::Error;

use super::demand::Demand;
use super::ground::{Ground, Placement};
use crate::calendar::{Steps, Window};
use crate::model::{BitsPerSecond, Nanos, Timestamp};
use crate::substrate::{Amounts, Host, Link, Measure, Substrate};

/// What a lease holds, virtual component by virtual component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    nodes: Vec<NodeHold>,
    ways: Vec<WayHold>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeHold {
    name: String,
    host: usize,
    amounts: Amounts<Steps>,
    present: Steps,
    exclusive: bool,
}

/// One physical link (and the hosts at its ends) below one virtual link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WayHold {
    name: String,
    link: usize,
    bandwidth: Steps,
    present: Steps,
}

impl Hold {
    /// What a demand holds from `now` on when it starts at `start` and is placed so.
    pub fn of(demand: &Demand, start: Timestamp, placement: &Placement, now: Timestamp) -> Self {
        Self {
            nodes: (0..demand.nodes.len()).map(|node| Self::node(demand, start, placement, node, now)).collect(),
            ways: (0..demand.links.len()).flat_map(|link| Self::ways(demand, start, placement, link, now)).collect(),
        }
    }

    /// What the links of a demand hold, of those for which `which` is true.
    pub fn of_links(
        demand: &Demand,
        start: Timestamp,
        placement: &Placement,
        now: Timestamp,
        which: impl Fn(usize) -> bool,
    ) -> Self {
        let links = (0..demand.links.len()).filter(|&link| which(link));
        let ways = links.flat_map(|link| Self::ways(demand, start, placement, link, now)).collect();
        Self { nodes: Vec::new(), ways }
    }

    /// What the nodes of a demand hold, of those for which `which` is true.
    pub fn of_nodes(
        demand: &Demand,
        start: Timestamp,
        placement: &Placement,
        now: Timestamp,
        which: impl Fn(usize) -> bool,
    ) -> Self {
        let nodes = (0..demand.nodes.len()).filter(|&node| which(node));
        Self { nodes: nodes.map(|node| Self::node(demand, start, placement, node, now)).collect(), ways: Vec::new() }
    }

    fn node(demand: &Demand, start: Timestamp, placement: &Placement, node: usize, now: Timestamp) -> NodeHold {
        let asked = &demand.nodes[node];
        let (mut amounts, mut present) = (Amounts::<Steps>::default(), Steps::default());
        for (period, window) in future(demand, start, now) {
            present.set(window, 1);
            for measure in Measure::ALL {
                amounts.of_mut(measure).set(window, *asked.amounts[period].of(measure));
            }
        }
        let host = placement.hosts[node];
        NodeHold { name: asked.name.clone(), host, amounts, present, exclusive: asked.exclusive }
    }

    fn ways(demand: &Demand, start: Timestamp, placement: &Placement, link: usize, now: Timestamp) -> Vec<WayHold> {
        let mut ways: Vec<WayHold> = Vec::new();
        for path in &placement.routes[link] {
            let (mut bandwidth, mut present) = (Steps::default(), Steps::default());
            for (period, window) in future(demand, start, now) {
                present.set(window, 1);
                bandwidth.set(window, path.bandwidth[period]);
            }
            for &on in &path.links {
                match ways.iter_mut().find(|way| way.link == on) {
                    Some(way) => way.bandwidth = way.bandwidth.combine(&bandwidth, u64::saturating_add),
                    None => ways.push(WayHold {
                        name: demand.links[link].name.clone(),
                        link: on,
                        bandwidth: bandwidth.clone(),
                        present: present.clone(),
                    }),
                }
            }
        }
        ways
    }

    /// What both hold.
    pub fn append(&mut self, mut other: Self) {
        self.nodes.append(&mut other.nodes);
        self.ways.append(&mut other.ways);
    }

    /// What is held while `self` becomes `next`: everything of both, counted once where a virtual component stays on
    /// the same physical one.
    #[must_use]
    pub fn until(&self, next: &Self) -> Self {
        let mut both = next.clone();
        for held in &self.nodes {
            match both.nodes.iter_mut().find(|n| n.host == held.host && n.name == held.name) {
                Some(same) => {
                    same.present = same.present.combine(&held.present, u64::max);
                    for measure in Measure::ALL {
                        let larger = same.amounts.of(measure).combine(held.amounts.of(measure), u64::max);
                        *same.amounts.of_mut(measure) = larger;
                    }
                }
                None => both.nodes.push(held.clone()),
            }
        }
        let mut known: std::collections::HashMap<(String, usize), usize> =
            both.ways.iter().enumerate().map(|(at, way)| ((way.name.clone(), way.link), at)).collect();
        for held in &self.ways {
            match known.get(&(held.name.clone(), held.link)) {
                Some(&at) => {
                    let same = &mut both.ways[at];
                    same.present = same.present.combine(&held.present, u64::max);
                    same.bandwidth = same.bandwidth.combine(&held.bandwidth, u64::max);
                }
                None => {
                    known.insert((held.name.clone(), held.link), both.ways.len());
                    both.ways.push(held.clone());
                }
            }
        }
        both
    }
}

/// The periods that are not over, and what of them is left.
pub(crate) fn future(demand: &Demand, start: Timestamp, now: Timestamp) -> impl Iterator<Item = (usize, Window)> {
    let windows = demand.windows(start).into_iter().enumerate();
    windows.filter_map(move |(period, window)| Some((period, window?.not_before(now)?)))
}

/// What is held of each component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub hosts: Vec<HostBook>,
    pub links: Vec<LinkBook>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostBook {
    pub allocated: Amounts<Steps>,
    /// Virtual vertices on it.
    pub nodes: Steps,
    /// Of them those that want it alone.
    pub exclusive: Steps,
    /// Paths that end at or go through it, by the physical links that they use.
    pub traffic: Steps,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkBook {
    pub allocated: Steps,
    /// Virtual links on it.
    pub ways: Steps,
}

impl HostBook {
    /// 1 or more while anything is on it.
    pub fn users(&self) -> Steps {
        self.nodes.combine(&self.traffic, u64::saturating_add)
    }
}

impl Ledger {
    /// Nobody holds anything.
    pub fn new(ground: &Ground) -> Self {
        Self {
            hosts: vec![HostBook::default(); ground.during.hosts.len()],
            links: vec![LinkBook::default(); ground.during.links.len()],
        }
    }

    /// One lease more.
    pub fn add(&mut self, ground: &Ground, hold: &Hold) {
        self.shift(ground, hold, u64::saturating_add);
    }

    /// One lease less. It must be in it.
    pub fn take(&mut self, ground: &Ground, hold: &Hold) {
        self.shift(ground, hold, u64::saturating_sub);
    }

    fn shift(&mut self, ground: &Ground, hold: &Hold, by: impl Fn(u64, u64) -> u64 + Copy) {
        let change = |steps: &mut Steps, other: &Steps| {
            if !other.is_zero() {
                *steps = steps.combine(other, by);
            }
        };
        for node in &hold.nodes {
            let book = &mut self.hosts[node.host];
            change(&mut book.nodes, &node.present);
            if node.exclusive {
                change(&mut book.exclusive, &node.present);
            }
            for measure in Measure::ALL {
                change(book.allocated.of_mut(measure), node.amounts.of(measure));
            }
        }
        for way in &hold.ways {
            let book = &mut self.links[way.link];
            change(&mut book.allocated, &way.bandwidth);
            change(&mut book.ways, &way.present);
            for end in ground.ends[way.link] {
                change(&mut self.hosts[end].traffic, &way.present);
            }
        }
    }

    /// Whether everything that is held from `now` on is there in `substrate`.
    pub fn check(&self, substrate: &Substrate, now: Timestamp) -> Result<(), Infeasible> {
        self.violation(substrate, now).map_or(Ok(()), |(_, infeasible)| Err(infeasible))
    }

    /// The first component that more is held of than there is; hosts before links.
    pub fn violation(&self, substrate: &Substrate, now: Timestamp) -> Option<(Where, Infeasible)> {
        let hosts = self.hosts.iter().zip(&substrate.hosts).enumerate();
        let of_host =
            |(n, (book, host)): (usize, (&HostBook, &Host))| Some((Where::Host(n), book.violation(host, now)?));
        let links = self.links.iter().zip(&substrate.links).enumerate();
        let of_link =
            |(n, (book, link)): (usize, (&LinkBook, &Link))| Some((Where::Link(n), book.violation(link, now)?));
        hosts.filter_map(of_host).next().or_else(|| links.filter_map(of_link).next())
    }
}

/// The first instant from `now` on at which more is held than there is, and both amounts.
fn lacking(held: &Steps, there: &Steps, now: Timestamp) -> Option<(Timestamp, u64, u64)> {
    let lacking = held.combine(there, u64::saturating_sub);
    let short = |(piece, by): (Window, u64)| (by > 0).then(|| piece.not_before(now))?;
    let at = lacking.pieces().find_map(short)?.from;
    Some((at, held.at(at), there.at(at)))
}

/// A component that is there may have any number of users, one that is not none.
fn admitted(there: &Steps) -> Steps {
    there.map(|there| if there == 0 { 0 } else { u64::MAX })
}

impl HostBook {
    fn violation(&self, host: &Host, now: Timestamp) -> Option<Infeasible> {
        let component = || host.name.clone();
        if let Some((at, _, _)) = lacking(&self.users(), &admitted(&host.there), now) {
            return Some(Infeasible::Gone { component: component(), at });
        }
        for measure in Measure::ALL {
            if let Some((at, held, there)) = lacking(self.allocated.of(measure), host.capacity.of(measure), now) {
                let (held, there) = (measure.show(held), measure.show(there));
                return Some(Infeasible::TooMuch { component: component(), at, held, there });
            }
        }
        let beside = self.exclusive.combine(&self.nodes, |alone, all| if alone > 0 { all } else { 0 });
        let (at, held, _) = lacking(&beside, &Steps::constant(1), now)?;
        Some(Infeasible::NotAlone { component: component(), at, held })
    }
}

impl LinkBook {
    fn violation(&self, link: &Link, now: Timestamp) -> Option<Infeasible> {
        let component = link.name.clone();
        if let Some((at, _, _)) = lacking(&self.ways, &admitted(&link.there), now) {
            return Some(Infeasible::Gone { component, at });
        }
        let (at, held, there) = lacking(&self.allocated, &link.bandwidth, now)?;
        let [held, there] = [held, there].map(|amount| BitsPerSecond(amount).to_string());
        Some(Infeasible::TooMuch { component, at, held, there })
    }
}

/// A component by its place in the substrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Host(usize),
    Link(usize),
}

/// Something is held that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Infeasible {
    /// More than the capacity.
    #[error("{component}: {held} leased at {at}, and {there} there")]
    TooMuch {
        /// The component.
        component: String,
        /// The first instant.
        at: Timestamp,
        /// What is held then.
        held: String,
        /// What is there then.
        there: String,
    },
    /// Something that is not there at all.
    #[error("{component}: leased at {at}, and not there")]
    Gone {
        /// The component.
        component: String,
        /// The first instant.
        at: Timestamp,
    },
    /// A path that takes longer than its link may.
    #[error("link {link}: its path takes {}, {} at most were asked for", Nanos(*took), Nanos(*bound))]
    TooSlow {
        /// The virtual link.
        link: String,
        /// In nanoseconds.
        took: u64,
        /// In nanoseconds.
        bound: u64,
    },
    /// Others beside one that wants its host alone.
    #[error("{component}: leased at {at} to one that wants it alone, and to {held} in all")]
    NotAlone {
        /// The component.
        component: String,
        /// The first instant.
        at: Timestamp,
        /// Virtual vertices there.
        held: u64,
    },
}
