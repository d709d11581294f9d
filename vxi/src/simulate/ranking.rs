//! The published baselines: rank the nodes, map them in order, route afterwards.
//!
//! **GRC** (Gong, Wen, Zhu, Lee: *Toward profit-seeking virtual network embedding*, INFOCOM 2014): a host's global
//! resource capacity is r = (1 − d) c + d M r, with c the share of CPU and M the share of a neighbour's bandwidth.
//! **NRM**: CPU × bandwidth around the node. Both put the best-ranked virtual node on the best-ranked host that has the
//! CPU and is not used yet, and then each virtual link on the first of the `PATHS` shortest paths of the topology that
//! has the bandwidth: a setting of the benchmark that decides its figures, as a search in what is free accepts more and
//! spends more.

use std::collections::HashMap;

use super::yen::{self, Path};
use crate::embed::{Embedding, HostId, LinkId, Request, Residual, Share, Substrate};

/// How many paths between two hosts are looked at.
const PATHS: usize = 10;

/// Damping of GRC.
const DAMPING: f64 = 0.85;

/// GRC's iteration ends when the ranks change by less than this in all.
const SETTLED: f64 = 1e-5;

/// Which rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Global resource capacity.
    Grc,
    /// Node resource metric.
    Nrm,
}

/// Embeds as a baseline does, into one substrate.
pub struct Ranking<'s> {
    rank: Rank,
    substrate: &'s Substrate,
    /// Paths that were asked for: the topology does not change.
    paths: HashMap<[HostId; 2], Vec<Path>>,
}

impl<'s> Ranking<'s> {
    /// For a substrate.
    pub fn new(rank: Rank, substrate: &'s Substrate) -> Self {
        Self { rank, substrate, paths: HashMap::new() }
    }

    /// Embeds a request; `None` when a virtual node finds no host or a virtual link no path.
    pub fn embed(&mut self, residual: &Residual, request: &Request) -> Option<Embedding> {
        let place = place(self.rank, self.substrate, residual, request)?;
        let links = 0..self.substrate.links().len() as u32;
        let mut left: Vec<u64> = links.map(|link| residual.link_free(LinkId(link), 0)).collect();
        let mut routes = Vec::new();
        for link in request.links() {
            let [from, to] = link.ends.map(|end| place[end.0 as usize]);
            let wanted = link.bandwidth[0];
            let known = self.paths.entry([from, to]);
            let paths = known.or_insert_with(|| yen::shortest(self.substrate, from, to, PATHS));
            let (hosts, links) =
                paths.iter().find(|(_, on)| on.iter().all(|on| left[on.0 as usize] >= wanted))?.clone();
            links.iter().for_each(|on| left[on.0 as usize] -= wanted);
            routes.push(vec![Share { hosts, links, bandwidth: link.bandwidth.clone() }]);
        }
        Some(Embedding { hosts: place, routes })
    }
}

/// A host for each virtual node.
fn place(rank: Rank, substrate: &Substrate, residual: &Residual, request: &Request) -> Option<Vec<HostId>> {
    let hosts = substrate.hosts();
    let free: Vec<f64> = (0..hosts as u32).map(|host| residual.host_free(HostId(host), 0, 0) as f64).collect();
    let links = substrate.links().iter().enumerate();
    let links: Vec<(usize, usize, f64)> = links
        .map(|(id, l)| (l.ends[0].0 as usize, l.ends[1].0 as usize, residual.link_free(LinkId(id as u32), 0) as f64))
        .collect();
    let asked: Vec<f64> = request.nodes().iter().map(|node| node.demand[0] as f64).collect();
    let virtual_links = request.links().iter();
    let virtual_links: Vec<(usize, usize, f64)> =
        virtual_links.map(|l| (l.ends[0].0 as usize, l.ends[1].0 as usize, l.bandwidth[0] as f64)).collect();

    let order = |ranks: Vec<f64>| {
        let mut order: Vec<usize> = (0..ranks.len()).collect();
        order.sort_by(|&a, &b| ranks[b].total_cmp(&ranks[a]));
        order
    };
    let ranks = |cpu: &[f64], links: &[(usize, usize, f64)]| match rank {
        Rank::Grc => grc(cpu, links),
        Rank::Nrm => nrm(cpu, links),
    };
    let host_order = order(ranks(&free, &links));
    let mut place = vec![None; asked.len()];
    let mut used = vec![false; hosts];
    for node in order(ranks(&asked, &virtual_links)) {
        let host = *host_order.iter().find(|&&host| !used[host] && free[host] >= asked[node])?;
        used[host] = true;
        place[node] = Some(HostId(host as u32));
    }
    place.into_iter().collect()
}

fn nrm(cpu: &[f64], links: &[(usize, usize, f64)]) -> Vec<f64> {
    let mut around = vec![0.0; cpu.len()];
    for &(a, b, bandwidth) in links {
        around[a] += bandwidth;
        around[b] += bandwidth;
    }
    cpu.iter().zip(around).map(|(cpu, around)| cpu * around).collect()
}

fn grc(cpu: &[f64], links: &[(usize, usize, f64)]) -> Vec<f64> {
    let all: f64 = cpu.iter().sum();
    let share: Vec<f64> = cpu.iter().map(|cpu| cpu / all.max(1e-9)).collect();
    let mut around = vec![0.0; cpu.len()];
    for &(a, b, bandwidth) in links {
        around[a] += bandwidth;
        around[b] += bandwidth;
    }
    let mut rank = share.clone();
    loop {
        let mut next: Vec<f64> = share.iter().map(|share| (1.0 - DAMPING) * share).collect();
        for &(a, b, bandwidth) in links {
            if around[b] > 0.0 {
                next[a] += DAMPING * bandwidth / around[b] * rank[b];
            }
            if around[a] > 0.0 {
                next[b] += DAMPING * bandwidth / around[a] * rank[a];
            }
        }
        let change: f64 = next.iter().zip(&rank).map(|(next, rank)| (next - rank) * (next - rank)).sum();
        rank = next;
        if change.sqrt() < SETTLED {
            return rank;
        }
    }
}
