//! One who embeds, request after request, into one substrate.

use std::time::{Duration, Instant};

use super::demand::Demand;
use super::exact::{self, Limit};
use super::guess::guess;
use super::joint::{Best, Effort, solve};
use super::near::Near;
use super::paths::{HOP, Paths};
use super::place::Placement;
use super::problem::{Embedding, HostId, LinkId, Refusal, Share, Substrate};
use super::refusal;
use super::request::Request;
use super::residual::Residual;
use super::route::Rows;
use super::split::Split;

/// How much dearer than an empty link a full one is at most, in parts of a hop ([`HOP`]): enough to choose among paths
/// of the same length, not enough for a detour.
const CONGESTION: f64 = 4.0;

/// What a well-connected host costs a virtual node that could as well sit elsewhere: bandwidth × [`HOP`] of a link of
/// average bandwidth, times this, at average connection. It keeps the hubs for those who need them.
const SPARING: f64 = 0.004;

/// Beyond so many hosts the builds are all: branch and bound looks at every host for every virtual node.
const MOST_HOSTS: usize = 1024;

/// Beyond so many virtual nodes there is no tabu search: it looks at every pair of them at every move.
const MOST_NODES: usize = 64;

/// The heuristic does not look for what is cheaper by less than this.
const TOLERANCE: f64 = 0.005;

/// From how many hosts a split placement is begun.
const SPLIT_ROOTS: usize = 32;

/// Embeds requests into one substrate, with room kept for the searches between them.
pub struct Embedder<'s> {
    substrate: &'s Substrate,
    effort: Effort,
    paths: Paths,
    rows: Rows,
    near: Near,
    price: Vec<u8>,
    host_price: Vec<u32>,
    mean_incident: f64,
}

/// What the exact mode has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The best embedding known; `None` when none is.
    pub embedding: Option<Embedding>,
    /// Its cost, bandwidth × hops weighted by period: what is minimised.
    pub cost: u64,
    /// No embedding costs less. When this is `cost`, the embedding is optimal.
    pub bound: u64,
    /// Whether nothing is left open: the embedding is optimal, or there is none.
    pub proved: bool,
}

impl Proven {
    /// How far the cost may be from the optimum, as a part of the cost; 0 when proved.
    pub fn gap(&self) -> f64 {
        match (self.proved, self.embedding.is_some()) {
            (true, _) => 0.0,
            (false, true) => (self.cost - self.bound) as f64 / (self.cost as f64).max(1.0),
            (false, false) => f64::INFINITY,
        }
    }
}

impl<'s> Embedder<'s> {
    /// For a substrate, with the standard effort.
    pub fn new(substrate: &'s Substrate) -> Self {
        Self::with_effort(substrate, Effort::default())
    }

    /// For a substrate, with as much effort as is wanted: more of it is the anytime improvement.
    pub fn with_effort(substrate: &'s Substrate, effort: Effort) -> Self {
        let bandwidth: f64 = substrate.links().iter().map(|link| link.bandwidth as f64).sum();
        Self {
            substrate,
            effort,
            paths: Paths::new(substrate.hosts()),
            rows: Rows::default(),
            near: Near::default(),
            price: vec![HOP as u8; substrate.links().len()],
            host_price: vec![0; substrate.hosts()],
            mean_incident: (2.0 * bandwidth / substrate.hosts().max(1) as f64).max(1.0),
        }
    }

