//! Joining what was cut: segments of one TCP flow that come in one burst, for a port where every frame costs a system
//! call and a walk through the stack behind it.
//!
//! What is joined is exactly what cutting would give again (but for an identification that stood still, which with "do
//! not fragment" means nothing): so whoever gets the piece and sends it on, sends the frames that came. Each checksum is
//! verified first, and a frame that does not hold its own stays as it is; joined, it would be given a right one.
//!
//! No byte of payload moves: the chunks are chained, each behind its headers.

use std::ops::Range;

use arrayvec::ArrayVec;

use super::checksum::sum_from;
use super::layout::{CHECKSUM_OFFSET, Tcp, fold};
use super::{Gso, GsoKind, MIN_SEGMENT, Offload, Partial};
use crate::frame::{BURST, Burst, Frame};
use crate::pool::Pool;
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4, ipv6};

/// Flows that are looked after at a time; more than these in one burst, and there is little to join in each.
const RUNS: usize = 8;

/// Chunks of a piece. A segment takes one.
const CHUNKS: usize = 48;

/// Longest piece, from its IP header.
const LONGEST: usize = 65_535;

/// Where the sequence number is in a TCP header.
const SEQUENCE: usize = 4;
/// Where the flags are.
const FLAGS: usize = 13;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// A segment that others can be joined to.
#[derive(Clone, Copy)]
struct Segment {
    tcp: Tcp,
    kind: GsoKind,
    /// The sum over the pseudo-header, but for the length.
    pseudo: u64,
    payload: usize,
    sequence: u32,
    ident: u16,
    flags: u8,
}

/// Segments in a row.
struct Run {
    /// Where the first is, in what leaves.
    at: usize,
    first: Segment,
    /// How many there are.
    count: u16,
    /// The sequence number that continues it.
    next: u32,
    /// The last was shorter, or ends what its sender had to say.
    ended: bool,
}

/// Joins what can be joined in `burst`. Frames of a flow keep their order.
pub fn join(pool: &mut Pool, burst: &mut Burst) {
    if burst.len() < 2 {
        return;
    }
    let mut out = ArrayVec::<Frame, BURST>::new();
    let mut runs = ArrayVec::<Run, RUNS>::new();
    for frame in burst.drain(..) {
        let Some(segment) = Segment::of(pool, &frame) else {
            // It may be of a flow that is being joined, and nothing may overtake it.
            close(pool, &mut out, &mut runs, |pool, run, out| same_stations(pool, &out[run.at], &frame));
            out.push(frame);
            continue;
        };
        let same = runs.iter().position(|run| same_flow(pool, &run.first, &out[run.at], &segment, &frame));
        if let Some(index) = same {
            let run = &mut runs[index];
            if run.continues_with(pool, &out[run.at], &segment, &frame) {
                run.append(pool, &mut out[run.at], &segment, frame);
                continue;
            }
            runs.remove(index).finish(pool, &mut out);
        }
        if runs.is_full() {
            runs.remove(0).finish(pool, &mut out);
        }
        let next = segment.sequence.wrapping_add(segment.payload as u32);
        runs.push(Run { at: out.len(), first: segment, count: 1, next, ended: segment.ends() });
        out.push(frame);
    }
    for run in runs {
        run.finish(pool, &mut out);
    }
    std::mem::swap(burst, &mut out);
}

/// Ends the runs for which `which` says so.
fn close(
    pool: &mut Pool,
    out: &mut ArrayVec<Frame, BURST>,
    runs: &mut ArrayVec<Run, RUNS>,
    which: impl Fn(&Pool, &Run, &ArrayVec<Frame, BURST>) -> bool,
) {
    let mut index = 0;
    while let Some(run) = runs.get(index) {
        if which(pool, run, out) {
            runs.remove(index).finish(pool, out);
        } else {
            index += 1;
        }
    }
}

/// Whether two frames go from one station to the same other: what is not TCP that can be joined is told apart no further.
fn same_stations(pool: &Pool, a: &Frame, b: &Frame) -> bool {
    pool.head(a).first_chunk::<12>() == pool.head(b).first_chunk::<12>()
}

/// Whether two segments have the same addresses and ports, wherever these lie.
fn same_flow(pool: &Pool, a: &Segment, a_frame: &Frame, b: &Segment, b_frame: &Frame) -> bool {
    let addresses = match a.kind {
        GsoKind::TcpIpv4 => ipv4::field::SOURCE..ipv4::HEADER,
        GsoKind::TcpIpv6 => ipv6::field::SOURCE..ipv6::HEADER,
    };
    let part = |frame, from: usize, part: &Range<usize>| pool.head(frame).get(from + part.start..from + part.end);
    a.kind == b.kind
        && part(a_frame, a.tcp.network, &addresses) == part(b_frame, b.tcp.network, &addresses)
        && part(a_frame, a.tcp.transport, &(0..4)) == part(b_frame, b.tcp.transport, &(0..4))
}

