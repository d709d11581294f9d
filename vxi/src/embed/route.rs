//! The cheapest unsplit routing for links whose ends are placed, proved: the exact mode's other half.
//!
//! The paths of one request compete for bandwidth, so that the shortest path of each need not be part of the best
//! routing, nor of any. All simple paths count that the room allows for; distances in what was free at first cut the
//! enumeration, and the costs of the links still to come bound it.

use super::demand::Demand;
use super::paths::{Graph, HOP, NONE};
use super::problem::Substrate;
use super::residual::Residual;

/// More than any number of hops or cost: there is no way.
pub(crate) const FAR: u64 = u64::MAX >> 8;

/// Distances by hops, kept from request to request for their memory only: a row for each virtual link and placed host.
#[derive(Default)]
pub(crate) struct Rows {
    /// Arcs with what is free on them in the worst period, in the substrate's order: one row of memory to run through.
    arcs: Vec<(u32, u32, i64)>,
    first: Vec<u32>,
    /// Where the row of a virtual link and a host is, and how deep it was measured.
    at: Vec<(u32, u8)>,
    rows: Vec<u8>,
}

/// What [`Router::cheapest`] found.
pub(crate) enum Routing {
    /// The cheapest routing costs this, and is the witness now.
    Cheapest(u64),
    /// None costs less than the room.
    None,
    /// Not decided within the steps allowed.
    GaveUp,
}

pub(crate) struct Router<'a> {
    substrate: &'a Substrate,
    demand: &'a Demand,
    residual: &'a Residual,
    hosts: usize,
    /// Hops in what was free at first, from hosts that have been placed on; 255 where there is no way.
    apart: &'a mut Rows,
    free: Vec<i64>,
    paths: Vec<Vec<u32>>,
    routed: Vec<bool>,
    price: Vec<u8>,
    seen: Vec<bool>,
    /// Path extensions that the last [`Self::cheapest`] took.
    pub steps: u64,
    most_steps: u64,
    /// What a proved routing costs beyond the distances on the present branch, in parts of a hop.
    proved: u64,
    parent: Vec<(u32, u32)>,
    queue: Vec<u32>,
}

impl<'a> Router<'a> {
    pub fn new(
        substrate: &'a Substrate,
        residual: &'a Residual,
        demand: &'a Demand,
        rows: &'a mut Rows,
        most_steps: u64,
    ) -> Self {
        let hosts = substrate.hosts();
        let links = demand.ends.len();
        rows.at.clear();
        rows.at.resize(links * hosts, (NONE, 0));
        rows.rows.clear();
        rows.arcs.clear();
        rows.first.clear();
        for host in 0..hosts as u32 {
            rows.first.push(rows.arcs.len() as u32);
            let least = |link: u32| residual.link(link as usize).iter().min().copied().unwrap_or(0);
            rows.arcs.extend(substrate.arcs(host).iter().map(|arc| (arc.to, arc.link, least(arc.link))));
        }
        rows.first.push(rows.arcs.len() as u32);
        Self {
            substrate,
            demand,
            residual,
            hosts,
            apart: rows,
            free: residual.links().to_vec(),
            paths: vec![Vec::with_capacity(8); links],
            routed: vec![false; links],
            price: vec![HOP as u8; substrate.links().len()],
            seen: vec![false; hosts],
            steps: 0,
            most_steps,
            proved: 0,
            parent: vec![(NONE, NONE); hosts],
            queue: Vec::with_capacity(hosts),
        }
    }

