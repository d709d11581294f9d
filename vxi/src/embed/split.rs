//! Placements whose virtual links may be split: for who would rather have several paths than none.
//!
//! The virtual nodes are placed as in a build, from root after root, each on the host that is the fewest hops away from
//! its neighbours. A link takes the widest of its shortest paths, then what is left of it another, until all of it has
//! a path. What it takes is taken from a copy of what is free at once.

use super::HostId;
use super::demand::Demand;
use super::paths::{Asked, Graph, NONE, Paths};
use super::place::Standing;
use super::problem::{Embedding, LinkId, Share, Substrate};
use super::request::Request;
use super::residual::Residual;

/// The most paths that a link is split into.
const MOST_SHARES: usize = 16;

/// How many of the best hosts are tried for a virtual node before a root is given up.
const TRIES: usize = 8;

/// The slot of the searches for paths; the trees of distances stand in those from [`FIRST`] on.
const PATH: usize = 0;
const FIRST: usize = 1;

/// No bound on a search.
const ALL: u32 = NONE - 1;

/// The links of a share of a path, and what it carries in each period.
type Part = (Vec<u32>, Vec<i64>);

pub(crate) struct Split<'a> {
    substrate: &'a Substrate,
    demand: &'a Demand,
    standing: Standing<'a>,
    free: Vec<i64>,
    price: &'a [u8],
    parts: Vec<Vec<Part>>,
}

impl<'a> Split<'a> {
    pub fn new(
        substrate: &'a Substrate,
        residual: &'a Residual,
        request: &'a Request,
        demand: &'a Demand,
        price: &'a [u8],
    ) -> Self {
        let standing = Standing::new(substrate, residual, request, demand);
        let (free, parts) = (residual.links().to_vec(), vec![Vec::new(); demand.ends.len()]);
        Self { substrate, demand, standing, free, price, parts }
    }

    /// The first placement found whose links can all be routed, over at most `most` roots.
    pub fn place(&mut self, paths: &mut Paths, roots: &[u32], order: &[usize], most: usize) -> Option<Embedding> {
        let (&first, rest) = order.split_first()?;
        for &root in roots.iter().filter(|&&root| self.demand.candidates[first].contains(&root)).take(most) {
            self.standing.put(first, root);
            if rest.iter().all(|&node| self.insert(node, paths)) {
                return Some(self.embedding());
            }
            for node in 0..self.demand.nodes {
                if self.standing.hosts[node] != NONE {
                    self.remove(node);
                }
            }
        }
        None
    }

    /// Puts `node` where its links to those placed are shortest and can be routed.
    fn insert(&mut self, node: usize, paths: &mut Paths) -> bool {
        let demand = self.demand;
        let tied: Vec<(u32, u32)> = self.tied(node);
        for (slot, &(link, other)) in (FIRST..).zip(&tied) {
            // Whatever still has anything free, however little.
            let least: Vec<i64> = demand.bandwidth(link).iter().map(|&bandwidth| bandwidth.min(1)).collect();
            let asked = Asked { bandwidth: &least, latency: demand.latency[link as usize] };
            paths.search(slot, self.graph(), self.standing.hosts[other as usize], asked, NONE, ALL);
        }
        let mut best: Vec<(u64, u32)> = Vec::new();
        for &host in demand.candidates[node].iter().filter(|&&host| self.standing.may_use(node, host)) {
            let mut sum = Some(0u64);
            for (at, &(link, _)) in tied.iter().enumerate() {
                let cost = paths.costs(FIRST + at)[host as usize];
                let own = demand.hop_cost[link as usize].saturating_mul(u64::from(cost));
                sum = sum.filter(|_| cost != NONE).map(|sum| sum.saturating_add(own));
            }
            best.extend(sum.map(|sum| (sum, host)));
        }
        best.sort_unstable();
        for &(_, host) in best.iter().take(TRIES) {
            self.standing.put(node, host);
            if tied.iter().all(|&(link, _)| self.route(link, paths)) {
                return true;
            }
            self.remove(node);
        }
        false
    }

