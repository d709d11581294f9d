//! Guests' ports that come and go while the engine runs.
//!
//! The engine has a number of **seats**: port numbers that belong to nobody at first, so that the tables of every worker
//! have their final size before the first frame. Whoever knows of new guests (a toolstack's store, a control socket) brings
//! a [`Newcomer`], gets a [`Seat`], and gives it up when the guest has gone.
//!
//! # Order
//! Coming: first every worker knows the port, then a table is published in which it is a member, then the devices hand over
//! its frames. Going is the same backwards. So no frame ever leaves by a port that is not there, and the ports end on the
//! thread that gave the seat up, not in a worker: to unmap a guest's memory may take its time.
//!
//! A frame under way between two workers carries the number of its output port. A seat that was given up therefore
//! rests for a while before it is somebody else's.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::bridge::{Domain, DomainId, Member, Table, TableError};
use crate::netdev::{Device, NetdevError};
use crate::port::{Counters, Port};
use crate::shares::{PortLimits, Shaped, Shares, Weight};
use crate::units::{GuestId, Mac, PortId};
use crate::worker::{Arrival, Done, Doorbell, Errand, FullWatch};

/// How long a seat rests. A frame waits in a ring between workers for as long as the worker on the other side is held
/// up: milliseconds, on a machine that is in trouble tens of them.
const REST: Duration = Duration::from_secs(1);

/// A guest's port that comes while the engine runs.
pub struct Newcomer {
    /// Its name, which no other port has.
    pub name: String,
    /// The guest that it is reported with.
    pub guest: String,
    /// What it is, as `show ports` says it.
    pub kind: &'static str,
    /// Name of the bridge domain of its untagged frames.
    pub domain: String,
    /// The stations behind it: at least one.
    pub macs: Vec<Mac>,
    /// What it may do at most, whatever its guest may.
    pub limits: PortLimits,
    /// Its queues, which are dealt out to the workers in turn. Frames for it leave through the first.
    pub queues: Vec<Box<dyn Port>>,
    /// Tells how it is attached, for `show`; called on the control thread.
    pub mode: Box<dyn Fn() -> String + Send + Sync>,
}

/// Why a newcomer is not let in. Its queues end with this.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// All are taken.
    #[error(
        "port {port}: all {seats} seats for ports that come while the engine runs are taken; raise `seats` in the configuration"
    )]
    Taken {
        /// Who came.
        port: String,
        /// Seats there are.
        seats: usize,
    },
    /// No such domain.
    #[error(
        "port {port}: there is no bridge domain {domain:?}; add a [[domain]] of that name, or give the guest another"
    )]
    Domain {
        /// Who came.
        port: String,
        /// What it names.
        domain: String,
    },
    /// Two ports of one name.
    #[error("port {port}: there is a port of that name")]
    Name {
        /// Who came.
        port: String,
    },
    /// A guest's port without an address, or without a queue.
    #[error("port {port}: has no {what}")]
    Lacks {
        /// Who came.
        port: String,
        /// What is missing.
        what: &'static str,
    },
    /// Its addresses are somebody else's, or no station's.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Table(Vec<TableError>),
    /// A device does not take its addresses.
    #[error("port {port}: {source}")]
    Device {
        /// Who came.
        port: String,
        /// Why.
        source: NetdevError,
    },
    /// The engine is ending.
    #[error("port {port}: the engine is ending")]
    Ending {
        /// Who came.
        port: String,
    },
}

/// The place of a guest's port. It must be given up by [`Seats::leave`]; when it is only dropped, the port stays.
#[derive(Debug)]
#[must_use = "the seat is what the port is removed by"]
pub struct Seat(PortId);

/// A port in its seat, as it is reported.
pub(super) struct Sitter {
    pub(super) id: PortId,
    pub(super) name: String,
    pub(super) guest: String,
    pub(super) kind: &'static str,
    /// Index of its bridge domain.
    pub(super) domain: usize,
    pub(super) macs: Vec<Mac>,
    /// Its guest's place in the table of shares.
    pub(super) owner: GuestId,
    pub(super) limits: PortLimits,
    pub(super) workers: Vec<usize>,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) mode: Box<dyn Fn() -> String + Send + Sync>,
    pub(super) devices: Vec<Arc<Device>>,
}

impl fmt::Debug for Sitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sitter({:?} {})", self.id, self.name)
    }
}

/// A device, and the domains that frames of it are in.
#[derive(Debug)]
pub(super) struct Uplink {
    pub(super) device: Arc<Device>,
    pub(super) domains: BTreeSet<usize>,
}

