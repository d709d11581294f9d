//! Leases: granted, grown, moved and refused, on substrates small enough to know what must come out.

mod lab;

use lab::{asked, assert_feasible, demand, events, hour, infrastructure, mbps_in, substrate, timed};
use pointsman_vxi::lease::{Plan, PlanError, Planned, State, Step, plan};
use pointsman_vxi::model::{Amount, BitsPerSecond, Capacity, Nanos, VirtualInfrastructure};
use pointsman_vxi::refusal::{Binding, Refused, Relaxation};

/// Everything that a plan promises.
fn checked(before: Option<&State>, planned: Planned) -> Planned {
    let nothing = State::default();
    let mut last = before.unwrap_or(&nothing);
    for state in &planned.trace {
        assert_feasible(&state.substrate, &[state], hour(0));
        assert_feasible(&state.substrate, &[last, state], hour(0));
        last = state;
    }
    assert_feasible(&planned.state.substrate, &[&planned.state], hour(0));
    planned
}

fn granted(before: Option<&State>, on: Option<&VirtualInfrastructure>, requests: &[&VirtualInfrastructure]) -> Planned {
    let question = asked(on.map(substrate), requests.iter().map(|request| demand(request)).collect());
    checked(before, plan(before, &question).unwrap_or_else(|error| panic!("{error}")))
}

fn refused(before: Option<&State>, on: Option<&VirtualInfrastructure>, request: &VirtualInfrastructure) -> Refused {
    match plan(before, &asked(on.map(substrate), vec![demand(request)])) {
        Err(PlanError::Refused(refused)) => *refused,
        Err(error) => panic!("{error}"),
        Ok(planned) => panic!("granted:\n{}", planned.plan),
    }
}

fn host_of<'s>(state: &'s State, lease: &str, node: &str) -> &'s str {
    let lease = state.leases.iter().find(|known| known.id() == lease).expect("the lease");
    let at = lease.demand.nodes.iter().position(|known| known.name == node).expect("the node");
    &lease.hosts[at]
}

fn symbols(plan: &Plan) -> String {
    plan.steps.iter().map(Step::symbol).collect()
}

#[test]
fn a_request_is_granted_once_and_then_nothing_changes() {
    let on = infrastructure("lab", &["p 4", "q 4"], &["p-q 1000"]);
    let request = infrastructure("a", &["x 2", "y 4"], &["x-y 300"]);
    let first = granted(None, Some(&on), &[&request]);
    assert_eq!(symbols(&first.plan), "++", "{}", first.plan);
    let again = granted(Some(&first.state), Some(&on), &[&request]);
    assert!(again.plan.is_empty(), "{}", again.plan);
    assert_eq!(again.state, first.state);
    assert_eq!(again.plan.to_string(), "no changes\n");
}

#[test]
fn a_link_is_split_where_that_is_allowed_and_one_path_has_no_room() {
    let on = infrastructure("lab", &["p 4", "q 4", "r 0", "s 0"], &["p-r 100", "r-q 100", "p-s 100", "s-q 100"]);
    let wide = infrastructure("wide", &["x 2", "y 4"], &["x-y 150"]);
    let mut question = asked(Some(substrate(&on)), vec![demand(&wide)]);
    assert!(matches!(plan(None, &question), Err(PlanError::Refused(_))));
    question.search.split = true;
    let first = checked(None, plan(None, &question).unwrap());
    let carried: Vec<u64> = first.state.leases[0].routes[0].iter().map(|way| way.bandwidth[0]).collect();
    assert_eq!(carried.iter().sum::<u64>(), 150_000_000);
    assert_eq!(carried.len(), 2, "{}", first.plan);
    let again = granted(Some(&first.state), None, &[&wide]);
    assert!(again.plan.is_empty(), "what was split stays as it is: {}", again.plan);
}

#[test]
fn leases_follow_each_other_in_time_on_the_same_machine() {
    let on = infrastructure("lab", &["p 4"], &[]);
    let morning = timed(infrastructure("morning", &["x 4"], &[]), 1, 3);
    let noon = timed(infrastructure("noon", &["x 4"], &[]), 4, 3);
    let both = granted(None, Some(&on), &[&morning, &noon]);
    assert_eq!(both.state.leases.len(), 2);
    let between = timed(infrastructure("between", &["x 1"], &[]), 3, 2);
    let refused = refused(Some(&both.state), None, &between);
    assert!(matches!(refused.binding, Binding::Capacity { free: 0, asked: 1, .. }), "{refused}");
    assert_eq!(refused.relaxations.last(), Some(&Relaxation::Start { at: hour(7) }), "{refused}");
}

