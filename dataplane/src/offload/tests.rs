//! Byte by byte: what is completed, what is cut, what is refused.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::frame::Burst;
use crate::port::{Counters, Port, Sleep};
use crate::units::Nanos;

/// A port that keeps what it gets.
#[derive(Default)]
pub(crate) struct Sink {
    accepts: Offloads,
    /// Bytes, and what was left to do.
    pub(crate) got: Vec<(Vec<u8>, Option<Offload>)>,
    pub(crate) counters: Arc<Counters>,
}

impl Sink {
    pub(crate) fn that_accepts(accepts: Offloads) -> Self {
        Self { accepts, ..Self::default() }
    }
}

impl Port for Sink {
    fn pull(&mut self, _: &mut Pool, _: &mut Burst) {}

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        for frame in burst.drain(..) {
            self.got.push((pool.to_vec(&frame), pool.offload(&frame)));
            pool.free(frame);
        }
    }

    fn flush(&mut self, _: &mut Pool) {}

    fn tick(&mut self, _: &mut Pool, _: Nanos) {}

    fn arm(&mut self, _: &Sleep) -> bool {
        true
    }

    fn accepts(&self) -> Offloads {
        self.accepts
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        "sink".to_owned()
    }
}

/// A TCP or UDP packet, told by what differs from segment to segment and what does not.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) vlan: Option<u16>,
    pub(crate) kind: GsoKind,
    /// UDP over IPv6; TCP's kind tells.
    pub(crate) udp_over_six: bool,
    /// Words of IPv4 options, or which extension headers there are (one bit each).
    pub(crate) extra: u8,
    pub(crate) tcp_options: u8,
    pub(crate) ident: u16,
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
}

impl Default for Flow {
    fn default() -> Self {
        let kind = GsoKind::TcpIpv4;
        Self {
            vlan: None,
            kind,
            udp_over_six: false,
            extra: 0,
            tcp_options: 0,
            ident: 0xfffe,
            sequence: 0xffff_f000,
            flags: 0x18,
        }
    }
}

impl Flow {
    /// The whole packet with all lengths and checksums right: by etherparse.
    pub(super) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        use etherparse::{
            IpHeaders, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
            Ipv6RoutingExtensions, PacketBuilder, TcpHeader, VlanId, ip_number,
        };
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = match self.six() {
            false => {
                let mut header = Ipv4Header::new(0, 64, ip_number::TCP, [10, 0, 0, 1], [192, 168, 255, 254]).unwrap();
                header.identification = self.ident;
                header.options = Ipv4Options::try_from(vec![1; usize::from(self.extra % 11) * 4].as_slice()).unwrap();
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            true => {
                let mut address = [0; 16];
                address[0] = 0xfd;
                let header = Ipv6Header {
                    hop_limit: 64,
                    source: address.map(|byte| byte ^ 0x11),
                    destination: address,
                    ..Ipv6Header::default()
                };
                let raw = |bytes: &[u8]| Ipv6RawExtHeader::new_raw(ip_number::TCP, bytes).unwrap();
                let padding = [1, 4, 0, 0, 0, 0];
                let long = [[1, 12].as_slice(), &[0; 12]].concat();
                let extensions = Ipv6Extensions {
                    hop_by_hop_options: (self.extra & 1 != 0).then(|| raw(&padding)),
                    destination_options: (self.extra & 2 != 0).then(|| raw(&long)),
                    // Type 2, no segments left.
                    routing: (self.extra & 4 != 0).then(|| Ipv6RoutingExtensions {
                        routing: raw(&[2, 0, 0, 0, 0, 0]),
                        final_destination_options: None,
                    }),
                    ..Ipv6Extensions::default()
                };
                IpHeaders::Ipv6(header, extensions)
            }
        };
        let bit = |bit: u8| self.flags & bit != 0;
        let mut tcp = TcpHeader::new(1000, 2000, self.sequence, 4096);
        (tcp.fin, tcp.syn, tcp.rst, tcp.psh) = (bit(1), bit(2), bit(4), bit(8));
        (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) = (bit(16), bit(32), bit(64), bit(128));
        tcp.set_options_raw(&vec![1; usize::from(self.tcp_options % 11) * 4]).unwrap();
        let mut bytes = Vec::new();
        let step = match self.vlan {
            Some(vlan) => ethernet.single_vlan(VlanId::try_new(vlan).unwrap()).ip(ip),
            None => ethernet.ip(ip),
        };
        match self.kind {
            GsoKind::Udp => step.udp(1000, 2000).write(&mut bytes, payload).unwrap(),
            GsoKind::TcpIpv4 | GsoKind::TcpIpv6 => step.tcp_header(tcp).write(&mut bytes, payload).unwrap(),
        }
        bytes
    }

