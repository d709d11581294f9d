//! Why a request is refused: what can be said before a search, and what after one that found nothing.
//!
//! Each reason given here is a proof by itself: it stays true however the rest of the request is placed.

use super::demand::Demand;
use super::paths::{Graph, HOP, NONE, Paths};
use super::problem::{HostId, Micros, Refusal, Shortage, Substrate};
use super::request::{Request, VirtualLinkId, VirtualNodeId};
use super::residual::Residual;

/// Refuses what no search could place: a virtual node without a host, or more of them than hosts.
pub(crate) fn at_once(
    substrate: &Substrate,
    residual: &Residual,
    request: &Request,
    demand: &Demand,
) -> Result<(), Refusal> {
    if let Some(node) = (0..demand.nodes).find(|&node| demand.candidates[node].is_empty()) {
        return Err(no_host(substrate, residual, request, node));
    }
    if demand.sharing {
        return Ok(());
    }
    let found = most_at_once(demand, substrate.hosts());
    if found < demand.nodes {
        return Err(Refusal::TooFewHosts { needed: demand.nodes, found });
    }
    Ok(())
}

/// The most virtual nodes that can have a host each (augmenting paths).
fn most_at_once(demand: &Demand, hosts: usize) -> usize {
    fn place(node: usize, demand: &Demand, seen: &mut [bool], taken: &mut [u32]) -> bool {
        for &host in &demand.candidates[node] {
            if taken[host as usize] == NONE {
                taken[host as usize] = node as u32;
                return true;
            }
        }
        for &host in &demand.candidates[node] {
            if !std::mem::replace(&mut seen[host as usize], true)
                && place(taken[host as usize] as usize, demand, seen, taken)
            {
                taken[host as usize] = node as u32;
                return true;
            }
        }
        false
    }
    let mut taken = vec![NONE; hosts];
    // Whoever has as many candidates as there are virtual nodes finds one, whatever the others take.
    let (scarce, ample): (Vec<usize>, Vec<usize>) =
        (0..demand.nodes).partition(|&node| demand.candidates[node].len() < demand.nodes);
    if scarce.is_empty() {
        return ample.len();
    }
    ample.len() + scarce.into_iter().filter(|&node| place(node, demand, &mut vec![false; hosts], &mut taken)).count()
}

fn no_host(substrate: &Substrate, residual: &Residual, request: &Request, node: usize) -> Refusal {
    let asked = &request.nodes()[node];
    let id = VirtualNodeId(node as u32);
    let all: Vec<HostId> = (0..substrate.hosts() as u32).map(HostId).collect();
    let allowed = asked.allowed.as_ref().unwrap_or(&all);
    let open = allowed.iter().filter(|host| (host.0 as usize) < substrate.hosts() && residual.host_open(**host));
    let resources = substrate.resources();
    let worst = |&host: &HostId| {
        let short = |dimension: usize| {
            let (period, resource) = (dimension / resources, dimension % resources);
            let mut free = residual.host_free(host, period, resource);
            if substrate.machines(host) > 1 {
                free = free.min(substrate.capacities(host)[resource]);
            }
            let asked = asked.demand[dimension];
            (asked > free).then_some(Shortage { host, resource, period, asked, free })
        };
        (0..asked.demand.len()).filter_map(short).max_by_key(|shortage| shortage.asked - shortage.free)
    };
    let mut nearest: Option<Shortage> = None;
    let mut any = false;
    for host in open {
        any = true;
        match worst(host) {
            Some(shortage) if nearest.is_none_or(|known| shortage.asked - shortage.free < known.asked - known.free) => {
                nearest = Some(shortage);
            }
            Some(_) => {}
            // The capacity is there: it is the bandwidth around the host that lacks.
            None => return no_bandwidth(request, node),
        }
    }
    Refusal::NoHost { node: id, shortage: if any { nearest } else { None } }
}

/// The dearest link of a virtual node whose links together exceed what any host's links have.
fn no_bandwidth(request: &Request, node: usize) -> Refusal {
    let id = VirtualNodeId(node as u32);
    let own = (0..request.links().len()).filter(|&link| request.links()[link].ends.contains(&id));
    let dearest = own.max_by_key(|&link| request.hop_cost(VirtualLinkId(link as u32)));
    match dearest {
        Some(link) => no_path(request, link),
        None => Refusal::NoHost { node: id, shortage: None },
    }
}

fn no_path(request: &Request, link: usize) -> Refusal {
    let bandwidth = &request.links()[link].bandwidth;
    let period = (0..bandwidth.len()).max_by_key(|&period| (bandwidth[period], std::cmp::Reverse(period))).unwrap_or(0);
    Refusal::NoPath { link: VirtualLinkId(link as u32), period, bandwidth: bandwidth[period] }
}

/// The reason when a search found nothing: a virtual link that has no path between any two candidates of its ends, with
/// its bandwidth or within its latency; or none in particular.
pub(crate) fn afterwards(substrate: &Substrate, residual: &Residual, request: &Request, demand: &Demand) -> Refusal {
    let price = vec![HOP as u8; substrate.links().len()];
    let free = residual.links();
    let graph = Graph { substrate, free, periods: demand.periods, price: &price };
    let mut paths = Paths::new(substrate.hosts());
    for link in 0..demand.ends.len() {
        if demand.may_share[link] {
            continue;
        }
        let [a, b] = demand.ends[link].map(|end| &demand.candidates[end as usize]);
        let (few, many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        let mut asked = demand.asked(link as u32);
        let mut reach = |asked| {
            few.iter().any(|&from| {
                paths.search(0, graph, from, asked, NONE, NONE - 1);
                many.iter().any(|&to| to != from && paths.costs(0)[to as usize] != NONE)
            })
        };
        if reach(asked) {
            continue;
        }
        let bound = asked.latency.take();
        if let Some(bound) = bound
            && reach(asked)
        {
            let least = quickest(substrate, graph, demand, link, few, many);
            return Refusal::TooSlow { link: VirtualLinkId(link as u32), bound: Micros(bound), least: Micros(least) };
        }
        return no_path(request, link);
    }
    Refusal::Nowhere { proved: false }
}

/// The least latency between two candidates of a virtual link's ends, over links with its bandwidth.
fn quickest(substrate: &Substrate, graph: Graph, demand: &Demand, link: usize, few: &[u32], many: &[u32]) -> u64 {
    let mut best = u64::MAX;
    for &from in few {
        let mut least = vec![u64::MAX; substrate.hosts()];
        least[from as usize] = 0;
        let mut queue = std::collections::BinaryHeap::from([(std::cmp::Reverse(0), from)]);
        while let Some((std::cmp::Reverse(so_far), host)) = queue.pop() {
            if so_far > least[host as usize] {
                continue;
            }
            for arc in substrate.arcs(host) {
                let then = so_far + substrate.links()[arc.link as usize].latency.0;
                if then < least[arc.to as usize] && graph.fits(arc.link, demand.bandwidth(link as u32)) {
                    least[arc.to as usize] = then;
                    queue.push((std::cmp::Reverse(then), arc.to));
                }
            }
        }
        best = many.iter().filter(|&&to| to != from).map(|&to| least[to as usize]).fold(best, u64::min);
    }
    best
}
