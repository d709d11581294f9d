//! The backend's side of one vif's ring: looked after by the control thread, used by the worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pointsman_dataplane::memif::foreign::{Foreign, Geometry};
use pointsman_dataplane::memif::{Bell, MemifPort, Peer, Role};
use pointsman_dataplane::port::Counters;

use super::bell::ChannelBell;
use super::keys::{self, Announcement};
use super::page::{ControlPage, Side};
use super::{Behind, HEARTBEAT};
use crate::netif::keys::{KeyError, Paths};
use crate::xenstore::Xenstore;
use crate::{Access, DomId, GrantRef, Grants, Hypervisor, XenError};

/// The least from one mapping to the next: a mapping takes the time of as many hypercalls as it has pages.
const CALM: Duration = Duration::from_millis(200);

/// What a ring needs of the control thread, and where its vif is.
pub(crate) struct Host<'a> {
    pub(crate) store: &'a mut Xenstore,
    pub(crate) hypervisor: &'a dyn Hypervisor,
    pub(crate) grants: &'a dyn Grants,
    pub(crate) paths: &'a Paths,
}

#[derive(Debug)]
pub(crate) struct Channel {
    domain: DomId,
    handle: u32,
    foreign: Foreign,
    attached: Option<Attached>,
    /// A session that is not looked at again.
    done_with: Option<u32>,
    last_attach: Option<Instant>,
}

#[derive(Debug)]
struct Attached {
    session: u32,
    page: ControlPage,
    geometry: Geometry,
}

impl Channel {
    /// The control side and the port, which counts in `counters`.
    pub(crate) fn new(domain: DomId, handle: u32, counters: Arc<Counters>) -> io::Result<(Self, MemifPort)> {
        let (foreign, port) = Foreign::new(Role::Server, format!("domain {domain} vif {handle}"), counters)?;
        Ok((Self { domain, handle, foreign, attached: None, done_with: None, last_attach: None }, port))
    }

    /// Whether the agent announces a ring.
    pub(crate) fn is_announced(store: &mut Xenstore, paths: &Paths) -> Result<bool, XenError> {
        Ok(keys::session(store, &paths.front)?.is_some())
    }

    /// The rings in words, while there are any.
    pub(crate) fn describe(&self) -> Option<String> {
        let Geometry { log2_size, buffer_size } = self.attached.as_ref()?.geometry;
        Some(format!("rings of {} x {buffer_size} bytes", 1u32 << log2_size))
    }

    /// Looks only into memory: when to do that again, as long as rings and agent are well. The store tells of its own accord.
    pub(crate) fn beat(&self) -> Option<Instant> {
        let attached = self.attached.as_ref()?;
        let well = self.foreign.fault().is_none() && attached.page.lives(Side::Agent);
        well.then(|| Instant::now() + HEARTBEAT)
    }

    /// Looks what the agent announces and whether it lives, and does what follows. When to look again, at the latest.
    pub(crate) fn look(&mut self, host: &mut Host<'_>) -> Result<Option<Instant>, XenError> {
        let announced = keys::session(host.store, &host.paths.front)?;
        if let Some(why) = self.ended(announced) {
            tracing::info!("domain {} vif {} ring: {why}", self.domain, self.handle);
            self.let_go(&why);
            keys::answer(host.store, host.paths, 0, None)?;
        }
        if let Some(session) = announced
            && self.attached.is_none()
            && self.done_with != Some(session)
        {
            if let Some(until) = self.last_attach.map(|last| last + CALM).filter(|until| *until > Instant::now()) {
                return Ok(Some(until));
            }
            self.attach(host, session)?;
        }
        Ok(self.attached.is_some().then(|| Instant::now() + HEARTBEAT))
    }

    /// Why what is attached must go, if it must.
    fn ended(&mut self, announced: Option<u32>) -> Option<String> {
        let attached = self.attached.as_ref()?;
        if announced != Some(attached.session) {
            return Some("its agent ended or began anew".into());
        }
        let why = match self.foreign.fault() {
            Some(fault) => format!("its agent broke the rings: {fault}"),
            None if !attached.page.lives(Side::Agent) => "its agent died".into(),
            None => return None,
        };
        self.done_with = Some(attached.session);
        Some(why)
    }

