//! The kernel's side of an agent: rtnetlink sockets, one that hears what happens, one that asks what there is.
//!
//! Two, so that answers and news are not mixed. The kernel drops news when nobody reads them in time, and says so once
//! (`ENOBUFS`); then everything has to be asked for again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::fpm::TableId;
use crate::fpm::netlink::{Builder, Message, Messages, flag, kind};
use crate::netns;

/// Bytes of the largest datagram that the kernel sends: it makes none beyond 32 KiB when it lists.
const BUFFER: usize = 128 * 1024;
/// Bytes of news that may wait, if we may say so; a burst of some ten thousand routes.
const BACKLOG: libc::c_int = 32 << 20;
/// What is listened to: devices, addresses, routes, next hop objects (`enum rtnetlink_groups`).
const GROUPS: [u32; 6] = [1, 5, 9, 7, 11, 32];

/// `SOL_NETLINK` and its options (`linux/netlink.h`).
const ADD_MEMBERSHIP: libc::c_int = 1;
const STRICT: libc::c_int = 12;

/// Kinds of requests.
const GET_LINK: u16 = kind::NEW_LINK + 2;
const GET_ADDRESS: u16 = kind::NEW_ADDRESS + 2;
const GET_ROUTE: u16 = kind::NEW_ROUTE + 2;
const GET_NEXT_HOP: u16 = kind::NEW_NEXT_HOP + 2;
/// Times that a list is asked for again because it changed while it was given. Changes are heard too, so that the last one
/// may do.
const TRIES: usize = 3;

/// What came of listening.
#[derive(Debug)]
pub(super) enum News<'a> {
    /// Messages.
    Came(Messages<'a>),
    /// Nothing now.
    Nothing,
    /// The kernel has dropped some.
    Lost,
}

/// A socket to the kernel.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    fn open(flags: libc::c_int) -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd =
            unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // A socket without a number of its own hears no news. The kernel chooses one.
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address outlives the call, and its length is told.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd, buffer: vec![0; BUFFER] })
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the option's value is an integer that outlives the call, and its length is told.
        match unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, (&raw const value).cast(), len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next datagram, of the kernel's only: other processes can send to such a socket too.
    fn receive(&mut self) -> io::Result<&[u8]> {
        loop {
            // SAFETY: all zero is a valid address.
            let mut from: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
            let mut len = size_of_val(&from) as libc::socklen_t;
            let (at, room) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
            let fd = self.fd.as_raw_fd();
            // SAFETY: the buffer has `room` bytes and the address `len`; both outlive the call.
            let got = unsafe { libc::recvfrom(fd, at, room, libc::MSG_TRUNC, (&raw mut from).cast(), &raw mut len) };
            let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
            if got > room {
                return Err(io::Error::other(format!(
                    "the kernel sent {got} bytes at once, for which there is no room"
                )));
            }
            if from.nl_pid == 0 {
                return Ok(&self.buffer[..got]);
            }
        }
    }

    /// Asks for a list, and tells each of its messages; whether it changed meanwhile.
    fn list(&mut self, request: &[u8], each: &mut impl FnMut(&Message<'_>) -> io::Result<()>) -> io::Result<bool> {
        // SAFETY: the request outlives the call.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut interrupted = false;
        // An error of whoever is told is kept until the list is over, so that the socket has no answers left.
        let mut told = Ok(());
        loop {
            for message in Messages::new(self.receive()?) {
                let message = message.map_err(io::Error::other)?;
                interrupted |= message.flags & flag::INTERRUPTED != 0;
                match message.kind {
                    kind::DONE => return told.map(|()| interrupted),
                    kind::ERROR => {
                        let (&code, _) = message.body::<4>().map_err(io::Error::other)?;
                        return match -i32::from_ne_bytes(code) {
                            0 => told.map(|()| interrupted),
                            // No such table: no routes. No next hop objects in this kernel: none.
                            libc::ENOENT | libc::EOPNOTSUPP => told.map(|()| interrupted),
                            code => Err(io::Error::from_raw_os_error(code)),
                        };
                    }
                    _ if told.is_ok() => told = each(&message),
                    _ => {}
                }
            }
        }
    }
}

