//! Interfaces of two VRFs as stations in a bridge domain that has ports too.

use super::*;
use crate::wire::ndisc;

/// The domain has port 5, VLAN 30 of port 2, and the guest behind port 4. r1 is there and on port 0, r2 there and on port 1;
/// port 3 is r1's stack's, where it has one. Networks are numbered 0 (port 0), 1 (the domain) and 2 (port 1).
const PORTS: usize = 6;
const LAN: [Mac; 2] = [Mac([2, 0, 0, 0, 0xc, 1]), Mac([2, 0, 0, 0, 0xc, 2])];
const OUTSIDE: [Mac; 2] = [Mac([2, 0, 0, 0, 0xd, 1]), Mac([2, 0, 0, 0, 0xd, 2])];
const GUEST: Mac = Mac([2, 0, 0, 0, 0xe, 1]);
/// Numbers within the engine: of each VRF the station, and the way back.
const STATION: [u16; 2] = [6, 8];

/// A VRF's own address in its network there.
fn own(vrf: u8, network: u8) -> (Ipv4Addr, Ipv6Addr) {
    let (_, v4, v6) = neighbour(network, vrf + 1);
    (v4, v6)
}

fn lab(punt: bool, here: &[u8]) -> (Lab, Vec<Rib>) {
    let arena = Arena::new(ArenaConfig { blocks: 4096, lones: 4096, tables: 8 }).unwrap();
    let mut places = vec![Place::default(); PORTS + 4];
    let (mut vrfs, mut ribs, mut counted) = (Vec::new(), Vec::new(), Vec::new());
    for &vrf in here {
        let config = RibConfig { max_routes: 100, interfaces: 2, fib: FibConfig::default() };
        let mut rib = Rib::new(&arena, config).unwrap();
        let station = STATION[usize::from(vrf)];
        let (of_vrf, interfaces) = (usize::from(vrf), [(2 * vrf, u16::from(vrf)), (1, station + 1)]);
        let interfaces = [OUTSIDE[of_vrf], LAN[of_vrf]].into_iter().zip(interfaces).enumerate();
        let interfaces: Vec<_> = interfaces
            .map(|(id, (mac, (network, port)))| {
                let (v4, v6) = own(vrf, network);
                for (address, length, all) in [(IpAddr::from(v4), 24, 32), (v6.into(), 64, 128)] {
                    let hop = Hop { gateway: None, interface: Some(InterfaceId(id as u16)), weight: 1 };
                    for (length, action) in [(length, Action::Via(vec![hop])), (all, Action::Local)] {
                        let route = Route { prefix: Prefix::of(address, length).unwrap(), metric: 0, action };
                        rib.apply(Origin::Connected, Change::Replace(route)).unwrap();
                    }
                }
                let addresses = vec![
                    InterfaceAddress { address: v4.into(), length: 24 },
                    InterfaceAddress { address: v6.into(), length: 64 },
                ];
                VrfInterface {
                    config: InterfaceConfig { mac, mtu: 1500, addresses },
                    port: PortId(port),
                    vlan: None,
                    punt: (punt && vrf == 0 && id == 1).then_some(PortId(3)),
                    check: SourceCheck::Off,
                    vrrp: Vec::new(),
                }
            })
            .collect();
        let number = vrfs.len() as u16;
        let target =
            |id: u16| Target { vrf: number, interface: InterfaceId(id), mac: interfaces[usize::from(id)].config.mac };
        places[of_vrf].add(None, target(0));
        places[usize::from(station)] = Place::Station(target(1));
        places[usize::from(station) + 1] = Place::Domain(PortId(station));
        if punt && vrf == 0 {
            places[3] = Place::Punt(number, InterfaceId(1));
        }
        let (made, counters) = Vrf::new(&interfaces, rib.fib().clone(), PuntRate::DEFAULT, Arc::new(Board::default()));
        vrfs.push(made);
        ribs.push(rib);
        counted.extend(counters);
    }
    let mut members = vec![Member::default(); PORTS + 4];
    members[2].vlans = vec![(VlanId::new(30).unwrap(), DomainId(0))];
    let stations = [(4, GUEST), (6, LAN[0]), (8, LAN[1])];
    for (port, macs) in stations.map(|(port, mac)| (port, vec![mac])).into_iter().chain([(5, Vec::new())]) {
        (members[port].native, members[port].macs) = (Some(DomainId(0)), macs);
    }
    let domains = [Domain { name: "lan".into(), age: Nanos::from_secs(60), max_learned: 16 }];
    let table = Arc::new(ArcSwap::from_pointee(Table::build(&members, &domains).unwrap()));
    let bridge = Bridge::new(table, Arc::new(Fdb::new(&domains)));
    let pool = Pool::new(1024).unwrap();
    let ports: Vec<Arc<Counters>> = (0..PORTS + 4).map(|_| Arc::default()).collect();
    let (chunks, out) = (pool.available(), Outputs::new(ports.clone()));
    let switch = Switch::new(bridge, vrfs, places, arena.reader());
    let rib = ribs.remove(0);
    (Lab { pool, out, ports, counters: counted, switch, rib, now: Nanos::from_secs(1000), chunks }, ribs)
}

