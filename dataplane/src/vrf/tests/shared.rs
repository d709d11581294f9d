//! Interfaces of several VRFs on one port, untagged and in a VLAN, each with an Ethernet address of its own.

use super::*;

const ROUTERS: u8 = 3;

/// The addresses of router `n`: on port 0, and in VLAN 20 of port 2.
fn macs(n: u8) -> [Mac; 2] {
    [Mac([2, 0, 0, 0, 0xa, n]), Mac([2, 0, 0, 0, 0xb, n])]
}

/// Three routers between port 0 and VLAN 20 of port 2 with the same IP addresses. Port 3 is the second one's stack's.
fn lab() -> (Lab, Vec<Rib>) {
    let arena = Arena::new(ArenaConfig { blocks: 4096, lones: 4096, tables: 8 }).unwrap();
    let mut places = vec![Place::default(); PORTS];
    let (mut vrfs, mut ribs, mut counted) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..ROUTERS {
        let config = RibConfig { max_routes: 100, interfaces: 2, fib: FibConfig::default() };
        let mut rib = Rib::new(&arena, config).unwrap();
        let mut interfaces = Vec::new();
        for (id, (port, mac)) in [0, 2].into_iter().zip(macs(n)).enumerate() {
            let own: IpAddr = neighbour(port, 1).1.into();
            let hop = Hop { gateway: None, interface: Some(InterfaceId(id as u16)), weight: 1 };
            for (length, action) in [(24, Action::Via(vec![hop])), (32, Action::Local)] {
                let route = Route { prefix: Prefix::of(own, length).unwrap(), metric: 0, action };
                rib.apply(Origin::Connected, Change::Replace(route)).unwrap();
            }
            let vlan = (port == 2).then(|| VlanId::new(20).unwrap());
            let target = Target { vrf: n.into(), interface: InterfaceId(id as u16), mac };
            places[usize::from(port)].add(vlan, target);
            interfaces.push(VrfInterface {
                config: InterfaceConfig {
                    mac,
                    mtu: 1500,
                    addresses: vec![InterfaceAddress { address: own, length: 24 }],
                },
                port: PortId(port.into()),
                vlan,
                punt: (n == 1 && port == 0).then_some(PortId(3)),
                check: SourceCheck::Off,
                vrrp: Vec::new(),
            });
        }
        let (vrf, counters) = Vrf::new(&interfaces, rib.fib().clone(), PuntRate::DEFAULT, Arc::new(Board::default()));
        vrfs.push(vrf);
        ribs.push(rib);
        counted.extend(counters);
    }
    places[3] = Place::Punt(1, InterfaceId(0));
    let rib = ribs.pop().unwrap();
    (Lab::assemble(&arena, vrfs, places, (rib, counted)), ribs)
}

fn reply(from: Mac, own: Ipv4Addr, to: Mac, asked: Ipv4Addr) -> Vec<u8> {
    let operation = arp::Operation::Reply;
    let packet = arp::Packet { operation, sender_mac: from, sender: own, target_mac: to, target: asked };
    ethernet(to, from, 0x0806, &packet.emit())
}

/// A packet for router `n` on the port of `side`, from its neighbour there to that of the other.
fn packet(n: u8, side: u8, mark: u16) -> Vec<u8> {
    let mut frame = udp_v4(side, neighbour(side, 9).1, neighbour(2 - side, 9).1, 64, mark);
    frame[..6].copy_from_slice(&macs(n)[usize::from(side / 2)].0);
    frame
}

/// The same as router `n` sends it on.
fn sent_on(frame: &[u8], n: u8, side: u8) -> (u16, Vec<u8>) {
    let other = 2 - side;
    let mut frame = forwarded(frame, other);
    frame[6..12].copy_from_slice(&macs(n)[usize::from(other / 2)].0);
    (other.into(), frame)
}

/// All routers know neighbour 9 on both sides.
fn met() -> (Lab, Vec<Rib>) {
    let (mut lab, ribs) = lab();
    for side in [0, 2] {
        let (mac, v4, _) = neighbour(side, 9);
        lab.arrive(side, &arp_request(mac, v4, neighbour(side, 1).1));
    }
    (lab, ribs)
}

