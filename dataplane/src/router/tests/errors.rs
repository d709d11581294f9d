//! ICMP errors, byte for byte, and the packets about which there are none.

use etherparse::icmpv6::{DestUnreachableCode, ParameterProblemCode, ParameterProblemHeader};
use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, icmpv4, icmpv6 as icmp6};

use super::*;

/// The error about `frame` that a router at port 0 owes to host A.
fn error_v4(frame: &[u8], kind: Icmpv4Type, ident: u16) -> (u16, Vec<u8>) {
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let quote = &frame[14..14 + total.min(548)];
    let mut header = header_v4(R0.v4, A.v4, 64, 1, 8 + quote.len());
    header.dscp = 48.try_into().unwrap();
    header.identification = ident;
    let message = [&Icmpv4Header::with_checksum(kind, quote).to_bytes()[..], quote].concat();
    to_host(A, 0x0800, &ipv4(header, &message))
}

/// As [`error_v4`], for IPv6, from `source`.
fn error_v6(frame: &[u8], kind: Icmpv6Type, source: Ipv6Addr) -> (u16, Vec<u8>) {
    let total = 40 + usize::from(u16::from_be_bytes([frame[18], frame[19]]));
    let quote = &frame[14..14 + total.min(1232)];
    let header = Icmpv6Header::with_checksum(kind, source.octets(), A.v6.octets(), quote).unwrap();
    to_host(A, 0x86dd, &icmpv6(source, A.v6, 64, &[&header.to_bytes()[..], quote].concat()))
}

fn unreachable_v4(header: icmpv4::DestUnreachableHeader) -> Icmpv4Type {
    Icmpv4Type::DestinationUnreachable(header)
}

const TIME_EXCEEDED: Icmpv4Type = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
const HOP_LIMIT_EXCEEDED: Icmpv6Type = Icmpv6Type::TimeExceeded(icmp6::TimeExceededCode::HopLimitExceeded);

#[test]
fn time_exceeded_in_plain_bytes() {
    let mut lab = Lab::met();
    let frame = udp(A, B.v4.into(), 1, 0);
    let sent = lab.feed(0, &frame);
    #[rustfmt::skip]
    let expected = [
        0x02, 0, 0, 0, 0, 0x0a, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x00,
        0x45, 0xc0, 0x00, 0x38, 0x00, 0x01, 0x00, 0x00, 0x40, 0x01, 0x66, 0x02, 10, 0, 0, 1, 10, 0, 0, 2,
        0x0b, 0x00, 0x0a, 0x1d, 0, 0, 0, 0,
        0x45, 0x00, 0x00, 0x1c, 0x12, 0x34, 0x00, 0x00, 0x01, 0x11, 0x92, 0x9a, 10, 0, 0, 2, 10, 0, 1, 2,
        0x0f, 0xa0, 0x82, 0x9a, 0x00, 0x08, 0x58, 0xa0,
    ];
    assert_eq!(sent, [(0, expected.to_vec())]);
    assert_eq!(lab.drops(0), [(DropReason::TtlExpired, 1)]);
}

