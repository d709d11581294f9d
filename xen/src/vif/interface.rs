//! One interface of one guest, as the control thread sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman_dataplane::port::Counters;

use super::from_guest::FromGuest;
use super::groups::Groups;
use super::link::{Gate, Link, Mailbox};
use super::port::{VifPort, VifState};
use super::to_guest::ToGuest;
use super::{Guests, VifOptions};
use crate::netif::keys::{self, Abilities, KeyError, Offer, Paths, QueueKeys};
use crate::netif::ring::{BackRing, Page};
use crate::netif::state::{Action, Situation, State, decide};
use crate::ring::{self, Channel, Host};
use crate::xenstore::Xenstore;
use crate::{Access, DomId, GrantRef, Grants, Hypervisor, Shared, XenError};

/// A guest that connects again within this time is made to wait.
const CALM: Duration = Duration::from_secs(2);
/// Steps that one look takes at most; an honest guest needs three.
const STEPS: usize = 12;
/// The first wait; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// How often it doubles: to 2.5 s.
const DOUBLINGS: u32 = 8;

/// What an interface needs of the control thread.
pub(super) struct Tools<'a> {
    pub(super) store: &'a mut Xenstore,
    pub(super) hypervisor: &'a dyn Hypervisor,
    /// Maps rings.
    pub(super) grants: &'a dyn Grants,
    pub(super) guests: &'a mut dyn Guests,
    pub(super) options: VifOptions,
    pub(super) bell: &'a Arc<OwnedFd>,
}

/// What follows when all queues have let go.
#[derive(Clone, Copy, Debug)]
enum After {
    Write(State),
    Forget,
    Nothing,
}

/// What the control thread is to do with it next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for something to change.
    Wait,
    /// Look again then.
    At(Instant),
    /// It is gone.
    Forget,
}

#[derive(Debug)]
pub(super) struct Interface {
    domain: DomId,
    handle: u32,
    paths: Paths,
    /// Its queues' mailboxes, from when the engine was told of it.
    queues: Vec<Arc<Mailbox>>,
    /// The other way to its guest, where it has one queue.
    ring: Option<Channel>,
    state: VifState,
    attached: bool,
    /// Links that wait for those of other guests, see [`hold`](Self::hold).
    ready: Vec<(usize, Box<Link>)>,
    holds: bool,
    broken: bool,
    offered: bool,
    /// What the toolstack wants of it cannot be had: it stays closed until it is removed.
    unserved: bool,
    /// Recalled, and not all queues have let go.
    leaving: Option<After>,
    watched: bool,
    /// The vif itself asked to be looked at again.
    unsettled: bool,
    connects: u32,
    last_connect: Option<Instant>,
}

impl Interface {
    pub(super) fn new(backend: DomId, domain: DomId, handle: u32) -> Self {
        Self {
            domain,
            handle,
            paths: Paths::new(backend, domain, handle),
            queues: Vec::new(),
            ring: None,
            state: VifState::new("waiting for its guest"),
            attached: false,
            ready: Vec::new(),
            holds: false,
            broken: false,
            offered: false,
            unserved: false,
            leaving: None,
            watched: false,
            unsettled: false,
            connects: 0,
            last_connect: None,
        }
    }

    /// How its watch is named.
    pub(super) fn token(&self) -> String {
        format!("{}/{}", self.domain, self.handle)
    }

    /// Whether a worker may have given something back.
    pub(super) fn has_news(&self) -> bool {
        self.leaving.is_some() || self.queues.iter().any(|queue| queue.has_returned())
    }

    /// The store forgot our watches.
    pub(super) fn watch_again(&mut self) {
        self.watched = false;
    }

    fn front_state(&self) -> String {
        format!("{}/state", self.paths.front)
    }

    fn front_ring(&self) -> String {
        format!("{}/{}", self.paths.front, ring::RING)
    }

    fn say(&self, mode: String) {
        tracing::info!("domain {} vif {}: {mode}", self.domain, self.handle);
        self.state.set(mode);
    }