    fn six(&self) -> bool {
        self.kind == GsoKind::TcpIpv6 || self.kind == GsoKind::Udp && self.udp_over_six
    }

    pub(super) fn start(&self) -> usize {
        let ethernet = if self.vlan.is_some() { 18 } else { 14 };
        let ip = match self.six() {
            false => 20 + usize::from(self.extra % 11) * 4,
            true => {
                let has = |bit: u8| usize::from(self.extra & bit != 0);
                40 + has(1) * 8 + has(2) * 16 + has(4) * 8
            }
        };
        ethernet + ip
    }

    /// What its stack hands over: the whole, with the pseudo-header's sum for a checksum.
    pub(crate) fn handed_over(&self, payload: &[u8], size: u16) -> (Vec<u8>, Offload) {
        let mut bytes = self.packet(payload);
        let blank = layout::find_blank(&bytes, bytes.len()).unwrap();
        let udp = self.kind == GsoKind::Udp;
        let offset = if udp { 6 } else { 16 };
        let at = self.start() + offset;
        bytes[at..at + 2].copy_from_slice(&blank.pseudo.to_be_bytes());
        let partial = Partial { start: self.start() as u16, offset: offset as u16 };
        (bytes, Offload::Segment(partial, Gso { kind: self.kind, ecn: self.flags & 0x80 != 0 && !udp, size }))
    }

    /// What must leave: each segment as the packet that it should be.
    pub(crate) fn segments(&self, payload: &[u8], size: u16) -> Vec<Vec<u8>> {
        let pieces: Vec<_> = payload.chunks(usize::from(size)).collect();
        let last = pieces.len() - 1;
        let segment = |(n, piece): (usize, &&[u8])| {
            let mut flags = self.flags;
            if n < last {
                flags &= !0x09;
            }
            if n > 0 {
                flags &= !0x80;
            }
            let ident = self.ident.wrapping_add(n as u16);
            let sequence = self.sequence.wrapping_add((n * usize::from(size)) as u32);
            Self { ident, sequence, flags, ..self.clone() }.packet(piece)
        };
        pieces.iter().enumerate().map(segment).collect()
    }
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256) as u8).collect()
}

/// Admits a frame and pushes it to `sink`.
fn through(sink: &mut Sink, bytes: &[u8], offload: Offload) -> Result<(), DropReason> {
    let mut pool = Pool::new(4096).unwrap();
    let before = pool.available();
    let mut frame = pool.frame_from(bytes).unwrap();
    let admitted = admit(&mut pool, &mut frame, offload);
    if admitted.is_ok() {
        let (mut burst, mut spare) = (Burst::new(), Burst::new());
        burst.push(frame);
        push(sink, &mut pool, &mut burst, &mut spare);
    } else {
        pool.free(frame);
    }
    assert_eq!((pool.available(), pool.offloaded()), (before, 0));
    admitted
}

fn bytes_of(sink: Sink) -> Vec<Vec<u8>> {
    assert!(sink.got.iter().all(|(_, offload)| offload.is_none()));
    sink.got.into_iter().map(|(bytes, _)| bytes).collect()
}