#[test]
fn a_link_may_need_its_bandwidth_in_one_period_alone() {
    let on = infrastructure("lab", &["p 4 @lyon", "q 4 @sophia"], &["p-q 1000"]);
    let with = |id: &str, periods: &[(&str, u64)]| {
        let request = infrastructure(id, &["x 1 @lyon", "y 1 @sophia"], &["x-y 0"]);
        let mut request = events(timed(request, 0, 3), &[("I", 0), ("II", 1), ("III", 2)]);
        request.components.links[0].forward = mbps_in(periods);
        request.components.links[0].reverse = Capacity::default();
        request
    };
    let first = with("first", &[("I", 780), ("II", 780)]);
    let second = with("second", &[("III", 1000)]);
    let state = granted(None, Some(&on), &[&first, &second]).state;
    let third = with("third", &[("II", 300)]);
    let refused = refused(Some(&state), None, &third);
    assert_eq!(
        refused.to_string().lines().next(),
        Some(
            "third: link x-y needs 300 Mbps between lyon and sophia in period II; 220 Mbps are free; with 220 Mbps for \
             link x-y in period II it fits"
        )
    );
    // And so it does.
    granted(Some(&state), None, &[&with("third", &[("II", 220)])]);
}

#[test]
fn what_is_held_back_is_opened_last_and_closed_again() {
    let on = infrastructure("lab", &["p 4", "q 4 !", "r 4 !"], &["p-q 1000", "q-r 1000"]);
    let small = infrastructure("a", &["x 4"], &[]);
    let first = granted(None, Some(&on), &[&small]);
    assert_eq!(symbols(&first.plan), "++", "nothing is opened: {}", first.plan);
    // Case I of the paper: it grows, and takes what is held back; one machine of two.
    let large = infrastructure("a", &["x 4", "y 3"], &["x-y 10"]);
    let grown = granted(Some(&first.state), None, &[&large]);
    assert_eq!(symbols(&grown.plan), "+~", "{}", grown.plan);
    assert!(matches!(&grown.plan.steps[0], Step::Open { component, .. } if component == "q"), "{}", grown.plan);
    assert_eq!(host_of(&grown.state, "a", "x"), "p", "what was there stays there");
    let shrunk = granted(Some(&grown.state), None, &[&small]);
    assert_eq!(symbols(&shrunk.plan), "~-", "{}", shrunk.plan);
    assert!(matches!(&shrunk.plan.steps[1], Step::Close { component, .. } if component == "q"), "{}", shrunk.plan);
    let mut question = asked(None, vec![demand(&large)]);
    question.open = false;
    assert!(matches!(plan(Some(&first.state), &question), Err(PlanError::Refused(_))));
}

#[test]
fn a_lease_that_grows_beyond_its_machine_moves_within_one_step() {
    let on = infrastructure("lab", &["p 4", "q 8"], &["p-q 1000"]);
    let other = infrastructure("b", &["z 3"], &[]);
    let small = infrastructure("a", &["x 4 @here"], &[]);
    let mut on_here = on.clone();
    on_here.components.nodes[0].resource.location = Some("here".into());
    on_here.components.nodes[1].resource.location = Some("here".into());
    let state = granted(None, Some(&on_here), &[&small, &other]).state;
    let host = host_of(&state, "a", "x").to_owned();
    let large = infrastructure("a", &["x 5 @here"], &[]);
    let grown = granted(Some(&state), None, &[&large]);
    assert_eq!(host_of(&grown.state, "a", "x"), "q", "from {host}: {}", grown.plan);
}

#[test]
fn a_new_lease_is_admitted_by_moving_another_the_cheaper_first() {
    // Only big can carry the new one; small things sit there.
    let on = infrastructure("lab", &["big 8", "one 2", "two 4"], &["big-one 1000", "one-two 1000", "big-two 1000"]);
    let mut state = granted(None, Some(&infrastructure("lab", &["big 8"], &[])), &[]).state;
    state =
        granted(Some(&state), None, &[&infrastructure("c", &["x 2"], &[]), &infrastructure("d", &["x 4"], &[])]).state;
    state = granted(Some(&state), Some(&on), &[]).state;
    let new = infrastructure("n", &["x 4"], &[]);
    // two has room for it: nothing moves.
    assert_eq!(symbols(&granted(Some(&state), None, &[&new]).plan), "+");
    let new = infrastructure("n", &["x 6"], &[]);
    let admitted = granted(Some(&state), None, &[&new]);
    // Six of eight need d away (four) or c and d; d alone makes six free.
    assert_eq!(symbols(&admitted.plan), "~+", "{}", admitted.plan);
    let Step::Move { lease, moved, .. } = &admitted.plan.steps[0] else { panic!("{}", admitted.plan) };
    assert_eq!((lease.as_str(), moved.to.as_str()), ("d", "two"));
    let new = infrastructure("n", &["x 8"], &[]);
    let admitted = granted(Some(&state), None, &[&new]);
    assert_eq!(symbols(&admitted.plan), "~~+", "{}", admitted.plan);
    // One move is not enough for that, and said so.
    let mut question = asked(None, vec![demand(&new)]);
    question.moves = 1;
    let Err(PlanError::Refused(refused)) = plan(Some(&state), &question) else { panic!("one move is not enough") };
    assert_eq!(
        refused.binding,
        Binding::Capacity {
            node: "x".into(),
            count: 1,
            measure: pointsman_vxi::substrate::Measure::Cores,
            period: "its whole time".into(),
            asked: 8,
            free: 4,
            host: "two".into(),
        }
    );
}

