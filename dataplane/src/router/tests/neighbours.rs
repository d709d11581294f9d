//! ARP and neighbour discovery, byte for byte.

use etherparse::{ArpOperation, SlicedPacket};

use super::*;
use crate::wire::ndisc::{Flags, link_local, multicast_mac, solicited_node};

const BROADCAST: Mac = Mac::BROADCAST;
const NOBODY: Mac = Mac([0; 6]);

fn advertisement(from: Host, to: Host, flags: Flags, link: bool) -> Vec<u8> {
    let message = Message::emit(Kind::Advertisement(flags), from.v6, from.mac, from.v6, to.v6);
    let message = match link {
        true => message.to_vec(),
        false => {
            let mut short = message[..24].to_vec();
            short[2..4].fill(0);
            let sum = crate::wire::icmpv6::pseudo_header(from.v6, to.v6, 24).bytes(&short).checksum();
            short[2..4].copy_from_slice(&sum.to_be_bytes());
            short
        }
    };
    ethernet(to.mac, from.mac, 0x86dd, &icmpv6(from.v6, to.v6, 255, &message))
}

const SOLICITED: Flags = Flags { router: false, solicited: true, overrides: true };

/// A solicitation as etherparse would write it.
fn expected_solicitation(from: Host, source: Ipv6Addr, target: Ipv6Addr, to: Option<Mac>) -> (u16, Vec<u8>) {
    let group = solicited_node(target);
    let destination = if to.is_some() { target } else { group };
    let body = [&target.octets()[..], &[1, 1], &from.mac.0].concat();
    let kind = etherparse::Icmpv6Type::NeighborSolicitation;
    let header = etherparse::Icmpv6Header::with_checksum(kind, source.octets(), destination.octets(), &body).unwrap();
    let packet = icmpv6(source, destination, 255, &[&header.to_bytes()[..], &body].concat());
    (from.port, ethernet(to.unwrap_or(multicast_mac(group)), from.mac, 0x86dd, &packet))
}

fn expected_advertisement(from: Host, own: Ipv6Addr, to: (Ipv6Addr, Mac), solicited: bool) -> (u16, Vec<u8>) {
    let body = [&own.octets()[..], &[2, 1], &from.mac.0].concat();
    let kind = etherparse::Icmpv6Type::NeighborAdvertisement(etherparse::icmpv6::NeighborAdvertisementHeader {
        router: true,
        solicited,
        r#override: true,
    });
    let header = etherparse::Icmpv6Header::with_checksum(kind, own.octets(), to.0.octets(), &body).unwrap();
    let packet = icmpv6(own, to.0, 255, &[&header.to_bytes()[..], &body].concat());
    (from.port, ethernet(to.1, from.mac, 0x86dd, &packet))
}

#[test]
fn a_request_for_our_address_is_answered_in_plain_bytes() {
    let mut lab = Lab::new();
    #[rustfmt::skip]
    let mut expected = vec![
        2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x01, 0x08, 0x06,
        0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 0x01, 10, 0, 0, 1, 2, 0, 0, 0, 0, 0x0a, 10, 0, 0, 2,
    ];
    expected.resize(60, 0);
    assert_eq!(lab.feed(0, &arp_request(A, R0.v4)), [(0, expected)]);
}

#[test]
fn requests_for_others_are_not_answered() {
    let mut lab = Lab::new();
    for target in [A.v4, R1.v4, B.v4, [10, 0, 0, 3].into()] {
        assert_eq!(lab.feed(0, &arp_request(A, target)), [], "{target}");
    }
    for target in [A.v6, R1.v6, B.v6, link_local(R1.mac)] {
        let frame = solicitation(A, target);
        lab.feed(0, &frame);
        assert!(lab.sent().is_empty(), "{target}");
    }
}

#[test]
fn the_first_frames_wait_for_the_answer_and_leave_in_order() {
    let mut lab = Lab::new();
    let frames: Vec<_> = (0..6).map(|i| udp(A, B.v4.into(), 64, 20 + i)).collect();
    let request = (1, arp(BROADCAST, R1.mac, 1, (R1.mac, R1.v4), (NOBODY, B.v4)));
    assert_eq!(lab.feed(0, &frames[0]), [request]);
    for frame in &frames[1..] {
        assert_eq!(lab.feed(0, frame), []);
    }
    assert_eq!(lab.drops(0), [(DropReason::NeighbourUnresolved, 2)], "four wait");
    let sent = lab.feed(1, &arp(R1.mac, B.mac, 2, (B.mac, B.v4), (R1.mac, R1.v4)));
    assert_eq!(
        sent.iter().map(|(port, frame)| (*port, frame.len())).collect::<Vec<_>>(),
        [(1, 62), (1, 63), (1, 64), (1, 65)]
    );
    for (_, frame) in &sent {
        assert_eq!(frame[..12], [B.mac.0, R1.mac.0].concat());
        assert!(SlicedPacket::from_ethernet(frame).is_ok());
        assert_eq!(frame[22], 63);
    }
}

