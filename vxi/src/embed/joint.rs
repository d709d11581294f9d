//! The heuristic: build from many roots, then ruin and rebuild parts of the best.
//!
//! **Build.** The virtual node with the most bandwidth is put on a host (the root), and the others follow in order of
//! the bandwidth that ties them to those placed, each where its links are cheapest. Every host is tried as root, as
//! far as the budget goes; a build stops as soon as it cannot beat the best.
//!
//! **Ruin and rebuild.** A few virtual nodes that hang together are taken off and put back in another order. What is
//! not worse is kept. When no build was complete, the same goes on from the fullest one: that is what finds a
//! place for a request that is hard to place.
//!
//! Budgets count searches, not time: the same question has the same answer on every machine.

use super::paths::{HOP, NONE, Paths};
use super::place::Placement;
use crate::dice::Dice;

/// How much work may go into one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Searches for builds from different roots.
    pub roots: u64,
    /// Searches for improving a complete embedding.
    pub improve: u64,
    /// Searches for completing one when no build was complete.
    pub rescue: u64,
    /// Hosts tried by branch and bound.
    pub steps: u64,
    /// Greedy placements that tabu search starts from.
    pub starts: u64,
    /// Moves that tabu search makes in vain before it gives a start up, per virtual node.
    pub patience: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { roots: 60, improve: 200, rescue: 300, steps: 200, starts: 6, patience: 20 }
    }
}

impl Effort {
    /// So many times the work.
    pub fn times(self, factor: u64) -> Self {
        Self {
            roots: self.roots.saturating_mul(factor),
            improve: self.improve.saturating_mul(factor),
            rescue: self.rescue.saturating_mul(factor),
            steps: self.steps.saturating_mul(factor),
            starts: self.starts.saturating_mul(factor),
            patience: self.patience,
        }
    }
}

/// A placement remembered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Best {
    pub hosts: Vec<u32>,
    pub paths: Vec<Vec<u32>>,
    /// Priced cost, with what is not placed counted dear.
    pub worth: u64,
    pub complete: bool,
}

impl Best {
    fn keep(&mut self, placement: &Placement, worth: u64) {
        self.hosts.clone_from(&placement.standing.hosts);
        self.paths.clone_from(&placement.paths);
        self.worth = worth;
        self.complete = placement.standing.placed == placement.demand.nodes;
    }
}

/// What a placement is worth: its cost, and for what is not placed more than it could ever cost.
fn worth(placement: &Placement) -> u64 {
    let missing = (0..placement.demand.nodes).filter(|&node| placement.standing.hosts[node] == NONE);
    placement.cost + missing.map(|node| 1_000_000 + placement.demand.weight[node] * u64::from(8 * HOP)).sum::<u64>()
}

/// The unplaced virtual node that is tied closest to the placed ones, or the heaviest when none is.
fn next(placement: &Placement) -> Option<usize> {
    let demand = placement.demand;
    let tie = |node: usize| -> u64 {
        let placed =
            demand.links_of[node].iter().filter(|(_, other)| placement.standing.hosts[*other as usize] != NONE);
        placed.map(|&(link, _)| demand.hop_cost[link as usize] + 1).sum()
    };
    (0..demand.nodes)
        .filter(|&node| placement.standing.hosts[node] == NONE)
        .max_by_key(|&node| (tie(node), demand.weight[node], std::cmp::Reverse(node)))
}

/// The cheapest that the links without a path can still add: one hop each.
fn least_to_come(placement: &Placement) -> u64 {
    let demand = placement.demand;
    let routed = |link: usize| demand.ends[link].iter().all(|&end| placement.standing.hosts[end as usize] != NONE);
    let left = (0..demand.ends.len()).filter(|&link| !routed(link) && !demand.may_share[link]);
    left.map(|link| demand.hop_cost[link] * u64::from(HOP)).sum()
}

/// Builds and improves within the effort; what was best is in the result, complete or not.
pub(crate) fn solve(placement: &mut Placement, paths: &mut Paths, roots: &[u32], effort: Effort) -> Best {
    let mut best = Best { worth: u64::MAX, ..Best::default() };
    build(placement, paths, roots, effort.roots, &mut best);
    let least = least_to_come_of_all(placement);
    if best.worth == u64::MAX || (best.complete && best.worth <= least) {
        return best;
    }
    let budget = if best.complete { effort.improve } else { effort.rescue };
    rebuild(placement, paths, budget, effort.improve, least, &mut best);
    best
}

fn least_to_come_of_all(placement: &mut Placement) -> u64 {
    placement.clear();
    // Whatever congestion adds, a path of one hop each cannot be improved on by much.
    least_to_come(placement) + least_to_come(placement) / u64::from(HOP)
}

