//! An AF_XDP socket: made, sized, bound to one queue of one device.
//!
//! All sockets of a worker work on the worker's one pool. The kernel ties the mode of every socket that shares a UMEM
//! registration to that of the first (`xsk_bind` in net/xdp/xsk.c), so a worker that owns a zero-copy NIC and a veth
//! registers its memory twice: [`Registrations`] keeps one registration a mode, and sockets of equal mode share it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::ring::{Descriptor, Ring, RingKind};
use crate::memory::Memory;
use crate::pool::CHUNK;

/// Copy or zero-copy, chunks chained or not: what must be equal for sockets that share a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode {
    /// The driver writes straight into the pool.
    pub zero_copy: bool,
    /// Frames may take several chunks (`XDP_USE_SG`, kernel 6.6).
    pub multi_buffer: bool,
}

/// The first socket of each mode: those after it share its UMEM.
#[derive(Debug, Default)]
pub struct Registrations(Vec<(SocketMode, RawFd)>);

/// Sizes of the rings, each a power of two.
#[derive(Clone, Copy, Debug)]
pub struct RingSizes {
    /// Receive ring, and as many chunks lent to the kernel in the fill ring.
    pub rx: u32,
    /// Transmit ring, and the completion ring.
    pub tx: u32,
}

/// A bound socket with its rings.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// Frames that arrived.
    pub rx: Ring<Descriptor>,
    /// Frames to send.
    pub tx: Ring<Descriptor>,
    /// Chunks that the kernel may receive into.
    pub fill: Ring<u64>,
    /// Chunks that were sent.
    pub completion: Ring<u64>,
    /// How it is bound.
    pub mode: SocketMode,
    /// Frames that one [`kick_tx`](Self::kick_tx) sends at most in copy mode.
    pub budget: u32,
}

/// `XDP_MAX_TX_SKB_BUDGET` of linux/if_xdp.h (kernel 6.17): frames that one `sendto` may send in copy mode.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// As many as it sends with an older kernel (`TX_BATCH_SIZE` of net/xdp/xsk.c), or where nothing else was asked for.
const TX_BATCH_SIZE: u32 = 32;

impl Socket {
    /// Makes a socket on `memory` and binds it to `queue` of the device `ifindex` in `mode`.
    ///
    /// # Errors
    /// What the kernel said; `EOPNOTSUPP` and `EINVAL` mean that this mode is not to be had.
    pub fn bind(
        memory: &Memory,
        ifindex: u32,
        queue: u32,
        mode: SocketMode,
        sizes: RingSizes,
        shared: &mut Registrations,
    ) -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let owner = shared.0.iter().find(|(m, _)| *m == mode).map(|&(_, owner)| owner);
        if owner.is_none() {
            register(fd.as_fd(), memory)?;
        }
        let offsets = ring_offsets(fd.as_fd())?;
        let map = |option, page_offset: u64| RingKind { option, page_offset: page_offset as libc::off_t };
        let fill = map(libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_PGOFF_FILL_RING);
        let completion = map(libc::XDP_UMEM_COMPLETION_RING, libc::XDP_UMEM_PGOFF_COMPLETION_RING);
        let rx = map(libc::XDP_RX_RING, libc::XDP_PGOFF_RX_RING as u64);
        let tx = map(libc::XDP_TX_RING, libc::XDP_PGOFF_TX_RING as u64);
        let mut socket = Self {
            fill: Ring::map(fd.as_fd(), fill, sizes.rx, &offsets.fr)?,
            completion: Ring::map(fd.as_fd(), completion, sizes.tx, &offsets.cr)?,
            rx: Ring::map(fd.as_fd(), rx, sizes.rx, &offsets.rx)?,
            tx: Ring::map(fd.as_fd(), tx, sizes.tx, &offsets.tx)?,
            mode,
            budget: TX_BATCH_SIZE,
            fd,
        };
        if socket.set_option(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, sizes.tx as libc::c_int).is_ok() {
            socket.budget = sizes.tx;
        }
        let mut flags = libc::XDP_SHARED_UMEM;
        if owner.is_none() {
            // XDP_COPY and XDP_ZEROCOPY are told only by the socket that registers; the others inherit.
            flags = libc::XDP_USE_NEED_WAKEUP;
            flags |= if mode.zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
            if mode.multi_buffer {
                flags |= libc::XDP_USE_SG;
            }
        }
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: owner.unwrap_or(0) as u32,
        };
        // SAFETY: `address` is a valid sockaddr_xdp of the length given.
        let bound = unsafe {
            libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_xdp>() as u32)
        };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        if owner.is_none() {
            shared.0.push((mode, socket.as_raw_fd()));
        }
        Ok(socket)
    }

    /// Turns on preferred busy polling: our system calls then run the driver's receive work.
    ///
    /// # Errors
    /// What `setsockopt` said (kernel before 5.11, or no `CAP_NET_ADMIN`).
    pub fn prefer_busy_poll(&self, budget: i32) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 1)?;
        self.set_option(libc::SOL_SOCKET, libc::SO_BUSY_POLL, 20)?;
        self.set_option(libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, budget)
    }

    fn set_option(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the option takes an int, whose address and size are given.
        match unsafe { libc::setsockopt(self.as_raw_fd(), level, option, (&raw const value).cast(), 4) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Lets the kernel send what lies in the transmit ring. False when it had more to do than one call does.
    #[inline]
    pub fn kick_tx(&self) -> bool {
        // SAFETY: no buffer is passed.
        let sent =
            unsafe { libc::sendto(self.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        sent >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN)
    }

    /// Lets the kernel receive: wanted when the fill ring asks for a wake-up, and with busy polling.
    #[inline]
    pub fn kick_rx(&self) {
        // SAFETY: no buffer is passed.
        unsafe {
            libc::recvfrom(
                self.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    /// What the kernel has counted for this socket.
    pub fn statistics(&self) -> io::Result<libc::xdp_statistics> {
        // SAFETY: xdp_statistics is plain integers; the kernel fills at most its size.
        let mut statistics: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        let mut len = size_of::<libc::xdp_statistics>() as libc::socklen_t;
        // SAFETY: the address and length of a structure that outlives the call.
        let got = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_STATISTICS,
                (&raw mut statistics).cast(),
                &mut len,
            )
        };
        if got == 0 { Ok(statistics) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn register(socket: BorrowedFd<'_>, memory: &Memory) -> io::Result<()> {
    // The oldest shape of the structure: every kernel takes it, and none of the later flags is wanted.
    let registration = libc::xdp_umem_reg_v1 {
        addr: memory.base() as u64,
        len: memory.len() as u64,
        chunk_size: CHUNK as u32,
        // The kernel itself leaves XDP_PACKET_HEADROOM (256 bytes): no more is needed.
        headroom: 0,
    };
    // SAFETY: the address and size of a structure laid out as the kernel expects; the memory outlives the socket
    // because the worker drops its ports before its pool.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_UMEM_REG,
            (&raw const registration).cast(),
            size_of_val(&registration) as u32,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn ring_offsets(socket: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: xdp_mmap_offsets is plain integers; the kernel fills at most its size.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
    // SAFETY: the address and length of a structure that outlives the call.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, (&raw mut offsets).cast(), &mut len)
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<libc::xdp_mmap_offsets>() {
        return Err(io::Error::other("the kernel's AF_XDP is older than 5.4: no ring flags"));
    }
    Ok(offsets)
}
