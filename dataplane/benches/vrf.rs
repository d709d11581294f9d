//! What a VRF costs a frame, without the ports' share: a burst goes in, is looked up and staged by output, is taken out.
//!
//! `cargo bench -p pointsman-dataplane --bench vrf`; the time shown for an iteration is that of a burst of 64, and the
//! throughput that of frames. Headers are written anew before each round, as a port would when it copies a frame in:
//! "no VRF" is that and the staging alone, to be taken off the others. Destinations are drawn over all routes, in an order
//! without pattern, anew for every frame: what a cache would remember is of no use. "Between domains": both interfaces are
//! stations in bridge domains of one port each, so every frame is bridged, routed, and bridged again.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

mod cpu_time;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use cpu_time::time;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use pointsman_dataplane::bridge::{Bridge, Domain, DomainId, Fdb, Member, Table};
use pointsman_dataplane::fib::{Arena, ArenaConfig, FibConfig};
use pointsman_dataplane::forward::{Forward, Outputs};
use pointsman_dataplane::frame::{BURST, Burst, Frame};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::prefix::Prefix;
use pointsman_dataplane::rib::{Action, Change, Hop, InterfaceId, Origin, Rib, RibConfig, Route};
use pointsman_dataplane::router::{InterfaceAddress, InterfaceConfig};
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_dataplane::vrf::{Board, Place, PuntRate, SourceCheck, Switch, Target, Vrf, VrfInterface};
use pointsman_dataplane::wire::{arp, ipv4, ipv6};

const NOW: Nanos = Nanos::from_secs(1);
/// Of routers that share both links.
const ROUTERS: u8 = 100;
const NEIGHBOUR: Mac = Mac([2, 0, 0, 0, 0, 9]);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const GATEWAYS: u8 = 16;

/// Numbers without pattern (xorshift).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The Ethernet address of a router's interface on link `n`.
fn own(router: u8, n: u8) -> Mac {
    Mac([2, 0, 0, router, 0, n + 1])
}

fn ethernet(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [&own(0, 0).0[..], &NEIGHBOUR.0, &ethertype.to_be_bytes(), packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn packet_v4(destination: u32) -> Vec<u8> {
    let destination = Ipv4Addr::from_bits(destination);
    let header =
        ipv4::Header { tos: 0, length: 46, ident: 1, fragment: 0, ttl: 64, protocol: 17, source: SOURCE, destination };
    ethernet(0x0800, &header.emit())
}

fn packet_v6(destination: u128) -> Vec<u8> {
    let (source, destination) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9), Ipv6Addr::from_bits(destination));
    let header = ipv6::Header { class: 0, flow: 0, length: 6, next: 17, hop_limit: 64, source, destination };
    ethernet(0x86dd, &header.emit())
}

/// The same frame to another router.
fn to(router: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&own(router, 0).0);
    frame
}

struct Rig {
    switch: Switch,
    ribs: Vec<Rib>,
    pool: Pool,
    out: Outputs,
}

