//! A hypervisor that is a thread, and a machine whose domains are processes.
//!
//! [`Machine`] serves a directory with two sockets: its own, and a xenstored. A process connects as the control domain with
//! [`SimDomain::control`], or becomes a guest with [`SimDomain::guest`], which lives as long as the value, or the process: a
//! `kill -9` of it is a guest that died in whatever it was doing. A guest's memory is a memfd with its grant table in it,
//! where it writes what it likes, sound or not. What others do with it is judged at that moment, as Xen does: see `table.rs`.
//!
//! What is not as on Xen: copies and mappings cost other times; a copy is made by the caller's process, and does not pin the
//! page for the nanoseconds that it takes; event channels are told by a thread, not by an interrupt.

mod channels;
mod events;
mod grants;
mod guest;
mod memory;
mod protocol;
mod server;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod toolstack;
mod tree;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;

pub use guest::Memory;
pub use toolstack::Toolstack;

use crate::seam::{Allocator, Events, Grants, Hypervisor};
use crate::xenstore::Xenstore;
use crate::{DomId, XenError, bell};
use events::SimEvents;
use grants::{CopyCount, SimGrants};
use guest::SimAllocator;
use memory::Mapped;
use protocol::{Connection, op};

/// A running hypervisor. Dropping it ends it, and with it every guest.
#[derive(Debug)]
pub struct Machine {
    dir: PathBuf,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
    /// The directory is ours to remove.
    temporary: bool,
}

impl Machine {
    /// Serves `dir`, which must exist.
    ///
    /// # Errors
    /// The sockets cannot be made.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let stop = bell::create()?;
        let server = server::Server::new(dir, stop.try_clone()?)?;
        let thread = std::thread::Builder::new().name("hypervisor".into()).spawn(move || server.run())?;
        Ok(Self { dir: dir.into(), stop, thread: Some(thread), temporary: false })
    }

    /// Serves a directory of its own, which goes with it.
    ///
    /// # Errors
    /// The directory or the sockets cannot be made.
    pub fn temporary() -> io::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("xen-sim-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir)?;
        let mut machine = Self::start(&dir)?;
        machine.temporary = true;
        Ok(machine)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A toolstack.
    ///
    /// # Errors
    /// It cannot be connected.
    pub fn toolstack(&self) -> Result<Toolstack, XenError> {
        Toolstack::new(hello(&self.dir, op::TOOLSTACK, DomId::ZERO, 0)?.0, &self.dir)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        bell::ring(self.stop.as_fd());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A domain of a simulated machine, from inside.
#[derive(Debug)]
pub struct SimDomain {
    dir: PathBuf,
    id: DomId,
    memory: Option<Arc<Memory>>,
    copies: Arc<CopyCount>,
}

impl SimDomain {
    /// The control domain of the machine that `dir` is. It grants nothing.
    pub fn control(dir: &Path) -> Self {
        Self { dir: dir.into(), id: DomId::ZERO, memory: None, copies: Arc::default() }
    }

    /// A new guest with `pages` pages of memory.
    ///
    /// # Errors
    /// There is one of that number, or no such machine.
    pub fn guest(dir: &Path, id: DomId, pages: u32) -> Result<Self, XenError> {
        let (life, files) = hello(dir, op::DOMAIN, id, pages)?;
        let failed = || XenError::io("creating a domain");
        let [memory, status]: [_; 2] = files.try_into().map_err(|_| failed()(io::ErrorKind::InvalidData.into()))?;
        let memory = Mapped::map(memory, true).map_err(failed())?;
        let status = Mapped::map(status, false).map_err(failed())?;
        let memory = Arc::new(Memory::new(life, memory, status));
        Ok(Self { dir: dir.into(), id, memory: Some(memory), copies: Arc::default() })
    }

    /// Its number.
    pub fn id(&self) -> DomId {
        self.id
    }

    /// Its memory, where it has any.
    pub fn memory(&self) -> Option<&Arc<Memory>> {
        self.memory.as_ref()
    }

    /// Copy calls made through this value, and the ops in them.
    pub fn copies(&self) -> (u64, u64) {
        (self.copies.calls.load(Relaxed), self.copies.ops.load(Relaxed))
    }
}

impl Hypervisor for SimDomain {
    fn xenstore(&self) -> Result<Xenstore, XenError> {
        let (conn, _) = hello(&self.dir, op::STORE, self.id, 0)?;
        Ok(Xenstore::over(conn.into_fd()))
    }

    fn grants(&self) -> Result<Box<dyn Grants>, XenError> {
        let (conn, _) = hello(&self.dir, op::GRANTS, self.id, 0)?;
        Ok(Box::new(SimGrants::new(conn, self.id, Arc::clone(&self.copies))))
    }

    fn events(&self) -> Result<Box<dyn Events>, XenError> {
        let (conn, files) = hello(&self.dir, op::EVENTS, self.id, 0)?;
        let pipe = files.into_iter().next();
        let pipe = pipe.ok_or_else(|| XenError::io("opening event channels")(io::ErrorKind::InvalidData.into()))?;
        Ok(Box::new(SimEvents::new(conn, pipe)))
    }

    fn allocator(&self) -> Result<Box<dyn Allocator>, XenError> {
        match &self.memory {
            Some(memory) => Ok(Box::new(SimAllocator { memory: Arc::clone(memory) })),
            None => Err(XenError::io("granting pages of a domain without memory")(io::ErrorKind::Unsupported.into())),
        }
    }
}

/// Connects and says what the connection is to be.
fn hello(dir: &Path, what: u32, id: DomId, pages: u32) -> Result<(Connection, Vec<std::fs::File>), XenError> {
    let path = dir.join(protocol::SOCKET);
    let remedy = "is the simulated hypervisor running, and the domain alive?";
    let failed = |source| XenError::Open { path: path.clone(), source, remedy };
    let conn = Connection::new(UnixStream::connect(&path).map_err(failed)?);
    let (_, files) = conn.ask_value(what, &[id.0.into(), pages]).map_err(failed)?;
    Ok((conn, files))
}
