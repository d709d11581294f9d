//! Routes of several owners against the model, and what each promise of the module means.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::model::{Fate, Model};
use super::*;
use crate::fib::{ArenaConfig, ResolvedHop, Verdict, flow_of};

const FEED: Origin = Origin::Feed(1);

fn arena() -> Arc<Arena> {
    Arena::new(ArenaConfig { blocks: 20_000, lones: 20_000, tables: 8 }).unwrap()
}

fn rib(arena: &Arc<Arena>) -> Rib {
    let fib = FibConfig { max_blocks: 10_000, ..FibConfig::default() };
    Rib::new(arena, RibConfig { max_routes: 10_000, interfaces: 4, fib }).unwrap()
}

fn net(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hop(gateway: Option<&str>, interface: Option<u16>) -> Hop {
    Hop { gateway: gateway.map(ip), interface: interface.map(InterfaceId), weight: 1 }
}

fn via(hops: &[Hop]) -> Action {
    Action::Via(hops.to_vec())
}

fn replace(prefix: &str, metric: u32, action: Action) -> Change {
    Change::Replace(Route { prefix: net(prefix), metric, action })
}

/// What workers do with a packet for this address, over all flows.
fn fate(rib: &Rib, address: IpAddr) -> Fate {
    let fib = rib.fib();
    let id = match address {
        IpAddr::V4(address) => fib.lookup_v4(address.to_bits()),
        IpAddr::V6(address) => fib.lookup_v6(address.to_bits()),
    };
    let mut hops = BTreeSet::new();
    for bucket in 0..=255 {
        match fib.verdict(id, flow_of(bucket)) {
            Verdict::NoRoute => return Fate::NoRoute,
            Verdict::Local => return Fate::Local,
            Verdict::Broadcast => return Fate::Broadcast,
            Verdict::Blackhole => return Fate::Blackhole,
            Verdict::Unreachable => return Fate::Unreachable,
            Verdict::Prohibit => return Fate::Prohibit,
            Verdict::Via(hop) => hops.insert(fib.hop(hop)),
        };
    }
    Fate::Via(hops)
}

fn to(hops: &[(u16, Option<&str>)]) -> Fate {
    let hop = |(interface, gateway): &(u16, Option<&str>)| ResolvedHop {
        interface: InterfaceId(*interface),
        gateway: gateway.map(ip),
    };
    Fate::Via(hops.iter().map(hop).collect())
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Origin, Change),
    Interface(u16, bool),
    Begin(Origin),
    End(Origin),
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![Just(Origin::Connected), Just(Origin::Static), Just(Origin::Feed(0)), Just(FEED)]
}

/// Networks of a tier: what its routes' gateways are in belongs to a later tier, so that no way leads in circles.
fn tier_net(tier: u8) -> impl Strategy<Value = Prefix> {
    (0_u32..4, 0_u8..=3).prop_map(move |(n, longer)| {
        let base = [0x0a00_0000_u32, 0xac10_0000, 0xac11_0000][usize::from(tier)];
        let length = [8, 16, 16][usize::from(tier)] + longer * 5;
        Prefix::of(std::net::Ipv4Addr::from_bits(base | n << 9 | n).into(), length).unwrap()
    })
}

fn tier_hop(tier: u8) -> BoxedStrategy<Hop> {
    let direct = (proptest::option::of(1_u8..4), 0_u16..4, 1_u16..4).prop_map(|(gateway, interface, weight)| Hop {
        gateway: gateway.map(|n| IpAddr::from([192, 168, 0, n])),
        interface: Some(InterfaceId(interface)),
        weight,
    });
    if tier == 2 {
        return direct.boxed();
    }
    let recursive = (tier + 1..=2, 0_u32..4, 1_u16..4).prop_map(|(tier, n, weight)| {
        let base = [0, 0xac10_0000_u32, 0xac11_0000][usize::from(tier)];
        Hop { gateway: Some(std::net::Ipv4Addr::from_bits(base | n << 9 | n).into()), interface: None, weight }
    });
    prop_oneof![direct, recursive].boxed()
}

