//! What passes, and what only looks as if it might.

use proptest::prelude::*;

use super::*;

/// What a router may change of a packet that it forwards, and nothing else.
fn forwarded(frame: &[u8], to: Host) -> (u16, Vec<u8>) {
    let mut expected = frame.to_vec();
    expected[..6].copy_from_slice(&to.mac.0);
    expected[6..12].copy_from_slice(&own(to).mac.0);
    if expected[12..14] == [8, 0] {
        expected[14 + 8] -= 1;
        let (mut header, _) = Ipv4Header::from_slice(&expected[14..]).unwrap();
        header.header_checksum = header.calc_header_checksum();
        let bytes = header.to_bytes();
        expected[14..14 + bytes.len()].copy_from_slice(&bytes);
    } else {
        expected[14 + 7] -= 1;
    }
    (to.port, expected)
}

#[test]
fn packets_pass_to_neighbours_and_through_gateways() {
    let mut lab = Lab::met();
    for (from, address, to) in [
        (A, IpAddr::from(B.v4), B),
        (A, FAR.v4.into(), GATEWAY),
        (B, A.v4.into(), A),
        (A, B.v6.into(), B),
        (A, FAR.v6.into(), GATEWAY),
        (B, A.v6.into(), A),
        // Back out of the port it came in on: allowed, without a redirect.
        (B, FAR.v4.into(), GATEWAY),
    ] {
        // The first time by the slow path, then by the fast one.
        for len in [0, 18, 19, 1000, 1300] {
            let frame = udp(from, address, 64, len);
            assert_eq!(lab.feed(from.port, &frame), [forwarded(&frame, to)], "{address} {len}");
        }
    }
    assert!(lab.drops(0).is_empty() && lab.drops(1).is_empty());
}

#[test]
fn jumbo_frames_of_several_chunks_pass() {
    let mut lab = Lab::new();
    let mut config = config();
    config.interfaces[0].mtu = 9000;
    config.interfaces[1].mtu = 9000;
    lab.router = Router::new(config).unwrap();
    for host in [A, B] {
        lab.feed(host.port, &arp_request(host, own(host).v4));
        lab.feed(host.port, &solicitation(host, own(host).v6));
    }
    for to in [IpAddr::from(B.v4), B.v6.into()] {
        for _ in 0..2 {
            let frame = udp(A, to, 64, 8900);
            assert_eq!(lab.feed(0, &frame), [forwarded(&frame, B)]);
        }
    }
}

#[test]
fn options_do_not_stop_a_packet_unless_they_choose_the_route() {
    let mut lab = Lab::met();
    let mut header = header_v4(A.v4, B.v4, 64, 17, 8);
    header.options = [7, 7, 4, 0, 0, 0, 0, 0][..].try_into().unwrap();
    header.total_len += 8;
    let frame = ethernet(R0.mac, A.mac, 0x0800, &ipv4(header.clone(), &[0; 8]));
    for _ in 0..2 {
        assert_eq!(lab.feed(0, &frame), [forwarded(&frame, B)]);
    }
    header.options = [131, 7, 4, 10, 0, 1, 2, 0][..].try_into().unwrap();
    lab.dropped(0, &ethernet(R0.mac, A.mac, 0x0800, &ipv4(header, &[0; 8])), DropReason::IpOption);
}

#[test]
fn headers_that_lie_are_dropped() {
    let mut lab = Lab::met();
    let good = udp(A, B.v4.into(), 64, 18);
    lab.feed(0, &good);
    let mut bad = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        change(&mut frame);
        let mut header = Ipv4Header::from_slice(&frame[14..]).map(|(header, _)| header).ok();
        // Only what is meant to be wrong is wrong.
        if let Some(header) = header.as_mut().filter(|_| frame[24..26] == good[24..26]) {
            frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        lab.dropped(0, &frame, DropReason::IpHeaderInvalid);
    };
    bad(&|f| f[14] = 0x65);
    bad(&|f| f[14] = 0x44);
    bad(&|f| f[14] = 0x4f);
    bad(&|f| (f[16], f[17]) = (0, 19));
    bad(&|f| (f[16], f[17]) = (0, 47));
    bad(&|f| (f[16], f[17]) = (0xff, 0xff));
    bad(&|f| f[25] ^= 1);
    bad(&|f| f.truncate(33));
    bad(&|f| f.truncate(14));
    let v6 = udp(A, B.v6.into(), 64, 18);
    lab.feed(0, &v6);
    for (at, value) in [(14, 0x40), (18, 1), (19, 47)] {
        let mut frame = v6.clone();
        frame[at] = value;
        lab.dropped(0, &frame, DropReason::IpHeaderInvalid);
    }
    lab.dropped(0, &v6[..53], DropReason::IpHeaderInvalid);
    lab.dropped(0, &v6[..13], DropReason::Runt);
}

