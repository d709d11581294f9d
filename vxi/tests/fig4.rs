//! The paper's Figure 4, from its description to its lease: placed, applied, changed and moved.

mod lab;

use std::path::{Path, PathBuf};
use std::time::Instant;

use lab::assert_feasible;
use pointsman_vxi::lease::{Asked, Demand, PlanError, Planned, State, Step, plan};
use pointsman_vxi::model::time::parse_timestamp;
use pointsman_vxi::model::{Amount, BitsPerSecond, VirtualInfrastructure};
use pointsman_vxi::substrate::Substrate;

fn data(name: &str) -> VirtualInfrastructure {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    pointsman_vxi::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn grid() -> Substrate {
    Substrate::from_model(&data("grid.toml")).expect("a substrate")
}

fn fig4() -> VirtualInfrastructure {
    data("fig4.vxdl.xml")
}

/// A day before it begins.
fn question(substrate: Option<Substrate>, request: Option<&VirtualInfrastructure>) -> Asked {
    let now = parse_timestamp("2009-10-11T08:00:00Z").expect("an instant");
    let requests = request.into_iter().map(|request| Demand::from_model(request).expect("a request")).collect();
    Asked { now, ..lab::asked(substrate, requests) }
}

fn checked(before: Option<&State>, asked: &Asked) -> Planned {
    let began = Instant::now();
    let planned = plan(before, asked).unwrap_or_else(|error| panic!("{error}"));
    println!("planned in {:?}", began.elapsed());
    let nothing = State::default();
    let mut last = before.unwrap_or(&nothing);
    for state in &planned.trace {
        assert_feasible(&state.substrate, &[state], asked.now);
        assert_feasible(&state.substrate, &[last, state], asked.now);
        last = state;
    }
    planned
}

fn hosts_of<'s>(state: &'s State, whole: &str) -> Vec<&'s str> {
    let lease = &state.leases[0];
    let nodes = lease.demand.nodes.iter().zip(&lease.hosts);
    nodes.filter(|(node, _)| node.whole == whole).map(|(_, host)| host.as_str()).collect()
}

#[test]
fn figure_4_is_placed_where_it_may_be_and_costs_each_period_only_what_it_needs() {
    let granted = checked(None, &question(Some(grid()), Some(&fig4())));
    let state = &granted.state;
    let lease = &state.leases[0];
    assert_eq!(lease.demand.nodes.len(), 1 + 2 + 4 + 8 + 8 + 1);
    assert_eq!(lease.demand.links.len(), 1 + 4 + 8 + 8 + 32 + 32 + 64 + 4 + 8 + 8 + 1);
    assert_eq!(hosts_of(state, "A"), ["lyon-store"], "its anchor and its kind leave one host");
    // C, I and J may be 2 ms apart and the sites are 4 ms apart: one site has them all.
    let sites: std::collections::HashSet<&str> = ["C-node", "I-node", "J-node"]
        .into_iter()
        .flat_map(|whole| hosts_of(state, whole))
        .map(|host| if host.starts_with("lyon") { "lyon" } else { "sophia" })
        .collect();
    assert_eq!(sites.len(), 1, "{sites:?}");
    assert!(!granted.plan.steps.iter().any(|step| matches!(step, Step::Open { .. })), "what is held back stays so");
    let period = |name: &str| {
        lease.demand.periods.iter().position(|period| period.event.as_deref() == Some(name)).expect("a period")
    };
    let link = |whole: &str| lease.demand.links.iter().find(|link| link.whole == whole).expect("a link");
    assert_eq!(link("A-B").bandwidth[period("I")], 900_000_000);
    assert_eq!(link("A-B").bandwidth[period("II")], 0);
    assert_eq!(link("B-C").bandwidth[period("I")], 75_000_000, "four elements share 300 Mbps");
    assert_eq!(link("I-J").bandwidth[period("II")], 1_562_500, "64 pairs share 100 Mbps");
    let again = checked(Some(state), &question(Some(grid()), Some(&fig4())));
    assert!(again.plan.is_empty(), "{}", again.plan);
}

#[test]
fn figure_4_moves_when_a_machine_of_its_leaves_and_nothing_else_does() {
    let granted = checked(None, &question(Some(grid()), Some(&fig4())));
    let lost = hosts_of(&granted.state, "C-node")[0].to_owned();
    let on_it = granted.state.leases[0].hosts.iter().filter(|host| **host == lost).count();
    let mut smaller = grid();
    smaller.hosts.retain(|host| host.name != lost);
    smaller.links.retain(|link| !link.ends.contains(&lost));
    let moved = checked(Some(&granted.state), &question(Some(smaller), None));
    let moves = moved.plan.steps.iter().filter(|step| matches!(step, Step::Move { .. })).count();
    assert_eq!(moves, on_it, "{}", moved.plan);
    let (before, after) = (&granted.state.leases[0].hosts, &moved.state.leases[0].hosts);
    assert_eq!(before.iter().zip(after).filter(|(a, b)| a != b).count(), on_it);
    assert!(!after.contains(&lost));
}

#[test]
fn figure_4_grows_and_nothing_of_it_moves() {
    let granted = checked(None, &question(Some(grid()), Some(&fig4())));
    let mut larger = fig4();
    let link = larger.components.links.iter_mut().find(|link| link.resource.id == "H-F").expect("H-F");
    link.forward.steps[0].amount = Amount::at_least(BitsPerSecond::from_mbps(800));
    let grown = checked(Some(&granted.state), &question(None, Some(&larger)));
    let [Step::Change { changes, moved, .. }] = &grown.plan.steps[..] else { panic!("{}", grown.plan) };
    assert_eq!(changes, &["link H-F: III 600 Mbps -> III 800 Mbps"]);
    assert!(moved.is_empty(), "{}", grown.plan);
    assert_eq!(grown.state.leases[0].hosts, granted.state.leases[0].hosts);
}

#[test]
fn figure_4_on_a_thin_line_is_told_how_much_would_fit() {
    let mut thin = grid();
    for link in thin.links.iter_mut().filter(|link| link.name == "store-net") {
        link.bandwidth = pointsman_vxi::calendar::Steps::constant(700_000_000);
    }
    let Err(PlanError::Refused(refused)) = plan(None, &question(Some(thin), Some(&fig4()))) else {
        panic!("900 Mbps do not fit into 700")
    };
    let said = refused.to_string();
    assert!(said.starts_with("fig4: link A-B needs 900 Mbps between lyon-store and "), "{said}");
    assert!(said.contains(" in period I; 700 Mbps are free; with 700 Mbps for link A-B in period I it fits"), "{said}");
}
