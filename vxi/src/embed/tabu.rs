//! Placements by their distances: greedy from every root, then tabu search.
//!
//! If the links of a request did not compete for bandwidth, a placement would cost Σ bandwidth × distance: a quadratic
//! assignment. For that there is a table of what each virtual node would cost on each host with the others where they
//! are. Moving one changes the rows of its neighbours alone, so that a move costs a few hundred additions, and no path
//! is looked for. What turns out cheap is routed afterwards, and only what can be routed counts.
//!
//! **Tabu search** (Glover 1989; Taillard 1991 for assignments): the best move is made even if it makes things worse, and
//! who has moved stays for a while. Two virtual nodes may also change places.

use super::demand::Demand;
use super::near::Near;
use super::paths::{HOP, NONE};
use crate::dice::Dice;

/// More than any sum of distances: a host that may not be used.
const NEVER: i32 = 1 << 29;

/// What all bandwidths together may come to: sums of distances then stay below [`NEVER`], and each is a short number,
/// of which a machine multiplies many at once.
const MOST_BANDWIDTH: u64 = i16::MAX as u64;

/// A placement and what it would cost if its links did not compete.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Guess {
    /// Every link has one hop.
    pub over_floor: bool,
    pub cost: i32,
    pub hosts: Vec<u32>,
}

/// The table, and where everything is now.
pub(crate) struct Table<'a> {
    demand: &'a Demand,
    near: &'a mut Near,
    hosts: usize,
    /// What a hop costs, per virtual link.
    unit: Vec<i16>,
    /// What a virtual node costs on a host before its links: the host's price, or [`NEVER`].
    base: Vec<i32>,
    /// The same with its links to those placed.
    cost: Vec<i32>,
    /// [`NEVER`] where a virtual node of the request is.
    taken: Vec<i32>,
    at: Vec<u32>,
    /// Until which move a virtual node stays.
    stays: Vec<u32>,
    now: i32,
    /// What cannot be undercut: one hop a link.
    floor: i32,
    dice: Dice,
}

impl<'a> Table<'a> {
    pub fn new(demand: &'a Demand, near: &'a mut Near, host_price: &[u32]) -> Self {
        let hosts = host_price.len();
        let all: u64 = demand.hop_cost.iter().sum::<u64>().max(1);
        // Parts of a hop where the numbers are small enough, coarser where they are not.
        let scale = (MOST_BANDWIDTH as f64 / all as f64).min(f64::from(HOP));
        let unit: Vec<i16> = demand.hop_cost.iter().map(|&cost| (cost as f64 * scale).round() as i16).collect();
        let price = |host: u32| (f64::from(host_price[host as usize]) * scale / f64::from(HOP)).min(1e6) as i32;
        let mut base = vec![NEVER; demand.nodes * hosts];
        for node in 0..demand.nodes {
            for &host in &demand.candidates[node] {
                base[node * hosts + host as usize] = price(host);
            }
        }
        Self {
            hosts,
            floor: unit.iter().map(|&unit| i32::from(unit)).sum(),
            unit,
            cost: base.clone(),
            base,
            taken: vec![0; hosts],
            at: vec![NONE; demand.nodes],
            stays: vec![0; demand.nodes],
            now: 0,
            dice: Dice::new(demand.nodes as u64),
            demand,
            near,
        }
    }

    /// Whether every link of the present placement has one hop: nothing is cheaper, but for the price of hosts.
    fn at_floor(&self) -> bool {
        let own = |(node, &host): (usize, &u32)| self.base[node * self.hosts + host as usize];
        self.now - self.at.iter().enumerate().map(own).sum::<i32>() <= self.floor
    }

    fn clear(&mut self) {
        self.cost.copy_from_slice(&self.base);
        self.taken.fill(0);
        self.at.fill(NONE);
        self.now = 0;
    }