#[test]
fn errors_about_ipv4() {
    use icmpv4::DestUnreachableHeader::{FragmentationNeeded, Network, Port, Protocol};
    let mut lab = Lab::met();
    let nowhere = IpAddr::from([192, 0, 2, 1]);
    let mut big = udp(A, B.v4.into(), 64, 1373);
    big[20] |= 0x40;
    let (header, _) = Ipv4Header::from_slice(&big[14..]).unwrap();
    big[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    let sctp = ethernet(R0.mac, A.mac, 0x0800, &ipv4(header_v4(A.v4, R0.v4, 64, 132, 8), &[0; 8]));
    for (ident, (frame, kind, reason)) in (1..).zip([
        (udp(A, B.v4.into(), 1, 600), TIME_EXCEEDED, DropReason::TtlExpired),
        (udp(A, B.v4.into(), 0, 18), TIME_EXCEEDED, DropReason::TtlExpired),
        (udp(A, nowhere, 64, 18), unreachable_v4(Network), DropReason::NoRoute),
        (udp(A, R0.v4.into(), 1, 18), unreachable_v4(Port), DropReason::NoService),
        (udp(A, R1.v4.into(), 1, 18), unreachable_v4(Port), DropReason::NoService),
        (sctp, unreachable_v4(Protocol), DropReason::NoService),
        (big, unreachable_v4(FragmentationNeeded { next_hop_mtu: 1400 }), DropReason::TooBig),
    ]) {
        let before = lab.counters[0].drops.get(reason);
        assert_eq!(lab.feed(0, &frame), [error_v4(&frame, kind.clone(), ident)], "{kind:?}");
        assert_eq!(lab.counters[0].drops.get(reason), before + 1);
    }
}

#[test]
fn errors_about_ipv6() {
    use DestUnreachableCode::{NoRoute, Port};
    let mut lab = Lab::met();
    let nowhere: IpAddr = "2001:db8:9::1".parse().unwrap();
    let packet = |to, next, payload: &[u8]| ethernet(R0.mac, A.mac, 0x86dd, &ipv6(A.v6, to, 64, next, payload));
    let problem = |code, pointer| Icmpv6Type::ParameterProblem(ParameterProblemHeader { code, pointer });
    let unknown = problem(ParameterProblemCode::UnrecognizedNextHeader, 6);
    let option = problem(ParameterProblemCode::UnrecognizedIpv6Option, 44);
    let field = problem(ParameterProblemCode::ErroneousHeaderField, 42);
    let hop_by_hop = [17, 0, 1, 0, 0x9e, 0, 1, 0];
    for (frame, kind, source, reason) in [
        (udp(A, B.v6.into(), 1, 18), HOP_LIMIT_EXCEEDED, R0.v6, DropReason::TtlExpired),
        (udp(A, B.v6.into(), 0, 1300), HOP_LIMIT_EXCEEDED, R0.v6, DropReason::TtlExpired),
        (udp(A, nowhere, 64, 18), Icmpv6Type::DestinationUnreachable(NoRoute), R0.v6, DropReason::NoRoute),
        (udp(A, R0.v6.into(), 1, 18), Icmpv6Type::DestinationUnreachable(Port), R0.v6, DropReason::NoService),
        (udp(A, R1.v6.into(), 1, 18), Icmpv6Type::DestinationUnreachable(Port), R1.v6, DropReason::NoService),
        (udp(A, B.v6.into(), 64, 1400), Icmpv6Type::PacketTooBig { mtu: 1400 }, R0.v6, DropReason::TooBig),
        (packet(R1.v6, 132, &[0; 20]), unknown, R1.v6, DropReason::NoService),
        (packet(B.v6, 0, &hop_by_hop), option, R0.v6, DropReason::IpOption),
        (packet(R0.v6, 60, &hop_by_hop), option, R0.v6, DropReason::IpOption),
        (packet(R0.v6, 43, &[17, 0, 0, 1, 0, 0, 0, 0]), field, R0.v6, DropReason::IpOption),
    ] {
        let before = lab.counters[0].drops.get(reason);
        assert_eq!(lab.feed(0, &frame), [error_v6(&frame, kind, source)], "{kind:?}");
        assert_eq!(lab.counters[0].drops.get(reason), before + 1);
    }
}

#[test]
fn a_silent_neighbour_makes_its_host_unreachable() {
    let mut lab = Lab::new();
    // The links have been up for long: who is silent is not asked anew.
    lab.pass(Nanos(0));
    lab.pass(Nanos::from_secs(1));
    lab.feed(0, &arp_request(A, R0.v4));
    lab.feed(0, &solicitation(A, R0.v6));
    let (v4, v6) = (udp(A, B.v4.into(), 64, 18), udp(A, B.v6.into(), 64, 18));
    assert_eq!(lab.feed(0, &v4).len(), 1, "a request");
    assert_eq!(lab.feed(0, &v6).len(), 1, "a solicitation");
    assert_eq!(lab.feed(0, &v4), [], "it is asked for already");
    for _ in 0..2 {
        assert!(lab.pass(Nanos::from_secs(1)).iter().filter(|(port, _)| *port == 1).count() >= 2);
    }
    let sent = lab.pass(Nanos::from_secs(1));
    // What waited had lost a hop by then, as it may (RFC 1812, 4.3.2.3).
    let waited = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        match frame[12] {
            8 => {
                frame[22] -= 1;
                let (header, _) = Ipv4Header::from_slice(&frame[14..]).unwrap();
                frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
            }
            _ => frame[21] -= 1,
        }
        frame
    };
    let host = unreachable_v4(icmpv4::DestUnreachableHeader::Host);
    let address = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address);
    assert_eq!(
        sent,
        [
            error_v4(&waited(&v4), host.clone(), 1),
            error_v4(&waited(&v4), host.clone(), 2),
            error_v6(&waited(&v6), address, R0.v6)
        ]
    );
    assert_eq!(lab.drops(0), [(DropReason::NeighbourUnresolved, 3)]);
    assert_eq!(lab.feed(0, &v4), [error_v4(&waited(&v4), host, 3)], "and the next learns it at once");
}