/// The seats of a running engine. Clones are the same seats.
#[derive(Clone, Debug)]
pub struct Seats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    workers: Vec<Doorbell>,
    domains: Vec<Domain>,
    uplinks: Vec<Uplink>,
    table: Arc<ArcSwap<Table>>,
    shares: Arc<Shares>,
    /// Port number of the first seat, which is how many ports are configured.
    first: usize,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    /// Every port, those in no seat included, with the empty seats as members of no domain.
    members: Vec<Member>,
    /// Since when each seat is empty; none: it is taken.
    empty: Vec<Option<Instant>>,
    sitters: Vec<Sitter>,
    next_worker: usize,
}

/// What [`Seats`] need to know of the engine.
pub(super) struct House {
    pub(super) workers: Vec<Doorbell>,
    /// Every configured port, then the seats, as members of no domain, then the ports within the engine.
    pub(super) members: Vec<Member>,
    /// Port number of the first seat.
    pub(super) first: usize,
    pub(super) seats: usize,
    pub(super) domains: Vec<Domain>,
    pub(super) uplinks: Vec<Uplink>,
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) shares: Arc<Shares>,
}

impl Seats {
    pub(super) fn new(house: House) -> Self {
        let House { workers, members, first, seats, domains, uplinks, table, shares } = house;
        // A seat that nobody had needs no rest.
        let long_ago = Instant::now().checked_sub(REST).unwrap_or_else(Instant::now);
        let plan = Plan { members, empty: vec![Some(long_ago); seats], sitters: Vec::new(), next_worker: 0 };
        let plan = Mutex::new(plan);
        Self(Arc::new(Shared { workers, domains, uplinks, table, shares, first, plan }))
    }

    /// Seats a guest's port: from now on it gets its frames. Returns when every worker knows it.
    ///
    /// # Errors
    /// See [`SeatError`]; nothing has changed then.
    pub fn take(&self, newcomer: Newcomer) -> Result<Seat, SeatError> {
        let shared = &*self.0;
        let mut plan = self.plan();
        let port = newcomer.name.clone();
        for (what, missing) in [("address", newcomer.macs.is_empty()), ("queue", newcomer.queues.is_empty())] {
            if missing {
                return Err(SeatError::Lacks { port, what });
            }
        }
        let Some(domain) = shared.domains.iter().position(|domain| domain.name == newcomer.domain) else {
            return Err(SeatError::Domain { port, domain: newcomer.domain });
        };
        let seat = loop {
            // The one that has been empty for longest.
            let empty = plan.empty.iter().enumerate().filter_map(|(i, since)| Some((*since.as_ref()?, i))).min();
            let Some((since, seat)) = empty else { return Err(SeatError::Taken { port, seats: plan.empty.len() }) };
            let rest = (since + REST).saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break seat;
            }
            drop(plan);
            std::thread::sleep(rest);
            plan = self.plan();
        };
        if plan.members.iter().any(|member| member.name == port) {
            return Err(SeatError::Name { port });
        }
        let index = shared.first + seat;
        let id = PortId(index as u16);
        plan.members[index] = Member {
            name: port.clone(),
            native: Some(DomainId(domain as u16)),
            vlans: Vec::new(),
            macs: newcomer.macs.clone(),
        };
        let table = match Table::build(&plan.members, &shared.domains) {
            Ok(table) => table,
            Err(errors) => {
                plan.members[index] = Member::default();
                return Err(SeatError::Table(errors.into_iter().map(|e| e.told_to(&newcomer.name)).collect()));
            }
        };
        let Some(owner) = shared.shares.join(&newcomer.guest) else {
            plan.members[index] = Member::default();
            return Err(SeatError::Taken { port, seats: plan.empty.len() });
        };
        let uplinks = shared.uplinks.iter().filter(|uplink| uplink.domains.contains(&domain));
        let devices: Vec<Arc<Device>> = uplinks.map(|uplink| Arc::clone(&uplink.device)).collect();
        let workers = plan.deal(newcomer.queues.len(), shared.workers.len());
        let counters = newcomer.queues.iter().map(|queue| Arc::clone(queue.counters())).collect();
        let shape = |queue| Box::new(Shaped::new(queue, &newcomer.limits, &shared.shares, owner)) as Box<dyn Port>;
        let queues = newcomer.queues.into_iter().map(shape).collect();
        let sitter = Sitter {
            id,
            name: newcomer.name,
            guest: newcomer.guest,
            kind: newcomer.kind,
            domain,
            macs: newcomer.macs,
            owner,
            limits: newcomer.limits,
            workers,
            counters,
            mode: newcomer.mode,
            devices,
        };
        // First the table: a guest that has something to say already must find itself in it.
        shared.table.store(Arc::new(table));
        let told = shared.tell_workers(&sitter, queues);
        if !told {
            plan.members[index] = Member::default();
            shared.shares.part(owner);
            return Err(SeatError::Ending { port });
        }
        if let Err(source) = sitter.tell_devices() {
            plan.members[index] = Member::default();
            shared.remove(&mut plan, &sitter);
            return Err(SeatError::Device { port, source });
        }
        plan.empty[seat] = None;
        plan.sitters.push(sitter);
        Ok(Seat(id))
    }

    /// Takes a guest's port out of the engine. Its queues come back, no longer used by anybody; they end where they are
    /// dropped.
    pub fn leave(&self, seat: Seat) -> Vec<Box<dyn Port>> {
        let mut plan = self.plan();
        let Some(at) = plan.sitters.iter().position(|sitter| sitter.id == seat.0) else { return Vec::new() };
        let sitter = plan.sitters.remove(at);
        let index = sitter.id.index();
        plan.members[index] = Member::default();
        let queues = self.0.remove(&mut plan, &sitter);
        plan.empty[index - self.0.first] = Some(Instant::now());
        queues
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `look` with all who sit.
    pub(super) fn look<T>(&self, look: impl FnOnce(&[Sitter]) -> T) -> T {
        look(&self.plan().sitters)
    }

    /// Wakes every worker, so that what has changed is seen by those who sleep.
    pub(super) fn wake_workers(&self) {
        self.0.workers.iter().for_each(Doorbell::ring);
    }

    /// Name of the port in a seat.
    pub(super) fn name(&self, id: PortId) -> Option<String> {
        self.look(|sitters| sitters.iter().find(|sitter| sitter.id == id).map(|sitter| sitter.name.clone()))
    }
}