/// Groups 0 to 2 are of these tiers.
fn action(tier: u8, group: bool) -> BoxedStrategy<Action> {
    let hops = proptest::collection::vec(tier_hop(tier), 1..4).prop_map(Action::Via);
    let fixed = proptest::sample::select(vec![
        Action::Local,
        Action::Broadcast,
        Action::Blackhole,
        Action::Unreachable,
        Action::Prohibit,
    ]);
    if group {
        prop_oneof![6 => hops, 1 => fixed, 3 => Just(Action::Group(GroupId(tier.into())))].boxed()
    } else {
        prop_oneof![6 => hops, 1 => fixed].boxed()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let tier = 0_u8..3;
    let change = tier.prop_flat_map(|tier| {
        let net = move || tier_net(tier);
        let replace = (net(), 0_u32..2, action(tier, true));
        prop_oneof![
            6 => replace.prop_map(|(prefix, metric, action)| Change::Replace(Route { prefix, metric, action })),
            2 => (net(), proptest::option::of(0_u32..2)).prop_map(|(prefix, metric)| Change::Delete(prefix, metric)),
            2 => action(tier, false).prop_map(move |action| Change::ReplaceGroup(GroupId(tier.into()), action)),
            1 => Just(Change::DeleteGroup(GroupId(tier.into()))),
        ]
    });
    prop_oneof![
        12 => (origin(), change).prop_map(|(origin, change)| Step::Apply(origin, change)),
        2 => (0_u16..4, any::<bool>()).prop_map(|(interface, up)| Step::Interface(interface, up)),
        1 => origin().prop_map(Step::Begin),
        1 => origin().prop_map(Step::End),
    ]
}

/// Addresses in and around what the tiers have.
fn addresses() -> Vec<IpAddr> {
    let bases = [0x0a00_0000_u32, 0xac10_0000, 0xac11_0000];
    let near =
        bases.into_iter().flat_map(|base| (0..4).flat_map(move |n| [0, 1, 3, 64].map(|far| base | n << 9 | n ^ far)));
    near.chain([0x0aff_ffff, 0x0b00_0000]).map(|bits| std::net::Ipv4Addr::from_bits(bits).into()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 1024 }))]
    #[test]
    fn packets_go_where_the_model_says(steps in proptest::collection::vec(step(), 1..60)) {
        let arena = arena();
        let (mut rib, mut model) = (rib(&arena), Model::default());
        for step in steps {
            match step.clone() {
                Step::Apply(origin, change) => {
                    // What is not there cannot go: the model does not mind.
                    let _ = rib.apply(origin, change.clone());
                    model.apply(origin, change);
                }
                Step::Interface(interface, up) => {
                    rib.interface_state(InterfaceId(interface), up);
                    model.interface_state(InterfaceId(interface), up);
                }
                Step::Begin(origin) => {
                    rib.begin_sync(origin);
                    model.begin_sync(origin);
                }
                Step::End(origin) => {
                    rib.end_sync(origin);
                    model.end_sync(origin);
                }
            }
            prop_assert_eq!(rib.stats().routes, model.len());
            prop_assert_eq!(rib.routes().count(), model.len());
            for address in addresses() {
                prop_assert_eq!(fate(&rib, address), model.fate(address), "{} after {:?}", address, step);
            }
        }
        empties(rib, &arena)?;
    }

    #[test]
    fn ways_in_circles_end(
        steps in proptest::collection::vec((0_u32..4, 0_u8..4, 0_u32..2, proptest::collection::vec((0_u32..4, 0_u16..8), 1..3), any::<bool>()), 1..60),
    ) {
        let arena = arena();
        let mut rib = rib(&arena);
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 | n << 9));
        for (n, longer, metric, hops, there) in steps {
            // Any network's gateways may be in any other, or in itself; half of the hops name an interface.
            let prefix = Prefix::of(address(n), 8 + longer * 8).unwrap();
            let hops = hops.into_iter().map(|(n, interface)| Hop {
                gateway: Some(address(n)),
                interface: (interface < 4).then_some(InterfaceId(interface)),
                weight: 1,
            });
            let action = Action::Via(hops.collect());
            let change = if there { Change::Replace(Route { prefix, metric, action }) } else { Change::Delete(prefix, None) };
            let _ = rib.apply(FEED, change);
            for n in 0..4 {
                let said = rib.explain(address(n)).map(|why| why.route.decision.cloned());
                let seen = fate(&rib, address(n));
                match said {
                    None => prop_assert_eq!(seen, Fate::NoRoute),
                    Some(None) => prop_assert_eq!(seen, Fate::Unreachable),
                    Some(Some(crate::fib::Decision::Via(hops))) => {
                        prop_assert_eq!(seen, Fate::Via(hops.into_iter().map(|(hop, _)| hop).collect()));
                    }
                    Some(other) => prop_assert!(false, "{:?}", other),
                }
            }
        }
        // Without an interface nothing leads anywhere: no two sets keep each other alive.
        for interface in 0..4 {
            rib.interface_state(InterfaceId(interface), false);
        }
        for n in 0..4 {
            prop_assert!(!matches!(fate(&rib, address(n)), Fate::Via(_)));
        }
        empties(rib, &arena)?;
    }
}

