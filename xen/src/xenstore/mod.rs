//! A client of xenstore, synchronous: ask, wait for the answer, go on.
//!
//! The kernel's `/dev/xen/xenbus` and xenstored's own socket carry the same bytes, and so does the simulated hypervisor's,
//! so there is one client. Events of watches come in between answers. One that arrives while an answer is awaited is put
//! aside and never lost: [`Xenstore::next_event`] gives those first. An event says "look again", not what changed; several
//! changes may come as one event, and one may come for nothing. So: take all events, *then* read.
//!
//! Values and names are bytes that any guest may have written in its own part of the store. They are given as they are.

pub mod wire;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{DomId, XenError};
use wire::{HEADER, Header, Kind, MAX_PAYLOAD, strings};

/// The kernel's way to the store.
pub const DEVICE: &str = "/dev/xen/xenbus";
/// xenstored's own.
pub const SOCKET: &str = "/run/xenstored/socket";

/// How often a transaction is tried that others got in the way of.
const TRIES: u32 = 100;

/// Something changed at or below a watched path, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The path that changed; of a removed tree only its top, or the watched path itself.
    pub path: String,
    /// What the watch was given as a name.
    pub token: String,
}

/// A connection to xenstore.
#[derive(Debug)]
pub struct Xenstore {
    stream: File,
    events: VecDeque<WatchEvent>,
    last_request: u32,
    /// Bytes of a message that has not come in whole.
    partial: Vec<u8>,
}

impl Xenstore {
    /// Through the kernel, in any domain.
    ///
    /// # Errors
    /// The device cannot be opened.
    pub fn open_device() -> Result<Self, XenError> {
        let failed = |source| XenError::Open {
            path: DEVICE.into(),
            source,
            remedy: "is this a Xen domain, is xenfs loaded, and are we root?",
        };
        let file = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(failed)?;
        Ok(Self::over(file.into()))
    }

