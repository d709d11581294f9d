//! What the guest's router costs a frame, without the ports' share: a burst goes in, is staged by output, is taken out.
//!
//! `cargo bench -p pointsman-dataplane --bench router`; the time shown for an iteration is that of a burst of 64, and
//! the throughput that of frames. Every frame's headers are written anew before each round, as a port would when it
//! copies a frame in: "no router" is that and the staging alone, to be taken off the others.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

mod cpu_time;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cpu_time::time;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use pointsman_dataplane::forward::{Forward, Outputs};
use pointsman_dataplane::frame::{BURST, Burst, Frame};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::router::{InterfaceAddress, InterfaceConfig, Router, RouterConfig};
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_dataplane::wire::{arp, ipv4, ipv6, ndisc};

const IN: PortId = PortId(0);
const OUT: PortId = PortId(1);
const NOW: Nanos = Nanos::from_secs(1);
const ROUTER: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
const NEIGHBOUR: Mac = Mac([2, 0, 0, 0, 0, 9]);
const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);

fn ethernet(destination: Mac, ethertype: u16, packet: &[u8], len: usize) -> Vec<u8> {
    let mut frame = [&destination.0[..], &NEIGHBOUR.0, &ethertype.to_be_bytes(), packet].concat();
    frame.resize(len.max(frame.len()), 0);
    frame
}

fn v4(destination: Ipv4Addr, ttl: u8, len: usize) -> Vec<u8> {
    let length = (len - 14) as u16;
    let header =
        ipv4::Header { tos: 0, length, ident: 1, fragment: 0, ttl, protocol: 17, source: SOURCE_V4, destination };
    ethernet(ROUTER[0], 0x0800, &header.emit(), len)
}

fn v6(destination: Ipv6Addr, len: usize) -> Vec<u8> {
    let length = (len - 54) as u16;
    let header = ipv6::Header { class: 0, flow: 0, length, next: 17, hop_limit: 64, source: SOURCE_V6, destination };
    ethernet(ROUTER[0], 0x86dd, &header.emit(), len)
}

/// A destination behind the gateway.
fn far_v4(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a02_0000 + n as u32)
}

fn far_v6(n: usize) -> Ipv6Addr {
    Ipv6Addr::from_bits(0x2001_0db8_0002 << 80 | n as u128)
}

struct Rig {
    router: Router,
    pool: Pool,
    out: Outputs,
}

impl Rig {
    /// A router between two networks, with a gateway that it knows.
    fn new() -> Self {
        let address = |text: &str, length| InterfaceAddress { address: text.parse().expect("an address"), length };
        let interface = |n: usize, v4, v6| InterfaceConfig {
            mac: ROUTER[n],
            mtu: 1500,
            addresses: vec![address(v4, 24), address(v6, 64)],
        };
        let route = |text: &str| text.parse().expect("a route");
        let config = RouterConfig {
            interfaces: vec![interface(0, "10.0.0.1", "2001:db8::1"), interface(1, "10.0.1.1", "2001:db8:1::1")],
            routes: vec![route("10.2.0.0/16,via=10.0.1.2"), route("2001:db8:2::/48,via=2001:db8:1::2")],
        };
        let router = Router::new(config).expect("a router");
        let mut rig = Self {
            router,
            pool: Pool::new(16_384).expect("frame memory"),
            out: Outputs::new((0..2).map(|_| Default::default()).collect()),
        };
        for (port, v4, v6) in [(0, SOURCE_V4, SOURCE_V6), (1, GATEWAY_V4, GATEWAY_V6)] {
            rig.meet(port, v4, v6);
        }
        rig
    }

