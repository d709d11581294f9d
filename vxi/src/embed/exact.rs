//! Branch and bound over hosts, with the routing proved along the way. Cut short it is the heuristic's second half; left
//! to end it is the exact mode.
//!
//! **What is minimised**: Σ bandwidth × hops, over all placements and all unsplit simple paths that fit together (in
//! parts of a hop, plus the price of hosts where the heuristic gives one).
//!
//! **Bound.** Virtual nodes sit on distinct hosts, so that every link costs at least its bandwidth: what a solution
//! costs beyond that is its *excess*, and a good first answer leaves little room for it. Each virtual node that is
//! not placed has a domain: the hosts from which the links to the placed ones, at their distance in what is free, do
//! not spend more than the room. The least excess of every domain adds up to the bound; an empty domain ends the branch.
//! The next virtual node is the one with the smallest domain.
//!
//! **Routing.** Distances ignore that paths compete. So a witness goes along: paths for all links between placed
//! virtual nodes. Where the shortest paths fit, their cost is the bound's. Where they do not, all simple paths within
//! the room are searched ([`Router::cheapest`]), which gives the cheapest routing, or the proof that there is none. When
//! that search is cut off nothing is concluded from it, and the branch counts as open.
//!
//! **Order.** The hosts of the first virtual node are the roots. Every root gets a few steps, then every root that is
//! not finished gets eight times as many, and so on: a good answer from one root prunes the others early. When no root
//! is left, the best is proved.

use std::time::Instant;

use super::demand::Demand;
use super::paths::{HOP, NONE};
use super::place::Standing;
use super::problem::Substrate;
use super::request::Request;
use super::residual::Residual;
use super::route::{FAR, Router, Routing, Rows};

/// How long a search may go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Hosts tried for virtual nodes, over all branches.
    pub steps: u64,
    /// Wall-clock end, for those who wait for a proof.
    pub deadline: Option<Instant>,
    /// What differs by less than this part of the best is not looked for: 0 for a proof.
    pub tolerance: f64,
    /// Path extensions that proving one routing may take.
    pub routing: u64,
}

/// What a search found out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// Something cheaper than what it was started from: hosts and paths.
    pub better: Option<(Vec<u32>, Vec<Vec<u32>>)>,
    /// Nothing costs less than this, in parts of a hop.
    pub bound: u64,
    /// Whether everything was looked at, up to the tolerance.
    pub finished: bool,
}

/// A host that a virtual node might go to, and what its links to the placed ones cost beyond their floor.
#[derive(Clone, Copy)]
struct Choice {
    excess: u64,
    host: u32,
}

/// The domain of a virtual node on some level: a stretch of the stack of choices, and its least excess.
#[derive(Clone, Copy, Default)]
struct Domain {
    from: u32,
    to: u32,
    least: u64,
}

impl Domain {
    fn len(self) -> u32 {
        self.to - self.from
    }
}

pub(crate) struct Search<'a> {
    demand: &'a Demand,
    standing: Standing<'a>,
    router: Router<'a>,
    /// Cost of the best known: only what is cheaper is looked for.
    best: u64,
    /// `best` less the tolerance.
    wanted: u64,
    found: Option<(Vec<u32>, Vec<Vec<u32>>)>,
    /// Σ bandwidth over links that have to make at least one hop, in parts of a hop.
    floor: u64,
    limit: Limit,
    steps: u64,
    /// Where the present root has to end.
    allowed: u64,
    cut: bool,
    /// A routing was given up below the present root.
    open: bool,
    choices: Vec<Choice>,
    /// A domain in the making.
    kept: Vec<Choice>,
    levels: Vec<Domain>,
}

/// Searches for an embedding that costs less than `best` (in parts of a hop, host prices included), or for the proof that
/// there is none. `roots` orders the hosts of the first virtual node.
#[allow(clippy::too_many_arguments)]
pub(crate) fn search(
    substrate: &Substrate,
    residual: &Residual,
    request: &Request,
    demand: &Demand,
    rows: &mut Rows,
    host_price: Option<&[u32]>,
    roots: &[u32],
    best: u64,
    limit: Limit,
) -> Outcome {
    let must = (0..demand.ends.len()).filter(|&link| !demand.may_share[link]);
    let floor = must.map(|link| demand.hop_cost[link]).sum::<u64>() * u64::from(HOP);
    if best <= floor || demand.nodes == 0 {
        return Outcome { better: None, bound: best, finished: true };
    }
    let mut search = Search {
        demand,
        standing: Standing::new(substrate, residual, request, demand),
        router: Router::new(substrate, residual, demand, rows, limit.routing),
        best,
        wanted: 0,
        found: None,
        floor,
        limit,
        steps: 0,
        allowed: 0,
        cut: false,
        open: false,
        choices: Vec::with_capacity(4096),
        kept: Vec::new(),
        levels: Vec::with_capacity(128),
    };
    search.improve_to(best);
    let (bound, finished) = search.run(host_price, roots);
    Outcome { bound: if finished { search.best } else { bound.min(search.best) }, better: search.found, finished }
}

