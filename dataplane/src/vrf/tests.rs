//! A VRF as its neighbours and its control plane see it, byte for byte.

mod domain;
mod shared;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::*;
use crate::bridge::{Bridge, Domain, DomainId, Fdb, Member, Table};
use crate::drops::DropReason;
use crate::fib::{Arena, ArenaConfig, FibConfig};
use crate::forward::{Forward, Outputs};
use crate::frame::Burst;
use crate::offload::{Gso, GsoKind, Offload, Partial, admit};
use crate::pool::Pool;
use crate::prefix::Prefix;
use crate::rib::{Action, Change, Hop, InterfaceId, Origin, Rib, RibConfig, Route};
use crate::units::{Mac, Nanos};
use crate::wire::{arp, icmpv4, icmpv6, ipv4, ipv6};

/// The interfaces: port 0 untagged, port 1 untagged, VLAN 20 of port 2. Ports 3 and 4 are punt ports of the first two;
/// VLAN 30 of port 2 and port 5 are in a bridge domain.
const MACS: [Mac; 3] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]), Mac([2, 0, 0, 0, 0, 3])];
const PORTS: usize = 6;

fn neighbour(interface: u8, n: u8) -> (Mac, Ipv4Addr, Ipv6Addr) {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, u16::from(interface), 0, 0, 0, 0, u16::from(n));
    (Mac([2, 1, 0, 0, interface, n]), Ipv4Addr::new(10, 0, interface, n), v6)
}

struct Lab {
    pool: Pool,
    out: Outputs,
    ports: Vec<Arc<Counters>>,
    counters: Vec<InterfaceCounters>,
    switch: Switch,
    rib: Rib,
    now: Nanos,
    chunks: usize,
}

type Sent = Vec<(u16, Vec<u8>)>;

impl Lab {
    fn new(punt: bool, check: SourceCheck) -> Self {
        let arena = Arena::new(ArenaConfig { blocks: 4096, lones: 4096, tables: 4 }).unwrap();
        let config = RibConfig { max_routes: 100, interfaces: 3, fib: FibConfig::default() };
        let mut rib = Rib::new(&arena, config).unwrap();
        let interfaces: Vec<_> = (0..3u8)
            .map(|n| VrfInterface {
                config: InterfaceConfig {
                    mac: MACS[usize::from(n)],
                    mtu: if n == 1 { 1400 } else { 1500 },
                    addresses: vec![
                        InterfaceAddress { address: neighbour(n, 1).1.into(), length: 24 },
                        InterfaceAddress { address: neighbour(n, 1).2.into(), length: 64 },
                    ],
                },
                port: PortId(n.into()),
                vlan: (n == 2).then(|| VlanId::new(20).unwrap()),
                punt: (punt && n < 2).then_some(PortId(3 + u16::from(n))),
                check,
                vrrp: vec![7],
            })
            .collect();
        for n in 0..3u8 {
            let (_, v4, v6) = neighbour(n, 1);
            for (address, length, all) in [(IpAddr::from(v4), 24, 32), (v6.into(), 64, 128)] {
                let hop = Hop { gateway: None, interface: Some(InterfaceId(n.into())), weight: 1 };
                for (length, action) in [(length, Action::Via(vec![hop])), (all, Action::Local)] {
                    let route = Route { prefix: Prefix::of(address, length).unwrap(), metric: 0, action };
                    rib.apply(Origin::Connected, Change::Replace(route)).unwrap();
                }
            }
        }
        let board = Arc::new(Board::default());
        let (vrf, counters) = Vrf::new(&interfaces, rib.fib().clone(), PuntRate { rate: 100, burst: 10 }, board);
        let mut places = vec![Place::default(); PORTS];
        for (n, interface) in (0..).zip(&interfaces) {
            let target = Target { vrf: 0, interface: InterfaceId(n), mac: interface.config.mac };
            places[interface.port.index()].add(interface.vlan, target);
            if let Some(punt) = interface.punt {
                places[punt.index()] = Place::Punt(0, InterfaceId(n));
            }
        }
        Self::assemble(&arena, vec![vrf], places, (rib, counters))
    }

