//! A placement in the making: virtual nodes go to hosts and their links onto paths, one at a time, and come off again.
//!
//! To place a virtual node is to route all its links to those placed before it: a tree of cheapest paths is grown from
//! each of their hosts, the candidate with the least sum of bandwidth × path is taken, and the paths are read off the
//! trees. What a placement uses is taken from a copy of what is free at once, so that no state is ever over capacity.

use super::demand::Demand;
use super::paths::{Graph, HOP, NONE, Paths};
use super::problem::Substrate;
use super::request::{Request, VirtualNodeId};
use super::residual::Residual;

/// No bound on a search.
const ALL: u32 = NONE - 1;

/// How far a search goes at first: two hops, with some congestion. Most virtual links end within.
const NEAR: u32 = 5 * HOP / 2;

/// The slot of searches for one path; the trees of a virtual node's links stand in those from [`FIRST`] on.
const SPARE: usize = 0;
const FIRST: usize = 1;

/// How many of the best hosts are tried for a virtual node before it is given up.
const TRIES: usize = 4;

/// Which virtual node stands where.
pub(crate) struct Standing<'a> {
    substrate: &'a Substrate,
    residual: &'a Residual,
    request: &'a Request,
    demand: &'a Demand,
    /// Host of each virtual node, or [`NONE`].
    pub hosts: Vec<u32>,
    /// Virtual nodes on each host.
    pub load: Vec<u32>,
    /// How many virtual nodes are placed.
    pub placed: usize,
}

impl<'a> Standing<'a> {
    pub fn new(substrate: &'a Substrate, residual: &'a Residual, request: &'a Request, demand: &'a Demand) -> Self {
        let (hosts, load) = (vec![NONE; demand.nodes], vec![0; substrate.hosts()]);
        Self { substrate, residual, request, demand, hosts, load, placed: 0 }
    }

    pub fn put(&mut self, node: usize, host: u32) {
        self.hosts[node] = host;
        self.load[host as usize] += 1;
        self.placed += 1;
    }

    pub fn lift(&mut self, node: usize) {
        let host = std::mem::replace(&mut self.hosts[node], NONE);
        self.load[host as usize] -= 1;
        self.placed -= 1;
    }

    /// Whether `node` may go to `host` beside what is there of this request.
    pub fn may_use(&self, node: usize, host: u32) -> bool {
        if !self.demand.usable[node * self.load.len() + host as usize] {
            return false;
        }
        self.load[host as usize] == 0 || (self.demand.sharing && self.may_join(node, host))
    }

    /// The same where the host has virtual nodes of this request already.
    fn may_join(&self, node: usize, host: u32) -> bool {
        let there = || (0..self.demand.nodes).filter(|&other| self.hosts[other] == host);
        let id = super::HostId(host);
        let node_id = VirtualNodeId(node as u32);
        let machine = self.load[host as usize] < self.substrate.machines(id)
            || there().any(|other| self.request.may_share(node_id, VirtualNodeId(other as u32)));
        let free = self.residual.host(host as usize);
        machine
            && free.iter().enumerate().all(|(dimension, &free)| {
                let taken: u64 = there().map(|other| self.request.nodes()[other].demand[dimension]).sum();
                free >= (taken + self.request.nodes()[node].demand[dimension]) as i64
            })
    }
}

/// Where things are now, and what that leaves.
pub(crate) struct Placement<'a> {
    pub substrate: &'a Substrate,
    pub demand: &'a Demand,
    pub standing: Standing<'a>,
    /// Free bandwidth, per link and period, less what this placement uses.
    pub free: Vec<i64>,
    /// The price of each link.
    pub price: &'a [u8],
    /// What a candidate costs beyond its links, per host.
    pub host_price: &'a [u32],
    /// Links of each virtual link's path, from the host of one end (which one does not matter here).
    pub paths: Vec<Vec<u32>>,
    /// Priced cost of all paths.
    pub cost: u64,
    best: Vec<(u64, u32)>,
}

impl<'a> Placement<'a> {
    pub fn new(
        substrate: &'a Substrate,
        residual: &'a Residual,
        request: &'a Request,
        demand: &'a Demand,
        price: &'a [u8],
        host_price: &'a [u32],
    ) -> Self {
        Self {
            substrate,
            demand,
            standing: Standing::new(substrate, residual, request, demand),
            free: residual.links().to_vec(),
            price,
            host_price,
            paths: vec![Vec::with_capacity(8); demand.ends.len()],
            cost: 0,
            best: Vec::with_capacity(TRIES + 1),
        }
    }

