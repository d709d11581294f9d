//! Sockets that servers listen on: who connects is greeted, and a crowd keeps nobody out.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Inner, Stage};
use crate::memif::MemifError;
use crate::memif::handshake::PROGRAM;
use crate::memif::link::Role;
use crate::memif::region::MAX_REGIONS;
use crate::memif::socket::{self, Listener};
use crate::memif::wire::{Hello, MAX_LOG2_RING_SIZE, Message, VERSION};

/// Connections of one socket that have not said yet which interface they want; beyond, the oldest goes.
const MAX_STRANGERS: usize = 32;
/// Connections that one socket takes in a [`WINDOW`]: setting up and tearing down costs the whole process.
const MAX_ACCEPTS: u32 = 64;
const WINDOW: Duration = Duration::from_millis(100);

/// A socket that servers listen on.
pub(super) struct Listening {
    pub(super) listener: Listener,
    pub(super) path: PathBuf,
    window: Instant,
    accepted: u32,
    /// Not listened to until then.
    pub(super) paused: Option<Instant>,
}

impl Inner {
    /// Listens on `path`, unless another memif of this process has us do so already.
    pub(super) fn listen(&mut self, path: &Path) -> Result<(), MemifError> {
        if self.listeners.values().any(|l| l.path == path) {
            return Ok(());
        }
        let listener = Listener::bind(path)?;
        let token = self.token();
        for fd in listener.fds() {
            self.watch(fd, token, libc::EPOLLIN as u32).map_err(MemifError::Control)?;
        }
        let listening =
            Listening { listener, path: path.to_owned(), window: Instant::now(), accepted: 0, paused: None };
        self.listeners.insert(token, listening);
        Ok(())
    }

    /// Takes new connections and greets them.
    pub(super) fn accept(&mut self, token: u64) {
        let now = Instant::now();
        loop {
            let Some(listening) = self.listeners.get_mut(&token) else { return };
            if now.duration_since(listening.window) > WINDOW {
                (listening.window, listening.accepted) = (now, 0);
            }
            if listening.accepted >= MAX_ACCEPTS {
                listening.paused = Some(now + WINDOW);
                return self.set_listening(token, 0);
            }
            let Some(socket) = listening.listener.accept() else { return };
            listening.accepted += 1;
            let hello = self.hello(token);
            if socket::send(socket.as_fd(), &hello.encode(), None).is_ok() {
                self.open(socket, Some(token), None, Stage::Stranger, now);
            }
            self.limit_strangers(token);
        }
    }

    pub(super) fn set_listening(&self, token: u64, events: u32) {
        if let Some(listening) = self.listeners.get(&token) {
            for fd in listening.listener.fds() {
                let _ = self.epoll(libc::EPOLL_CTL_MOD, fd, token, events);
            }
        }
    }

    /// What the interfaces on this socket can take; which of them is wanted is not known yet.
    fn hello(&self, listener: u64) -> Message {
        let path = self.listeners.get(&listener).map(|l| l.path.as_path());
        let on_it = self
            .interfaces
            .values()
            .filter(|i| i.options.role == Role::Server && Some(i.options.socket.as_path()) == path);
        let most = on_it.map(|i| i.options.rings).max().unwrap_or(1) - 1;
        Message::Hello(Hello {
            name: PROGRAM.into(),
            min_version: VERSION,
            max_version: VERSION,
            max_region: MAX_REGIONS - 1,
            max_m2s_ring: most,
            max_s2m_ring: most,
            max_log2_ring_size: MAX_LOG2_RING_SIZE,
        })
    }

    /// Strangers who only connect must not keep others out: the oldest makes room.
    fn limit_strangers(&mut self, listener: u64) {
        let strangers = || self.sessions.iter().filter(|(_, s)| s.listener == Some(listener) && s.interface.is_none());
        if strangers().count() > MAX_STRANGERS
            && let Some(oldest) = strangers().min_by_key(|(_, s)| s.since).map(|(token, _)| *token)
        {
            self.close(oldest, "too many connections that say nothing", true);
        }
    }
}