    /// The substrate that it embeds into.
    pub fn substrate(&self) -> &'s Substrate {
        self.substrate
    }

    /// Embeds a request into what is free, each virtual link on one path.
    ///
    /// # Errors
    /// When no embedding was found: with what was in the way, if one thing was.
    ///
    /// # Panics
    /// When the residual is not of this substrate or has not the periods of the request.
    pub fn embed(&mut self, residual: &Residual, request: &Request) -> Result<Embedding, Refusal> {
        let demand = self.demand(residual, request);
        refusal::at_once(self.substrate, residual, request, &demand)?;
        let best = self.heuristic(residual, request, &demand);
        if best.complete {
            return Ok(self.embedding(request, &best.hosts, &best.paths));
        }
        Err(refusal::afterwards(self.substrate, residual, request, &demand))
    }

    /// As [`Self::embed`], but where that finds nothing a virtual link may have several paths, each for a part of its
    /// bandwidth.
    ///
    /// # Errors
    /// As [`Self::embed`].
    ///
    /// # Panics
    /// As [`Self::embed`].
    pub fn embed_split(&mut self, residual: &Residual, request: &Request) -> Result<Embedding, Refusal> {
        let refusal = match self.embed(residual, request) {
            Ok(embedding) => return Ok(embedding),
            Err(refusal) => refusal,
        };
        let demand = self.demand(residual, request);
        let roots = self.weigh(residual, &demand);
        let mut split = Split::new(self.substrate, residual, request, &demand, &self.price);
        split.place(&mut self.paths, &roots, &demand.order(), SPLIT_ROOTS).ok_or(refusal)
    }

    /// Embeds a request at the least cost, and says whether that is proved; gives up proving after `time`.
    ///
    /// # Panics
    /// As [`Self::embed`].
    pub fn prove(&mut self, residual: &Residual, request: &Request, time: Duration) -> Proven {
        let demand = self.demand(residual, request);
        if refusal::at_once(self.substrate, residual, request, &demand).is_err() {
            return Proven { embedding: None, cost: 0, bound: 0, proved: true };
        }
        let best = self.heuristic(residual, request, &demand);
        let embedding = best.complete.then(|| self.embedding(request, &best.hosts, &best.paths));
        let cost = if best.complete { demand.hops(&best.paths) } else { residual.all(request) + 1 };
        let limit =
            Limit { steps: u64::MAX, deadline: Some(Instant::now() + time), tolerance: 0.0, routing: 1_000_000 };
        let (s, hop) = (self.substrate, u64::from(HOP));
        let outcome = exact::search(s, residual, request, &demand, &mut self.rows, None, &[], cost * hop, limit);
        let (cost, embedding) = match outcome.better {
            Some((hosts, paths)) => (demand.hops(&paths), Some(self.embedding(request, &hosts, &paths))),
            None => (cost, embedding),
        };
        Proven { embedding, cost, bound: outcome.bound.div_ceil(hop), proved: outcome.finished }
    }

    fn demand(&self, residual: &Residual, request: &Request) -> Demand {
        assert_eq!(residual.periods(), request.periods(), "a residual has the periods of the request that it is for");
        assert_eq!(
            residual.links().len(),
            self.substrate.links().len() * residual.periods(),
            "residual of another substrate"
        );
        Demand::new(self.substrate, residual, request)
    }

    /// Prices links and hosts for a request; returns the hosts, the best connected first.
    fn weigh(&mut self, residual: &Residual, demand: &Demand) -> Vec<u32> {
        let periods = residual.periods();
        for (id, link) in self.substrate.links().iter().enumerate() {
            let free = residual.link(id).iter().min().copied().unwrap_or(0).max(0);
            let used = (1.0 - free as f64 / (link.bandwidth as f64).max(1.0)).clamp(0.0, 1.0);
            self.price[id] = (f64::from(HOP) + CONGESTION * used * used) as u8;
        }
        let links = demand.hop_cost.len().max(1) as f64;
        let mean = demand.hop_cost.iter().sum::<u64>() as f64 / links;
        let unit = SPARING * f64::from(HOP) * mean / (self.mean_incident * periods as f64);
        let mut roots: Vec<(i64, u32)> = Vec::with_capacity(self.substrate.hosts());
        for host in 0..self.substrate.hosts() as u32 {
            let free = demand.incident(host).iter().sum::<i64>();
            self.host_price[host as usize] = (free as f64 * unit) as u32;
            roots.push((free, host));
        }
        // The best connected first: a good build early ends the later ones early.
        roots.sort_unstable_by_key(|&(free, host)| (std::cmp::Reverse(free), host));
        roots.into_iter().map(|(_, host)| host).collect()
    }

    fn heuristic(&mut self, residual: &Residual, request: &Request, demand: &Demand) -> Best {
        let roots = self.weigh(residual, demand);
        self.paths.searches = 0;
        let small = self.substrate.hosts() <= MOST_HOSTS;
        if small && demand.nodes <= MOST_NODES && !demand.sharing {
            self.near.begin(self.substrate, residual, demand);
            let (price, host_price) = (&self.price, &self.host_price);
            let mut placement = Placement::new(self.substrate, residual, request, demand, price, host_price);
            let found = guess(&mut placement, &mut self.near, &mut self.paths, &roots, self.effort);
            if let Some(best) = found {
                return best;
            }
        }
        let quick = Effort { rescue: 0, ..self.effort };
        let mut best = self.build(residual, request, demand, &roots, quick);
        if small {
            self.refine(residual, request, demand, &roots, &mut best);
        }
        if !best.complete {
            best = self.build(residual, request, demand, &roots, self.effort);
        }
        best
    }

    fn build(
        &mut self,
        residual: &Residual,
        request: &Request,
        demand: &Demand,
        roots: &[u32],
        effort: Effort,
    ) -> Best {
        let mut placement = Placement::new(self.substrate, residual, request, demand, &self.price, &self.host_price);
        solve(&mut placement, &mut self.paths, roots, effort)
    }

    /// Branch and bound from the best build, cut short.
    fn refine(&mut self, residual: &Residual, request: &Request, demand: &Demand, roots: &[u32], best: &mut Best) {
        let hop = u64::from(HOP);
        let cost = match best.complete {
            true => {
                let hosts: u64 = best.hosts.iter().map(|&host| u64::from(self.host_price[host as usize])).sum();
                demand.hops(&best.paths) * hop + hosts
            }
            false => (residual.all(request) + 1) * hop * 2,
        };
        let limit = Limit { steps: self.effort.steps, deadline: None, tolerance: TOLERANCE, routing: 400 };
        let (price, rows) = (Some(&self.host_price[..]), &mut self.rows);
        let outcome = exact::search(self.substrate, residual, request, demand, rows, price, roots, cost, limit);
        if let Some((hosts, paths)) = outcome.better {
            *best = Best { hosts, paths, worth: 0, complete: true };
        }
    }

    fn embedding(&self, request: &Request, hosts: &[u32], paths: &[Vec<u32>]) -> Embedding {
        let routes = request.links().iter().zip(paths).map(|(link, path)| {
            let [from, to] = link.ends.map(|end| hosts[end.0 as usize]);
            let mut links = path.clone();
            let mut along = self.walk(from, &links);
            // A path is kept from whichever end was placed last.
            if along.as_ref().is_none_or(|along| along.last() != Some(&HostId(to))) {
                links.reverse();
                along = self.walk(from, &links);
            }
            let hosts = along.unwrap_or_default();
            debug_assert_eq!(hosts.last(), Some(&HostId(to)));
            vec![Share { hosts, links: links.into_iter().map(LinkId).collect(), bandwidth: link.bandwidth.clone() }]
        });
        Embedding { hosts: hosts.iter().map(|&host| HostId(host)).collect(), routes: routes.collect() }
    }

    /// The hosts along `links` from `from`; `None` when they do not start there or do not hang together.
    fn walk(&self, from: u32, links: &[u32]) -> Option<Vec<HostId>> {
        let mut along = vec![HostId(from)];
        let mut at = HostId(from);
        for &link in links {
            let [a, b] = self.substrate.links()[link as usize].ends;
            at = match () {
                () if a == at => b,
                () if b == at => a,
                () => return None,
            };
            along.push(at);
        }
        Some(along)
    }
}
