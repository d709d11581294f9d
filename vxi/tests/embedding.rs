//! Embeddings against those who did not make them: a checker that shares no code with the searches, and a MIP solver.

use std::collections::BTreeMap;
use std::time::Duration;

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, constraint, microlp, variable};
use pointsman_vxi::embed::reconfigure::{Placed, admit};
use pointsman_vxi::embed::{
    Effort, Embedder, Embedding, HostId, LinkId, Micros, Request, RequestBuilder, Residual, Substrate,
    SubstrateBuilder, VirtualNodeId,
};
use proptest::prelude::*;

/// A small generator for drawing problems: xorshift, of no relation to the library's.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn network(draw: &mut Draw, hosts: u32, more: u32, periods: usize) -> (Substrate, Residual) {
    let mut substrate = SubstrateBuilder::new(1);
    for _ in 0..hosts {
        substrate.host(&[5 + draw.below(20)]).unwrap();
    }
    let mut links = 0;
    for host in 1..hosts {
        let other = HostId(draw.below(u64::from(host)) as u32);
        substrate.link(HostId(host), other, 5 + draw.below(25), Micros(1 + draw.below(9))).unwrap();
        links += 1;
    }
    for _ in 0..more {
        let (a, b) = (draw.below(u64::from(hosts)) as u32, draw.below(u64::from(hosts)) as u32);
        if a != b {
            substrate.link(HostId(a), HostId(b), 5 + draw.below(25), Micros(1 + draw.below(9))).unwrap();
            links += 1;
        }
    }
    let substrate = substrate.build();
    let mut residual = Residual::whole(&substrate, periods);
    for link in 0..links {
        for period in 0..periods {
            let free = residual.link_free(LinkId(link), period);
            residual.set_link_free(LinkId(link), period, free - draw.below(free / 2 + 1));
        }
    }
    (substrate, residual)
}

fn asked(draw: &mut Draw, nodes: u64, periods: usize, hosts: u32, bounds: bool) -> Request {
    let mut request = RequestBuilder::over(1, &vec![1; periods]);
    for _ in 0..nodes {
        let demand: Vec<u64> = (0..periods).map(|_| draw.below(8)).collect();
        let anchor: Vec<HostId> = (0..hosts).map(HostId).filter(|_| draw.below(3) > 0).collect();
        request.node(&demand, (bounds && draw.below(4) == 0).then_some(&anchor[..]));
    }
    for b in 1..nodes as u32 {
        for a in 0..b {
            if draw.below(2) == 0 || a + 1 == b {
                let bandwidth: Vec<u64> = (0..periods).map(|_| draw.below(12)).collect();
                let bound = (bounds && draw.below(3) == 0).then(|| Micros(4 + draw.below(20)));
                request.link([VirtualNodeId(a), VirtualNodeId(b)], &bandwidth, bound);
            }
        }
    }
    request.build().unwrap()
}

/// All rules, from the definitions: each virtual link has one path.
fn check(substrate: &Substrate, residual: &Residual, request: &Request, embedding: &Embedding) -> Result<(), String> {
    match embedding.routes.iter().all(|route| route.len() == 1) {
        true => check_parts(substrate, residual, request, embedding),
        false => Err("split".into()),
    }
}

/// The same where a link may have several paths, which carry all of it together.
fn check_parts(
    substrate: &Substrate,
    residual: &Residual,
    request: &Request,
    embedding: &Embedding,
) -> Result<(), String> {
    let mut hosts: BTreeMap<(u32, usize), u64> = BTreeMap::new();
    let mut links: BTreeMap<(u32, usize), u64> = BTreeMap::new();
    if embedding.hosts.len() != request.nodes().len() || embedding.routes.len() != request.links().len() {
        return Err("something has no place".into());
    }
    for (at, (node, host)) in request.nodes().iter().zip(&embedding.hosts).enumerate() {
        if embedding.hosts[..at].contains(host) {
            return Err(format!("host {} twice", host.0));
        }
        if node.allowed.as_ref().is_some_and(|allowed| !allowed.contains(host)) {
            return Err(format!("host {} is not allowed", host.0));
        }
        for (period, demand) in node.demand.iter().enumerate() {
            *hosts.entry((host.0, period)).or_default() += demand;
        }
    }
    for (link, route) in request.links().iter().zip(&embedding.routes) {
        let ends = link.ends.map(|end| embedding.hosts[end.0 as usize]);
        for (period, bandwidth) in link.bandwidth.iter().enumerate() {
            if route.iter().map(|share| share.bandwidth[period]).sum::<u64>() != *bandwidth {
                return Err("more or less is carried than asked for".into());
            }
        }
        for share in route {
            if share.hosts.first() != Some(&ends[0]) || share.hosts.last() != Some(&ends[1]) {
                return Err("a path does not join its ends".into());
            }
            let mut latency = 0;
            for (at, on) in share.links.iter().enumerate() {
                let there = substrate.links()[on.0 as usize];
                let (a, b) = (share.hosts[at], share.hosts[at + 1]);
                if there.ends != [a, b] && there.ends != [b, a] {
                    return Err("a path jumps".into());
                }
                latency += there.latency.0;
                for (period, bandwidth) in share.bandwidth.iter().enumerate() {
                    *links.entry((on.0, period)).or_default() += bandwidth;
                }
            }
            if share.hosts.len() != share.links.len() + 1 || link.latency.is_some_and(|bound| latency > bound.0) {
                return Err("a path is too slow".into());
            }
        }
    }
    let over_host = hosts.iter().find(|((host, period), used)| residual.host_free(HostId(*host), *period, 0) < **used);
    let over_link = links.iter().find(|((link, period), used)| residual.link_free(LinkId(*link), *period) < **used);
    match (over_host, over_link) {
        (None, None) => Ok(()),
        over => Err(format!("over capacity: {over:?}")),
    }
}

