//! Trying out what would fit.

use crate::calendar::Window;
use crate::embed::Refusal;
use crate::lease::demand::Demand;
use crate::lease::ground::Placement;
use crate::lease::ledger::future;
use crate::lease::moves::{Situation, Target};
use crate::lease::place::{NoPlace, suits, windows};
use crate::lease::room::Room;
use crate::lease::target::Admission;
use crate::model::Timestamp;
use crate::substrate::{Amounts, LINK_GRAIN, Measure};

use super::{Binding, Relaxation};

/// Searches for an embedding that an explanation is worth.
const ATTEMPTS: usize = 240;

/// Relaxations that are reported.
const SHOWN: usize = 3;

/// See the module.
pub(super) struct Trial<'a> {
    situation: &'a Situation<'a>,
    target: &'a Admission<'a>,
    /// The periods that are not over.
    periods: Vec<usize>,
    attempts: usize,
}

/// One thing that can be relaxed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Knob {
    /// Of all parts of the link of the file that this is a part of.
    Bandwidth { link: usize, period: usize },
    /// Of all elements of the member that this is one of.
    Capacity { node: usize, measure: Measure },
    /// Of all elements, every capacity.
    Size { node: usize },
    /// Of all parts.
    Latency { link: usize },
    /// Of all elements.
    Anchor { node: usize },
}

type Found = (Relaxation, Option<Binding>);

impl<'a> Trial<'a> {
    pub fn new(situation: &'a Situation<'a>, target: &'a Admission<'a>) -> Self {
        let periods = future(target.demand, target.start, situation.now).map(|(period, _)| period).collect();
        Self { situation, target, periods, attempts: 0 }
    }

    /// Where a variant of the demand would be.
    fn fits(&mut self, demand: &Demand, start: Timestamp) -> Option<Placement> {
        self.attempts += 1;
        let target = Admission { demand, start, loose: self.target.loose.clone(), ..*self.target };
        target.seat(self.situation, &self.situation.ledger).ok().map(|(at, _)| at)
    }

    fn fits_with(&mut self, knob: Knob, value: u64) -> Option<Placement> {
        let demand = self.relaxed(knob, value);
        self.fits(&demand, self.target.start)
    }

    /// Every single relaxation that helps, the smallest first, and what each says about what is in the way.
    pub fn relaxations(&mut self, reason: &NoPlace) -> Vec<Found> {
        if matches!(reason, NoPlace::TooLarge(_) | NoPlace::Over) {
            return Vec::new();
        }
        let mut found: Vec<(u64, Found)> = Vec::new();
        for knob in self.knobs(reason) {
            if self.attempts >= ATTEMPTS {
                break;
            }
            if let Knob::Size { node } = knob {
                // One capacity alone says it better than all of them.
                let whole = &self.target.demand.nodes[node].whole;
                let alone = |(_, (relaxation, _)): &(u64, Found)| matches!(relaxation, Relaxation::Capacity { node, .. } if node == whole);
                if found.iter().any(alone) {
                    continue;
                }
            }
            found.extend(self.least(knob));
        }
        // What is short comes before what could give way to it; of each kind the smallest first.
        found.sort_by_key(|(given_up, (_, binding))| (binding.is_none(), *given_up));
        found.truncate(SHOWN);
        let mut found: Vec<Found> = found.into_iter().map(|(_, found)| found).collect();
        if found.is_empty() {
            found.extend(self.all_bandwidth().map(|relaxation| (relaxation, None)));
        }
        if found.len() < SHOWN {
            found.extend(self.later().map(|relaxation| (relaxation, None)));
        }
        found
    }

