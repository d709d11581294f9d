//! What can go wrong between us and the hypervisor.

use std::io;
use std::path::PathBuf;

use crate::grant::GrantStatus;
use crate::{DomId, EventPort, GrantRef};

/// Why the hypervisor, its devices or the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum XenError {
    /// A device or socket cannot be opened.
    #[error("{path}: {source}; {remedy}")]
    Open {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A system call or a connection failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A grant cannot be mapped.
    #[error("grant {grant} of domain {domain} cannot be mapped: {status}")]
    Map {
        /// Whose.
        domain: DomId,
        /// Which.
        grant: GrantRef,
        /// Why.
        status: GrantStatus,
    },
    /// An event channel cannot be bound.
    #[error("event channel {port} of domain {domain} cannot be bound: {source}; it must be unbound and meant for us")]
    Bind {
        /// Whose.
        domain: DomId,
        /// Which.
        port: EventPort,
        /// What the hypervisor said.
        source: io::Error,
    },
    /// Too few pages for a ring.
    #[error("no ring fits into {pages} pages; raise the parameter limit of the module xen-gntalloc")]
    RingSize {
        /// How many there are.
        pages: usize,
    },
    /// Xenstore refused.
    #[error("xenstore {path}: {code}")]
    Store {
        /// The node.
        path: String,
        /// Name of the errno: `ENOENT`, `EACCES`...
        code: String,
    },
    /// Xenstore said what its protocol does not allow.
    #[error("xenstore: {0}")]
    StoreProtocol(&'static str),
}

impl XenError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Whether xenstore refused with this errno.
    pub fn is_store(&self, name: &str) -> bool {
        matches!(self, Self::Store { code, .. } if code == name)
    }
}
