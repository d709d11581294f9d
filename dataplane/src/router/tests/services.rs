//! What the router answers itself.

use proptest::prelude::*;

use super::*;

fn echo_v4(from: Host, to: Ipv4Addr, ttl: u8, len: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
    PacketBuilder::ethernet2(from.mac.0, own(from).mac.0)
        .ipv4(from.v4.octets(), to.octets(), ttl)
        .icmpv4_echo_request(7, 9)
        .write(&mut frame, &payload)
        .unwrap();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn reply_v4(to: Host, from: Ipv4Addr, len: usize) -> (u16, Vec<u8>) {
    let mut frame = Vec::new();
    let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
    let header = Ipv4Header { dont_fragment: false, identification: 0, ..header_v4(from, to.v4, 64, 1, 0) };
    PacketBuilder::ethernet2(own(to).mac.0, to.mac.0)
        .ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        .icmpv4_echo_reply(7, 9)
        .write(&mut frame, &payload)
        .unwrap();
    frame.resize(frame.len().max(60), 0);
    (to.port, frame)
}

fn echo_v6(from: Host, to: Ipv6Addr, hop_limit: u8, len: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
    PacketBuilder::ethernet2(from.mac.0, own(from).mac.0)
        .ipv6(from.v6.octets(), to.octets(), hop_limit)
        .icmpv6_echo_request(7, 9)
        .write(&mut frame, &payload)
        .unwrap();
    frame
}

fn reply_v6(to: Host, from: Ipv6Addr, len: usize) -> (u16, Vec<u8>) {
    let mut frame = Vec::new();
    let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
    PacketBuilder::ethernet2(own(to).mac.0, to.mac.0)
        .ipv6(from.octets(), to.v6.octets(), 64)
        .icmpv6_echo_reply(7, 9)
        .write(&mut frame, &payload)
        .unwrap();
    (to.port, frame)
}

#[test]
fn echo_is_answered_from_either_interface_at_any_size() {
    let mut lab = Lab::met();
    for len in [0, 1, 18, 56, 57, 1300] {
        for address in [R0.v4, R1.v4] {
            // Time to live does not matter to the packet that has arrived.
            assert_eq!(lab.feed(0, &echo_v4(A, address, 1, len)), [reply_v4(A, address, len)]);
        }
        for address in [R0.v6, R1.v6] {
            assert_eq!(lab.feed(0, &echo_v6(A, address, 1, len)), [reply_v6(A, address, len)]);
        }
    }
    assert!(lab.drops(0).is_empty());
}

#[test]
fn echo_over_link_local_addresses_is_answered() {
    let mut lab = Lab::met();
    let here = Host { v6: "fe80::a".parse().unwrap(), ..A };
    let router = crate::wire::ndisc::link_local(R0.mac);
    lab.feed(0, &solicitation(here, router));
    assert_eq!(lab.feed(0, &echo_v6(here, router, 64, 56)), [reply_v6(here, router, 56)]);
    let other = crate::wire::ndisc::link_local(R1.mac);
    lab.dropped(0, &echo_v6(here, other, 64, 56), DropReason::Martian);
}

#[test]
fn a_jumbo_echo_of_several_chunks_is_answered() {
    let mut config = config();
    config.interfaces[0].mtu = 9000;
    let mut lab = Lab::new();
    lab.router = Router::new(config).unwrap();
    lab.feed(0, &arp_request(A, R0.v4));
    lab.feed(0, &solicitation(A, R0.v6));
    assert_eq!(lab.feed(0, &echo_v4(A, R0.v4, 64, 8000)), [reply_v4(A, R0.v4, 8000)]);
    assert_eq!(lab.feed(0, &echo_v6(A, R0.v6, 64, 8000)), [reply_v6(A, R0.v6, 8000)]);
}

#[test]
fn an_echo_request_in_fragments_is_answered_in_fragments() {
    let mut lab = Lab::met();
    let whole = echo_v4(A, R0.v4, 64, 2000);
    let reply = reply_v4(A, R0.v4, 2000).1;
    let part = |message: &[u8], from: Ipv4Addr, to: Ipv4Addr, at: usize, end: usize| {
        let mut header = header_v4(from, to, 64, 1, end - at);
        header.fragment_offset = ((at / 8) as u16).try_into().unwrap();
        header.more_fragments = end < message.len();
        ipv4(header, &message[at..end])
    };
    let request = |at, end| ethernet(R0.mac, A.mac, 0x0800, &part(&whole[34..], A.v4, R0.v4, at, end));
    let answer = |at, end| to_host(A, 0x0800, &part(&reply[34..], R0.v4, A.v4, at, end));
    lab.dropped(0, &request(1480, 2008), DropReason::NoService);
    assert_eq!(lab.feed(0, &request(0, 1480)), [answer(0, 1480)]);
    assert_eq!(lab.feed(0, &request(1480, 2008)), [answer(1480, 2008)]);
    lab.now = lab.now.plus(Nanos::from_secs(2));
    lab.dropped(0, &request(1480, 2008), DropReason::NoService);
}

#[test]
fn an_ipv6_echo_request_in_fragments_is_answered_in_fragments() {
    let mut lab = Lab::met();
    let whole = echo_v6(A, R1.v6, 64, 2000)[54..].to_vec();
    let reply = reply_v6(A, R1.v6, 2000).1[54..].to_vec();
    let part = |message: &[u8], from, to, at: usize, end: usize| {
        let place = (at as u16 | u16::from(end < message.len())).to_be_bytes();
        ipv6(from, to, 64, 44, &[&[58, 0, place[0], place[1], 0, 0, 0, 5], &message[at..end]].concat())
    };
    for (at, end) in [(0, 1232), (1232, 2008)] {
        let request = ethernet(R0.mac, A.mac, 0x86dd, &part(&whole, A.v6, R1.v6, at, end));
        let answer = to_host(A, 0x86dd, &part(&reply, R1.v6, A.v6, at, end));
        assert_eq!(lab.feed(0, &request), [answer]);
    }
}

#[test]
fn an_echo_request_with_options_is_answered() {
    let mut lab = Lab::met();
    let mut header = header_v4(A.v4, R0.v4, 64, 1, 8);
    header.options = [148, 4, 0, 0][..].try_into().unwrap();
    header.total_len += 4;
    let request = [8, 0, 0xf7, 0xfe, 0, 1, 0, 0];
    let sent = lab.feed(0, &ethernet(R0.mac, A.mac, 0x0800, &ipv4(header.clone(), &request)));
    (header.source, header.destination) = (R0.v4.octets(), A.v4.octets());
    assert_eq!(sent, [to_host(A, 0x0800, &ipv4(header, &[0, 0, 0xff, 0xfe, 0, 1, 0, 0]))]);
}

#[test]
fn a_reply_back_through_a_narrower_link_is_fragmented() {
    let mut config = config();
    config.interfaces[1].mtu = 576;
    config.interfaces[1].addresses.truncate(1);
    config.routes.truncate(1);
    let mut lab = Lab::new();
    lab.router = Router::new(config).unwrap();
    lab.feed(1, &arp_request(GATEWAY, R1.v4));
    // From behind the gateway, but it came the other way.
    let frame = echo_v4(Host { v4: FAR.v4, ..A }, R0.v4, 64, 1000);
    let sent = lab.feed(0, &frame);
    assert_eq!(sent.iter().map(|(port, frame)| (*port, frame.len())).collect::<Vec<_>>(), [(1, 586), (1, 490)]);
}

#[test]
fn other_messages_to_the_router_end_there() {
    let mut lab = Lab::met();
    for kind in [0, 3, 5, 9, 10, 13, 15, 17] {
        let packet = ipv4(header_v4(A.v4, R0.v4, 64, 1, 8), &[kind, 0, 0, 0, 0, 0, 0, 0]);
        lab.dropped(0, &ethernet(R0.mac, A.mac, 0x0800, &packet), DropReason::NoService);
    }
    for kind in [1, 129, 130, 133, 134, 137, 143] {
        let packet = icmpv6(A.v6, R0.v6, 255, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        lab.dropped(0, &ethernet(R0.mac, A.mac, 0x86dd, &packet), DropReason::NoService);
    }
    let all_nodes = Mac([0x33, 0x33, 0, 0, 0, 1]);
    let mut echo = echo_v6(A, "ff02::1".parse().unwrap(), 64, 56);
    echo[..6].copy_from_slice(&all_nodes.0);
    lab.dropped(0, &echo, DropReason::NoService);
    let mut echo = echo_v4(A, R0.v4, 64, 56);
    echo[..6].copy_from_slice(&[0xff; 6]);
    lab.dropped(0, &echo, DropReason::NotForUs);
}

#[test]
fn tcp_is_refused_as_a_port_that_is_closed() {
    let mut lab = Lab::met();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(A.mac.0, R0.mac.0)
        .ipv4(A.v4.octets(), R0.v4.octets(), 64)
        .tcp(1000, 22, 1, 1000)
        .syn()
        .write(&mut frame, &[])
        .unwrap();
    frame.resize(60, 0);
    assert_eq!(lab.feed(0, &frame)[0].1[34..36], [3, 3]);
}

proptest! {
    #[test]
    fn any_echo_is_answered_with_its_own_data(len in 0usize..1400, v6 in any::<bool>()) {
        let mut lab = Lab::met();
        match v6 {
            true => prop_assert_eq!(lab.feed(1, &echo_v6(B, R1.v6, 64, len.min(1352))), [reply_v6(B, R1.v6, len.min(1352))]),
            false => prop_assert_eq!(lab.feed(1, &echo_v4(B, R1.v4, 64, len.min(1372))), [reply_v4(B, R1.v4, len.min(1372))]),
        }
    }
}