/// A UDP packet with its checksum blank, and as it should be sent.
fn udp(payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1000, 2000);
    let mut right = Vec::new();
    builder.write(&mut right, payload).unwrap();
    let mut partial = right.clone();
    let blank = layout::find_blank(&right, right.len()).unwrap();
    partial[40..42].copy_from_slice(&blank.pseudo.to_be_bytes());
    (partial, right)
}

const UDP: Partial = Partial { start: 34, offset: 6 };

#[test]
fn a_piece_of_64_kib_is_cut_into_right_segments() {
    let kinds = [(GsoKind::TcpIpv4, false), (GsoKind::TcpIpv6, false), (GsoKind::Udp, false), (GsoKind::Udp, true)];
    for (kind, udp_over_six) in kinds {
        let flow =
            Flow { kind, udp_over_six, flags: 0xd9, vlan: Some(10), extra: 3, tcp_options: 3, ..Flow::default() };
        let payload = pattern(65_000);
        let (bytes, offload) = flow.handed_over(&payload, 1448);
        let mut sink = Sink::default();
        through(&mut sink, &bytes, offload).unwrap();
        assert_eq!(bytes_of(sink), flow.segments(&payload, 1448));
    }
}

#[test]
fn a_port_that_accepts_it_gets_the_piece_whole() {
    let flow = Flow::default();
    let (bytes, offload) = flow.handed_over(&pattern(30_000), 1448);
    let tcp = Offloads::TCP_IPV4.with(Offloads::CHECKSUM_IPV4);
    for accepts in [Offloads::ALL, tcp] {
        let mut sink = Sink::that_accepts(accepts);
        through(&mut sink, &bytes, offload).unwrap();
        assert_eq!(sink.got, [(bytes.clone(), Some(offload))]);
    }
    // Of its other kind, or with CWR where that is not taken: segments.
    let six = Flow { kind: GsoKind::TcpIpv6, ..Flow::default() };
    let ecn = Flow { flags: 0x90, ..Flow::default() };
    for flow in [six, ecn] {
        let payload = pattern(30_000);
        let (bytes, offload) = flow.handed_over(&payload, 1448);
        let mut sink = Sink::that_accepts(tcp);
        through(&mut sink, &bytes, offload).unwrap();
        assert_eq!(bytes_of(sink), flow.segments(&payload, 1448));
    }
}

#[test]
fn what_fits_one_segment_needs_only_its_checksum() {
    let flow = Flow::default();
    let payload = pattern(1448);
    let (bytes, offload) = flow.handed_over(&payload, 1448);
    let Offload::Segment(partial, _) = offload else { unreachable!() };
    let mut sink = Sink::that_accepts(Offloads::ALL);
    through(&mut sink, &bytes, offload).unwrap();
    assert_eq!(sink.got[0].1, Some(Offload::Checksum(partial)));
    let mut sink = Sink::default();
    through(&mut sink, &bytes, offload).unwrap();
    assert_eq!(bytes_of(sink), [flow.packet(&payload)]);
}