    /// Looks at how things are, and does what is due, until nothing is.
    pub(super) fn look(&mut self, tools: &mut Tools<'_>) -> Result<Next, XenError> {
        if !self.watched {
            tools.store.watch(&self.front_state(), &self.token())?;
            tools.store.watch(&self.front_ring(), &self.token())?;
            self.watched = true;
        }
        let ring = self.look_at_ring(tools)?;
        let vif = self.look_at_vif(tools)?;
        self.unsettled = matches!(vif, Next::At(_));
        Ok(match (vif, ring) {
            (Next::Wait, Some(due)) => Next::At(due),
            (Next::At(at), Some(due)) => Next::At(at.min(due)),
            (next, _) => next,
        })
    }

    /// Its time has come, and nothing else: when the next comes, if it was only for a ring that is well.
    pub(super) fn beat(&self) -> Option<Instant> {
        if self.unsettled { None } else { self.ring.as_ref()?.beat() }
    }

    fn look_at_ring(&mut self, tools: &mut Tools<'_>) -> Result<Option<Instant>, XenError> {
        // A guest without a driver of its own for the vif may have an agent all the same.
        if self.queues.is_empty() && !(Channel::is_announced(tools.store, &self.paths)? && self.announce(tools)?) {
            return Ok(None);
        }
        let Some(ring) = &mut self.ring else { return Ok(None) };
        let paths = &self.paths;
        let mut host = Host { store: tools.store, hypervisor: tools.hypervisor, grants: tools.grants, paths };
        let due = ring.look(&mut host)?;
        self.state.set_ring(ring.describe());
        Ok(due)
    }

    fn look_at_vif(&mut self, tools: &mut Tools<'_>) -> Result<Next, XenError> {
        for _ in 0..STEPS {
            self.collect();
            if self.leaving.is_some() {
                if self.queues.iter().any(|queue| queue.is_out()) {
                    return Ok(Next::Wait);
                }
                if let Some(After::Forget) = self.let_go(tools)? {
                    self.forget(tools)?;
                    return Ok(Next::Forget);
                }
                continue;
            }
            let now = self.situation(tools.store)?;
            if self.broken && !self.unserved && now.front == Some(State::Initialising) {
                // It starts over.
                self.broken = false;
                continue;
            }
            match decide(now) {
                Action::Rest => return Ok(Next::Wait),
                Action::Offer => self.offer(tools)?,
                action @ (Action::Connect | Action::TakeOver) => {
                    if let Some(until) = self.must_wait() {
                        return Ok(Next::At(until));
                    }
                    self.connect(tools, action == Action::Connect)?;
                }
                Action::Detach(to) => self.recall(to.map_or(After::Nothing, After::Write)),
                Action::Write(state) => self.write_state(tools.store, state)?,
                Action::Reconfigure => self.write_state(tools.store, State::Reconfigured)?,
                Action::Forget => self.recall(After::Forget),
            }
        }
        // A guest that flips its state faster than we read it: the others' turn.
        Ok(Next::At(Instant::now() + FIRST_WAIT))
    }

    fn situation(&self, store: &mut Xenstore) -> Result<Situation, XenError> {
        let back = store.get(&format!("{}/state", self.paths.back))?;
        let online = store.get(&format!("{}/online", self.paths.back))?;
        let front = store.get(&self.front_state())?;
        Ok(Situation {
            // Nobody but us and the toolstack writes here: what is no state is as good as a fresh node.
            back: back.map(|value| State::parse(&value).unwrap_or(State::Unknown)),
            online: online.as_deref() == Some(b"1"),
            front: front.and_then(|value| State::parse(&value)),
            attached: self.attached,
            broken: self.broken,
            offered: self.offered,
        })
    }

    fn write_state(&self, store: &mut Xenstore, state: State) -> Result<(), XenError> {
        let path = format!("{}/state", self.paths.back);
        keys::write_if_there(store, &self.paths, &path, state.as_str())
    }

    /// Takes back links that workers gave up of their own accord.
    fn collect(&mut self) {
        for queue in &self.queues {
            let Some((link, fault)) = queue.collect() else { continue };
            drop(link);
            if let Some(fault) = fault {
                tracing::warn!("domain {} vif {}: its guest broke the protocol: {fault}", self.domain, self.handle);
                self.broken = true;
            }
        }
    }