    fn let_go(&mut self, why: &str) {
        if let Some(attached) = self.attached.take() {
            attached.page.set_lives(Side::Engine, false);
            if !self.foreign.disconnect(why) {
                tracing::error!(
                    "domain {} vif {} ring: a worker does not let go of its pages",
                    self.domain,
                    self.handle
                );
            }
        }
    }

    fn attach(&mut self, host: &mut Host<'_>, session: u32) -> Result<(), XenError> {
        self.last_attach = Some(Instant::now());
        match self.try_attach(host, session) {
            Ok(()) => {
                let rings = self.describe().unwrap_or_default();
                tracing::info!("domain {} vif {} ring: connected, {rings}", self.domain, self.handle);
                keys::answer(host.store, host.paths, session, None)
            }
            // Only a store that is gone is our trouble; everything else is the guest's.
            Err(Refusal::Keys(KeyError::Xen(e @ (XenError::StoreProtocol(_) | XenError::Store { .. })))) => Err(e),
            Err(e) => {
                if !matches!(e, Refusal::Served) {
                    tracing::warn!("domain {} vif {} ring is refused: {e}", self.domain, self.handle);
                }
                self.done_with = Some(session);
                keys::answer(host.store, host.paths, session, Some(&e.to_string()))
            }
        }
    }

    fn try_attach(&mut self, host: &mut Host<'_>, session: u32) -> Result<(), Refusal> {
        let said = Announcement::read(host.store, &host.paths.front, session)?;
        let listed = self.listed(host.grants, &said)?;
        let mut shared = host.grants.map(self.domain, &listed, Access::Write).map_err(KeyError::from)?;
        ControlPage::when_gone(&mut shared, Side::Engine).map_err(XenError::io("leaving a mark for when we die"))?;
        let shared = Arc::new(shared);
        let page = ControlPage::new(&shared);
        if page.served() == session {
            return Err(Refusal::Served);
        }
        let mut events = host.hypervisor.events()?;
        let port = events.bind(self.domain, said.event)?;
        let bell = ChannelBell::new(events, port).map_err(XenError::io("watching an event channel"))?;
        let bell: Arc<dyn Bell> = Arc::new(bell);
        let rings = Foreign::find(Box::new(Behind(shared)), said.geometry, &bell)?;
        page.set_served(session);
        page.set_lives(Side::Engine, true);
        let peer = Peer {
            program: "pointsman guest".into(),
            interface: format!("vif {}", self.handle),
            rx_rings: 1,
            tx_rings: 1,
            ring_size: 1 << said.geometry.log2_size,
        };
        self.foreign.connect(rings, peer);
        self.attached = Some(Attached { session, page, geometry: said.geometry });
        Ok(())
    }

    /// The grants that the directory lists, each read once.
    fn listed(&self, grants: &dyn Grants, said: &Announcement) -> Result<Vec<GrantRef>, XenError> {
        let directory = grants.map(self.domain, &said.directory, Access::Read)?;
        debug_assert!(said.pages * 4 <= directory.len());
        let words = (0..said.pages).map(|at| {
            // SAFETY: the directory has a page for each 1024 of them, by `Announcement::read`; aligned, as pages are.
            let word = unsafe { AtomicU32::from_ptr(directory.base().as_ptr().cast::<u32>().add(at)) };
            GrantRef(word.load(Relaxed))
        });
        Ok(words.collect())
    }
}

/// Why a ring is not served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("{0}")]
    Rings(pointsman_dataplane::memif::Refusal),
    #[error("this session was served by an engine that is gone; the agent must begin anew")]
    Served,
}

impl From<XenError> for Refusal {
    fn from(e: XenError) -> Self {
        Self::Keys(e.into())
    }
}

impl From<pointsman_dataplane::memif::Refusal> for Refusal {
    fn from(e: pointsman_dataplane::memif::Refusal) -> Self {
        Self::Rings(e)
    }
}
