//! The control thread: watches the store, keeps a list of interfaces, lets each look after itself.
//!
//! Events of the store say "look", not what changed. So all that are there are taken first, and only then is anything read:
//! what changes while we read comes as another event.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::interface::{Interface, Next, Tools};
use super::link::Gate;
use super::{Guests, VifOptions};
use crate::netif::keys::decimal;
use crate::xenstore::{WatchEvent, Xenstore};
use crate::{DomId, Grants, Hypervisor, XenError, bell};

/// The watch on all backends.
const BACKENDS: &str = "backends";
/// How long to wait before the store is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Which interface.
type Key = (DomId, u32);

pub(super) struct Control {
    hypervisor: Arc<dyn Hypervisor>,
    options: VifOptions,
    guests: Box<dyn Guests>,
    bell: Arc<OwnedFd>,
    store: Xenstore,
    grants: Box<dyn Grants>,
    me: DomId,
    /// Where the backends' parts are.
    root: String,
    interfaces: BTreeMap<Key, Interface>,
    /// Those that want to be looked at then.
    later: BTreeMap<Key, Instant>,
    /// The list itself is to be read again.
    rescan: bool,
    /// There may be guests whose backend died.
    first_round: bool,
    dirty: BTreeSet<Key>,
}

impl Control {
    pub(super) fn new(
        hypervisor: Arc<dyn Hypervisor>,
        options: VifOptions,
        guests: Box<dyn Guests>,
        bell: Arc<OwnedFd>,
    ) -> Result<Self, XenError> {
        let mut store = hypervisor.xenstore()?;
        let grants = hypervisor.grants()?;
        // A driver domain's own number; the control domain may have no such node.
        let me = store.get("domid")?.and_then(|value| decimal(&value, DomId::FIRST_RESERVED.into()));
        let me = DomId(me.unwrap_or(0) as u16);
        let root = format!("/local/domain/{me}/backend/vif");
        store.watch(&root, BACKENDS)?;
        Ok(Self {
            hypervisor,
            options,
            guests,
            bell,
            store,
            grants,
            me,
            root,
            interfaces: BTreeMap::new(),
            later: BTreeMap::new(),
            rescan: true,
            first_round: true,
            dirty: BTreeSet::new(),
        })
    }

    pub(super) fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Relaxed) {
            if let Err(e) = self.round() {
                tracing::error!("guests' interfaces cannot be looked after: {e}; trying again in {AGAIN:?}");
                bell::wait(&[self.bell.as_fd()], AGAIN.as_millis() as i32);
                self.reconnect();
            }
        }
    }

    /// Waits for something to happen, and does what follows.
    fn round(&mut self) -> Result<(), XenError> {
        if !self.store.has_events() && !self.rescan && self.dirty.is_empty() {
            let due = self.later.values().min().map(|due| due.saturating_duration_since(Instant::now()));
            let millis = due.map_or(-1, |due| due.as_millis().min(60_000) as i32 + 1);
            bell::wait(&[self.store.fd(), self.bell.as_fd()], millis);
        }
        bell::clear(self.bell.as_fd());
        while let Some(event) = self.store.next_event()? {
            self.note(&event);
        }
        // The bell does not say which; those that wait for a worker are few.
        self.dirty.extend(self.interfaces.iter().filter(|(_, i)| i.has_news()).map(|(key, _)| *key));
        let now = Instant::now();
        for (key, due) in self.later.iter_mut().filter(|(_, due)| **due <= now) {
            match self.interfaces.get(key).and_then(Interface::beat) {
                Some(next) => *due = next,
                None => {
                    self.dirty.insert(*key);
                }
            }
        }
        if std::mem::take(&mut self.rescan) {
            self.scan()?;
        }
        let held = std::mem::take(&mut self.first_round);
        if held {
            for key in self.dirty.clone() {
                self.with(key, |interface, tools| interface.hold(tools))?;
            }
        }
        while let Some(key) = self.dirty.first().copied() {
            self.look(key)?;
            self.dirty.remove(&key);
        }
        if held {
            let gate = Gate::shut();
            self.interfaces.values_mut().for_each(|interface| interface.release(&gate));
            gate.open();
        }
        Ok(())
    }

    /// Marks what an event is about.
    fn note(&mut self, event: &WatchEvent) {
        let key = |text: &str| {
            let (domain, rest) = text.split_once('/')?;
            let handle = rest.split('/').next()?;
            let domain = decimal(domain.as_bytes(), u64::from(DomId::FIRST_RESERVED) - 1)?;
            Some((DomId(domain as u16), decimal(handle.as_bytes(), u32::MAX.into())? as u32))
        };
        if event.token != BACKENDS {
            self.dirty.extend(key(&event.token));
            return;
        }
        let below = event.path.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/'));
        match below.and_then(key) {
            Some(key) => {
                self.dirty.insert(key);
            }
            None => self.rescan = true,
        }
    }

    /// Finds what is there, and marks it and what was.
    fn scan(&mut self) -> Result<(), XenError> {
        self.dirty.extend(self.interfaces.keys());
        for domain in self.store.list(&self.root)? {
            let Some(id) = decimal(domain.as_bytes(), u64::from(DomId::FIRST_RESERVED) - 1) else { continue };
            for handle in self.store.list(&format!("{}/{domain}", self.root))? {
                if let Some(handle) = decimal(handle.as_bytes(), u32::MAX.into()) {
                    self.dirty.insert((DomId(id as u16), handle as u32));
                }
            }
        }
        Ok(())
    }

    fn look(&mut self, key: Key) -> Result<(), XenError> {
        self.later.remove(&key);
        match self.with(key, Interface::look)? {
            None | Some(Next::Wait) => {}
            Some(Next::At(due)) => {
                self.later.insert(key, due);
            }
            Some(Next::Forget) => {
                self.interfaces.remove(&key);
            }
        }
        Ok(())
    }

    /// Does something with an interface, if there is one.
    fn with<T>(
        &mut self,
        key: Key,
        work: impl FnOnce(&mut Interface, &mut Tools<'_>) -> Result<T, XenError>,
    ) -> Result<Option<T>, XenError> {
        let (domain, handle) = key;
        if !self.interfaces.contains_key(&key) {
            // Whatever happens below a removed node is not the news of a new one.
            let state = format!("{}/{domain}/{handle}/state", self.root);
            if self.store.get(&state)?.is_none() {
                return Ok(None);
            }
        }
        let interface = self.interfaces.entry(key).or_insert_with(|| Interface::new(self.me, domain, handle));
        let mut tools = Tools {
            store: &mut self.store,
            hypervisor: self.hypervisor.as_ref(),
            grants: self.grants.as_ref(),
            guests: self.guests.as_mut(),
            options: self.options,
            bell: &self.bell,
        };
        work(interface, &mut tools).map(Some)
    }

    /// The store went away: finds another connection, and looks at everything anew.
    fn reconnect(&mut self) {
        let Ok(mut store) = self.hypervisor.xenstore() else { return };
        if store.watch(&self.root, BACKENDS).is_ok() {
            self.store = store;
            self.first_round = true;
            self.rescan = true;
            self.interfaces.values_mut().for_each(Interface::watch_again);
        }
    }
}