#[test]
fn frames_for_others_are_left_alone() {
    let mut lab = Lab::met();
    for to in [Mac([2, 0, 0, 0, 0, 9]), R1.mac, Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let mut frame = udp(A, B.v4.into(), 64, 18);
        frame[..6].copy_from_slice(&to.0);
        lab.dropped(0, &frame, DropReason::NotForUs);
    }
    let mut frame = udp(A, B.v6.into(), 64, 18);
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    lab.dropped(0, &frame, DropReason::NotForUs);
    let mut frame = udp(A, B.v4.into(), 64, 18);
    frame[12..14].copy_from_slice(&[0x81, 0]);
    lab.dropped(0, &frame, DropReason::NotForUs);
    for to in [[10, 0, 1, 255], [10, 0, 1, 0], [10, 0, 0, 255], [255, 255, 255, 255], [224, 0, 0, 5]] {
        lab.dropped(0, &udp(A, Ipv4Addr::from(to).into(), 64, 18), DropReason::NotForUs);
    }
    for to in ["ff02::1234", "ff0e::1", "2001:db8:1::"] {
        lab.dropped(0, &udp(A, to.parse::<Ipv6Addr>().unwrap().into(), 64, 18), DropReason::NotForUs);
    }
}

#[test]
fn martians_are_dropped() {
    let mut lab = Lab::met();
    lab.feed(0, &udp(A, B.v4.into(), 64, 18));
    lab.feed(0, &udp(A, B.v6.into(), 64, 18));
    for source in [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255, 255, 255, 255]] {
        let from = Host { v4: source.into(), ..A };
        lab.dropped(0, &udp(from, B.v4.into(), 64, 18), DropReason::Martian);
    }
    for to in [[0, 0, 0, 0], [127, 0, 0, 1], [241, 0, 0, 1]] {
        lab.dropped(0, &udp(A, Ipv4Addr::from(to).into(), 64, 18), DropReason::Martian);
    }
    for source in ["::", "::1", "ff02::1", "::ffff:10.0.0.2", "fe80::2"] {
        let from = Host { v6: source.parse().unwrap(), ..A };
        lab.dropped(0, &udp(from, B.v6.into(), 64, 18), DropReason::Martian);
    }
    for to in ["::", "::1", "::ffff:10.0.1.2", "fe80::2"] {
        lab.dropped(0, &udp(A, to.parse::<Ipv6Addr>().unwrap().into(), 64, 18), DropReason::Martian);
    }
    // From the router itself, to the router.
    lab.dropped(0, &udp(Host { v4: R0.v4, ..A }, R1.v4.into(), 64, 18), DropReason::Martian);
    lab.dropped(0, &udp(Host { v6: R0.v6, ..A }, R1.v6.into(), 64, 18), DropReason::Martian);
}

/// Puts fragments together again, as a host would; all headers must agree.
fn reassemble(sent: &Sent, header_len: usize) -> Vec<u8> {
    let mut data = Vec::new();
    for (i, (port, frame)) in sent.iter().enumerate() {
        let (header, rest) = Ipv4Header::from_slice(&frame[14..]).unwrap();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!((*port, header.identification, header.time_to_live), (1, 0x1234, 63));
        assert_eq!(usize::from(header.fragment_offset.value()) * 8, data.len());
        assert_eq!(header.more_fragments, i + 1 < sent.len());
        assert!(usize::from(header.total_len) <= 1400);
        assert_eq!(header.header_len(), if i == 0 { header_len } else { header.header_len() });
        data.extend(&rest[..usize::from(header.total_len) - header.header_len()]);
    }
    data
}

#[test]
fn what_is_too_long_leaves_in_fragments() {
    let mut lab = Lab::met();
    for len in [1373, 1380, 1472] {
        let frame = udp(A, B.v4.into(), 64, len);
        let sent = lab.feed(0, &frame);
        assert_eq!(sent.len(), 2);
        assert_eq!(reassemble(&sent, 20), frame[34..]);
    }
    // A fragment in fragments keeps its place, and its own "more".
    let mut header = header_v4(A.v4, B.v4, 64, 17, 1480);
    header.fragment_offset = 100.try_into().unwrap();
    header.more_fragments = true;
    let frame = ethernet(R0.mac, A.mac, 0x0800, &ipv4(header, &[7; 1480]));
    let sent = lab.feed(0, &frame);
    let fields: Vec<_> = sent
        .iter()
        .map(|(_, f)| Ipv4Header::from_slice(&f[14..]).unwrap().0)
        .map(|h| (h.fragment_offset.value(), h.more_fragments, h.total_len))
        .collect();
    assert_eq!(fields, [(100, true, 1396), (100 + 172, true, 124)]);
}

