//! The control socket: a unix `SOCK_SEQPACKET`, on which every message arrives whole or not at all.
//!
//! Nothing here waits. A peer that sends nothing, half a message, or a handful of descriptors that nobody asked for costs
//! a return value.
//!
//! A path stands for two addresses: the socket file, and the abstract name of the same text, which is what DPDK uses
//! unless it is told `socket-abstract=no`. A server listens on both, a client tries one after the other. Files have
//! permissions, abstract names have none: over an abstract name only our own user and root are talked to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::wire::MESSAGE_LEN;

/// Most descriptors that are looked at with one message; every message of the protocol has one at most.
const MAX_FDS: usize = 4;

/// Connections that may wait to be accepted.
const BACKLOG: libc::c_int = 16;

/// What came from a peer.
#[derive(Debug)]
pub enum Received {
    /// Bytes, with the descriptors that came along.
    Message(Vec<u8>, ArrayVec<OwnedFd, MAX_FDS>),
    /// Nothing now.
    Nothing,
    /// The peer is gone.
    Closed,
    /// More descriptors than any message has.
    TooManyFds,
}

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Someone answers there.
    #[error("{0}: the socket is in use by a running process; stop it or choose another path")]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{0}: exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
    /// Longer than an address holds.
    #[error("{0}: the path is too long for a unix socket (107 bytes at most)")]
    TooLong(PathBuf),
    /// The system said no.
    #[error("{path}: cannot listen: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket that listens; its file goes when it does.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// Listens on the abstract name; none if a stranger sits on it.
    by_name: Option<OwnedFd>,
    path: PathBuf,
    /// Device and inode of the file, so that a successor's is not removed.
    file: Option<(u64, u64)>,
}

impl Listener {
    /// Listens on `path`, replacing a socket file that nobody listens on any more.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let address = Address::new(path)?;
        let fail = |source| ListenError::Io { path: path.to_owned(), source };
        let fd = seqpacket().map_err(fail)?;
        // Two processes that start at once must not each remove the other's fresh socket.
        let lock = lock_directory(path);
        if address.call(fd.as_fd(), libc::bind).is_err() {
            let kind = std::fs::symlink_metadata(path).map_err(fail)?.file_type();
            if !kind.is_socket() {
                return Err(ListenError::NotASocket(path.to_owned()));
            }
            // Refused: nobody listens. Anything else, a full backlog too, is somebody.
            match connect_address(&address) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(ListenError::InUse(path.to_owned())),
            }
            std::fs::remove_file(path).map_err(fail)?;
            address.call(fd.as_fd(), libc::bind).map_err(fail)?;
        }
        listen(&fd).map_err(fail)?;
        drop(lock);
        let file = std::fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()));
        let mut listener = Self { fd, by_name: None, path: path.to_owned(), file };
        listener.by_name = listener.bind_name()?;
        Ok(listener)
    }

    fn bind_name(&self) -> Result<Option<OwnedFd>, ListenError> {
        let path = &self.path;
        let fail = |source| ListenError::Io { path: path.clone(), source };
        let Ok(address) = Address::by_name(path) else { return Ok(None) };
        let fd = seqpacket().map_err(fail)?;
        if address.call(fd.as_fd(), libc::bind).is_err() {
            // Someone has the name. If it is one that we would talk to, it is in use; if not, do without.
            return match connect_address(&address) {
                Ok(other) if !is_trusted(other.as_fd()) => Ok(None),
                _ => Err(ListenError::InUse(path.clone())),
            };
        }
        listen(&fd).map_err(fail)?;
        Ok(Some(fd))
    }

    /// The next connection; `None` when there is none.
    pub fn accept(&self) -> Option<OwnedFd> {
        if let Some(socket) = accept(&self.fd) {
            return Some(socket);
        }
        let by_name = self.by_name.as_ref()?;
        loop {
            let socket = accept(by_name)?;
            if is_trusted(socket.as_fd()) {
                return Some(socket);
            }
        }
    }

    /// What becomes readable when someone connects.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [Some(&self.fd), self.by_name.as_ref()].into_iter().flatten().map(AsFd::as_fd)
    }
}