#[test]
fn a_checksum_left_to_the_device_is_completed() {
    // Even, odd, and over chunks of even and odd position.
    for payload in [0, 1, 18, 19, 1400, 1750, 1751, 5000, 9001] {
        let (partial, right) = udp(&pattern(payload));
        let mut sink = Sink::default();
        through(&mut sink, &partial, Offload::Checksum(UDP)).unwrap();
        assert_eq!(bytes_of(sink), [right], "{payload} bytes");
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
    // The payload is chosen so that everything sums to 0xffff.
    let (partial, _) = udp(&[0, 0]);
    let rest = wire_sum(&partial[34..]);
    let (partial, right) = udp(&(!rest).to_be_bytes());
    assert_eq!(wire_sum(&partial[34..]), 0xffff);
    let mut sink = Sink::default();
    through(&mut sink, &partial, Offload::Checksum(UDP)).unwrap();
    let got = bytes_of(sink);
    assert_eq!(got[0][40..42], [0xff, 0xff]);
    assert_eq!(got, [right]);
}

fn wire_sum(bytes: &[u8]) -> u16 {
    crate::wire::checksum::Sum::default().bytes(bytes).folded()
}

#[test]
fn a_verified_frame_stays_what_it_is() {
    let (bytes, _) = udp(&pattern(100));
    let mut sink = Sink::default();
    through(&mut sink, &bytes, Offload::Verified).unwrap();
    assert_eq!(bytes_of(sink), std::slice::from_ref(&bytes));
    let mut sink = Sink::that_accepts(Offloads::ALL);
    through(&mut sink, &bytes, Offload::Verified).unwrap();
    assert_eq!(sink.got, [(bytes, Some(Offload::Verified))]);
}

#[test]
fn checksums_that_lie_elsewhere_are_refused() {
    let (bytes, _) = udp(&[7; 18]);
    let mut tagged = bytes.clone();
    tagged.splice(12..12, [0x81, 0, 0, 10]);
    for (bytes, start, offset) in [
        (&bytes, 34, 60),
        (&bytes, u16::MAX, u16::MAX),
        (&bytes, 59, 0),
        (&bytes, 60, 0),
        // Over an address, past the check of who may send from it.
        (&bytes, 0, 6),
        (&bytes, 13, 1),
        // Over a tag.
        (&tagged, 14, 0),
        (&tagged, 17, 0),
    ] {
        let refused = through(&mut Sink::default(), bytes, Offload::Checksum(Partial { start, offset }));
        assert_eq!(refused, Err(DropReason::ChecksumRequest), "{start} + {offset}");
    }
    // Beyond what every copy has in its first chunk.
    let (long, _) = udp(&[7; 1400]);
    let refused = through(&mut Sink::default(), &long, Offload::Checksum(Partial { start: 34, offset: 600 }));
    assert_eq!(refused, Err(DropReason::ChecksumRequest));
    assert_eq!(through(&mut Sink::default(), &bytes[..10], Offload::Checksum(UDP)), Err(DropReason::ChecksumRequest));
}

#[test]
fn pieces_that_are_not_what_they_are_said_to_be_are_refused() {
    let flow = Flow::default();
    let payload = pattern(5000);
    let (bytes, offload) = flow.handed_over(&payload, 1448);
    let Offload::Segment(partial, gso) = offload else { unreachable!() };
    let refuse = |bytes: &[u8], partial: Partial, gso: Gso, why: &str| {
        let refused = through(&mut Sink::default(), bytes, Offload::Segment(partial, gso));
        assert_eq!(refused, Err(DropReason::SegmentRequest), "{why}");
    };
    for size in [0, 1, MIN_SEGMENT - 1] {
        refuse(&bytes, partial, Gso { size, ..gso }, "size");
    }
    refuse(&bytes, partial, Gso { kind: GsoKind::TcpIpv6, ..gso }, "the other IP");
    refuse(&bytes, Partial { start: partial.start - 4, ..partial }, gso, "start before TCP");
    refuse(&bytes, Partial { start: u16::MAX, ..partial }, gso, "start beyond the frame");
    refuse(&bytes, Partial { offset: 6, ..partial }, gso, "not TCP's field");
    refuse(&bytes[..partial.start as usize + 10], partial, gso, "cut within TCP's header");
    refuse(&bytes[..bytes.len() - 1], partial, gso, "shorter than IP says");
    refuse(&[bytes.as_slice(), &[0]].concat(), partial, gso, "longer than IP says");
    refuse(&flow.packet(&[]), partial, gso, "no payload");
    let changed = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        bytes
    };
    refuse(&changed(23, 17), partial, gso, "UDP");
    refuse(&changed(20, 0x20), partial, gso, "a first fragment");
    refuse(&changed(21, 1), partial, gso, "a later fragment");
    refuse(&changed(14, 0x65), partial, gso, "version 6");
    refuse(&changed(14, 0x44), partial, gso, "an IPv4 header too short");
    refuse(&changed(14, 0x46), partial, gso, "TCP elsewhere");
    refuse(&changed(12, 0x86), partial, gso, "an EtherType of something else");
    refuse(&changed(46, 0x40), partial, gso, "a TCP header too short");
    let short = flow.packet(&pattern(20));
    let mut overlong = short.clone();
    overlong[46] = 0xf0;
    refuse(&overlong, partial, gso, "a TCP header longer than the frame");
}

