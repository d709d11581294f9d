//! The engine: everything that a configuration asks for, opened, connected and running.
//!
//! It is built whole before the first worker starts, so that a mistake found late leaves nothing behind: every part
//! undoes itself when it is dropped. Once running, the control side only reads.

mod feeds;
mod inner;
mod links;
mod ports;
mod report;
mod seats;
#[cfg(test)]
mod tests;
mod trace;
mod vrf_report;
mod vrfs;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;

use crate::bridge::{Bridge, Domain, DomainId, Fdb, Member, Table, TableError};
use crate::config::{Config, Membership, PortSpec, usable_cores};
use crate::control::{ControlError, Request, Server};
use crate::fpm::ListenError;
use crate::memif::MemifError;
use crate::netdev::{MAX_STATIONS, NetdevError};
use crate::pcap::PcapError;
use crate::pool::Pool;
use crate::rib::RibError;
use crate::shares::Shares;
use crate::tap::TapError;
use crate::units::{GuestId, PortId};
use crate::worker::{Doorbell, FullWatch, Worker, WorkerConfig};
use inner::inner_ports;
use links::LinkWatch;
use ports::{Opened, guest_of};
use report::{Report, ReportedWorker};
use seats::{House, Uplink};
pub use seats::{Newcomer, Seat, SeatError, Seats};
use vrfs::Vrfs;

