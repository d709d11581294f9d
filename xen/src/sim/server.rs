//! The simulated hypervisor: one thread that serves every process of the machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use super::channels::Channels;
use super::memory::Mapped;
use super::protocol::{self, REQUEST, Request, op};
use super::store::{ConnId, Store};
use super::table::{self, Domain, GRANTS, TABLE_PAGES};
use crate::xenstore::wire::{HEADER, Header, MAX_PAYLOAD};
use crate::{DomId, EventPort, GrantRef, PAGE};

/// Most pages of a domain.
const MAX_PAGES: u32 = 1 << 18;
/// Most bytes that wait for a client of the store that does not read.
const MAX_UNREAD: usize = 1 << 20;

/// What a connection is for.
#[derive(Debug)]
enum Role {
    /// It has not said.
    New,
    Store,
    Grants(DomId),
    Events(DomId),
    /// It is the domain's life.
    Domain(DomId),
    Toolstack,
}

#[derive(Debug)]
struct Conn {
    stream: UnixStream,
    role: Role,
    /// Whose it is.
    domain: Option<DomId>,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// A page that someone has mapped.
#[derive(Debug)]
struct Mapping {
    conn: ConnId,
    by: DomId,
    of: Arc<Domain>,
    grant: GrantRef,
    frame: usize,
    on_unmap: Option<(usize, Option<EventPort>)>,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Server {
    listener: UnixListener,
    store_listener: UnixListener,
    stop: OwnedFd,
    conns: BTreeMap<ConnId, Conn>,
    last_conn: ConnId,
    store: Store,
    /// Requests that the store has answered.
    asked: u32,
    channels: Channels,
    domains: BTreeMap<DomId, Arc<Domain>>,
    mappings: BTreeMap<u32, Mapping>,
    last_mapping: u32,
}

impl Server {
    /// Listens in `dir`; ends when `stop` becomes readable.
    pub(super) fn new(dir: &Path, stop: OwnedFd) -> io::Result<Self> {
        let listen = |name| {
            let path = dir.join(name);
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        Ok(Self {
            listener: listen(protocol::SOCKET)?,
            store_listener: listen(protocol::STORE)?,
            stop,
            conns: BTreeMap::new(),
            last_conn: 0,
            store: Store::new(),
            asked: 0,
            channels: Channels::default(),
            domains: BTreeMap::new(),
            mappings: BTreeMap::new(),
            last_mapping: 0,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            let entry = |fd: RawFd, events| libc::pollfd { fd, events, revents: 0 };
            let mut polls = vec![
                entry(self.stop.as_raw_fd(), libc::POLLIN),
                entry(self.listener.as_raw_fd(), libc::POLLIN),
                entry(self.store_listener.as_raw_fd(), libc::POLLIN),
            ];
            for conn in self.conns.values() {
                let out = if conn.output.is_empty() { 0 } else { libc::POLLOUT };
                polls.push(entry(conn.stream.as_raw_fd(), libc::POLLIN | out));
            }
            // SAFETY: the vector is valid for its length.
            let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, -1) };
            if ready < 0 {
                continue;
            }
            if polls[0].revents != 0 {
                return;
            }
            let ids: Vec<ConnId> = self.conns.keys().copied().collect();
            for (id, poll) in ids.into_iter().zip(&polls[3..]) {
                if poll.revents != 0 && self.serve(id).is_err() {
                    self.disconnect(id);
                }
                self.send_store_output();
            }
            while let Ok((stream, _)) = self.listener.accept() {
                self.connect(stream, Role::New);
            }
            while let Ok((stream, _)) = self.store_listener.accept() {
                let id = self.connect(stream, Role::Store);
                self.store.connect(id, DomId::ZERO);
            }
        }
    }

    fn connect(&mut self, stream: UnixStream, role: Role) -> ConnId {
        self.last_conn += 1;
        if stream.set_nonblocking(true).is_ok() {
            let conn = Conn { stream, role, domain: None, input: Vec::new(), output: Vec::new() };
            self.conns.insert(self.last_conn, conn);
        }
        self.last_conn
    }