#[test]
fn a_routing_header_with_segments_left_keeps_its_own_destination_in_the_sum() {
    let flow = Flow { kind: GsoKind::TcpIpv6, ..Flow::default() };
    let payload = pattern(4000);
    let last = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    // The packet as it is for its last destination; behind the IPv6 header one of type 0 with that address.
    let route = |mut bytes: Vec<u8>| {
        let mut header = vec![bytes[20], 2, 0, 1, 0, 0, 0, 0];
        header.extend(last);
        bytes[20] = 43;
        let len = u16::from_be_bytes([bytes[18], bytes[19]]) + 24;
        bytes[18..20].copy_from_slice(&len.to_be_bytes());
        let waypoint = [0xee; 16];
        bytes[38..54].copy_from_slice(&waypoint);
        bytes.splice(54..54, header);
        bytes
    };
    let for_last = |mut bytes: Vec<u8>| {
        bytes[38..54].copy_from_slice(&last);
        let blank = layout::find_blank(&bytes, bytes.len()).unwrap();
        (bytes, blank.pseudo)
    };
    let (mut whole, pseudo) = for_last(flow.packet(&payload));
    whole[70..72].copy_from_slice(&pseudo.to_be_bytes());
    let expected: Vec<_> = flow
        .segments(&payload, 1000)
        .into_iter()
        .map(|segment| {
            let (mut segment, pseudo) = for_last(segment);
            segment[70..72].copy_from_slice(&pseudo.to_be_bytes());
            let sum = !wire_sum(&segment[54..]);
            segment[70..72].copy_from_slice(&sum.to_be_bytes());
            route(segment)
        })
        .collect();
    let offload =
        Offload::Segment(Partial { start: 78, offset: 16 }, Gso { kind: GsoKind::TcpIpv6, ecn: false, size: 1000 });
    let mut sink = Sink::default();
    through(&mut sink, &route(whole), offload).unwrap();
    assert_eq!(bytes_of(sink), expected);
}

#[test]
fn without_the_chunks_for_all_segments_there_is_none() {
    let mut pool = Pool::new(64).unwrap();
    let (bytes, offload) = Flow::default().handed_over(&pattern(60_000), 1000);
    let mut frame = pool.frame_from(&bytes).unwrap();
    admit(&mut pool, &mut frame, offload).unwrap();
    let (mut sink, mut burst, mut spare) = (Sink::default(), Burst::new(), Burst::new());
    burst.push(frame);
    push(&mut sink, &mut pool, &mut burst, &mut spare);
    assert!(sink.got.is_empty());
    assert_eq!(sink.counters.drops.get(DropReason::PoolExhausted), 1);
    assert_eq!((pool.available(), pool.offloaded()), (pool.capacity(), 0));
}

#[test]
fn order_is_kept_and_bursts_are_no_longer_than_bursts() {
    let mut pool = Pool::new(16_384).unwrap();
    let flow = Flow::default();
    let payload = pattern(60_000);
    let (bytes, offload) = flow.handed_over(&payload, 500);
    let (mut sink, mut burst, mut spare) = (Sink::default(), Burst::new(), Burst::new());
    let mut expected = Vec::new();
    for n in 0..10 {
        let plain = [n; 60].to_vec();
        burst.push(pool.frame_from(&plain).unwrap());
        expected.push(plain);
        let mut frame = pool.frame_from(&bytes).unwrap();
        admit(&mut pool, &mut frame, offload).unwrap();
        burst.push(frame);
        expected.extend(flow.segments(&payload, 500));
    }
    push(&mut sink, &mut pool, &mut burst, &mut spare);
    assert!(burst.is_empty() && spare.is_empty());
    assert_eq!(bytes_of(sink), expected);
    assert_eq!((pool.available(), pool.offloaded()), (pool.capacity(), 0));
}