/// Why the engine does not start. Nothing of it is left behind then.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A device.
    #[error("port {port}: {source}")]
    Netdev {
        /// The port.
        port: String,
        /// Why.
        source: NetdevError,
    },
    /// A memif.
    #[error("port {port}: {source}")]
    Memif {
        /// The port.
        port: String,
        /// Why.
        source: MemifError,
    },
    /// A tap.
    #[error("port {port}: {source}")]
    Tap {
        /// The port.
        port: String,
        /// Why.
        source: TapError,
    },
    /// A capture file.
    #[error("port {port}: {source}")]
    Pcap {
        /// The port.
        port: String,
        /// Why.
        source: PcapError,
    },
    /// The bridge domains do not fit together.
    #[error("bridge domains: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Table(Vec<TableError>),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// More ports than the XDP program has marks for.
    #[error(
        "{ports} ports and {seats} seats are configured, {MAX_STATIONS} is the most that an XDP program can tell apart"
    )]
    Ports {
        /// How many ports.
        ports: usize,
        /// How many seats.
        seats: usize,
    },
    /// An interface without an address.
    #[error("vrf {vrf}: interface {interface}: its port has no Ethernet address of its own; give it mac = \"02:...\"")]
    InterfaceMac {
        /// The VRF.
        vrf: String,
        /// The interface.
        interface: String,
    },
    /// Memory for tables of routes.
    #[error("memory for the forwarding tables: {source}; `ulimit -v` may be in the way, or vm.overcommit_memory = 2")]
    Tables {
        /// What the kernel said.
        source: io::Error,
    },
    /// A feed of routes.
    #[error("feed {feed}: {source}")]
    Feed {
        /// Which.
        feed: String,
        /// Why.
        source: ListenError,
    },
    /// Who watches links.
    #[error("a thread that watches the links of VRFs: {source}")]
    Links {
        /// What the kernel said.
        source: io::Error,
    },
    /// A route of the configuration.
    #[error("vrf {vrf}: {source}")]
    Routes {
        /// The VRF.
        vrf: String,
        /// Why it is refused.
        source: RibError,
    },
    /// A worker is pinned to a core that is not there.
    #[error(
        "{file}:{line}: worker {worker}: there is no core {core} here, or this process may not use it; `nproc` and `taskset -p $$` tell"
    )]
    Core {
        /// The configuration.
        file: PathBuf,
        /// Line in it.
        line: u32,
        /// The worker.
        worker: usize,
        /// Its core.
        core: usize,
    },
    /// A worker's memory or thread.
    #[error("worker {worker}: {doing}: {source}")]
    Worker {
        /// Which.
        worker: usize,
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A running engine. Dropping it stops the workers, and detaches every port.
#[derive(Debug)]
pub struct Engine {
    /// First to go: nobody asks a dying engine.
    _control: Server,
    _links: Option<LinkWatch>,
    workers: Vec<Running>,
    report: Arc<Report>,
    seats: Seats,
}

#[derive(Debug)]
struct Running {
    bell: Doorbell,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens all that `config` names and starts the workers.
    ///
    /// # Errors
    /// See [`EngineError`]; nothing stays attached or running.
    pub fn start(config: &Config) -> Result<Self, EngineError> {
        check_cores(config)?;
        let (ports, seats) = (config.ports.len(), config.seats);
        if ports + seats > MAX_STATIONS {
            return Err(EngineError::Ports { ports, seats });
        }
        let mut pools = Vec::new();
        for (worker, spec) in config.workers.iter().enumerate() {
            let failed = |source| EngineError::Worker { worker, doing: "getting its frame memory", source };
            pools.push(Pool::new(spec.chunks).map_err(failed)?);
        }
        let (mut members, domains) = bridging(config);
        let inner = inner_ports(config, ports + seats);
        members.resize(ports + seats + 2 * inner.len(), Member::default());
        let table = Table::build(&members, &domains).map_err(EngineError::Table)?;
        let table = Arc::new(ArcSwap::from_pointee(table));
        let fdb = Arc::new(Fdb::new(&domains));
        let guests = config.guests.iter().map(|guest| (guest.name.as_str(), guest.terms));
        let shares = Arc::new(Shares::new(guests, seats));
        let opened = Opened::open(config, &mut pools, &shares)?;
        let mut vrfs = Vrfs::build(config, &opened.ports, &inner, members.len())?;
        if !inner.is_empty() {
            // Their addresses may be those of taps, and are known only now.
            members.truncate(ports + seats);
            members.extend(inner.iter().flat_map(|inner| inner.members(&vrfs.running)));
            table.store(Arc::new(Table::build(&members, &domains).map_err(EngineError::Table)?));
        }
        let mut guests: Vec<GuestId> = (0..config.ports.len()).map(|port| guest_of(config, port)).collect();
        guests.resize(members.len(), GuestId::UPLINKS);
        for inner in &inner {
            guests[inner.station.index()] = inner.guest(config);
        }

        let mut workers = Vec::new();
        for (index, ((spec, pool), queues)) in config.workers.iter().zip(pools).zip(opened.queues).enumerate() {
            let worker_config =
                WorkerConfig { name: format!("worker-{index}"), core: spec.core, chunks: spec.chunks, spin: spec.spin };
            let forward = vrfs.forwarder(index, Bridge::new(Arc::clone(&table), Arc::clone(&fdb)));
            let worker = Worker::new(worker_config, pool, queues, members.len(), forward);
            let mut worker =
                worker.map_err(|source| EngineError::Worker { worker: index, doing: "creating it", source })?;
            worker.take_turns(Arc::clone(&shares), guests.clone());
            for inner in inner.iter().filter(|inner| config.vrfs[inner.vrf].worker == index) {
                for port in [inner.station, inner.way_back] {
                    worker.own(port, Arc::clone(&inner.counters));
                }
            }
            workers.push(worker);
        }
        let mut reported: Vec<ReportedWorker> = workers.iter().zip(&config.workers).map(ReportedWorker::new).collect();
        link(&mut workers, &mut reported);
        for (worker, watches) in workers.iter_mut().zip(full_watches(config, &opened.ports)) {
            worker.watch_full(watches);
        }
        let seats = Seats::new(House {
            workers: workers.iter().map(Worker::doorbell).collect(),
            members,
            first: ports,
            seats,
            domains,
            uplinks: uplinks(config, &opened.ports),
            table: Arc::clone(&table),
            shares: Arc::clone(&shares),
        });
        let feeds = feeds::start(config, &opened.ports, &vrfs.running)?;
        let opened = report::Opened { ports: opened.ports, vrfs: vrfs.running, inner, feeds };
        let report = Arc::new(Report::new(config, opened, reported, table, fdb, seats.clone(), shares));
        let answering = Arc::clone(&report);
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.tell(Arc::clone(&report.traces), index as u16);
        }
        let control = Server::start(&config.control, move |request| match request {
            Request::Trace(request) => trace::answer(&answering, request),
            other => answering.answer(other).into(),
        })?;
        let links = LinkWatch::start(&report).map_err(|source| EngineError::Links { source })?;
        let mut engine = Self { _control: control, _links: links, workers: Vec::new(), report, seats };
        for (index, worker) in workers.into_iter().enumerate() {
            let bell = worker.doorbell();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker.run())
                .map_err(|source| EngineError::Worker { worker: index, doing: "starting its thread", source })?;
            engine.workers.push(Running { bell, thread: Some(thread) });
        }
        Ok(engine)
    }

    /// Where ports of guests come and go.
    pub fn seats(&self) -> Seats {
        self.seats.clone()
    }

    /// The ports and how each is attached: one line a port, for the log.
    pub fn describe(&self) -> Vec<String> {
        self.report.describe()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.bell.stop();
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A worker that panicked has said so; the others still want to end in order.
                let _ = thread.join();
            }
        }
    }
}