    pub fn graph(&self) -> Graph<'_> {
        Graph { substrate: self.substrate, free: &self.free, periods: self.demand.periods, price: self.price }
    }

    /// Places `node` where its links to those placed already are cheapest, unless that makes the cost reach `limit`.
    pub fn insert(&mut self, node: usize, paths: &mut Paths, limit: u64, noise: &mut dyn FnMut() -> u32) -> bool {
        for radius in [NEAR, ALL] {
            self.rank(node, paths, limit, radius, noise);
            for attempt in 0..self.best.len() {
                let (_, host) = self.best[attempt];
                if self.room_to_leave(node, host) && self.settle(node, host, paths, true) {
                    return true;
                }
            }
        }
        false
    }

    /// The best hosts for `node`, by what its links to those placed cost within `radius`.
    fn rank(&mut self, node: usize, paths: &mut Paths, limit: u64, radius: u32, noise: &mut dyn FnMut() -> u32) {
        let demand = self.demand;
        self.best.clear();
        let links = &demand.links_of[node];
        let left = limit.saturating_sub(self.cost);
        let mut slot = FIRST;
        for &(link, other) in links {
            if self.standing.hosts[other as usize] != NONE {
                let worth = left / demand.hop_cost[link as usize].max(1);
                let radius = radius.min(worth.min(u64::from(ALL)) as u32);
                paths.search(slot, self.graph(), self.standing.hosts[other as usize], demand.asked(link), NONE, radius);
                slot += 1;
            }
        }
        for &host in &demand.candidates[node] {
            if !self.standing.may_use(node, host) {
                continue;
            }
            let (mut sum, mut slot, mut reached) = (0u64, FIRST, true);
            for &(link, other) in links {
                if self.standing.hosts[other as usize] != NONE {
                    let cost = paths.costs(slot)[host as usize];
                    if cost == NONE {
                        reached = false;
                        break;
                    }
                    sum += demand.hop_cost[link as usize] * u64::from(cost);
                    slot += 1;
                }
            }
            if !reached || sum >= left {
                continue;
            }
            let sum = sum + u64::from(self.host_price[host as usize]) + u64::from(noise());
            let at = self.best.partition_point(|&(known, _)| known <= sum);
            if at < TRIES {
                self.best.truncate(TRIES - 1);
                self.best.insert(at, (sum, host));
            }
        }
    }

    /// Whether the links of `host` have what the virtual links of `node` that are not routed yet will need.
    fn room_to_leave(&self, node: usize, host: u32) -> bool {
        let demand = self.demand;
        (0..demand.periods).all(|period| {
            let own = |&(link, _): &(u32, u32)| match demand.may_share[link as usize] {
                true => 0,
                false => demand.bandwidth(link)[period],
            };
            let out: i64 = demand.links_of[node].iter().map(own).sum();
            let free = |arc: &super::problem::Arc| self.free[arc.link as usize * demand.periods + period].max(0);
            self.substrate.arcs(host).iter().map(free).sum::<i64>() >= out
        })
    }

    /// Puts `node` on `host` and routes its links to those placed already; with `grown` trees stand in the slots in
    /// the order of its links. Leaves everything as it was when a link finds no path.
    pub fn settle(&mut self, node: usize, host: u32, paths: &mut Paths, grown: bool) -> bool {
        let demand = self.demand;
        self.standing.put(node, host);
        let mut slot = FIRST;
        for &(link, other) in &demand.links_of[node] {
            let there = self.standing.hosts[other as usize];
            if there == NONE {
                continue;
            }
            if !self.route(link, slot, host, there, paths, grown) {
                self.remove(node);
                return false;
            }
            slot += 1;
        }
        true
    }

    fn route(&mut self, link: u32, slot: usize, host: u32, there: u32, paths: &mut Paths, grown: bool) -> bool {
        let demand = self.demand;
        let mut path = std::mem::take(&mut self.paths[link as usize]);
        path.clear();
        let mut found = host == there;
        if grown && !found {
            paths.read(slot, self.graph(), host, &mut path);
            found = path.iter().all(|&on| self.graph().fits(on, demand.bandwidth(link)));
        }
        if !found {
            path.clear();
            paths.search(SPARE, self.graph(), there, demand.asked(link), host, ALL);
            if paths.costs(SPARE)[host as usize] != NONE {
                paths.read(SPARE, self.graph(), host, &mut path);
                found = true;
            }
        }
        if found {
            self.charge(link, &path, -1);
        }
        self.paths[link as usize] = path;
        found
    }

    /// Puts all virtual nodes where `hosts` says and lays their links, in `order`. Nothing may be placed before; when a link
    /// finds no path, it is returned, and everything is taken off.
    pub fn lay(&mut self, hosts: &[u32], order: &[u32], paths: &mut Paths) -> Result<(), u32> {
        hosts.iter().enumerate().for_each(|(node, &host)| self.standing.put(node, host));
        for &link in order {
            let [a, b] = self.demand.ends[link as usize].map(|end| hosts[end as usize]);
            if !self.route(link, SPARE, a, b, paths, false) {
                self.clear();
                return Err(link);
            }
        }
        Ok(())
    }

    /// Takes (`sign` -1) or gives back (1) what a path uses, and counts its price.
    fn charge(&mut self, link: u32, path: &[u32], sign: i64) {
        let periods = self.demand.periods;
        let mut price = 0;
        for &on in path {
            price += u64::from(self.price[on as usize]);
            let free = &mut self.free[on as usize * periods..][..periods];
            free.iter_mut().zip(self.demand.bandwidth(link)).for_each(|(free, bandwidth)| *free += sign * bandwidth);
        }
        let cost = price * self.demand.hop_cost[link as usize];
        self.cost = if sign < 0 { self.cost + cost } else { self.cost - cost };
    }

    /// Takes `node` off its host and its links off their paths.
    pub fn remove(&mut self, node: usize) {
        self.standing.lift(node);
        for at in 0..self.demand.links_of[node].len() {
            let (link, _) = self.demand.links_of[node][at];
            self.unroute(link);
        }
    }

    /// Takes a virtual link off its path.
    pub fn unroute(&mut self, link: u32) {
        let mut path = std::mem::take(&mut self.paths[link as usize]);
        self.charge(link, &path, 1);
        path.clear();
        self.paths[link as usize] = path;
    }

    /// Puts everything where a remembered placement had it. Nothing may be placed before.
    pub fn adopt(&mut self, hosts: &[u32], remembered: &[Vec<u32>]) {
        for (node, &host) in hosts.iter().enumerate() {
            if host != NONE {
                self.standing.put(node, host);
            }
        }
        for (link, path) in remembered.iter().enumerate() {
            self.charge(link as u32, path, -1);
            self.paths[link].clone_from(path);
        }
    }

    /// Takes everything off.
    pub fn clear(&mut self) {
        for node in 0..self.demand.nodes {
            if self.standing.hosts[node] != NONE {
                self.remove(node);
            }
        }
    }
}