    fn graph(&self) -> Graph<'_> {
        Graph { substrate: self.substrate, free: &self.free, periods: self.demand.periods, price: &self.price }
    }

    /// Measures the distances from a host for all links of a virtual node, as far as `room` (bandwidth × hops beyond one
    /// each) lets them reach.
    pub fn measure_from(&mut self, node: usize, host: u32, room: u64) {
        for at in 0..self.demand.links_of[node].len() {
            let (link, _) = self.demand.links_of[node][at];
            let hops = (room / self.demand.hop_cost[link as usize].max(1)).saturating_add(1);
            let (row, depth) = self.apart.at[link as usize * self.hosts + host as usize];
            // The room only ever shrinks, so that a row is deep enough for good.
            if row == NONE {
                self.measure(link, host, hops.min(254) as u8);
            }
            debug_assert!(row == NONE || u64::from(depth) >= hops.min(254));
        }
    }

    /// Hops from `from` to everywhere within `depth` for a virtual link, in what was free at first. These distances were
    /// not shortened by anything that this request uses itself, and so bound every routing.
    fn measure(&mut self, link: u32, from: u32, depth: u8) {
        let row = self.apart.rows.len();
        self.apart.rows.resize(row + self.hosts, u8::MAX);
        self.apart.at[link as usize * self.hosts + from as usize] = ((row / self.hosts) as u32, depth);
        let Rows { arcs, first, rows, .. } = &mut *self.apart;
        let distances = &mut rows[row..];
        let (residual, periods) = (self.residual, self.demand.periods);
        let graph = Graph { substrate: self.substrate, free: residual.links(), periods, price: &self.price };
        let bandwidth = self.demand.bandwidth(link);
        let most = bandwidth.iter().max().copied().unwrap_or(0);
        distances[from as usize] = 0;
        self.queue.clear();
        self.queue.push(from);
        let mut next = 0;
        while let Some(&host) = self.queue.get(next) {
            next += 1;
            let then = distances[host as usize] + 1;
            if then > depth {
                break;
            }
            for &(to, on, least) in &arcs[first[host as usize] as usize..first[host as usize + 1] as usize] {
                if distances[to as usize] == u8::MAX && (least >= most || (periods > 1 && graph.fits(on, bandwidth))) {
                    distances[to as usize] = then;
                    self.queue.push(to);
                }
            }
        }
    }

    /// The distances of a virtual link from a host that was measured, by host; 255 where there is no way.
    pub fn row(&self, link: u32, from: u32) -> &[u8] {
        let (row, _) = self.apart.at[link as usize * self.hosts + from as usize];
        &self.apart.rows[row as usize * self.hosts..][..self.hosts]
    }

    /// Hops between two hosts for a virtual link, alone in what was free at first; [`FAR`] where there is no way within
    /// the room. `from` must have been measured.
    pub fn hops(&self, link: u32, from: u32, to: u32) -> u64 {
        match self.row(link, from)[to as usize] {
            u8::MAX => FAR,
            hops => u64::from(hops),
        }
    }

    /// What a virtual link costs beyond its floor between a placed host and another, in parts of a hop.
    pub fn excess(&self, link: u32, from: u32, to: u32) -> u64 {
        let floor = u64::from(!self.demand.may_share[link as usize]);
        match self.hops(link, from, to) {
            FAR => FAR,
            hops if hops < floor => FAR,
            hops => self.demand.hop_cost[link as usize] * u64::from(HOP) * (hops - floor),
        }
    }

    /// What a virtual link costs at its distance: bandwidth × hops.
    pub fn least_cost(&self, link: u32, hosts: &[u32]) -> u64 {
        let [a, b] = self.demand.ends[link as usize].map(|end| hosts[end as usize]);
        self.hops(link, a, b).saturating_mul(self.demand.hop_cost[link as usize])
    }

    /// What of `excess` is due to a routing proved dearer than the distances.
    pub fn proved(&self, excess: u64) -> u64 {
        self.proved.min(excess)
    }

    /// Notes what a proved routing costs beyond the distances; returns what was noted before.
    pub fn set_proved(&mut self, proved: u64) -> u64 {
        std::mem::replace(&mut self.proved, proved)
    }

    fn charge(&mut self, link: u32, sign: i64) {
        let periods = self.demand.periods;
        for &on in &self.paths[link as usize] {
            let free = &mut self.free[on as usize * periods..][..periods];
            free.iter_mut().zip(self.demand.bandwidth(link)).for_each(|(free, bandwidth)| *free += sign * bandwidth);
        }
    }

    /// Takes a link's path back.
    pub fn unroute(&mut self, link: u32) {
        if std::mem::take(&mut self.routed[link as usize]) {
            self.charge(link, 1);
        }
        self.paths[link as usize].clear();
    }

    /// Adds the links of `node` to the witness, each on a path as short as its distance. When one has none, adds nothing.
    pub fn extend(&mut self, node: usize, hosts: &[u32]) -> bool {
        for at in 0..self.demand.links_of[node].len() {
            let (link, other) = self.demand.links_of[node][at];
            if hosts[other as usize] != NONE && !self.shortest(link, hosts) {
                self.retract(node);
                return false;
            }
        }
        // A witness that was left incomplete (a routing given up) is not one to extend.
        let placed = |link: usize| self.demand.ends[link].iter().all(|&end| hosts[end as usize] != NONE);
        if (0..self.demand.ends.len()).all(|link| self.routed[link] || !placed(link)) {
            return true;
        }
        self.retract(node);
        false
    }

    /// Takes the links of `node` out of the witness.
    pub fn retract(&mut self, node: usize) {
        for at in 0..self.demand.links_of[node].len() {
            self.unroute(self.demand.links_of[node][at].0);
        }
    }

    /// A path in what is free now with no more hops than the distance, and quick enough.
    fn shortest(&mut self, link: u32, hosts: &[u32]) -> bool {
        let [from, to] = self.demand.ends[link as usize].map(|end| hosts[end as usize]);
        let hops = self.hops(link, from, to);
        self.paths[link as usize].clear();
        if hops == 0 {
            self.routed[link as usize] = true;
            return true;
        }
        if hops == 1 && self.demand.latency[link as usize].is_none() {
            let direct =
                |arc: &&super::problem::Arc| arc.to == to && self.graph().fits(arc.link, self.demand.bandwidth(link));
            let Some(on) = self.substrate.arcs(from).iter().find(direct).map(|arc| arc.link) else { return false };
            self.paths[link as usize].push(on);
            self.routed[link as usize] = true;
            self.charge(link, -1);
            return true;
        }
        self.seen.fill(false);
        self.queue.clear();
        self.queue.push(from);
        self.seen[from as usize] = true;
        let mut next = 0;
        'found: while let Some(&host) = self.queue.get(next) {
            next += 1;
            for arc in self.substrate.arcs(host) {
                let onward = self.hops(link, to, arc.to);
                if !self.seen[arc.to as usize]
                    && onward < self.hops(link, to, host)
                    && self.graph().fits(arc.link, self.demand.bandwidth(link))
                {
                    self.seen[arc.to as usize] = true;
                    self.parent[arc.to as usize] = (host, arc.link);
                    if arc.to == to {
                        break 'found;
                    }
                    self.queue.push(arc.to);
                }
            }
        }
        if !self.seen[to as usize] {
            return false;
        }
        let mut path = std::mem::take(&mut self.paths[link as usize]);
        let mut at = to;
        while at != from {
            let (before, on) = self.parent[at as usize];
            path.push(on);
            at = before;
        }
        let quick = self.demand.latency[link as usize].is_none_or(|bound| self.latency(&path) <= bound);
        self.paths[link as usize] = path;
        if !quick {
            self.paths[link as usize].clear();
            return false;
        }
        self.routed[link as usize] = true;
        self.charge(link, -1);
        true
    }

    fn latency(&self, path: &[u32]) -> u64 {
        path.iter().map(|&link| self.substrate.links()[link as usize].latency.0).sum()
    }

    /// The cheapest routing of `links` from scratch, if it costs less than `room`.
    pub fn cheapest(&mut self, links: &[u32], hosts: &[u32], room: u64) -> Routing {
        for &link in links {
            self.unroute(link);
        }
        let mut order = links.to_vec();
        // What takes no bandwidth is in nobody's way and comes last; otherwise the widest first.
        order.sort_by_key(|&link| std::cmp::Reverse((self.demand.hop_cost[link as usize], link)));
        let mut rest: Vec<u64> = vec![0; order.len() + 1];
        for at in (0..order.len()).rev() {
            rest[at] = rest[at + 1].saturating_add(self.least_cost(order[at], hosts));
        }
        self.steps = 0;
        let mut best = room;
        let mut found: Option<Vec<Vec<u32>>> = None;
        let whole = self.assign(&order, 0, 0, &rest, hosts, &mut best, &mut found);
        for &link in links {
            self.unroute(link);
        }
        match found {
            _ if !whole => Routing::GaveUp,
            None => Routing::None,
            Some(paths) => {
                for &link in links {
                    self.paths[link as usize].clone_from(&paths[link as usize]);
                    self.routed[link as usize] = true;
                    self.charge(link, -1);
                }
                Routing::Cheapest(best)
            }
        }
    }

    /// Routes `order[at..]` in all ways that cost less than `best` in all. False when cut off.
    #[allow(clippy::too_many_arguments)]
    fn assign(
        &mut self,
        order: &[u32],
        at: usize,
        cost: u64,
        rest: &[u64],
        hosts: &[u32],
        best: &mut u64,
        found: &mut Option<Vec<Vec<u32>>>,
    ) -> bool {
        let Some(&link) = order.get(at) else {
            if cost < *best {
                *best = cost;
                *found = Some(self.paths.clone());
            }
            return true;
        };
        let [from, to] = self.demand.ends[link as usize].map(|end| hosts[end as usize]);
        let hop_cost = self.demand.hop_cost[link as usize];
        let mut hops = self.hops(link, from, to);
        let mut longest = self.hosts as u64 - 1;
        while hops <= longest && hops < FAR && cost + hops * hop_cost + rest[at + 1] < *best {
            let mut any = false;
            if !self.every_path(order, at, from, to, hops, cost, rest, hosts, best, found, &mut any) {
                return false;
            }
            // Without bandwidth a path is in nobody's way: the first one is as good as all.
            if hop_cost == 0 && any {
                longest = hops;
            }
            hops += 1;
        }
        true
    }

    /// Every simple path of exactly `left` more hops for `order[at]`, and whatever follows from it.
    #[allow(clippy::too_many_arguments)]
    fn every_path(
        &mut self,
        order: &[u32],
        at: usize,
        host: u32,
        to: u32,
        left: u64,
        cost: u64,
        rest: &[u64],
        hosts: &[u32],
        best: &mut u64,
        found: &mut Option<Vec<Vec<u32>>>,
        any: &mut bool,
    ) -> bool {
        self.steps += 1;
        if self.steps > self.most_steps {
            return false;
        }
        let link = order[at];
        let hop_cost = self.demand.hop_cost[link as usize];
        if host == to {
            let quick = |bound| self.latency(&self.paths[link as usize]) <= bound;
            if left > 0 || !self.demand.latency[link as usize].is_none_or(quick) {
                return true;
            }
            let hops = self.paths[link as usize].len() as u64;
            if hop_cost == 0 && std::mem::replace(any, true) {
                return true;
            }
            self.routed[link as usize] = true;
            self.charge(link, -1);
            // The path is kept aside, as those on it must not be marked while others are laid.
            let seen = std::mem::replace(&mut self.seen, vec![false; self.hosts]);
            let whole = self.assign(order, at + 1, cost + hops * hop_cost, rest, hosts, best, found);
            self.seen = seen;
            self.charge(link, 1);
            self.routed[link as usize] = false;
            return whole;
        }
        if self.paths[link as usize].is_empty() {
            self.seen.fill(false);
        }
        self.seen[host as usize] = true;
        for arc in self.substrate.arcs(host) {
            let onward = self.hops(link, to, arc.to);
            if self.seen[arc.to as usize] || onward >= left || onward + 1 > left {
                continue;
            }
            if !self.graph().fits(arc.link, self.demand.bandwidth(link)) {
                continue;
            }
            self.paths[link as usize].push(arc.link);
            let whole = self.every_path(order, at, arc.to, to, left - 1, cost, rest, hosts, best, found, any);
            self.paths[link as usize].pop();
            if !whole {
                return false;
            }
        }
        self.seen[host as usize] = false;
        true
    }

    /// What the witness costs, when every link has its path.
    pub fn cost(&self) -> Option<u64> {
        let whole = self.routed.iter().all(|&routed| routed);
        whole.then(|| self.paths.iter().zip(&self.demand.hop_cost).map(|(path, cost)| path.len() as u64 * cost).sum())
    }

    pub fn paths(&self) -> &[Vec<u32>] {
        &self.paths
    }

    /// The witness as it is.
    pub fn save(&self) -> (Vec<Vec<u32>>, Vec<bool>) {
        (self.paths.clone(), self.routed.clone())
    }

    /// Back to a witness that was saved.
    pub fn restore(&mut self, (paths, routed): (Vec<Vec<u32>>, Vec<bool>)) {
        for link in 0..self.demand.ends.len() as u32 {
            self.unroute(link);
        }
        self.paths = paths;
        self.routed = routed;
        for link in 0..self.demand.ends.len() as u32 {
            if self.routed[link as usize] {
                self.charge(link, -1);
            }
        }
    }
}
