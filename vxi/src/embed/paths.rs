//! Cheapest paths in what is free, fast: the inner loop of everything here.
//!
//! Prices are small whole numbers, so that a ring of buckets serves as the queue (Dial, 1969), and all arrays are kept
//! from one search to the next: a search allocates nothing. A tree is kept for each virtual link that is looked at, to
//! read the path off once a host has been chosen.
//!
//! A virtual link with a latency bound needs another search, because the cheapest path may be too slow: the least
//! latency by number of hops (Bellman and Ford), of which the fewest hops that hold the bound are taken.

use super::problem::Substrate;

/// What a hop costs before congestion is added: prices are fractions of it.
pub(crate) const HOP: u32 = 32;

/// Buckets in the ring; every price is below this.
const RING: usize = 64;

/// No host, no link, not reached.
pub(crate) const NONE: u32 = u32::MAX;

/// The most hops that a path with a latency bound may have.
const MOST_HOPS: usize = 24;

/// The graph, with what is free of it and what each link costs now.
#[derive(Clone, Copy)]
pub(crate) struct Graph<'a> {
    pub substrate: &'a Substrate,
    /// Free bandwidth, per link and period.
    pub free: &'a [i64],
    pub periods: usize,
    /// Price per link: [`HOP`] to 63.
    pub price: &'a [u8],
}

impl Graph<'_> {
    pub fn fits(&self, link: u32, bandwidth: &[i64]) -> bool {
        if self.periods == 1 {
            return self.free[link as usize] >= bandwidth[0];
        }
        let free = &self.free[link as usize * self.periods..][..self.periods];
        free.iter().zip(bandwidth).all(|(free, asked)| free >= asked)
    }

    /// The end of `link` that is not `host`.
    pub fn across(&self, link: u32, host: u32) -> u32 {
        let [a, b] = self.substrate.links()[link as usize].ends;
        if a.0 == host { b.0 } else { a.0 }
    }
}

/// What a virtual link asks of its path.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub bandwidth: &'a [i64],
    /// The latency bound in microseconds.
    pub latency: Option<u64>,
}

/// Trees of cheapest paths, one per slot.
pub(crate) struct Paths {
    hosts: usize,
    /// Cost from the source, per slot and host; [`NONE`] where it is not reached.
    cost: Vec<u32>,
    /// The link towards the source, per slot and host.
    via: Vec<u32>,
    source: Vec<u32>,
    /// For trees with a latency bound: links by hops and host, in place of `via`.
    layers: Vec<Vec<(u64, u32)>>,
    ring: [Vec<u32>; RING],
    /// Searches made since the last reset: the measure of work that budgets are counted in.
    pub searches: u64,
}

impl Paths {
    pub fn new(hosts: usize) -> Self {
        let ring = std::array::from_fn(|_| Vec::new());
        Self { hosts, cost: vec![], via: vec![], source: vec![], layers: vec![], ring, searches: 0 }
    }

    fn reserve(&mut self, slots: usize) {
        if self.source.len() < slots {
            self.cost.resize(slots * self.hosts, NONE);
            self.via.resize(slots * self.hosts, NONE);
            self.source.resize(slots, NONE);
            self.layers.resize(slots, Vec::new());
        }
    }

    /// The costs of a slot's tree by host, [`NONE`] where it does not reach.
    pub fn costs(&self, slot: usize) -> &[u32] {
        &self.cost[slot * self.hosts..][..self.hosts]
    }

    /// Grows a tree from `source` over links with the bandwidth, until `target` is reached (when given) or all within
    /// `radius` (a price) is. What lies one link beyond may be reached too, if not in the cheapest way.
    pub fn search(&mut self, slot: usize, graph: Graph, source: u32, asked: Asked, target: u32, radius: u32) {
        self.reserve(slot + 1);
        self.searches += 1;
        self.source[slot] = source;
        self.layers[slot].clear();
        match (asked.latency, graph.periods) {
            (Some(bound), _) => self.bounded(slot, graph, source, asked.bandwidth, bound),
            (None, 1) => {
                let (free, bandwidth) = (graph.free, asked.bandwidth[0]);
                self.grow(slot, graph, source, target, radius, |link| free[link as usize] >= bandwidth);
            }
            (None, _) => self.grow(slot, graph, source, target, radius, |link| graph.fits(link, asked.bandwidth)),
        }
    }