#[test]
fn the_same_for_ipv6() {
    let mut lab = Lab::new();
    let frame = udp(A, B.v6.into(), 64, 20);
    assert_eq!(lab.feed(0, &frame), [expected_solicitation(R1, R1.v6, B.v6, None)]);
    assert_eq!(lab.feed(0, &frame), []);
    assert_eq!(lab.feed(1, &advertisement(B, R1, SOLICITED, false)), [], "without an address it is no answer");
    let sent = lab.feed(1, &advertisement(B, R1, SOLICITED, true));
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].1[..12], [B.mac.0, R1.mac.0].concat());
    let through = udp(A, FAR.v6.into(), 64, 20);
    assert_eq!(lab.feed(0, &through), [expected_solicitation(R1, R1.v6, GATEWAY.v6, None)]);
    lab.feed(1, &advertisement(GATEWAY, R1, SOLICITED, true));
}

#[test]
fn who_was_asked_while_a_link_was_coming_up_is_asked_again() {
    let mut lab = Lab::new();
    lab.pass(Nanos(0));
    lab.pass(Nanos::from_secs(1));
    lab.out.set_up(PortId(1), false);
    lab.pass(Nanos::from_millis(10));
    lab.feed(0, &udp(A, B.v4.into(), 64, 20));
    lab.sent();
    lab.out.set_up(PortId(1), true);
    let request = (1, arp(BROADCAST, R1.mac, 1, (R1.mac, R1.v4), (NOBODY, B.v4)));
    for pause in [0, 25, 50, 100, 200] {
        let sent = lab.pass(Nanos::from_millis(pause));
        assert_eq!(sent.last(), Some(&request), "with every announcement: {sent:?}");
    }
    let sent = lab.feed(1, &arp(R1.mac, B.mac, 2, (B.mac, B.v4), (R1.mac, R1.v4)));
    assert_eq!(sent.len(), 1, "and the frame that waited goes on");
    assert!(!lab.pass(Nanos::from_millis(625)).contains(&request));
}

#[test]
fn a_silent_neighbour_is_asked_once_a_second() {
    let mut lab = Lab::new();
    lab.pass(Nanos(0));
    lab.pass(Nanos::from_secs(1));
    assert_eq!(lab.feed(0, &udp(A, B.v4.into(), 64, 20)).len(), 1);
    assert_eq!(lab.feed(0, &udp(A, B.v6.into(), 64, 20)).len(), 1);
    assert_eq!(lab.pass(Nanos::from_millis(990)), []);
    for _ in 0..2 {
        let request = (1, arp(BROADCAST, R1.mac, 1, (R1.mac, R1.v4), (NOBODY, B.v4)));
        assert_eq!(lab.pass(Nanos::from_millis(10)), [request, expected_solicitation(R1, R1.v6, B.v6, None)]);
        assert_eq!(lab.pass(Nanos::from_millis(990)), []);
    }
    // Host A is not known either, so the error about it waits in turn.
    let sent = lab.pass(Nanos::from_millis(10));
    assert_eq!(sent[0], (0, arp(BROADCAST, R0.mac, 1, (R0.mac, R0.v4), (NOBODY, A.v4))));
    assert_eq!(sent[1], expected_solicitation(R0, R0.v6, A.v6, None));
}