    /// Reads what a connection sent and does it. `Err` ends the connection.
    fn serve(&mut self, id: ConnId) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        conn.flush()?;
        let mut buffer = [0; 8192];
        match conn.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => conn.input.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
        // A request may end this very connection, or another.
        while let Some(conn) = self.conns.get_mut(&id) {
            if let Role::Store = conn.role {
                let Some(header) = conn.input.first_chunk::<HEADER>().map(Header::parse) else { break };
                let len = header.len as usize;
                if len > MAX_PAYLOAD {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if conn.input.len() < HEADER + len {
                    break;
                }
                let message: Vec<u8> = conn.input.drain(..HEADER + len).collect();
                self.store.request(id, header, &message[HEADER..]);
                self.asked = self.asked.wrapping_add(1);
                self.send_store_output();
            } else {
                let Some(request) = conn.input.first_chunk::<REQUEST>().map(protocol::parse) else { break };
                conn.input.drain(..REQUEST);
                self.request(id, request)?;
            }
        }
        Ok(())
    }

    fn request(&mut self, id: ConnId, request: Request) -> io::Result<()> {
        let [what, first, second, third, ..] = request;
        let Some(conn) = self.conns.get(&id) else { return Ok(()) };
        match (&conn.role, what) {
            (Role::New, _) => self.hello(id, what, DomId(first as u16), second),
            (Role::Grants(_), op::MEMORY) => match self.domains.get(&DomId(first as u16)) {
                Some(domain) => protocol::answer(&conn.stream, 0, 0, &[domain.memory.fd(), domain.status.fd()]),
                None => protocol::answer(&conn.stream, libc::ESRCH, 0, &[]),
            },
            (&Role::Grants(by), op::MAP) => self.map(id, by, DomId(first as u16), GrantRef(second), third != 0),
            (&Role::Grants(_), op::UNMAP) => {
                let held = self.mappings.get(&first).is_some_and(|mapping| mapping.conn == id);
                if held {
                    self.unmap(first);
                }
                self.answer(id, if held { Ok(0) } else { Err(libc::EINVAL) })
            }
            (&Role::Grants(_), op::ON_UNMAP) => {
                let mapping = self.mappings.get_mut(&first).filter(|m| m.conn == id && (second as usize) < PAGE);
                let done = mapping.map(|mapping| {
                    mapping.on_unmap = Some((second as usize, (third != u32::MAX).then_some(EventPort(third))));
                    0
                });
                self.answer(id, done.ok_or(libc::EINVAL))
            }
            (&Role::Events(domain), op::BIND) => {
                let bound = self.channels.bind(id, domain, DomId(first as u16), second);
                self.answer(id, bound)
            }
            (&Role::Events(domain), op::OFFER) => {
                let offered = self.channels.offer(id, domain, DomId(first as u16));
                self.answer(id, offered)
            }
            (&Role::Events(domain), op::UNBIND) => {
                let unbound = self.channels.unbind(id, domain, first);
                self.answer(id, unbound)
            }
            (&Role::Events(domain), op::NOTIFY) => {
                self.channels.notify(id, domain, first);
                Ok(())
            }
            (&Role::Events(domain), op::UNMASK) => {
                self.channels.unmask(id, domain, first);
                Ok(())
            }
            (Role::Toolstack, op::COUNT_MAPPED) => {
                let mapped = self.mappings.values().filter(|m| m.by == DomId(first as u16)).count();
                self.answer(id, Ok(mapped as u32))
            }
            (Role::Toolstack, op::COUNT_PORTS) => {
                let held = self.channels.count(DomId(first as u16));
                self.answer(id, Ok(held))
            }
            (Role::Toolstack, op::COUNT_ZOMBIES) => {
                let mut dead: Vec<_> = self.mappings.values().filter(|m| !m.of.is_alive()).collect();
                dead.sort_by_key(|m| Arc::as_ptr(&m.of));
                dead.dedup_by_key(|m| Arc::as_ptr(&m.of));
                let zombies = dead.len() as u32;
                self.answer(id, Ok(zombies))
            }
            (Role::Toolstack, op::COUNT_ASKED) => self.answer(id, Ok(self.asked)),
            (Role::Toolstack, op::DESTROY) => {
                self.destroy(DomId(first as u16));
                self.answer(id, Ok(0))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn answer(&self, id: ConnId, result: Result<u32, i32>) -> io::Result<()> {
        let Some(conn) = self.conns.get(&id) else { return Ok(()) };
        match result {
            Ok(value) => protocol::answer(&conn.stream, 0, value, &[]),
            Err(status) => protocol::answer(&conn.stream, status, 0, &[]),
        }
    }

    /// A connection says what it is to be.
    fn hello(&mut self, id: ConnId, what: u32, domain: DomId, pages: u32) -> io::Result<()> {
        let known = domain == DomId::ZERO || self.domains.contains_key(&domain);
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        if !known && matches!(what, op::STORE | op::GRANTS | op::EVENTS) {
            return protocol::answer(&conn.stream, libc::ESRCH, 0, &[]);
        }
        conn.domain = Some(domain);
        match what {
            op::STORE => {
                conn.role = Role::Store;
                self.store.connect(id, domain);
                self.answer(id, Ok(0))
            }
            op::GRANTS => {
                conn.role = Role::Grants(domain);
                self.answer(id, Ok(0))
            }
            op::EVENTS => {
                conn.role = Role::Events(domain);
                let (read, write) = pipe()?;
                protocol::answer(&conn.stream, 0, 0, &[read.as_fd()])?;
                self.channels.connect(id, write);
                Ok(())
            }
            op::TOOLSTACK => {
                conn.role = Role::Toolstack;
                self.answer(id, Ok(0))
            }
            op::DOMAIN => {
                if self.domains.contains_key(&domain) || pages > MAX_PAGES || domain.0 >= DomId::FIRST_RESERVED {
                    conn.domain = None;
                    return self.answer(id, Err(libc::EEXIST));
                }
                conn.role = Role::Domain(domain);
                let memory = Mapped::create(TABLE_PAGES + pages as usize)?;
                let created = Arc::new(Domain { memory, status: table::create_status()? });
                protocol::answer(&conn.stream, 0, 0, &[created.memory.fd(), created.status.fd()])?;
                self.domains.insert(domain, created);
                self.store.announce("@introduceDomain");
                Ok(())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn map(&mut self, id: ConnId, by: DomId, of: DomId, grant: GrantRef, write: bool) -> io::Result<()> {
        let Some(conn) = self.conns.get(&id) else { return Ok(()) };
        let Some(domain) = self.domains.get(&of) else {
            return protocol::answer(&conn.stream, crate::GrantStatus::BAD_DOMAIN.0.into(), 0, &[]);
        };
        if grant.0 < GRANTS {
            // Pinned first: from here on it cannot be revoked.
            domain.pin(grant, 1);
        }
        match domain.look_up(grant, by, write) {
            Ok(frame) => {
                self.last_mapping = self.last_mapping.wrapping_add(1);
                let number = self.last_mapping;
                let of = Arc::clone(domain);
                let mapping = Mapping { conn: id, by, of, grant, frame, on_unmap: None };
                self.mappings.insert(number, mapping);
                // The number, then the page's, as two answers.
                protocol::answer(&conn.stream, 0, number, &[])?;
                protocol::answer(&conn.stream, 0, frame as u32, &[])
            }
            Err(status) => {
                if grant.0 < GRANTS {
                    domain.pin(grant, -1);
                }
                protocol::answer(&conn.stream, status.0.into(), 0, &[])
            }
        }
    }

    fn unmap(&mut self, number: u32) {
        let Some(mapping) = self.mappings.remove(&number) else { return };
        mapping.of.pin(mapping.grant, -1);
        if let Some((offset, port)) = mapping.on_unmap {
            if let Some(page) = mapping.of.memory.page(mapping.frame) {
                // SAFETY: the byte lies in a page of the domain's memory, which is mapped here; others access it
                // atomically.
                unsafe { std::sync::atomic::AtomicU8::from_ptr(page.as_ptr().add(offset)) }
                    .store(0, std::sync::atomic::Ordering::Release);
            }
            if let Some(port) = port {
                self.channels.notify_by_domain(mapping.by, port);
            }
        }
    }

    fn disconnect(&mut self, id: ConnId) {
        let Some(conn) = self.conns.remove(&id) else { return };
        match conn.role {
            Role::Store => self.store.disconnect(id),
            Role::Events(_) => self.channels.disconnect(id),
            Role::Grants(_) => {
                let held: Vec<u32> = self.mappings.iter().filter(|(_, m)| m.conn == id).map(|(n, _)| *n).collect();
                for number in held {
                    self.unmap(number);
                }
            }
            Role::Domain(domain) => self.destroy(domain),
            Role::New | Role::Toolstack => {}
        }
    }

    /// A domain ends. What others have mapped of it stays until they let go.
    fn destroy(&mut self, domain: DomId) {
        let Some(dead) = self.domains.remove(&domain) else { return };
        dead.die();
        let its: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.domain == Some(domain)).map(|(id, _)| *id).collect();
        for id in its {
            self.disconnect(id);
        }
        self.store.announce("@releaseDomain");
    }

    fn send_store_output(&mut self) {
        for (id, message) in self.store.take_output() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            conn.output.extend_from_slice(&message);
            if conn.flush().is_err() || conn.output.len() > MAX_UNREAD {
                self.disconnect(id);
            }
        }
    }
}

impl Conn {
    /// Sends as much as goes without waiting.
    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A pipe whose ends never wait.
fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us both.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}