    fn recall(&mut self, after: After) {
        self.ready.clear();
        self.queues.iter().for_each(|queue| queue.recall());
        self.leaving = Some(after);
    }

    /// All queues have let go.
    fn let_go(&mut self, tools: &mut Tools<'_>) -> Result<Option<After>, XenError> {
        if self.attached {
            self.say(if self.broken { "its guest broke the protocol" } else { "waiting for its guest" }.into());
        }
        self.attached = false;
        let after = self.leaving.take();
        if let Some(After::Write(state)) = after {
            self.write_state(tools.store, state)?;
        }
        Ok(after)
    }

    fn forget(&mut self, tools: &mut Tools<'_>) -> Result<(), XenError> {
        if self.watched {
            tools.store.unwatch(&self.front_state(), &self.token())?;
            tools.store.unwatch(&self.front_ring(), &self.token())?;
        }
        if !self.queues.is_empty() {
            tools.guests.left(self.domain, self.handle);
        }
        Ok(())
    }

    /// Tells the engine, if it was not told yet. False when the toolstack's keys make no sense.
    fn announce(&mut self, tools: &mut Tools<'_>) -> Result<bool, XenError> {
        if !self.queues.is_empty() || self.unserved {
            return Ok(!self.unserved);
        }
        let config = match keys::read_config(tools.store, &self.paths, self.domain, self.handle) {
            Ok(config) => config,
            Err(KeyError::Xen(e)) => return Err(e),
            Err(e) => {
                self.refuse(&e);
                return Ok(false);
            }
        };
        let queues = (0..tools.options.queues).map(|_| Mailbox::new(Arc::clone(tools.bell)).map(Arc::new));
        self.queues = queues.collect::<io::Result<_>>().map_err(XenError::io("making a mailbox"))?;
        let mut ports = Vec::new();
        for queue in &self.queues {
            let counters = Arc::<Counters>::default();
            let mut ring = None;
            if tools.options.queues == 1 {
                let made = Channel::new(self.domain, self.handle, Arc::clone(&counters));
                let (channel, port) = made.map_err(XenError::io("making a ring's mailbox"))?;
                (self.ring, ring) = (Some(channel), Some(port));
            }
            ports.push(VifPort::new(Arc::clone(queue), self.state.clone(), counters, ring));
        }
        if let Err(e) = tools.guests.arrived(&config, ports) {
            self.refuse(&e);
            (self.queues, self.ring) = (Vec::new(), None);
            return Ok(false);
        }
        if self.ring.is_some() {
            let feature = format!("{}/{}", self.paths.back, ring::FEATURE);
            keys::write_if_there(tools.store, &self.paths, &feature, "1")?;
        }
        Ok(true)
    }

    fn refuse(&mut self, why: &dyn std::fmt::Display) {
        tracing::warn!("domain {} vif {} is not served: {why}", self.domain, self.handle);
        (self.broken, self.unserved) = (true, true);
    }

    /// From now on its queues get no links before [`release`](Self::release): when a backend takes over, no guest's frames
    /// are to be looked at before every guest that they may be for can be reached. Tells the engine of it, too.
    pub(super) fn hold(&mut self, tools: &mut Tools<'_>) -> Result<(), XenError> {
        self.holds = true;
        let now = self.situation(tools.store)?;
        if matches!(decide(now), Action::TakeOver | Action::Connect) {
            self.announce(tools)?;
        }
        Ok(())
    }

    /// Gives the queues what was held back; guests are listened to once the gate is open.
    pub(super) fn release(&mut self, gate: &Gate) {
        self.holds = false;
        for (queue, mut link) in self.ready.drain(..) {
            link.gate = gate.clone();
            self.queues[queue].put(link);
        }
    }

    fn offer(&mut self, tools: &mut Tools<'_>) -> Result<(), XenError> {
        if !self.announce(tools)? {
            return self.write_state(tools.store, State::Closed);
        }
        let offer = Offer { queues: tools.options.queues, gso: tools.options.gso };
        keys::write_offer(tools.store, &self.paths, offer)?;
        self.offered = true;
        Ok(())
    }