#[test]
fn a_neighbour_in_use_is_asked_again_by_unicast_while_frames_keep_going() {
    let mut lab = Lab::met();
    let (v4, v6) = (udp(A, B.v4.into(), 64, 20), udp(A, B.v6.into(), 64, 20));
    let mut probes = Vec::new();
    for second in 0..12 {
        assert_eq!(lab.feed(0, &v4).len(), 1, "second {second}");
        assert_eq!(lab.feed(0, &v6).len(), 1, "second {second}");
        let sent = lab.pass(Nanos::from_secs(1));
        probes.extend(sent.into_iter().filter(|(_, frame)| frame[..6] == B.mac.0));
        if second == 6 {
            lab.feed(1, &arp(R1.mac, B.mac, 2, (B.mac, B.v4), (R1.mac, R1.v4)));
            lab.feed(1, &advertisement(B, R1, SOLICITED, false));
        }
    }
    let request = (1, arp(B.mac, R1.mac, 1, (R1.mac, R1.v4), (B.mac, B.v4)));
    let solicitation = expected_solicitation(R1, R1.v6, B.v6, Some(B.mac));
    assert!(probes.contains(&request) && probes.contains(&solicitation));
    assert!(probes.len() <= 6, "and no more once it answered: {}", probes.len());
}

#[test]
fn one_that_does_not_answer_its_probes_is_forgotten() {
    let mut lab = Lab::met();
    let frame = udp(A, B.v4.into(), 64, 20);
    let mut asked_all = false;
    for _ in 0..10 {
        asked_all |= lab.feed(0, &frame).iter().any(|(_, frame)| frame[..6] == BROADCAST.0);
        lab.pass(Nanos::from_secs(1));
    }
    assert!(asked_all, "it is asked for anew, by broadcast");
}

#[test]
fn probes_and_announcements_of_others_are_taken_as_what_they_are() {
    let mut lab = Lab::new();
    // A probe (RFC 5227) is answered, and its sender, who has no address yet, not learned.
    let probe = arp(BROADCAST, A.mac, 1, (A.mac, [0, 0, 0, 0].into()), (NOBODY, R0.v4));
    let sent = lab.feed(0, &probe);
    assert_eq!(sent, [(0, arp(A.mac, R0.mac, 2, (R0.mac, R0.v4), (A.mac, [0, 0, 0, 0].into())))]);
    // An announcement by someone unknown is not learned: the first packet to it still asks.
    lab.feed(0, &arp(BROADCAST, A.mac, 1, (A.mac, A.v4), (NOBODY, A.v4)));
    assert_eq!(lab.feed(1, &udp(B, A.v4.into(), 64, 20))[0].1[12..14], [8, 6]);
    // An answer that nobody asked for, of someone unknown, neither.
    lab.feed(1, &arp(R1.mac, B.mac, 2, (B.mac, B.v4), (R1.mac, R1.v4)));
    assert_eq!(lab.feed(0, &udp(A, B.v4.into(), 64, 20))[0].1[12..14], [8, 6]);
}

#[test]
fn senders_of_other_networks_are_answered_but_not_learned() {
    let mut lab = Lab::new();
    let stranger = Host { v4: [192, 0, 2, 7].into(), ..A };
    assert_eq!(lab.feed(0, &arp_request(stranger, R0.v4)).len(), 1);
    let misplaced = Host { v4: B.v4, ..A };
    assert_eq!(lab.feed(0, &arp_request(misplaced, R0.v4)).len(), 1);
    assert_eq!(lab.feed(0, &udp(A, B.v4.into(), 64, 20))[0].0, 1, "B is still asked for where it belongs");
}