    /// Ports, and a bridge that has VLAN 30 of port 2 and port 5.
    fn assemble(
        arena: &Arc<Arena>,
        vrfs: Vec<Vrf>,
        mut places: Vec<Place>,
        (rib, counters): (Rib, Vec<InterfaceCounters>),
    ) -> Self {
        places[2].bridge_too();
        let mut members = vec![Member::default(); PORTS];
        members[2].vlans = vec![(VlanId::new(30).unwrap(), DomainId(0))];
        members[5].native = Some(DomainId(0));
        let domains = [Domain { name: "d".into(), age: Nanos::from_secs(60), max_learned: 16 }];
        let table = Arc::new(ArcSwap::from_pointee(Table::build(&members, &domains).unwrap()));
        let bridge = Bridge::new(table, Arc::new(Fdb::new(&domains)));
        let pool = Pool::new(1024).unwrap();
        let ports: Vec<Arc<Counters>> = (0..PORTS).map(|_| Arc::default()).collect();
        let (chunks, out) = (pool.available(), Outputs::new(ports.clone()));
        let switch = Switch::new(bridge, vrfs, places, arena.reader());
        Self { pool, out, ports, counters, switch, rib, now: Nanos::from_secs(1000), chunks }
    }

    /// One that knows a neighbour, number 9, on each interface.
    fn met(punt: bool) -> Self {
        let mut lab = Self::new(punt, SourceCheck::Off);
        for n in 0..3 {
            lab.meet(n, 9);
        }
        lab
    }

    fn meet(&mut self, interface: u8, n: u8) {
        let (mac, v4, v6) = neighbour(interface, n);
        let own = neighbour(interface, 1);
        let request = arp_request(mac, v4, own.1);
        let group = crate::wire::ndisc::solicited_node(own.2);
        let message = crate::wire::ndisc::Message::emit(crate::wire::ndisc::Kind::Solicitation, own.2, mac, v6, group);
        let header =
            ipv6::Header { class: 0, flow: 0, length: 32, next: 58, hop_limit: 255, source: v6, destination: group };
        let packet = [&header.emit()[..], &message].concat();
        let solicitation = ethernet(crate::wire::ndisc::multicast_mac(group), mac, 0x86dd, &packet);
        for frame in [request, solicitation] {
            self.arrive(interface, &frame);
        }
    }

    fn route(&mut self, to: &str, action: Action) {
        let prefix = to.parse().unwrap();
        self.rib.apply(Origin::Static, Change::Replace(Route { prefix, metric: 0, action })).unwrap();
    }

    fn via(&mut self, to: &str, gateways: &[IpAddr]) {
        let hop = |&gateway| Hop { gateway: Some(gateway), interface: None, weight: 1 };
        self.route(to, Action::Via(gateways.iter().map(hop).collect()));
    }

    /// Frames come in on a port, in one burst; what leaves.
    fn feed(&mut self, port: u16, frames: &[Vec<u8>]) -> Sent {
        let mut burst = Burst::new();
        for frame in frames {
            burst.push(self.pool.frame_from(frame).unwrap());
        }
        self.feed_burst(port, burst)
    }

    fn feed_burst(&mut self, port: u16, mut burst: Burst) -> Sent {
        self.switch.forward(&mut self.pool, PortId(port), &mut burst, &mut self.out, self.now);
        assert!(burst.is_empty());
        self.sent()
    }

    /// A frame comes in on an interface, tagged where that has a VLAN.
    fn arrive(&mut self, interface: u8, frame: &[u8]) -> Sent {
        let frame = if interface == 2 { tagged(20, frame) } else { frame.to_vec() };
        self.feed(interface.into(), &[frame])
    }

    fn pass(&mut self, span: Nanos) -> Sent {
        self.now = self.now.plus(span);
        self.switch.tick(&mut self.pool, &mut self.out, self.now);
        self.sent()
    }

    fn sent(&mut self) -> Sent {
        self.out.take_all(&mut self.pool)
    }

    fn drops(&self, port: usize, reason: DropReason) -> u64 {
        self.ports[port].drops.get(reason)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for _ in 0..10 {
                self.pass(Nanos::from_secs(1));
            }
            assert_eq!(self.pool.available(), self.chunks, "frames were lost");
        }
    }
}

fn ethernet(to: Mac, from: Mac, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &ethertype.to_be_bytes(), packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn tagged(vlan: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &vlan.to_be_bytes(), &frame[12..]].concat()
}

