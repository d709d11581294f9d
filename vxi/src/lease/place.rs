//! From a demand to the search for an embedding, and back.
//!
//! The search knows indices and whole numbers; which host may carry which node (kind, site, processor, devices, whether
//! it is to be had alone) is decided here and handed over as a list. What is asked for is rounded up to the search's
//! units, so that what it finds fits.

use std::time::Duration;

use serde::Serialize;

use super::demand::{Demand, Node};
use super::ground::{Ground, Path, Placement};
use super::ledger::future;
use super::room::Room;
use crate::calendar::Window;
use crate::embed::{Embedder, Embedding, GroupId, HostId, Micros, Refusal, Request, RequestBuilder, Residual};
use crate::model::Timestamp;
use crate::substrate::{Host, LINK_GRAIN, Measure, is_in_site};

/// How an embedding is searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Prove that it is the cheapest, or that there is none.
    pub exact: bool,
    /// Let a link have several paths, each for a part of its bandwidth, where one has no room.
    pub split: bool,
}

/// How good a placement is, where that was asked for: bandwidth × hops, weighted by the length of the periods, in the
/// search's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// What it costs.
    pub cost: u64,
    /// No placement costs less.
    pub bound: u64,
    /// Whether that leaves nothing open.
    pub proved: bool,
}

/// How long a proof may take.
const PROOF: Duration = Duration::from_secs(20);

/// A demand to be placed in a room.
pub(crate) struct Task<'a> {
    pub ground: &'a Ground,
    pub room: &'a Room,
    pub demand: &'a Demand,
    pub start: Timestamp,
    pub now: Timestamp,
    /// For each node where it must be; none: anywhere it may.
    pub pinned: Vec<Option<usize>>,
    /// For each node hosts where it must not be.
    pub barred: Vec<Vec<usize>>,
    /// For each node whether its capacities are asked for; if not it stands for an end of links alone.
    pub asks: Vec<bool>,
    /// For each link whether it is to be routed, or has a route already.
    pub routed: Vec<bool>,
    pub search: Search,
}

/// Why a task has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All of it is in the past.
    Over,
    /// No host may carry this node, whatever is free.
    Nowhere(usize),
    /// The search found nothing.
    Search(Refusal),
    /// More than the search can hold.
    TooLarge(String),
}

/// The windows of the periods that are not over.
pub(crate) fn windows(demand: &Demand, start: Timestamp, now: Timestamp) -> Vec<Window> {
    future(demand, start, now).map(|(_, window)| window).collect()
}

/// Whether a host may carry a node, whatever is free.
pub(crate) fn suits(host: &Host, node: &Node) -> bool {
    let same = |has: &Option<String>, asked: &Option<String>| asked.is_none() || has == asked;
    host.kind.carries(node.kind)
        && node.site.as_deref().is_none_or(|asked| host.site.as_deref().is_some_and(|site| is_in_site(site, asked)))
        && same(&host.region, &node.region)
        && same(&host.architecture, &node.architecture)
        && (node.frequency == 0 || host.frequency.is_some_and(|has| has >= node.frequency))
        && node.devices.iter().all(|device| host.devices.contains(device))
}

impl<'a> Task<'a> {
    /// All of a demand, anywhere.
    pub fn new(
        ground: &'a Ground,
        room: &'a Room,
        demand: &'a Demand,
        start: Timestamp,
        now: Timestamp,
        search: Search,
    ) -> Self {
        let (nodes, links) = (demand.nodes.len(), demand.links.len());
        Self {
            ground,
            room,
            demand,
            start,
            now,
            pinned: vec![None; nodes],
            barred: vec![Vec::new(); nodes],
            asks: vec![true; nodes],
            routed: vec![true; links],
            search,
        }
    }

    /// The hosts that may carry a node, whatever is free of their capacities.
    pub fn allowed(&self, node: usize) -> Vec<HostId> {
        if let Some(host) = self.pinned[node] {
            return vec![HostId(host as u32)];
        }
        let asked = &self.demand.nodes[node];
        let fits = |&host: &usize| {
            suits(&self.ground.after.hosts[host], asked)
                && self.room.host_open[host]
                && !self.room.closed_to_others[host]
                && (!asked.exclusive || self.room.empty[host])
                && !self.barred[node].contains(&host)
        };
        (0..self.ground.during.hosts.len()).filter(fits).map(|host| HostId(host as u32)).collect()
    }

