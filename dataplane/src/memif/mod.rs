//! memif: frames to and from a local process through shared memory, as DPDK's `net_memif` and VPP speak it.
//!
//! Two processes share memory that one of them, the client, has made; in it lie rings of descriptors and the buffers that
//! they point to. A unix socket carries the handshake and, by its end, the news that the peer is gone. Frames need no
//! system call at all while both sides are busy.
//!
//! The memory belongs to a stranger. Every value from it is loaded once, checked, and then used; a frame is copied out
//! before anyone judges it; no reference to the memory is ever formed; and whoever breaks a ring is parted from, told why,
//! and may come again. Nothing that a peer does may reach further than its own port.
//!
//! [`Memif`] is the control side, a handle; one [`MemifPort`] for each ring pair goes to a worker. They meet in a mailbox.
//! One background thread does the control work of all memifs of the process.
//!
//! Limits, on purpose: Ethernet mode only; regions of huge pages are refused (see [`region`]), and with them DPDK's
//! zero-copy mode; DPDK's server does not look at how large a client's buffers are, so with it as server `buffer_size`
//! must not be less than what it was told (`bsize`, 2048 unless set).

mod bell;
mod control;
mod copy;
pub mod descriptor;
pub mod foreign;
mod handshake;
mod layout;
mod link;
mod port;
pub mod region;
pub mod ring;
mod rx;
mod socket;
mod state;
#[cfg(test)]
mod tests;
mod tx;
pub mod wire;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use control::Control;
use link::Mailbox;
use state::Shared;

pub use bell::Bell;
pub use handshake::Refusal;
pub use link::{Fault, Role};
pub use port::MemifPort;
pub use socket::ListenError;
pub use state::{MemifState, Peer};

/// Most ring pairs of a memif.
pub const MAX_RINGS: u16 = 255;

/// What a memif is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemifOptions {
    /// The interface's name, as the peer gets to see it (31 bytes at most, the rest is cut).
    pub name: String,
    /// The unix socket; several interfaces of a server may share one.
    pub socket: PathBuf,
    /// Interface on that socket.
    pub id: u32,
    /// Which side this is.
    pub role: Role,
    /// Ring pairs; as a server the most that a client gets, as a client what is asked for.
    pub rings: u16,
    /// Descriptors of a ring: a power of two. A client's wish; a server takes what the client brings.
    pub ring_size: u32,
    /// Bytes of a buffer. A client's; a server takes what the client brings.
    pub buffer_size: u32,
    /// Shared secret, up to 24 bytes; empty: none.
    pub secret: String,
}

impl MemifOptions {
    /// One ring pair of 1024 buffers of 2048 bytes, no secret.
    pub fn new(name: impl Into<String>, socket: impl Into<PathBuf>, id: u32, role: Role) -> Self {
        Self {
            name: name.into(),
            socket: socket.into(),
            id,
            role,
            rings: 1,
            ring_size: 1024,
            buffer_size: 2048,
            secret: String::new(),
        }
    }

    fn check(&self) -> Result<(), MemifError> {
        let invalid = |what| Err(MemifError::Option { name: self.name.clone(), what });
        if self.rings == 0 || self.rings > MAX_RINGS {
            return invalid("rings: want 1 to 255");
        }
        if !self.ring_size.is_power_of_two() || self.ring_size < 2 || self.ring_size > 1 << wire::MAX_LOG2_RING_SIZE {
            return invalid("ring_size: want a power of two from 2 to 16384");
        }
        if self.buffer_size < descriptor::MIN_BUFFER || self.buffer_size > 1 << 16 {
            return invalid("buffer_size: want 64 to 65536");
        }
        if self.secret.len() > wire::SECRET_LEN || self.secret.bytes().any(|b| b == 0) {
            return invalid("secret: want at most 24 bytes, none of them zero");
        }
        let log2_size = self.ring_size.trailing_zeros() as u8;
        let len = layout::region_len(self.rings, log2_size, self.buffer_size);
        if self.role == Role::Client && len > region::MAX_BYTES {
            return invalid("rings x ring_size x buffer_size: more than 2 GiB of shared memory; lower one of them");
        }
        Ok(())
    }
}

/// Why a memif could not be started.
#[derive(Debug, thiserror::Error)]
pub enum MemifError {
    /// An option is out of range.
    #[error("memif {name}: {what}")]
    Option {
        /// The interface.
        name: String,
        /// Which option, and what it should be.
        what: &'static str,
    },
    /// The socket cannot be listened on.
    #[error("memif {0}")]
    Listen(#[from] ListenError),
    /// Another memif of this process has that id.
    #[error("memif {socket}: id {id} is used twice in role {role}; give each interface on a socket its own id")]
    IdTaken {
        /// The socket.
        socket: PathBuf,
        /// The id.
        id: u32,
        /// The role.
        role: Role,
    },
    /// No thread, or no descriptor.
    #[error("memif: cannot start the control thread: {0}")]
    Control(io::Error),
}

/// A memif: the handle of its control side. Dropping it tells the peer and takes the ports down.
#[derive(Debug)]
pub struct Memif {
    key: u64,
    shared: Arc<Shared>,
}

impl Memif {
    /// Starts a memif: a server listens, a client tries to connect until it succeeds, both again after each peer. There is
    /// one port for each ring pair; each is down until a peer has connected its rings.
    ///
    /// # Errors
    /// An option is out of range, the socket is in use, or the system is out of something.
    pub fn start(options: &MemifOptions) -> Result<(Self, Vec<MemifPort>), MemifError> {
        options.check()?;
        socket::check_path(&options.socket)?;
        let control = Control::get().map_err(MemifError::Control)?;
        let shared = Arc::new(Shared::new(MemifState {
            role: options.role,
            socket: options.socket.clone(),
            id: options.id,
            peer: None,
            connects: 0,
            last_disconnect: None,
        }));
        let mailboxes = (0..options.rings)
            .map(|_| Mailbox::new().map(Arc::new))
            .collect::<io::Result<Vec<_>>>()
            .map_err(MemifError::Control)?;
        let port = |(i, mailbox): (usize, &Arc<Mailbox>)| {
            MemifPort::new(Arc::clone(mailbox), Arc::clone(&shared), i as u16, Arc::default())
        };
        let ports = mailboxes.iter().enumerate().map(port).collect();
        let key = control.add(options, mailboxes, Arc::clone(&shared))?;
        Ok((Self { key, shared }, ports))
    }

    /// How it is now.
    pub fn state(&self) -> MemifState {
        self.shared.get()
    }
}

impl Drop for Memif {
    fn drop(&mut self) {
        if let Ok(control) = Control::get() {
            control.remove(self.key);
        }
    }
}