#[test]
fn a_path_moves_out_of_the_way_before_a_machine_does() {
    // Two ways from p to q; the lease has taken the direct one, which alone is wide enough for the new one.
    let on = infrastructure("lab", &["p 4 @a", "q 4 @b", "r 0 @c"], &["p-q 1000", "p-r 300", "r-q 300"]);
    let old = infrastructure("old", &["x 1 @a", "y 1 @b"], &["x-y 300"]);
    let state = granted(None, Some(&on), &[&old]).state;
    let new = infrastructure("new", &["x 1 @a", "y 1 @b"], &["x-y 900"]);
    let admitted = granted(Some(&state), None, &[&new]);
    assert_eq!(symbols(&admitted.plan), "~+", "{}", admitted.plan);
    assert!(matches!(&admitted.plan.steps[0], Step::Reroute { lease, .. } if lease == "old"), "{}", admitted.plan);
}

#[test]
fn what_leaves_is_emptied_before() {
    let on = infrastructure("lab", &["p 4", "q 4", "r 4"], &["p-q 1000", "q-r 1000", "p-r 1000"]);
    let request = infrastructure("a", &["x 3", "y 3"], &["x-y 500"]);
    let state = granted(None, Some(&on), &[&request]).state;
    let [x, y] = ["x", "y"].map(|node| host_of(&state, "a", node).to_owned());
    // The reservation of the machine below x ends in two hours.
    let mut shorter = on.clone();
    shorter.start = Some(hour(-10));
    let node = shorter.components.nodes.iter_mut().find(|node| node.resource.id == x).expect("it is there");
    node.resource.total = Some(Nanos::from_secs(12 * lab::HOUR));
    let moved = granted(Some(&state), Some(&shorter), &[]);
    assert!(
        matches!(&moved.plan.steps[0], Step::Move { moved, .. } if moved.node == "x" && moved.from == x),
        "{}",
        moved.plan
    );
    assert_eq!(host_of(&moved.state, "a", "y"), y, "only what must move does");
    let last = moved.plan.steps.last().expect("steps");
    assert!(matches!(last, Step::Alter { component, .. } if *component == x), "{}", moved.plan);
    // Without a third machine there is nowhere to go.
    let two = infrastructure("lab", &["p 4", "q 4"], &["p-q 1000"]);
    let state = granted(None, Some(&two), &[&request]).state;
    let one = infrastructure("lab", &["p 4"], &[]);
    let Err(PlanError::Refused(refused)) = plan(Some(&state), &asked(Some(substrate(&one)), vec![])) else {
        panic!("there is nowhere to go")
    };
    assert!(matches!(&refused.binding, Binding::Displaced { cause, .. } if cause.starts_with("q:")), "{refused}");
}

#[test]
fn both_ends_of_a_link_can_leave_their_machines() {
    let on = infrastructure("lab", &["p 4", "q 4"], &["p-q 1000"]);
    let request = infrastructure("a", &["x 3", "y 3"], &["x-y 500"]);
    let state = granted(None, Some(&on), &[&request]).state;
    let next = infrastructure("lab", &["r 4", "s 4", "t 1"], &["r-s 1000", "s-t 600"]);
    let joined = infrastructure(
        "lab",
        &["p 4", "q 4", "r 4", "s 4", "t 1"],
        &["p-q 1000", "r-s 1000", "s-t 600", "q-r 1000", "p-s 1000"],
    );
    let state = granted(Some(&state), Some(&joined), &[]).state;
    let moved = granted(Some(&state), Some(&next), &[]);
    let hosts = ["x", "y"].map(|node| host_of(&moved.state, "a", node));
    assert!(hosts.iter().all(|host| ["r", "s"].contains(host)), "{}", moved.plan);
}

