//! What the engine tells of itself: counters read while workers write them, summed over queues.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::inner::InnerPort;
use super::ports::OpenPort;
use super::seats::{Seats, Sitter};
use super::share_a_domain;
use super::vrfs::RunningVrf;
use crate::bridge::{self, Fdb, Table};
use crate::config::{Config, WorkerSpec};
use crate::control::{
    Change, DropReport, GuestPortReport, GuestReport, PortReport, Reply, Request, StationReport, Thing, Topic,
    WorkerReport,
};
use crate::drops::DropReason;
use crate::fpm::Feed;
use crate::port::Counters;
use crate::shares::{GuestTerms, Shares, TermsError, parse_rate};
use crate::trace::Traces;
use crate::units::{GuestId, Nanos, PortId};
use crate::worker::{Worker, WorkerCounters};

/// A worker, as it is reported.
#[derive(Debug)]
pub struct ReportedWorker {
    core: Option<usize>,
    counters: Arc<WorkerCounters>,
    chunks: usize,
    huge_pages: bool,
    /// What was lost on the way to each other worker.
    pub handoffs: Vec<Arc<Counters>>,
    /// Nanoseconds that each guest has been charged.
    time_used: Arc<[AtomicU64]>,
}

impl ReportedWorker {
    pub fn new((worker, spec): (&Worker, &WorkerSpec)) -> Self {
        let pool = worker.pool();
        Self {
            core: spec.core,
            counters: worker.counters(),
            chunks: pool.capacity(),
            huge_pages: pool.memory().is_huge(),
            handoffs: Vec::new(),
            time_used: worker.time_used(),
        }
    }
}

/// What was opened: ports, what routes between them, and who tells routes.
pub struct Opened {
    pub ports: Vec<OpenPort>,
    pub vrfs: Vec<Arc<RunningVrf>>,
    pub inner: Vec<InnerPort>,
    pub feeds: Vec<Feed>,
}

/// Everything that can be shown.
#[derive(Debug)]
pub struct Report {
    pub(super) config: Config,
    pub(super) ports: Vec<OpenPort>,
    pub(super) vrfs: Vec<Arc<RunningVrf>>,
    /// Where VRFs are stations in bridge domains.
    pub(super) inner: Vec<InnerPort>,
    pub(super) feeds: Vec<Feed>,
    workers: Vec<ReportedWorker>,
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) fdb: Arc<Fdb>,
    pub(super) seats: Seats,
    shares: Arc<Shares>,
    /// What workers are asked to tell of frames.
    pub(super) traces: Arc<Traces>,
}

impl Report {
    pub fn new(
        config: &Config,
        Opened { ports, vrfs, inner, feeds }: Opened,
        workers: Vec<ReportedWorker>,
        table: Arc<ArcSwap<Table>>,
        fdb: Arc<Fdb>,
        seats: Seats,
        shares: Arc<Shares>,
    ) -> Self {
        Self {
            config: config.clone(),
            ports,
            vrfs,
            inner,
            feeds,
            workers,
            table,
            fdb,
            seats,
            shares,
            traces: Arc::default(),
        }
    }

    /// Whether the worker has drawn a breath.
    pub(super) fn has_begun(&self, worker: usize) -> bool {
        self.workers[worker].counters.breaths.load(Relaxed) > 0
    }

    pub fn answer(&self, request: Request) -> Reply {
        let topic = match request {
            Request::Show(topic) => topic,
            Request::Set(change) => return self.change(&change),
            Request::Vrf(request) => return self.answer_vrf(&request),
            Request::Trace(_) => return Reply::Error("a trace is answered by a thread of its own".into()),
        };
        match topic {
            Topic::Ports => Reply::Ports(self.all_ports()),
            Topic::Guests => Reply::Guests(self.guests()),
            Topic::Fdb => Reply::Fdb(self.stations()),
            Topic::Workers => Reply::Workers((0..self.workers.len()).map(|i| self.worker(i)).collect()),
            Topic::Drops => Reply::Drops(self.drops()),
        }
    }

    /// Makes a change, or says why not; then nothing has changed. Workers see it with their next burst.
    fn change(&self, change: &Change) -> Reply {
        let Change { thing, name, key, value } = change;
        let made = match thing {
            Thing::Guest => self.change_guest(name, key, value),
            Thing::Port => self.change_port(name, key, value),
        };
        match made {
            Ok(()) => {
                self.seats.wake_workers();
                Reply::Done
            }
            Err(reason) => Reply::Error(reason),
        }
    }