    /// What can be relaxed, what the search stumbled over first.
    fn knobs(&self, reason: &NoPlace) -> Vec<Knob> {
        let demand = self.target.demand;
        let mut knobs = Vec::new();
        // In a changed lease the search numbers only what it had to place.
        if self.target.own.is_none() {
            match reason {
                NoPlace::Search(Refusal::NoPath { link, period, .. }) => {
                    if let Some(&period) = self.periods.get(*period) {
                        knobs.push(Knob::Bandwidth { link: link.0 as usize, period });
                    }
                }
                NoPlace::Search(Refusal::TooSlow { link, .. }) => knobs.push(Knob::Latency { link: link.0 as usize }),
                NoPlace::Search(Refusal::NoHost { node, shortage: Some(short) }) => {
                    knobs.push(Knob::Capacity { node: node.0 as usize, measure: Measure::ALL[short.resource] });
                }
                _ => {}
            }
        }
        let first_of = |names: Vec<&str>| -> Vec<usize> {
            let mut seen = std::collections::HashSet::new();
            names.iter().enumerate().filter(|(_, name)| seen.insert(**name)).map(|(at, _)| at).collect()
        };
        let links = first_of(demand.links.iter().map(|link| link.whole.as_str()).collect());
        let nodes = first_of(demand.nodes.iter().map(|node| node.whole.as_str()).collect());
        for &link in &links {
            let asked = self.periods.iter().filter(|&&period| demand.links[link].bandwidth[period] > 0);
            knobs.extend(asked.map(|&period| Knob::Bandwidth { link, period }));
        }
        for &node in &nodes {
            let peak = demand.nodes[node].peak();
            let asked = Measure::ALL.into_iter().filter(|&measure| *peak.of(measure) > 0);
            let asked: Vec<Measure> = asked.collect();
            knobs.extend(asked.iter().map(|&measure| Knob::Capacity { node, measure }));
            knobs.extend((asked.len() > 1).then_some(Knob::Size { node }));
        }
        let bounded = links.iter().filter(|&&link| demand.links[link].latency.is_some());
        knobs.extend(bounded.map(|&link| Knob::Latency { link }));
        let anchored = nodes.iter().filter(|&&node| demand.nodes[node].site.is_some());
        knobs.extend(anchored.map(|&node| Knob::Anchor { node }));
        let mut distinct: Vec<Knob> = Vec::new();
        for knob in knobs {
            if !distinct.iter().any(|known| self.same(*known, knob)) {
                distinct.push(knob);
            }
        }
        distinct
    }

    /// Whether two knobs turn the same thing of the file.
    fn same(&self, a: Knob, b: Knob) -> bool {
        let demand = self.target.demand;
        let link = |a: usize, b: usize| demand.links[a].whole == demand.links[b].whole;
        let node = |a: usize, b: usize| demand.nodes[a].whole == demand.nodes[b].whole;
        match (a, b) {
            (Knob::Bandwidth { link: l, period: p }, Knob::Bandwidth { link: m, period: q }) => link(l, m) && p == q,
            (Knob::Capacity { node: l, measure: p }, Knob::Capacity { node: m, measure: q }) => node(l, m) && p == q,
            (Knob::Size { node: l }, Knob::Size { node: m }) => node(l, m),
            (Knob::Latency { link: l }, Knob::Latency { link: m }) => link(l, m),
            (Knob::Anchor { node: l }, Knob::Anchor { node: m }) => node(l, m),
            _ => false,
        }
    }

    /// The demand with one thing at most `value`; for a latency at least.
    fn relaxed(&self, knob: Knob, value: u64) -> Demand {
        let mut demand = self.target.demand.clone();
        match knob {
            Knob::Bandwidth { link, period } => {
                let whole = demand.links[link].whole.clone();
                for link in demand.links.iter_mut().filter(|link| link.whole == whole) {
                    link.bandwidth[period] = link.bandwidth[period].min(value);
                }
            }
            Knob::Capacity { node, measure } => {
                let whole = demand.nodes[node].whole.clone();
                let nodes = demand.nodes.iter_mut().filter(|node| node.whole == whole);
                for amounts in nodes.flat_map(|node| &mut node.amounts) {
                    let amount = amounts.of_mut(measure);
                    *amount = (*amount).min(value);
                }
            }
            Knob::Size { node } => {
                let whole = demand.nodes[node].whole.clone();
                let nodes = demand.nodes.iter_mut().filter(|node| node.whole == whole);
                for amounts in nodes.flat_map(|node| &mut node.amounts) {
                    *amounts = amounts.map(|_, &amount| (u128::from(amount) * u128::from(value) / 100) as u64);
                }
            }
            Knob::Latency { link } => {
                let whole = demand.links[link].whole.clone();
                for link in demand.links.iter_mut().filter(|link| link.whole == whole) {
                    link.latency = if value == u64::MAX { None } else { link.latency.map(|bound| bound.max(value)) };
                }
            }
            Knob::Anchor { node } => {
                let whole = demand.nodes[node].whole.clone();
                demand.nodes.iter_mut().filter(|node| node.whole == whole).for_each(|node| node.site = None);
            }
        }
        demand
    }

