//! Whatever comes: the right segments of what is right, and no panic and no lost chunk for what is not.

use proptest::prelude::*;

use super::tests::{Flow, Sink, pattern};
use super::*;
use crate::frame::Burst;
use crate::port::Port;

fn flow() -> impl Strategy<Value = Flow> {
    let vlan = prop::option::of(1u16..4095);
    let kind = prop_oneof![
        Just((GsoKind::TcpIpv4, false)),
        Just((GsoKind::TcpIpv6, false)),
        Just((GsoKind::Udp, false)),
        Just((GsoKind::Udp, true))
    ];
    (vlan, kind, any::<u8>(), any::<u8>(), any::<u16>(), any::<u32>(), any::<u8>()).prop_map(
        |(vlan, (kind, udp_over_six), extra, tcp_options, ident, sequence, flags)| Flow {
            vlan,
            kind,
            udp_over_six,
            extra,
            tcp_options,
            ident,
            sequence,
            flags,
        },
    )
}

/// A frame whose bytes lie in chunks as they come from somewhere: any first place, cut anywhere.
fn scattered(pool: &mut Pool, bytes: &[u8], cuts: &[usize]) -> Frame {
    let mut frame = pool.alloc().unwrap();
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % bytes.len()).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    for cut in cuts.windows(2) {
        let part = &bytes[cut[0]..cut[1]];
        // SAFETY: the part is readable and lies in no pool.
        assert!(unsafe { pool.append_raw(&mut frame, part.as_ptr(), part.len()) });
    }
    frame
}

fn pushed(pool: &mut Pool, sink: &mut Sink, frame: Frame) {
    let (mut burst, mut spare) = (Burst::new(), Burst::new());
    burst.push(frame);
    push(sink, pool, &mut burst, &mut spare);
}

