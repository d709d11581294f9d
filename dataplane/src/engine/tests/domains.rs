//! Guests that come and go in bridge domains between which a VRF routes, on whichever worker.

use std::net::Ipv4Addr;

use super::*;
use crate::control::{VrfRequest, VrfTopic};
use crate::wire::{arp, ipv4};

const ROUTER: [u8; 2] = [0xa0, 0xb0];

/// An engine of two workers with two bridge domains, and a VRF with an interface in each, 10.0.0.1 and 10.1.0.1.
fn engine(name: &str) -> Engine {
    let at = std::env::temp_dir().join(format!("pointsman-domains-{}-{name}", std::process::id()));
    let interface = |n: usize, domain: &str| {
        format!(
            "[[vrf.interface]]\nname = \"{domain}0\"\ndomain = \"{domain}\"\nmac = \"{}\"\naddresses = [\"10.{n}.0.1/24\"]\n",
            mac(ROUTER[n])
        )
    };
    let text = format!(
        "control = \"{}.control\"\nseats = 4\n[[worker]]\nchunks = 2048\n[[worker]]\nchunks = 2048\n\
         [[domain]]\nname = \"lan\"\n[[domain]]\nname = \"other\"\n[[vrf]]\nname = \"r1\"\n{}{}",
        at.display(),
        interface(0, "lan"),
        interface(1, "other"),
    );
    Engine::start(&Config::parse(&text, Path::new("test.toml")).unwrap()).unwrap()
}

fn ethernet(to: Mac, from: Mac, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &ethertype.to_be_bytes(), packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Guest `n` of network `net`, 10.net.0.n.
fn address(net: u8, n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, net, 0, n)
}

fn request(net: u8, n: u8) -> Vec<u8> {
    let packet = arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: mac(n),
        sender: address(net, n),
        target_mac: Mac::default(),
        target: address(net, 1),
    };
    ethernet(Mac::BROADCAST, mac(n), 0x0806, &packet.emit())
}

fn packet(to: Mac, from: Mac, (source, destination): (Ipv4Addr, Ipv4Addr), ttl: u8, serial: u16) -> Vec<u8> {
    let header =
        ipv4::Header { tos: 0, length: 20, ident: serial, fragment: 0, ttl, protocol: 17, source, destination };
    ethernet(to, from, 0x0800, &header.emit())
}

/// What came of ethertype `ethertype`.
fn came(far: &FarEnd, ethertype: [u8; 2]) -> Vec<Vec<u8>> {
    far.from_engine.lock().unwrap().iter().filter(|frame| frame[12..14] == ethertype).cloned().collect()
}

/// Whether the links of the interfaces are up, by their domains.
fn up(engine: &Engine) -> Vec<(String, bool)> {
    let request = VrfRequest { vrf: None, what: VrfTopic::Interfaces };
    let Reply::Interfaces(told) = engine.report.answer(Request::Vrf(request)) else { panic!("not interfaces") };
    assert!(told.iter().all(|interface| interface.port.is_none()));
    told.iter().map(|i| (i.domain.clone().unwrap(), i.up)).collect()
}

#[test]
fn guests_of_two_domains_reach_each_other_through_the_router_whichever_worker_they_are_on() {
    let engine = engine("reach");
    let seats = engine.seats();
    // In the first round they are on two workers, in the second on one.
    for round in 0..2 {
        let (a, far_a) = newcomer(2, "lan");
        let (b, far_b) = newcomer(3, "other");
        let seat_a = seats.take(a).unwrap();
        if round == 1 {
            drop(seats.leave(seats.take(newcomer(9, "other").0).unwrap()));
        }
        let seat_b = seats.take(b).unwrap();
        for (far, net, n) in [(&far_a, 0, 2), (&far_b, 1, 3)] {
            far.to_engine.lock().unwrap().push_back(request(net, n));
            wait_for("the router's answer", || {
                came(far, [8, 6])
                    .iter()
                    .any(|reply| reply[..6] == mac(n).0 && reply[6..12] == mac(ROUTER[usize::from(net)]).0)
            });
        }
        // Until somebody is there, an interface takes no part.
        wait_for("links", || up(&engine).iter().all(|(_, up)| *up));
        let ends = (address(0, 2), address(1, 3));
        for serial in 0..300 {
            far_a.to_engine.lock().unwrap().push_back(packet(mac(ROUTER[0]), mac(2), ends, 64, serial));
        }
        wait_for("all packets", || came(&far_b, [8, 0]).len() == 300);
        let expected: Vec<_> = (0..300).map(|serial| packet(mac(3), mac(ROUTER[1]), ends, 63, serial)).collect();
        assert_eq!(came(&far_b, [8, 0]), expected);
        drop((seats.leave(seat_a), seats.leave(seat_b)));
    }
}

#[test]
fn an_interface_is_a_station_that_nobody_else_can_be() {
    let engine = engine("station");
    let error = engine.seats().take(newcomer(ROUTER[0], "lan").0).unwrap_err().to_string();
    assert!(error.contains("port vif160: station") && error.contains("behind port r1/lan0"), "{error}");
    let Reply::Fdb(stations) = engine.report.answer(Request::Show(Topic::Fdb)) else { panic!("not stations") };
    let known: Vec<_> = stations.iter().map(|s| (&*s.domain, &*s.port)).collect();
    assert_eq!(known, [("lan", "r1/lan0"), ("other", "r1/other0")]);
    let links = |lan: bool, other: bool| vec![("lan".to_owned(), lan), ("other".to_owned(), other)];
    wait_for("nobody there", || up(&engine) == links(false, false));
    let seat = engine.seats().take(newcomer(2, "lan").0).unwrap();
    wait_for("somebody", || up(&engine) == links(true, false));
    drop(engine.seats().leave(seat));
    wait_for("nobody again", || up(&engine) == links(false, false));
}