/// Both VRFs, each knowing neighbour 9 outside; and r1 knows neighbour 9 of the domain, behind port 5, and 8, in VLAN 30 of
/// port 2.
fn met() -> (Lab, Vec<Rib>) {
    let (mut lab, ribs) = lab(false, &[0, 1]);
    for vrf in 0..2 {
        lab.introduce(u16::from(vrf), None, (vrf, 2 * vrf), 9);
    }
    lab.introduce(5, None, (0, 1), 9);
    lab.introduce(2, Some(30), (0, 1), 8);
    (lab, ribs)
}

impl Lab {
    /// A neighbour asks for a VRF's addresses; what is sent for it.
    fn introduce(&mut self, port: u16, vlan: Option<u16>, (vrf, network): (u8, u8), n: u8) -> Vec<Sent> {
        let (mac, v4, v6) = neighbour(network, n);
        let (own_v4, own_v6) = own(vrf, network);
        let group = ndisc::solicited_node(own_v6);
        let message = ndisc::Message::emit(ndisc::Kind::Solicitation, own_v6, mac, v6, group);
        let header =
            ipv6::Header { class: 0, flow: 0, length: 32, next: 58, hop_limit: 255, source: v6, destination: group };
        let solicitation = ethernet(ndisc::multicast_mac(group), mac, 0x86dd, &[&header.emit()[..], &message].concat());
        [arp_request(mac, v4, own_v4), solicitation]
            .map(|frame| self.feed(port, &[vlan.map_or_else(|| frame.clone(), |vlan| tagged(vlan, &frame))]))
            .into()
    }
}

/// A UDP packet to a station `to` of a network from its neighbour 9.
fn to_station(network: u8, to: Mac, destination: Ipv4Addr, ttl: u8) -> Vec<u8> {
    let mut frame = udp_v4(0, neighbour(network, 9).1, destination, ttl, 1);
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&neighbour(network, 9).0.0);
    frame
}

/// The same after `hops` routers, from the last one's station to its neighbour.
fn routed(frame: &[u8], hops: u8, from: Mac, to: Mac) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for _ in 0..hops {
        match frame[14] >> 4 {
            4 => ipv4::decrement_ttl(frame[14..].first_chunk_mut().unwrap()),
            _ => frame[14 + 7] -= 1,
        }
    }
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    frame
}

fn by_port(mut sent: Sent) -> Sent {
    sent.sort();
    sent
}

