//! Grants as a process of the simulated machine sees them: mapping through the hypervisor, copying by itself.
//!
//! A copy is judged as Xen judges it, entry by entry at the time of use, but in the caller's own process: asking another
//! process for every burst would cost more than the copy. What is mapped is known to the hypervisor, which releases it when
//! the process dies.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::memory::{self, Mapped};
use super::protocol::{Connection, op};
use super::table::Domain;
use crate::grant::Place;
use crate::seam::{Access, Grants, Release, Shared};
use crate::{CopyOp, DomId, EventPort, GrantRef, GrantStatus, PAGE, XenError};

/// Calls that were made, as a test or a bench wants to know.
#[derive(Debug, Default)]
pub(super) struct CopyCount {
    pub(super) calls: AtomicU64,
    pub(super) ops: AtomicU64,
}

#[derive(Debug)]
pub(super) struct SimGrants {
    conn: Arc<Mutex<Connection>>,
    me: DomId,
    /// Memory of domains that were met, the last one met first.
    met: Mutex<Vec<(DomId, Arc<Domain>)>>,
    count: Arc<CopyCount>,
}

impl SimGrants {
    pub(super) fn new(conn: Connection, me: DomId, count: Arc<CopyCount>) -> Self {
        Self { conn: Arc::new(Mutex::new(conn)), me, met: Mutex::new(Vec::new()), count }
    }

    /// A domain's memory, if it lives.
    fn domain(&self, id: DomId) -> Option<Arc<Domain>> {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = met.iter().position(|(known, _)| *known == id) {
            if met[at].1.is_alive() {
                met.swap(0, at);
                return Some(Arc::clone(&met[0].1));
            }
            // Another may live under its number by now.
            met.remove(at);
        }
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, files) = conn.ask_value(op::MEMORY, &[id.0.into()]).ok()?;
        let [memory, status]: [_; 2] = files.try_into().ok()?;
        let domain = Domain { memory: Mapped::map(memory, true).ok()?, status: Mapped::map(status, true).ok()? };
        met.insert(0, (id, Arc::new(domain)));
        Some(Arc::clone(&met[0].1))
    }

    fn make(&self, op: &CopyOp) -> GrantStatus {
        let (from, to) = match (self.at(op.source(), false), self.at(op.dest(), true)) {
            (Ok(from), Ok(to)) => (from, to),
            (Err(status), _) | (_, Err(status)) => return status,
        };
        // SAFETY: a local end is good for the op's length by the word of whoever made it; a foreign one lies in a page of a
        // domain that is mapped while `from.1` and `to.1` hold it, and was found not to leave the page.
        unsafe { memory::copy(from.0, to.0, op.len().into()) };
        GrantStatus::OKAY
    }

    /// The address of an end of a copy, and what keeps it mapped.
    fn at(&self, place: Place, write: bool) -> Result<(*mut u8, Option<Arc<Domain>>), GrantStatus> {
        match place {
            Place::Local(at) => Ok((at, None)),
            Place::Foreign { domain, grant, offset } => {
                let domain = self.domain(domain).ok_or(GrantStatus::BAD_DOMAIN)?;
                let frame = domain.look_up(grant, self.me, write)?;
                let page = domain.memory.page(frame).ok_or(GrantStatus::BAD_PAGE)?;
                Ok((page.as_ptr().wrapping_add(offset.into()), Some(domain)))
            }
        }
    }
}

impl Grants for SimGrants {
    fn map(&self, domain: DomId, grants: &[GrantRef], access: Access) -> Result<Shared, XenError> {
        let failed = XenError::io("mapping a grant");
        let write = access == Access::Write;
        let Some(owner) = self.domain(domain) else {
            let grant = grants.first().copied().unwrap_or_default();
            return Err(XenError::Map { domain, grant, status: GrantStatus::BAD_DOMAIN });
        };
        let base = memory::reserve(grants.len()).map_err(failed)?;
        let mut release = SimMapping { conn: Arc::clone(&self.conn), numbers: Vec::new() };
        for (at, &grant) in grants.iter().enumerate() {
            let mapped = release.map(domain, grant, write).and_then(|frame| {
                // SAFETY: within what was reserved.
                let over = unsafe { base.add(at * PAGE) };
                memory::map_pages(owner.memory.fd(), frame, 1, write, Some(over))
                    .map_err(XenError::io("mapping a grant"))
            });
            if let Err(e) = mapped {
                release.release(base, grants.len() * PAGE);
                return Err(e);
            }
        }
        Ok(Shared::new(base, grants.len(), Box::new(release)))
    }

    fn copy(&mut self, ops: &mut [CopyOp]) -> io::Result<()> {
        if ops.iter().any(CopyOp::crosses_a_page) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        for op in ops.iter_mut() {
            let status = self.make(op);
            op.set_status(status);
        }
        self.count.calls.fetch_add(1, Relaxed);
        self.count.ops.fetch_add(ops.len() as u64, Relaxed);
        Ok(())
    }
}

/// Pages mapped through the hypervisor.
#[derive(Debug)]
struct SimMapping {
    conn: Arc<Mutex<Connection>>,
    numbers: Vec<u32>,
}

impl SimMapping {
    fn map(&mut self, domain: DomId, grant: GrantRef, write: bool) -> Result<usize, XenError> {
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = XenError::io("mapping a grant");
        match conn.ask(op::MAP, &[domain.0.into(), grant.0, write.into()]).map_err(failed)? {
            (0, number, _) => {
                let (_, frame, _) = conn.answer().map_err(XenError::io("mapping a grant"))?;
                self.numbers.push(number);
                Ok(frame as usize)
            }
            (status, ..) => Err(XenError::Map { domain, grant, status: GrantStatus(status as i16) }),
        }
    }
}

impl Release for SimMapping {
    fn release(&mut self, base: NonNull<u8>, len: usize) {
        memory::unmap(base, len);
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        for number in self.numbers.drain(..) {
            // A hypervisor that is gone has released it already.
            let _ = conn.ask(op::UNMAP, &[number]);
        }
    }

    fn on_unmap(&mut self, offset: usize, port: Option<EventPort>) -> io::Result<()> {
        let number = *self.numbers.get(offset / PAGE).ok_or(io::ErrorKind::InvalidInput)?;
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let port = port.map_or(u32::MAX, |port| port.0);
        conn.ask_value(op::ON_UNMAP, &[number, (offset % PAGE) as u32, port]).map(drop)
    }
}
