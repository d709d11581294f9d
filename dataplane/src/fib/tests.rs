//! Both tables against the oracle, under updates of every kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::oracle::Oracle;
use super::*;

fn arena() -> Arc<Arena> {
    Arena::new(ArenaConfig { blocks: 40_000, lones: 10_000, tables: 8 }).unwrap()
}

/// Few bits vary, so that prefixes nest and meet.
pub(super) fn prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (prop_oneof![Just(0x0a00_0000_u32), Just(0x0a00_0100), Just(0xc0a8_0000)], any::<u32>(), 0_u8..=32);
    let v4 =
        v4.prop_map(|(base, noise, length)| IpAddr::V4(Ipv4Addr::from_bits(base ^ noise & 0x0103_0383)).pair(length));
    let v6 = (prop_oneof![Just(0x2001_0db8_u128 << 96), Just(0xfe80_u128 << 112)], any::<u128>(), 0_u8..=128);
    let noise = 0x0001_0001_0000_8001_8000_0000_0000_0181_u128;
    let v6 = v6.prop_map(move |(base, bits, length)| IpAddr::V6(Ipv6Addr::from_bits(base ^ bits & noise)).pair(length));
    prop_oneof![v4, v6].prop_map(|(address, length)| Prefix::of(address, length).unwrap())
}

trait Pair: Sized {
    fn pair(self, length: u8) -> (Self, u8) {
        (self, length)
    }
}
impl Pair for IpAddr {}

/// Addresses where answers may change: both ends of a prefix, and what is just beyond.
pub(super) fn borders(prefix: Prefix) -> Vec<IpAddr> {
    match prefix.network() {
        IpAddr::V4(first) => {
            let first = first.to_bits();
            let last = first | !crate::prefix::mask_v4(prefix.length());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(|a| Ipv4Addr::from_bits(a).into()).to_vec()
        }
        IpAddr::V6(first) => {
            let first = first.to_bits();
            let last = first | !crate::prefix::mask_v6(prefix.length());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(|a| Ipv6Addr::from_bits(a).into()).to_vec()
        }
    }
}

/// The answers for `addresses`, one by one and as bursts, which must agree.
pub(super) fn answers(fib: &Fib, addresses: &[IpAddr]) -> Vec<NextHopId> {
    let v4: Vec<u32> =
        addresses.iter().filter_map(|a| if let IpAddr::V4(a) = a { Some(a.to_bits()) } else { None }).collect();
    let v6: Vec<u128> =
        addresses.iter().filter_map(|a| if let IpAddr::V6(a) = a { Some(a.to_bits()) } else { None }).collect();
    let (mut found_v4, mut found_v6) = (vec![0; v4.len()], vec![0; v6.len()]);
    fib.lookup_v4_burst(&v4, &mut found_v4);
    fib.lookup_v6_burst(&v6, &mut found_v6);
    let (mut found_v4, mut found_v6) = (found_v4.into_iter(), found_v6.into_iter());
    let mut next = |address: &IpAddr| {
        let (one, burst) = match address {
            IpAddr::V4(a) => (fib.lookup_v4(a.to_bits()), found_v4.next()),
            IpAddr::V6(a) => (fib.lookup_v6(a.to_bits()), found_v6.next()),
        };
        assert_eq!(Some(one), burst, "{address}");
        NextHopId(one)
    };
    addresses.iter().map(&mut next).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 256 }))]
    #[test]
    fn the_table_answers_as_the_oracle_does(
        growth in prop_oneof![Just(u32::MAX), Just(3), Just(1)],
        steps in proptest::collection::vec((prefix(), 1_u32..6, any::<bool>()), 1..80),
    ) {
        let arena = arena();
        let mut writer = FibWriter::new(&arena, FibConfig { max_blocks: 20_000, growth }).unwrap();
        let (mut oracle, mut said) = (Oracle::default(), Vec::new());
        for (prefix, next_hop, insert) in steps {
            said.push(prefix);
            if insert {
                writer.insert(prefix, NextHopId(next_hop)).unwrap();
                oracle.insert(prefix, NextHopId(next_hop));
            } else {
                // What is not there may be taken away as well.
                writer.remove(prefix, || oracle.cover(prefix));
                oracle.remove(prefix);
            }
        }
        let check = |writer: &FibWriter, oracle: &Oracle| {
            let addresses: Vec<_> = said.iter().flat_map(|prefix| borders(*prefix)).collect();
            for (address, found) in addresses.iter().zip(answers(writer.fib(), &addresses)) {
                assert_eq!(found, oracle.look_up(*address), "{address}");
            }
        };
        check(&writer, &oracle);
        for prefix in oracle.prefixes().collect::<Vec<_>>() {
            writer.remove(prefix, || oracle.cover(prefix));
            oracle.remove(prefix);
        }
        check(&writer, &oracle);
        prop_assert_eq!((writer.usage().blocks_v4, writer.usage().blocks_v6), (0, 0));
        drop(writer);
        arena.reclaim();
        prop_assert_eq!((arena.blocks_used(), arena.lones_used()), (0, 0));
    }
}