/// All owners go; nothing is left behind.
fn empties(mut rib: Rib, arena: &Arena) -> Result<(), TestCaseError> {
    for origin in [Origin::Connected, Origin::Static, Origin::Feed(0), FEED] {
        rib.begin_sync(origin);
        rib.end_sync(origin);
    }
    let stats = rib.stats();
    prop_assert_eq!((stats.routes, stats.prefixes, stats.sets), (0, 0, 0));
    prop_assert_eq!((stats.fib.blocks_v4, stats.fib.blocks_v6), (0, 0));
    prop_assert!(rib.watches.is_empty() && rib.by_want.is_empty() && rib.groups.is_empty());
    prop_assert_eq!(stats.starved, 0);
    drop(rib);
    arena.reclaim();
    prop_assert_eq!(arena.blocks_used(), 0);
    Ok(())
}

#[test]
fn a_gateway_is_found_through_other_routes_and_found_anew() {
    let arena = arena();
    let mut rib = rib(&arena);
    let apply = |rib: &mut Rib, change| rib.apply(FEED, change).unwrap();
    apply(&mut rib, replace("203.0.113.0/24", 0, via(&[hop(Some("10.0.0.9"), None)])));
    assert_eq!(fate(&rib, ip("203.0.113.7")), Fate::Unreachable, "nothing leads to the gateway");
    apply(&mut rib, replace("10.0.0.0/8", 0, via(&[hop(Some("192.168.0.1"), Some(0))])));
    assert_eq!(fate(&rib, ip("203.0.113.7")), to(&[(0, Some("192.168.0.1"))]));
    // A longer prefix takes over: its link is where the gateway is.
    apply(&mut rib, replace("10.0.0.0/24", 0, via(&[hop(None, Some(1))])));
    assert_eq!(fate(&rib, ip("203.0.113.7")), to(&[(1, Some("10.0.0.9"))]));
    let why = rib.explain(ip("203.0.113.7")).unwrap();
    assert_eq!((why.route.prefix, why.route.origin), (net("203.0.113.0/24"), FEED));
    assert_eq!(why.recursion, [Recursion { gateway: ip("10.0.0.9"), prefix: Some(net("10.0.0.0/24")) }]);
    apply(&mut rib, Change::Delete(net("10.0.0.0/24"), None));
    assert_eq!(fate(&rib, ip("203.0.113.7")), to(&[(0, Some("192.168.0.1"))]));
    // Remotely triggered blackholing: the gateway's route decides.
    apply(&mut rib, replace("10.0.0.9/32", 0, Action::Blackhole));
    assert_eq!(fate(&rib, ip("203.0.113.7")), Fate::Blackhole);
    // Its own network leads to it through itself: no way.
    apply(&mut rib, replace("10.0.0.9/32", 0, via(&[hop(Some("10.0.0.9"), None)])));
    assert_eq!(fate(&rib, ip("203.0.113.7")), Fate::Unreachable);
}