fn arp_request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let operation = arp::Operation::Request;
    let packet = arp::Packet { operation, sender_mac: mac, sender, target_mac: Mac::default(), target };
    ethernet(Mac::BROADCAST, mac, 0x0806, &packet.emit())
}

/// A UDP packet, without its checksum, in a frame from a neighbour to its interface.
fn udp_v4(from: u8, source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, port: u16) -> Vec<u8> {
    let header = ipv4::Header { tos: 0, length: 32, ident: 7, fragment: 0, ttl, protocol: 17, source, destination };
    let packet = [&header.emit()[..], &port.to_be_bytes(), &[0, 53, 0, 12, 0, 0, 1, 2, 3, 4]].concat();
    ethernet(MACS[usize::from(from)], neighbour(from, 9).0, 0x0800, &packet)
}

fn udp_v6(from: u8, source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
    let header = ipv6::Header { class: 0, flow: 0, length: 12, next: 17, hop_limit, source, destination };
    let packet = [&header.emit()[..], &[0x10, 0, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]].concat();
    ethernet(MACS[usize::from(from)], neighbour(from, 9).0, 0x86dd, &packet)
}

/// The same frame as it leaves by `interface` to its neighbour 9.
fn forwarded(frame: &[u8], interface: u8) -> Vec<u8> {
    let mut packet = frame[14..].to_vec();
    match packet[0] >> 4 {
        4 => ipv4::decrement_ttl(packet.first_chunk_mut().unwrap()),
        _ => packet[7] -= 1,
    }
    let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
    let frame = ethernet(neighbour(interface, 9).0, MACS[usize::from(interface)], ethertype, &packet);
    if interface == 2 { tagged(20, &frame) } else { frame }
}

#[test]
fn a_burst_leaves_by_its_interfaces_in_order() {
    let mut lab = Lab::met(false);
    lab.via("172.16.0.0/12", &[neighbour(1, 9).1.into()]);
    lab.via("fd00::/8", &[neighbour(2, 9).2.into()]);
    let (a4, a6) = (neighbour(0, 9).1, neighbour(0, 9).2);
    for round in 0..3 {
        let frames = [
            udp_v4(0, a4, Ipv4Addr::new(172, 16, 0, round), 64, 1),
            udp_v6(0, a6, "fd00::1".parse().unwrap(), 64),
            udp_v4(0, a4, neighbour(1, 9).1, 2, 1),
            udp_v4(0, a4, neighbour(2, 9).1, 64, 1),
            udp_v6(0, a6, neighbour(1, 9).2, 64),
            udp_v4(0, a4, Ipv4Addr::new(172, 17, 0, round), 64, 1),
        ];
        let sent = lab.feed(0, &frames);
        let by = |port: u16| sent.iter().filter(|(p, _)| *p == port).map(|(_, f)| f.clone()).collect::<Vec<_>>();
        let expected = |interface: u8, which: &[usize]| -> Vec<_> {
            which.iter().map(|&n| forwarded(&frames[n], interface)).collect()
        };
        assert_eq!(by(1), expected(1, &[0, 2, 4, 5]));
        assert_eq!(by(2), expected(2, &[1, 3]));
        assert_eq!(sent.len(), 6);
    }
    let (rx, tx) = (&lab.counters[0].link.rx_frames, &lab.counters[1].link.tx_frames);
    assert_eq!(rx.load(std::sync::atomic::Ordering::Relaxed), 18 + 2);
    assert!(tx.load(std::sync::atomic::Ordering::Relaxed) >= 12);
}

