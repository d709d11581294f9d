//! The published baselines: rank the nodes, map them in order, route afterwards.
//!
//! **GRC** (Gong, Wen, Zhu, Lee: *Toward profit-seeking virtual network embedding*, INFOCOM 2014): a host's global
//! resource capacity is r = (1 − d) c + d M r, with c the share of CPU and M the share of a neighbour's bandwidth.
//! **NRM**: CPU × bandwidth around the node. Both put the best-ranked virtual node on the best-ranked host that has the
//! CPU and is not used yet, and then each virtual link on a shortest path (breadth first) with the bandwidth.

use crate::embed::{Embedding, HostId, LinkId, Request, Residual, Share, Substrate};

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

/// Embeds as the baseline does; `None` when a virtual node finds no host or a virtual link no path.
pub fn embed(rank: Rank, substrate: &Substrate, residual: &Residual, request: &Request) -> Option<Embedding> {
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
    let place: Vec<HostId> = place.into_iter().collect::<Option<_>>()?;
    let mut left: Vec<i64> = links.iter().map(|link| link.2 as i64).collect();
    let mut routes = Vec::new();
    for link in request.links() {
        let [from, to] = link.ends.map(|end| place[end.0 as usize]);
        let wanted = link.bandwidth[0] as i64;
        let (hosts, path) = shortest(substrate, &left, from, to, wanted)?;
        path.iter().for_each(|on| left[on.0 as usize] -= wanted);
        routes.push(vec![Share { hosts, links: path, bandwidth: link.bandwidth.clone() }]);
    }
    Some(Embedding { hosts: place, routes })
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

fn shortest(
    substrate: &Substrate,
    left: &[i64],
    from: HostId,
    to: HostId,
    wanted: i64,
) -> Option<(Vec<HostId>, Vec<LinkId>)> {
    let mut before: Vec<Option<(HostId, LinkId)>> = vec![None; substrate.hosts()];
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(host) = queue.pop_front() {
        if host == to {
            let (mut hosts, mut links, mut at) = (vec![to], Vec::new(), to);
            while at != from {
                let (previous, link) = before[at.0 as usize]?;
                links.push(link);
                hosts.push(previous);
                at = previous;
            }
            hosts.reverse();
            links.reverse();
            return Some((hosts, links));
        }
        for (neighbour, link) in substrate.neighbours(host) {
            if neighbour != from && before[neighbour.0 as usize].is_none() && left[link.0 as usize] >= wanted {
                before[neighbour.0 as usize] = Some((host, link));
                queue.push_back(neighbour);
            }
        }
    }
    None
}
