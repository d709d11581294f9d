//! Pieces of TCP, up to 64 KiB, handed to the kernel whole: its card cuts them, or it does.
//!
//! AF_XDP sends frames as they go over the wire. A packet socket takes a piece with a virtio header before it that says
//! how it is to be cut (`PACKET_VNET_HDR`, packet(7)), and from there on it is as if the host's own stack had sent it: one
//! call in place of forty descriptors, forty copies of the headers and forty checksums.
//!
//! What was put into the transmit ring before must leave before. In copy mode it has when the ring was kicked. A card in
//! zero-copy mode takes ring and socket from different queues, so there nothing is sent this way.
//!
//! In copy mode a card with several queues has them too: the ring's frames go to the queue that it is bound to, the socket's to
//! the one of the processor that calls (XPS), and one queue may be ahead of the other. So data that does not fill a piece goes
//! the way of its flow's pieces: a sender takes what arrives out of order for lost, and halves its window.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use arrayvec::ArrayVec;

use crate::drops::DropReason;
use crate::frame::Frame;
use crate::offload::virtio::{self, HEADER};
use crate::offload::{self, Offload, Partial};
use crate::pool::Pool;
use crate::units::Nanos;

/// Most chunks of a piece.
const MAX_CHUNKS: usize = 63;
/// Bytes that may wait in the device's queue: a few pieces more than a window.
const SEND_BUFFER: libc::c_int = 4 << 20;
/// `PACKET_VNET_HDR` of linux/if_packet.h.
const PACKET_VNET_HDR: libc::c_int = 15;

/// Flows that are told apart. Two in one place cost the one that sends no pieces a call for each of its segments.
const FLOWS: usize = 256;
/// How long after a piece its flow's data goes the same way.
const LASTS: Nanos = Nanos::from_millis(1000);

/// The way for one port.
#[derive(Debug)]
pub(super) struct Pieces {
    socket: OwnedFd,
    flows: Flows,
}

/// When flows last sent a piece, by their hashes.
#[derive(Debug)]
struct Flows(Box<[Nanos; FLOWS]>);

impl Flows {
    fn new() -> Self {
        Self(Box::new([Nanos(0); FLOWS]))
    }

    /// Whether a frame that begins with `head` and is `len` bytes long goes the way of the pieces, at about `now`.
    #[inline]
    fn claim(&mut self, head: &[u8], len: usize, offload: Offload, now: Nanos) -> bool {
        match offload {
            Offload::Segment(partial, _) => {
                if let Some(flow) = flow(head, partial) {
                    self.0[flow] = now;
                }
                true
            }
            // An acknowledgement may overtake data.
            Offload::Checksum(partial) => {
                offload::tcp_headers(head, partial).is_some_and(|headers| len > headers)
                    && flow(head, partial).is_some_and(|flow| now.since(self.0[flow]) < LASTS)
            }
            Offload::Verified => false,
        }
    }
}

/// A flow's place: by its ports and what is before them, which are the addresses, or their end.
#[inline]
fn flow(head: &[u8], partial: Partial) -> Option<usize> {
    let at = usize::from(partial.start).checked_sub(8)?;
    let (addresses, rest) = head.get(at..)?.split_first_chunk()?;
    let ports = rest.first_chunk()?;
    let mixed = u64::from_ne_bytes(*addresses) ^ u64::from(u32::from_ne_bytes(*ports)).rotate_left(16);
    Some((mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % FLOWS)
}

impl Pieces {
    /// To the device.
    pub(super) fn open(ifindex: u32) -> io::Result<Self> {
        // Protocol 0: the socket receives nothing.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
        // More than the host's limit where we may; else as much as there is.
        let _ = set(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER);
        // SAFETY: plain integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = ifindex as i32;
        // SAFETY: the address and the size of a structure that outlives the call.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) };
        if bound == 0 { Ok(Self { socket: fd, flows: Flows::new() }) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether the frame, for which `offload` is left to do, goes this way, at about `now`: a piece, and data of a flow that
    /// sends pieces.
    #[inline]
    pub(super) fn claim(&mut self, pool: &Pool, frame: &Frame, offload: Offload, now: Nanos) -> bool {
        self.flows.claim(pool.head(frame), frame.len(), offload, now)
    }

    /// Sends a frame for which cutting or a checksum is left to do; why it could not be.
    pub(super) fn send(&self, pool: &Pool, frame: &Frame) -> Result<(), DropReason> {
        let header = virtio::write(pool.offload(frame), pool.head(frame));
        let mut parts = ArrayVec::<libc::iovec, { MAX_CHUNKS + 1 }>::new();
        parts.push(libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: HEADER });
        for (at, len) in pool.parts(frame) {
            if parts.try_push(libc::iovec { iov_base: at.cast(), iov_len: len }).is_err() {
                return Err(DropReason::Giant);
            }
        }
        // SAFETY: the header outlives the call and is only read; the parts are those of our own frame.
        let sent = unsafe { libc::writev(self.socket.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) };
        if sent >= 0 {
            return Ok(());
        }
        Err(match io::Error::last_os_error().raw_os_error() {
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => DropReason::OutputDown,
            Some(libc::EINVAL | libc::EMSGSIZE) => DropReason::SegmentRequest,
            _ => DropReason::OutputFull,
        })
    }
}

fn set(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the address and the size of an integer that outlives the call.
    let set =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size_of_val(&value) as u32) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::{Gso, GsoKind};

    /// Ethernet, IPv4 and TCP headers, with `payload` bytes behind them.
    fn segment(port: u16, payload: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        let headers = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        headers.tcp(port, 80, 1, 1000).write(&mut frame, &vec![0; payload]).unwrap();
        frame
    }

    const TCP: Partial = Partial { start: 34, offset: 16 };
    const UDP: Partial = Partial { start: 34, offset: 6 };
    const PIECE: Offload = Offload::Segment(TCP, Gso { kind: GsoKind::TcpIpv4, ecn: false, size: 1448 });
    const NOW: Nanos = Nanos::from_millis(50_000);

    #[test]
    fn data_goes_the_way_of_its_flows_pieces() {
        let mut flows = Flows::new();
        let mut claim = |port, payload, offload, now| {
            let frame = segment(port, payload);
            flows.claim(&frame, frame.len(), offload, now)
        };
        let lone = Offload::Checksum(TCP);
        assert!(!claim(1, 100, lone, NOW), "no piece before it");
        assert!(claim(1, 30_000, PIECE, NOW));
        assert!(claim(1, 100, lone, NOW));
        assert!(!claim(2, 100, lone, NOW), "another flow's");
        assert!(!claim(1, 0, lone, NOW), "an acknowledgement");
        assert!(!claim(1, 100, Offload::Checksum(UDP), NOW), "no TCP");
        assert!(!claim(1, 100, Offload::Verified, NOW), "nothing to be done");
        assert!(claim(1, 100, lone, NOW.plus(Nanos::from_millis(900))));
        assert!(!claim(1, 100, lone, NOW.plus(LASTS)), "long ago");
    }

    #[test]
    fn headers_that_end_early_are_no_flow() {
        let mut flows = Flows::new();
        let frame = segment(1, 100);
        for len in 0..54 {
            assert!(!flows.claim(&frame[..len], len, Offload::Checksum(TCP), NOW));
            assert!(flows.claim(&frame[..len], len, PIECE, NOW), "judged elsewhere");
        }
        assert!(!flows.claim(&frame, frame.len(), Offload::Checksum(Partial { start: 3, offset: 16 }), NOW));
    }
}