impl Segment {
    /// Looks at a frame. None when nothing can be joined to it: not TCP with a payload, something left to do, a checksum
    /// that does not hold, or flags that say more than "here is data".
    fn of(pool: &Pool, frame: &Frame) -> Option<Self> {
        if frame.chunks() != 1 || frame.has_offload() {
            return None;
        }
        let head = pool.head(frame);
        let kind = match ethernet::Header::parse(head).ok()?.ethertype() {
            super::layout::IPV4 => GsoKind::TcpIpv4,
            super::layout::IPV6 => GsoKind::TcpIpv6,
            _ => return None,
        };
        let tcp = Tcp::parse(head, frame.len(), kind)?;
        let header = head.get(tcp.transport..tcp.headers)?;
        let flags = *header.get(FLAGS)?;
        let payload = frame.len() - tcp.headers;
        if flags & !(FIN | PSH | ECE) != ACK || payload < usize::from(MIN_SEGMENT) {
            return None;
        }
        let mut ident = 0;
        if kind == GsoKind::TcpIpv4 {
            let ip = head.get(tcp.network..tcp.transport)?;
            if Sum::default().bytes(ip).folded() != 0xffff {
                return None;
            }
            ident = word(ip, ipv4::field::IDENT)?;
        }
        let pseudo = tcp.pseudo?;
        let length = (frame.len() - tcp.transport) as u64;
        let sum = u64::from(sum_from(pool, frame, tcp.transport).folded());
        (fold(sum + pseudo + length) == 0xffff).then_some(Self {
            tcp,
            kind,
            pseudo,
            payload,
            sequence: u32::from_be_bytes(*header.get(SEQUENCE..)?.first_chunk()?),
            ident,
            flags,
        })
    }

    /// Whether nothing may be joined behind it.
    fn ends(&self) -> bool {
        self.flags & (FIN | PSH) != 0
    }
}

impl Run {
    /// Whether `segment` is what would come next, if the run had been cut from a piece.
    fn continues_with(&self, pool: &Pool, whole: &Frame, segment: &Segment, frame: &Frame) -> bool {
        let fits = whole.len() + segment.payload <= LONGEST + self.first.tcp.network
            && whole.chunks() < CHUNKS
            && segment.payload <= self.first.payload;
        if self.ended || !fits || segment.sequence != self.next || segment.tcp != self.first.tcp {
            return false;
        }
        let (a, b) = (pool.head(whole), pool.head(frame));
        let tcp = &segment.tcp;
        let same = |from: usize, to: usize| a.get(from..to) == b.get(from..to);
        // All headers are equal but for lengths, checksums, and what counts up.
        let ip = match segment.kind {
            GsoKind::TcpIpv4 => {
                let (at, field) = (tcp.network, |field: usize| tcp.network + field);
                let stood = b.get(field(ipv4::field::FRAGMENT)).is_some_and(|byte| byte & 0x40 != 0)
                    && segment.ident == self.first.ident;
                (stood || segment.ident == self.first.ident.wrapping_add(self.count))
                    && same(at, field(ipv4::field::LENGTH))
                    && same(field(ipv4::field::FRAGMENT), field(ipv4::field::CHECKSUM))
                    && same(field(ipv4::field::SOURCE), tcp.transport)
            }
            GsoKind::TcpIpv6 => {
                same(tcp.network, tcp.network + ipv6::field::LENGTH)
                    && same(tcp.network + ipv6::field::NEXT, tcp.transport)
            }
        };
        let at = tcp.transport;
        let checksum = usize::from(CHECKSUM_OFFSET);
        ip && same(0, tcp.network)
            && same(at, at + SEQUENCE)
            && same(at + SEQUENCE + 4, at + FLAGS)
            && self.first.flags & ECE == segment.flags & ECE
            && same(at + FLAGS + 1, at + checksum)
            && same(at + checksum + 2, tcp.headers)
    }

    /// Chains the payload of `frame` behind `whole`.
    fn append(&mut self, pool: &mut Pool, whole: &mut Frame, segment: &Segment, mut frame: Frame) {
        // The headers lie in the frame's one chunk, and payload behind them.
        if !pool.grow_front(&mut frame, -(segment.tcp.headers as i16)) {
            return pool.free(frame);
        }
        pool.chain(whole, frame);
        self.count += 1;
        self.next = self.next.wrapping_add(segment.payload as u32);
        self.ended = segment.ends() || segment.payload < self.first.payload;
        // FIN and PSH were the last one's.
        self.first.flags |= segment.flags;
    }

    /// Makes a piece of what was joined.
    fn finish(self, pool: &mut Pool, out: &mut ArrayVec<Frame, BURST>) {
        let Some(whole) = out.get_mut(self.at) else { return };
        if self.count == 1 {
            return;
        }
        let Segment { tcp, kind, pseudo, payload, flags, .. } = self.first;
        let len = whole.len();
        let head = pool.head_mut(whole);
        if let Some(ip) = head.get_mut(tcp.network..tcp.transport) {
            match kind {
                GsoKind::TcpIpv4 => {
                    put(ip, ipv4::field::LENGTH, (len - tcp.network) as u16);
                    ipv4::fill_checksum(ip);
                }
                GsoKind::TcpIpv6 => put(ip, ipv6::field::LENGTH, (len - tcp.network - ipv6::HEADER) as u16),
            }
        }
        if let Some(header) = head.get_mut(tcp.transport..tcp.headers) {
            header[FLAGS] = flags;
            put(header, usize::from(CHECKSUM_OFFSET), fold(pseudo + (len - tcp.transport) as u64));
        }
        let partial = Partial { start: tcp.transport as u16, offset: CHECKSUM_OFFSET };
        pool.set_offload(whole, Offload::Segment(partial, Gso { kind, ecn: false, size: payload as u16 }));
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = word.to_be_bytes();
    }
}
