//! Where a feed listens, and the two kinds of sockets as one.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::netns;

/// Where a feed is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address: all that FRR can connect to.
    Tcp(SocketAddr),
    /// A socket file: it is reached from any network namespace.
    Unix(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) if text.contains('/') => Ok(Self::Unix(text.into())),
            Err(_) => Err(format!(
                "\"{text}\" is no place for a feed; write ADDRESS:PORT, as in 127.0.0.1:2620 or [::1]:2620, or a path \
                 with a slash, as in /run/pointsman/fpm.sock"
            )),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why nobody can listen somewhere.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else does.
    #[error("{0}: somebody listens there already; stop that program, or choose another place")]
    InUse(Place),
    /// Something else lies there.
    #[error("{0}: exists and is not a socket; remove it, or choose another path")]
    NotASocket(Place),
    /// The namespace cannot be entered.
    #[error("{place}: cannot enter the namespace {netns}: {reason}; `ip netns list` shows those that there are")]
    Netns {
        /// Where to listen there.
        place: Place,
        /// The namespace.
        netns: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The system said no.
    #[error("{place}: cannot listen: {reason}")]
    Io {
        /// Where.
        place: Place,
        /// What it said.
        reason: io::Error,
    },
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// With device and inode of its file, so that a successor's is not removed.
    Unix(UnixListener, PathBuf, Option<(u64, u64)>),
}

/// Listens; a socket file goes when it does. Nothing here waits.
#[derive(Debug)]
pub(super) struct Listener(Socket);

impl Listener {
    /// Listens at `place`, in another namespace if one is named. A socket file that nobody listens on any more is replaced.
    pub fn bind(place: &Place, netns: Option<&Path>) -> Result<Self, ListenError> {
        let Some(netns) = netns else { return Self::bind_here(place) };
        let fail = |reason| ListenError::Netns { place: place.clone(), netns: netns.to_owned(), reason };
        // A socket belongs to the namespace of the thread that made it; only this thread ever is there.
        std::thread::scope(|scope| {
            let bound = std::thread::Builder::new().name("fpm-netns".to_owned()).spawn_scoped(scope, || {
                netns::enter(netns).map_err(fail)?;
                Self::bind_here(place)
            });
            let died = |_| Err(fail(io::Error::other("the thread that did so died")));
            bound.map_err(fail)?.join().unwrap_or_else(died)
        })
    }

    fn bind_here(place: &Place) -> Result<Self, ListenError> {
        let fail = |reason: io::Error| match reason.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(place.clone()),
            _ => ListenError::Io { place: place.clone(), reason },
        };
        let socket = match place {
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address).map_err(fail)?;
                listener.set_nonblocking(true).map_err(fail)?;
                Socket::Tcp(listener)
            }
            Place::Unix(path) => {
                let bound = UnixListener::bind(path).or_else(|error| match std::fs::symlink_metadata(path) {
                    Ok(found) if !found.file_type().is_socket() => Err(ListenError::NotASocket(place.clone())),
                    // Refused: nobody listens. Anything else is somebody.
                    Ok(_) => match UnixStream::connect(path) {
                        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                            std::fs::remove_file(path).map_err(fail)?;
                            UnixListener::bind(path).map_err(fail)
                        }
                        _ => Err(ListenError::InUse(place.clone())),
                    },
                    Err(_) => Err(fail(error)),
                });
                let listener = bound?;
                listener.set_nonblocking(true).map_err(fail)?;
                Socket::Unix(listener, path.clone(), file_id(path))
            }
        };
        Ok(Self(socket))
    }

    /// Where it listens, with the port that the system chose if it was asked to.
    pub fn place(&self) -> io::Result<Place> {
        match &self.0 {
            Socket::Tcp(listener) => listener.local_addr().map(Place::Tcp),
            Socket::Unix(_, path, _) => Ok(Place::Unix(path.clone())),
        }
    }

    /// The next connection, and who it is; an error of the kind `WouldBlock` if there is none.
    pub fn accept(&self) -> io::Result<(Stream, String)> {
        match &self.0 {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                keep_alive(&stream)?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Tcp(stream), peer.to_string()))
            }
            Socket::Unix(listener, ..) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let peer = process(&stream).map_or_else(|| "a process".into(), |pid| format!("process {pid}"));
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener, ..) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path, file) = &self.0
            && file.is_some()
            && *file == file_id(path)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// A client's host that vanished is noticed within half a minute, so that its successor is let in.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let set = |level, name, value: libc::c_int| {
        let len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the option's value is an integer that outlives the call, and its length is told.
        match unsafe { libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const value).cast(), len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 10)?;
    set(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 5)?;
    set(libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 4)
}

/// The process at the other end.
fn process(stream: &UnixStream) -> Option<i32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of_val(&peer) as libc::socklen_t;
    let (fd, at) = (stream.as_raw_fd(), (&raw mut peer).cast());
    // SAFETY: `peer` has room for the `len` bytes that are asked for.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, at, &raw mut len) };
    (got == 0 && peer.pid > 0).then_some(peer.pid)
}

/// A connection, of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to a feed, waiting no longer than `patience` for an answer.
    pub fn connect(place: &Place, patience: Duration) -> io::Result<Self> {
        match place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, patience)?;
                keep_alive(&stream)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Place::Unix(path) => UnixStream::connect(path).map(Self::Unix),
        }
    }

    /// From now on nothing waits.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(true),
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
