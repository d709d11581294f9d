//! What comes in segments is joined to the piece that it was, or left as it is.

use super::tests::{Flow, pattern};
use super::*;
use crate::frame::Burst;

/// A burst of these frames, joined.
fn joined(pool: &mut Pool, frames: &[Vec<u8>]) -> Burst {
    let mut burst: Burst = frames.iter().map(|bytes| pool.frame_from(bytes).unwrap()).collect();
    join(pool, &mut burst, Offloads::ALL);
    burst
}

/// What the frames of a burst are, and what is left to do for them. They are freed.
fn taken(pool: &mut Pool, mut burst: Burst) -> Vec<(Vec<u8>, Option<Offload>)> {
    let got = burst.iter().map(|frame| (pool.to_vec(frame), pool.offload(frame))).collect();
    pool.free_all(burst.drain(..));
    assert_eq!((pool.available(), pool.offloaded()), (pool.capacity(), 0));
    got
}

#[test]
fn segments_that_come_together_are_the_piece_that_they_were() {
    let mut pool = Pool::new(256).unwrap();
    for kind in [GsoKind::TcpIpv4, GsoKind::TcpIpv6] {
        let flow = Flow { kind, vlan: Some(10), extra: 3, tcp_options: 3, flags: 0x18, ..Flow::default() };
        let payload = pattern(1448 * 44 + 100);
        let burst = joined(&mut pool, &flow.segments(&payload, 1448));
        let (bytes, offload) = flow.handed_over(&payload, 1448);
        assert_eq!(taken(&mut pool, burst), [(bytes, Some(offload))]);
    }
}

#[test]
fn datagrams_of_one_length_are_joined_for_whoever_takes_them() {
    let mut pool = Pool::new(256).unwrap();
    for udp_over_six in [false, true] {
        // As short as Ethernet allows, and of the length of most; the last may be shorter, and is the last then.
        for size in [18, 1472] {
            let flow = Flow { kind: GsoKind::Udp, udp_over_six, vlan: Some(10), extra: 3, ..Flow::default() };
            let payload = pattern(40 * usize::from(size) + 16);
            let segments = flow.segments(&payload, size);
            let burst = joined(&mut pool, &segments);
            let (bytes, offload) = flow.handed_over(&payload, size);
            assert_eq!(taken(&mut pool, burst), [(bytes, Some(offload))]);
            let mut burst: Burst = segments.iter().map(|bytes| pool.frame_from(bytes).unwrap()).collect();
            join(&mut pool, &mut burst, Offloads::ALL_BUT_UDP);
            assert_eq!(taken(&mut pool, burst).len(), segments.len());
        }
    }
    let flow = Flow { kind: GsoKind::Udp, ident: 1, ..Flow::default() };
    let first = flow.packet(&pattern(100));
    let mut blank = Flow { ident: 2, ..flow.clone() }.packet(&pattern(100));
    blank[40..42].fill(0);
    let mut elsewhere = Flow { ident: 2, ..flow.clone() }.packet(&pattern(100));
    // Another port; the checksum follows.
    elsewhere[37] = elsewhere[37].wrapping_add(1);
    elsewhere[41] = elsewhere[41].wrapping_sub(1);
    for (why, second) in [
        ("longer than the first", Flow { ident: 2, ..flow.clone() }.packet(&pattern(101))),
        ("identification", Flow { ident: 3, ..flow.clone() }.packet(&pattern(100))),
        ("no payload", Flow { ident: 2, ..flow.clone() }.packet(&[])),
        ("TCP", Flow { ident: 2, kind: GsoKind::TcpIpv4, ..flow.clone() }.packet(&pattern(100))),
        ("no checksum", blank),
        ("another port", elsewhere),
    ] {
        let burst = joined(&mut pool, &[first.clone(), second.clone()]);
        assert_eq!(taken(&mut pool, burst), [(first.clone(), None), (second, None)], "{why}");
    }
}

#[test]
fn what_differs_in_anything_is_not_joined() {
    let mut pool = Pool::new(256).unwrap();
    let flow = Flow { flags: 0x10, sequence: 5000, ident: 7, ..Flow::default() };
    let next = Flow { sequence: 5100, ident: 8, ..flow.clone() };
    let payload = pattern(100);
    let first = flow.packet(&payload);
    let mut damaged = next.packet(&payload);
    damaged[80] ^= 1;
    let mut header = next.packet(&payload);
    header[24] ^= 1;
    for (why, second) in [
        ("a gap", Flow { sequence: 5101, ..next.clone() }.packet(&payload)),
        ("again", flow.packet(&payload)),
        ("identification", Flow { ident: 9, ..next.clone() }.packet(&payload)),
        ("longer than the first", next.packet(&pattern(101))),
        ("no payload", next.packet(&[])),
        ("SYN", Flow { flags: 0x12, ..next.clone() }.packet(&payload)),
        ("CWR", Flow { flags: 0x90, ..next.clone() }.packet(&payload)),
        ("ECE", Flow { flags: 0x50, ..next.clone() }.packet(&payload)),
        ("other options", Flow { tcp_options: 1, ..next.clone() }.packet(&payload)),
        ("IP options", Flow { extra: 1, ..next.clone() }.packet(&payload)),
        ("another VLAN", Flow { vlan: Some(1), ..next.clone() }.packet(&payload)),
        ("the other IP", Flow { kind: GsoKind::TcpIpv6, ..next.clone() }.packet(&payload)),
        ("a wrong TCP checksum", damaged),
        ("a wrong IP checksum", header),
    ] {
        let burst = joined(&mut pool, &[first.clone(), second.clone()]);
        assert_eq!(taken(&mut pool, burst), [(first.clone(), None), (second, None)], "{why}");
    }
    let burst = joined(&mut pool, &[first, next.packet(&payload)]);
    assert_eq!(taken(&mut pool, burst).len(), 1);
}

#[test]
fn a_segment_with_other_headers_is_not_overtaken_by_its_flow() {
    let mut pool = Pool::new(256).unwrap();
    let flow = Flow { flags: 0x10, sequence: 0, ident: 0, ..Flow::default() };
    let payload = pattern(100);
    let frames = [(0, 0), (100, 3), (100, 0)].map(|(sequence, extra)| {
        Flow { sequence, extra, ident: u16::from(sequence > 0), ..flow.clone() }.packet(&payload)
    });
    let burst = joined(&mut pool, &frames);
    assert_eq!(taken(&mut pool, burst), frames.map(|bytes| (bytes, None)));
}

#[test]
fn what_ends_a_piece_is_its_last() {
    let mut pool = Pool::new(256).unwrap();
    let flow = |n: u32, flags| Flow { flags, sequence: n * 100, ident: n as u16, ..Flow::default() };
    let payload = pattern(100);
    let frames: Vec<_> =
        [0x10, 0x18, 0x10, 0x11, 0x10].iter().zip(0..).map(|(&f, n)| flow(n, f).packet(&payload)).collect();
    let burst = joined(&mut pool, &frames);
    let got: Vec<_> = taken(&mut pool, burst).iter().map(|(bytes, _)| (bytes.len() - 54, bytes[47])).collect();
    assert_eq!(got, [(200, 0x18), (200, 0x11), (100, 0x10)]);
}