fn net(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn without_room_nothing_changes() {
    let arena = Arena::new(ArenaConfig { blocks: 40, lones: 50, tables: 4 }).unwrap();
    let mut writer = FibWriter::new(&arena, FibConfig { max_blocks: 5, growth: u32::MAX }).unwrap();
    writer.insert(net("2001:db8::/32"), NextHopId(1)).unwrap();
    writer.insert(net("2001:db8::1/128"), NextHopId(2)).unwrap();
    let before = writer.usage();
    // The two have 127 bits in common, and a block is needed for each eight of them.
    let error = writer.insert(net("2001:db8::/128"), NextHopId(3)).unwrap_err();
    assert_eq!(error, FibError::TableFull { blocks: 5 });
    assert!(error.to_string().contains("max_routes"), "{error}");
    assert_eq!(writer.usage(), before);
    let addresses = ["2001:db8::", "2001:db8::1", "2001:db8::2"].map(|address| address.parse().unwrap());
    assert_eq!(answers(writer.fib(), &addresses), [1, 2, 1].map(NextHopId));
    writer.insert(net("2001:db8:1::/48"), NextHopId(2)).unwrap();
    let mut other = FibWriter::new(&arena, FibConfig { max_blocks: 100, growth: u32::MAX }).unwrap();
    assert_eq!(FibWriter::new(&arena, FibConfig::default()).unwrap_err(), FibError::TablesFull);
    let mut insert = |n: u32| other.insert(net(&format!("10.{}.{}.0/24", n / 2, n % 2)), NextHopId(1)).err();
    assert_eq!((0..100).find_map(&mut insert), Some(FibError::ArenaFull));
}

#[test]
fn an_entry_leads_where_it_was_last_told() {
    let arena = arena();
    let mut writer = FibWriter::new(&arena, FibConfig::default()).unwrap();
    let hop = |interface, gateway: Option<&str>| ResolvedHop {
        interface: crate::rib::InterfaceId(interface),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
    };
    let (link, v4, v6) = (hop(3, None), hop(65535, Some("10.0.0.1")), hop(0, Some("fe80::1")));
    let id = writer.create_next_hop(&Decision::Via(vec![(link, 1)])).unwrap();
    assert_ne!(id, NextHopId::NONE);
    let fib = writer.fib().clone();
    let hops = |fib: &Fib| {
        let mut seen = std::collections::BTreeMap::new();
        for flow in 0..65_536_u32 {
            let Verdict::Via(hop) = fib.verdict(id.0, flow.wrapping_mul(0x85eb_ca6b)) else { panic!("no hop") };
            *seen.entry(fib.hop(hop)).or_insert(0) += 1;
        }
        seen
    };
    assert_eq!(hops(&fib).into_keys().collect::<Vec<_>>(), [link]);
    writer.set_next_hop(id, &Decision::Via(vec![(link, 1), (v4, 1), (v6, 2)])).unwrap();
    let seen = hops(&fib);
    for (hop, part) in [(link, 0.25), (v4, 0.25), (v6, 0.5)] {
        let got = f64::from(seen[&hop]) / 65_536.0;
        assert!((got - part).abs() < 0.02, "{hop:?}: {got}");
    }
    for (decision, verdict) in [
        (Decision::Local, Verdict::Local),
        (Decision::Broadcast, Verdict::Broadcast),
        (Decision::Blackhole, Verdict::Blackhole),
        (Decision::Unreachable, Verdict::Unreachable),
        (Decision::Prohibit, Verdict::Prohibit),
        (Decision::Via(Vec::new()), Verdict::Unreachable),
    ] {
        let version = fib.version();
        writer.set_next_hop(id, &decision).unwrap();
        assert_eq!(fib.verdict(id.0, 7), verdict);
        assert_ne!(fib.version(), version);
    }
    assert_eq!(fib.verdict(0, 7), Verdict::NoRoute);
    writer.remove_next_hop(id);
    arena.reclaim();
    assert_eq!(arena.blocks_used(), 0, "the block of the buckets came back");
}