impl Search<'_> {
    fn improve_to(&mut self, best: u64) {
        self.best = best;
        self.wanted = best - ((best as f64 * self.limit.tolerance) as u64).min(best);
    }

    /// The whole search: a bound on what was left unexplored, and whether nothing was.
    fn run(&mut self, host_price: Option<&[u32]>, roots: &[u32]) -> (u64, bool) {
        for node in 0..self.demand.nodes {
            let from = self.choices.len() as u32;
            let price = |host: u32| host_price.map_or(0, |price| u64::from(price[host as usize]));
            let own = self.demand.candidates[node].iter().map(|&host| Choice { excess: price(host), host });
            self.choices.extend(own);
            self.levels.push(self.close(from));
        }
        let node = self.next(0);
        let domain = self.levels[node];
        let mut left: Vec<Choice> = self.choices[domain.from as usize..domain.to as usize].to_vec();
        if !roots.is_empty() {
            let mut rank = vec![u32::MAX; self.standing.load.len()];
            roots.iter().enumerate().for_each(|(at, &host)| rank[host as usize] = at as u32);
            left.sort_by_key(|choice| rank[choice.host as usize]);
        }
        let mut allowance = 2 * self.demand.nodes as u64;
        let mut bound = u64::MAX;
        while !left.is_empty() {
            bound = u64::MAX;
            let mut unfinished = Vec::new();
            let mut shortened = false;
            let all = left.len();
            for (at, choice) in left.iter().enumerate() {
                if self.steps >= self.limit.steps || self.late() {
                    // What was not begun is bounded by what every embedding costs.
                    return (bound.min(self.floor), false);
                }
                self.allowed = self.steps.saturating_add(allowance).min(self.limit.steps);
                if at + 1 == all && unfinished.is_empty() {
                    self.allowed = self.limit.steps;
                }
                (self.cut, self.open) = (false, false);
                let below = self.enter(0, node, *choice, 0);
                if self.cut || self.open {
                    bound = bound.min(below);
                    unfinished.push(*choice);
                    shortened |= self.cut;
                }
            }
            // A root that is open for a routing given up stays so, however often it is entered.
            if !shortened {
                return (bound, unfinished.is_empty());
            }
            left = unfinished;
            allowance = allowance.saturating_mul(8);
        }
        (bound, true)
    }

    fn late(&self) -> bool {
        self.limit.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// A domain of what was pushed since `from`.
    fn close(&self, from: u32) -> Domain {
        let least = self.choices[from as usize..].iter().map(|choice| choice.excess).min();
        Domain { from, to: self.choices.len() as u32, least: least.unwrap_or(FAR) }
    }

    /// The virtual node to place on this level: the one with the fewest hosts left.
    fn next(&self, level: usize) -> usize {
        let domains = &self.levels[level * self.demand.nodes..][..self.demand.nodes];
        let unplaced = (0..self.demand.nodes).filter(|&node| self.standing.hosts[node] == NONE);
        let key = |&node: &usize| (domains[node].len(), std::cmp::Reverse(self.demand.weight[node]));
        unplaced.min_by_key(key).unwrap_or(0)
    }

    /// Tries `choice` for `node`, the level's links costing `excess` beyond their floor. Returns a bound on what is
    /// below.
    fn enter(&mut self, level: usize, node: usize, choice: Choice, excess: u64) -> u64 {
        self.steps += 1;
        if self.steps >= self.allowed || (self.steps.is_multiple_of(64) && self.late()) {
            self.cut = true;
            return self.floor + excess + choice.excess;
        }
        if !self.standing.may_use(node, choice.host) {
            return FAR;
        }
        let (choices, levels) = (self.choices.len(), self.levels.len());
        self.standing.put(node, choice.host);
        let room = (self.best - self.floor) / u64::from(HOP);
        self.router.measure_from(node, choice.host, room);
        let mut bound = FAR;
        if let Some(least) = self.narrow(level, node, excess + choice.excess) {
            bound = self.floor + excess + choice.excess + least;
            self.witness(level + 1, node, excess + choice.excess, least);
        }
        self.standing.lift(node);
        self.choices.truncate(choices);
        self.levels.truncate(levels);
        bound
    }

    fn descend(&mut self, level: usize, excess: u64) {
        if self.standing.placed == self.demand.nodes {
            return self.finish(excess);
        }
        let node = self.next(level);
        let domain = self.levels[level * self.demand.nodes + node];
        let domains = &self.levels[level * self.demand.nodes..][..self.demand.nodes];
        let unplaced = (0..self.demand.nodes).filter(|&other| other != node && self.standing.hosts[other] == NONE);
        let least: u64 = unplaced.map(|other| domains[other].least).sum();
        self.choices[domain.from as usize..domain.to as usize]
            .sort_unstable_by_key(|choice| (choice.excess, choice.host));
        for at in domain.from..domain.to {
            let choice = self.choices[at as usize];
            if self.floor + excess + least + choice.excess >= self.wanted {
                return;
            }
            self.enter(level, node, choice, excess);
            if self.cut {
                return;
            }
        }
    }

    /// Pushes the next level's domains: those of this one without what exceeds the room now that `node` is placed.
    /// Returns the sum of their least excesses, or `None` when one is empty or the sum exceeds the room.
    fn narrow(&mut self, level: usize, node: usize, excess: u64) -> Option<u64> {
        let nodes = self.demand.nodes;
        let here = self.standing.hosts[node];
        let mut room = self.wanted.saturating_sub(self.floor + excess);
        // What the others need at least is not there for this one.
        let old = |other: usize| match self.standing.hosts[other] == NONE {
            true => self.levels[level * nodes + other].least,
            false => 0,
        };
        let mut before: u64 = (0..nodes).map(old).sum();
        let mut sum = 0;
        for other in 0..nodes {
            if self.standing.hosts[other] != NONE {
                self.levels.push(Domain::default());
                continue;
            }
            let domain = self.levels[level * nodes + other];
            before -= domain.least;
            let from = self.choices.len() as u32;
            let mut between =
                self.demand.links_of[node].iter().filter(|(_, end)| *end as usize == other).map(|(link, _)| *link);
            let limit = room.saturating_sub(sum + before);
            let apart = |host: u32| host != here || self.demand.sharing;
            let own = &self.choices[domain.from as usize..domain.to as usize];
            let mut kept = std::mem::take(&mut self.kept);
            kept.clear();
            match (between.next(), between.next()) {
                (None, _) => kept.extend(own.iter().filter(|c| c.excess < limit && apart(c.host))),
                (Some(link), None) => {
                    let row = self.router.row(link, here);
                    let unit = self.demand.hop_cost[link as usize] * u64::from(HOP);
                    let floor = u8::from(!self.demand.may_share[link as usize]);
                    for choice in own {
                        let hops = row[choice.host as usize];
                        let excess = choice.excess + unit * u64::from(hops.wrapping_sub(floor));
                        if excess < limit && hops != u8::MAX && hops >= floor && apart(choice.host) {
                            kept.push(Choice { excess, host: choice.host });
                        }
                    }
                }
                (Some(first), Some(second)) => {
                    let links: Vec<u32> = [first, second].into_iter().chain(between).collect();
                    for choice in own.iter().filter(|choice| apart(choice.host)) {
                        let add = |sum: u64, &link: &u32| sum + self.router.excess(link, here, choice.host);
                        let excess = links.iter().fold(choice.excess, add);
                        if excess < limit {
                            kept.push(Choice { excess, host: choice.host });
                        }
                    }
                }
            }
            self.choices.extend_from_slice(&kept);
            self.kept = kept;
            let domain = self.close(from);
            if domain.len() == 0 {
                return None;
            }
            sum += domain.least;
            self.levels.push(domain);
        }
        room = room.saturating_sub(sum);
        (room > 0).then_some(sum)
    }

    /// Extends the witness by the links of `node`, or proves that the branch cannot be routed within the room.
    fn witness(&mut self, level: usize, node: usize, excess: u64, least: u64) {
        if self.router.extend(node, &self.standing.hosts) {
            self.descend(level, excess);
            self.router.retract(node);
            return;
        }
        let before = self.router.save();
        let placed = |link: usize| self.demand.ends[link].iter().all(|&end| self.standing.hosts[end as usize] != NONE);
        let links: Vec<u32> =
            (0..self.demand.ends.len()).filter(|&link| placed(link)).map(|link| link as u32).collect();
        let hop = u64::from(HOP);
        let measured: u64 = links.iter().map(|&link| self.router.least_cost(link, &self.standing.hosts)).sum();
        // What the distances make these links cost may grow by less than this.
        let spare = (self.wanted - (self.floor + excess + least)).div_ceil(hop);
        // `excess` may already hold more than the distances say, from a routing proved further up.
        let proved = self.router.proved(excess);
        let routing = self.router.cheapest(&links, &self.standing.hosts, measured + proved / hop + spare);
        self.steps += self.router.steps / 8;
        match routing {
            Routing::Cheapest(cost) => {
                let grown = (cost - measured) * hop;
                let excess = excess - proved + grown.max(proved);
                if self.floor + excess + least < self.wanted {
                    let outer = self.router.set_proved(grown.max(proved));
                    self.descend(level, excess);
                    self.router.set_proved(outer);
                }
            }
            Routing::None => {}
            // Not decided: the distances still bound what is below, but a leaf without a witness stays open.
            Routing::GaveUp if self.standing.placed < self.demand.nodes => self.descend(level, excess),
            Routing::GaveUp => self.open = true,
        }
        self.router.restore(before);
    }

    /// All placed: the witness is a solution, unless a routing was given up on the way.
    fn finish(&mut self, excess: u64) {
        let Some(_) = self.router.cost() else {
            self.open = true;
            return;
        };
        let cost = self.floor + excess;
        if cost < self.best {
            self.found = Some((self.standing.hosts.clone(), self.router.paths().to_vec()));
            self.improve_to(cost);
        }
    }
}