impl Rig {
    /// VRFs between two networks, told apart by their Ethernet addresses if there are several, with sixteen gateways that
    /// all of them know. Their interfaces are ports 0 and 1, or stations in bridge domains that have these.
    fn new(routers: u8, bridged: bool) -> Self {
        let arena = Arena::new(ArenaConfig::default()).expect("memory");
        // Two ports, then for each domain its station and the way back.
        let mut places = vec![Place::default(); 6];
        let mut members = vec![Member::default(); 6];
        let mut domains = Vec::new();
        let (mut ribs, mut vrfs) = (Vec::new(), Vec::new());
        for router in 0..routers {
            let rib = connected(&arena);
            let interfaces = [0, 1].map(|n| interface(router, n, bridged));
            vrfs.push(Vrf::new(&interfaces, rib.fib().clone(), PuntRate::DEFAULT, Arc::new(Board::default())).0);
            for n in 0..2u8 {
                let (at, mac) = (usize::from(n), own(router, n));
                let target = Target { vrf: router.into(), interface: InterfaceId(n.into()), mac };
                if !bridged {
                    places[at].add(None, target);
                    continue;
                }
                places[2 + 2 * at] = Place::Station(target);
                places[3 + 2 * at] = Place::Domain(PortId(2 + 2 * u16::from(n)));
                let native = Some(DomainId(n.into()));
                members[at].native = native;
                members[2 + 2 * at] = Member { native, macs: vec![mac], ..Member::default() };
                domains.push(Domain { name: format!("d{n}"), age: Nanos::from_secs(300), max_learned: 64 });
            }
            ribs.push(rib);
        }
        let table = Table::build(&members, &domains).expect("a table");
        let bridge = Bridge::new(Arc::new(ArcSwap::from_pointee(table)), Arc::new(Fdb::new(&domains)));
        let switch = Switch::new(bridge, vrfs, places, arena.reader());
        let out = Outputs::new((0..6).map(|_| Default::default()).collect());
        let mut rig = Self { switch, ribs, pool: Pool::new(16_384).expect("frame memory"), out };
        for n in 0..GATEWAYS {
            let request = arp::Packet {
                operation: arp::Operation::Request,
                sender_mac: Mac([2, 0, 0, 0, 1, n]),
                sender: Ipv4Addr::new(10, 0, 1, 100 + n),
                target_mac: Mac::default(),
                target: Ipv4Addr::new(10, 0, 1, 1),
            };
            let mut frame = ethernet(0x0806, &request.emit());
            frame[..6].fill(0xff);
            let mut burst = Burst::new();
            burst.push(rig.pool.frame_from(&frame).expect("a chunk"));
            rig.switch.forward(&mut rig.pool, PortId(1), &mut burst, &mut rig.out, NOW);
            rig.out.drain(|_, burst| rig.pool.free_all(burst.drain(..)));
        }
        rig
    }

    fn route(&mut self, router: u8, network: IpAddr, length: u8, gateway: u64) {
        let gateway = Ipv4Addr::new(10, 0, 1, 100 + (gateway % u64::from(GATEWAYS)) as u8);
        let prefix = Prefix::of(network, length).expect("a prefix");
        let hop = Hop { gateway: Some(gateway.into()), interface: Some(InterfaceId(1)), weight: 1 };
        let route = Route { prefix, metric: 0, action: Action::Via(vec![hop]) };
        self.ribs[usize::from(router)].apply(Origin::Static, Change::Replace(route)).expect("room");
    }

    fn measure(mut self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, templates: &[Vec<u8>]) {
        let mut frames: Vec<Frame> =
            (0..BURST).map(|_| self.pool.frame_from(&templates[0]).expect("a free chunk")).collect();
        let (mut next, mut burst, mut lost) = (0, Burst::new(), 0);
        group.bench_function(name, |b| {
            time(b, || {
                for mut frame in frames.drain(..) {
                    refresh(&mut self.pool, &mut frame, &templates[next % templates.len()]);
                    next += 1;
                    burst.push(frame);
                }
                self.switch.forward(&mut self.pool, black_box(PortId(0)), &mut burst, &mut self.out, NOW);
                let pool = &mut self.pool;
                self.out.drain(|port, burst| match port {
                    PortId(1) => frames.extend(burst.drain(..)),
                    _ => pool.free_all(burst.drain(..)),
                });
                for _ in frames.len()..BURST {
                    lost += 1;
                    frames.push(self.pool.frame_from(&templates[0]).expect("a free chunk"));
                }
            });
        });
        assert_eq!(lost, 0, "{name}");
    }
}

/// A router's routes: both networks, and its addresses in them.
fn connected(arena: &Arc<Arena>) -> Rib {
    let config = RibConfig { max_routes: 2_000_000, interfaces: 2, fib: FibConfig::default() };
    let mut rib = Rib::new(arena, config).expect("tables");
    for n in 0..2u8 {
        let hop = Hop { gateway: None, interface: Some(InterfaceId(n.into())), weight: 1 };
        let address = Ipv4Addr::new(10, 0, n, 1).into();
        for (length, action) in [(24, Action::Via(vec![hop])), (32, Action::Local)] {
            let prefix = Prefix::of(address, length).expect("a prefix");
            rib.apply(Origin::Connected, Change::Replace(Route { prefix, metric: 0, action })).expect("room");
        }
    }
    rib
}