    /// A placement of all that is to be placed. Links that were not to be routed have no path in it.
    pub fn place(&self) -> Result<Placement, NoPlace> {
        let periods: Vec<(usize, Window)> = future(self.demand, self.start, self.now).collect();
        if periods.is_empty() {
            return Err(NoPlace::Over);
        }
        // Of the nodes only those that matter: the others' links are not routed, and they ask for nothing.
        let mut needed = self.asks.clone();
        for (link, _) in self.demand.links.iter().zip(&self.routed).filter(|(_, routed)| **routed) {
            link.ends.iter().for_each(|&end| needed[end] = true);
        }
        let weights = weights(&periods);
        let mut builder = RequestBuilder::over(Measure::ALL.len(), &weights);
        let (mut id_of, mut groups) = (vec![None; self.demand.nodes.len()], std::collections::HashMap::new());
        let fixed_ends: Option<GroupId> = self.asks.contains(&false).then(|| builder.group());
        for node in (0..self.demand.nodes.len()).filter(|&node| needed[node]) {
            let asked = &self.demand.nodes[node];
            let allowed = self.allowed(node);
            if allowed.is_empty() {
                return Err(NoPlace::Nowhere(node));
            }
            let amount = |period: usize, measure: Measure| match self.asks[node] {
                true => asked.amounts[period].of(measure).div_ceil(measure.grain()),
                false => 0,
            };
            let demand: Vec<u64> =
                periods.iter().flat_map(|&(period, _)| Measure::ALL.map(|measure| amount(period, measure))).collect();
            // Fixed ends may stand together; whoever joins them was kept from their hosts where it must be.
            let group = fixed_ends.or_else(|| match asked.array {
                Some(array) if !asked.exclusive => Some(*groups.entry(array).or_insert_with(|| builder.group())),
                _ => None,
            });
            id_of[node] = Some(builder.member(&demand, Some(&allowed), group));
        }
        for (link, _) in self.demand.links.iter().zip(&self.routed).filter(|(_, routed)| **routed) {
            let [Some(a), Some(b)] = link.ends.map(|end| id_of[end]) else { continue };
            let bandwidth: Vec<u64> =
                periods.iter().map(|&(period, _)| link.bandwidth[period].div_ceil(LINK_GRAIN)).collect();
            builder.link([a, b], &bandwidth, link.latency.map(|bound| Micros(bound / 1000)));
        }
        let request = builder.build().map_err(|error| NoPlace::TooLarge(error.to_string()))?;
        let lit: Vec<usize> = (0..self.demand.nodes.len())
            .filter(|&node| !self.asks[node])
            .filter_map(|node| self.pinned[node])
            .collect();
        let residual = self.room.residual(self.ground, &lit);
        let (embedding, proof) = solve(self.ground, &residual, &request, self.search).map_err(NoPlace::Search)?;
        Ok(Placement { proof, ..self.placement(&embedding, &id_of, &periods) })
    }

    fn placement(
        &self,
        embedding: &Embedding,
        id_of: &[Option<crate::embed::VirtualNodeId>],
        periods: &[(usize, Window)],
    ) -> Placement {
        let host = |node: usize| match id_of[node] {
            Some(id) => embedding.hosts[id.0 as usize].0 as usize,
            // It had no part in this; whoever asked knows where it is.
            None => self.pinned[node].unwrap_or(usize::MAX),
        };
        let mut found = embedding.routes.iter();
        let routes = self.demand.links.iter().zip(&self.routed).map(|(link, &routed)| {
            let shares = if routed { found.next() } else { None };
            let shares = shares.map(Vec::as_slice).unwrap_or_default();
            let mut paths: Vec<Path> = shares
                .iter()
                .map(|share| Path {
                    hosts: share.hosts.iter().map(|host| host.0 as usize).collect(),
                    links: share.links.iter().map(|link| link.0 as usize).collect(),
                    bandwidth: vec![0; link.bandwidth.len()],
                })
                .collect();
            for (n, &(period, _)) in periods.iter().enumerate() {
                // Rounded up, the shares are a little more than what was asked for: the last one has what is left.
                let mut left = link.bandwidth[period];
                for (path, share) in paths.iter_mut().zip(shares) {
                    let carried = share.bandwidth[n].saturating_mul(LINK_GRAIN).min(left);
                    path.bandwidth[period] = carried;
                    left -= carried;
                }
            }
            // What is over already was carried by the first.
            for period in (0..link.bandwidth.len()).filter(|period| !periods.iter().any(|(p, _)| p == period)) {
                if let Some(path) = paths.first_mut() {
                    path.bandwidth[period] = link.bandwidth[period];
                }
            }
            paths
        });
        let routes = routes.collect();
        Placement { hosts: (0..self.demand.nodes.len()).map(host).collect(), routes, proof: None }
    }
}

/// How much each period counts: its length, in whole parts of the shortest, a thousand at most. An endless one counts
/// as much as the longest other.
fn weights(periods: &[(usize, Window)]) -> Vec<u64> {
    let length = |window: &Window| window.until.and_then(|until| until.since(window.from)).map(|span| span.0);
    let known = || periods.iter().filter_map(|(_, window)| length(window));
    let (shortest, longest) = (known().min().unwrap_or(1).max(1), known().max().unwrap_or(1));
    let weight = |(_, window): &(usize, Window)| (length(window).unwrap_or(longest) / shortest).clamp(1, 1000);
    periods.iter().map(weight).collect()
}

fn solve(
    ground: &Ground,
    residual: &Residual,
    request: &Request,
    search: Search,
) -> Result<(Embedding, Option<Proof>), Refusal> {
    let mut embedder = Embedder::new(&ground.graph);
    let whole = unsplit(&mut embedder, residual, request, search.exact);
    match whole {
        Err(_) if search.split => embedder.embed_split(residual, request).map(|embedding| (embedding, None)),
        whole => whole,
    }
}

fn unsplit(
    embedder: &mut Embedder,
    residual: &Residual,
    request: &Request,
    exact: bool,
) -> Result<(Embedding, Option<Proof>), Refusal> {
    if exact {
        let found = embedder.prove(residual, request, PROOF);
        let proof = Proof { cost: found.cost, bound: found.bound, proved: found.proved };
        if let Some(embedding) = found.embedding {
            return Ok((embedding, Some(proof)));
        }
        // There is none, as far as is known; the heuristic knows why better.
        return Err(match embedder.embed(residual, request) {
            Ok(embedding) => return Ok((embedding, None)),
            Err(Refusal::Nowhere { .. }) => Refusal::Nowhere { proved: found.proved },
            Err(reason) => reason,
        });
    }
    embedder.embed(residual, request).map(|embedding| (embedding, None))
}
