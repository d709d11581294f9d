//! What processes of the simulated machine say to its hypervisor: fixed records over a unix socket.
//!
//! A request is six words: what, and five arguments. An answer is two: an errno or grant status, 0 for done, and a value;
//! descriptors come along with it. A connection's first request says what it is to be.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The hypervisor's socket in the machine's directory.
pub(super) const SOCKET: &str = "hypervisor";
/// The store's, for the control domain.
pub(super) const STORE: &str = "xenstored";

/// Bytes of a request.
pub(super) const REQUEST: usize = 24;

/// Requests.
pub(super) mod op {
    // First on a connection; the first argument is the domain.
    pub const STORE: u32 = 1;
    pub const GRANTS: u32 = 2;
    pub const EVENTS: u32 = 3;
    /// Second argument: pages of memory. The domain lives as long as the connection.
    pub const DOMAIN: u32 = 4;
    pub const TOOLSTACK: u32 = 5;
    // On a connection for grants.
    /// A domain's memory.
    pub const MEMORY: u32 = 10;
    /// Domain, grant, write: a mapping's number, and the page's.
    pub const MAP: u32 = 11;
    pub const UNMAP: u32 = 12;
    /// Mapping, offset, port or all ones.
    pub const ON_UNMAP: u32 = 13;
    // On a connection for events.
    pub const BIND: u32 = 20;
    pub const OFFER: u32 = 21;
    pub const UNBIND: u32 = 22;
    /// Not answered.
    pub const NOTIFY: u32 = 23;
    /// Not answered.
    pub const UNMASK: u32 = 24;
    // On a toolstack's connection.
    /// Pages that a domain has mapped.
    pub const COUNT_MAPPED: u32 = 30;
    /// Event channels that a domain holds.
    pub const COUNT_PORTS: u32 = 31;
    /// Domains that have died and are mapped still.
    pub const COUNT_ZOMBIES: u32 = 32;
    pub const DESTROY: u32 = 33;
    /// What the store was asked so far, by anybody.
    pub const COUNT_ASKED: u32 = 34;
}

/// A request's words.
pub(super) type Request = [u32; 6];

/// Reads a request's words.
pub(super) fn parse(bytes: &[u8; REQUEST]) -> Request {
    std::array::from_fn(|i| u32::from_le_bytes([bytes[i * 4], bytes[i * 4 + 1], bytes[i * 4 + 2], bytes[i * 4 + 3]]))
}

/// A connection from a process's side.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.stream.into()
    }

    /// Sends a request that is not answered.
    pub(super) fn tell(&self, op: u32, args: &[u32]) -> io::Result<()> {
        let mut words = [0; 6];
        words[0] = op;
        words[1..=args.len()].copy_from_slice(args);
        let mut bytes = [0; REQUEST];
        for (at, word) in words.iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        (&self.stream).write_all(&bytes)
    }

    /// Sends a request and waits for its answer: status and value, with what descriptors came along.
    pub(super) fn ask(&self, op: u32, args: &[u32]) -> io::Result<(i32, u32, Vec<File>)> {
        self.tell(op, args)?;
        self.answer()
    }

    /// Waits for an answer.
    pub(super) fn answer(&self) -> io::Result<(i32, u32, Vec<File>)> {
        let mut answer = [0u8; 8];
        let (mut have, files) = receive(&self.stream, &mut answer)?;
        while have < answer.len() {
            match (&self.stream).read(&mut answer[have..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => have += n,
            }
        }
        let word = |at: usize| u32::from_le_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
        Ok((word(0) as i32, word(4), files))
    }

    /// As [`ask`](Self::ask), for requests whose status is an errno.
    pub(super) fn ask_value(&self, op: u32, args: &[u32]) -> io::Result<(u32, Vec<File>)> {
        match self.ask(op, args)? {
            (0, value, files) => Ok((value, files)),
            (errno, ..) => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Room for two descriptors and their header.
#[repr(C, align(8))]
struct ControlSpace([u8; 32]);

/// Reads bytes and the descriptors that come with them.
fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<File>)> {
    let mut control = ControlSpace([0; 32]);
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid msghdr.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let read = loop {
        // SAFETY: the header points at buffers that outlive the call.
        match unsafe { libc::recvmsg(stream.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) } {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read @ 1.. => break read as usize,
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    };
    let mut files = Vec::new();
    // SAFETY: the kernel filled the control space; the macros stay within it, and each descriptor is ours now.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(&header);
        while !entry.is_null() {
            if (*entry).cmsg_level == libc::SOL_SOCKET && (*entry).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*entry).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / 4 {
                    let fd = libc::CMSG_DATA(entry).cast::<i32>().add(i).read_unaligned();
                    files.push(File::from_raw_fd(fd));
                }
            }
            entry = libc::CMSG_NXTHDR(&header, entry);
        }
    }
    Ok((read, files))
}

/// Sends an answer with descriptors. Never waits: an answer that does not fit ends the connection.
pub(super) fn answer(stream: &UnixStream, status: i32, value: u32, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&status.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_le_bytes());
    let mut control = ControlSpace([0; 32]);
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros is a valid msghdr.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    assert!(fds.len() <= 2, "room for two descriptors");
    if !fds.is_empty() {
        let payload = (fds.len() * 4) as u32;
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: the control space has room for a header and two descriptors.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(payload) as _;
            let entry = libc::CMSG_FIRSTHDR(&header);
            (*entry).cmsg_level = libc::SOL_SOCKET;
            (*entry).cmsg_type = libc::SCM_RIGHTS;
            (*entry).cmsg_len = libc::CMSG_LEN(payload) as _;
            for (i, fd) in fds.iter().enumerate() {
                libc::CMSG_DATA(entry).cast::<i32>().add(i).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    // SAFETY: the header points at buffers that outlive the call.
    match unsafe { libc::sendmsg(stream.as_raw_fd(), &header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) } {
        8 => Ok(()),
        sent if sent >= 0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Err(io::Error::last_os_error()),
    }
}