#[test]
fn who_asks_for_the_router_is_heard_by_all_and_answered_by_it() {
    let (mut lab, _ribs) = lab(false, &[0, 1]);
    let (mac, v4, _) = neighbour(1, 9);
    let request = arp_request(mac, v4, own(0, 1).0);
    let sent = by_port(lab.feed(5, std::slice::from_ref(&request)));
    let [(2, in_vlan), (4, to_guest), (5, reply)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!((in_vlan, to_guest), (&tagged(30, &request), &request));
    assert_eq!((&reply[..6], &reply[6..12], reply[21]), (&mac.0[..], &LAN[0].0[..], 2), "a reply, from r1");
    // From VLAN 30, of the other router, by IPv6: only there does the answer go.
    let sent = lab.introduce(2, Some(30), (1, 1), 8).pop().unwrap();
    let answers: Vec<_> = sent.iter().filter(|(_, frame)| frame[6..12] == LAN[1].0).collect();
    let [(2, advertisement)] = answers[..] else { panic!("{sent:02x?}") };
    assert_eq!(advertisement[12..16], [0x81, 0, 0, 30]);
}

#[test]
fn packets_go_from_the_domain_through_the_router_and_back() {
    let (mut lab, _ribs) = met();
    let out = to_station(1, LAN[0], neighbour(0, 9).1, 64);
    let outside = neighbour(0, 9).0;
    assert_eq!(lab.feed(5, std::slice::from_ref(&out)), [(0, routed(&out, 1, OUTSIDE[0], outside))]);
    assert_eq!(lab.feed(2, &[tagged(30, &out)]), [(0, routed(&out, 1, OUTSIDE[0], outside))], "now behind port 2");
    lab.introduce(5, None, (0, 1), 9);
    // Back, to each where it is: a whole burst, in order.
    let back: Vec<_> = (0..64u8)
        .map(|n| {
            let mut frame = to_station(0, OUTSIDE[0], neighbour(1, 8 + n % 2).1, 64);
            frame[44] = n;
            frame
        })
        .collect();
    let sent = lab.feed(0, &back);
    for (port, parity) in [(2, 0), (5, 1)] {
        let mac = neighbour(1, 8 + parity).0;
        let frames = back.iter().skip(parity.into()).step_by(2).map(|frame| routed(frame, 1, LAN[0], mac));
        let frames: Vec<_> = frames.map(|frame| if port == 2 { tagged(30, &frame) } else { frame }).collect();
        let there: Vec<_> = sent.iter().filter(|(to, _)| *to == port).map(|(_, frame)| frame.clone()).collect();
        assert_eq!(there, frames);
    }
    assert_eq!(sent.len(), 64);
    // IPv6.
    let (_, _, v6) = neighbour(1, 9);
    let mut out = udp_v6(0, v6, neighbour(0, 9).2, 64);
    out[..6].copy_from_slice(&LAN[0].0);
    out[6..12].copy_from_slice(&neighbour(1, 9).0.0);
    assert_eq!(lab.feed(5, std::slice::from_ref(&out)), [(0, routed(&out, 1, OUTSIDE[0], outside))]);
    // What the router answers itself.
    let expired = to_station(1, LAN[0], neighbour(0, 9).1, 1);
    let [(5, error)] = &lab.feed(5, &[expired])[..] else { panic!() };
    assert_eq!((&error[..6], error[34]), (&neighbour(1, 9).0.0[..], 11), "time exceeded");
    // And what is between stations is bridged, and no router's.
    let mut between = to_station(1, neighbour(1, 8).0, neighbour(1, 8).1, 64);
    assert_eq!(lab.feed(5, std::slice::from_ref(&between)), [(2, tagged(30, &between))]);
    between[..6].copy_from_slice(&GUEST.0);
    assert_eq!(lab.feed(5, std::slice::from_ref(&between)), [(4, between)]);
}

#[test]
fn a_station_that_is_not_known_any_more_is_sent_to_by_all_ports_where_stations_are_learned() {
    let (mut lab, _ribs) = met();
    let back = to_station(0, OUTSIDE[0], neighbour(1, 9).1, 64);
    let expected = routed(&back, 1, LAN[0], neighbour(1, 9).0);
    assert_eq!(lab.feed(0, std::slice::from_ref(&back)), [(5, expected.clone())]);
    lab.now = lab.now.plus(Nanos::from_secs(62));
    let sent = by_port(lab.feed(0, std::slice::from_ref(&back)));
    assert_eq!(sent, [(2, tagged(30, &expected)), (5, expected)], "and the guest gets nothing");
}

#[test]
fn what_one_router_sends_to_another_in_the_domain_is_routed_twice() {
    let (mut lab, mut ribs) = met();
    lab.via("10.0.2.0/24", &[own(1, 1).0.into()]);
    let back = Hop { gateway: Some(own(0, 1).0.into()), interface: None, weight: 1 };
    let route = Route { prefix: "10.0.0.0/24".parse().unwrap(), metric: 0, action: Action::Via(vec![back]) };
    ribs[0].apply(Origin::Static, Change::Replace(route)).unwrap();
    let frame = to_station(0, OUTSIDE[0], neighbour(2, 9).1, 64);
    let expected = routed(&frame, 2, OUTSIDE[1], neighbour(2, 9).0);
    // r1 asks for r2, all hear it, and r2's answer sets the frame free.
    let sent = by_port(lab.feed(0, std::slice::from_ref(&frame)));
    let [(1, there), (2, _), (4, _), (5, asked)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!((there, &asked[..6]), (&expected, &Mac::BROADCAST.0[..]));
    assert_eq!(lab.feed(0, &vec![frame.clone(); 64]), vec![(1, expected); 64]);
    // The other way, asking nobody: r2 learned r1 from its question.
    let frame = to_station(2, OUTSIDE[1], neighbour(0, 9).1, 64);
    assert_eq!(lab.feed(1, std::slice::from_ref(&frame)), [(0, routed(&frame, 2, OUTSIDE[0], neighbour(0, 9).0))]);
}

#[test]
fn a_loop_between_routers_ends_with_the_time_to_live() {
    let (mut lab, mut ribs) = met();
    lab.via("192.0.2.0/24", &[own(1, 1).0.into()]);
    let back = Hop { gateway: Some(own(0, 1).0.into()), interface: None, weight: 1 };
    let route = Route { prefix: "0.0.0.0/0".parse().unwrap(), metric: 0, action: Action::Via(vec![back]) };
    ribs[0].apply(Origin::Static, Change::Replace(route)).unwrap();
    let frame = to_station(0, OUTSIDE[0], Ipv4Addr::new(192, 0, 2, 1), 255);
    let expired = |lab: &Lab| -> u64 { lab.counters.iter().map(|c| c.link.drops.get(DropReason::TtlExpired)).sum() };
    // The first one asks the way.
    lab.feed(0, std::slice::from_ref(&frame));
    assert_eq!(expired(&lab), 1);
    lab.pass(Nanos::from_secs(1));
    let sent = lab.feed(0, &vec![frame; 64]);
    let errors = sent.iter().filter(|(port, frame)| *port == 0 && frame[34] == 11).count();
    assert!((1..=64).contains(&errors), "{errors}: as many as the limit on errors allows");
    assert_eq!(expired(&lab), 65);
}

#[test]
fn the_stack_behind_a_punt_port_speaks_in_the_domain() {
    let (mut lab, _ribs) = lab(true, &[0, 1]);
    lab.introduce(0, None, (0, 0), 9);
    let (mac, v4, _) = neighbour(1, 9);
    let request = arp_request(mac, v4, own(0, 1).0);
    let sent = by_port(lab.feed(5, std::slice::from_ref(&request)));
    assert_eq!(sent, [(2, tagged(30, &request)), (3, request.clone()), (4, request.clone())]);
    let operation = arp::Operation::Reply;
    let reply = arp::Packet { operation, sender_mac: LAN[0], sender: own(0, 1).0, target_mac: mac, target: v4 };
    let reply = ethernet(mac, LAN[0], 0x0806, &reply.emit());
    assert_eq!(lab.feed(3, std::slice::from_ref(&reply)), [(5, reply.clone())]);
    // The engine forwards past the stack, what is for the router goes there, and groups from there are for all.
    let through = to_station(1, LAN[0], neighbour(0, 9).1, 64);
    assert_eq!(lab.feed(5, std::slice::from_ref(&through)), [(0, routed(&through, 1, OUTSIDE[0], neighbour(0, 9).0))]);
    let to_router = to_station(1, LAN[0], own(0, 1).0, 64);
    assert_eq!(lab.feed(5, std::slice::from_ref(&to_router)), [(3, to_router)]);
    let hello = ethernet(Mac([1, 0, 0x5e, 0, 0, 5]), LAN[0], 0x0800, &[0x45; 40]);
    let sent = by_port(lab.feed(3, std::slice::from_ref(&hello)));
    assert_eq!(sent, [(2, tagged(30, &hello)), (4, hello.clone()), (5, hello)]);
    let mut spoofed = reply;
    spoofed[6..12].copy_from_slice(&LAN[1].0);
    assert_eq!(lab.feed(3, &[spoofed]), []);
    assert_eq!(lab.drops(3, DropReason::SourceSpoofed), 1);
}

#[test]
fn nobody_takes_an_interfaces_address_over() {
    let (mut lab, _ribs) = met();
    let mut frame = to_station(1, Mac::BROADCAST, neighbour(1, 8).1, 64);
    frame[6..12].copy_from_slice(&LAN[0].0);
    assert_eq!(lab.feed(4, std::slice::from_ref(&frame)), []);
    assert_eq!(lab.drops(4, DropReason::SourceSpoofed), 1);
    // From where stations are learned it passes, as those of guests do, and changes nothing.
    lab.feed(5, &[frame]);
    let out = to_station(1, LAN[0], neighbour(0, 9).1, 64);
    assert_eq!(lab.feed(5, std::slice::from_ref(&out)), [(0, routed(&out, 1, OUTSIDE[0], neighbour(0, 9).0))]);
}

#[test]
fn a_vrf_of_another_worker_is_reached_through_the_outputs() {
    // Here is r1, and r2 elsewhere.
    let (mut lab, _ribs) = lab(false, &[0]);
    lab.introduce(0, None, (0, 0), 9);
    let to_r2 = to_station(1, LAN[1], neighbour(2, 9).1, 64);
    assert_eq!(lab.feed(5, std::slice::from_ref(&to_r2)), [(STATION[1], to_r2)], "handed over as it is");
    // And what another worker hands over for r1.
    let out = to_station(1, LAN[0], neighbour(0, 9).1, 64);
    for _ in 0..100 {
        let frame = lab.pool.frame_from(&out).unwrap();
        lab.out.send(PortId(STATION[0]), frame);
    }
    lab.switch.pass_on(&mut lab.pool, &mut lab.out, lab.now);
    assert_eq!(lab.sent(), vec![(0, routed(&out, 1, OUTSIDE[0], neighbour(0, 9).0)); 100], "more than a burst");
}
