//! Any bytes at all: nothing panics, nothing is lost, and what leaves is well-formed.

use etherparse::SlicedPacket;
use proptest::prelude::*;

use super::*;

/// What leaves must be read by others without complaint.
fn check(sent: &Sent) {
    for (_, frame) in sent {
        if let [8, 0, first] = frame[12..15] {
            let (header, _) = Ipv4Header::from_slice(&frame[14..]).unwrap();
            assert_eq!(first >> 4, 4);
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert!(usize::from(header.total_len) <= frame.len() - 14);
        }
    }
}

fn run(frames: &[(bool, Vec<u8>)]) {
    let mut lab = Lab::met();
    for (port, frame) in frames {
        let sent = lab.feed(u16::from(*port), frame);
        check(&sent);
        // Whatever came of it, good packets still pass.
        let sent = lab.feed(0, &udp(A, FAR.v6.into(), 64, 18));
        assert!(sent.iter().any(|(port, frame)| *port == 1 && SlicedPacket::from_ethernet(frame).is_ok()));
        check(&lab.pass(Nanos::from_millis(700)));
    }
}

/// A packet that is right but for a few bytes, which brings it deep into the code.
fn almost_right() -> impl Strategy<Value = Vec<u8>> {
    let v6 = |next, payload: &[u8]| ethernet(R0.mac, A.mac, 0x86dd, &ipv6(A.v6, R0.v6, 255, next, payload));
    let v4 = |ttl, protocol, payload: &[u8]| {
        ethernet(R0.mac, A.mac, 0x0800, &ipv4(header_v4(A.v4, R0.v4, ttl, protocol, payload.len()), payload))
    };
    let seeds = vec![
        arp_request(A, R0.v4),
        arp(R0.mac, A.mac, 2, (A.mac, A.v4), (R0.mac, R0.v4)),
        solicitation(A, R0.v6),
        udp(A, B.v4.into(), 64, 1472),
        udp(A, B.v4.into(), 1, 18),
        udp(A, FAR.v4.into(), 64, 18),
        udp(A, B.v6.into(), 64, 1400),
        udp(A, B.v6.into(), 1, 18),
        udp(A, R1.v6.into(), 1, 18),
        v4(64, 1, &[8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]),
        v4(64, 17, &[0; 8]),
        v6(58, &[128, 0, 0, 0, 0, 0, 0, 0]),
        v6(44, &[58, 0, 0, 1, 0, 0, 0, 1, 128, 0, 0, 0, 0, 0, 0, 0]),
        v6(0, &[60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
    ];
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6);
    let cut = prop_oneof![4 => Just(None), 1 => any::<proptest::sample::Index>().prop_map(Some)];
    (proptest::sample::select(seeds), changes, cut, any::<bool>()).prop_map(|(mut frame, changes, cut, fix)| {
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()).max(1));
        }
        if let Some(Ok((header, _))) = frame.get(14..).filter(|_| fix).map(Ipv4Header::from_slice) {
            frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        frame
    })
}

proptest! {
    #[test]
    fn any_bytes(frames in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 1..200)), 1..8)) {
        run(&frames);
    }

    #[test]
    fn any_bytes_for_us(ethertype in proptest::sample::select(vec![0x0800u16, 0x0806, 0x86dd]), packet in proptest::collection::vec(any::<u8>(), 0..200)) {
        run(&[(false, ethernet(R0.mac, A.mac, ethertype, &packet))]);
    }

    #[test]
    fn almost_right_packets(frames in proptest::collection::vec((any::<bool>(), almost_right()), 1..8)) {
        run(&frames);
    }
}

#[test]
fn an_empty_pool_is_counted_and_recovers() {
    let mut lab = Lab::met();
    let big = udp(A, B.v4.into(), 64, 1472);
    let mut burst = Burst::new();
    burst.push(lab.pool.frame_from(&big).unwrap());
    let held: Vec<_> = std::iter::from_fn(|| lab.pool.alloc()).collect();
    lab.router.forward(&mut lab.pool, PortId(0), &mut burst, &mut lab.out, lab.now);
    assert_eq!(lab.sent(), []);
    assert_eq!(lab.drops(0), [(DropReason::PoolExhausted, 1)]);
    lab.pool.free_all(held);
    assert_eq!(lab.feed(0, &big).len(), 2);
}

#[test]
fn a_port_that_the_router_does_not_have_is_no_reason_to_fall() {
    let mut lab = Lab::new();
    let counters: Vec<Arc<Counters>> = (0..3).map(|_| Arc::default()).collect();
    let mut out = Outputs::new(counters.clone());
    let mut burst = Burst::new();
    burst.push(lab.pool.frame_from(&[0; 60]).unwrap());
    lab.router.forward(&mut lab.pool, PortId(2), &mut burst, &mut out, lab.now);
    let mut out = Outputs::new(counters[..1].to_vec());
    burst.push(lab.pool.frame_from(&udp(A, B.v4.into(), 64, 18)).unwrap());
    lab.router.forward(&mut lab.pool, PortId(0), &mut burst, &mut out, lab.now);
    lab.router.tick(&mut lab.pool, &mut out, lab.now);
    assert_eq!(counters[2].drops.get(DropReason::NoOutput), 1);
    assert_eq!(counters[0].drops.get(DropReason::NoOutput), 1);
}