/// The optimum by an arc-flow MIP; `None` when there is no embedding.
fn by_mip(substrate: &Substrate, residual: &Residual, request: &Request) -> Option<u64> {
    let mut variables = ProblemVariables::new();
    let hosts = substrate.hosts();
    let on: Vec<Vec<_>> = request.nodes().iter().map(|_| variables.add_vector(variable().binary(), hosts)).collect();
    let arcs: Vec<(usize, usize, usize)> = substrate
        .links()
        .iter()
        .enumerate()
        .flat_map(|(id, l)| [(id, l.ends[0].0, l.ends[1].0), (id, l.ends[1].0, l.ends[0].0)])
        .map(|(id, a, b)| (id, a as usize, b as usize))
        .collect();
    let flow: Vec<Vec<_>> =
        request.links().iter().map(|_| variables.add_vector(variable().binary(), arcs.len())).collect();
    let cost: Expression = request
        .links()
        .iter()
        .zip(&flow)
        .flat_map(|(link, flow)| flow.iter().map(move |&f| f * link.bandwidth[0] as f64))
        .sum();
    let mut model = variables.minimise(cost.clone()).using(microlp);
    for (node, on) in request.nodes().iter().zip(&on) {
        model = model.with(constraint!(on.iter().sum::<Expression>() == 1));
        for (host, &on) in on.iter().enumerate() {
            let host = HostId(host as u32);
            let allowed = node.allowed.as_ref().is_none_or(|allowed| allowed.contains(&host));
            if !allowed || residual.host_free(host, 0, 0) < node.demand[0] {
                model = model.with(constraint!(on == 0));
            }
        }
    }
    for host in 0..hosts {
        model = model.with(constraint!(on.iter().map(|on| on[host]).sum::<Expression>() <= 1));
    }
    for (link, flow) in request.links().iter().zip(&flow) {
        let [a, b] = link.ends.map(|end| end.0 as usize);
        for (host, (on_a, on_b)) in on[a].iter().zip(&on[b]).enumerate() {
            let out: Expression = arcs.iter().zip(flow).filter(|(arc, _)| arc.1 == host).map(|(_, &f)| f).sum();
            let inward: Expression = arcs.iter().zip(flow).filter(|(arc, _)| arc.2 == host).map(|(_, &f)| f).sum();
            model = model.with(constraint!(out - inward == *on_a - *on_b));
        }
    }
    for id in 0..substrate.links().len() {
        let used: Expression = request
            .links()
            .iter()
            .zip(&flow)
            .flat_map(|(link, flow)| {
                let own = arcs.iter().zip(flow).filter(|(arc, _)| arc.0 == id);
                own.map(move |(_, &f)| f * link.bandwidth[0] as f64)
            })
            .sum();
        model = model.with(constraint!(used <= residual.link_free(LinkId(id as u32), 0) as f64));
    }
    model.solve().ok().map(|solution| solution.eval(cost).round() as u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_embedded_holds(seed in 1u64.., nodes in 1u64..7, periods in 1usize..4) {
        let draw = &mut Draw(seed);
        let (substrate, residual) = network(draw, 10, 8, periods);
        let request = asked(draw, nodes, periods, 10, true);
        let mut embedder = Embedder::new(&substrate);
        let heuristic = embedder.embed(&residual, &request);
        if let Ok(embedding) = &heuristic {
            prop_assert_eq!(check(&substrate, &residual, &request, embedding), Ok(()));
            prop_assert!(residual.fits(&request, embedding));
        }
        let proven = embedder.prove(&residual, &request, Duration::from_secs(5));
        if let Some(embedding) = &proven.embedding {
            prop_assert_eq!(check(&substrate, &residual, &request, embedding), Ok(()));
            prop_assert_eq!(embedding.cost(&request), proven.cost);
            prop_assert!(proven.bound <= proven.cost);
        }
        if let (Ok(embedding), true) = (&heuristic, proven.proved) {
            prop_assert!(proven.embedding.is_some());
            prop_assert!(embedding.cost(&request) >= proven.cost);
        }
    }
}

#[test]
fn what_no_path_has_room_for_is_split() {
    let (mut drawn, mut split) = (0, 0);
    for seed in 1..400 {
        let draw = &mut Draw(seed);
        let periods = 1 + draw.below(3) as usize;
        let (substrate, residual) = network(draw, 8, 8, periods);
        let mut request = RequestBuilder::over(1, &vec![1; periods]);
        let ends = [0, 1, 2].map(|_| request.node(&vec![1; periods], None));
        for [a, b] in [[0, 1], [1, 2]] {
            let bandwidth: Vec<u64> = (0..periods).map(|_| 15 + draw.below(25)).collect();
            let bound = (draw.below(3) == 0).then(|| Micros(10 + draw.below(20)));
            request.link([ends[a], ends[b]], &bandwidth, bound);
        }
        let request = request.build().unwrap();
        let mut embedder = Embedder::new(&substrate);
        let whole = embedder.embed(&residual, &request);
        let Ok(embedding) = embedder.embed_split(&residual, &request) else {
            assert!(whole.is_err(), "what has room in one piece is not refused");
            continue;
        };
        assert_eq!(check_parts(&substrate, &residual, &request, &embedding), Ok(()), "seed {seed}");
        drawn += 1;
        split += usize::from(whole.is_err());
    }
    assert!(drawn > split && split > 10, "{split} split of {drawn}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_exact_mode_and_a_mip_agree(seed in 1u64..) {
        let draw = &mut Draw(seed);
        let (substrate, residual) = network(draw, 5, 3, 1);
        let request = asked(draw, 3, 1, 5, false);
        let proven = Embedder::new(&substrate).prove(&residual, &request, Duration::from_secs(20));
        prop_assert!(proven.proved);
        let optimum = by_mip(&substrate, &residual, &request);
        prop_assert_eq!(proven.embedding.map(|_| proven.cost), optimum);
    }
}

#[test]
fn no_state_between_moves_is_over_capacity() {
    // Arrivals, departures and rearrangements, each state counted from scratch, until 100,000 steps have been made.
    let (mut steps, mut moves, mut seed) = (0, 0, 1);
    while steps < 100_000 {
        seed += 1;
        let draw = &mut Draw(seed);
        let (substrate, whole) = network(draw, 8, 6, 1);
        let effort = Effort { roots: 20, improve: 0, rescue: 20, steps: 40, starts: 1, patience: 2 };
        let mut embedder = Embedder::with_effort(&substrate, effort);
        let mut residual = whole.clone();
        let mut placed: Vec<(usize, Request, Embedding)> = Vec::new();
        for id in 0..200 {
            steps += 1;
            if draw.below(5) == 0 && !placed.is_empty() {
                let (_, request, embedding) = placed.swap_remove(draw.below(placed.len() as u64) as usize);
                residual.give(&request, &embedding);
                continue;
            }
            let nodes = 2 + draw.below(3);
            let request = asked(draw, nodes, 1, 8, false);
            let others: Vec<Placed> =
                placed.iter().map(|(id, request, embedding)| Placed { id: *id, request, embedding }).collect();
            let most = if draw.below(4) == 0 { 3 } else { 0 };
            let Ok(found) = admit(&mut embedder, &residual, &request, &others, most) else { continue };
            assert!(found.moves.len() <= most);
            for step in found.moves {
                let one = placed.iter_mut().find(|(id, ..)| *id == step.id).expect("who moves was placed");
                residual.give(&one.1, &one.2);
                check(&substrate, &residual, &one.1, &step.to).expect("the state after a move");
                residual.take(&one.1, &step.to);
                one.2 = step.to;
                (steps, moves) = (steps + 1, moves + 1);
            }
            check(&substrate, &residual, &request, &found.embedding).expect("the state after admission");
            residual.take(&request, &found.embedding);
            placed.push((id, request, found.embedding));
        }
        for (_, request, embedding) in &placed {
            residual.give(request, embedding);
        }
        assert_eq!(residual, whole, "what was taken was given back");
    }
    assert!(moves > 100, "{moves} moves are too few to have tried anything");
}