    /// Adds (1) or takes off (-1) what the neighbours of `node` pay for its being on `host`.
    fn charge(&mut self, node: usize, host: u32, sign: i16) {
        for &(link, other) in &self.demand.links_of[node] {
            let unit = sign * self.unit[link as usize];
            let row = self.near.row(link, host);
            let cost = &mut self.cost[other as usize * self.hosts..][..self.hosts];
            cost.iter_mut().zip(row).for_each(|(cost, &hops)| *cost += i32::from(unit) * i32::from(i16::from(hops)));
        }
    }

    fn put(&mut self, node: usize, host: u32) {
        self.now += self.cost[node * self.hosts + host as usize];
        self.at[node] = host;
        self.taken[host as usize] = NEVER;
        self.charge(node, host, 1);
    }

    fn lift(&mut self, node: usize) {
        let host = std::mem::replace(&mut self.at[node], NONE);
        self.charge(node, host, -1);
        self.taken[host as usize] = 0;
        self.now -= self.cost[node * self.hosts + host as usize];
    }

    /// What `node` costs on the cheapest host that is not taken.
    fn least(&self, node: usize) -> i32 {
        let cost = &self.cost[node * self.hosts..][..self.hosts];
        cost.iter().zip(&self.taken).map(|(cost, taken)| cost + taken).min().unwrap_or(NEVER)
    }

    /// A host where `node` costs `least`, at random among equals.
    fn host_for(&mut self, node: usize, least: i32) -> u32 {
        let cost = &self.cost[node * self.hosts..][..self.hosts];
        let from = self.dice.below(self.hosts);
        let is = |&host: &usize| cost[host] + self.taken[host] == least;
        (from..self.hosts).chain(0..from).find(is).unwrap_or(0) as u32
    }

    fn guess(&self) -> Guess {
        Guess { over_floor: !self.at_floor(), cost: self.now, hosts: self.at.clone() }
    }

    /// Places all, the first of `order` on `root`, the others each where they are cheapest then. Nothing when that comes
    /// to `limit` or more.
    pub fn greedy(&mut self, order: &[usize], root: u32, limit: i32) -> Option<Guess> {
        self.clear();
        // One hop for each link that has no path yet.
        let mut left = self.floor;
        for (rank, &node) in order.iter().enumerate() {
            let (cost, host) = match rank {
                0 => (self.cost[node * self.hosts + root as usize], root),
                _ => {
                    let least = self.least(node);
                    (least, self.host_for(node, least))
                }
            };
            let tied = self.demand.links_of[node].iter().filter(|(_, other)| self.at[*other as usize] != NONE);
            left -= tied.map(|&(link, _)| i32::from(self.unit[link as usize])).sum::<i32>();
            if cost >= NEVER || self.now + cost + left >= limit {
                return None;
            }
            self.put(node, host);
        }
        Some(self.guess())
    }

    /// Searches from `start` until nothing better has been found for `patience` moves, and adds to `pool` whatever was
    /// better than all before.
    pub fn search(&mut self, start: &Guess, patience: u64, pool: &mut Vec<Guess>) {
        self.clear();
        for (node, &host) in start.hosts.iter().enumerate() {
            self.put(node, host);
        }
        self.stays.fill(0);
        let mut best = self.guess();
        let mut since = 0;
        let nodes = self.demand.nodes;
        for turn in 1.. {
            if since >= patience || nodes < 2 {
                break;
            }
            since += 1;
            let Some((node, host, other)) = self.best_move(turn) else { continue };
            let from = self.at[node];
            self.lift(node);
            if let Some(other) = other {
                self.lift(other);
                self.put(other, from);
                self.stays[other] = turn + 1 + self.dice.below(nodes) as u32;
            }
            self.put(node, host);
            self.stays[node] = turn + 1 + self.dice.below(nodes) as u32;
            if self.now < best.cost {
                best = self.guess();
                since = 0;
                pool.push(best.clone());
                if !best.over_floor {
                    break;
                }
            }
        }
    }

