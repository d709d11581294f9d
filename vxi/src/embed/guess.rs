//! The heuristic's first half: placements by their distances, and the cheapest of them routed.

use super::joint::{Best, Effort};
use super::near::Near;
use super::paths::{HOP, Paths};
use super::place::Placement;
use super::tabu::{Guess, Table};

/// How many placements are tried to route.
const TRIES: usize = 16;

/// How often one placement is routed, each time with what found no path before all else.
const ORDERS: usize = 3;

/// The cheapest placement that was found and routed.
pub(crate) fn guess(
    placement: &mut Placement,
    near: &mut Near,
    paths: &mut Paths,
    roots: &[u32],
    effort: Effort,
) -> Option<Best> {
    let mut pool = candidates(placement, near, roots, effort);
    pool.sort();
    pool.dedup();
    let demand = placement.demand;
    let mut best: Option<Best> = None;
    for guess in pool.iter().take(TRIES) {
        let apart = |link: u32, near: &mut Near| {
            let [a, b] = demand.ends[link as usize].map(|end| guess.hosts[end as usize]);
            near.row(link, a)[b as usize]
        };
        // Who has one link only comes first, then the widest.
        let mut order: Vec<u32> = (0..demand.ends.len() as u32).collect();
        order.sort_by_cached_key(|&link| {
            (apart(link, near) > 1, std::cmp::Reverse(demand.hop_cost[link as usize]), link)
        });
        let hosts: u64 = guess.hosts.iter().map(|&host| u64::from(placement.host_price[host as usize])).sum();
        let least: u64 = order.iter().map(|&link| u64::from(apart(link, near)) * demand.hop_cost[link as usize]).sum();
        if best.as_ref().is_some_and(|best| best.worth <= least * u64::from(HOP) + hosts) {
            continue;
        }
        if route(placement, paths, guess, order) {
            let worth = demand.hops(&placement.paths) * u64::from(HOP) + hosts;
            if best.as_ref().is_none_or(|best| worth < best.worth) {
                let (hosts, paths) = (guess.hosts.clone(), placement.paths.clone());
                best = Some(Best { hosts, paths, worth, complete: true });
            }
        }
        placement.clear();
    }
    best
}

/// Placements in no order.
fn candidates(placement: &Placement, near: &mut Near, roots: &[u32], effort: Effort) -> Vec<Guess> {
    let mut table = Table::new(placement.demand, near, placement.host_price);
    let order = placement.demand.order();
    let mut starts: Vec<Guess> = Vec::new();
    for &root in roots {
        let enough = starts.get((effort.starts as usize).saturating_sub(1));
        let Some(start) = table.greedy(&order, root, enough.map_or(i32::MAX, |worst| worst.cost)) else { continue };
        if let Err(at) = starts.binary_search(&start) {
            starts.insert(at, start);
            starts.truncate(effort.starts as usize);
        }
    }
    let mut pool = starts.clone();
    for start in &starts {
        // Nothing is cheaper than one hop a link.
        if pool.iter().any(|guess| !guess.over_floor) {
            break;
        }
        table.search(start, effort.patience * placement.demand.nodes as u64, &mut pool);
    }
    pool
}

fn route(placement: &mut Placement, paths: &mut Paths, guess: &Guess, mut order: Vec<u32>) -> bool {
    for _ in 0..ORDERS {
        let Err(stuck) = placement.lay(&guess.hosts, &order, paths) else { return true };
        if order.first() == Some(&stuck) {
            return false;
        }
        order.retain(|&link| link != stuck);
        order.insert(0, stuck);
    }
    false
}