    /// The least relaxation by one knob, with the share of it that is given up in parts of 10,000.
    fn least(&mut self, knob: Knob) -> Option<(u64, Found)> {
        let demand = self.target.demand;
        match knob {
            Knob::Bandwidth { link, period } => {
                let asked = demand.links[link].bandwidth[period];
                self.fits_with(knob, 0)?;
                let (fits, at) = self.most_that_fits(knob, asked, LINK_GRAIN)?;
                let whole = &demand.links[link].whole;
                let parts = demand.links.iter().filter(|link| link.whole == *whole).count();
                let (link_name, period_name) = (whole.clone(), demand.period_name(period));
                let relaxation =
                    Relaxation::Bandwidth { link: link_name.clone(), parts, period: period_name.clone(), asked, fits };
                let ends = demand.links[link].ends.map(|end| at.hosts[end]);
                let (between, free) = (self.places(ends), self.widest(ends, period));
                // Where each of its parts alone has room, it is their sum that has none: then it is no single link's
                // fault, and only the relaxation is told.
                let short = free < asked;
                let binding = Binding::Bandwidth { link: link_name, parts, between, period: period_name, asked, free };
                Some((share(asked - fits, asked), (relaxation, short.then_some(binding))))
            }
            Knob::Capacity { node, measure } => {
                let asked = *demand.nodes[node].peak().of(measure);
                self.fits_with(knob, 0)?;
                let (fits, _) = self.most_that_fits(knob, asked, measure.grain())?;
                let whole = &demand.nodes[node].whole;
                let count = demand.nodes.iter().filter(|node| node.whole == *whole).count();
                let relaxation = Relaxation::Capacity { node: whole.clone(), count, measure, asked, fits };
                Some((share(asked - fits, asked), (relaxation, self.short(node))))
            }
            Knob::Size { node } => self.smaller(node),
            Knob::Latency { link } => {
                let asked = demand.links[link].latency?;
                let at = self.fits_with(knob, u64::MAX)?;
                let mut fits = self.slowest(&demand.links[link].whole, &at).max(asked);
                // What was found without a bound may be slower than need be.
                let (mut too_quick, step) = (asked, 1000);
                while fits - too_quick > step && self.attempts < ATTEMPTS {
                    let middle = too_quick + (fits - too_quick) / 2;
                    match self.fits_with(knob, middle) {
                        Some(at) => fits = self.slowest(&demand.links[link].whole, &at).clamp(too_quick + 1, middle),
                        None => too_quick = middle,
                    }
                }
                let name = demand.links[link].whole.clone();
                let relaxation = Relaxation::Latency { link: name.clone(), asked, fits: Some(fits) };
                let binding = Binding::Latency { link: name, bound: asked, least: fits };
                Some((share(fits - asked, fits.max(1)), (relaxation, Some(binding))))
            }
            Knob::Anchor { node } => {
                let at = self.fits_with(knob, 0)?;
                let site = demand.nodes[node].site.clone()?;
                let host = self.situation.ground.after.hosts[at.hosts[node]].name.clone();
                let relaxation = Relaxation::Anchor { node: demand.nodes[node].whole.clone(), site, host };
                Some((10_000, (relaxation, None)))
            }
        }
    }

    /// Bisects between nothing, which fits, and `asked`, which does not, in steps of the search's unit.
    fn most_that_fits(&mut self, knob: Knob, asked: u64, grain: u64) -> Option<(u64, Placement)> {
        let mut best = (0, self.fits_with(knob, 0)?);
        let mut too_much = asked.div_ceil(grain);
        while too_much - best.0 > 1 && self.attempts < ATTEMPTS {
            let middle = best.0 + (too_much - best.0) / 2;
            match self.fits_with(knob, middle * grain) {
                Some(at) => best = (middle, at),
                None => too_much = middle,
            }
        }
        Some((best.0 * grain, best.1))
    }