#[test]
fn a_gateway_of_the_other_family_is_as_good() {
    let arena = arena();
    let mut rib = rib(&arena);
    rib.apply(FEED, replace("2001:db8::/32", 0, via(&[hop(Some("fe80::1"), Some(2))]))).unwrap();
    rib.apply(FEED, replace("0.0.0.0/0", 0, via(&[hop(Some("2001:db8::1"), None)]))).unwrap();
    assert_eq!(fate(&rib, ip("192.0.2.1")), to(&[(2, Some("fe80::1"))]), "RFC 8950");
}

#[test]
fn the_first_owner_has_it_and_gives_way_when_its_link_fails() {
    let arena = arena();
    let mut rib = rib(&arena);
    rib.apply(FEED, replace("10.0.0.0/8", 20, via(&[hop(None, Some(2))]))).unwrap();
    rib.apply(FEED, replace("10.0.0.0/8", 10, via(&[hop(None, Some(1))]))).unwrap();
    rib.apply(Origin::Static, replace("10.0.0.0/8", 99, via(&[hop(None, Some(0)), hop(None, Some(3))]))).unwrap();
    let address = ip("10.1.2.3");
    assert_eq!(fate(&rib, address), to(&[(0, None), (3, None)]));
    rib.interface_state(InterfaceId(0), false);
    assert_eq!(fate(&rib, address), to(&[(3, None)]));
    rib.interface_state(InterfaceId(3), false);
    assert_eq!(fate(&rib, address), to(&[(1, None)]));
    let why = rib.explain(address).unwrap();
    assert_eq!((why.route.origin, why.route.metric, why.others.len()), (FEED, 10, 2));
    assert_eq!(why.others[0].decision, None, "preferred, but leads nowhere");
    rib.interface_state(InterfaceId(1), false);
    assert_eq!(fate(&rib, address), to(&[(2, None)]));
    rib.interface_state(InterfaceId(2), false);
    assert_eq!(fate(&rib, address), Fate::Unreachable);
    rib.interface_state(InterfaceId(0), true);
    assert_eq!(fate(&rib, address), to(&[(0, None)]));
}

#[test]
fn a_group_changes_for_all_routes_without_a_look_at_them() {
    let arena = arena();
    let mut rib = rib(&arena);
    let group = GroupId(7);
    for n in 0..100 {
        rib.apply(FEED, replace(&format!("10.{n}.0.0/16"), 0, Action::Group(group))).unwrap();
    }
    assert_eq!(fate(&rib, ip("10.5.0.1")), Fate::Unreachable, "it waits for its group");
    let entry = rib.fib().lookup_v4(0x0a05_0001);
    rib.apply(FEED, Change::ReplaceGroup(group, via(&[hop(None, Some(1))]))).unwrap();
    assert_eq!(fate(&rib, ip("10.99.0.1")), to(&[(1, None)]));
    rib.apply(FEED, Change::ReplaceGroup(group, Action::Prohibit)).unwrap();
    assert_eq!(fate(&rib, ip("10.99.0.1")), Fate::Prohibit);
    assert_eq!((rib.fib().lookup_v4(0x0a05_0001), rib.stats().sets), (entry, 1));
    assert_eq!(
        rib.apply(Origin::Feed(2), Change::DeleteGroup(group)),
        Err(RibError::NoSuchGroup { group }),
        "another owner's numbers are its own"
    );
    rib.apply(FEED, Change::DeleteGroup(group)).unwrap();
    assert_eq!((rib.stats().routes, fate(&rib, ip("10.99.0.1"))), (0, Fate::NoRoute));
}