/// The kernel of one network namespace.
#[derive(Debug)]
pub(super) struct Kernel {
    news: Socket,
    lists: Socket,
}

impl Kernel {
    /// Begins to listen, in another namespace if one is named.
    ///
    /// # Errors
    /// There is no such namespace, or the kernel gives no socket.
    pub fn open(namespace: Option<&Path>) -> io::Result<Self> {
        let Some(namespace) = namespace else { return Self::open_here() };
        // A socket belongs to the namespace of the thread that made it; only this thread ever is there.
        std::thread::scope(|scope| {
            let opened = std::thread::Builder::new().name("agent-netns".to_owned()).spawn_scoped(scope, || {
                netns::enter(namespace)?;
                Self::open_here()
            });
            opened?.join().unwrap_or_else(|_| Err(io::Error::other("the thread that opened the socket died")))
        })
    }

    fn open_here() -> io::Result<Self> {
        let (news, lists) = (Socket::open(libc::SOCK_NONBLOCK)?, Socket::open(0)?);
        // What an administrator may, and else what the system allows to anybody.
        if news.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BACKLOG).is_err() {
            news.set(libc::SOL_SOCKET, libc::SO_RCVBUF, BACKLOG)?;
        }
        for group in GROUPS {
            // A kernel that knows no next hop objects may have no such group.
            news.set(libc::SOL_NETLINK, ADD_MEMBERSHIP, group as libc::c_int)
                .or_else(|error| if group == 32 { Ok(()) } else { Err(error) })?;
        }
        // Lists are of one table only, then. An older kernel gives all of them, of which the others are passed over.
        let _ = lists.set(libc::SOL_NETLINK, STRICT, 1);
        Ok(Self { news, lists })
    }

    /// What becomes readable when something has happened.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.news.fd.as_fd()
    }

    /// What has happened.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn news(&mut self) -> io::Result<News<'_>> {
        match self.news.receive() {
            Ok(datagram) => Ok(News::Came(Messages::new(datagram))),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(News::Nothing),
                Some(libc::ENOBUFS) => Ok(News::Lost),
                _ => Err(error),
            },
        }
    }

    /// Forgets what has happened until now: everything is going to be listed.
    pub fn forget_news(&mut self) -> io::Result<()> {
        while !matches!(self.news()?, News::Nothing) {}
        Ok(())
    }

    /// Lists devices, addresses, next hop objects, and the routes of `tables`, in this order.
    ///
    /// # Errors
    /// The kernel does not answer, or `each` does not want to go on.
    pub fn list(&mut self, tables: &[TableId], mut each: impl FnMut(&Message<'_>) -> io::Result<()>) -> io::Result<()> {
        self.ask(GET_LINK, &[0; 16], None, &mut each)?;
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut body = [0; 8];
            body[0] = family as u8;
            self.ask(GET_ADDRESS, &body, None, &mut each)?;
        }
        self.ask(GET_NEXT_HOP, &[0; 8], None, &mut each)?;
        for family in [libc::AF_INET, libc::AF_INET6] {
            for &table in tables {
                let mut body = [0; 12];
                body[0] = family as u8;
                self.ask(GET_ROUTE, &body, Some(table), &mut each)?;
            }
        }
        Ok(())
    }

    fn ask(
        &mut self,
        what: u16,
        body: &[u8],
        table: Option<TableId>,
        each: &mut impl FnMut(&Message<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut request = Vec::new();
        let mut message = Builder::new(&mut request, what, flag::REQUEST | flag::DUMP, 0, body);
        if let Some(TableId(table)) = table {
            message.attribute(libc::RTA_TABLE, &table.to_ne_bytes());
        }
        message.finish();
        for _ in 0..TRIES {
            if !self.lists.list(&request, each)? {
                break;
            }
        }
        Ok(())
    }
}