fn listen(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    match unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn accept(fd: &OwnedFd) -> Option<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the peer's address is not asked for.
    let fd = unsafe { libc::accept4(fd.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    // SAFETY: the kernel just gave us this descriptor.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the other end of a connection is our own user or root.
fn is_trusted(socket: BorrowedFd<'_>) -> bool {
    let mut peer = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: 0 };
    let mut len = std::mem::size_of_val(&peer) as libc::socklen_t;
    let (at, fd) = ((&raw mut peer).cast(), socket.as_raw_fd());
    // SAFETY: `peer` has room for the `len` bytes that are asked for.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, at, &raw mut len) };
    // SAFETY: cannot fail.
    let own = unsafe { libc::geteuid() };
    got == 0 && (peer.uid == 0 || peer.uid == own)
}

impl Drop for Listener {
    fn drop(&mut self) {
        let now = std::fs::symlink_metadata(&self.path).ok().map(|m| (m.dev(), m.ino()));
        if now.is_some() && now == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Connects to the server at `path`.
///
/// # Errors
/// Nobody listens there, or the path is too long.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let invalid = |e| io::Error::new(io::ErrorKind::InvalidInput, e);
    let error = match connect_address(&Address::new(path).map_err(invalid)?) {
        Err(error) => error,
        connected => return connected,
    };
    match Address::by_name(path).map(|address| connect_address(&address)) {
        Ok(Ok(socket)) if is_trusted(socket.as_fd()) => Ok(socket),
        // What is wrong with the file says more than that nobody has the name.
        _ => Err(error),
    }
}

/// Whether `path` fits into an address.
///
/// # Errors
/// It does not.
pub fn check_path(path: &Path) -> Result<(), ListenError> {
    Address::new(path).map(|_| ())
}

/// Sends a message, with a descriptor if there is one.
///
/// # Errors
/// The peer is gone, or does not read what it is sent.
pub fn send(socket: BorrowedFd<'_>, message: &[u8; MESSAGE_LEN], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut iov = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    let mut control = ControlBuffer::default();
    // SAFETY: all zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    if let Some(fd) = fd {
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the buffer has room for MAX_FDS descriptors, so for one.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(4) as usize;
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(4) as usize;
            libc::CMSG_DATA(first).cast::<libc::c_int>().write_unaligned(fd.as_raw_fd());
        }
    }
    // SAFETY: everything that the header points to outlives the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
    match sent {
        n if n == message.len() as isize => Ok(()),
        n if n < 0 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::from(io::ErrorKind::WriteZero)),
    }
}

/// Receives what is there.
pub fn receive(socket: BorrowedFd<'_>) -> Received {
    // One byte more than a message, so that a longer one shows.
    let mut bytes = vec![0u8; MESSAGE_LEN + 1];
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = ControlBuffer::default();
    // SAFETY: all zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = std::mem::size_of_val(&control.0);
    // SAFETY: everything that the header points to outlives the call.
    let got =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) };
    if got < 0 {
        return match io::Error::last_os_error().kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Received::Nothing,
            _ => Received::Closed,
        };
    }
    // Take ownership before anything else, so that whatever came is closed again.
    let (fds, cut) = take_fds(&header);
    if cut {
        return Received::TooManyFds;
    }
    if got == 0 {
        return Received::Closed;
    }
    bytes.truncate(got as usize);
    Received::Message(bytes, fds)
}

/// Whether the peer has hung up, though not all that it sent has been read yet.
pub fn hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one valid entry; no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
    poll.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
}

/// The descriptors that came with a message, and whether there were more.
fn take_fds(header: &libc::msghdr) -> (ArrayVec<OwnedFd, MAX_FDS>, bool) {
    let mut fds = ArrayVec::new();
    let mut cut = header.msg_flags & libc::MSG_CTRUNC != 0;
    // SAFETY: the kernel filled the control buffer that `header` points to; the macros walk within its length. Each
    // descriptor found there is ours alone.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(header);
        while !entry.is_null() {
            if (*entry).cmsg_level == libc::SOL_SOCKET && (*entry).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*entry).cmsg_len - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / 4 {
                    let fd = libc::CMSG_DATA(entry).cast::<libc::c_int>().add(i).read_unaligned();
                    cut |= fds.try_push(OwnedFd::from_raw_fd(fd)).is_err();
                }
            }
            entry = libc::CMSG_NXTHDR(header, entry);
        }
    }
    (fds, cut)
}

/// Room for control messages, aligned as they need it.
#[derive(Default)]
struct ControlBuffer([u64; 16]);

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::socket(libc::AF_UNIX, flags, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn connect_address(address: &Address) -> io::Result<OwnedFd> {
    let fd = seqpacket()?;
    address.call(fd.as_fd(), libc::connect)?;
    Ok(fd)
}

/// Holds the directory of `path` against other processes that set up a socket there; for want of it, goes on without.
fn lock_directory(path: &Path) -> Option<File> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = File::open(directory).ok()?;
    let until = Instant::now() + Duration::from_secs(1);
    // SAFETY: no pointers.
    while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        if Instant::now() > until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(file)
}

