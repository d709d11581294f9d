//! What the fuzz targets share: a memif client that says and writes whatever it is told to.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use pointsman_dataplane::memif::region::Region;
use pointsman_dataplane::memif::ring::{COOKIE, field, ring_len};
use pointsman_dataplane::memif::wire::{AddRegion, AddRing, Init, MESSAGE_LEN, Message, SECRET_LEN, VERSION};

/// Descriptors of each ring of [`Client::join`], as a power of two.
pub const LOG2_RING: u8 = 5;
/// Bytes of its region: two rings, and buffers behind them.
pub const REGION: usize = 1 << 16;

/// The client's end of a memif socket.
pub struct Client {
    socket: OwnedFd,
}

/// A client's connection whose handshake is done: its memory is the engine's from now on.
pub struct Joined {
    /// Open for as long as the client lives.
    _client: Client,
    _events: [OwnedFd; 2],
    region: Region,
}

impl Client {
    /// Connects, and gives up on a server that says nothing for two seconds.
    pub fn connect(path: &Path) -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: plain bytes, for which zero is a value.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        address.sun_family = libc::AF_UNIX as u16;
        for (to, from) in address.sun_path.iter_mut().zip(path.as_os_str().as_encoded_bytes()) {
            *to = *from as libc::c_char;
        }
        let timeout = libc::timeval { tv_sec: 2, tv_usec: 0 };
        // SAFETY: both structures outlive the calls, and their sizes are given.
        let connected = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const timeout).cast(),
                size_of_val(&timeout) as u32,
            );
            libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32)
        };
        if connected == 0 { Ok(Self { socket }) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends one packet with at most two descriptors.
    pub fn send(&self, bytes: &[u8], fds: &[&OwnedFd]) -> io::Result<()> {
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = [0_u64; 8];
        // SAFETY: plain bytes, for which zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        let fds: Vec<i32> = fds.iter().take(2).map(|fd| fd.as_raw_fd()).collect();
        let payload = size_of_val(&fds[..]) as u32;
        if !fds.is_empty() {
            header.msg_control = control.as_mut_ptr().cast();
            // SAFETY: `control` has room for a header and two descriptors, and is aligned for it.
            unsafe {
                header.msg_controllen = libc::CMSG_SPACE(payload) as usize;
                let message = libc::CMSG_FIRSTHDR(&header);
                (*message).cmsg_level = libc::SOL_SOCKET;
                (*message).cmsg_type = libc::SCM_RIGHTS;
                (*message).cmsg_len = libc::CMSG_LEN(payload) as usize;
                libc::CMSG_DATA(message).copy_from(fds.as_ptr().cast(), payload as usize);
            }
        }
        // SAFETY: everything that the header points to is alive.
        match unsafe { libc::sendmsg(self.socket.as_raw_fd(), &header, libc::MSG_NOSIGNAL) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next message of the server; whatever is not one is an error.
    pub fn receive(&self) -> io::Result<Message> {
        let mut bytes = [0_u8; MESSAGE_LEN];
        // SAFETY: the buffer and its length.
        let got = unsafe { libc::recv(self.socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        Message::decode(&bytes[..got]).map_err(io::Error::other)
    }

    /// Goes through the handshake as a client should, with one ring each way and one region.
    pub fn join(self, id: u32) -> io::Result<Joined> {
        self.receive()?;
        let region = Region::create(REGION)?;
        let events = [event()?, event()?];
        // SAFETY: the cookies lie at the start of both rings, within the region, which nobody else has yet.
        unsafe {
            for ring in [0, ring_len(LOG2_RING)] {
                region.base().as_ptr().add(ring + field::COOKIE).cast::<u32>().write(COOKIE);
            }
        }
        let init = Init { version: VERSION, id, mode: 0, secret: [0; SECRET_LEN], name: "fuzz".into() };
        let ring = |s2m, offset| {
            Message::AddRing(AddRing { s2m, index: 0, region: 0, offset, log2_size: LOG2_RING, private_header: 0 })
        };
        let file = region.file()?;
        let steps: [(Message, Option<&OwnedFd>); 5] = [
            (Message::Init(init), None),
            (Message::AddRegion(AddRegion { index: 0, size: REGION as u64 }), Some(&file)),
            (ring(true, 0), Some(&events[0])),
            (ring(false, ring_len(LOG2_RING) as u32), Some(&events[1])),
            (Message::Connect("fuzz".into()), None),
        ];
        for (message, fd) in steps {
            self.send(&message.encode(), fd.as_slice())?;
            if let Message::Disconnect { reason, .. } = self.receive()? {
                return Err(io::Error::other(reason));
            }
        }
        Ok(Joined { _client: self, _events: events, region })
    }
}

impl Joined {
    /// Writes bytes into the shared memory, at whatever offset, wrapped into the region.
    pub fn scribble(&self, offset: usize, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: within the region; the engine expects it to change at any time.
            unsafe { self.region.base().as_ptr().add((offset + n) % REGION).write_volatile(*byte) };
        }
    }
}

/// A fresh eventfd.
pub fn event() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes pieces off the fuzzer's input.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next `N` bytes, zeros behind the end.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(self.slice(N)) {
            *to = *from;
        }
        bytes
    }

    /// The next `len` bytes, or what is left.
    pub fn slice(&mut self, len: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(len.min(self.0.len()));
        self.0 = later;
        now
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }
}
