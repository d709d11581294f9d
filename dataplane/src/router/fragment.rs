//! Fragmentation (RFC 791, 3.2): an IPv4 packet that the next link does not carry leaves in pieces that it does.

use super::cache::Hop;
use super::link;
use super::{Io, Router, Routing};
use crate::drops::DropReason;
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::offload::{self, Offload, Segments};
use crate::wire::field::put16;
use crate::wire::ipv4::{self, MF, OFFSET};

/// Longest header of a fragment, Ethernet included.
const MAX_HEADER: usize = ETHERNET_HEADER + ipv4::HEADER + ipv4::MAX_OPTIONS;

impl<R: Routing> Router<R> {
    /// Sends `frame`, whose Ethernet addresses are those of `hop` already, in fragments. Bytes behind the packet's end
    /// are left behind, so a short packet in a long frame leaves as one piece, trimmed.
    #[cold]
    pub(super) fn fragment(&mut self, io: &mut Io<'_>, mut frame: Frame, hop: &Hop) {
        match io.pool.offload(&frame) {
            Some(Offload::Segment(..)) => return self.fragment_segments(io, frame, hop),
            Some(Offload::Checksum(partial)) => {
                io.pool.take_offload(&mut frame);
                if !offload::complete(io.pool, &mut frame, partial) {
                    return self.drop(io, frame, DropReason::ChecksumRequest);
                }
            }
            Some(Offload::Verified) | None => (),
        }
        match self.fragments(io, &frame, hop) {
            Ok(()) => io.pool.free(frame),
            Err(reason) => self.drop(io, frame, reason),
        }
    }

    /// As [`fragment`](Self::fragment), for a piece that is to be cut into segments before.
    fn fragment_segments(&mut self, io: &mut Io<'_>, frame: Frame, hop: &Hop) {
        let mut segments = match Segments::of(io.pool, frame) {
            Ok(segments) => segments,
            Err(frame) => return self.drop(io, frame, DropReason::SegmentRequest),
        };
        while let Some(segment) = segments.next(io.pool) {
            self.fragment(io, segment, hop);
        }
        if segments.left() > 0 {
            self.count_drop(io, io.input, DropReason::PoolExhausted);
        }
        segments.end(io.pool);
    }

    fn fragments(&mut self, io: &mut Io<'_>, frame: &Frame, hop: &Hop) -> Result<(), DropReason> {
        let head = io.pool.head(frame);
        let packet = ipv4::Packet::new_checked(link::packet(head), frame.len() - ETHERNET_HEADER)
            .map_err(|_| DropReason::IpHeaderInvalid)?;
        let header = packet.header();
        let header_len = packet.header_len();
        let total = usize::from(header.length);
        let mut first = [0; MAX_HEADER];
        let mut later = [0; MAX_HEADER];
        let first_len = copy(&mut first, &[head.get(..ETHERNET_HEADER + header_len).unwrap_or(&[])]);
        let mut options = [0; ipv4::MAX_OPTIONS];
        let options_len = ipv4::copied_options(packet.options(), &mut options);
        let fixed = head.get(..ETHERNET_HEADER + ipv4::HEADER).unwrap_or(&[]);
        let later_len = copy(&mut later, &[fixed, options.get(..options_len).unwrap_or(&[])]);

        let mut at = header_len;
        while at < total || at == header_len {
            let (template, len) = match at == header_len && header.offset() == 0 {
                true => (&mut first, first_len),
                false => (&mut later, later_len),
            };
            let template = template.get_mut(..len).unwrap_or(&mut []);
            let own_header = len - ETHERNET_HEADER;
            let room = usize::from(hop.mtu).saturating_sub(own_header);
            // All but the last carry whole units of 8 bytes.
            let (size, last) = if total - at <= room { (total - at, true) } else { (room & !7, false) };
            if size == 0 && !last {
                return Err(DropReason::TooBig);
            }
            let offset = (header.offset() + at - header_len) / 8;
            let more = if last { header.fragment & MF } else { MF };
            let flags = header.fragment & !(MF | OFFSET);
            write(template, own_header, own_header + size, flags | more | (offset as u16 & OFFSET));
            let mut piece = io.pool.frame_from(template).ok_or(DropReason::PoolExhausted)?;
            if size > 0 && !io.pool.append_from(&mut piece, frame, ETHERNET_HEADER + at, size) {
                io.pool.free(piece);
                return Err(DropReason::PoolExhausted);
            }
            self.send(io, hop.interface, piece);
            if last {
                break;
            }
            at += size;
        }
        Ok(())
    }
}

/// Copies `parts`, one after the other, to the start of `to`; the length in all.
fn copy(to: &mut [u8; MAX_HEADER], parts: &[&[u8]]) -> usize {
    let mut len = 0;
    for part in parts {
        if let Some(room) = to.get_mut(len..len + part.len()) {
            room.copy_from_slice(part);
            len += part.len();
        }
    }
    len
}

/// Writes into the header behind the Ethernet header what is different for this fragment.
fn write(template: &mut [u8], header_len: usize, total: usize, fragment: u16) {
    let header = link::packet_mut(template);
    if let Some(fixed) = header.first_chunk_mut::<{ ipv4::HEADER }>() {
        fixed[ipv4::field::VERSION_IHL] = 0x40 | (header_len / 4) as u8;
        put16::<{ ipv4::field::LENGTH }, _>(fixed, total as u16);
        put16::<{ ipv4::field::FRAGMENT }, _>(fixed, fragment);
    }
    ipv4::fill_checksum(header);
}