    /// Until when a guest that connects again and again is not connected.
    fn must_wait(&mut self) -> Option<Instant> {
        let last = self.last_connect?;
        if last.elapsed() >= CALM {
            self.connects = 0;
        }
        // Twice is a driver that was loaded again.
        let doublings = self.connects.checked_sub(3)?.min(DOUBLINGS);
        let until = last + FIRST_WAIT * 2u32.pow(doublings);
        (Instant::now() < until).then_some(until)
    }

    fn connect(&mut self, tools: &mut Tools<'_>, fresh: bool) -> Result<(), XenError> {
        self.last_connect = Some(Instant::now());
        self.connects = self.connects.saturating_add(1);
        let connected = match self.announce(tools)? {
            true => self.try_connect(tools),
            false => Err(KeyError::Missing { path: format!("{}/frontend", self.paths.back) }),
        };
        match connected {
            Ok(mode) => {
                self.attached = true;
                self.say(if fresh { mode } else { format!("{mode}, taken over") });
                if fresh { self.write_state(tools.store, State::Connected) } else { Ok(()) }
            }
            // Only a store that is gone is our trouble; everything else is the guest's.
            Err(KeyError::Xen(e @ (XenError::StoreProtocol(_) | XenError::Store { .. }))) => Err(e),
            Err(e) => {
                tracing::warn!("domain {} vif {} cannot be connected: {e}", self.domain, self.handle);
                self.say(format!("refused: {e}"));
                self.broken = true;
                Ok(())
            }
        }
    }

    /// Maps and binds all queues, then gives them to the workers: all or none.
    fn try_connect(&mut self, tools: &mut Tools<'_>) -> Result<String, KeyError> {
        let keys = keys::read_frontend(tools.store, &self.paths.front, tools.options.queues)?;
        let groups = Arc::new(Groups::new(keys.abilities.multicast_control));
        let mut abilities = keys.abilities;
        abilities.gso_tcp4 &= tools.options.gso;
        abilities.gso_tcp6 &= tools.options.gso;
        let links: Result<Vec<_>, _> =
            keys.queues.iter().map(|queue| self.link(tools, queue, abilities, &groups)).collect();
        let links = links?;
        let mode =
            format!("connected to domain {} vif {}, {}", self.domain, self.handle, describe(links.len(), abilities));
        self.ready = links.into_iter().map(Box::new).enumerate().collect();
        if !self.holds {
            self.release(&Gate::default());
        }
        Ok(mode)
    }

    fn link(
        &self,
        tools: &Tools<'_>,
        queue: &QueueKeys,
        abilities: Abilities,
        groups: &Arc<Groups>,
    ) -> Result<Link, XenError> {
        let map = |grant: GrantRef| tools.grants.map(self.domain, &[grant], Access::Write);
        let (tx, rx): (Shared, Shared) = (map(queue.tx_ring)?, map(queue.rx_ring)?);
        let mut events = tools.hypervisor.events()?;
        let tx_event = events.bind(self.domain, queue.tx_event)?;
        let rx_event =
            if queue.rx_event == queue.tx_event { tx_event } else { events.bind(self.domain, queue.rx_event)? };
        // SAFETY: both pages go into the same Link as the rings that use them, and are dropped with it.
        let (tx_ring, rx_ring) = unsafe { (BackRing::attach(Page::new(&tx)), BackRing::attach(Page::new(&rx))) };
        Ok(Link {
            from: FromGuest::new(self.domain, tx_ring, Arc::clone(groups)),
            to: ToGuest::new(self.domain, rx_ring, abilities, Arc::clone(groups)),
            grants: tools.hypervisor.grants()?,
            events,
            tx_event,
            rx_event,
            gate: Gate::default(),
            _rings: [tx, rx],
        })
    }
}

fn describe(queues: usize, able: Abilities) -> String {
    let mut text = if queues == 1 { "1 queue".to_owned() } else { format!("{queues} queues") };
    let features = [
        (able.sg, "sg"),
        (able.gso_tcp4, "gso4"),
        (able.gso_tcp6, "gso6"),
        (able.csum_ip4, "csum4"),
        (able.csum_ip6, "csum6"),
        (able.multicast_control, "groups"),
    ];
    for (_, name) in features.iter().filter(|(is, _)| *is) {
        text.push(' ');
        text.push_str(name);
    }
    text
}