    /// Lets the router learn the neighbour at a port, which asks for it.
    fn meet(&mut self, port: usize, v4: Ipv4Addr, v6: Ipv6Addr) {
        let [target_v4, target_v6]: [IpAddr; 2] = match port {
            0 => [Ipv4Addr::new(10, 0, 0, 1).into(), Ipv6Addr::from_bits(SOURCE_V6.to_bits() - 1).into()],
            _ => [Ipv4Addr::new(10, 0, 1, 1).into(), Ipv6Addr::from_bits(GATEWAY_V6.to_bits() - 1).into()],
        };
        let (IpAddr::V4(target_v4), IpAddr::V6(target_v6)) = (target_v4, target_v6) else { return };
        let request = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: NEIGHBOUR,
            sender: v4,
            target_mac: Mac::default(),
            target: target_v4,
        };
        let group = ndisc::solicited_node(target_v6);
        let message = ndisc::Message::emit(ndisc::Kind::Solicitation, target_v6, NEIGHBOUR, v6, group);
        let header =
            ipv6::Header { class: 0, flow: 0, length: 32, next: 58, hop_limit: 255, source: v6, destination: group };
        let mut burst = Burst::new();
        for frame in [
            ethernet(Mac::BROADCAST, 0x0806, &request.emit(), 60),
            ethernet(ndisc::multicast_mac(group), 0x86dd, &[&header.emit()[..], &message].concat(), 60),
        ] {
            burst.push(self.pool.frame_from(&frame).expect("a free chunk"));
        }
        self.router.forward(&mut self.pool, PortId(port as u16), &mut burst, &mut self.out, NOW);
        self.out.drain(|_, burst| self.pool.free_all(burst.drain(..)));
    }

    /// Forwards frames with these headers again and again, and checks that they leave as they should.
    fn measure(mut self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, templates: &[Vec<u8>], leaves: bool) {
        let mut frames: Vec<Frame> =
            templates.iter().map(|bytes| self.pool.frame_from(bytes).expect("a free chunk")).collect();
        let mut next = 0;
        let mut burst = Burst::new();
        let mut lost = 0;
        group.bench_function(name, |b| {
            time(b, || {
                for _ in 0..BURST {
                    let Some(mut frame) = frames.pop() else { break };
                    refresh(&mut self.pool, &mut frame, &templates[next]);
                    next = (next + 1) % templates.len();
                    burst.push(frame);
                }
                self.router.forward(&mut self.pool, black_box(IN), &mut burst, &mut self.out, NOW);
                let before = frames.len();
                let pool = &mut self.pool;
                self.out.drain(|port, burst| match port {
                    OUT => frames.extend(burst.drain(..)),
                    _ => pool.free_all(burst.drain(..)),
                });
                // What was dropped, perhaps with an error to its sender, is made anew.
                for _ in frames.len() - before..BURST {
                    lost += 1;
                    frames.push(self.pool.frame_from(&templates[0]).expect("a free chunk"));
                }
            });
        });
        assert_eq!(lost == 0, leaves, "{name}");
    }
}

/// Writes the headers of a frame anew.
fn refresh(pool: &mut Pool, frame: &mut Frame, template: &[u8]) {
    if let (Some(to), Some(from)) = (pool.head_mut(frame).first_chunk_mut::<60>(), template.first_chunk::<60>()) {
        *to = *from;
    }
}

fn router(c: &mut Criterion) {
    let mut group = c.benchmark_group("router");
    group.throughput(Throughput::Elements(BURST as u64));

    let mut rig = Rig::new();
    let template = v4(far_v4(1), 64, 60);
    let mut frames: Vec<Frame> = (0..BURST).map(|_| rig.pool.frame_from(&template).expect("a free chunk")).collect();
    let mut burst = Burst::new();
    group.bench_function("no router: headers and staging alone", |b| {
        time(b, || {
            for mut frame in frames.drain(..) {
                refresh(&mut rig.pool, &mut frame, &template);
                burst.push(frame);
            }
            for frame in burst.drain(..) {
                rig.out.send(black_box(OUT), frame);
            }
            rig.out.drain(|_, burst| frames.extend(burst.drain(..)));
        });
    });

    let many = |n: usize, template: &dyn Fn(usize) -> Vec<u8>| (0..n.max(BURST)).map(|i| template(i % n)).collect();
    let one_v4: Vec<_> = many(1, &|n| v4(far_v4(n), 64, 60));
    Rig::new().measure(&mut group, "IPv4, 64 B, one flow", &one_v4, true);
    let flows_v4: Vec<_> = many(512, &|n| v4(far_v4(n), 64, 60));
    Rig::new().measure(&mut group, "IPv4, 64 B, 512 flows", &flows_v4, true);
    let long_v4: Vec<_> = many(1, &|n| v4(far_v4(n), 64, 1514));
    Rig::new().measure(&mut group, "IPv4, 1500 B, one flow", &long_v4, true);
    let one_v6: Vec<_> = many(1, &|n| v6(far_v6(n), 62));
    Rig::new().measure(&mut group, "IPv6, 64 B, one flow", &one_v6, true);
    let flows_v6: Vec<_> = many(512, &|n| v6(far_v6(n), 62));
    Rig::new().measure(&mut group, "IPv6, 64 B, 512 flows", &flows_v6, true);
    // More destinations than the cache has room for: nearly every frame takes the slow path.
    let scan: Vec<_> = many(8192, &|n| v4(far_v4(n), 64, 60));
    Rig::new().measure(&mut group, "IPv4, 64 B, 8192 destinations", &scan, true);
    let expired: Vec<_> = many(1, &|n| v4(far_v4(n), 1, 60));
    Rig::new().measure(&mut group, "IPv4, time to live used up, errors rationed", &expired, false);
    group.finish();
}

criterion_group!(benches, router);
criterion_main!(benches);