fn with_other_zero(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes[at..at + 2] == [0; 2] {
        bytes[at..at + 2].fill(0xff);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// etherparse builds each segment from what it should hold; what is cut must equal that in every byte.
    #[test]
    fn segments_are_what_they_should_be(flow in flow(), len in 1usize..64_000, size in MIN_SEGMENT..9000,
                                        cuts in prop::collection::vec(any::<usize>(), 0..5)) {
        let mut pool = Pool::new(8192).unwrap();
        let before = pool.available();
        let payload = pattern(len);
        let (bytes, offload) = flow.handed_over(&payload, size);
        let mut frame = scattered(&mut pool, &bytes, &cuts);
        admit(&mut pool, &mut frame, offload).unwrap();
        let copy = pool.copy(&frame).unwrap();
        let expected = flow.segments(&payload, size);
        for frame in [frame, copy] {
            let mut sink = Sink::default();
            pushed(&mut pool, &mut sink, frame);
            let got: Vec<_> = sink.got.iter().map(|(bytes, _)| bytes.clone()).collect();
            match expected.as_slice() {
                // What is one segment gets its checksum only, and of that zero is written as the other zero.
                [expected] => {
                    let at = flow.start() + usize::from(flow.kind.checksum_offset());
                    prop_assert_eq!(got, [with_other_zero(expected, at)]);
                }
                _ => prop_assert_eq!(&got, &expected),
            }
            prop_assert!(sink.got.iter().all(|(_, offload)| offload.is_none()));
        }
        prop_assert_eq!((pool.available(), pool.offloaded()), (before, 0));
    }

    /// A guest's frame and what it says of it, true in parts at best.
    #[test]
    fn lies_are_refused_or_harmless(flow in flow(), len in 0usize..6000, size in any::<u16>(), keep in any::<usize>(),
                                    changes in prop::collection::vec((0usize..200, any::<u8>()), 0..4),
                                    header in prop::array::uniform10(any::<u8>()), honest in any::<bool>(), accepts in 0u8..64) {
        let mut pool = Pool::new(1024).unwrap();
        let before = pool.available();
        let (mut bytes, mut offload) = match len {
            0 => (vec![0; 60], Offload::Verified),
            _ => flow.handed_over(&pattern(len), size),
        };
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(1 + keep % bytes.len());
        if !honest {
            let Ok(Some(read)) = virtio::read(&header) else { return Ok(()) };
            offload = read;
        }
        let mut frame = pool.frame_from(&bytes).unwrap();
        if admit(&mut pool, &mut frame, offload).is_err() {
            pool.free(frame);
        } else {
            let mut sink = Sink::that_accepts(Offloads(accepts));
            let before = sink.counters.drops.total();
            pushed(&mut pool, &mut sink, frame);
            // What was let in leaves, or was counted.
            prop_assert!(!sink.got.is_empty() || sink.counters().drops.total() > before);
            // Addresses and tag are those that the bridge saw.
            let ethernet = crate::wire::ethernet::Header::parse(&bytes);
            for (got, _) in &sink.got {
                prop_assert_eq!(crate::wire::ethernet::Header::parse(got), ethernet);
            }
        }
        prop_assert_eq!((pool.available(), pool.offloaded()), (before, 0));
    }

    /// The same, where the place is to be found first.
    #[test]
    fn blanks_are_refused_or_harmless(flow in flow(), len in 0usize..3000, keep in any::<usize>(), size in any::<u16>(),
                                      changes in prop::collection::vec((0usize..120, any::<u8>()), 0..4), gso in any::<bool>()) {
        let mut pool = Pool::new(1024).unwrap();
        let before = pool.available();
        let mut bytes = flow.packet(&pattern(len));
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(1 + keep % bytes.len());
        let mut frame = pool.frame_from(&bytes).unwrap();
        let gso = gso.then_some(Gso { kind: flow.kind, ecn: false, size });
        if admit_blank(&mut pool, &mut frame, gso).is_err() {
            pool.free(frame);
        } else {
            pushed(&mut pool, &mut Sink::default(), frame);
        }
        prop_assert_eq!((pool.available(), pool.offloaded()), (before, 0));
    }

    /// Joined and cut again, every flow is what it was, in its order; what can be joined of others in between, too.
    #[test]
    fn joining_is_undone_by_cutting(flows in prop::collection::vec((flow(), any::<bool>()), 1..4),
                                    steps in prop::collection::vec((0usize..4, 0usize..300, any::<u8>(), 0u8..20), 1..60)) {
        let mut pool = Pool::new(4096).unwrap();
        let before = pool.available();
        let mut flows: Vec<_> = flows.into_iter().map(|(flow, data)| match data {
            true => Flow { flags: 0x10, ..flow },
            false => flow,
        }).collect();
        let mut frames = Vec::new();
        for (which, len, change, what) in steps {
            let which = which % flows.len();
            let flow = &mut flows[which];
            // Mostly what comes next and as long as the last.
            let len = if what < 15 { 200 } else { len };
            let mut bytes = flow.packet(&pattern(len));
            if what == 19 {
                let at = usize::from(change) % bytes.len();
                bytes[at] ^= 1;
            }
            flow.sequence = flow.sequence.wrapping_add(len as u32 + u32::from(what == 18));
            flow.ident = flow.ident.wrapping_add(1);
            frames.push(bytes);
        }
        let mut burst: Burst = frames.iter().map(|bytes| pool.frame_from(bytes).unwrap()).collect();
        join(&mut pool, &mut burst, Offloads::ALL);
        prop_assert!(burst.len() <= frames.len());
        let (mut sink, mut spare) = (Sink::default(), Burst::new());
        push(&mut sink, &mut pool, &mut burst, &mut spare);
        // IP addresses and ports are the same in all: the rest tells flows apart, and within them order is kept.
        let of_flow = |bytes: &[u8]| {
            let transport = etherparse::SlicedPacket::from_ethernet(bytes).ok().and_then(|packet| packet.transport);
            let udp = matches!(transport, Some(etherparse::TransportSlice::Udp(_)));
            (bytes[..if bytes[12..14] == [0x81, 0] { 18 } else { 14 }].to_vec(), udp)
        };
        let mut kinds: Vec<_> = frames.iter().map(|bytes| of_flow(bytes)).collect();
        kinds.sort();
        kinds.dedup();
        let got: Vec<_> = sink.got.into_iter().map(|(bytes, _)| bytes).collect();
        prop_assert_eq!(got.len(), frames.len());
        for kind in kinds {
            let expected: Vec<_> = frames.iter().filter(|bytes| of_flow(bytes) == kind).collect();
            let got: Vec<_> = got.iter().filter(|bytes| of_flow(bytes) == kind).collect();
            prop_assert_eq!(expected, got);
        }
        prop_assert_eq!((pool.available(), pool.offloaded()), (before, 0));
    }
}
