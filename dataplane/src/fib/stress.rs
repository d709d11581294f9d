//! Readers at work while the table changes under them: each answer is an old or a new one, never another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::oracle::Oracle;
use super::*;

const TIME: Duration = Duration::from_millis(700);

fn v4(text: &str, length: u8) -> Prefix {
    Prefix::of(text.parse().unwrap(), length).unwrap()
}

/// The parts of the networks that come and go: few, so that readers meet them.
const PARTS: u32 = 0x0003_07ff;

/// 10.0.0.0/8 has entry 1 throughout; from /24 on longer prefixes come and go with entries that say which /24 they are in.
/// What is used again too early shows another one's entries.
fn churn(growth: u32) {
    let arena = Arena::new(ArenaConfig { blocks: 600, lones: 600, tables: 4 }).unwrap();
    let mut writer = FibWriter::new(&arena, FibConfig { max_blocks: 600, growth }).unwrap();
    writer.insert(v4("10.0.0.0", 8), NextHopId(1)).unwrap();
    writer.insert(v4("fd00::", 8), NextHopId(1)).unwrap();
    let mut oracle = Oracle::default();
    for base in [v4("10.0.0.0", 8), v4("fd00::", 8)] {
        oracle.insert(base, NextHopId(1));
    }
    let done = Arc::new(AtomicBool::new(false));
    let looked = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..2)
        .map(|seed| {
            let (mut reader, fib) = (arena.reader(), writer.fib().clone());
            let (done, looked) = (done.clone(), looked.clone());
            thread::spawn(move || {
                let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ seed;
                reader.online();
                while !done.load(Ordering::Relaxed) {
                    for _ in 0..32 {
                        let mut parts = [0_u32; 64];
                        for part in &mut parts {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                            *part = (random >> 20) as u32 & PARTS;
                        }
                        let a4 = parts.map(|part| 0x0a00_0000 | part);
                        let a6 = parts.map(|part| 0xfd_u128 << 120 | u128::from(part) << 96);
                        let (mut n4, mut n6) = ([0; 64], [0; 64]);
                        fib.lookup_v4_burst(&a4, &mut n4);
                        fib.lookup_v6_burst(&a6, &mut n6);
                        for (part, found) in parts.iter().zip(n4).chain(parts.iter().zip(n6)) {
                            let own = 2 + (part >> 8);
                            assert!(found == 1 || found == own, "{part:#x}: {found}");
                        }
                    }
                    looked.fetch_add(32 * 128, Ordering::Relaxed);
                    if random.is_multiple_of(64) {
                        reader.offline();
                        thread::yield_now();
                        reader.online();
                    } else {
                        reader.quiescent();
                    }
                }
            })
        })
        .collect();
    let (start, mut changes, mut random) = (Instant::now(), 0_u64, 88_172_645_463_325_252_u64);
    let mut waits = 0;
    while start.elapsed() < TIME {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Two at a time, near each other or not: routes that are alone, and no longer alone.
        let mut prefixes = Vec::new();
        for shift in [8, 24] {
            let part = (random >> shift) as u32 & PARTS;
            let v4 = std::net::Ipv4Addr::from_bits(0x0a00_0000 | part);
            let v6 = std::net::Ipv6Addr::from_bits(0xfd_u128 << 120 | u128::from(part) << 96);
            let length = 24 + (random >> (shift + 20) & 7) as u8;
            prefixes.push((part, Prefix::of(v4.into(), length).unwrap()));
            prefixes.push((part, Prefix::of(v6.into(), 2 * length - 24).unwrap()));
        }
        for (part, prefix) in &prefixes {
            match writer.insert(*prefix, NextHopId(2 + (part >> 8))) {
                Ok(()) => {
                    changes += 1;
                    oracle.insert(*prefix, NextHopId(2 + (part >> 8)));
                }
                // All blocks wait for a reader that does not get a core.
                Err(FibError::ArenaFull) => {
                    waits += 1;
                    thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
        prefixes.rotate_left((random >> 60) as usize % 4);
        for (_, prefix) in &prefixes {
            writer.remove(*prefix, || oracle.cover(*prefix));
            oracle.remove(*prefix);
        }
    }
    done.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    let looked = looked.load(Ordering::Relaxed);
    assert!(changes > 600 && looked > 10_000, "{changes} changes, {looked} look-ups, {waits} waits");
    arena.reclaim();
    assert_eq!(arena.reclaim(), 0);
    assert_eq!((writer.usage().blocks_v4, writer.usage().blocks_v6), (0, 0));
}

#[test]
fn a_small_table_under_change_answers_old_or_new() {
    churn(u32::MAX);
}

#[test]
fn a_large_table_under_change_answers_old_or_new() {
    churn(0);
}

#[test]
fn an_entry_under_change_leads_along_hops_that_it_had_or_has() {
    let arena = Arena::new(ArenaConfig { blocks: 64, lones: 1, tables: 2 }).unwrap();
    let mut writer = FibWriter::new(&arena, FibConfig::default()).unwrap();
    let hop = |interface: u16| ResolvedHop {
        interface: crate::rib::InterfaceId(interface),
        gateway: Some(std::net::Ipv4Addr::from_bits(u32::from(interface)).into()),
    };
    let odd = Decision::Via((1..8).step_by(2).map(|n| (hop(n), 1)).collect());
    let id = writer.create_next_hop(&odd).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let worker = {
        let (mut reader, fib, done) = (arena.reader(), writer.fib().clone(), done.clone());
        thread::spawn(move || {
            reader.online();
            let mut flow = 0_u32;
            while !done.load(Ordering::Relaxed) {
                for _ in 0..256 {
                    flow = flow.wrapping_add(0x9e37_79b9);
                    let Verdict::Via(hop) = fib.verdict(id.0, flow) else { panic!("no hop") };
                    let hop = fib.hop(hop);
                    let n = hop.interface.0;
                    // A hop that was used again too early has another one's gateway, or one of the other entry's.
                    assert!((1..8).contains(&n), "{hop:?}");
                    assert_eq!(hop.gateway, Some(std::net::Ipv4Addr::from_bits(u32::from(n)).into()));
                }
                reader.quiescent();
            }
        })
    };
    let start = Instant::now();
    let mut changes: u16 = 0;
    while start.elapsed() < TIME {
        changes = changes.wrapping_add(1);
        let hops = (1..8).filter(|n| *n == 1 + changes % 7 || changes >> (n + 3) & 1 == 1);
        // Entries of its own in between take the numbers of hops that were let go.
        let other = writer.create_next_hop(&Decision::Via(vec![(hop(100 + changes % 900), 1)]));
        match writer.set_next_hop(id, &Decision::Via(hops.map(|n| (hop(n), u32::from(n))).collect())) {
            Ok(()) | Err(FibError::ArenaFull) => {}
            Err(error) => panic!("{error}"),
        }
        if let Ok(other) = other {
            writer.remove_next_hop(other);
        }
    }
    done.store(true, Ordering::Relaxed);
    worker.join().unwrap();
}