    /// A vertex as large as the host that has most of what it asks for; if that is not enough, a hundredth smaller and
    /// smaller.
    fn smaller(&mut self, node: usize) -> Option<(u64, Found)> {
        let demand = self.target.demand;
        self.fits_with(Knob::Size { node }, 0)?;
        let (whole, asked) = (demand.nodes[node].whole.clone(), demand.nodes[node].peak());
        let room = self.room();
        let mut sizes: Vec<(u64, Amounts<u64>)> = Vec::new();
        for host in self.suited(node) {
            let free = |measure| (0..self.periods.len()).map(|n| room.host(host, n, measure)).min().unwrap_or(0);
            let size = asked.map(|measure, &asked| asked.min(free(measure)));
            sizes.push((given_up(&asked, &size), size));
        }
        sizes.sort_by_key(|&(given_up, _)| given_up);
        sizes.dedup();
        for (given_up, size) in sizes.into_iter().take(4) {
            let mut demand = demand.clone();
            let nodes = demand.nodes.iter_mut().filter(|node| node.whole == whole);
            for amounts in nodes.flat_map(|node| &mut node.amounts) {
                *amounts = amounts.map(|measure, &amount| amount.min(*size.of(measure)));
            }
            if self.fits(&demand, self.target.start).is_some() {
                return Some(self.size(node, size, given_up));
            }
        }
        let (percent, _) = self.most_that_fits(Knob::Size { node }, 100, 1)?;
        let size = asked.map(|_, &amount| (u128::from(amount) * u128::from(percent) / 100) as u64);
        Some(self.size(node, size.clone(), given_up(&asked, &size)))
    }

    fn size(&self, node: usize, fits: Amounts<u64>, given_up: u64) -> (u64, Found) {
        let nodes = &self.target.demand.nodes;
        let (whole, asked) = (nodes[node].whole.clone(), nodes[node].peak());
        let count = nodes.iter().filter(|node| node.whole == whole).count();
        (given_up, (Relaxation::Size { node: whole, count, asked, fits }, self.short(node)))
    }

    /// The hosts that may carry a node, whatever is free.
    fn suited(&self, node: usize) -> Vec<usize> {
        let (hosts, asked) = (&self.situation.ground.after.hosts, &self.target.demand.nodes[node]);
        (0..hosts.len()).filter(|&host| suits(&hosts[host], asked)).collect()
    }

    /// What a node lacks where it lacks least, if no host has room for it whatever the rest of the request does.
    fn short(&self, node: usize) -> Option<Binding> {
        let (room, demand) = (self.room(), self.target.demand);
        let asked = &demand.nodes[node];
        let mut nearest: Option<(u64, Binding)> = None;
        for host in self.suited(node) {
            let mut worst: Option<(u64, Binding)> = None;
            for (n, &period) in self.periods.iter().enumerate() {
                for measure in Measure::ALL {
                    let (asks, free) = (*asked.amounts[period].of(measure), room.host(host, n, measure));
                    let lacks = share(asks.saturating_sub(free), asks);
                    if asks > free && worst.as_ref().is_none_or(|(known, _)| lacks > *known) {
                        let binding = Binding::Capacity {
                            node: asked.whole.clone(),
                            count: demand.nodes.iter().filter(|node| node.whole == asked.whole).count(),
                            measure,
                            period: demand.period_name(period),
                            asked: asks,
                            free,
                            host: self.situation.ground.after.hosts[host].name.clone(),
                        };
                        worst = Some((lacks, binding));
                    }
                }
            }
            let (lacks, binding) = worst?;
            if nearest.as_ref().is_none_or(|(known, _)| lacks < *known) {
                nearest = Some((lacks, binding));
            }
        }
        nearest.map(|(_, binding)| binding)
    }

    /// The first node that no host has room for, whatever the rest of the request does.
    pub fn too_large_alone(&self) -> Option<Binding> {
        (0..self.target.demand.nodes.len()).find_map(|node| self.short(node))
    }

