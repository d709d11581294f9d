//! The guest's router allocates nothing for a frame, whatever the frame is. An allocator that counts says so.

mod counting;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use counting::calls;
use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::forward::{Forward, Outputs};
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Counters;
use pointsman_dataplane::router::{InterfaceAddress, InterfaceConfig, Router, RouterConfig};
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_dataplane::wire::{arp, ipv4, ipv6, ndisc};

const ROUTER: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
const HOST: Mac = Mac([2, 0, 0, 0, 0, 9]);
const HERE_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const HERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const THERE_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const THERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
const OWN_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 1, 1)];
const OWN_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)];

fn ethernet(to: Mac, ethertype: u16, parts: &[&[u8]]) -> Vec<u8> {
    let mut frame = [&to.0[..], &HOST.0, &ethertype.to_be_bytes(), &parts.concat()].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn v4(to: Ipv4Addr, ttl: u8, protocol: u8, data: &[u8]) -> Vec<u8> {
    let length = (20 + data.len()) as u16;
    let source = HERE_V4;
    let header = ipv4::Header { tos: 0, length, ident: 1, fragment: 0, ttl, protocol, source, destination: to };
    ethernet(ROUTER[0], 0x0800, &[&header.emit(), data])
}

fn v6(mac: Mac, from: Ipv6Addr, to: Ipv6Addr, hop_limit: u8, next: u8, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    let header = ipv6::Header { class: 0, flow: 0, length, next, hop_limit, source: from, destination: to };
    ethernet(mac, 0x86dd, &[&header.emit(), data])
}

/// A neighbour asks for the router at a port.
fn introductions(port: usize) -> [Vec<u8>; 2] {
    let (from_v4, from_v6) = if port == 0 { (HERE_V4, HERE_V6) } else { (THERE_V4, THERE_V6) };
    let request = arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: HOST,
        sender: from_v4,
        target_mac: Mac::default(),
        target: OWN_V4[port],
    };
    let group = ndisc::solicited_node(OWN_V6[port]);
    let message = ndisc::Message::emit(ndisc::Kind::Solicitation, OWN_V6[port], HOST, from_v6, group);
    [
        ethernet(Mac::BROADCAST, 0x0806, &[&request.emit()]),
        v6(ndisc::multicast_mac(group), from_v6, group, 255, 58, &message),
    ]
}

struct Rig {
    router: Router,
    pool: Pool,
    out: Outputs,
    counters: Vec<Arc<Counters>>,
}

fn rig() -> Rig {
    let interface = |n: usize, mtu| InterfaceConfig {
        mac: ROUTER[n],
        mtu,
        addresses: vec![
            InterfaceAddress { address: OWN_V4[n].into(), length: 24 },
            InterfaceAddress { address: OWN_V6[n].into(), length: 64 },
        ],
    };
    let config = RouterConfig { interfaces: vec![interface(0, 9000), interface(1, 1400)], routes: vec![] };
    let counters: Vec<Arc<Counters>> = (0..2).map(|_| Arc::default()).collect();
    Rig {
        router: Router::new(config).expect("a router"),
        pool: Pool::new(4096).expect("frame memory"),
        out: Outputs::new(counters.clone()),
        counters,
    }
}

/// Forwards bursts made of `frames` and frees what leaves; how many frames left.
fn run(rig: &mut Rig, input: PortId, frames: &[Vec<u8>], rounds: std::ops::Range<u64>) -> u64 {
    let mut burst = Burst::new();
    let mut left = 0;
    for n in rounds {
        for bytes in frames.iter().cycle().take(BURST) {
            burst.push(rig.pool.frame_from(bytes).expect("a free chunk"));
        }
        let now = Nanos::from_millis(100 * n);
        rig.router.forward(&mut rig.pool, input, &mut burst, &mut rig.out, now);
        rig.router.tick(&mut rig.pool, &mut rig.out, now);
        rig.out.drain(|_, burst| {
            left += burst.len() as u64;
            rig.pool.free_all(burst.drain(..));
        });
    }
    left
}

#[test]
fn the_router_allocates_nothing_whatever_comes() {
    let mut rig = rig();
    let udp = |to, ttl, len| v4(to, ttl, 17, &vec![0; len]);
    let udp_v6 = |to, hop_limit, len| v6(ROUTER[0], HERE_V6, to, hop_limit, 17, &vec![0; len]);
    let ones = u32::MAX;
    let [request, solicitation] = introductions(0);
    let from_here = [
        request,
        solicitation,
        udp(THERE_V4, 64, 18),
        udp_v6(THERE_V6, 64, 18),
        // In fragments; too big; time used up; no route; nobody there; no such port; echo; a martian; garbage.
        udp(THERE_V4, 64, 3000),
        udp_v6(THERE_V6, 64, 3000),
        udp(THERE_V4, 1, 18),
        udp_v6(THERE_V6, 1, 1300),
        udp(Ipv4Addr::new(192, 0, 2, 1), 64, 18),
        udp(Ipv4Addr::new(10, 0, 1, 77), 64, 18),
        udp_v6(Ipv6Addr::from_bits(THERE_V6.to_bits() + 77), 64, 18),
        udp(OWN_V4[1], 64, 18),
        udp_v6(OWN_V6[1], 64, 18),
        v4(OWN_V4[0], 64, 1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
        v6(ROUTER[0], HERE_V6, OWN_V6[0], 64, 58, &[128, 0, 0, 0, 0, 0, 0, 0]),
        udp(Ipv4Addr::from_bits(ones - 1), 64, 18),
        vec![1; 9],
    ];
    let from_there = introductions(1);
    // The first rounds may set something up; what follows may not.
    for (calls_allowed, rounds) in [(u64::MAX, 0..50), (0, 50..1000)] {
        let before = calls();
        let bursts = rounds.end - rounds.start;
        let left = run(&mut rig, PortId(1), &from_there, rounds.clone()) + run(&mut rig, PortId(0), &from_here, rounds);
        let counted = calls() - before;
        assert!(counted <= calls_allowed, "{counted} calls of the allocator in {bursts} bursts each way");
        assert!(left > 32 * bursts, "hardly anything left the router: {left} frames");
    }
    for reason in [
        DropReason::Runt,
        DropReason::Martian,
        DropReason::TtlExpired,
        DropReason::TooBig,
        DropReason::NoRoute,
        DropReason::NoService,
        DropReason::NeighbourUnresolved,
    ] {
        assert!(rig.counters[0].drops.get(reason) > 0, "nothing was dropped as {}", reason.name());
    }
}

#[test]
fn the_allocator_does_count() {
    let before = calls();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(calls() - before, 2);
}