#[test]
fn what_cannot_be_is_refused_and_told() {
    let arena = arena();
    let config = RibConfig { max_routes: 2, interfaces: 2, fib: FibConfig::default() };
    let mut rib = Rib::new(&arena, config).unwrap();
    let good = via(&[hop(None, Some(1))]);
    let weightless = Hop { weight: 0, ..hop(None, Some(1)) };
    for (action, says) in [
        (via(&[]), "without next hops"),
        (via(&[hop(None, None)]), "neither a gateway nor an interface"),
        (via(&[hop(None, Some(2))]), "interface number 2, and the VRF has 2"),
        (via(&[weightless]), "weights begin at 1"),
        (via(&[hop(None, Some(1)); MAX_HOPS + 1]), "129 next hops, and may have 128"),
    ] {
        let error = rib.apply(FEED, replace("10.0.0.0/8", 0, action.clone())).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(rib.apply(FEED, Change::ReplaceGroup(GroupId(1), action)).is_err());
    }
    let error = rib.apply(FEED, Change::ReplaceGroup(GroupId(1), Action::Group(GroupId(2)))).unwrap_err();
    assert_eq!(error, RibError::NestedGroup { group: GroupId(1) });
    let error = rib.apply(FEED, Change::Delete(net("10.0.0.0/8"), Some(3))).unwrap_err();
    assert_eq!(error.to_string(), "there is no route for 10.0.0.0/8 with metric 3 of this owner");
    rib.apply(FEED, replace("10.0.0.0/8", 0, good.clone())).unwrap();
    rib.apply(FEED, replace("11.0.0.0/8", 0, good.clone())).unwrap();
    let error = rib.apply(FEED, replace("12.0.0.0/8", 0, good.clone())).unwrap_err();
    assert_eq!(error, RibError::TooManyRoutes { prefix: net("12.0.0.0/8"), max: 2 });
    assert!(error.to_string().contains("raise its max_routes"), "{error}");
    // What is there can be changed, and the interfaces' own routes find room.
    rib.apply(FEED, replace("11.0.0.0/8", 0, Action::Blackhole)).unwrap();
    rib.apply(Origin::Connected, replace("12.0.0.0/8", 0, good.clone())).unwrap();
    assert_eq!((rib.stats().routes, rib.stats().refused), (3, 1));
    rib.apply(FEED, Change::Delete(net("11.0.0.0/8"), None)).unwrap();
    rib.apply(FEED, replace("13.0.0.0/8", 0, good)).unwrap();
}

#[test]
fn a_synchronisation_sweeps_what_was_not_said_again() {
    let arena = arena();
    let mut rib = rib(&arena);
    let (a, b) = (via(&[hop(None, Some(0))]), via(&[hop(None, Some(1))]));
    for n in 0..4 {
        rib.apply(FEED, replace(&format!("10.{n}.0.0/16"), 0, a.clone())).unwrap();
    }
    rib.apply(Origin::Static, replace("10.9.0.0/16", 0, a.clone())).unwrap();
    rib.begin_sync(FEED);
    let version = rib.fib().version();
    rib.apply(FEED, replace("10.0.0.0/16", 0, a.clone())).unwrap();
    assert_eq!(rib.fib().version(), version, "said again, nothing moves");
    rib.apply(FEED, replace("10.1.0.0/16", 0, b)).unwrap();
    assert_eq!(fate(&rib, ip("10.3.0.1")), to(&[(0, None)]), "until the end it stays");
    assert_eq!(rib.end_sync(FEED), 2);
    for (address, expected) in [
        ("10.0.0.1", to(&[(0, None)])),
        ("10.1.0.1", to(&[(1, None)])),
        ("10.2.0.1", Fate::NoRoute),
        ("10.3.0.1", Fate::NoRoute),
        ("10.9.0.1", to(&[(0, None)])),
    ] {
        assert_eq!(fate(&rib, ip(address)), expected, "{address}");
    }
}