    fn all_bandwidth(&mut self) -> Option<Relaxation> {
        let scaled = |demand: &Demand, percent: u64| {
            let mut demand = demand.clone();
            for bandwidth in demand.links.iter_mut().flat_map(|link| &mut link.bandwidth) {
                *bandwidth = (u128::from(*bandwidth) * u128::from(percent) / 100) as u64;
            }
            demand
        };
        let (mut fits, mut too_much) = (0, 100);
        if self.target.demand.links.is_empty() {
            return None;
        }
        self.fits(&scaled(self.target.demand, 0), self.target.start)?;
        while too_much - fits > 1 {
            let middle = u64::midpoint(fits, too_much);
            match self.fits(&scaled(self.target.demand, middle), self.target.start) {
                Some(_) => fits = middle,
                None => too_much = middle,
            }
        }
        Some(Relaxation::AllBandwidth { percent: fits as u8 })
    }

    /// The first instant at which anything ends from which on all of it fits. For a request that is not running yet.
    fn later(&mut self) -> Option<Relaxation> {
        if self.target.own.is_some() {
            return None;
        }
        let ledger = &self.situation.ledger;
        let after = &self.situation.ground.after;
        let books = ledger.hosts.iter().map(|book| &book.nodes).chain(ledger.links.iter().map(|book| &book.ways));
        let there = after.hosts.iter().map(|host| &host.there).chain(after.links.iter().map(|link| &link.there));
        let mut instants: Vec<Timestamp> = books.chain(there).flat_map(|steps| steps.changes()).collect();
        instants.retain(|&at| at > self.target.start && at > self.situation.now);
        instants.sort_unstable();
        instants.dedup();
        let demand = self.target.demand;
        for at in instants.into_iter().take(16) {
            if self.fits(&demand.clone(), at).is_some() {
                return Some(Relaxation::Start { at });
            }
        }
        None
    }

    fn room(&self) -> Room {
        let windows: Vec<Window> = windows(self.target.demand, self.target.start, self.situation.now);
        let ground = self.situation.ground;
        Room::of(ground, &ground.after, &self.situation.ledger, &windows, self.target.opening)
    }

    /// The most that one path between two hosts has free in a period.
    fn widest(&self, [from, to]: [usize; 2], period: usize) -> u64 {
        let room = self.room();
        let Some(n) = self.periods.iter().position(|&p| p == period) else { return 0 };
        let mut width = vec![0; self.situation.ground.after.hosts.len()];
        width[from] = u64::MAX;
        // As many rounds as hosts are enough (Bellman and Ford); as few as there are hops usually are.
        for _ in 0..width.len() {
            let mut changed = false;
            for (link, &[a, b]) in self.situation.ground.ends.iter().enumerate() {
                let free = room.link(link, n);
                for (near, far) in [(a, b), (b, a)] {
                    let through = width[near].min(free);
                    if through > width[far] {
                        width[far] = through;
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        if from == to { u64::MAX } else { width[to] }
    }

    fn slowest(&self, whole: &str, at: &Placement) -> u64 {
        let links = &self.situation.ground.after.links;
        let parts = self.target.demand.links.iter().zip(&at.routes).filter(|(link, _)| link.whole == whole);
        let took = parts.flat_map(|(_, paths)| paths).map(|path| {
            // The search counts in microseconds, rounded up link by link.
            path.links.iter().map(|&on| links[on].latency.0.div_ceil(1000) * 1000).sum::<u64>()
        });
        took.max().unwrap_or(0)
    }

    /// What to call two hosts: by their sites if these tell them apart.
    fn places(&self, hosts: [usize; 2]) -> [String; 2] {
        let all = &self.situation.ground.after.hosts;
        match hosts.map(|host| all[host].site.clone()) {
            [Some(a), Some(b)] if a != b => [a, b],
            _ => hosts.map(|host| all[host].name.clone()),
        }
    }
}

/// The largest share of any capacity that is given up.
fn given_up(asked: &Amounts<u64>, size: &Amounts<u64>) -> u64 {
    Measure::ALL.into_iter().map(|m| share(asked.of(m).saturating_sub(*size.of(m)), *asked.of(m))).max().unwrap_or(0)
}

fn share(given_up: u64, of: u64) -> u64 {
    (u128::from(given_up) * 10_000 / u128::from(of.max(1))) as u64
}