    /// The links of `node` to those placed.
    fn tied(&self, node: usize) -> Vec<(u32, u32)> {
        let links = &self.demand.links_of[node];
        links.iter().copied().filter(|(_, other)| self.standing.hosts[*other as usize] != NONE).collect()
    }

    fn remove(&mut self, node: usize) {
        self.standing.lift(node);
        for at in 0..self.demand.links_of[node].len() {
            let (link, _) = self.demand.links_of[node][at];
            for (on, carried) in std::mem::take(&mut self.parts[link as usize]) {
                self.charge(&on, &carried, 1);
            }
        }
    }

    fn graph(&self) -> Graph<'_> {
        Graph { substrate: self.substrate, free: &self.free, periods: self.demand.periods, price: self.price }
    }

    fn charge(&mut self, on: &[u32], carried: &[i64], sign: i64) {
        for &on in on {
            let free = &mut self.free[on as usize * self.demand.periods..][..self.demand.periods];
            free.iter_mut().zip(carried).for_each(|(free, carried)| *free += sign * carried);
        }
    }

    /// Routes a virtual link, in parts where it must be. What was routed of it in vain is given back by who removes its
    /// node.
    fn route(&mut self, link: u32, paths: &mut Paths) -> bool {
        let demand = self.demand;
        let [from, to] = demand.ends[link as usize].map(|end| self.standing.hosts[end as usize]);
        let mut left = demand.bandwidth(link).to_vec();
        if from == to {
            self.parts[link as usize].push((Vec::new(), left));
            return true;
        }
        // Nothing left begins with one search all the same: what asks for no bandwidth has a path, too.
        let mut wanted = left.clone();
        for _ in 0..MOST_SHARES {
            let on = loop {
                let asked = Asked { bandwidth: &wanted, latency: demand.latency[link as usize] };
                paths.search(PATH, self.graph(), from, asked, to, ALL);
                if paths.costs(PATH)[to as usize] != NONE {
                    let mut on = Vec::new();
                    paths.read(PATH, self.graph(), to, &mut on);
                    break on;
                }
                if wanted.iter().all(|&wanted| wanted <= 1) {
                    return false;
                }
                wanted.iter_mut().for_each(|wanted| *wanted -= *wanted / 2);
            };
            let periods = demand.periods;
            let room = |period: usize| on.iter().map(|&on| self.free[on as usize * periods + period]).min();
            let carried: Vec<i64> =
                (0..periods).map(|period| left[period].min(room(period).unwrap_or(0)).max(0)).collect();
            left.iter_mut().zip(&carried).for_each(|(left, carried)| *left -= carried);
            self.charge(&on, &carried, -1);
            self.parts[link as usize].push((on, carried));
            if left.iter().all(|&left| left == 0) {
                return true;
            }
            wanted.iter_mut().zip(&left).for_each(|(wanted, left)| *wanted = (*wanted).min(*left));
        }
        false
    }

    fn embedding(&self) -> Embedding {
        let routes = self.demand.ends.iter().zip(&self.parts).map(|(ends, parts)| {
            let share = |(on, carried): &Part| {
                // A path was read off from its last link to its first.
                let links: Vec<LinkId> = on.iter().rev().map(|&on| LinkId(on)).collect();
                let mut hosts = vec![HostId(self.standing.hosts[ends[0] as usize])];
                for link in &links {
                    let at = hosts[hosts.len() - 1];
                    hosts.push(HostId(self.graph().across(link.0, at.0)));
                }
                Share { hosts, links, bandwidth: carried.iter().map(|&carried| carried.unsigned_abs()).collect() }
            };
            parts.iter().map(share).collect()
        });
        let routes = routes.collect();
        Embedding { hosts: self.standing.hosts.iter().map(|&host| HostId(host)).collect(), routes }
    }
}
