//! The simulated hypervisor's event channels.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use super::store::ConnId;
use crate::{DomId, EventPort};

/// Channels a domain may hold.
const PORTS: u32 = 4096;

/// A channel's end.
#[derive(Debug)]
struct Channel {
    /// The connection that holds it, and will be told.
    holder: ConnId,
    state: State,
    /// It fired and was not unmasked since.
    masked: bool,
    /// It shall fire when unmasked.
    pending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// That domain may bind it.
    Unbound(DomId),
    /// This is its other end.
    Bound(DomId, u32),
}

/// All ends, by domain and port.
#[derive(Debug, Default)]
pub(super) struct Channels {
    ends: BTreeMap<(DomId, u32), Channel>,
    pipes: BTreeMap<ConnId, File>,
}

impl Channels {
    /// A connection on which channels can be held; it is told through `pipe`.
    pub(super) fn connect(&mut self, conn: ConnId, pipe: File) {
        self.pipes.insert(conn, pipe);
    }

    /// Closes all that the connection held.
    pub(super) fn disconnect(&mut self, conn: ConnId) {
        self.pipes.remove(&conn);
        let held: Vec<_> = self.ends.iter().filter(|(_, c)| c.holder == conn).map(|(key, _)| *key).collect();
        for key in held {
            self.close(key);
        }
    }

    /// Channels that a domain holds.
    pub(super) fn count(&self, domain: DomId) -> u32 {
        self.ends.range((domain, 0)..=(domain, u32::MAX)).count() as u32
    }

    fn free_port(&self, domain: DomId) -> Result<u32, i32> {
        (1..PORTS).find(|port| !self.ends.contains_key(&(domain, *port))).ok_or(libc::ENOSPC)
    }

    fn add(&mut self, conn: ConnId, domain: DomId, state: State) -> Result<u32, i32> {
        let port = self.free_port(domain)?;
        self.ends.insert((domain, port), Channel { holder: conn, state, masked: false, pending: false });
        Ok(port)
    }

    pub(super) fn offer(&mut self, conn: ConnId, domain: DomId, to: DomId) -> Result<u32, i32> {
        self.add(conn, domain, State::Unbound(to))
    }

    pub(super) fn bind(&mut self, conn: ConnId, domain: DomId, remote: DomId, port: u32) -> Result<u32, i32> {
        match self.ends.get(&(remote, port)) {
            Some(Channel { state: State::Unbound(to), .. }) if *to == domain => {}
            _ => return Err(libc::EINVAL),
        }
        let local = self.add(conn, domain, State::Bound(remote, port))?;
        if let Some(end) = self.ends.get_mut(&(remote, port)) {
            end.state = State::Bound(domain, local);
        }
        // As Xen does: what the peer sent before there was anyone to hear it must not be lost.
        self.fire((domain, local));
        Ok(local)
    }

    pub(super) fn unbind(&mut self, conn: ConnId, domain: DomId, port: u32) -> Result<u32, i32> {
        match self.ends.get(&(domain, port)) {
            Some(end) if end.holder == conn => {
                self.close((domain, port));
                Ok(0)
            }
            _ => Err(libc::ENOTCONN),
        }
    }

    fn close(&mut self, key: (DomId, u32)) {
        let Some(Channel { state: State::Bound(domain, port), .. }) = self.ends.remove(&key) else { return };
        if let Some(peer) = self.ends.get_mut(&(domain, port)) {
            peer.state = State::Unbound(key.0);
        }
    }

    /// The holder of an end wakes the other.
    pub(super) fn notify(&mut self, conn: ConnId, domain: DomId, port: u32) {
        let end = self.ends.get(&(domain, port)).filter(|end| end.holder == conn);
        if let Some(Channel { state: State::Bound(remote, port), .. }) = end {
            self.fire((*remote, *port));
        }
    }

    /// The hypervisor itself wakes an end.
    pub(super) fn notify_by_domain(&mut self, domain: DomId, port: EventPort) {
        if let Some(Channel { state: State::Bound(remote, port), .. }) = self.ends.get(&(domain, port.0)) {
            self.fire((*remote, *port));
        }
    }

    pub(super) fn unmask(&mut self, conn: ConnId, domain: DomId, port: u32) {
        let Some(end) = self.ends.get_mut(&(domain, port)).filter(|end| end.holder == conn) else { return };
        end.masked = false;
        if end.pending {
            self.fire((domain, port));
        }
    }

    fn fire(&mut self, key: (DomId, u32)) {
        let Some(end) = self.ends.get_mut(&key) else { return };
        end.pending = end.masked;
        if !end.masked {
            end.masked = true;
            if let Some(pipe) = self.pipes.get(&end.holder) {
                // A pipe has room for every port there is, as each is told once until it is unmasked. Those of a closed
                // channel may lie there still, and fill it: then its reader has more than enough to read.
                let _ = (&*pipe).write(&key.1.to_le_bytes());
            }
        }
    }
}