#[test]
fn each_answers_for_itself_or_its_stack_does() {
    let (mut lab, _ribs) = lab();
    let (mac, v4, _) = neighbour(0, 9);
    let own = neighbour(0, 1).1;
    let request = arp_request(mac, v4, own);
    let mut sent = lab.feed(0, std::slice::from_ref(&request));
    sent.sort();
    let answer = |n| (0, reply(macs(n)[0], own, mac, v4));
    assert_eq!(sent, [answer(0), answer(2), (3, request)]);
    let (mac, v4, _) = neighbour(2, 9);
    let own = neighbour(2, 1).1;
    let mut sent = lab.feed(2, &[tagged(20, &arp_request(mac, v4, own))]);
    sent.sort();
    assert_eq!(sent, (0..ROUTERS).map(|n| (2, tagged(20, &reply(macs(n)[1], own, mac, v4)))).collect::<Vec<_>>());
    // A ping for one is answered by that one alone, though all have the address.
    let mut echo = udp_v4(0, neighbour(0, 9).1, neighbour(0, 1).1, 64, 1);
    echo[..6].copy_from_slice(&macs(2)[0].0);
    let sent = lab.feed(0, &[echo]);
    assert_eq!(sent.iter().map(|(port, frame)| (*port, &frame[6..12])).collect::<Vec<_>>(), [(0, &macs(2)[0].0[..])]);
    // What the stack sends leaves as it is.
    let hello = ethernet(Mac([1, 0, 0x5e, 0, 0, 5]), macs(1)[0], 0x0800, &[0x45]);
    assert_eq!(lab.feed(3, std::slice::from_ref(&hello)), [(0, hello)]);
}

#[test]
fn unicast_goes_by_its_destination_in_order() {
    let (mut lab, _ribs) = met();
    let stranger = {
        let mut frame = packet(0, 0, 0);
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0xa, 99]);
        frame
    };
    for side in [0, 2] {
        let tag = |frame: Vec<u8>| if side == 2 { tagged(20, &frame) } else { frame };
        // Routers by turns and in rows, strangers and a group between them.
        let order: Vec<u8> = (0..57).map(|n| if n < 30 { n % ROUTERS } else { n / 10 % ROUTERS }).collect();
        let mut frames: Vec<_> = order.iter().zip(0..).map(|(&n, mark)| packet(n, side, mark)).collect();
        let expected: Vec<Vec<_>> = (0..ROUTERS)
            .map(|n| frames.iter().zip(&order).filter(|(_, of)| **of == n).map(|(f, _)| sent_on(f, n, side)).collect())
            .collect();
        let (mac, v4, _) = neighbour(side, 8);
        frames.insert(40, arp_request(mac, v4, Ipv4Addr::new(10, 0, side, 77)));
        frames.insert(20, stranger.clone());
        frames.insert(0, stranger.clone());
        let before = lab.drops(side.into(), DropReason::NotForUs);
        let sent = lab.feed(side.into(), &frames.into_iter().map(tag).collect::<Vec<_>>());
        assert_eq!(lab.drops(side.into(), DropReason::NotForUs) - before, 2);
        for (n, expected) in (0..ROUTERS).zip(&expected) {
            let own = macs(n)[usize::from((2 - side) / 2)].0;
            let its: Vec<_> = sent.iter().filter(|(port, f)| *port == u16::from(2 - side) && f[6..12] == own).collect();
            assert_eq!(its, expected.iter().collect::<Vec<_>>(), "router {n} from port {side}");
        }
        // The request, of which no router but the one with a stack says anything.
        let others = sent.len() - order.len();
        assert_eq!(others, usize::from(side == 0), "to the stack");
    }
    // Each has counted its own, and the groups that it was sent.
    let received = |n: usize| lab.counters[n].link.rx_frames.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((received(0), received(2), received(4)), (10 + 10 + 2, 10 + 10 + 2, 10 + 7 + 2));
}

#[test]
fn other_vlans_of_the_port_are_bridged_as_ever() {
    let (mut lab, _ribs) = met();
    let bridged = ethernet(Mac::BROADCAST, Mac([2, 9, 0, 0, 0, 1]), 0x1234, &[]);
    let routed = packet(1, 2, 1);
    let mut sent = lab.feed(2, &[tagged(30, &bridged), tagged(20, &routed), tagged(30, &bridged), routed.clone()]);
    sent.sort();
    assert_eq!(sent, [sent_on(&routed, 1, 2), (5, bridged.clone()), (5, bridged)]);
    assert_eq!(lab.drops(2, DropReason::NoDomain), 1);
    // What ends within its header is nobody's.
    assert_eq!(lab.feed(0, &[vec![2, 0, 0, 0, 0xa, 0, 2]]), []);
    assert_eq!(lab.drops(0, DropReason::Runt), 1);
}

#[test]
fn groups_that_there_is_no_memory_for_are_counted() {
    let (mut lab, _ribs) = met();
    let mut held = Vec::new();
    while lab.pool.available() > 1 {
        held.push(lab.pool.alloc().unwrap());
    }
    let (mac, v4, _) = neighbour(0, 9);
    let sent = lab.feed(0, &[arp_request(mac, v4, neighbour(0, 1).1)]);
    assert_eq!(sent.len(), 1, "the last one has the frame itself: {sent:?}");
    assert_eq!(lab.drops(0, DropReason::PoolExhausted), 2);
    lab.pool.free_all(held);
}