/// Ports and domains in the bridge's words.
fn bridging(config: &Config) -> (Vec<Member>, Vec<Domain>) {
    let id = |domain: usize| DomainId(domain as u16);
    let members = config.ports.iter().map(|port| Member {
        name: port.name.clone(),
        native: port.membership.native.map(id),
        vlans: port.membership.vlans.iter().map(|&(vlan, domain)| (vlan, id(domain))).collect(),
        macs: port.macs.clone(),
    });
    let domains = config.domains.iter().map(|domain| Domain {
        name: domain.name.clone(),
        age: domain.age,
        max_learned: domain.max_learned as u32,
    });
    (members.collect(), domains.collect())
}

/// Pinning fails silently later, so it is checked now.
fn check_cores(config: &Config) -> Result<(), EngineError> {
    let cores = usable_cores();
    for (worker, spec) in config.workers.iter().enumerate() {
        if let Some(core) = spec.core.filter(|core| !cores.contains(core)) {
            let (file, line) = (config.file.clone(), spec.place.line);
            return Err(EngineError::Core { file, line, worker, core });
        }
    }
    Ok(())
}

/// Joins every two workers, both ways.
fn link(workers: &mut [Worker], reported: &mut [ReportedWorker]) {
    for high in 1..workers.len() {
        let (lower, upper) = workers.split_at_mut(high);
        for (low, worker) in lower.iter_mut().enumerate() {
            let [there, back] = worker.link(&mut upper[0]);
            reported[low].handoffs.push(there);
            reported[high].handoffs.push(back);
        }
    }
}

/// The bridge domains that a port is in.
fn domains(membership: &Membership) -> BTreeSet<usize> {
    membership.native.iter().copied().chain(membership.vlans.iter().map(|&(_, domain)| domain)).collect()
}

fn share_a_domain(a: &PortSpec, b: &PortSpec) -> bool {
    !domains(&a.membership).is_disjoint(&domains(&b.membership))
}

/// The devices, with the bridge domains that they are in.
fn uplinks(config: &Config, opened: &[ports::OpenPort]) -> Vec<Uplink> {
    let ports = config.ports.iter().zip(opened);
    let uplink = |(spec, port): (&PortSpec, &ports::OpenPort)| {
        Some(Uplink { device: Arc::clone(port.device.as_ref()?), domains: domains(&spec.membership) })
    };
    ports.filter_map(uplink).collect()
}

/// For each worker, the guests' ports that it owns, and the devices where their marks are.
fn full_watches(config: &Config, opened: &[ports::OpenPort]) -> Vec<Vec<FullWatch>> {
    let mut watches: Vec<Vec<FullWatch>> = config.workers.iter().map(|_| Vec::new()).collect();
    for (index, (spec, port)) in config.ports.iter().zip(opened).enumerate() {
        if spec.guest.is_none() {
            continue;
        }
        let devices = config.ports.iter().zip(opened).filter(|(other, _)| share_a_domain(spec, other));
        let marks: Vec<_> = devices.filter_map(|(_, p)| p.device.as_ref()).map(|d| d.full_marks()).collect();
        if let (Some(&worker), false) = (port.workers.first(), marks.is_empty()) {
            watches[worker].push(FullWatch::new(PortId(index as u16), marks));
        }
    }
    watches
}