/// A unix address and its length.
struct Address(libc::sockaddr_un, usize);

impl Address {
    /// The socket file at `path`.
    fn new(path: &Path) -> Result<Self, ListenError> {
        let mut address = Self::with_bytes(path, 0)?;
        address.1 = std::mem::size_of_val(&address.0);
        Ok(address)
    }

    /// The abstract name of the same text.
    fn by_name(path: &Path) -> Result<Self, ListenError> {
        Self::with_bytes(path, 1)
    }

    /// `path` behind `zeros` zero bytes, with room for one more.
    fn with_bytes(path: &Path, zeros: usize) -> Result<Self, ListenError> {
        // SAFETY: all zero is a valid sockaddr_un.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() + zeros >= address.sun_path.len() {
            return Err(ListenError::TooLong(path.to_owned()));
        }
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in address.sun_path.iter_mut().skip(zeros).zip(bytes) {
            *to = *from as libc::c_char;
        }
        let before = std::mem::size_of_val(&address) - std::mem::size_of_val(&address.sun_path);
        Ok(Self(address, before + zeros + bytes.len()))
    }

    fn call(
        &self,
        fd: BorrowedFd<'_>,
        what: unsafe extern "C" fn(libc::c_int, *const libc::sockaddr, libc::socklen_t) -> libc::c_int,
    ) -> io::Result<()> {
        // SAFETY: `bind` and `connect` read as many bytes of the address as are told, which are there.
        match unsafe { what(fd.as_raw_fd(), (&raw const self.0).cast(), self.1 as libc::socklen_t) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pointsman-socket-{}-{name}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_stale_file_is_replaced_a_live_socket_is_not() {
        let place = Place::new("stale");
        let mut first = Listener::bind(&place.0).unwrap();
        assert!(matches!(Listener::bind(&place.0), Err(ListenError::InUse(_))));
        // As after kill -9: the socket is gone, the file is not.
        first.file = None;
        drop(first);
        assert!(place.0.exists());
        let second = Listener::bind(&place.0).unwrap();
        assert!(connect(&place.0).is_ok());
        assert!(second.accept().is_some());
        drop(second);
        assert!(!place.0.exists(), "the file stays behind");
    }

    #[test]
    fn whatever_else_lies_there_is_left_alone() {
        let place = Place::new("file");
        std::fs::write(&place.0, "precious").unwrap();
        assert!(matches!(Listener::bind(&place.0), Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&place.0).unwrap(), "precious");
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        assert!(matches!(Listener::bind(&long), Err(ListenError::TooLong(_))));
        let nowhere = PathBuf::from("/nonexistent-directory/a.sock");
        assert!(matches!(Listener::bind(&nowhere), Err(ListenError::Io { .. })));
    }

    #[test]
    fn the_abstract_name_leads_to_the_same_listener_and_is_in_use_too() {
        let place = Place::new("name");
        let listener = Listener::bind(&place.0).unwrap();
        let _here = connect_address(&Address::by_name(&place.0).unwrap()).unwrap();
        assert!(listener.accept().is_some());
        assert!(listener.accept().is_none());
        // The file is removed under it: the name still leads there, and is not free.
        std::fs::remove_file(&place.0).unwrap();
        assert!(connect(&place.0).is_ok());
        assert!(listener.accept().is_some());
        assert!(matches!(Listener::bind(&place.0), Err(ListenError::InUse(_))));
    }

    #[test]
    fn messages_and_descriptors_arrive_and_the_end_shows() {
        let place = Place::new("talk");
        let listener = Listener::bind(&place.0).unwrap();
        let here = connect(&place.0).unwrap();
        let there = listener.accept().unwrap();
        assert!(matches!(receive(there.as_fd()), Received::Nothing));
        let null = File::open("/dev/null").unwrap();
        send(here.as_fd(), &[7; MESSAGE_LEN], Some(null.as_fd())).unwrap();
        let Received::Message(bytes, fds) = receive(there.as_fd()) else { panic!() };
        assert_eq!((bytes, fds.len()), (vec![7; MESSAGE_LEN], 1));
        assert!(!hung_up(there.as_fd()));
        drop(here);
        assert!(hung_up(there.as_fd()));
        assert!(matches!(receive(there.as_fd()), Received::Closed));
        assert!(send(there.as_fd(), &[0; MESSAGE_LEN], None).is_err());
    }
}
