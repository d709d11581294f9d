//! Pieces of TCP, up to 64 KiB, handed to the kernel whole: its card cuts them, or it does.
//!
//! AF_XDP sends frames as they go over the wire. A packet socket takes a piece with a virtio header before it that says
//! how it is to be cut (`PACKET_VNET_HDR`, packet(7)), and from there on it is as if the host's own stack had sent it: one
//! call in place of forty descriptors, forty copies of the headers and forty checksums.
//!
//! What was put into the transmit ring before must leave before. In copy mode it has when the ring was kicked. A card in
//! zero-copy mode takes ring and socket from different queues, so there nothing is sent this way.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use arrayvec::ArrayVec;

use crate::drops::DropReason;
use crate::frame::Frame;
use crate::offload::virtio::{self, HEADER};
use crate::pool::Pool;

/// Most chunks of a piece.
const MAX_CHUNKS: usize = 63;
/// Bytes that may wait in the device's queue: a few pieces more than a window.
const SEND_BUFFER: libc::c_int = 4 << 20;
/// `PACKET_VNET_HDR` of linux/if_packet.h.
const PACKET_VNET_HDR: libc::c_int = 15;

/// The way for one port.
#[derive(Debug)]
pub(super) struct Pieces(OwnedFd);

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
        if bound == 0 { Ok(Self(fd)) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a frame for which cutting is left to do; why it could not be.
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
        let sent = unsafe { libc::writev(self.0.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) };
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