    fn change_guest(&self, name: &str, key: &str, value: &str) -> Result<(), String> {
        let Some(guest) = self.shares.find(name) else {
            return Err(format!("there is no guest {name:?}; `pointsman show guests` lists those there are"));
        };
        self.shares.change(guest, key, value).map_err(|e| format!("guest {name}: {e}"))
    }

    fn change_port(&self, name: &str, key: &str, value: &str) -> Result<(), String> {
        let configured = self.config.ports.iter().zip(&self.ports).find(|(spec, _)| spec.name == name);
        let line = configured.map(|(_, port)| Arc::clone(&port.limits.line)).or_else(|| {
            self.seats.look(|all| all.iter().find(|port| port.name == name).map(|port| Arc::clone(&port.limits.line)))
        });
        let Some(line) = line else {
            return Err(format!("there is no port {name:?}; `pointsman show ports` lists those there are"));
        };
        if key != "rate" {
            let (key, thing, known) = (key.to_owned(), "port", "rate");
            return Err(format!("port {name}: {}", TermsError::Key { key, thing, known }));
        }
        line.set(parse_rate(value).map_err(|e| format!("port {name}: {e}"))?, None);
        Ok(())
    }

    pub fn describe(&self) -> Vec<String> {
        let ports = (0..self.ports.len()).map(|i| self.port(i));
        ports.map(|p| format!("port {}: {}, worker {:?}, {}", p.name, p.kind, p.workers, p.mode)).collect()
    }

    fn all_ports(&self) -> Vec<PortReport> {
        let configured = (0..self.ports.len()).map(|i| self.port(i));
        configured.chain(self.seats.look(|sitters| sitters.iter().map(sitting).collect::<Vec<_>>())).collect()
    }

    fn port(&self, index: usize) -> PortReport {
        let (spec, port) = (&self.config.ports[index], &self.ports[index]);
        let counted = counted(&port.counters, self.dropped_in_xdp(index));
        PortReport {
            name: spec.name.clone(),
            kind: spec.kind.name().into(),
            guest: spec.guest.map(|guest| self.config.guests[guest].name.clone()),
            workers: port.workers.clone(),
            mode: port.memif.as_ref().map_or_else(|| port.mode.clone(), |memif| memif.state().to_string()),
            line_rate: port.limits.line.rate().map(|rate| rate.to_string()),
            ..counted
        }
    }

    /// Frames for a guest's port that devices did not even receive.
    fn dropped_in_xdp(&self, index: usize) -> u64 {
        let (spec, id) = (&self.config.ports[index], PortId(index as u16));
        if spec.guest.is_none() {
            return 0;
        }
        let sharing = self.config.ports.iter().zip(&self.ports).filter(|(other, _)| share_a_domain(spec, other));
        sharing.filter_map(|(_, port)| port.device.as_ref()).map(|device| device.full_drops(id)).sum()
    }

    fn guest(&self, guest: usize) -> GuestReport {
        let its_ports = (0..self.ports.len()).filter(|&i| self.config.ports[i].guest == Some(guest));
        let ports = its_ports.map(|i| GuestPortReport {
            macs: self.config.ports[i].macs.iter().map(ToString::to_string).collect(),
            port: self.port(i),
        });
        GuestReport { ports: ports.collect(), ..self.terms(&self.config.guests[guest].name) }
    }

    /// A guest without its ports.
    fn terms(&self, name: &str) -> GuestReport {
        let guest = self.shares.find(name);
        let terms = guest.map_or_else(GuestTerms::default, |guest| self.shares.terms(guest));
        let used = |guest: GuestId| {
            let used = self.workers.iter().filter_map(|worker| worker.time_used.get(guest.index()));
            used.map(|used| used.load(Relaxed)).sum()
        };
        GuestReport {
            name: name.to_owned(),
            weight: terms.weight.times(),
            rate_from: terms.rate_from.map(|rate| rate.to_string()),
            rate_to: terms.rate_to.map(|rate| rate.to_string()),
            burst: terms.burst,
            cpu_nanos: guest.map_or(0, used),
            ports: Vec::new(),
        }
    }

    fn guests(&self) -> Vec<GuestReport> {
        let mut guests: Vec<GuestReport> = (0..self.config.guests.len()).map(|i| self.guest(i)).collect();
        self.seats.look(|sitters| {
            for sitter in sitters {
                let macs = sitter.macs.iter().map(ToString::to_string).collect();
                let port = GuestPortReport { macs, port: sitting(sitter) };
                match guests.iter_mut().find(|guest| guest.name == sitter.guest) {
                    Some(guest) => guest.ports.push(port),
                    None => guests.push(GuestReport { ports: vec![port], ..self.terms(&sitter.guest) }),
                }
            }
        });
        guests
    }