fn interface(router: u8, n: u8, bridged: bool) -> VrfInterface {
    VrfInterface {
        config: InterfaceConfig {
            mac: own(router, n),
            mtu: 1500,
            addresses: vec![InterfaceAddress { address: Ipv4Addr::new(10, 0, n, 1).into(), length: 24 }],
        },
        port: PortId(if bridged { 3 + 2 * u16::from(n) } else { n.into() }),
        vlan: None,
        punt: None,
        check: SourceCheck::Off,
        vrrp: Vec::new(),
    }
}

fn refresh(pool: &mut Pool, frame: &mut Frame, template: &[u8]) {
    if let (Some(to), Some(from)) = (pool.head_mut(frame).first_chunk_mut::<60>(), template.first_chunk::<60>()) {
        *to = *from;
    }
}

fn vrf(c: &mut Criterion) {
    let mut group = c.benchmark_group("vrf");
    group.throughput(Throughput::Elements(BURST as u64));

    let mut rig = Rig::new(1, false);
    let templates: Vec<_> = (0..65_536).map(|n| packet_v4(0x1400_0000 + n)).collect();
    let mut frames: Vec<Frame> = (0..BURST).map(|_| rig.pool.frame_from(&templates[0]).expect("a chunk")).collect();
    let (mut next, mut burst) = (0, Burst::new());
    group.bench_function("no VRF: headers and staging alone", |b| {
        time(b, || {
            for mut frame in frames.drain(..) {
                refresh(&mut rig.pool, &mut frame, &templates[next % templates.len()]);
                next += 1;
                burst.push(frame);
            }
            for frame in burst.drain(..) {
                rig.out.send(black_box(PortId(1)), frame);
            }
            rig.out.drain(|_, burst| frames.extend(burst.drain(..)));
        });
    });

    for (routes, bridged) in [(1usize, false), (1_000, false), (1_000_000, false), (1, true), (1_000_000, true)] {
        let mut rig = Rig::new(1, bridged);
        let mut draw = Draw(0x1234_5678_9abc_def1);
        let mut prefixes = Vec::new();
        for _ in 0..routes {
            // As in a full table: most are /24, some longer, the rest shorter.
            let number = draw.next();
            let length = [24, 24, 24, 24, 24, 24, 23, 22, 20, 19, 16, 28, 24, 24, 22, 24][(number >> 60) as usize];
            let address = (number as u32) % 0xc000_0000 + 0x0b00_0000;
            // 127/8 is no place to send to.
            let address = if address >> 24 == 127 { address - (1 << 24) } else { address };
            rig.route(0, Ipv4Addr::from_bits(address).into(), length, number >> 40);
            prefixes.push(address);
        }
        let templates: Vec<_> =
            (0..65_536).map(|_| packet_v4(prefixes[(draw.next() % routes as u64) as usize])).collect();
        let between = if bridged { ", between domains" } else { "" };
        rig.measure(&mut group, &format!("IPv4, 64 B, {routes} routes{between}"), &templates);
    }
    // The same frames with one route, but each next one is for another router on the link.
    for routers in [2, 8, ROUTERS] {
        let mut rig = Rig::new(routers, false);
        let network = Ipv4Addr::new(20, 0, 0, 0);
        (0..routers).for_each(|router| rig.route(router, network.into(), 8, router.into()));
        let one = |n: u32| to((n % u32::from(routers)) as u8, packet_v4(network.to_bits() + n));
        let templates: Vec<_> = (0..65_536).map(one).collect();
        rig.measure(&mut group, &format!("IPv4, 64 B, 1 route each, {routers} routers share the link"), &templates);
    }
    for routes in [1usize, 200_000] {
        let mut rig = Rig::new(1, false);
        let mut draw = Draw(0x1234_5678_9abc_def1);
        let mut prefixes = Vec::new();
        for _ in 0..routes {
            let number = draw.next();
            let length = [48, 48, 32, 40, 44, 48, 29, 64][(number >> 61) as usize];
            let address = 0x2001 << 112 | u128::from(number & 0xffff_ffff_ffff) << 64 | 1;
            rig.route(0, Ipv6Addr::from_bits(address).into(), length, number >> 40);
            prefixes.push(address);
        }
        let templates: Vec<_> =
            (0..65_536).map(|_| packet_v6(prefixes[(draw.next() % routes as u64) as usize])).collect();
        rig.measure(&mut group, &format!("IPv6, 64 B, {routes} routes"), &templates);
    }
    group.finish();
}

criterion_group!(benches, vrf);
criterion_main!(benches);
