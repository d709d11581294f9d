//! What can be told about a memif: written by the control thread, read by `show`.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::link::Role;

/// How a memif is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemifState {
    /// Which side we are.
    pub role: Role,
    /// The socket.
    pub socket: PathBuf,
    /// The interface on it.
    pub id: u32,
    /// The peer, while there is one.
    pub peer: Option<Peer>,
    /// Times that a peer was connected.
    pub connects: u64,
    /// Why it is not connected, or why the last peer is no longer: the last reason that there was.
    pub last_disconnect: Option<String>,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its program, as it calls itself: "DPDK 22.11.11".
    pub program: String,
    /// Its interface, as it calls it: "net_memif0".
    pub interface: String,
    /// Rings from it to us.
    pub rx_rings: u16,
    /// Rings from us to it.
    pub tx_rings: u16,
    /// Descriptors of a ring (of the first).
    pub ring_size: u16,
}

impl fmt::Display for MemifState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.peer, &self.last_disconnect) {
            (Some(peer), _) => {
                write!(f, "{}, connected to '{}' ({})", self.role, peer.interface, peer.program)?;
                write!(f, ", rings {}+{} of {}", peer.rx_rings, peer.tx_rings, peer.ring_size)
            }
            (None, None) => write!(f, "{}, not connected", self.role),
            (None, Some(reason)) => write!(f, "{}, not connected: {reason}", self.role),
        }
    }
}

/// The state, where both sides can reach it. Never touched for a frame.
#[derive(Debug)]
pub(super) struct Shared(Mutex<MemifState>);

impl Shared {
    pub(super) fn new(state: MemifState) -> Self {
        Self(Mutex::new(state))
    }

    pub(super) fn get(&self) -> MemifState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut MemifState)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