    fn worker(&self, index: usize) -> WorkerReport {
        let worker = &self.workers[index];
        let counters = &worker.counters;
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let own = |name: &str, workers: &[usize]| {
            let own = workers.iter().enumerate().filter(|(_, worker)| **worker == index);
            own.map(|(queue, _)| format!("{name}/{queue}")).collect::<Vec<_>>()
        };
        let configured = self.config.ports.iter().zip(&self.ports);
        let mut queues: Vec<_> = configured.flat_map(|(spec, port)| own(&spec.name, &port.workers)).collect();
        queues.extend(self.seats.look(|all| all.iter().flat_map(|s| own(&s.name, &s.workers)).collect::<Vec<_>>()));
        WorkerReport {
            worker: index,
            core: worker.core,
            queues,
            breaths: load(&counters.breaths),
            busy_breaths: load(&counters.busy_breaths),
            frames: load(&counters.frames),
            busy_nanos: load(&counters.busy_nanos),
            sleeps: load(&counters.sleeps),
            chunks: worker.chunks,
            chunks_free: load(&counters.chunks_free),
            huge_pages: worker.huge_pages,
            drops: sum_drops(&worker.handoffs),
        }
    }

    fn stations(&self) -> Vec<StationReport> {
        let known = bridge::stations(&self.table.load(), &self.fdb, Nanos::now());
        let report = |station: bridge::Station| StationReport {
            domain: self.config.domains[station.domain.index()].name.clone(),
            mac: station.mac.to_string(),
            // It may have left its seat just now.
            port: self.known_port(station.port).unwrap_or_default(),
            age: station.age.map(|age| age.0 / 1_000_000_000),
        };
        let mut stations: Vec<_> = known.into_iter().map(report).collect();
        stations.sort();
        stations
    }

    /// The name of a port: of one that is configured, has a seat, or is within the engine.
    pub(super) fn known_port(&self, id: PortId) -> Option<String> {
        let configured = self.config.ports.get(id.index()).map(|port| port.name.clone());
        let inner = || self.inner.iter().find(|inner| inner.station == id || inner.way_back == id);
        configured.or_else(|| inner().map(|inner| inner.name.clone())).or_else(|| self.seats.name(id))
    }

    fn drops(&self) -> Vec<DropReport> {
        let of_ports = self.all_ports().into_iter().map(|p| (p.name, p.drops));
        let of_workers = (0..self.workers.len()).map(|i| (format!("worker {i}"), self.worker(i).drops));
        let of_inner = self.inner.iter().map(|inner| (inner.name.clone(), sum_drops(&[Arc::clone(&inner.counters)])));
        let places = of_ports.chain(of_inner).chain(of_workers);
        places
            .flat_map(|(place, drops)| {
                drops.into_iter().map(move |(reason, frames)| DropReport { place: place.clone(), reason, frames })
            })
            .collect()
    }
}

/// A port in a seat.
fn sitting(sitter: &Sitter) -> PortReport {
    let in_xdp = sitter.devices.iter().map(|device| device.full_drops(sitter.id)).sum();
    PortReport {
        name: sitter.name.clone(),
        kind: sitter.kind.into(),
        guest: Some(sitter.guest.clone()),
        workers: sitter.workers.clone(),
        mode: (sitter.mode)(),
        line_rate: sitter.limits.line.rate().map(|rate| rate.to_string()),
        ..counted(&sitter.counters, in_xdp)
    }
}

/// The sums over a port's queues, and what was dropped for it before it could be received.
fn counted(queues: &[Arc<Counters>], in_xdp: u64) -> PortReport {
    let sum = |which: fn(&Counters) -> &AtomicU64| queues.iter().map(|c| which(c).load(Relaxed)).sum();
    let mut drops = sum_drops(queues);
    if in_xdp > 0 {
        *drops.entry(DropReason::GuestFullXdp.name().into()).or_default() += in_xdp;
    }
    PortReport {
        up: queues.iter().any(|c| c.up.load(Relaxed)),
        rx_frames: sum(|c| &c.rx_frames),
        rx_bytes: sum(|c| &c.rx_bytes),
        tx_frames: sum(|c| &c.tx_frames),
        tx_bytes: sum(|c| &c.tx_bytes),
        drops,
        ..PortReport::default()
    }
}

pub(super) fn sum_drops(counters: &[Arc<Counters>]) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (reason, frames) in counters.iter().flat_map(|c| c.drops.nonzero()) {
        *sum.entry(reason.name().to_owned()).or_default() += frames;
    }
    sum
}