#[test]
fn a_tag_put_on_or_taken_off_moves_nothing() {
    use crate::wire::ethernet::{Tci, pop_tag, push_tag};
    let mut pool = Pool::new(1024).unwrap();
    let flow = Flow::default();
    let payload = pattern(20_000);
    let (bytes, offload) = flow.handed_over(&payload, 1400);
    let mut frame = pool.frame_from(&bytes).unwrap();
    admit(&mut pool, &mut frame, offload).unwrap();
    assert!(pool.grow_front(&mut frame, 4) && push_tag(pool.head_mut(&mut frame), Tci(10)));
    // A copy, as a flood makes it, is of the tagged frame.
    let copy = pool.copy(&frame).unwrap();
    assert!(pop_tag(pool.head_mut(&mut frame)) && pool.grow_front(&mut frame, -4));
    assert_eq!(pool.offload(&frame), Some(offload));
    for (frame, flow) in [(frame, flow.clone()), (copy, Flow { vlan: Some(10), ..flow })] {
        let (mut sink, mut burst, mut spare) = (Sink::default(), Burst::new(), Burst::new());
        burst.push(frame);
        push(&mut sink, &mut pool, &mut burst, &mut spare);
        assert_eq!(bytes_of(sink), flow.segments(&payload, 1400));
    }
    assert_eq!((pool.available(), pool.offloaded()), (pool.capacity(), 0));
}

#[test]
fn blank_checksums_are_found_and_filled() {
    let mut pool = Pool::new(256).unwrap();
    let flow = Flow { kind: GsoKind::TcpIpv6, extra: 3, ..Flow::default() };
    let payload = pattern(9000);
    let (_, offload) = flow.handed_over(&payload, 1400);
    let Offload::Segment(_, gso) = offload else { unreachable!() };
    let blank = |mut bytes: Vec<u8>, at: usize| {
        bytes[at..at + 2].copy_from_slice(&[0xde, 0xad]);
        bytes
    };
    let (_, right) = udp(&pattern(77));
    for (bytes, gso, expected) in [
        (blank(flow.packet(&payload), flow.start() + 16), Some(gso), flow.segments(&payload, 1400)),
        (blank(flow.packet(&payload), flow.start() + 16), None, vec![flow.packet(&payload)]),
        (blank(right.clone(), 40), None, vec![right]),
    ] {
        let mut frame = pool.frame_from(&bytes).unwrap();
        admit_blank(&mut pool, &mut frame, gso).unwrap();
        let (mut sink, mut burst, mut spare) = (Sink::default(), Burst::new(), Burst::new());
        burst.push(frame);
        push(&mut sink, &mut pool, &mut burst, &mut spare);
        assert_eq!(bytes_of(sink), expected);
    }
    let mut arp = pool.frame_from(&[[0xff; 12].as_slice(), &[8, 6], &[0; 46]].concat()).unwrap();
    assert_eq!(admit_blank(&mut pool, &mut arp, None), Err(DropReason::ChecksumRequest));
    assert_eq!(admit_blank(&mut pool, &mut arp, Some(gso)), Err(DropReason::SegmentRequest));
    pool.free(arp);
    assert_eq!((pool.available(), pool.offloaded()), (pool.capacity(), 0));
}

proptest! {
    #[test]
    fn a_virtio_header_reads_as_it_was_written(start in 14u16..200, offset in 0u16..200, size in any::<u16>(),
                                               six in any::<bool>(), ecn in any::<bool>(), what in 0..4) {
        let partial = Partial { start, offset };
        let kind = if six { GsoKind::TcpIpv6 } else { GsoKind::TcpIpv4 };
        let offload = match what {
            0 => None,
            1 => Some(Offload::Verified),
            2 => Some(Offload::Checksum(partial)),
            _ => Some(Offload::Segment(partial, Gso { kind, ecn, size })),
        };
        prop_assert_eq!(virtio::read(&virtio::write(offload, &[0x50; 300])), Ok(offload));
    }
}