#[test]
fn what_routes_say_beside_a_way_is_told_in_plain_bytes() {
    let mut lab = Lab::met(false);
    let cases = [
        (Action::Blackhole, None, None, DropReason::Blackhole),
        (Action::Unreachable, Some((3, 1)), Some((1, 6)), DropReason::RouteUnreachable),
        (Action::Prohibit, Some((3, 13)), Some((1, 1)), DropReason::RouteProhibit),
    ];
    let (mac, a4, a6) = neighbour(0, 9);
    let (_, own4, own6) = neighbour(0, 1);
    for (n, (action, v4, v6, reason)) in (0u8..).zip(cases) {
        lab.route(&format!("172.{n}.0.0/16"), action.clone());
        lab.route(&format!("fd0{n}::/16"), action);
        let about = udp_v4(0, a4, Ipv4Addr::new(172, n, 0, 1), 64, 1);
        let sent = lab.arrive(0, &about);
        let expected = v4.map(|(kind, code)| {
            let quote = &about[14..46];
            let error = match code {
                1 => icmpv4::Error::HostUnreachable,
                _ => icmpv4::Error::Prohibited,
            };
            let message = [&error.emit(quote)[..], quote].concat();
            assert_eq!(message[..2], [kind, code]);
            let header = ipv4::Header {
                tos: 0xc0,
                length: 20 + message.len() as u16,
                ident: u16::from(n),
                fragment: 0,
                ttl: 64,
                protocol: 1,
                source: own4,
                destination: a4,
            };
            (0, ethernet(mac, MACS[0], 0x0800, &[&header.emit()[..], &message].concat()))
        });
        assert_eq!(sent, Vec::from_iter(expected));
        let about = udp_v6(0, a6, Ipv6Addr::new(0xfd00 + u16::from(n), 0, 0, 0, 0, 0, 0, 1), 64);
        let sent = lab.arrive(0, &about);
        let expected = v6.map(|(kind, code)| {
            let quote = &about[14..66];
            let error = match code {
                6 => icmpv6::Error::RejectRoute,
                _ => icmpv6::Error::Prohibited,
            };
            let message = [&error.emit(own6, a6, quote)[..], quote].concat();
            assert_eq!(message[..2], [kind, code]);
            let header = ipv6::Header {
                class: 0,
                flow: 0,
                length: message.len() as u16,
                next: 58,
                hop_limit: 64,
                source: own6,
                destination: a6,
            };
            (0, ethernet(mac, MACS[0], 0x86dd, &[&header.emit()[..], &message].concat()))
        });
        assert_eq!(sent, Vec::from_iter(expected));
        assert_eq!(lab.drops(0, reason), 2);
        assert_eq!(lab.counters[0].link.drops.get(reason), 2);
    }
}

#[test]
fn flows_keep_their_way_and_change_it_when_the_route_does() {
    let mut lab = Lab::met(false);
    lab.meet(1, 8);
    let ways = [neighbour(1, 8).1.into(), neighbour(1, 9).1.into()];
    lab.via("172.16.0.0/12", &ways);
    let frames: Vec<_> =
        (0..64).map(|n| udp_v4(0, neighbour(0, 9).1, Ipv4Addr::new(172, 16, 0, 1), 64, 1000 + n)).collect();
    let to = |sent: &Sent| sent.iter().map(|(_, frame)| frame[5]).collect::<Vec<u8>>();
    let first = to(&lab.feed(0, &frames));
    assert_eq!(to(&lab.feed(0, &frames)), first, "a flow keeps its way");
    let eights = first.iter().filter(|&&n| n == 8).count();
    assert!((10..=54).contains(&eights), "{eights} of 64");
    lab.via("172.16.0.0/12", &ways[1..]);
    assert!(to(&lab.feed(0, &frames)).iter().all(|&n| n == 9));
    lab.via("172.16.0.0/12", &ways);
    lab.rib.interface_state(InterfaceId(1), false);
    let sent = lab.feed(0, &frames[..1]);
    assert_eq!(sent[0].1[34..36], [3, 1], "host unreachable: its only links are down");
    lab.rib.interface_state(InterfaceId(1), true);
    assert_eq!(lab.feed(0, &frames).len(), 64);
}

#[test]
fn a_gateway_that_is_not_known_is_asked_for_and_frames_wait() {
    let mut lab = Lab::met(false);
    lab.via("172.16.0.0/12", &[neighbour(2, 7).1.into()]);
    let frame = udp_v4(0, neighbour(0, 9).1, Ipv4Addr::new(172, 16, 0, 1), 64, 1);
    let asked = lab.arrive(0, &frame);
    assert_eq!(asked, [(2, tagged(20, &arp_request(MACS[2], neighbour(2, 1).1, neighbour(2, 7).1)))]);
    assert_eq!(lab.arrive(0, &frame), [], "asked already");
    let (mac, v4, _) = neighbour(2, 7);
    let reply = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: mac,
        sender: v4,
        target_mac: MACS[2],
        target: neighbour(2, 1).1,
    };
    let released = lab.arrive(2, &ethernet(MACS[2], mac, 0x0806, &reply.emit()));
    assert_eq!(released.iter().map(|(port, frame)| (*port, frame[5])).collect::<Vec<_>>(), [(2, 7), (2, 7)]);
    assert_eq!(lab.arrive(0, &frame)[0].1[..6], mac.0);
}

