//! Cutting a frame into segments, as a network card does it (and Linux where there is none: `tcp_gso_segment`).
//!
//! Every segment has the headers of the whole, but for: the lengths; IPv4's identification, which counts up, and its
//! header checksum; TCP's sequence number, which counts the payload; FIN and PSH, which only the last may have; CWR, which
//! only the first may have (RFC 3168, 6.1.2); and TCP's checksum, which is computed from nothing: what stands in the
//! field is trusted only where the pseudo-header's destination is not to be had from the packet.

use super::checksum::sum_from;
use super::layout::{CHECKSUM_OFFSET, Tcp, fold};
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
    tcp: Tcp,
    gso: Gso,
    payload: Reader,
    /// Bytes of payload that lie behind.
    done: usize,
    /// Bytes of payload in all.
    total: usize,
    /// Segments made.
    made: u16,
    ident: u16,
    sequence: u32,
    flags: u8,
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
        let longest = self.cut.tcp.headers + usize::from(self.cut.gso.size);
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
            pool.append_read(&mut segment, &mut headers, cut.tcp.headers)
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
        let tcp = Tcp::parse(head, frame.len(), gso.kind)?;
        if usize::from(partial.start) != tcp.transport || gso.size == 0 {
            return None;
        }
        let header = head.get(tcp.transport..tcp.headers)?;
        let word = |at: usize| Some(u16::from_be_bytes(*head.get(at..)?.first_chunk()?));
        let pseudo = match tcp.pseudo {
            Some(pseudo) => pseudo,
            None => {
                // The length of the whole is in it: out with it, by adding its complement.
                let length = fold((frame.len() - tcp.transport) as u64);
                u64::from(word(tcp.transport + usize::from(CHECKSUM_OFFSET))?) + u64::from(!length)
            }
        };
        let mut payload = pool.reader(frame);
        payload.skip(tcp.headers)?;
        Some(Self {
            tcp,
            gso,
            payload,
            done: 0,
            total: frame.len() - tcp.headers,
            made: 0,
            ident: word(tcp.network + ipv4::field::IDENT)?,
            sequence: u32::from_be_bytes(*header.get(SEQUENCE..)?.first_chunk()?),
            flags: *header.get(FLAGS)?,
            pseudo,
        })
    }

    /// Gives a copy of the headers with `len` bytes of payload behind them their own values.
    fn rewrite(&self, pool: &mut Pool, segment: &mut Frame, len: usize) -> Option<()> {
        let Tcp { network, transport, headers, .. } = self.tcp;
        let head = pool.head_mut(segment);
        let ip = head.get_mut(network..transport)?;
        match self.gso.kind {
            GsoKind::TcpIpv4 => {
                put16(ip, ipv4::field::LENGTH, (headers - network + len) as u16)?;
                put16(ip, ipv4::field::IDENT, self.ident.wrapping_add(self.made))?;
                ipv4::fill_checksum(ip);
            }
            GsoKind::TcpIpv6 => put16(ip, ipv6::field::LENGTH, (headers - network - ipv6::HEADER + len) as u16)?,
        }
        let tcp = head.get_mut(transport..headers)?;
        let sequence = self.sequence.wrapping_add(self.done as u32);
        *tcp.get_mut(SEQUENCE..)?.first_chunk_mut()? = sequence.to_be_bytes();
        let mut flags = self.flags;
        if self.done + len < self.total {
            flags &= !(FIN | PSH);
        }
        if self.done > 0 {
            flags &= !CWR;
        }
        *tcp.get_mut(FLAGS)? = flags;
        let field = usize::from(CHECKSUM_OFFSET);
        put16(tcp, field, 0)?;
        let length = (headers - transport + len) as u64;
        let sum = u64::from(sum_from(pool, segment, transport).folded()) + self.pseudo + length;
        put16(pool.head_mut(segment), transport + field, !fold(sum))
    }
}

fn put16(bytes: &mut [u8], at: usize, word: u16) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = word.to_be_bytes();
    Some(())
}
