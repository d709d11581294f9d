//! The guest's side: a software router, a patch to a tap, and a source of traffic, each a forwarder over memif ports.
//!
//! The [`Router`](crate::router::Router) is the virtual router of the benchmark: what a guest would run if it had nothing but
//! packets to move. The [`Patch`](patch::Patch) joins two ports, so that a namespace's own stack can be the router
//! behind a tap. A [`source`] sends by a ring what that takes, to measure it. None of them knows of sockets, rings or a
//! command line; [`spec`] turns the words of one into plain data.

pub mod patch;
pub mod source;
pub mod spec;

use std::fmt;
use std::path::PathBuf;

/// Where a memif of the guest's is to be found, and which side of it the guest takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemifAddress {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// The interface's number on that socket.
    pub id: u32,
    /// Whether the guest listens and the other side connects.
    pub server: bool,
}

impl fmt::Display for MemifAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.socket.display(), self.id)
    }
}
