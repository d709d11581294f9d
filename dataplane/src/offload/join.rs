//! Joining what was cut: segments of one TCP flow that come in one burst, or datagrams of one UDP flow that have one
//! length, for a port where every frame costs a system call and a walk through the stack behind it.
//!
//! What is joined is exactly what cutting would give again (but for an identification that stood still, which with "do
//! not fragment" means nothing): so whoever gets the piece and sends it on, sends the frames that came. Each checksum is
//! verified first, and a frame that does not hold its own stays as it is; joined, it would be given a right one.
//!
//! No byte of payload moves: the chunks are chained, each behind its headers.

use std::ops::Range;

use arrayvec::ArrayVec;

use super::checksum::sum_from;
use super::layout::{UDP_CHECKSUM_OFFSET, UDP_LENGTH, Upper, fold};
use super::{Gso, GsoKind, Offload, Offloads, Partial};
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

/// A segment or datagram that others can be joined to.
#[derive(Clone, Copy)]
struct Segment {
    upper: Upper,
    kind: GsoKind,
    /// The sum over the pseudo-header, but for the length.
    pseudo: u64,
    payload: usize,
    /// Of TCP; none of UDP's.
    sequence: u32,
    ident: u16,
    /// TCP's; none of UDP's.
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

/// Joins what can be joined in `burst` for a port that `accepts` the pieces. Frames of a flow keep their order.
pub fn join(pool: &mut Pool, burst: &mut Burst, accepts: Offloads) {
    if burst.len() < 2 {
        return;
    }
    let mut out = ArrayVec::<Frame, BURST>::new();
    let mut runs = ArrayVec::<Run, RUNS>::new();
    for frame in burst.drain(..) {
        let Some(segment) = Segment::of(pool, &frame, accepts) else {
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
        runs.push(Run { at: out.len(), first: segment, count: 1, next: segment.next(), ended: segment.ends() });
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
    let addresses = if a.upper.six { ipv6::field::SOURCE..ipv6::HEADER } else { ipv4::field::SOURCE..ipv4::HEADER };
    let part = |frame, from: usize, part: &Range<usize>| pool.head(frame).get(from + part.start..from + part.end);
    a.kind == b.kind
        && a.upper.six == b.upper.six
        && part(a_frame, a.upper.network, &addresses) == part(b_frame, b.upper.network, &addresses)
        && part(a_frame, a.upper.transport, &(0..4)) == part(b_frame, b.upper.transport, &(0..4))
}

impl Segment {
    /// Looks at a frame. None when nothing can be joined to it: neither TCP nor UDP with a payload, something left to do, a
    /// checksum that does not hold or is not there, or flags that say more than "here is data".
    fn of(pool: &Pool, frame: &Frame, accepts: Offloads) -> Option<Self> {
        if frame.chunks() != 1 || frame.has_offload() {
            return None;
        }
        let head = pool.head(frame);
        let tcp = match ethernet::Header::parse(head).ok()?.ethertype() {
            super::layout::IPV4 => GsoKind::TcpIpv4,
            super::layout::IPV6 => GsoKind::TcpIpv6,
            _ => return None,
        };
        let parsed = |kind| Some((kind, Upper::parse(head, frame.len(), kind)?));
        let (kind, upper) = [tcp, GsoKind::Udp].into_iter().find_map(parsed)?;
        if !accepts.contains(Offloads::pieces(kind)) {
            return None;
        }
        let header = head.get(upper.transport..upper.headers)?;
        let payload = frame.len() - upper.headers;
        let (mut sequence, mut flags) = (0, 0);
        if kind == GsoKind::Udp {
            if word(header, usize::from(UDP_CHECKSUM_OFFSET))? == 0 {
                return None;
            }
        } else {
            sequence = u32::from_be_bytes(*header.get(SEQUENCE..)?.first_chunk()?);
            flags = *header.get(FLAGS)?;
            if flags & !(FIN | PSH | ECE) != ACK {
                return None;
            }
        }
        if payload < usize::from(kind.min_size()) {
            return None;
        }
        let mut ident = 0;
        if !upper.six {
            let ip = head.get(upper.network..upper.transport)?;
            if Sum::default().bytes(ip).folded() != 0xffff {
                return None;
            }
            ident = word(ip, ipv4::field::IDENT)?;
        }
        let pseudo = upper.pseudo?;
        let length = (frame.len() - upper.transport) as u64;
        let sum = u64::from(sum_from(pool, frame, upper.transport).folded());
        let holds = fold(sum + pseudo + length) == 0xffff;
        holds.then_some(Self { upper, kind, pseudo, payload, sequence, ident, flags })
    }

    /// The sequence number that follows; UDP has none, and 0 follows 0.
    fn next(&self) -> u32 {
        match self.kind {
            GsoKind::Udp => 0,
            GsoKind::TcpIpv4 | GsoKind::TcpIpv6 => self.sequence.wrapping_add(self.payload as u32),
        }
    }

    /// Whether nothing may be joined behind it.
    fn ends(&self) -> bool {
        self.flags & (FIN | PSH) != 0
    }
}

impl Run {
    /// Whether `segment` is what would come next, if the run had been cut from a piece.
    fn continues_with(&self, pool: &Pool, whole: &Frame, segment: &Segment, frame: &Frame) -> bool {
        let fits = whole.len() + segment.payload <= LONGEST + self.first.upper.network
            && whole.chunks() < CHUNKS
            && segment.payload <= self.first.payload;
        if self.ended || !fits || segment.sequence != self.next || segment.upper != self.first.upper {
            return false;
        }
        let (a, b) = (pool.head(whole), pool.head(frame));
        let Upper { network, transport: at, headers, six, .. } = segment.upper;
        let same = |from: usize, to: usize| a.get(from..to) == b.get(from..to);
        // All headers are equal but for lengths, checksums, and what counts up.
        let ip = if six {
            same(network, network + ipv6::field::LENGTH) && same(network + ipv6::field::NEXT, at)
        } else {
            let field = |field: usize| network + field;
            let stood = b.get(field(ipv4::field::FRAGMENT)).is_some_and(|byte| byte & 0x40 != 0)
                && segment.ident == self.first.ident;
            (stood || segment.ident == self.first.ident.wrapping_add(self.count))
                && same(network, field(ipv4::field::LENGTH))
                && same(field(ipv4::field::FRAGMENT), field(ipv4::field::CHECKSUM))
                && same(field(ipv4::field::SOURCE), at)
        };
        let upper = match segment.kind {
            // Ports, a length, a checksum.
            GsoKind::Udp => same(at, at + UDP_LENGTH),
            GsoKind::TcpIpv4 | GsoKind::TcpIpv6 => {
                let checksum = usize::from(segment.kind.checksum_offset());
                same(at, at + SEQUENCE)
                    && same(at + SEQUENCE + 4, at + FLAGS)
                    && self.first.flags & ECE == segment.flags & ECE
                    && same(at + FLAGS + 1, at + checksum)
                    && same(at + checksum + 2, headers)
            }
        };
        ip && upper && same(0, network)
    }

    /// Chains the payload of `frame` behind `whole`.
    fn append(&mut self, pool: &mut Pool, whole: &mut Frame, segment: &Segment, mut frame: Frame) {
        // The headers lie in the frame's one chunk, and payload behind them.
        if !pool.grow_front(&mut frame, -(segment.upper.headers as i16)) {
            return pool.free(frame);
        }
        pool.chain(whole, frame);
        self.count += 1;
        self.next = segment.next();
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
        let Segment { upper, kind, pseudo, payload, flags, .. } = self.first;
        let len = whole.len();
        let head = pool.head_mut(whole);
        if let Some(ip) = head.get_mut(upper.network..upper.transport) {
            if upper.six {
                put(ip, ipv6::field::LENGTH, (len - upper.network - ipv6::HEADER) as u16);
            } else {
                put(ip, ipv4::field::LENGTH, (len - upper.network) as u16);
                ipv4::fill_checksum(ip);
            }
        }
        let offset = kind.checksum_offset();
        if let Some(header) = head.get_mut(upper.transport..upper.headers) {
            match kind {
                GsoKind::Udp => put(header, UDP_LENGTH, (len - upper.transport) as u16),
                GsoKind::TcpIpv4 | GsoKind::TcpIpv6 => header[FLAGS] = flags,
            }
            put(header, usize::from(offset), fold(pseudo + (len - upper.transport) as u64));
        }
        let partial = Partial { start: upper.transport as u16, offset };
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