#[test]
fn vlans_of_a_trunk_go_to_the_vrf_and_to_the_bridge() {
    let mut lab = Lab::met(false);
    let routed = udp_v4(2, neighbour(2, 9).1, neighbour(0, 9).1, 64, 1);
    let bridged = ethernet(Mac::BROADCAST, Mac([2, 9, 0, 0, 0, 1]), 0x1234, &[]);
    let sent = lab.feed(
        2,
        &[tagged(20, &routed), tagged(30, &bridged), tagged(20, &routed), routed.clone(), tagged(40, &routed)],
    );
    let mut expected = vec![(0, forwarded(&routed, 0)), (0, forwarded(&routed, 0)), (5, bridged)];
    let mut sent = sent;
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected);
    assert_eq!((lab.drops(2, DropReason::NoDomain), lab.drops(2, DropReason::VlanNotAllowed)), (1, 1));
    // On a port that is an interface whole, a priority tag is none, and others are nobody's.
    let frame = udp_v4(0, neighbour(0, 9).1, neighbour(1, 9).1, 64, 1);
    assert_eq!(lab.feed(0, &[tagged(0, &frame)]), [(1, forwarded(&frame, 1))]);
    for wrong in [tagged(7, &frame), tagged(0, &tagged(0, &frame)), tagged(0, &tagged(7, &frame))] {
        assert_eq!(lab.feed(0, &[wrong]), []);
    }
    assert_eq!(lab.drops(0, DropReason::VlanNotAllowed), 3);
}

#[test]
fn what_is_for_the_router_goes_to_its_stack() {
    let mut lab = Lab::met(true);
    lab.now = lab.now.plus(Nanos::from_secs(1));
    let (mac, a4, a6) = neighbour(0, 9);
    let fe80: Ipv6Addr = "fe80::9".parse().unwrap();
    let ospf =
        ethernet(Mac([1, 0, 0x5e, 0, 0, 5]), mac, 0x0800, &udp_v4(0, a4, Ipv4Addr::new(224, 0, 0, 5), 1, 1)[14..]);
    let vrrp6 = ethernet(
        Mac([0x33, 0x33, 0, 0, 0, 0x12]),
        mac,
        0x86dd,
        &udp_v6(0, fe80, "ff02::12".parse().unwrap(), 255)[14..],
    );
    for frame in [
        arp_request(mac, a4, neighbour(0, 1).1),
        udp_v4(0, a4, neighbour(0, 1).1, 1, 1),
        udp_v4(0, a4, neighbour(1, 1).1, 64, 1),
        udp_v6(0, a6, neighbour(0, 1).2, 1),
        udp_v6(0, fe80, "fe80::1234".parse().unwrap(), 1),
        ospf,
        vrrp6,
        ethernet(MACS[0], mac, 0x88b5, &[1, 2, 3]),
        ethernet(Mac([1, 0, 0, 0, 0, 9]), mac, 20, &[0xfe, 0xfe, 3]),
    ] {
        assert_eq!(lab.arrive(0, &frame), [(3, frame.clone())], "{frame:02x?}");
    }
    // Not for us, and what is to be forwarded, does not.
    assert_eq!(lab.arrive(0, &ethernet(MACS[1], mac, 0x0800, &[])), []);
    assert_eq!(lab.drops(0, DropReason::NotForUs), 1);
    let through = udp_v4(0, a4, neighbour(1, 9).1, 64, 1);
    assert_eq!(lab.arrive(0, &through), [(1, forwarded(&through, 1))]);
    // The router still tells what it decides itself.
    let expired = lab.arrive(0, &udp_v4(0, a4, neighbour(1, 9).1, 1, 1));
    assert_eq!((expired[0].0, &expired[0].1[34..36]), (0, &[11, 0][..]));
    assert_eq!(lab.counters[0].punted.rx_frames.load(std::sync::atomic::Ordering::Relaxed), 9 + 2);
}

