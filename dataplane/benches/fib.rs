//! What a look-up costs, beside DPDK's tables and the crates for longest-prefix match, and what a change does.
//!
//! `cargo bench -p pointsman-dataplane --bench fib [-- PART... [SIZE]]` with the parts `lookup`, `ipv6`, `vrfs`, `update`; all
//! without. With a size only the look-ups among so many routes. Destinations are drawn over all of the routes. All contenders look the same destinations up, in turn, several
//! rounds; shown are the median of the rounds and the least and most. Times are CPU time of the thread, but for DPDK's,
//! whose own program counts cycles.

mod cpu_time;
mod lpm;

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cpu_time::thread_time;
use lpm::dpdk::Dpdk;
use lpm::{Random, destinations_v4, destinations_v6, peers, routes_v4, routes_v6};
use pointsman_dataplane::fib::{Arena, ArenaConfig, BURST, Fib, FibConfig};
use pointsman_dataplane::prefix::Prefix;
use pointsman_dataplane::rib::{Action, Change, Hop, InterfaceId, Origin, Rib, RibConfig, Route};

const ROUNDS: usize = 7;
const LOOK_UPS: usize = 1 << 20;
const FEED: Origin = Origin::Feed(0);
const SIZES: [usize; 3] = [1, 1_000, 1_000_000];

/// Figures of one contender.
struct Row {
    name: String,
    rounds: Vec<f64>,
}

fn show(title: &str, unit: &str, rows: &mut [Row]) {
    println!("{title}");
    for Row { name, rounds } in rows {
        rounds.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (rounds.first(), rounds.last()) else { continue };
        println!("  {name:<44} {:>9.2} {unit}   ({least:.2} to {most:.2})", rounds[rounds.len() / 2]);
    }
}

/// Nanoseconds of CPU for each of `n`.
fn nanos(n: usize, work: impl FnOnce()) -> f64 {
    let before = thread_time();
    work();
    (thread_time() - before).as_nanos() as f64 / n as f64
}

fn rib(arena: &Arc<Arena>, growth: Option<u32>) -> Rib {
    let fib = FibConfig::default();
    let fib = FibConfig { growth: growth.unwrap_or(fib.growth), ..fib };
    Rib::new(arena, RibConfig { max_routes: 2_000_000, interfaces: 64, fib }).expect("a VRF")
}

fn arena() -> Arc<Arena> {
    Arena::new(ArenaConfig::default()).expect("address space")
}

fn route(prefix: Option<Prefix>, n: usize) -> Change {
    let hop = Hop {
        gateway: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
        interface: Some(InterfaceId(n as u16 % 64)),
        weight: 1,
    };
    Change::Replace(Route { prefix: prefix.expect("a prefix"), metric: 20, action: Action::Via(vec![hop]) })
}

fn v4(&(network, length): &(u32, u8)) -> Option<Prefix> {
    Prefix::new(Ipv4Addr::from_bits(network).into(), length)
}

fn v6(&(network, length): &(u128, u8)) -> Option<Prefix> {
    Prefix::new(Ipv6Addr::from_bits(network).into(), length)
}

fn load(rib: &mut Rib, prefixes: impl Iterator<Item = Option<Prefix>>) {
    for (n, prefix) in prefixes.enumerate() {
        rib.apply(FEED, route(prefix, n)).expect("room for a route");
    }
}

fn burst(fib: &Fib, destinations: &[u32]) {
    let mut next_hops = [0; BURST];
    for destinations in destinations.chunks(BURST) {
        fib.lookup_v4_burst(destinations, &mut next_hops);
        black_box(&next_hops);
    }
}

fn burst_and_hop(fib: &Fib, destinations: &[u32]) {
    let mut next_hops = [0; BURST];
    for destinations in destinations.chunks(BURST) {
        fib.lookup_v4_burst(destinations, &mut next_hops);
        for (destination, next_hop) in destinations.iter().zip(next_hops) {
            black_box(fib.verdict(next_hop, *destination));
        }
    }
}

fn one_by_one(fib: &Fib, destinations: &[u32]) {
    black_box(destinations.iter().map(|a| u64::from(fib.lookup_v4(*a))).sum::<u64>());
}