#[test]
fn a_latency_an_anchor_and_a_kind_explain_themselves() {
    let mut on = infrastructure("lab", &["p 4 @lyon", "q 4 @sophia"], &["p-q 1000"]);
    on.components.links[0].latency = Capacity::exactly(Nanos::from_millis(8));
    let mut request = infrastructure("a", &["x 1 @lyon", "y 1 @sophia"], &["x-y 100"]);
    request.components.links[0].latency = Capacity::constant(Amount::at_most(Nanos::from_millis(5)));
    let slow = refused(None, Some(&on), &request);
    assert!(
        slow.to_string().starts_with(
            "a: link x-y may take 5 ms; the quickest path takes 8 ms; with 8 ms for the latency of link x-y it fits"
        ),
        "{slow}"
    );
    let elsewhere = infrastructure("a", &["x 1 @nancy"], &[]);
    let nowhere = refused(None, Some(&on), &elsewhere);
    assert!(
        nowhere.to_string().starts_with(
            "a: x needs a host for a node at nancy: the substrate has no such site; it has lyon, sophia; if x need not be \
             at nancy it fits, on p"
        ),
        "{nowhere}"
    );
}

#[test]
fn a_release_gives_back_and_an_unknown_one_is_an_error() {
    let on = infrastructure("lab", &["p 4"], &[]);
    let a = infrastructure("a", &["x 4"], &[]);
    let state = granted(None, Some(&on), &[&a]).state;
    let mut question = asked(None, vec![demand(&infrastructure("b", &["x 4"], &[]))]);
    assert!(matches!(plan(Some(&state), &question), Err(PlanError::Refused(_))));
    question.release = vec!["a".into()];
    let planned = checked(Some(&state), plan(Some(&state), &question).expect("room for b"));
    assert_eq!(symbols(&planned.plan), "-+");
    question.release = vec!["c".into()];
    let error = plan(Some(&state), &question).expect_err("no c");
    assert_eq!(error.to_string(), "there is no lease c; there are: a");
}

#[test]
fn what_is_over_ends_and_what_would_be_over_is_refused() {
    let on = infrastructure("lab", &["p 4"], &[]);
    let a = timed(infrastructure("a", &["x 4"], &[]), 0, 2);
    let state = granted(None, Some(&on), &[&a]).state;
    let mut question = asked(None, vec![]);
    question.now = hour(2);
    let planned = plan(Some(&state), &question).expect("it ended");
    assert_eq!(planned.plan.to_string().lines().next(), Some("1. - lease a ended at 2027-01-15T10:00:00Z"));
    assert!(planned.state.leases.is_empty());
    question.requests = vec![demand(&a)];
    let error =
        plan(None, &pointsman_vxi::lease::Asked { substrate: Some(substrate(&on)), ..question }).expect_err("over");
    assert!(matches!(error, PlanError::Over { .. }), "{error}");
}

#[test]
fn a_virtual_machine_alone_has_its_host_alone() {
    let on = infrastructure("lab", &["p 4", "q 4"], &["p-q 1000"]);
    let mut alone = infrastructure("alone", &["x 1"], &[]);
    alone.components.nodes[0].resource.exclusive = true;
    let state = granted(None, Some(&on), &[&alone]).state;
    let host = host_of(&state, "alone", "x").to_owned();
    let other = granted(Some(&state), None, &[&infrastructure("b", &["x 1"], &[])]);
    assert_ne!(host_of(&other.state, "b", "x"), host);
    let third = refused(Some(&other.state), None, &{
        let mut third = alone.clone();
        third.id = "third".into();
        third
    });
    assert!(matches!(third.binding, Binding::NoSuchHost { .. }), "{third}");
}

#[test]
fn numbers_that_nothing_has_are_errors() {
    let mut on = infrastructure("lab", &["p 4"], &[]);
    on.components.nodes[0].cpu.cores = Capacity::exactly(pointsman_vxi::model::Count(u64::MAX));
    let error = pointsman_vxi::substrate::Substrate::from_model(&on).expect_err("too many cores");
    assert!(error[0].to_string().contains("p has 18446744073709551615, more than can be counted"), "{}", error[0]);
    let mut request = infrastructure("a", &["x 1", "y 1"], &["x-y 1"]);
    request.components.links[0].forward = Capacity::exactly(BitsPerSecond(u64::MAX));
    let error = pointsman_vxi::lease::Demand::from_model(&request).expect_err("too wide");
    assert!(error[0].to_string().contains("x-y asks for 18446744073709551615 bps"), "{}", error[0]);
    request.components.links[0].destination = "nobody".into();
    let error = pointsman_vxi::lease::Demand::from_model(&request).expect_err("no end");
    assert!(error[0].to_string().contains("link x-y ends at nobody"), "{}", error[0]);
}