#[test]
fn fragments_of_a_jumbo_frame_with_options_carry_those_to_be_copied() {
    let mut config = config();
    config.interfaces[0].mtu = 9000;
    let mut lab = Lab::new();
    lab.router = Router::new(config).unwrap();
    lab.feed(1, &arp_request(B, R1.v4));
    let mut header = header_v4(A.v4, B.v4, 64, 17, 8000);
    header.options = [7, 3, 4, 136, 4, 1, 2, 0][..].try_into().unwrap();
    header.total_len += 8;
    let data: Vec<u8> = (0..8000).map(|i| (i / 3) as u8).collect();
    let sent = lab.feed(0, &ethernet(R0.mac, A.mac, 0x0800, &ipv4(header, &data)));
    assert_eq!(sent.len(), 6);
    assert_eq!(reassemble(&sent, 28), data);
    for (_, frame) in &sent[1..] {
        assert_eq!(Ipv4Header::from_slice(&frame[14..]).unwrap().0.options.as_slice(), [136, 4, 1, 2]);
    }
}

#[test]
fn bytes_behind_a_packet_that_do_not_fit_the_link_are_trimmed() {
    let mut lab = Lab::met();
    let mut frame = udp(A, B.v4.into(), 64, 18);
    let mut expected = forwarded(&frame, B);
    expected.1.truncate(14 + 46);
    frame.resize(1500, 0xee);
    for _ in 0..2 {
        assert_eq!(lab.feed(0, &frame), [expected.clone()]);
    }
}

#[test]
fn a_neighbour_that_moves_is_followed_at_once() {
    let mut lab = Lab::met();
    let frame = udp(A, B.v4.into(), 64, 18);
    lab.feed(0, &frame);
    let moved = Host { mac: Mac([2, 0, 0, 0, 0, 0xbb]), ..B };
    lab.feed(1, &arp(Mac::BROADCAST, moved.mac, 1, (moved.mac, B.v4), (Mac::default(), B.v4)));
    assert_eq!(lab.feed(0, &frame), [forwarded(&frame, moved)]);
}

#[test]
fn a_burst_is_sorted_by_what_becomes_of_each_frame() {
    let mut lab = Lab::met();
    let frames = [
        udp(A, B.v4.into(), 64, 18),
        udp(A, FAR.v6.into(), 64, 18),
        udp(A, Ipv4Addr::new(127, 0, 0, 1).into(), 64, 18),
        udp(A, B.v4.into(), 64, 18),
    ];
    for _ in 0..2 {
        let mut burst = Burst::new();
        for frame in &frames {
            burst.push(lab.pool.frame_from(frame).unwrap());
        }
        lab.router.forward(&mut lab.pool, PortId(0), &mut burst, &mut lab.out, lab.now);
        let expected = [forwarded(&frames[0], B), forwarded(&frames[1], GATEWAY), forwarded(&frames[3], B)];
        assert_eq!(lab.sent(), expected);
    }
    assert_eq!(lab.drops(0), [(DropReason::Martian, 2)]);
}

proptest! {
    /// The fast path does what the slow path does, byte for byte, whatever the packet.
    #[test]
    fn the_cache_changes_nothing(
        ttl in any::<u8>(),
        len in 0usize..1400,
        v6 in any::<bool>(),
        far in any::<bool>(),
        changes in proptest::collection::vec((12usize..54, any::<u8>()), 0..3),
    ) {
        let to = if far { FAR } else { B };
        let to: IpAddr = if v6 { to.v6.into() } else { to.v4.into() };
        let mut frame = udp(A, to, ttl, len);
        for (at, value) in changes {
            frame[at] = value;
        }
        // Half of the time the change is one that the checksum agrees with.
        if ttl & 1 == 0
            && let Ok((header, _)) = Ipv4Header::from_slice(&frame[14..]) {
                frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
            }
        let mut cold = Lab::met();
        let mut warm = Lab::met();
        prop_assert_eq!(warm.feed(0, &udp(A, to, 64, 18)).len(), 1);
        prop_assert_eq!(cold.feed(0, &frame), warm.feed(0, &frame));
        prop_assert_eq!(cold.drops(0), warm.drops(0));
    }

    /// Of a packet that passes only the Ethernet addresses, the time to live and the checksum change.
    #[test]
    fn forwarding_changes_what_it_must_and_nothing_else(
        ttl in 2u8..,
        len in 0usize..1300,
        ident in any::<u16>(),
        dscp in 0u8..64,
        protocol in any::<u8>(),
    ) {
        let mut lab = Lab::met();
        let mut header = header_v4(A.v4, B.v4, ttl, protocol, len);
        header.identification = ident;
        header.dscp = dscp.try_into().unwrap();
        let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        let frame = ethernet(R0.mac, A.mac, 0x0800, &ipv4(header, &payload));
        prop_assert_eq!(lab.feed(0, &frame), [forwarded(&frame, B)]);
        prop_assert_eq!(lab.feed(0, &frame), [forwarded(&frame, B)]);
    }
}