#[test]
fn answers_to_the_engine_are_learned_and_passed_on() {
    let mut lab = Lab::new(true, SourceCheck::Off);
    lab.meet(0, 9);
    lab.via("172.16.0.0/12", &[neighbour(1, 7).1.into()]);
    let frame = udp_v4(0, neighbour(0, 9).1, Ipv4Addr::new(172, 16, 0, 1), 64, 1);
    assert_eq!(lab.arrive(0, &frame), [(1, arp_request(MACS[1], neighbour(1, 1).1, neighbour(1, 7).1))]);
    let (mac, v4, _) = neighbour(1, 7);
    let reply = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: mac,
        sender: v4,
        target_mac: MACS[1],
        target: neighbour(1, 1).1,
    };
    let reply = ethernet(MACS[1], mac, 0x0806, &reply.emit());
    let mut sent = lab.arrive(1, &reply);
    sent.sort();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!((sent[0].0, &sent[0].1[..6]), (1, &mac.0[..]));
    assert_eq!(sent[1], (4, reply));
}

#[test]
fn the_stack_is_sent_its_rate_and_sends_from_its_own_address() {
    let mut lab = Lab::met(true);
    lab.now = lab.now.plus(Nanos::from_secs(1));
    let flood: Vec<_> = (0..64).map(|n| udp_v4(0, neighbour(0, 9).1, neighbour(0, 1).1, 64, n)).collect();
    assert_eq!(lab.feed(0, &flood).len(), 10);
    assert_eq!(lab.drops(0, DropReason::PuntRate), 54);
    lab.out.set_up(PortId(3), false);
    lab.now = lab.now.plus(Nanos::from_secs(1));
    assert_eq!(lab.feed(0, &flood[..1]), []);
    assert_eq!(lab.drops(0, DropReason::PuntDown), 1);
    let own = ethernet(neighbour(0, 9).0, MACS[0], 0x0800, &[0x45]);
    assert_eq!(lab.feed(3, std::slice::from_ref(&own)), [(0, own.clone())], "as it is");
    assert_eq!(lab.feed(3, &[ethernet(neighbour(0, 9).0, MACS[1], 0x0800, &[0x45]), tagged(5, &own)]), []);
    assert_eq!((lab.drops(3, DropReason::SourceSpoofed), lab.drops(3, DropReason::VlanNotAllowed)), (1, 1));
}

#[test]
fn sources_are_checked_against_routes() {
    for (check, near, foreign, nowhere) in [
        (SourceCheck::Off, true, true, true),
        (SourceCheck::Loose, true, true, false),
        (SourceCheck::Strict, true, false, false),
    ] {
        let mut lab = Lab::new(false, check);
        for n in 0..3 {
            lab.meet(n, 9);
        }
        let passes = |lab: &mut Lab, v4: [u8; 4], v6: &str| {
            let before = lab.drops(0, DropReason::SourceRoute);
            let four = lab.arrive(0, &udp_v4(0, v4.into(), neighbour(1, 9).1, 64, 1)).len();
            let six = lab.arrive(0, &udp_v6(0, v6.parse().unwrap(), neighbour(1, 9).2, 64)).len();
            assert_eq!(lab.drops(0, DropReason::SourceRoute) - before, 2 - (four + six) as u64);
            assert_eq!(four, six);
            four == 1
        };
        assert_eq!(passes(&mut lab, [10, 0, 0, 77], "2001:db8::77"), near, "{check:?}");
        assert_eq!(passes(&mut lab, [10, 0, 2, 77], "2001:db8:2::77"), foreign, "{check:?}");
        assert_eq!(passes(&mut lab, [9, 9, 9, 9], "2001:db9::1"), nowhere, "{check:?}");
        lab.via("9.9.9.0/24", &[neighbour(0, 9).1.into(), neighbour(2, 9).1.into()]);
        lab.via("2001:db9::/32", &[neighbour(2, 9).2.into(), neighbour(0, 9).2.into()]);
        assert!(passes(&mut lab, [9, 9, 9, 9], "2001:db9::1"), "one of several ways will do");
    }
}

