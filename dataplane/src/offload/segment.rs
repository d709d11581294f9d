//! Cutting a frame into segments, as a network card does it (and Linux where there is none: `tcp_gso_segment`).
//!
//! Every segment has the headers of the whole, but for: the lengths; IPv4's identification, which counts up, and its
//! header checksum; UDP's checksum; TCP's sequence number, which counts the payload; FIN and PSH, which only the last may have; CWR, which
//! only the first may have (RFC 3168, 6.1.2); and TCP's checksum, which is computed from nothing: what stands in the
//! field is trusted only where the pseudo-header's destination is not to be had from the packet.

use super::checksum::sum_from;
use super::layout::{UDP_LENGTH, Upper, fold};
use super::{Gso, GsoKind, Offload};
use crate::frame::Frame;
use crate::pool::{CHUNK_DATA, Pool, Reader};
use crate::wire::{ipv4, ipv6};

/// Where the sequence number is in a TCP header.
const SEQUENCE: usize = 4;
/// Where the flags are.
const FLAGS: usize = 13;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The segments of a frame, made one after the other. Ends in [`end`](Self::end), as a frame does in `free`.
#[must_use = "the frame that is cut must be freed"]
#[derive(Debug)]
pub struct Segments {
    frame: Frame,
    cut: Cut,
}

/// How far the cutting of a frame is.
#[derive(Debug)]
struct Cut {
    upper: Upper,
    gso: Gso,
    payload: Reader,
    /// Bytes of payload that lie behind.
    done: usize,
    /// Bytes of payload in all.
    total: usize,
    /// Segments made.
    made: u16,
    ident: u16,
    /// None: UDP.
    tcp: Option<Tcp>,
    /// The sum over the pseudo-header, but for the length.
    pseudo: u64,
}

impl Segments {
    /// The segments of `frame`.
    ///
    /// # Errors
    /// The frame itself, when it is not to be cut or cannot be.
    pub fn of(pool: &Pool, frame: Frame) -> Result<Self, Frame> {
        match Cut::of(pool, &frame) {
            Some(cut) => Ok(Self { frame, cut }),
            None => Err(frame),
        }
    }

    /// How many are still to be made.
    pub fn left(&self) -> usize {
        (self.cut.total - self.cut.done).div_ceil(usize::from(self.cut.gso.size))
    }

    /// Chunks that those take, at most.
    pub fn chunks_left(&self) -> usize {
        let longest = self.cut.upper.headers + usize::from(self.cut.gso.size);
        self.left() * longest.div_ceil(CHUNK_DATA)
    }

    /// The next segment. None when there is none left, or no chunk for it.
    pub fn next(&mut self, pool: &mut Pool) -> Option<Frame> {
        let cut = &mut self.cut;
        let len = (cut.total - cut.done).min(usize::from(cut.gso.size));
        if len == 0 {
            return None;
        }
        let mut segment = pool.alloc()?;
        let mut headers = pool.reader(&self.frame);
        // SAFETY: the readers are of our own frame, which lives as long as we do, and is not the segment.
        let copied = unsafe {
            pool.append_read(&mut segment, &mut headers, cut.upper.headers)
                && pool.append_read(&mut segment, &mut cut.payload, len)
        };
        if !copied || cut.rewrite(pool, &mut segment, len).is_none() {
            pool.free(segment);
            return None;
        }
        cut.done += len;
        cut.made = cut.made.wrapping_add(1);
        Some(segment)
    }

    /// Frees the frame.
    pub fn end(self, pool: &mut Pool) {
        pool.free(self.frame);
    }
}

impl Cut {
    fn of(pool: &Pool, frame: &Frame) -> Option<Self> {
        let Some(Offload::Segment(partial, gso)) = pool.offload(frame) else { return None };
        let head = pool.head(frame);
        let upper = Upper::parse(head, frame.len(), gso.kind)?;
        if usize::from(partial.start) != upper.transport || gso.size == 0 {
            return None;
        }
        let word = |at: usize| Some(u16::from_be_bytes(*head.get(at..)?.first_chunk()?));
        let pseudo = match upper.pseudo {
            Some(pseudo) => pseudo,
            None => {
                // The length of the whole is in it: out with it, by adding its complement.
                let length = fold((frame.len() - upper.transport) as u64);
                u64::from(word(upper.transport + usize::from(gso.kind.checksum_offset()))?) + u64::from(!length)
            }
        };
        let mut payload = pool.reader(frame);
        payload.skip(upper.headers)?;
        Some(Self {
            upper,
            gso,
            payload,
            done: 0,
            total: frame.len() - upper.headers,
            made: 0,
            ident: word(upper.network + ipv4::field::IDENT)?,
            tcp: match gso.kind {
                GsoKind::Udp => None,
                GsoKind::TcpIpv4 | GsoKind::TcpIpv6 => Some(Tcp::of(head.get(upper.transport..)?)?),
            },
            pseudo,
        })
    }

    /// Gives a copy of the headers with `len` bytes of payload behind them their own values.
    fn rewrite(&self, pool: &mut Pool, segment: &mut Frame, len: usize) -> Option<()> {
        let Upper { network, transport, headers, six, .. } = self.upper;
        let head = pool.head_mut(segment);
        let ip = head.get_mut(network..transport)?;
        if six {
            put16(ip, ipv6::field::LENGTH, (headers - network - ipv6::HEADER + len) as u16)?;
        } else {
            put16(ip, ipv4::field::LENGTH, (headers - network + len) as u16)?;
            put16(ip, ipv4::field::IDENT, self.ident.wrapping_add(self.made))?;
            ipv4::fill_checksum(ip);
        }
        let header = head.get_mut(transport..headers)?;
        let length = headers - transport + len;
        match &self.tcp {
            Some(tcp) => tcp.write(header, self.done, self.done + len == self.total)?,
            None => put16(header, UDP_LENGTH, length as u16)?,
        }
        let field = usize::from(self.gso.kind.checksum_offset());
        put16(header, field, 0)?;
        let sum = u64::from(sum_from(pool, segment, transport).folded()) + self.pseudo + length as u64;
        let checksum = match (!fold(sum), self.gso.kind) {
            // Zero would say that there is none (RFC 768).
            (0, GsoKind::Udp) => 0xffff,
            (checksum, _) => checksum,
        };
        put16(pool.head_mut(segment), transport + field, checksum)
    }
}

/// What TCP's header says of the whole.
#[derive(Debug)]
struct Tcp {
    sequence: u32,
    flags: u8,
}

impl Tcp {
    fn of(header: &[u8]) -> Option<Self> {
        let sequence = u32::from_be_bytes(*header.get(SEQUENCE..)?.first_chunk()?);
        Some(Self { sequence, flags: *header.get(FLAGS)? })
    }

    /// Writes what the header of a segment says whose payload begins after `done` bytes.
    fn write(&self, header: &mut [u8], done: usize, last: bool) -> Option<()> {
        let sequence = self.sequence.wrapping_add(done as u32);
        *header.get_mut(SEQUENCE..)?.first_chunk_mut()? = sequence.to_be_bytes();
        let mut flags = self.flags;
        if !last {
            flags &= !(FIN | PSH);
        }
        if done > 0 {
            flags &= !CWR;
        }
        *header.get_mut(FLAGS)? = flags;
        Some(())
    }
}

fn put16(bytes: &mut [u8], at: usize, word: u16) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = word.to_be_bytes();
    Some(())
}