#[test]
fn duplicates_of_our_address_are_told_so() {
    let mut lab = Lab::new();
    let nobody = Host { v6: Ipv6Addr::UNSPECIFIED, ..A };
    let mut message = Message::emit(Kind::Solicitation, R0.v6, A.mac, nobody.v6, solicited_node(R0.v6))[..24].to_vec();
    message[2..4].fill(0);
    let sum = crate::wire::icmpv6::pseudo_header(nobody.v6, solicited_node(R0.v6), 24).bytes(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let packet = icmpv6(nobody.v6, solicited_node(R0.v6), 255, &message);
    let frame = ethernet(multicast_mac(solicited_node(R0.v6)), A.mac, 0x86dd, &packet);
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    assert_eq!(lab.feed(0, &frame), [expected_advertisement(R0, R0.v6, (all, multicast_mac(all)), false)]);
    // Someone who has one of our addresses is not believed.
    lab.dropped(0, &arp_request(Host { v4: R0.v4, ..A }, R0.v4), DropReason::NeighbourInvalid);
    let message = Message::emit(Kind::Advertisement(SOLICITED), R0.v6, A.mac, A.v6, R0.v6);
    let packet = icmpv6(A.v6, R0.v6, 255, &message);
    lab.dropped(0, &ethernet(R0.mac, A.mac, 0x86dd, &packet), DropReason::NeighbourInvalid);
    lab.dropped(0, &advertisement(Host { v6: R0.v6, ..A }, R0, SOLICITED, true), DropReason::Martian);
}

#[test]
fn a_solicitation_is_answered_in_plain_bytes() {
    let mut lab = Lab::new();
    assert_eq!(lab.feed(0, &solicitation(A, R0.v6)), [expected_advertisement(R0, R0.v6, (A.v6, A.mac), true)]);
    let link = link_local(R0.mac);
    assert_eq!(lab.feed(0, &solicitation(A, link)), [expected_advertisement(R0, link, (A.v6, A.mac), true)]);
}

#[test]
fn broken_messages_are_dropped() {
    let mut lab = Lab::met();
    let good = solicitation(A, R0.v6);
    for (at, value) in [(21, 254), (54, 137), (55, 1), (56, 0x55), (78, 9), (80, 1), (79, 0)] {
        let mut frame = good.clone();
        frame[at] = value;
        let reason = if at == 54 { DropReason::NoService } else { DropReason::NeighbourInvalid };
        lab.dropped(0, &frame, reason);
    }
    for (at, value) in [(15, 6), (21, 3), (22, 1)] {
        let mut frame = arp_request(A, R0.v4);
        frame[at] = value;
        lab.dropped(0, &frame, DropReason::NeighbourInvalid);
    }
    lab.dropped(0, &arp_request(A, R0.v4)[..41], DropReason::NeighbourInvalid);
    lab.dropped(0, &arp_request(Host { mac: R0.mac, ..A }, R0.v4), DropReason::NeighbourInvalid);
    let to_group = Host { v6: "ff02::1".parse().unwrap(), ..R1 };
    lab.dropped(1, &advertisement(B, to_group, SOLICITED, true), DropReason::NeighbourInvalid);
}

#[test]
fn a_port_that_comes_up_tells_its_addresses_and_tells_them_again() {
    let mut lab = Lab::new();
    lab.out.set_up(PortId(1), false);
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    let request = |r: Host| (r.port, arp(BROADCAST, r.mac, 1, (r.mac, r.v4), (NOBODY, r.v4)));
    let announcements = |r: Host| {
        vec![
            request(r),
            expected_advertisement(r, link_local(r.mac), (all, multicast_mac(all)), false),
            expected_advertisement(r, r.v6, (all, multicast_mac(all)), false),
        ]
    };
    assert_eq!(lab.router.next_announcement(), None, "nothing is up yet");
    assert_eq!(lab.pass(Nanos::from_millis(10)), announcements(R0));
    assert_eq!(lab.router.next_announcement(), Some(lab.now.plus(Nanos::from_millis(25))));
    for pause in [25, 50, 100, 200] {
        assert_eq!(lab.pass(Nanos::from_millis(pause - 1)), []);
        assert_eq!(lab.pass(Nanos::from_millis(1)), [request(R0)], "for switches");
    }
    assert_eq!(lab.pass(Nanos::from_millis(624)), []);
    assert_eq!(lab.pass(Nanos::from_millis(1)), announcements(R0), "a second after the first");
    assert_eq!(lab.router.next_announcement(), None);
    assert_eq!(lab.pass(Nanos::from_secs(5)), []);
    lab.out.set_up(PortId(1), true);
    assert_eq!(lab.pass(Nanos::from_millis(10)), announcements(R1));
    lab.pass(Nanos::from_secs(1));
    lab.out.set_up(PortId(1), false);
    assert_eq!(lab.pass(Nanos::from_secs(1)), []);
    lab.out.set_up(PortId(1), true);
    assert_eq!(lab.pass(Nanos::from_secs(1)), announcements(R1), "and again when it comes back");
    lab.out.set_up(PortId(1), false);
    lab.pass(Nanos(0));
    lab.out.set_up(PortId(1), true);
    assert_eq!(lab.pass(Nanos(0)), announcements(R1));
    assert_eq!(lab.pass(Nanos::from_millis(200)), [request(R1)], "one for those that it is too late for");
    assert_eq!(lab.pass(Nanos::from_millis(174)), []);
    let (operation, packet) = match SlicedPacket::from_ethernet(&arp_request(A, R0.v4)).unwrap().net {
        Some(etherparse::NetSlice::Arp(arp)) => (arp.operation(), arp.sender_protocol_addr().to_vec()),
        _ => panic!("etherparse reads our ARP as ARP"),
    };
    assert_eq!((operation, packet), (ArpOperation::REQUEST, A.v4.octets().to_vec()));
}