    /// Through xenstored's socket, in its own domain.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(path: &Path) -> Result<Self, XenError> {
        let failed =
            |source| XenError::Open { path: path.into(), source, remedy: "does xenstored run in this domain?" };
        Ok(Self::over(UnixStream::connect(path).map_err(failed)?.into()))
    }

    /// Over a stream that carries the protocol already.
    pub fn over(stream: OwnedFd) -> Self {
        Self { stream: stream.into(), events: VecDeque::new(), last_request: 0, partial: Vec::new() }
    }

    /// A node's value.
    ///
    /// # Errors
    /// As xenstore says: `ENOENT`, `EACCES`.
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, XenError> {
        self.ask(Kind::Read, 0, path, &[path.as_bytes(), b"\0"])
    }

    /// A node's value, or `None` where there is no such node.
    ///
    /// # Errors
    /// Any but `ENOENT`.
    pub fn get(&mut self, path: &str) -> Result<Option<Vec<u8>>, XenError> {
        optional(self.read(path))
    }

    /// Sets a node's value.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn write(&mut self, path: &str, value: impl AsRef<[u8]>) -> Result<(), XenError> {
        self.ask(Kind::Write, 0, path, &[path.as_bytes(), b"\0", value.as_ref()]).map(drop)
    }

    /// Removes a node and all below; that it was not there is fine.
    ///
    /// # Errors
    /// Any but `ENOENT`.
    pub fn remove(&mut self, path: &str) -> Result<(), XenError> {
        optional(self.ask(Kind::Rm, 0, path, &[path.as_bytes(), b"\0"])).map(drop)
    }

    /// Makes a node without a value.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn make(&mut self, path: &str) -> Result<(), XenError> {
        self.ask(Kind::Mkdir, 0, path, &[path.as_bytes(), b"\0"]).map(drop)
    }

    /// Names of a node's children; empty where there is no such node.
    ///
    /// # Errors
    /// Any but `ENOENT`.
    pub fn list(&mut self, path: &str) -> Result<Vec<String>, XenError> {
        let names = match optional(self.ask(Kind::Directory, 0, path, &[path.as_bytes(), b"\0"])) {
            Err(e) if e.is_store("E2BIG") => self.list_in_parts(path)?,
            other => other?.unwrap_or_default(),
        };
        Ok(strings(&names).map(text).collect())
    }

    /// A list too long for one message: each part begins with the list's generation, the last ends with an empty name.
    fn list_in_parts(&mut self, path: &str) -> Result<Vec<u8>, XenError> {
        let (mut names, mut generation) = (Vec::new(), Vec::new());
        loop {
            let offset = names.len().to_string();
            let part = self.ask(Kind::DirectoryPart, 0, path, &[path.as_bytes(), b"\0", offset.as_bytes(), b"\0"])?;
            let end =
                part.iter().position(|byte| *byte == 0).ok_or(XenError::StoreProtocol("a list without its count"))?;
            let (now, rest) = (&part[..end], &part[end + 1..]);
            if !names.is_empty() && now != generation {
                // It changed while we read it.
                names.clear();
                continue;
            }
            generation = now.to_vec();
            names.extend_from_slice(rest);
            if names.ends_with(b"\0\0") || rest.is_empty() || rest == b"\0" {
                names.pop();
                return Ok(names);
            }
        }
    }

    /// Sets who may read and write: first the owner with what all others may (`n0`: nothing), then exceptions (`r5`).
    ///
    /// # Errors
    /// As xenstore says.
    pub fn set_permissions(&mut self, path: &str, permissions: &[&str]) -> Result<(), XenError> {
        let mut parts = vec![path.as_bytes(), b"\0"];
        for permission in permissions {
            parts.extend([permission.as_bytes(), b"\0"]);
        }
        self.ask(Kind::SetPerms, 0, path, &parts).map(drop)
    }

    /// Wants events for `path` and all below, named `token`. The first comes at once.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), XenError> {
        self.ask(Kind::Watch, 0, path, &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"]).map(drop)
    }

    /// No more of them; those that came already are forgotten too.
    ///
    /// # Errors
    /// Any but `ENOENT`.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), XenError> {
        let asked = self.ask(Kind::Unwatch, 0, path, &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"]);
        self.events.retain(|event| event.token != token);
        optional(asked).map(drop)
    }

    /// The home of a domain: `/local/domain/N`.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn domain_path(&mut self, domain: DomId) -> Result<String, XenError> {
        let id = domain.to_string();
        let path = self.ask(Kind::GetDomainPath, 0, &id, &[id.as_bytes(), b"\0"])?;
        strings(&path).next().map(text).ok_or(XenError::StoreProtocol("a domain path without its end"))
    }

    /// Runs `work` as one transaction, again and again while others get in its way.
    ///
    /// # Errors
    /// What `work` returns, or what xenstore says; nothing is changed then.
    pub fn transaction<T>(
        &mut self,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<T, XenError>,
    ) -> Result<T, XenError> {
        for _ in 0..TRIES {
            let id = self.ask(Kind::TransactionStart, 0, "transaction", &[b"\0"])?;
            let id = strings(&id).next().map(text).and_then(|id| id.parse().ok());
            let id = id.ok_or(XenError::StoreProtocol("a transaction without a number"))?;
            let result = work(&mut Transaction { store: self, id });
            let verdict: &[u8] = if result.is_ok() { b"T\0" } else { b"F\0" };
            match (result, self.ask(Kind::TransactionEnd, id, "transaction", &[verdict])) {
                (Ok(done), Ok(_)) => return Ok(done),
                (Ok(_), Err(e)) if e.is_store("EAGAIN") => {}
                (Ok(_), Err(e)) | (Err(e), _) => return Err(e),
            }
        }
        Err(XenError::Store { path: "transaction".into(), code: "EAGAIN".into() })
    }

    /// An event, if there is one; never waits.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn next_event(&mut self) -> Result<Option<WatchEvent>, XenError> {
        self.wait_event(Duration::ZERO)
    }

    /// An event, as soon as there is one, or `None` after `timeout`.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn wait_event(&mut self, timeout: Duration) -> Result<Option<WatchEvent>, XenError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if !self.readable(deadline)? {
                return Ok(None);
            }
            match self.receive()? {
                Some((header, payload)) if header.kind == Kind::WatchEvent as u32 => self.put_aside(&payload),
                Some(_) => return Err(XenError::StoreProtocol("an answer that nobody asked for")),
                None => {}
            }
        }
    }

    /// Whether events were put aside: then there is no use in waiting for [`fd`](Self::fd).
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Readable while events have come that were not put aside.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn ask(&mut self, kind: Kind, transaction: u32, path: &str, parts: &[&[u8]]) -> Result<Vec<u8>, XenError> {
        let refused = |code: &str| XenError::Store { path: path.into(), code: code.into() };
        let payload = parts.concat();
        if payload.len() > MAX_PAYLOAD {
            return Err(refused("E2BIG"));
        }
        if path.bytes().any(|byte| byte == 0) {
            return Err(refused("EINVAL"));
        }
        self.last_request = self.last_request.wrapping_add(1);
        let message = wire::message(kind as u32, self.last_request, transaction, &payload);
        self.stream.write_all(&message).map_err(XenError::io("writing to xenstore"))?;
        loop {
            let Some((header, payload)) = self.receive()? else { continue };
            if header.kind == Kind::WatchEvent as u32 {
                self.put_aside(&payload);
            } else if header.request != self.last_request {
                return Err(XenError::StoreProtocol("an answer to another question"));
            } else if header.kind == Kind::Error as u32 {
                return Err(refused(&strings(&payload).next().map(text).unwrap_or_default()));
            } else if header.kind != kind as u32 {
                return Err(XenError::StoreProtocol("an answer of another kind"));
            } else {
                return Ok(payload);
            }
        }
    }

    fn put_aside(&mut self, payload: &[u8]) {
        let mut parts = strings(payload).map(text);
        if let (Some(path), Some(token)) = (parts.next(), parts.next()) {
            self.events.push_back(WatchEvent { path, token });
        }
    }

    /// One read; a message, if that made one whole. Reads no further than the message, so that none is left lying here
    /// unseen by whoever polls the descriptor.
    fn receive(&mut self) -> Result<Option<(Header, Vec<u8>)>, XenError> {
        let want = match self.partial.first_chunk::<HEADER>() {
            None => HEADER,
            Some(header) => HEADER + Header::parse(header).len as usize,
        };
        if want > HEADER + MAX_PAYLOAD {
            return Err(XenError::StoreProtocol("a message longer than 4096 bytes"));
        }
        let have = self.partial.len();
        if have < want {
            self.partial.resize(want, 0);
            let read = self.stream.read(&mut self.partial[have..]);
            self.partial.truncate(have + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(XenError::io("reading from xenstore")(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(XenError::io("reading from xenstore")(e)),
            }
        }
        let Some(header) = self.partial.first_chunk::<HEADER>().map(Header::parse) else { return Ok(None) };
        if self.partial.len() < HEADER + header.len as usize {
            return Ok(None);
        }
        let payload = self.partial.split_off(HEADER);
        self.partial.clear();
        Ok(Some((header, payload)))
    }

    fn readable(&self, deadline: Instant) -> Result<bool, XenError> {
        let mut poll = libc::pollfd { fd: self.stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let millis = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as libc::c_int;
            // SAFETY: one valid pollfd.
            match unsafe { libc::poll(&mut poll, 1, millis) } {
                0 => return Ok(false),
                1.. => return Ok(true),
                _ => match io::Error::last_os_error() {
                    e if e.kind() == io::ErrorKind::Interrupted => {}
                    e => return Err(XenError::io("waiting for xenstore")(e)),
                },
            }
        }
    }
}

/// Reads and writes that happen together or not at all.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a mut Xenstore,
    id: u32,
}