    /// The best move of one that need not stay: where to, and with whom it changes places.
    fn best_move(&mut self, turn: u32) -> Option<(usize, u32, Option<usize>)> {
        let (mut alone, mut chosen) = (None, None);
        let mut least = i32::MAX;
        for node in 0..self.demand.nodes {
            if self.stays[node] >= turn {
                continue;
            }
            let here = self.cost[node * self.hosts + self.at[node] as usize];
            let there = self.least(node);
            if there < NEVER && there - here < least {
                least = there - here;
                alone = Some((node, there));
            }
        }
        for a in 0..self.demand.nodes {
            for b in a + 1..self.demand.nodes {
                if self.stays[a] >= turn || self.stays[b] >= turn {
                    continue;
                }
                let cost = |node: usize, host: u32| self.cost[node * self.hosts + host as usize];
                let (on_a, on_b) = (self.at[a], self.at[b]);
                let (to_b, to_a) = (cost(a, on_b), cost(b, on_a));
                let mut change = to_b - cost(a, on_a) + to_a - cost(b, on_b);
                if change >= least || to_b >= NEVER || to_a >= NEVER {
                    continue;
                }
                // Each still counted the other where it was: the link between them does not change.
                for &(link, other) in &self.demand.links_of[a] {
                    if other as usize == b {
                        change += 2
                            * i32::from(self.unit[link as usize])
                            * i32::from(self.near.row(link, on_a)[on_b as usize]);
                    }
                }
                if change < least {
                    least = change;
                    chosen = Some((a, on_b, Some(b)));
                }
            }
        }
        chosen.or_else(|| alone.map(|(node, there)| (node, self.host_for(node, there), None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::{Micros, RequestBuilder, Residual, SubstrateBuilder};

    /// On a ring of eight, four virtual nodes in a ring cannot all have one hop; two next to each other can.
    #[test]
    fn costs_are_sums_of_distances_whatever_was_moved() {
        let mut ring = SubstrateBuilder::new(0);
        let all: Vec<_> = (0..8).map(|_| ring.host(&[]).unwrap()).collect();
        for at in 0..8 {
            ring.link(all[at], all[(at + 1) % 8], 100, Micros(0)).unwrap();
        }
        let ring = ring.build();
        let mut request = RequestBuilder::new(0);
        let nodes: Vec<_> = (0..4).map(|_| request.node(&[], None)).collect();
        for (at, bandwidth) in [5, 1, 7, 3].into_iter().enumerate() {
            request.link([nodes[at], nodes[(at + 1) % 4]], &[bandwidth], None);
        }
        let request = request.build().unwrap();
        let residual = Residual::whole(&ring, 1);
        let demand = Demand::new(&ring, &residual, &request);
        let mut near = Near::default();
        near.begin(&ring, &residual, &demand);
        let price = [3; 8];
        let mut table = Table::new(&demand, &mut near, &price);
        let order = demand.order();
        let mut pool: Vec<Guess> = (0..8).filter_map(|root| table.greedy(&order, root, i32::MAX)).collect();
        assert_eq!(pool.len(), 8);
        for start in pool.clone() {
            table.search(&start, 30, &mut pool);
        }
        let hops = |a: u32, b: u32| a.abs_diff(b).min(8 - a.abs_diff(b)) as i32;
        for guess in &pool {
            let link = |(ends, &bandwidth): (&[u32; 2], &u64)| {
                bandwidth as i32 * HOP as i32 * hops(guess.hosts[ends[0] as usize], guess.hosts[ends[1] as usize])
            };
            let links: i32 = demand.ends.iter().zip(&demand.hop_cost).map(link).sum();
            assert_eq!(guess.cost, links + 4 * 3, "{guess:?}");
            let mut apart = guess.hosts.clone();
            apart.sort_unstable();
            apart.dedup();
            assert_eq!(apart.len(), 4, "{guess:?}");
        }
        // The thinnest link takes the three hops back.
        let best = pool.iter().map(|guess| guess.cost).min();
        assert_eq!(best, Some((5 + 7 + 3 + 3) * HOP as i32 + 4 * 3));
        assert!(table.greedy(&order, 0, 1).is_none(), "no more than the limit");
    }
}