#[test]
fn no_errors_about_errors_groups_fragments_and_strangers() {
    let mut lab = Lab::met();
    let v4 = |header: Ipv4Header, payload: &[u8]| ethernet(R0.mac, A.mac, 0x0800, &ipv4(header, payload));
    for kind in [3, 4, 5, 11, 12, 200] {
        let frame = v4(header_v4(A.v4, B.v4, 1, 1, 8), &[kind, 0, 0, 0, 0, 0, 0, 0]);
        lab.dropped(0, &frame, DropReason::TtlExpired);
    }
    lab.dropped(0, &v4(header_v4(A.v4, B.v4, 1, 1, 0), &[]), DropReason::TtlExpired);
    let mut later = header_v4(A.v4, B.v4, 1, 17, 8);
    later.fragment_offset = 1.try_into().unwrap();
    lab.dropped(0, &v4(later, &[0; 8]), DropReason::TtlExpired);
    for source in [[10, 0, 0, 255], [10, 0, 0, 1], [10, 0, 1, 1], [203, 0, 113, 1]] {
        lab.dropped(0, &udp(Host { v4: source.into(), ..A }, B.v4.into(), 1, 18), DropReason::TtlExpired);
    }
    let v6 = |next, payload: &[u8]| ethernet(R0.mac, A.mac, 0x86dd, &ipv6(A.v6, B.v6, 1, next, payload));
    for kind in [1, 2, 3, 4, 100, 127, 137] {
        lab.dropped(0, &v6(58, &[kind, 0, 0, 0, 0, 0, 0, 0]), DropReason::TtlExpired);
        // Also behind extension headers.
        lab.dropped(0, &v6(60, &[58, 0, 1, 4, 0, 0, 0, 0, kind, 0, 0, 0]), DropReason::TtlExpired);
    }
    lab.dropped(0, &v6(44, &[58, 0, 0, 8, 0, 0, 0, 1, 128, 0, 0, 0]), DropReason::TtlExpired);
    lab.dropped(0, &v6(44, &[17, 0, 0, 8, 0, 0, 0, 1, 128, 0, 0, 0]), DropReason::TtlExpired);
    for source in ["2001:db8::1", "2001:db8:9::1"] {
        let from = Host { v6: source.parse().unwrap(), ..A };
        lab.dropped(0, &udp(from, B.v6.into(), 1, 18), DropReason::TtlExpired);
    }
    // An option to be reported for unicast only, to a group; and one to be dropped in silence.
    let group = "ff02::1".parse().unwrap();
    for (to, kind) in [(group, 0xde), (B.v6, 0x5e)] {
        let packet = ipv6(A.v6, to, 64, 0, &[59, 0, kind, 4, 0, 0, 0, 0]);
        lab.dropped(0, &ethernet(R0.mac, A.mac, 0x86dd, &packet), DropReason::IpOption);
    }
    let packet = ipv6(A.v6, group, 64, 0, &[59, 0, 0x9e, 4, 0, 0, 0, 0]);
    assert_eq!(lab.feed(0, &ethernet(R0.mac, A.mac, 0x86dd, &packet)).len(), 1, "one to be reported in any case");
}

#[test]
fn errors_are_rationed() {
    let mut lab = Lab::met();
    let (v4, v6) = (udp(A, B.v4.into(), 1, 18), udp(A, B.v6.into(), 1, 18));
    let count = |lab: &mut Lab, frame: &[u8]| (0..100).map(|_| lab.feed(0, frame).len()).sum::<usize>();
    assert_eq!(count(&mut lab, &v4), 20);
    assert_eq!(count(&mut lab, &v6), 20);
    lab.now = lab.now.plus(Nanos::from_millis(100));
    assert_eq!(count(&mut lab, &v4), 2);
    assert_eq!(lab.drops(0), [(DropReason::TtlExpired, 300)]);
}

#[test]
fn an_error_to_a_sender_behind_a_gateway_goes_through_it() {
    let mut lab = Lab::met();
    let frame = udp(Host { mac: GATEWAY.mac, ..FAR }, A.v4.into(), 1, 18);
    let sent = lab.feed(1, &frame);
    assert_eq!((sent.len(), sent[0].0), (1, 1));
    assert_eq!(sent[0].1[..12], [GATEWAY.mac.0, R1.mac.0].concat());
    assert_eq!(sent[0].1[26..34], [R1.v4.octets(), FAR.v4.octets()].concat());
}