impl Transaction<'_> {
    /// As [`Xenstore::get`].
    ///
    /// # Errors
    /// Any but `ENOENT`.
    pub fn get(&mut self, path: &str) -> Result<Option<Vec<u8>>, XenError> {
        optional(self.store.ask(Kind::Read, self.id, path, &[path.as_bytes(), b"\0"]))
    }

    /// As [`Xenstore::write`].
    ///
    /// # Errors
    /// As xenstore says.
    pub fn write(&mut self, path: &str, value: impl AsRef<[u8]>) -> Result<(), XenError> {
        self.store.ask(Kind::Write, self.id, path, &[path.as_bytes(), b"\0", value.as_ref()]).map(drop)
    }

    /// As [`Xenstore::remove`].
    ///
    /// # Errors
    /// Any but `ENOENT`.
    pub fn remove(&mut self, path: &str) -> Result<(), XenError> {
        optional(self.store.ask(Kind::Rm, self.id, path, &[path.as_bytes(), b"\0"])).map(drop)
    }

    /// As [`Xenstore::set_permissions`].
    ///
    /// # Errors
    /// As xenstore says.
    pub fn set_permissions(&mut self, path: &str, permissions: &[&str]) -> Result<(), XenError> {
        let mut parts = vec![path.as_bytes(), b"\0"];
        for permission in permissions {
            parts.extend([permission.as_bytes(), b"\0"]);
        }
        self.store.ask(Kind::SetPerms, self.id, path, &parts).map(drop)
    }
}

fn optional<T>(result: Result<T, XenError>) -> Result<Option<T>, XenError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_store("ENOENT") => Ok(None),
        Err(e) => Err(e),
    }
}

/// Paths are ASCII; what a guest puts there instead is shown with marks and found nowhere.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