impl Plan {
    /// The worker of each of so many queues.
    fn deal(&mut self, queues: usize, workers: usize) -> Vec<usize> {
        let first = self.next_worker;
        self.next_worker = (first + queues) % workers;
        (first..first + queues).map(|n| n % workers).collect()
    }
}

impl Shared {
    /// Hands out the queues. False when a worker has ended.
    fn tell_workers(&self, sitter: &Sitter, queues: Vec<Box<dyn Port>>) -> bool {
        let mut shares: Vec<Vec<Box<dyn Port>>> = self.workers.iter().map(|_| Vec::new()).collect();
        for (queue, &worker) in queues.into_iter().zip(&sitter.workers) {
            shares[worker].push(queue);
        }
        let Some((&sender, counters)) = sitter.workers.first().zip(sitter.counters.first()) else { return false };
        let told: Vec<_> = self
            .workers
            .iter()
            .zip(shares)
            .enumerate()
            .map(|(worker, (bell, queues))| {
                let own = queues.first().map(|queue| Arc::clone(queue.counters()));
                bell.send(Errand::Attach(Arrival {
                    id: sitter.id,
                    guest: sitter.owner,
                    counters: own.unwrap_or_else(|| Arc::clone(counters)),
                    queues,
                    // As they are linked: each worker counts the others in order.
                    peer: (worker != sender).then(|| if sender < worker { sender } else { sender - 1 }),
                    watch: (worker == sender).then(|| sitter.watch()).flatten(),
                }))
            })
            .collect();
        told.into_iter().all(|done| await_done(&done).is_some())
    }

    /// The way back: devices, table, workers. The member has been taken out of the plan.
    fn remove(&self, plan: &mut Plan, sitter: &Sitter) -> Vec<Box<dyn Port>> {
        for device in &sitter.devices {
            for &mac in &sitter.macs {
                device.remove_station(mac);
            }
        }
        // Without a member, what was built before is built again.
        if let Ok(table) = Table::build(&plan.members, &self.domains) {
            self.table.store(Arc::new(table));
        }
        let told: Vec<_> = self.workers.iter().map(|bell| bell.send(Errand::Detach(sitter.id))).collect();
        let queues = told.iter().filter_map(await_done).flatten().collect();
        self.shares.part(sitter.owner);
        queues
    }
}

impl Sitter {
    fn watch(&self) -> Option<FullWatch> {
        let marks: Vec<_> = self.devices.iter().map(|device| device.full_marks()).collect();
        (!marks.is_empty()).then_some(FullWatch::new(self.id, marks))
    }

    fn tell_devices(&self) -> Result<(), NetdevError> {
        for device in &self.devices {
            device.full_marks().set(self.id, false, Weight::ONE);
            for &mac in &self.macs {
                device.add_station(mac, self.id)?;
            }
        }
        Ok(())
    }
}

/// Waits for a worker. None: it has ended, or is so far gone that nobody should wait for it.
fn await_done(done: &Receiver<Done>) -> Option<Done> {
    done.recv_timeout(Duration::from_secs(10)).ok()
}