#[test]
fn a_piece_that_is_yet_to_be_cut_passes_by_the_size_of_its_segments() {
    let mut lab = Lab::met(false);
    let mut feed = |size: u16, fragment: u16| {
        let mut piece = udp_v4(0, neighbour(0, 9).1, neighbour(1, 9).1, 64, 1);
        let header = ipv4::Header {
            tos: 0,
            length: 20 + 20 + 4000,
            ident: 1,
            fragment,
            ttl: 64,
            protocol: 6,
            source: neighbour(0, 9).1,
            destination: neighbour(1, 9).1,
        };
        piece.truncate(14);
        piece.extend(header.emit());
        piece.extend([0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        piece.resize(piece.len() + 4000, 7);
        let mut frame = lab.pool.frame_from(&piece).unwrap();
        let gso = Gso { kind: GsoKind::TcpIpv4, ecn: false, size };
        admit(&mut lab.pool, &mut frame, Offload::Segment(Partial { start: 34, offset: 16 }, gso)).unwrap();
        lab.feed_burst(0, Burst::from_iter([frame]))
    };
    let sent = feed(1360, ipv4::DF);
    assert_eq!(sent.iter().map(|(port, f)| (*port, f.len())).collect::<Vec<_>>(), [(1, 4054)], "whole");
    let sent = feed(1460, ipv4::DF);
    assert_eq!((sent[0].0, &sent[0].1[34..42]), (0, &[3, 4, sent[0].1[36], sent[0].1[37], 0, 0, 5, 0x78][..]), "1400");
    let sent = feed(1460, 0);
    assert!(sent.len() > 3 && sent.iter().all(|(port, f)| *port == 1 && f.len() <= 1414), "cut, then in fragments");
}

#[test]
fn neighbours_are_shown_when_somebody_asks() {
    let mut lab = Lab::met(false);
    let board = Arc::clone(&lab.switch.vrfs()[0].board);
    assert_eq!(board.ask(|| (), std::time::Duration::from_millis(5)), None, "nobody ticks");
    let cell = std::sync::Mutex::new(&mut lab);
    let shown = board.ask(|| drop(cell.lock().unwrap().pass(Nanos(1))), std::time::Duration::from_secs(5)).unwrap();
    let mut macs: Vec<_> = shown.iter().map(|n| (n.interface.0, n.mac)).collect();
    macs.sort();
    macs.dedup();
    assert_eq!(macs, [0, 1, 2].map(|n| (n, Some(neighbour(n as u8, 9).0))));
}

#[test]
fn what_is_for_a_virtual_router_is_routed_while_the_stack_is_its_master() {
    let mut lab = Lab::met(true);
    let [shared, _] = crate::router::vrrp::addresses(7);
    let mut frame = udp_v4(0, neighbour(0, 9).1, neighbour(1, 9).1, 64, 1);
    frame[..6].copy_from_slice(&shared.0);
    let advertisement = |mac: Mac| {
        let (source, destination) = (neighbour(0, 1).1, Ipv4Addr::new(224, 0, 0, 18));
        let header =
            ipv4::Header { tos: 0, length: 20, ident: 7, fragment: 0, ttl: 255, protocol: 112, source, destination };
        ethernet(Mac([1, 0, 0x5e, 0, 0, 18]), mac, 0x0800, &header.emit())
    };
    assert!(lab.arrive(0, &frame).is_empty(), "nobody is master");
    assert_eq!(lab.feed(3, &[advertisement(shared)]), [(0, advertisement(shared))]);
    assert_eq!(lab.arrive(0, &frame), [(1, forwarded(&frame, 1))]);
    let both = [frame.clone(), udp_v4(0, neighbour(0, 9).1, neighbour(1, 9).1, 64, 2)];
    assert_eq!(lab.feed(0, &both).len(), 2, "and its own address is so as before");
    // What is late for forwarding is the master's to tell.
    let mut late = udp_v4(0, neighbour(0, 9).1, neighbour(1, 9).1, 1, 1);
    late[..6].copy_from_slice(&shared.0);
    assert_eq!(lab.arrive(0, &late)[0].0, 0);
    // Another takes over, of which the stack hears.
    assert_eq!(lab.arrive(0, &advertisement(shared)), [(3, advertisement(shared))]);
    assert!(lab.arrive(0, &frame).is_empty());
    assert_eq!(lab.drops(0, DropReason::NotForUs), 2);
    // Of virtual routers that it takes no part in, the stack does not speak.
    assert!(lab.feed(3, &[advertisement(crate::router::vrrp::addresses(8)[0])]).is_empty());
    assert_eq!(lab.drops(3, DropReason::SourceSpoofed), 1);
}