fn look_up(asked: Option<usize>) {
    for size in SIZES.into_iter().filter(|size| asked.is_none_or(|asked| asked == *size)) {
        let mut random = Random(7);
        let routes = routes_v4(size, &mut random);
        let destinations = destinations_v4(&routes, LOOK_UPS, &mut random);
        let arena = arena();
        let mut ribs = [
            ("", rib(&arena, None)),
            (", first level of 16 bits", rib(&arena, Some(u32::MAX))),
            (", of 24 bits", rib(&arena, Some(0))),
        ];
        ribs.iter_mut().for_each(|(_, rib)| load(rib, routes.iter().map(v4)));
        let peers = peers::all(&routes);
        let dpdk = Dpdk::new(&routes, &destinations);
        let mut rows: Vec<Row> = Vec::new();
        let mut note = |name: String, value: f64| match rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.rounds.push(value),
            None => rows.push(Row { name, rounds: vec![value] }),
        };
        let mut failed = None;
        for _ in 0..ROUNDS {
            for (name, rib) in &ribs {
                let fib = rib.fib();
                note(format!("Pointsman, bursts of {BURST}{name}"), nanos(LOOK_UPS, || burst(fib, &destinations)));
            }
            let fib = ribs[0].1.fib();
            note(
                "Pointsman, bursts, with the choice of the hop".into(),
                nanos(LOOK_UPS, || burst_and_hop(fib, &destinations)),
            );
            note("Pointsman, one by one".into(), nanos(LOOK_UPS, || one_by_one(fib, &destinations)));
            if let Ok(dpdk) = &dpdk {
                match dpdk.run() {
                    Ok((look_up, add)) => {
                        note("DPDK DIR24_8".into(), look_up);
                        note("  a route added to it".into(), add);
                    }
                    Err(why) => failed = Some(why),
                }
            }
            for peer in &peers {
                note(
                    peer.name().into(),
                    nanos(LOOK_UPS, || {
                        black_box(peer.look_up(&destinations));
                    }),
                );
            }
        }
        show(&format!("IPv4, {size} routes, {LOOK_UPS} destinations drawn over them"), "ns", &mut rows);
        match &dpdk {
            Ok(dpdk) => println!("  (DPDK's memory on {})", dpdk.pages),
            Err(why) => println!("  DPDK skipped: {why}"),
        }
        if let Some(why) = failed {
            println!("  DPDK failed: {why}");
        }
    }
}

fn look_up_v6(asked: Option<usize>) {
    for size in [1, 1_000, 200_000, 1_000_000].into_iter().filter(|size| asked.is_none_or(|asked| asked == *size)) {
        let mut random = Random(7);
        let routes = routes_v6(size, &mut random);
        let destinations = destinations_v6(&routes, LOOK_UPS, &mut random);
        let arena = arena();
        let mut rib = rib(&arena, None);
        load(&mut rib, routes.iter().map(v6));
        let (mut bursts, mut singles) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bursts.push(nanos(LOOK_UPS, || {
                let mut next_hops = [0; BURST];
                for destinations in destinations.chunks(BURST) {
                    rib.fib().lookup_v6_burst(destinations, &mut next_hops);
                    black_box(&next_hops);
                }
            }));
            singles.push(nanos(LOOK_UPS, || {
                black_box(destinations.iter().map(|a| u64::from(rib.fib().lookup_v6(*a))).sum::<u64>());
            }));
        }
        let mut rows = [
            Row { name: format!("Pointsman, bursts of {BURST}"), rounds: bursts },
            Row { name: "Pointsman, one by one".into(), rounds: singles },
        ];
        show(&format!("IPv6, {size} routes"), "ns", &mut rows);
        println!("  table: {} MiB", rib.stats().fib.bytes >> 20);
    }
}

