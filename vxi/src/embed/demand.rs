//! A request as the searches want it: numbers in rows, and for each virtual node the hosts that would do for it alone.

use super::paths::Asked;
use super::problem::{HostId, Substrate};
use super::request::{Request, VirtualLinkId, VirtualNodeId};
use super::residual::Residual;

/// What is asked for. Fields are by virtual link or virtual node.
pub(crate) struct Demand {
    /// Bandwidth per virtual link and period.
    pub bandwidth: Vec<i64>,
    /// What a hop costs, per virtual link: bandwidth weighted over the periods.
    pub hop_cost: Vec<u64>,
    pub ends: Vec<[u32; 2]>,
    pub latency: Vec<Option<u64>>,
    /// Virtual links of each virtual node, the dearest first: (link, the other end).
    pub links_of: Vec<Vec<(u32, u32)>>,
    /// What a virtual node's links cost at one hop each.
    pub weight: Vec<u64>,
    /// Whether a link may have no hop at all (its ends may share a host).
    pub may_share: Vec<bool>,
    /// Hosts that a virtual node may use, in order.
    pub candidates: Vec<Vec<u32>>,
    /// The same by host: `usable[node * hosts + host]`.
    pub usable: Vec<bool>,
    /// Whether two virtual nodes of it might ever share a host.
    pub sharing: bool,
    pub periods: usize,
    pub nodes: usize,
    /// Free bandwidth of a host's links together, per host and period.
    incident: Vec<i64>,
}

impl Demand {
    pub fn new(substrate: &Substrate, residual: &Residual, request: &Request) -> Self {
        let (nodes, hosts, periods) = (request.nodes().len(), substrate.hosts(), request.periods());
        let hop_cost: Vec<u64> =
            (0..request.links().len() as u32).map(|link| request.hop_cost(VirtualLinkId(link))).collect();
        let ends: Vec<[u32; 2]> = request.links().iter().map(|link| link.ends.map(|end| end.0)).collect();
        let mut links_of = vec![Vec::new(); nodes];
        for (link, [a, b]) in ends.iter().enumerate() {
            links_of[*a as usize].push((link as u32, *b));
            links_of[*b as usize].push((link as u32, *a));
        }
        for links in &mut links_of {
            links.sort_by_key(|&(link, _)| std::cmp::Reverse(hop_cost[link as usize]));
        }
        let weight =
            links_of.iter().map(|links| links.iter().map(|&(link, _)| hop_cost[link as usize]).sum()).collect();
        let clouds = (0..hosts as u32).any(|host| substrate.machines(HostId(host)) > 1);
        let sharing = clouds || request.nodes().iter().any(|node| node.group.is_some());
        let may_share =
            ends.iter().map(|[a, b]| clouds || request.may_share(VirtualNodeId(*a), VirtualNodeId(*b))).collect();
        let mut demand = Self {
            bandwidth: request.links().iter().flat_map(|link| link.bandwidth.iter().map(|&b| b as i64)).collect(),
            hop_cost,
            ends,
            latency: request.links().iter().map(|link| link.latency.map(|bound| bound.0)).collect(),
            links_of,
            weight,
            may_share,
            candidates: Vec::with_capacity(nodes),
            usable: vec![false; nodes * hosts],
            sharing,
            periods,
            nodes,
            incident: vec![0; hosts * periods],
        };
        for (id, link) in substrate.links().iter().enumerate() {
            for end in link.ends {
                let around = &mut demand.incident[end.at() * periods..][..periods];
                around.iter_mut().zip(residual.link(id)).for_each(|(around, free)| *around += free.max(&0));
            }
        }
        for node in 0..nodes {
            demand.find_candidates(substrate, residual, request, node);
        }
        demand
    }

    /// A host will do when it has the capacity, and its links the bandwidth that must leave it.
    fn find_candidates(&mut self, substrate: &Substrate, residual: &Residual, request: &Request, node: usize) {
        let asked = &request.nodes()[node].demand;
        let hosts = substrate.hosts();
        let mut out = vec![0i64; self.periods];
        for &(link, _) in &self.links_of[node] {
            if !self.may_share[link as usize] {
                let bandwidth = &self.bandwidth[link as usize * self.periods..][..self.periods];
                out.iter_mut().zip(bandwidth).for_each(|(out, bandwidth)| *out += bandwidth);
            }
        }
        let fits = |host: u32| {
            let id = HostId(host);
            let free = residual.host(host as usize);
            let one = substrate.capacities(id);
            let resources = one.len();
            free.iter().zip(asked).enumerate().all(|(dimension, (&free, &asked))| {
                free >= asked as i64 && (substrate.machines(id) == 1 || one[dimension % resources] >= asked)
            }) && self.incident(host).iter().zip(&out).all(|(around, out)| around >= out)
        };
        let candidates: Vec<u32> = match &request.nodes()[node].allowed {
            Some(allowed) => {
                allowed.iter().map(|host| host.0).filter(|&host| (host as usize) < hosts && fits(host)).collect()
            }
            None => (0..hosts as u32).filter(|&host| fits(host)).collect(),
        };
        for &host in &candidates {
            self.usable[node * hosts + host as usize] = true;
        }
        self.candidates.push(candidates);
    }

    /// The virtual nodes in the order in which a greedy placement takes them: what is tied closest to those before.
    pub fn order(&self) -> Vec<usize> {
        let mut tie = vec![0u64; self.nodes];
        let mut order = Vec::with_capacity(self.nodes);
        let mut left: Vec<usize> = (0..self.nodes).collect();
        while !left.is_empty() {
            let key = |&at: &usize| (tie[left[at]], self.weight[left[at]], std::cmp::Reverse(left[at]));
            let next = (0..left.len()).max_by_key(key).unwrap_or(0);
            let node = left.swap_remove(next);
            order.push(node);
            for &(link, other) in &self.links_of[node] {
                tie[other as usize] += self.hop_cost[link as usize] + 1;
            }
        }
        order
    }

    /// Free bandwidth of a host's links together, per period.
    pub fn incident(&self, host: u32) -> &[i64] {
        &self.incident[host as usize * self.periods..][..self.periods]
    }

    /// What paths cost: bandwidth × hops, weighted by period.
    pub fn hops(&self, paths: &[Vec<u32>]) -> u64 {
        paths.iter().zip(&self.hop_cost).map(|(path, cost)| path.len() as u64 * cost).sum()
    }

    pub fn bandwidth(&self, link: u32) -> &[i64] {
        &self.bandwidth[link as usize * self.periods..][..self.periods]
    }

    pub fn asked(&self, link: u32) -> Asked<'_> {
        Asked { bandwidth: self.bandwidth(link), latency: self.latency[link as usize] }
    }
}