    fn grow(&mut self, slot: usize, graph: Graph, source: u32, target: u32, radius: u32, fits: impl Fn(u32) -> bool) {
        let cost = &mut self.cost[slot * self.hosts..][..self.hosts];
        let via = &mut self.via[slot * self.hosts..][..self.hosts];
        cost.fill(NONE);
        cost[source as usize] = 0;
        self.ring[0].push(source);
        let mut waiting: u64 = 1;
        let mut now = 0u32;
        while waiting != 0 {
            now += waiting.rotate_right(now % RING as u32).trailing_zeros();
            let bucket = now as usize % RING;
            if now > radius {
                break;
            }
            while let Some(host) = self.ring[bucket].pop() {
                if cost[host as usize] != now {
                    continue;
                }
                if host == target {
                    now = NONE;
                    break;
                }
                for arc in graph.substrate.arcs(host) {
                    let then = now + u32::from(graph.price[arc.link as usize]);
                    if then < cost[arc.to as usize] && fits(arc.link) {
                        cost[arc.to as usize] = then;
                        via[arc.to as usize] = arc.link;
                        let bucket = then as usize % RING;
                        self.ring[bucket].push(arc.to);
                        waiting |= 1 << bucket;
                    }
                }
            }
            if now == NONE {
                break;
            }
            waiting &= !(1 << bucket);
        }
        while waiting != 0 {
            self.ring[waiting.trailing_zeros() as usize].clear();
            waiting &= waiting - 1;
        }
    }

    /// Fewest hops within a latency: `layers[hops * hosts + host]` is the least latency with so many hops.
    fn bounded(&mut self, slot: usize, graph: Graph, source: u32, bandwidth: &[i64], bound: u64) {
        let hosts = self.hosts;
        let cost = &mut self.cost[slot * hosts..][..hosts];
        let layers = &mut self.layers[slot];
        cost.fill(NONE);
        cost[source as usize] = 0;
        layers.resize(hosts, (u64::MAX, NONE));
        layers[source as usize] = (0, NONE);
        for hops in 1..=MOST_HOPS.min(hosts) {
            let before = (hops - 1) * hosts;
            layers.resize((hops + 1) * hosts, (u64::MAX, NONE));
            let mut changed = false;
            for host in 0..hosts {
                let (so_far, _) = layers[before + host];
                if so_far > bound {
                    continue;
                }
                for arc in graph.substrate.arcs(host as u32) {
                    let then = so_far.saturating_add(graph.substrate.links()[arc.link as usize].latency.0);
                    let known = (0..=hops).map(|hops| layers[hops * hosts + arc.to as usize].0).min();
                    if then <= bound && then < known.unwrap_or(u64::MAX) && graph.fits(arc.link, bandwidth) {
                        layers[hops * hosts + arc.to as usize] = (then, arc.link);
                        cost[arc.to as usize] = cost[arc.to as usize].min(hops as u32 * HOP);
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
    }

    /// The links from `host` back to the source of a slot's tree, pushed onto `path`. The tree must reach `host`.
    pub fn read(&self, slot: usize, graph: Graph, host: u32, path: &mut Vec<u32>) {
        let (source, mut at) = (self.source[slot], host);
        if self.layers[slot].is_empty() {
            while at != source {
                let link = self.via[slot * self.hosts + at as usize];
                path.push(link);
                at = graph.across(link, at);
            }
            return;
        }
        let mut hops = self.cost[slot * self.hosts + at as usize] / HOP;
        while hops > 0 {
            let (_, link) = self.layers[slot][hops as usize * self.hosts + at as usize];
            path.push(link);
            at = graph.across(link, at);
            hops -= 1;
        }
    }
}
