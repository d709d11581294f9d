//! Instances drawn from a seed, with the distributions of the public benchmark (survey: arXiv 2507.19234, Table 3).
//!
//! Physical: CPU and bandwidth uniform from 50 to 100. Requests: 2 to 10 virtual nodes, each pair joined with
//! probability one half and drawn again until they hang together; CPU uniform from 0 to 20, bandwidth from 0 to 50;
//! whole-numbered Poisson gaps between arrivals, exponential lifetimes with mean 500.

use crate::dice::Dice;
use crate::simulate::instance::{Asked, FORMAT, Instance, Physical};

/// Mean lifetime of a request.
const LIFETIME: f64 = 500.0;

/// What to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The same seed gives the same instance, everywhere.
    pub seed: u64,
    /// Hosts of the physical network. With 1 there are no links.
    pub hosts: usize,
    /// How many requests arrive.
    pub requests: usize,
    /// Arrivals per unit of time: 0.16 for the benchmark's Waxman network, 0.32 for its heavy variant.
    pub arrivals: f64,
}

/// A Waxman network and its requests.
pub fn waxman(plan: &Plan) -> Instance {
    let mut dice = Dice::new(plan.seed);
    // The benchmark's parameters at 100 hosts; larger networks keep its mean degree of about 10.
    let density = 0.5 * (100.0 / plan.hosts.max(100) as f64);
    let links = loop {
        let links = waxman_links(&mut dice, plan.hosts, density);
        if connected(plan.hosts, links.iter().copied()) {
            break links;
        }
    };
    let topology = format!("waxman({}, beta={density}, alpha=0.2)", plan.hosts);
    draw(plan, &mut dice, plan.hosts, &links, topology)
}

/// The physical network of `other` with capacities drawn anew, and requests.
pub fn like(plan: &Plan, other: &Instance) -> Instance {
    let links: Vec<(u32, u32)> = other.physical.links.iter().map(|&(a, b, _)| (a, b)).collect();
    draw(plan, &mut Dice::new(plan.seed), other.physical.cpu.len(), &links, other.topology.clone())
}

fn draw(plan: &Plan, dice: &mut Dice, hosts: usize, links: &[(u32, u32)], topology: String) -> Instance {
    let physical = Physical {
        cpu: (0..hosts).map(|_| dice.between(50, 100)).collect(),
        links: links.iter().map(|&(a, b)| (a, b, dice.between(50, 100))).collect(),
    };
    let mut now = 0;
    let requests: Vec<Asked> = (0..plan.requests)
        .map(|id| {
            now += dice.poisson(1.0 / plan.arrivals);
            request(dice, id, now as f64)
        })
        .collect();
    let arrivals = requests.iter().map(|r| (r.arrival, 1, r.id));
    let mut events: Vec<(f64, u8, usize)> =
        arrivals.chain(requests.iter().map(|r| (r.arrival + r.lifetime, 0, r.id))).collect();
    // Whoever leaves at the moment another arrives has left.
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    Instance {
        format: FORMAT.into(),
        source: "pointsman vxi generate".into(),
        seed: plan.seed,
        arrival_lam: plan.arrivals,
        topology,
        physical,
        requests,
        events,
    }
}

fn request(dice: &mut Dice, id: usize, arrival: f64) -> Asked {
    let lifetime = dice.exponential(LIFETIME);
    let nodes = dice.between(2, 10) as usize;
    let ends = loop {
        let mut ends = Vec::new();
        for a in 0..nodes as u32 {
            ends.extend((a + 1..nodes as u32).filter(|_| dice.below(2) == 0).map(|b| (a, b)));
        }
        if connected(nodes, ends.iter().copied()) {
            break ends;
        }
    };
    let cpu = (0..nodes).map(|_| dice.between(0, 20)).collect();
    let links = ends.into_iter().map(|(a, b)| (a, b, dice.between(0, 50))).collect();
    Asked { id, arrival, lifetime, cpu, links }
}

/// Waxman (1988): hosts thrown into the unit square, joined with a probability that falls with their distance.
fn waxman_links(dice: &mut Dice, hosts: usize, beta: f64) -> Vec<(u32, u32)> {
    let at: Vec<(f64, f64)> = (0..hosts).map(|_| (dice.unit(), dice.unit())).collect();
    let apart = |a: usize, b: usize| (at[a].0 - at[b].0).hypot(at[a].1 - at[b].1);
    // The greatest distance, as the benchmark has it; among very many hosts it is the square's diagonal.
    let greatest = if hosts <= 2000 {
        (0..hosts).flat_map(|a| (0..a).map(move |b| (a, b))).map(|(a, b)| apart(a, b)).fold(0.0, f64::max)
    } else {
        std::f64::consts::SQRT_2
    };
    let mut links = Vec::new();
    for a in 0..hosts {
        for b in a + 1..hosts {
            if dice.unit() < beta * (-apart(a, b) / (0.2 * greatest)).exp() {
                links.push((a as u32, b as u32));
            }
        }
    }
    links
}

/// Whether everything hangs together.
fn connected(nodes: usize, links: impl Iterator<Item = (u32, u32)>) -> bool {
    let mut root: Vec<usize> = (0..nodes).collect();
    fn find(root: &mut [usize], mut at: usize) -> usize {
        while root[at] != at {
            root[at] = root[root[at]];
            at = root[at];
        }
        at
    }
    let mut parts = nodes;
    for (a, b) in links {
        let (a, b) = (find(&mut root, a as usize), find(&mut root, b as usize));
        if a != b {
            root[a] = b;
            parts -= 1;
        }
    }
    parts <= 1
}
