//! Whatever is asked for: plans whose every state is feasible, answers that stay, refusals that tell the truth.

mod lab;

use std::cell::RefCell;

use lab::{assert_feasible, demand, hour, infrastructure, substrate, timed};
use pointsman_vxi::lease::{Asked, Demand, Plan, PlanError, State, Step, plan};
use pointsman_vxi::model::{Bytes, Capacity, Count, VirtualInfrastructure};
use pointsman_vxi::refusal::Relaxation;
use pointsman_vxi::substrate::Measure;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Something that is asked for.
#[derive(Clone, Debug)]
enum Deed {
    /// A request, new or changed: its name, its vertices' cores, its links (from, to, Mbps), its time.
    Request(usize, Vec<u64>, Vec<(usize, usize, u64)>, Option<(i64, u64)>),
    /// A host or a link of the substrate has another capacity, or none.
    Host(usize, u64),
    Link(usize, u64),
    Release(usize),
}

#[derive(Clone, Debug)]
struct Scene {
    hosts: Vec<(u64, bool)>,
    links: Vec<(usize, usize, u64, bool)>,
    deeds: Vec<Deed>,
    moves: usize,
}

fn links(hosts: usize) -> impl Strategy<Value = Vec<(usize, usize, u64, bool)>> {
    // A ring, so that everything is reachable, and chords.
    let ring = prop::collection::vec((1..10_u64, prop::bool::weighted(0.1)), hosts);
    let chords = prop::collection::vec((0..hosts, 1..hosts, 1..10_u64, prop::bool::weighted(0.3)), 0..3);
    (ring, chords).prop_map(move |(ring, chords)| {
        let ring = ring.into_iter().enumerate().map(|(n, (width, held))| (n, (n + 1) % hosts, width * 100, held));
        let chords = chords.into_iter().map(|(n, far, width, held)| (n, (n + far) % hosts, width * 100, held));
        let mut all: Vec<_> = ring.chain(chords).collect();
        let mut seen = std::collections::HashSet::new();
        all.retain(|&(a, b, ..)| seen.insert((a, b)));
        all
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    let time = prop::option::weighted(0.6, (0..12_i64, 1..12_u64));
    let wires = prop::collection::vec((0..4_usize, 0..4_usize, 1..6_u64), 0..4);
    let request = (0..5_usize, prop::collection::vec(1..5_u64, 1..4), wires, time);
    prop_oneof![
        8 => request.prop_map(|(id, nodes, wires, time)| Deed::Request(id, nodes, wires, time)),
        2 => (0..6_usize, 0..9_u64).prop_map(|(host, cores)| Deed::Host(host, cores)),
        2 => (0..9_usize, 0..10_u64).prop_map(|(link, width)| Deed::Link(link, width * 100)),
        1 => (0..5_usize).prop_map(Deed::Release),
    ]
}

fn scenes() -> impl Strategy<Value = Scene> {
    (3..6_usize).prop_flat_map(|hosts| {
        let machines = prop::collection::vec((1..9_u64, prop::bool::weighted(0.2)), hosts);
        (machines, links(hosts), prop::collection::vec(deed(), 1..8), 0..4_usize)
            .prop_map(|(hosts, links, deeds, moves)| Scene { hosts, links, deeds, moves })
    })
}

fn model(scene: &Scene) -> VirtualInfrastructure {
    let held = |held: bool| if held { " !" } else { "" };
    // A host that is gone keeps its place in the list here and has no name there.
    let nodes: Vec<String> =
        scene.hosts.iter().enumerate().map(|(n, &(cores, kept))| format!("h{n} {cores}{}", held(kept))).collect();
    let links: Vec<String> =
        scene.links.iter().map(|&(a, b, width, kept)| format!("h{a}-h{b} {width}{}", held(kept))).collect();
    let [nodes, links] = [&nodes, &links].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
    let mut made = infrastructure("ring", &nodes, &links);
    let gone = |name: &str| {
        let at: usize = name[1..].parse().expect("a number");
        scene.hosts[at].0 == 0
    };
    made.components.nodes.retain(|node| !gone(&node.resource.id));
    made.components.links.retain(|link| !gone(&link.source.component) && !gone(&link.destination.component));
    made
}

fn request(id: usize, nodes: &[u64], wires: &[(usize, usize, u64)], time: Option<(i64, u64)>) -> Demand {
    let names: Vec<String> = nodes.iter().enumerate().map(|(n, cores)| format!("v{n} {cores}")).collect();
    let mut links = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for &(a, b, width) in wires {
        let (a, b) = (a % nodes.len(), b % nodes.len());
        if a != b && seen.insert((a, b)) {
            links.push(format!("v{a}-v{b} {}", width * 100));
        }
    }
    let [names, links] = [&names, &links].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
    let made = infrastructure(&format!("r{id}"), &names, &links);
    demand(&match time {
        Some((from, hours)) => timed(made, from, hours),
        None => made,
    })
}

/// A refused request, as much smaller as the refusal says.
fn relaxed(asked: &Demand, relaxation: &Relaxation) -> Demand {
    let mut asked = asked.clone();
    match relaxation {
        Relaxation::Bandwidth { link, fits, .. } => {
            let link = asked.links.iter_mut().find(|known| known.whole == *link).expect("the link");
            link.bandwidth = vec![*fits];
        }
        Relaxation::Capacity { node, measure, fits, .. } => {
            let node = asked.nodes.iter_mut().find(|known| known.whole == *node).expect("the node");
            *node.amounts[0].of_mut(*measure) = *fits;
        }
        Relaxation::Size { node, fits, .. } => {
            let node = asked.nodes.iter_mut().find(|known| known.whole == *node).expect("the node");
            node.amounts = vec![fits.clone()];
        }
        Relaxation::AllBandwidth { percent } => {
            for link in &mut asked.links {
                link.bandwidth[0] = link.bandwidth[0] * u64::from(*percent) / 100;
            }
        }
        Relaxation::Start { at } => asked.start = Some(*at),
        Relaxation::Latency { .. } | Relaxation::Anchor { .. } => unreachable!("neither is asked for here"),
    }
    asked
}

fn question(substrate: Option<pointsman_vxi::substrate::Substrate>, moves: usize) -> Asked {
    Asked { moves, ..lab::asked(substrate, Vec::new()) }
}

/// What the scenes had in them: a run in which nothing ever moved would prove nothing.
#[derive(Debug, Default)]
struct Seen {
    granted: usize,
    changed: usize,
    moved: usize,
    rerouted: usize,
    opened: usize,
    emptied: usize,
    refused: usize,
    relaxed: usize,
}

impl Seen {
    fn count(&mut self, plan: &Plan, for_substrate: bool) {
        let moves = plan.steps.iter().filter(|step| matches!(step, Step::Move { .. } | Step::Reroute { .. })).count();
        self.emptied += usize::from(for_substrate && moves > 0);
        for step in &plan.steps {
            match step {
                Step::Grant { .. } => self.granted += 1,
                Step::Change { .. } => self.changed += 1,
                Step::Move { .. } => self.moved += 1,
                Step::Reroute { .. } => self.rerouted += 1,
                Step::Open { .. } => self.opened += 1,
                _ => {}
            }
        }
    }

    fn all(&self) -> [usize; 7] {
        let Self { granted, changed, moved, rerouted, opened, emptied, refused, relaxed } = *self;
        [granted, changed, moved + rerouted, opened, emptied, refused, relaxed]
    }
}

#[test]
fn every_state_of_every_plan_is_feasible_and_every_relaxation_helps() {
    let seen = RefCell::new(Seen::default());
    let mut runner = TestRunner::new(ProptestConfig { cases: 192, ..ProptestConfig::default() });
    runner.run(&scenes(), |scene| play(scene, &mut seen.borrow_mut())).unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner();
    println!("{seen:?}");
    assert!(seen.all().iter().all(|&count| count > 0), "something never happened: {seen:?}");
}

/// Found by random scenes: what made room for the lease went to where the lease still was. While it changed, 500 Mbps would
/// have been held of 400.
#[test]
fn room_is_not_made_where_the_lease_still_is() {
    let ring = [(0, 1, 100), (1, 2, 200), (2, 3, 400), (3, 4, 700), (4, 0, 100), (0, 4, 400)];
    let scene = Scene {
        hosts: [7, 1, 5, 5, 5].map(|cores| (cores, false)).to_vec(),
        links: ring.map(|(a, b, width)| (a, b, width, false)).to_vec(),
        deeds: vec![
            Deed::Request(2, vec![3, 1], vec![], None),
            Deed::Request(1, vec![1, 1], vec![], None),
            Deed::Request(0, vec![1], vec![], None),
            Deed::Request(3, vec![1, 1], vec![(2, 1, 1)], None),
            Deed::Request(2, vec![1, 1, 2], vec![(0, 2, 2)], None),
            Deed::Request(3, vec![1, 1, 3], vec![(2, 3, 4), (2, 1, 2)], None),
        ],
        moves: 1,
    };
    play(scene, &mut Seen::default()).unwrap();
}

fn play(mut scene: Scene, seen: &mut Seen) -> Result<(), TestCaseError> {
    let mut state: State = plan(None, &question(Some(substrate(&model(&scene))), 0)).expect("a substrate").state;
    for deed in scene.deeds.clone() {
        let mut asked = question(None, scene.moves);
        let before = scene.clone();
        match deed {
            Deed::Request(id, nodes, wires, time) => asked.requests = vec![request(id, &nodes, &wires, time)],
            Deed::Host(host, cores) => {
                let hosts = scene.hosts.len();
                scene.hosts[host % hosts].0 = cores;
                asked.substrate = Some(substrate(&model(&scene)));
            }
            Deed::Link(link, width) => {
                let links = scene.links.len();
                scene.links[link % links].2 = width;
                asked.substrate = Some(substrate(&model(&scene)));
            }
            Deed::Release(id) if state.leases.is_empty() => {
                asked.release = vec![format!("r{id}")];
                let unknown = matches!(plan(Some(&state), &asked), Err(PlanError::NoLease { .. }));
                prop_assert!(unknown);
                continue;
            }
            Deed::Release(id) => asked.release = vec![state.leases[id % state.leases.len()].id().to_owned()],
        }
        match plan(Some(&state), &asked) {
            Ok(planned) => {
                seen.count(&planned.plan, asked.substrate.is_some());
                prop_assert_eq!(planned.plan.steps.len(), planned.trace.len());
                let mut last = &state;
                for next in &planned.trace {
                    assert_feasible(&next.substrate, &[next], hour(0));
                    assert_feasible(&next.substrate, &[last, next], hour(0));
                    last = next;
                }
                assert_feasible(&planned.state.substrate, &[&planned.state], hour(0));
                let moved =
                    planned.plan.steps.iter().filter(|step| matches!(step, Step::Move { .. } | Step::Reroute { .. }));
                if asked.substrate.is_none() {
                    prop_assert!(moved.count() <= scene.moves);
                }
                for demand in &asked.requests {
                    let lease = planned.state.leases.iter().find(|lease| lease.id() == demand.id);
                    prop_assert_eq!(&lease.expect("it is granted").demand, demand);
                }
                // Whoever is not named keeps what it has.
                for lease in &state.leases {
                    if !asked.release.iter().any(|id| id == lease.id()) {
                        prop_assert!(planned.state.leases.iter().any(|kept| kept.id() == lease.id()));
                    }
                }
                let again = plan(Some(&planned.state), &Asked { release: Vec::new(), ..asked });
                prop_assert!(again.expect("nothing to do").plan.is_empty());
                state = planned.state;
            }
            Err(PlanError::Refused(refused)) => {
                seen.refused += 1;
                seen.relaxed += refused.relaxations.len();
                scene = before;
                for relaxation in &refused.relaxations {
                    let smaller = relaxed(&asked.requests[0], relaxation);
                    let fits = plan(Some(&state), &Asked { requests: vec![smaller], ..asked.clone() });
                    prop_assert!(fits.is_ok(), "{} does not help: {}", relaxation, refused);
                }
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }
    Ok(())
}

#[test]
fn an_amount_is_never_more_than_the_search_can_hold() {
    let mut made = infrastructure("a", &["x 1"], &[]);
    made.components.nodes[0].memory = Capacity::exactly(Bytes(Measure::Memory.ceiling() + 1));
    assert!(Demand::from_model(&made).is_err());
    made.components.nodes[0].memory = Capacity::exactly(Bytes(Measure::Memory.ceiling()));
    made.components.nodes[0].cpu.cores = Capacity::exactly(Count(Measure::Cores.ceiling()));
    assert!(Demand::from_model(&made).is_ok());
}
