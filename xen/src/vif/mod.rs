//! `xen-vif`: frames to and from unmodified domUs, as Linux's netback does it, in a process.
//!
//! [`VifBackend`] watches the store. A guest's interface that a toolstack makes becomes [`VifPort`]s, one a queue, which go
//! to whoever owns the workers ([`Guests`]); they stay, down, while the guest comes, goes and comes again, until the
//! toolstack takes the interface away. One background thread does the control work of all guests; it and the workers meet in
//! a mailbox a queue.
//!
//! The guest is hostile until shown otherwise: what it writes is loaded once and judged; a grant that fails costs it a frame;
//! whoever breaks the protocol is parted from, and must start over. Nothing it does may reach further than its own port.
//!
//! # When this process dies
//! The store still says "connected", the guest still sends, and nobody answers. The next backend finds it so, maps the same
//! rings, goes on from their last response, and the guest never notices. For that nothing is ever answered out of order, and
//! no state is written when the backend ends.

mod control;
mod copy;
mod from_guest;
mod groups;
mod interface;
mod link;
mod port;
mod seated;
mod to_guest;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use crate::netif::keys::VifConfig;
use crate::{DomId, Hypervisor, XenError, bell};
use control::Control;

pub use link::Fault;
pub use port::{VifPort, VifState};
pub use seated::Seated;

/// How guests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VifOptions {
    /// Most queues of an interface, 1 to [`MAX_QUEUES`]: each is a [`VifPort`].
    pub queues: u16,
    /// Whether TCP is taken and given in pieces of up to 64 KiB.
    pub gso: bool,
}

/// Most queues of an interface: each takes a worker's attention, two pages and two event channels.
pub const MAX_QUEUES: u16 = 8;

impl Default for VifOptions {
    fn default() -> Self {
        Self { queues: 1, gso: true }
    }
}

/// Why nobody takes a guest's ports.
pub type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// Who takes guests' ports. Called from the control thread; while it runs, no other guest comes or goes.
pub trait Guests: Send {
    /// The toolstack made an interface. The ports are down until its guest connects.
    ///
    /// # Errors
    /// Why it cannot be served: the toolstack is then told that it is closed.
    fn arrived(&mut self, vif: &VifConfig, ports: Vec<VifPort>) -> Result<(), Refusal>;

    /// The toolstack took it away; the ports have let go of the guest and will stay down.
    fn left(&mut self, domain: DomId, handle: u32);
}

/// The control side of all guests' interfaces. Dropping it leaves guests connected, for the next one to take over.
#[derive(Debug)]
pub struct VifBackend {
    bell: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl VifBackend {
    /// Starts serving guests: those that are there already, and those that come.
    ///
    /// # Errors
    /// The store cannot be reached, or the system is out of something.
    pub fn start(
        hypervisor: Arc<dyn Hypervisor>,
        options: VifOptions,
        guests: Box<dyn Guests>,
    ) -> Result<Self, XenError> {
        let failed = || XenError::io("starting the control thread");
        let bell = Arc::new(bell::create().map_err(failed())?);
        let stop = Arc::new(AtomicBool::new(false));
        let options = VifOptions { queues: options.queues.clamp(1, MAX_QUEUES), ..options };
        let control = Control::new(hypervisor, options, guests, Arc::clone(&bell))?;
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("vif-control".into()).spawn(move || control.run(&stopping));
        Ok(Self { bell, stop, thread: Some(thread.map_err(failed())?) })
    }
}

impl Drop for VifBackend {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        bell::ring(self.bell.as_fd());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
