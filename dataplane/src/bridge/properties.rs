//! Random ports, random frames, and what the [`Oracle`] makes of them.

use proptest::prelude::*;

use super::oracle::Oracle;
use super::tests::{ALL, Rig, vlan};
use super::*;

const VIDS: [u16; 4] = [1, 10, 2000, 4094];
const DOMAINS: usize = 3;

prop_compose! {
    /// Ports of every kind. Address 2:..:n belongs to port n alone, so that no table is refused.
    fn member(index: u8)(native in proptest::option::of(0..DOMAINS as u16),
                         vlans in proptest::collection::vec(proptest::option::of(0..DOMAINS as u16), 4),
                         stations in 0_u8..4) -> Member {
        let mut taken: Vec<u16> = native.into_iter().collect();
        let mut own = Vec::new();
        for (vid, domain) in VIDS.into_iter().zip(vlans) {
            if let Some(domain) = domain.filter(|domain| !taken.contains(domain)) {
                taken.push(domain);
                own.push((vlan(vid), DomainId(domain)));
            }
        }
        let macs = (0..stations.saturating_sub(1)).map(|n| Mac([2, 0, 0, 0, n, index])).collect();
        Member { name: format!("p{index}"), native: native.map(DomainId), vlans: own, macs }
    }
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    (1_u8..7).prop_flat_map(|ports| (0..ports).map(member).collect::<Vec<_>>())
}

fn address() -> impl Strategy<Value = [u8; 6]> {
    prop_oneof![
        6 => (0_u8..3, 0_u8..7).prop_map(|(n, port)| [2, 0, 0, 0, n, port]),
        6 => (0_u8..6).prop_map(|n| [6, 0, 0, 0, 0, n]),
        1 => Just(ALL),
        1 => (0_u8..18).prop_map(|n| [1, 0x80, 0xc2, 0, 0, n]),
        1 => Just([0; 6]),
        1 => any::<[u8; 6]>(),
    ]
}

fn tag_bytes() -> impl Strategy<Value = Vec<u8>> {
    let vid = prop_oneof![4 => proptest::sample::select(&VIDS[..]), 1 => Just(0), 1 => any::<u16>()];
    let tpid = prop_oneof![8 => Just(0x8100_u16), 1 => Just(0x88a8), 1 => Just(0x9100)];
    (tpid, vid, 0_u16..16)
        .prop_map(|(tpid, vid, priority)| [tpid.to_be_bytes(), (priority << 12 | vid & 0xfff).to_be_bytes()].concat())
}

/// Frames that mostly make sense, some cut short, some long, and some garbage.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop_oneof![4 => Just(0), 4 => Just(1), 1 => 2_usize..4];
    let tags = tags.prop_flat_map(|n| proptest::collection::vec(tag_bytes(), n));
    let rest = prop_oneof![8 => 0_usize..80, 1 => 1700_usize..2000];
    let whole = (address(), address(), tags, any::<[u8; 2]>(), rest).prop_map(|(dst, src, tags, kind, rest)| {
        [dst.to_vec(), src.to_vec(), tags.concat(), kind.to_vec(), vec![0xa5; rest]].concat()
    });
    let whole = whole.boxed();
    let cut = (whole.clone(), 1_usize..30).prop_map(|(mut bytes, len)| {
        bytes.truncate(len);
        bytes
    });
    prop_oneof![16 => whole, 1 => cut, 1 => proptest::collection::vec(any::<u8>(), 1..60)]
}

proptest! {
    #[test]
    fn the_bridge_does_what_the_oracle_does(
        ports in members(),
        down in proptest::collection::vec(0_usize..7, 0..3),
        ages in proptest::collection::vec(1_u64..6, DOMAINS),
        limits in proptest::collection::vec(0_u32..6, DOMAINS),
        bursts in proptest::collection::vec((0_usize..7, 0_u64..3, proptest::collection::vec(any_frame(), 1..12)), 1..12),
    ) {
        let domains: Vec<Domain> = ages.iter().zip(&limits).map(|(&age, &max_learned)| {
            Domain { name: "d".into(), age: Nanos::from_secs(age), max_learned }
        }).collect();
        let mut rig = Rig::new(&ports, &domains);
        let down: Vec<usize> = down.into_iter().filter(|&port| port < ports.len()).collect();
        for &port in &down {
            rig.out.set_up(PortId(port as u16), false);
        }
        let mut oracle = Oracle::new(&ports, &domains, &down);
        let mut drops = vec![[0; DropReason::ALL.len()]; ports.len()];
        for (input, later, frames) in bursts {
            let input = input % ports.len();
            rig.now = rig.now.plus(Nanos::from_secs(later));
            let second = rig.now.0 / 1_000_000_000;
            for _ in 0..4 {
                rig.bridge.tick(&mut rig.pool, &mut rig.out, rig.now);
            }
            oracle.sweep(second);
            let sent = rig.burst(input as u16, &frames);
            let mut expected = Vec::new();
            for frame in &frames {
                match oracle.forward(input, frame, second) {
                    Ok(leaving) => expected.extend(leaving),
                    Err(reason) => drops[input][reason as usize] += 1,
                }
            }
            expected.sort_by_key(|(port, _)| *port);
            prop_assert_eq!(sent, expected);
        }
        for (port, drops) in drops.iter().enumerate() {
            for &reason in DropReason::ALL {
                prop_assert_eq!(rig.counters[port].drops.get(reason), drops[reason as usize], "port {}: {:?}", port, reason);
            }
        }
    }
}