/// The same number of routes in one VRF and spread over a hundred, bursts to each in turn.
fn vrfs(_: Option<usize>) {
    for size in [100, 10_000, 1_000_000] {
        let mut random = Random(7);
        let routes = routes_v4(size, &mut random);
        let mut rows = Vec::new();
        let before = resident();
        let mut tables = Vec::new();
        for count in [1, 100] {
            let arena = arena();
            let mut all: Vec<(Rib, Vec<u32>)> = Vec::new();
            for part in routes.chunks(size / count) {
                let mut rib = rib(&arena, None);
                load(&mut rib, part.iter().map(v4));
                all.push((rib, destinations_v4(part, LOOK_UPS / count, &mut random)));
            }
            rows.push(Row { name: format!("{count} VRFs, {} routes each", size / count), rounds: Vec::new() });
            tables.push((arena, all));
        }
        for _ in 0..ROUNDS {
            for ((_, all), row) in tables.iter().zip(&mut rows) {
                let bursts = LOOK_UPS / BURST / all.len();
                row.rounds.push(nanos(bursts * all.len() * BURST, || {
                    for n in 0..bursts {
                        for (rib, destinations) in all {
                            burst(rib.fib(), destinations.get(n * BURST..(n + 1) * BURST).unwrap_or_default());
                        }
                    }
                }));
            }
        }
        show(&format!("IPv4, {size} routes in all"), "ns", &mut rows);
        println!("  memory of both layouts, routes and tables: {} MiB", (resident() - before) >> 20);
    }
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn update(_: Option<usize>) {
    let mut random = Random(7);
    let v4_routes = routes_v4(1_000_000, &mut random);
    let v6_routes = routes_v6(1_000_000, &mut random);
    for (name, prefixes) in
        [("IPv4", v4_routes.iter().map(v4).collect::<Vec<_>>()), ("IPv6", v6_routes.iter().map(v6).collect())]
    {
        let mut rows: Vec<Row> = ["load, in no order", "withdraw, in no order", "load, sorted", "say again and sweep"]
            .map(|name| Row { name: format!("{name}: 1,000,000 routes"), rounds: Vec::new() })
            .into();
        let mut sorted = prefixes.clone();
        sorted.sort();
        let mut memory = None;
        for _ in 0..3 {
            let before = resident();
            let arena = arena();
            let mut rib = rib(&arena, None);
            rows[0].rounds.push(nanos(1_000_000, || load(&mut rib, prefixes.iter().copied())));
            memory.get_or_insert((resident() - before, rib.stats()));
            rows[1].rounds.push(nanos(1_000_000, || {
                for prefix in &prefixes {
                    rib.apply(FEED, Change::Delete(prefix.expect("a prefix"), None)).expect("it is there");
                }
            }));
            rows[2].rounds.push(nanos(1_000_000, || load(&mut rib, sorted.iter().copied())));
            rows[3].rounds.push(nanos(1_000_000, || {
                rib.begin_sync(FEED);
                load(&mut rib, sorted.iter().copied());
                assert_eq!(rib.end_sync(FEED), 0);
            }));
        }
        rows.iter_mut().for_each(|row| row.rounds.iter_mut().for_each(|value| *value /= 1000.0));
        show(name, "s", &mut rows);
        if let Some((resident, stats)) = memory {
            let mib = |bytes: usize| bytes >> 20;
            println!(
                "  memory: {} MiB resident ({} MiB routes, {} MiB table)",
                mib(resident),
                mib(stats.bytes),
                mib(stats.fib.bytes)
            );
        }
    }
    flap(&v4_routes, &mut random);
}

/// Routes that go and come back, while a worker looks up.
fn flap(routes: &[(u32, u8)], random: &mut Random) {
    const FLAPS: usize = 200_000;
    let arena = arena();
    let mut rib = rib(&arena, None);
    load(&mut rib, routes.iter().map(v4));
    let destinations = destinations_v4(routes, LOOK_UPS, random);
    let (stop, looked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let worker = {
        let (fib, mut reader, stop, looked) = (rib.fib().clone(), arena.reader(), stop.clone(), looked.clone());
        std::thread::spawn(move || {
            reader.online();
            for destinations in destinations.chunks(BURST).cycle() {
                burst(&fib, destinations);
                reader.quiescent();
                looked.fetch_add(BURST as u64, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        })
    };
    let mut rows = vec![
        Row { name: "withdrawn and announced again, a worker looking up".into(), rounds: Vec::new() },
        Row { name: "moved to another next hop".into(), rounds: Vec::new() },
    ];
    for _ in 0..ROUNDS {
        let per_change = nanos(2 * FLAPS, || {
            for _ in 0..FLAPS {
                let n = random.below(routes.len());
                let prefix = v4(&routes[n]);
                rib.apply(FEED, Change::Delete(prefix.expect("a prefix"), None)).expect("it is there");
                rib.apply(FEED, route(prefix, n)).expect("room");
            }
        });
        rows[0].rounds.push(1000.0 / per_change);
        let per_change = nanos(FLAPS, || {
            for round in 0..FLAPS {
                let n = random.below(routes.len());
                rib.apply(FEED, route(v4(&routes[n]), n + 1 + round % 60)).expect("room");
            }
        });
        rows[1].rounds.push(1000.0 / per_change);
    }
    stop.store(true, Ordering::Relaxed);
    let _ = worker.join();
    show("Changes with 1,000,000 IPv4 routes", "million/s", &mut rows);
    println!("  look-ups meanwhile: {} million", looked.load(Ordering::Relaxed) / 1_000_000);
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let (sizes, parts): (Vec<_>, Vec<_>) = asked.iter().partition(|arg| arg.parse::<usize>().is_ok());
    let size = sizes.first().and_then(|size| size.parse().ok());
    for (name, part) in [("lookup", look_up as fn(_)), ("ipv6", look_up_v6), ("vrfs", vrfs), ("update", update)] {
        if parts.is_empty() || parts.iter().any(|wanted| *wanted == name) {
            part(size);
        }
    }
}