fn build(placement: &mut Placement, paths: &mut Paths, roots: &[u32], budget: u64, best: &mut Best) {
    let Some(root_node) = next(placement) else { return };
    let start = paths.searches;
    for &root in roots {
        if paths.searches - start > budget {
            return;
        }
        placement.clear();
        if !placement.standing.may_use(root_node, root) || !placement.settle(root_node, root, paths, false) {
            continue;
        }
        while let Some(node) = next(placement) {
            let limit = if best.complete { best.worth.saturating_sub(least_beyond(placement, node)) } else { u64::MAX };
            if !placement.insert(node, paths, limit, &mut || 0) {
                break;
            }
        }
        let complete = placement.standing.placed == placement.demand.nodes;
        if complete || !best.complete {
            let worth = worth(placement);
            if worth < best.worth {
                best.keep(placement, worth);
            }
        }
    }
}

/// What must come after `node` has been placed: one hop for each link that is then still without a path.
fn least_beyond(placement: &Placement, node: usize) -> u64 {
    let demand = placement.demand;
    let own = demand.links_of[node]
        .iter()
        .filter(|(link, other)| placement.standing.hosts[*other as usize] != NONE && !demand.may_share[*link as usize]);
    least_to_come(placement) - own.map(|&(link, _)| demand.hop_cost[link as usize] * u64::from(HOP)).sum::<u64>()
}

fn restore(placement: &mut Placement, best: &Best) {
    placement.clear();
    placement.adopt(&best.hosts, &best.paths);
}

fn rebuild(placement: &mut Placement, paths: &mut Paths, mut budget: u64, improve: u64, least: u64, best: &mut Best) {
    let nodes = placement.demand.nodes;
    let mut dice = Dice::new(1 + nodes as u64);
    let start = paths.searches;
    restore(placement, best);
    let mut now = Best { worth: u64::MAX, ..Best::default() };
    now.keep(placement, best.worth);
    let mut out = Vec::with_capacity(nodes);
    while paths.searches - start < budget {
        paths.searches += 1;
        pick(placement, &mut dice, &mut out);
        for &node in &out {
            if placement.standing.hosts[node] != NONE {
                placement.remove(node);
            }
        }
        let spread = if dice.below(2) == 0 { 0 } else { 1 + dice.below(nodes) };
        let mut failed = false;
        // What was taken off goes back one by one, the order shaken a little.
        while !out.is_empty() {
            let node = draw(placement, &mut dice, &mut out, spread);
            let limit = match now.complete {
                true => (now.worth + 1).saturating_sub(least_beyond(placement, node)),
                false => u64::MAX,
            };
            let noise_of = if spread > 1 { HOP * 8 } else { 0 };
            let mut noise = || if noise_of == 0 { 0 } else { dice.below(noise_of as usize) as u32 };
            if !placement.insert(node, paths, limit, &mut noise) {
                failed = true;
                if now.complete {
                    break;
                }
            }
        }
        let worth = if failed && now.complete { u64::MAX } else { worth(placement) };
        if worth <= now.worth {
            now.keep(placement, worth);
            if worth < best.worth {
                if now.complete && !best.complete {
                    budget = (paths.searches - start) + improve;
                }
                best.keep(placement, worth);
            }
            if best.complete && best.worth <= least {
                return;
            }
        } else {
            restore(placement, &now);
        }
    }
}

/// Picks what to take off: what is not placed, and a few virtual nodes near it or near one drawn at random.
fn pick(placement: &Placement, dice: &mut Dice, out: &mut Vec<usize>) {
    let demand = placement.demand;
    out.clear();
    out.extend((0..demand.nodes).filter(|&node| placement.standing.hosts[node] == NONE));
    let more = out.len() + 1 + dice.below(3.min(demand.nodes));
    if out.is_empty() {
        out.push(dice.below(demand.nodes));
    }
    let mut tries = 0;
    while out.len() < more.min(demand.nodes) && tries < 32 {
        tries += 1;
        let node = if dice.below(4) == 0 {
            dice.below(demand.nodes)
        } else {
            let near = out[dice.below(out.len())];
            match demand.links_of[near].len() {
                0 => dice.below(demand.nodes),
                links => demand.links_of[near][dice.below(links)].1 as usize,
            }
        };
        if !out.contains(&node) {
            out.push(node);
        }
    }
}

/// Draws the next to go back: mostly the one tied closest to what is placed.
fn draw(placement: &Placement, dice: &mut Dice, out: &mut Vec<usize>, spread: usize) -> usize {
    let demand = placement.demand;
    if spread > 0 && dice.below(2) == 0 {
        return out.swap_remove(dice.below(out.len()));
    }
    let tie = |node: usize| -> (u64, u64) {
        let placed =
            demand.links_of[node].iter().filter(|(_, other)| placement.standing.hosts[*other as usize] != NONE);
        (placed.map(|&(link, _)| demand.hop_cost[link as usize] + 1).sum(), demand.weight[node])
    };
    let at = (0..out.len()).max_by_key(|&at| tie(out[at])).unwrap_or(0);
    out.swap_remove(at)
}
